/**
 * Whether a halted run is known to have stopped: what speaks for it, what against it. The strongest against wins.
 *
 * Somebody must say that it stopped: every orchestrator that can see its target, or the trainer where none can. That
 * is the word. Compute that a heartbeat states after it contradicts it, whoever gave it; and a word that was
 * contradicted once in this halt, as the trainer's always, counts only with a heartbeat interval of silence after it.
 * A heartbeat without more compute is no progress: a process that waits at its halt may well be heard.
 *
 * IN_FLIGHT_MS: a heartbeat carries no time of its own, so one that comes this soon after an orchestrator's word may
 * have been sent before it. It neither contradicts nor helps; real progress is stated again by the heartbeat after it.
 */
import { isoAfter } from './context.ts';
import type { RunTarget, StopEvidence } from './halt-documents.ts';
import type { Halt } from './state.ts';

export const IN_FLIGHT_MS = 5_000;

/** Null: did not happen, or is not known. */
export interface StopFacts {
  readonly targets: readonly {
    readonly targetId: string;
    readonly confirmation: RunTarget['confirmation'];
    readonly stoppedAt: string | null;
  }[];
  readonly receivedAt: string | null;
  readonly stoppedAckAt: string | null;
  /** When a heartbeat last stated more compute than the one before it. */
  readonly progressAt: string | null;
  readonly heartbeatAt: string | null;
  /** When life of the run last contradicted what its orchestrators said. */
  readonly doubtedAt: string | null;
}

export type AgainstStop =
  | { readonly kind: 'not-seen-stopped'; readonly targetId: string }
  | { readonly kind: 'no-word' }
  | { readonly kind: 'compute-advanced'; readonly at: string }
  /** Silence is still to show that the word is true. */
  | { readonly kind: 'unproved'; readonly until: string };

export interface StopWeighed {
  readonly isStopped: boolean;
  readonly speaksFor: readonly StopEvidence[];
  readonly speaksAgainst: readonly AgainstStop[];
  /** From when on silence alone confirms; null where a word is missing, or none is needed. */
  readonly quietAt: string | null;
}

export function weighStop(facts: StopFacts, heartbeatIntervalMs: number, now: Date): StopWeighed {
  const word = wordAt(facts);
  const missing = missingWords(facts);
  const { progressAt } = facts;
  const against: AgainstStop[] = [...missing];
  const isContradicted = word !== null && progressAt !== null && isBeyondFlight(word, progressAt);
  if (isContradicted && progressAt !== null) against.push({ kind: 'compute-advanced', at: progressAt });
  const needsSilence = isContradicted || facts.doubtedAt !== null || !facts.targets.some(isObserved);
  const quietAt =
    word === null || !needsSilence ? null : isoAfter(later(word, progressAt), heartbeatIntervalMs);
  const isQuiet = quietAt === null || now.getTime() >= Date.parse(quietAt);
  if (quietAt !== null && !isQuiet) against.push({ kind: 'unproved', until: quietAt });
  const isStopped = word !== null && isQuiet;
  return {
    isStopped,
    speaksFor: inFavour(facts, word),
    // What silence has outlasted since speaks no more.
    speaksAgainst: isStopped ? [] : against,
    quietAt,
  };
}

/** When the last of those who had to say it said that the run stopped; null while any has not. */
export function wordAt({
  targets,
  stoppedAckAt,
}: Pick<StopFacts, 'targets' | 'stoppedAckAt'>): string | null {
  const observed = targets.filter(isObserved);
  if (observed.length === 0) return stoppedAckAt;
  return observed.reduce<string | null>(
    (last, { stoppedAt }, i) =>
      stoppedAt === null || (i > 0 && last === null) ? null : later(stoppedAt, last),
    null,
  );
}

/** Too late to have been sent before the word was given. */
export function isBeyondFlight(word: string, at: Date | string): boolean {
  const ms = typeof at === 'string' ? Date.parse(at) : at.getTime();
  return ms - Date.parse(word) >= IN_FLIGHT_MS;
}

function missingWords({ targets, stoppedAckAt }: StopFacts): AgainstStop[] {
  const observed = targets.filter(isObserved);
  if (observed.length === 0) return stoppedAckAt === null ? [{ kind: 'no-word' }] : [];
  return observed
    .filter(({ stoppedAt }) => stoppedAt === null)
    .map(({ targetId }) => ({ kind: 'not-seen-stopped', targetId }));
}

function inFavour(facts: StopFacts, word: string | null): StopEvidence[] {
  const { targets, receivedAt, stoppedAckAt, heartbeatAt, progressAt } = facts;
  const silent = heartbeatAt !== null && word !== null && Date.parse(heartbeatAt) <= Date.parse(word);
  const frozen = progressAt !== null && word !== null && !isBeyondFlight(word, progressAt);
  return [
    ...targets.flatMap(({ targetId, stoppedAt }): StopEvidence[] =>
      stoppedAt === null ? [] : [{ kind: 'seen-stopped', targetId, at: stoppedAt }],
    ),
    ...(receivedAt === null ? [] : [{ kind: 'trainer-received' as const, at: receivedAt }]),
    ...(stoppedAckAt === null ? [] : [{ kind: 'trainer-stopped' as const, at: stoppedAckAt }]),
    ...(silent ? [{ kind: 'heartbeats-ceased' as const, at: heartbeatAt }] : []),
    ...(frozen && !silent ? [{ kind: 'compute-frozen' as const, at: progressAt }] : []),
  ];
}

const isObserved = ({ confirmation }: Pick<RunTarget, 'confirmation'>): boolean =>
  confirmation === 'observed';

const later = (a: string, b: string | null): string => (b !== null && Date.parse(b) > Date.parse(a) ? b : a);

/** What the ledger knows of it; the rest comes from the heartbeat side columns. */
export function factsOf(
  { targets, receivedAt, stoppedAckAt, doubtedAt }: Halt,
  ofRun: readonly Pick<RunTarget, 'targetId' | 'confirmation'>[],
): Omit<StopFacts, 'progressAt' | 'heartbeatAt'> {
  return {
    targets: ofRun.map(({ targetId, confirmation }) => ({
      targetId,
      confirmation,
      stoppedAt: targets.find((each) => each.targetId === targetId)?.stoppedAt ?? null,
    })),
    receivedAt,
    stoppedAckAt,
    doubtedAt: doubtedAt ?? null,
  };
}

export function againstText(against: AgainstStop): string {
  switch (against.kind) {
    case 'not-seen-stopped':
      return `${against.targetId} was not seen to stop`;
    case 'no-word':
      return 'the trainer has not said that it stopped';
    case 'compute-advanced':
      return `compute still grew at ${against.at}`;
    case 'unproved':
      return `silence until ${against.until} has to show that the word is true`;
    default:
      return against satisfies never;
  }
}
