/**
 * A policy's evaluations of one checkpoint, here and now: without server, database, ledger, or anybody who is halted.
 *
 * The handlers that the service uses carry the attempts out, the domain decides when to try again, when a scorecard is closed and
 * what it comes to. The run is one that does nothing else: it starts from nothing, and this checkpoint is its first.
 */
import { type Compute, maxCompute } from '../domain/compute.ts';
import type { Policy } from '../domain/policy/schema.ts';
import type { RunEvent } from '../domain/run/events.ts';
import { outstanding, type WorkItem } from '../domain/run/outstanding.ts';
import type { RunState } from '../domain/run/state.ts';
import { InterlockError } from '../errors.ts';
import type { Evaluators } from '../evaluators/registry.ts';
import type { AttemptProgress } from '../ledger/evaluation-progress.ts';
import { pause } from '../timers.ts';
import { sha256 } from './digest.ts';
import { createMemoryRuns } from './memory-runs.ts';
import { pin } from './policies.ts';
import type { LoadedRun } from './run-service.ts';
import { createRunningEvaluations } from './running-evaluations.ts';
import { createWorkHandlers, type WorkDeps } from './work.ts';

export interface LocalEvaluation {
  /** As whole as it is to count: evaluations that are not to run are not in it. */
  readonly policy: Policy;
  readonly checkpointId: string;
  readonly modelUri: string;
  readonly endpoint: string | null;
  readonly effectiveCompute: Compute;
  readonly evaluators: Evaluators;
  readonly concurrency: number;
  readonly clock: () => Date;
  readonly logger: WorkDeps['logger'];
  onEvents(events: readonly RunEvent[], state: RunState): void;
  onProgress(progress: AttemptProgress): void;
}

export const LOCAL_RUN = 'local';
const BY = 'local';
/** Nothing is ordered here, and so nothing is signed. */
const refuseToSign = () => Promise.reject(new TypeError('a local evaluation signs nothing'));
const NOBODY: WorkDeps['signer'] = {
  signPermit: refuseToSign,
  signWorkPermit: refuseToSign,
  signHaltOrder: refuseToSign,
  signHead: refuseToSign,
};
/** Between two looks at what is due, when a backoff is being waited for. */
const LOOK_MS = 200;

/** Settles when nothing is left to run, or the signal has ended what ran; the run as it then stands. */
export async function evaluateLocally(o: LocalEvaluation, signal: AbortSignal): Promise<LoadedRun> {
  const policy = withoutCeiling(o.policy, o.effectiveCompute);
  const runs = createMemoryRuns(policy, o.clock);
  const running = createRunningEvaluations();
  runs.onEvents((events, state) => {
    // As where a halt is committed: the first evidence at a threshold ends what is still being measured.
    running.cancel(
      events.flatMap((event) => (event.kind === 'EvaluationsCancelled' ? event.data.evaluationIds : [])),
    );
    o.onEvents(events, state);
  });
  const handlers = createWorkHandlers({
    runs: { ...runs, receive: () => Promise.resolve('new'), onCommit: () => undefined },
    ledger: { view: () => Promise.resolve(null) },
    evaluators: o.evaluators,
    running,
    evaluationProgress: {
      note: async (progress) => o.onProgress(progress),
      forget: () => Promise.resolve(),
      ofRun: () => Promise.resolve([]),
    },
    orchestratorOf: () => null,
    isolatorOf: () => null,
    channels: new Map(),
    signer: NOBODY,
    instance: LOCAL_RUN,
    callbackUrl: () => 'http://localhost.invalid/',
    statusUrl: () => '',
    logger: o.logger,
  });
  const started = await runs.execute(LOCAL_RUN, registration(policy), { actor: BY });
  if (started.outcome === 'rejected') throw refused(started.rejection.message);
  const reported = await runs.execute(LOCAL_RUN, checkpoint(o), { actor: BY });
  if (reported.outcome === 'rejected') throw refused(reported.rejection.message);

  const jobs = new Set<Promise<void>>();
  const begun = new Set<string>();
  while (!signal.aborted) {
    const loaded = await runs.load(LOCAL_RUN);
    if (loaded === null) throw new TypeError('the run is gone');
    const open = outstanding(loaded.state, policy).filter((item) => isEvaluation(item));
    const due = open
      .filter(({ notBeforeMs }) => notBeforeMs <= o.clock().getTime())
      .sort((a, b) => (a.priority ?? 0) - (b.priority ?? 0));
    for (const item of due) {
      const key = JSON.stringify(item.ids);
      if (jobs.size >= o.concurrency || begun.has(key)) continue;
      begun.add(key);
      const job = handlers[item.kind](item, signal).finally(() => jobs.delete(job));
      jobs.add(job);
    }
    if (jobs.size === 0 && open.length === 0) break;
    await Promise.race([...jobs, pause(LOOK_MS, signal)]);
  }
  await Promise.allSettled(jobs);
  await runs.execute(LOCAL_RUN, { type: 'Tick' }, { actor: BY });
  const loaded = await runs.load(LOCAL_RUN);
  if (loaded === null) throw new TypeError('the run is gone');
  return loaded;
}

const isEvaluation = ({ kind, ids }: WorkItem): boolean =>
  kind === 'evaluate' ||
  (kind === 'dispatch' && ids['attempt'] !== undefined && ids['evaluationId'] !== undefined);

/** Trying a policy on a checkpoint must not trip over how a run would have come there. */
function withoutCeiling(policy: Policy, effectiveCompute: Compute): Policy {
  const firstCheckpointBy = maxCompute(policy.cadence.firstCheckpointBy, effectiveCompute);
  return { ...policy, cadence: { ...policy.cadence, firstCheckpointBy } };
}

const registration = (policy: Policy) => ({
  type: 'RegisterRun' as const,
  runId: LOCAL_RUN,
  title: null,
  policyDigest: pin(policy).digest,
  initialCompute: null,
  parents: [],
  sources: null,
  targets: [],
  labels: {},
  contentDigest: sha256(LOCAL_RUN),
  by: BY,
  operator: true,
});

const checkpoint = ({ checkpointId, effectiveCompute, modelUri, endpoint }: LocalEvaluation) => ({
  type: 'ReportCheckpoint' as const,
  checkpointId,
  effectiveCompute,
  step: null,
  modelUri,
  endpoint,
  evaluate: true,
  contentDigest: sha256(checkpointId),
  priorDigest: null,
  correlationId: LOCAL_RUN,
  by: BY,
});

const refused = (message: string): InterlockError =>
  new InterlockError(`the checkpoint cannot be evaluated: ${message}`, { code: 'eval.refused' });
