/**
 * What acts: evaluators, halt targets and alert channels behind their handlers, the queue that calls these, and the
 * worker with its reconciler.
 */
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { createAlertChannel } from '../alerts/registry.ts';
import { secretsNamed, secretsOfSenders, variable } from '../button/target-secrets.ts';
import type { Environment } from '../config/environment.ts';
import type { IdentityRecord } from '../config/identities.ts';
import type { DatabaseHandle } from '../database/open-database.ts';
import { type Containment, detectContainment } from '../evaluators/containment.ts';
import type { EvaluationRequest } from '../evaluators/evaluator.ts';
import { readLog } from '../evaluators/formats/detect.ts';
import { sweepOrphans } from '../evaluators/job-records.ts';
import { removeAbandonedAttempts } from '../evaluators/launchers/attempt-directories.ts';
import { evaluationLimits } from '../evaluators/limits.ts';
import { watchOrphans } from '../evaluators/orphan-watch.ts';
import { createEvaluators } from '../evaluators/registry.ts';
import { createDigester } from '../evaluators/weights/digester.ts';
import { openIsolators } from '../isolation/registry.ts';
import type { EvaluationProgressStore } from '../ledger/evaluation-progress.ts';
import { createInstances } from '../ledger/instances.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { readStanding } from '../ledger/standing.ts';
import type { Orchestrator } from '../orchestrators/orchestrator.ts';
import { type Orchestrators, openOrchestrators } from '../orchestrators/registry.ts';
import type { Outbound } from '../outbound/outbound.ts';
import { createWorkQueue } from '../queue/create-work-queue.ts';
import { createLabelSlots } from '../queue/labels.ts';
import type { WorkItem, WorkQueue } from '../queue/work-queue.ts';
import type { Evidence, EvidenceSource } from '../service/evidence.ts';
import type { Check } from '../service/readiness.ts';
import type { LoadedRun, RunService } from '../service/run-service.ts';
import { createRunningEvaluations } from '../service/running-evaluations.ts';
import { observeStanding } from '../service/standing.ts';
import { observeParts } from '../service/telemetry.ts';
import { createWeightsGuard, type WeightsGuard } from '../service/weights-guard.ts';
import { createWorkHandlers } from '../service/work.ts';
import { createWorker, type Worker } from '../service/worker.ts';
import type { TokenSigner } from '../signing/tokens.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { InterlockConfiguration } from './configuration.ts';
import { ownSecrets } from './own-secrets.ts';
import type { Step } from './steps.ts';

export interface ActingDeps {
  readonly config: InterlockConfiguration;
  readonly env: Environment;
  readonly database: DatabaseHandle;
  readonly ledger: Ledger;
  readonly runs: RunService;
  readonly signer: TokenSigner;
  readonly outbound: Outbound;
  readonly identities: () => readonly IdentityRecord[];
  readonly instance: string;
  readonly evaluationProgress: EvaluationProgressStore;
  /** Null where no logs are kept. */
  readonly evidence: Evidence | null;
  /** Where this service is reached; known for good once it listens. */
  readonly baseUrl: () => string;
  readonly metrics: Metrics;
  readonly clock: () => Date;
  readonly logger: Logger;
  readonly stops: Step[];
}

export interface Acting {
  readonly queue: WorkQueue;
  readonly worker: Worker;
  readonly orchestrators: Orchestrators;
  readonly orchestratorOf: (loaded: LoadedRun, targetId: string) => Orchestrator | null;
  readonly channels: ReadonlySet<string>;
  readonly containment: Check;
  readonly look: ReturnType<typeof observeStanding>;
  /** Null where the configuration leaves weights unread. */
  readonly weights: WeightsGuard | null;
}

export async function createActing(deps: ActingDeps): Promise<Acting> {
  const { config, env, database, ledger, runs, signer, outbound, instance, baseUrl } = deps;
  const { evidence, metrics, clock, logger, stops } = deps;
  const running = createRunningEvaluations();
  const secretsOf = (by: string) => secretsOfSenders(deps.identities())(by);
  const orchestrators = openOrchestrators({
    config: config.orchestrators,
    outbound,
    now: clock,
    variable: (reference) => variable(env, reference),
    webhookSecrets: ({ secret }, by) => (secret === undefined ? secretsOf(by) : secretsNamed(env, secret)),
  });

  const jobsDirectory = join(config.dataDir, 'jobs');
  await mkdir(jobsDirectory, { recursive: true, mode: 0o700 });
  const attemptsDirectory = join(config.dataDir, 'attempts');
  await removeAbandonedAttempts(attemptsDirectory, clock().getTime());
  const containment = await detectContainment({
    mode: config.evaluators.containment,
    limits: evaluationLimits(config.evaluators.limits),
  });
  // Before anything new is started: a sweep knows its own jobs by record, group and mark.
  const swept = await sweepOrphans(jobsDirectory, containment);
  const { kind, enforced, missing } = containment;
  logger.info({ containment: kind, enforced, missing }, 'evaluations are contained');
  if (swept.orphans > 0)
    logger.warn({ orphans: swept.orphans }, 'stopped evaluations left by an earlier process');
  const stopWatching = watchOrphans({
    jobsDirectory,
    containment,
    onSwept: ({ orphans, survived }) =>
      logger.warn(
        { orphans, survived },
        'stopped evaluations left by a process that was killed beside this one',
      ),
    onFailure: (error) =>
      logger.warn({ err: error }, 'evaluations left by others were not looked for; trying again'),
  });
  stops.push(['the watch for orphaned evaluations', stopWatching]);

  const channels = new Map(
    config.alerts.map((channel) => [
      channel.name,
      createAlertChannel(channel, {
        outbound,
        now: clock,
        resolve: (reference) => variable(env, reference),
      }),
    ]),
  );
  const orchestratorOf = ({ state }: LoadedRun, targetId: string): Orchestrator | null => {
    const target = state.targets.find((each) => each.targetId === targetId);
    return target === undefined ? null : orchestrators.of(target, state.by);
  };
  const digester = createDigester(config.models.roots);
  stops.push(['digests of weights', () => digester.close()]);
  const weights =
    config.models.digest === 'off'
      ? null
      : createWeightsGuard({ runs, digester, modelRoots: config.models.roots, logger });
  const committed = new WeakMap<WorkItem, LoadedRun>();
  const own = ownSecrets(config);
  const environmentVariable = (name: string): string | undefined => (own.has(name) ? undefined : env[name]);
  const logs = { readLog, keepLog: evidence === null ? undefined : keptBy(evidence) };
  const handlers = createWorkHandlers({
    runs,
    committed,
    ledger,
    running,
    weights: weights ?? undefined,
    evaluationProgress: deps.evaluationProgress,
    signer,
    instance,
    channels,
    logger,
    evaluators: createEvaluators({
      command: {
        modelRoots: config.models.roots,
        baseEnvironment: { PATH: env['PATH'], HOME: env['HOME'], LANG: env['LANG'] },
        environmentVariable,
        jobsDirectory,
        attemptsDirectory,
        ...logs,
        baseDirectory: dirname(config.file),
        containment,
      },
      slurm: {
        ...logs,
        cluster: config.evaluators.slurm ?? null,
        modelRoots: config.models.roots,
        baseEnvironment: { PATH: env['PATH'], HOME: env['HOME'], LANG: env['LANG'] },
        environmentVariable,
      },
      http: {
        outbound,
        now: clock,
        secrets: (reference) => (reference === undefined ? [] : secretsNamed(env, reference)),
      },
    }),
    orchestratorOf,
    isolatorOf: openIsolators({
      config: config.isolation,
      outbound,
      now: clock,
      variable: (reference) => variable(env, reference),
      secrets: (reference) => secretsNamed(env, reference),
    }),
    callbackUrl: (evaluationId, attempt) =>
      `${baseUrl()}/v1/evaluations/${encodeURIComponent(evaluationId)}/result?attempt=${attempt}`,
    // The page, not the API: whoever is woken has a browser and no token in it.
    statusUrl: (runId) => `${baseUrl()}/#${encodeURIComponent(runId)}`,
  });

  const { labels: capacity, only = false } = config.workers;
  const labels = { capacity, only, slots: createLabelSlots(capacity) };
  const queue = createWorkQueue({
    labels,
    backend:
      config.redis.url === null
        ? { kind: 'postgres', url: database.directUrl }
        : { kind: 'redis', url: config.redis.url.reveal() },
    logger,
    concurrency: { evaluate: config.evaluators.concurrency, dispatch: config.evaluators.dispatches },
  });
  const worker = createWorker({
    runs,
    ledger,
    instances: createInstances(database.pool),
    instance,
    running,
    handlers,
    committed,
    queue,
    labels,
    isWorker: config.roles.includes('worker'),
    isScheduler: config.roles.includes('scheduler'),
    clock,
    logger,
  });
  stops.push(['worker', () => worker.stop()]);
  observeParts(metrics, { database, reconciler: worker.reconciler });
  const look = observeStanding(metrics, {
    standing: () => readStanding(database.pool),
    queueDepths: () => queue.depths(),
    queueChecks: () => queue.checks(),
    reconciler: worker.reconciler,
    isScheduler: config.roles.includes('scheduler'),
    running: () => running.list().length,
    clock,
  });
  return {
    queue,
    worker,
    orchestrators,
    orchestratorOf,
    channels: new Set(channels.keys()),
    containment: containmentCheck(containment),
    look,
    weights,
  };
}

const keptBy =
  (evidence: Evidence) =>
  async (source: EvidenceSource, { runId, evaluationId, attempt }: EvaluationRequest): Promise<void> => {
    await evidence.keep(source, { runId, evaluationId, attempt, by: 'interlock' });
  };

/** Known and accepted at start, hence never a reason not to be ready: `evaluators.containment` is how to insist. */
function containmentCheck({ kind, enforced, missing }: Containment): Check {
  const not = missing.length === 0 ? '' : `; not held here: ${missing.join(', ')}`;
  return {
    name: 'containment',
    ok: true,
    detail: `by ${kind}; limits: ${enforced.join(', ') || 'none'}${not}`,
  };
}
