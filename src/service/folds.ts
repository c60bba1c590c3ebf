/** How the ledger's streams are folded, for replay and for rebuilding views. */
import { plainJson } from '../domain/canonical-json.ts';
import type { Policy } from '../domain/policy/schema.ts';
import { parseRunEvent, type RunEvent } from '../domain/run/events.ts';
import { evolve } from '../domain/run/evolve.ts';
import { recheck } from '../domain/run/recheck.ts';
import { type RunState, RunStateSchema } from '../domain/run/state.ts';
import { project } from '../domain/run/views.ts';
import type { RecordedEvent } from '../ledger/ledger.ts';
import type { Fold, FoldFor } from '../ledger/replay.ts';
import { sha256 } from './digest.ts';
import { PolicyStateSchema, pin, policyJson } from './policies.ts';

/** One fold's state: a run, or a recorded policy. Security events have no state. */
export type Folded = { readonly run: RunState } | { readonly policy: Policy };

export interface FoldOptions {
  /** Only this run is judged; policies always are, because runs need them. */
  readonly runId?: string | undefined;
}

export function createFolds({ runId }: FoldOptions = {}): FoldFor<Folded> {
  // Policies are recorded before the runs that pin them, so the order of the ledger fills this in time.
  const policies = new Map<string, Policy>();
  const run = runFold(policies);
  const policy = policyFold(policies);
  return (stream) => {
    if (stream.startsWith('policy-')) return policy;
    if (!stream.startsWith('run-')) return null;
    return runId === undefined || stream === `run-${runId}` ? run : null;
  };
}

function policyFold(policies: Map<string, Policy>): Fold<Folded> {
  return {
    evolve: (_state, event) => {
      const { policy } = PolicyStateSchema.parse(event.data);
      policies.set(event.stream.slice('policy-'.length), policy);
      return { policy };
    },
    toJson: (state) => ('policy' in state ? { policy: policyJson(state.policy) } : null),
    check: (_before, event) => {
      const { policy } = PolicyStateSchema.parse(event.data);
      const { digest } = pin(policy);
      return event.stream === `policy-${digest}`
        ? null
        : `the policy's digest is ${digest}, not its stream's name`;
    },
    project: () => [],
  };
}

function runFold(policies: ReadonlyMap<string, Policy>): Fold<Folded> {
  const stateOf = (folded: Folded | null): RunState | null =>
    folded !== null && 'run' in folded ? folded.run : null;
  // An event is judged, folded and shown one after the other: it is read once for all three.
  let last: { readonly event: RecordedEvent; readonly read: RunEvent } | null = null;
  const read = (event: RecordedEvent): RunEvent => {
    if (last?.event !== event) last = { event, read: parseRunEvent(event.kind, event.data) };
    return last.read;
  };
  return {
    evolve: (before, event) => ({ run: evolve(stateOf(before), read(event)) }),
    toJson: (folded) => {
      const state = stateOf(folded);
      return state === null ? null : plainJson(RunStateSchema.parse(state));
    },
    check: (before, event) => {
      const state = stateOf(before);
      const parsed = read(event);
      const digest = parsed.kind === 'RunRegistered' ? parsed.data.policy : state?.policy;
      const policy = digest === undefined ? undefined : policies.get(digest);
      if (policy === undefined) return `the ledger holds no policy ${digest ?? ''} for this run`;
      return recheck(state, parsed, policy, sha256);
    },
    project: (before, event, after) => {
      const state = stateOf(after);
      return state === null ? [] : project(stateOf(before), read(event), state).map((view) => ({ ...view }));
    },
  };
}
