/**
 * Every command on a run, in four visible steps: gather, decide, record, act.
 *
 * Guarantee: when `execute` answers `recorded`, the events are committed. After that nothing may fail the
 * caller: acting (queue, first halt steps, cancelling jobs) is done by listeners whose faults are logged, and
 * the reconciler makes good. A version conflict means that somebody else moved the run: gather and decide again.
 */
import { type Json, type JsonObject, plainJson } from '../domain/canonical-json.ts';
import type { Policy } from '../domain/policy/schema.ts';
import { type Context, isRejection, type Rejection } from '../domain/run/context.ts';
import { type Command, decide } from '../domain/run/decide.ts';
import { parseRunEvent, type RunEvent } from '../domain/run/events.ts';
import { evolve } from '../domain/run/evolve.ts';
import { nextDueMs, outstanding, type WorkItem } from '../domain/run/outstanding.ts';
import { type RunState, RunStateSchema } from '../domain/run/state.ts';
import type { View } from '../domain/run/view.ts';
import { project } from '../domain/run/views.ts';
import { InterlockError } from '../errors.ts';
import { faultPoint } from '../fault-points.ts';
import type { Append, Ledger, RecordedEvent } from '../ledger/ledger.ts';
import type { Progress, ProgressStore } from '../ledger/progress.ts';
import { withinSpan } from '../telemetry/tracing.ts';
import type { Timers } from '../timers.ts';
import { sha256 } from './digest.ts';
import type { PolicyBook } from './policies.ts';
import { createTurns } from './turns.ts';

export const runStream = (runId: string): string => `run-${runId}`;

export interface LoadedRun {
  readonly version: number;
  readonly state: RunState;
  readonly policy: Policy;
}

/** A signed message's identity: unique for ever per source, bound to its body. */
export interface Receipt {
  readonly source: string;
  readonly webhookId: string;
  readonly bodyDigest: string;
}

export interface Commit {
  readonly runId: string;
  readonly before: RunState | null;
  readonly after: RunState;
  readonly policy: Policy;
  readonly events: readonly RecordedEvent[];
  /** Everything outstanding now. */
  readonly items: readonly WorkItem[];
}

export type Executed =
  | {
      readonly outcome: 'recorded';
      readonly state: RunState;
      readonly policy: Policy;
      readonly events: readonly RunEvent[];
    }
  /** The command was a repetition: nothing new is recorded. */
  | { readonly outcome: 'unchanged'; readonly state: RunState; readonly policy: Policy }
  | { readonly outcome: 'rejected'; readonly rejection: Rejection['rejected'] }
  /** The same signed message came before: its answer then, or null where it was another body. */
  | { readonly outcome: 'replayed'; readonly response: Json }
  | { readonly outcome: 'reused-id' };

export interface ExecuteOptions {
  readonly actor: string;
  readonly receipt?: Receipt | undefined;
  /** What the sender is answered, kept with the receipt so that a repetition gets the same. */
  readonly response?: (state: RunState, policy: Policy, events: readonly RunEvent[]) => Json;
  /** Needed for a run that does not exist yet. */
  readonly policy?: Policy;
  /** Evidence, and what stops a run: it goes before what waits for its turn. */
  readonly urgent?: boolean;
}

export type BuildCommand = (loaded: LoadedRun | null) => Command | Promise<Command>;

export interface RunService {
  load(runId: string): Promise<LoadedRun | null>;
  execute(runId: string, command: Command | BuildCommand, options: ExecuteOptions): Promise<Executed>;
  /** Takes a signed message that is no command (a heartbeat): unique for ever all the same. */
  receive(
    runId: string,
    receipt: Receipt,
  ): Promise<'new' | 'replayed' | 'reused-id' | 'no-run' | 'no-source'>;
  /** Called after each commit of this process, in the order of commits; must not throw. */
  onCommit(listener: (commit: Commit) => void): void;
}

export interface RunServiceDeps {
  readonly ledger: Ledger;
  readonly progress: ProgressStore;
  readonly policies: PolicyBook;
  readonly clock: () => Date;
  readonly timers?: Timers;
  readonly logger: { warn(fields: object, message: string): void };
}

/** Each conflict means that another command on this run was recorded: progress, if not ours. */
const CONFLICTS_MAX = 50;

export function createRunService(deps: RunServiceDeps): RunService {
  const { ledger, progress, policies, clock, logger } = deps;
  const listeners: ((commit: Commit) => void)[] = [];
  const inTurn = createTurns(undefined, deps.timers);

  async function load(runId: string): Promise<LoadedRun | null> {
    const stream = await ledger.load(runStream(runId));
    if (stream === null) return null;
    const state = readRunState(stream.state);
    return { version: stream.version, state, policy: await policies.byDigest(state.policy) };
  }

  async function gather(
    runId: string,
    options: ExecuteOptions,
  ): Promise<{ loaded: LoadedRun | null; context: Context | null }> {
    const [loaded, read] = await Promise.all([load(runId), progress.read(runId)]);
    const policy = loaded?.policy ?? options.policy;
    if (policy === undefined) return { loaded, context: null };
    const seen = seenProgress(read);
    return { loaded, context: { now: clock(), policy, digest: sha256, progress: seen } };
  }

  async function replayedReceipt(receipt: Receipt): Promise<Executed | null> {
    const known = await ledger.receipt(receipt.source, receipt.webhookId);
    if (known === null) return null;
    return known.bodyDigest === receipt.bodyDigest
      ? { outcome: 'replayed', response: known.response }
      : { outcome: 'reused-id' };
  }

  async function attempt(
    runId: string,
    command: Command | BuildCommand,
    options: ExecuteOptions,
  ): Promise<Executed | 'conflict'> {
    const { loaded, context } = await gather(runId, options);
    if (context === null) return rejected('not-found', `there is no run ${runId}`);
    const { policy } = context;
    const before = loaded?.state ?? null;
    const decision = decide(before, typeof command === 'function' ? await command(loaded) : command, context);
    if (isRejection(decision)) return { outcome: 'rejected', rejection: decision.rejected };
    const { after, views, recorded } = folded(before, decision);
    if (after === null) return rejected('not-found', `there is no run ${runId}`);
    const { receipt } = options;
    if (decision.length === 0 && receipt === undefined) return { outcome: 'unchanged', state: after, policy };
    const items = outstanding(after, policy);
    const due = nextDueMs(items);
    const snapshot =
      decision.length === 0 ? null : { state: plainJson(after), dueAt: due === null ? null : new Date(due) };
    const append: Append = {
      stream: runStream(runId),
      expectedVersion: loaded?.version ?? 0,
      events: recorded,
      actor: options.actor,
      snapshot,
      views: views.map((view) => ({ ...view })),
      ...(receipt === undefined
        ? {}
        : { receipt: { ...receipt, response: options.response?.(after, policy, decision) ?? null } }),
    };
    faultPoint('run.decided');
    if (decision.some(({ kind }) => kind === 'HaltOrdered')) faultPoint('halt.decided');
    const result = await ledger.append(append);
    switch (result.outcome) {
      case 'version-conflict':
        return 'conflict';
      case 'receipt-conflict':
        return receipt?.bodyDigest === result.receipt.bodyDigest
          ? { outcome: 'replayed', response: result.receipt.response }
          : { outcome: 'reused-id' };
      case 'appended':
        if (decision.length === 0) return { outcome: 'unchanged', state: after, policy };
        if (snapshot !== null) checked.set(snapshot.state, after);
        for (const { kind } of decision) passCommitted(kind);
        announce({ runId, before, after, policy, events: result.events, items });
        return { outcome: 'recorded', state: after, policy, events: decision };
      default:
        return result satisfies never;
    }
  }

  function announce(commit: Commit): void {
    for (const listener of listeners) {
      try {
        listener(commit);
      } catch (error) {
        logger.warn(
          { err: error, runId: commit.runId },
          'acting after a commit failed; the reconciler makes good',
        );
      }
    }
  }

  async function receive(runId: string, receipt: Receipt): ReturnType<RunService['receive']> {
    for (let i = 0; i < CONFLICTS_MAX; i += 1) {
      const stream = await ledger.load(runStream(runId));
      if (stream === null) return 'no-run';
      // Before the receipt: what is refused leaves nothing behind.
      const { sources } = readRunState(stream.state);
      if (sources !== null && !sources.includes(receipt.source)) return 'no-source';
      const result = await ledger.append({
        stream: runStream(runId),
        expectedVersion: stream.version,
        events: [],
        actor: receipt.source,
        snapshot: null,
        views: [],
        receipt: { ...receipt, response: null },
      });
      if (result.outcome === 'appended') return 'new';
      if (result.outcome === 'receipt-conflict') {
        return result.receipt.bodyDigest === receipt.bodyDigest ? 'replayed' : 'reused-id';
      }
    }
    throw contended(runId);
  }

  return {
    load,
    receive,
    onCommit: (listener) => void listeners.push(listener),
    async execute(runId, command, options) {
      for (let i = 0; i < CONFLICTS_MAX; i += 1) {
        const executed = await withinSpan('ledger.append', { 'interlock.run.id': runId }, () =>
          inTurn(runId, () => attempt(runId, command, options), options),
        );
        if (executed === 'conflict') continue;
        // A repetition is told by its receipt in the append; one that would be refused by now never gets there.
        const { receipt } = options;
        const refused = executed.outcome === 'rejected' && receipt !== undefined;
        return (refused ? await replayedReceipt(receipt) : null) ?? executed;
      }
      throw contended(runId);
    },
  };
}

/**
 * Checked once per state that the ledger gives: an unchanged stream gives the same one again, and the state that an
 * append of ours recorded is the one it was decided as.
 */
const checked = new WeakMap<object, RunState>();

export function readRunState(state: Json): RunState {
  const known = typeof state === 'object' && state !== null ? checked.get(state) : undefined;
  if (known !== undefined) return known;
  const parsed = RunStateSchema.parse(state);
  if (typeof state === 'object' && state !== null) checked.set(state, parsed);
  return parsed;
}

/** The side columns as a decision reads them: nothing where no heartbeat came yet. */
export function seenProgress({ computeHigh, progressAt, heartbeatAt }: Progress): Context['progress'] {
  const at = progressAt ?? heartbeatAt;
  if (computeHigh === null || at === null) return null;
  return { effectiveCompute: computeHigh, at, ...(heartbeatAt === null ? {} : { heartbeatAt }) };
}

/** What must not be lost between its commit and everything that follows from it. */
function passCommitted(kind: RunEvent['kind']): void {
  if (kind === 'HaltOrdered') faultPoint('halt.committed');
  else if (kind === 'HaltAcknowledged') faultPoint('halt.acknowledged');
  else if (kind === 'HaltConfirmed') faultPoint('halt.confirmed');
  else if (kind === 'RunResumed') faultPoint('resume.committed');
}

function contended(runId: string): InterlockError {
  return new InterlockError(`run ${runId} is being changed by too many at once`, {
    code: 'run.contended',
    retryable: true,
  });
}

function rejected(code: Rejection['rejected']['code'], message: string): Executed {
  return { outcome: 'rejected', rejection: { code, message } };
}

/** Folds one event at a time, so that each row shows the state after its own event; the last one per row stands. */
function folded(
  before: RunState | null,
  events: readonly RunEvent[],
): { after: RunState | null; views: View[]; recorded: { kind: string; data: JsonObject }[] } {
  const views = new Map<string, View>();
  const recorded: { kind: string; data: JsonObject }[] = [];
  let state = before;
  for (const event of events) {
    // What has no JSON form (undefined members) is left out before it is hashed.
    const data = plainJson(event.data);
    recorded.push({ kind: event.kind, data });
    // As the ledger will hold it: what replay folds and what is folded here must be the same value.
    const read = parseRunEvent(event.kind, data);
    const next = evolve(state, read);
    for (const view of project(state, read, next)) views.set(`${view.kind} ${view.id}`, view);
    state = next;
  }
  return { after: state, views: [...views.values()], recorded };
}
