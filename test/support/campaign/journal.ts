/**
 * What the world outside was told and saw, kept apart from the service: the checks hold the ledger against this.
 *
 * Times are of one monotonic clock, `performance.now()`. An entry is made when an answer has arrived, so everything
 * here was acknowledged; what was sent and never answered may or may not be in the ledger.
 */
export interface AcknowledgedCheckpoint {
  readonly runId: string;
  readonly checkpointId: string;
  readonly effectiveCompute: number;
  /** From the first attempt to the 2xx, over however many kills. */
  readonly tookMs: number;
}

export interface IssuedPermit {
  readonly runId: string;
  readonly token: string;
  readonly sentAtMs: number;
}

export interface Journal {
  readonly registered: Set<string>;
  readonly checkpoints: AcknowledgedCheckpoint[];
  readonly results: { readonly evaluationId: string; readonly attempt: number; readonly score: number }[];
  readonly presses: { readonly runId: string; readonly haltId: string; readonly reason: string }[];
  readonly signOffs: {
    readonly runId: string;
    readonly proposalId: string;
    readonly by: string;
    readonly decision: string;
  }[];
  readonly haltAcks: { readonly haltId: string; readonly state: string }[];
  readonly permits: IssuedPermit[];
  /** When anybody outside first knew of a halt. */
  readonly haltKnownAtMs: Map<string, number>;
  /** Wrong by itself, whatever the ledger says. */
  readonly violations: string[];
  readonly answers: Map<string, number>;
  knowHalt(haltId: string): void;
  count(what: string): void;
}

export function createJournal(): Journal {
  const haltKnownAtMs = new Map<string, number>();
  const answers = new Map<string, number>();
  return {
    registered: new Set(),
    checkpoints: [],
    results: [],
    presses: [],
    signOffs: [],
    haltAcks: [],
    permits: [],
    haltKnownAtMs,
    violations: [],
    answers,
    knowHalt(haltId) {
      if (!haltKnownAtMs.has(haltId)) haltKnownAtMs.set(haltId, performance.now());
    },
    count(what) {
      answers.set(what, (answers.get(what) ?? 0) + 1);
    },
  };
}

/** What had been acknowledged by now: taken before the ledger is read, so that all of it must be in there. */
export function snapshot(journal: Journal): Journal {
  return {
    ...journal,
    registered: new Set(journal.registered),
    checkpoints: [...journal.checkpoints],
    results: [...journal.results],
    presses: [...journal.presses],
    signOffs: [...journal.signOffs],
    haltAcks: [...journal.haltAcks],
    permits: [...journal.permits],
    haltKnownAtMs: new Map(journal.haltKnownAtMs),
  };
}
