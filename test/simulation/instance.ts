/**
 * One Interlock of a simulation, built from the real parts as src/main.ts builds it: run service, intake, heartbeats,
 * handlers, worker, reconciler. Its requests are answered as the routes of src/http answer them.
 *
 * When it crashes nothing of it is kept but what the store has; the next one has another instance id.
 */
import { z } from 'zod';
import type { AlertChannel } from '../../src/alerts/alert-channel.ts';
import type { Identity } from '../../src/config/identities.ts';
import { shadowUntil as inShadowUntil, type Mode } from '../../src/config/mode.ts';
import type { CallOut } from '../../src/domain/policy/quarantine.ts';
import type { Policy } from '../../src/domain/policy/schema.ts';
import type { Command } from '../../src/domain/run/decide.ts';
import type { RunTarget } from '../../src/domain/run/halt-documents.ts';
import { InterlockError } from '../../src/errors.ts';
import type { Evaluators } from '../../src/evaluators/registry.ts';
import type { Isolator } from '../../src/isolation/isolator.ts';
import type { ViewRow } from '../../src/ledger/ledger.ts';
import type { Orchestrator } from '../../src/orchestrators/orchestrator.ts';
import { createLabelSlots, type LabelCapacity } from '../../src/queue/labels.ts';
import type { WorkItem, WorkQueue } from '../../src/queue/work-queue.ts';
import { createHeartbeats, type Heartbeats } from '../../src/service/heartbeats.ts';
import { createIntake, type Intake, type Registration } from '../../src/service/intake.ts';
import { createLineage } from '../../src/service/lineage.ts';
import { createParentage } from '../../src/service/parentage.ts';
import { createPolicyBook, type PolicyBook, pin } from '../../src/service/policies.ts';
import {
  createRunService,
  type Executed,
  type LoadedRun,
  type Receipt,
  type RunService,
} from '../../src/service/run-service.ts';
import { createRunningEvaluations } from '../../src/service/running-evaluations.ts';
import type { WeightsGuard } from '../../src/service/weights-guard.ts';
import { createWorkHandlers } from '../../src/service/work.ts';
import { createWorker, type Worker } from '../../src/service/worker.ts';
import type { TokenSigner } from '../../src/signing/tokens.ts';
import type { Connection } from './store.ts';
import type { SimulatedProcess } from './virtual-time.ts';

export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

export interface InstanceDeps {
  readonly id: string;
  readonly process: SimulatedProcess;
  readonly connection: Connection;
  readonly queue: WorkQueue;
  readonly policies: readonly Policy[];
  readonly defaultPolicy: string;
  readonly signer: TokenSigner;
  readonly evaluators: (instance: string) => Evaluators;
  readonly isolatorOf: (callOut: CallOut, process: SimulatedProcess) => Isolator;
  readonly orchestratorOf: (loaded: LoadedRun, targetId: string, process: SimulatedProcess) => Orchestrator;
  readonly channels: ReadonlyMap<string, AlertChannel>;
  readonly isWorker: boolean;
  readonly isScheduler: boolean;
  readonly reconcileIntervalMs: number;
  readonly lostAfterMs: number;
  /** Whether halts reach relatives: where there are none, what looks for them would only draw faults. */
  readonly hasRelatives: boolean;
  /** Who looks at the weights of checkpoints; null: nobody does. */
  readonly weightsOf: (runs: RunService) => WeightsGuard['look'] | null;
  /** Labelled work that it takes beside all other. */
  readonly capacity: LabelCapacity;
  /** Until when runs are registered in shadow; null: none is. */
  readonly shadowUntil: string | null;
  readonly hasEnded: (detail: string) => boolean;
  /** What nobody should have to get up for in a simulation either. */
  readonly onError: (message: string, fields: object) => void;
}

const ViewDoc = z.object({ runId: z.string() });
const SaidDoc = z.object({ bodyDigest: z.string().optional(), contentDigest: z.string().optional() });

export class Interlock {
  readonly id: string;
  readonly process: SimulatedProcess;
  readonly runs: RunService;
  readonly intake: Intake;
  readonly heartbeats: Heartbeats;
  readonly worker: Worker;
  readonly connection: Connection;
  readonly #policies: PolicyBook;
  readonly #defaultPolicy: string;
  readonly #shadowUntil: () => string | null;

  constructor(deps: InstanceDeps) {
    const { id, process, connection, signer, onError } = deps;
    const { ledger, progress, instances } = connection;
    const { clock, timers } = process;
    this.id = id;
    this.process = process;
    this.connection = connection;
    this.#defaultPolicy = deps.defaultPolicy;
    const { shadowUntil } = deps;
    const mode: Mode = shadowUntil === null ? { kind: 'armed' } : { kind: 'shadow', until: shadowUntil };
    this.#shadowUntil = () => inShadowUntil(mode, clock());
    const logger = {
      debug: () => undefined,
      info: () => undefined,
      warn: () => undefined,
      error: (fields: object, message: string) => onError(message, fields),
    };
    const policies = createPolicyBook(ledger, deps.policies.map(pin));
    this.#policies = policies;
    const runs = createRunService({ ledger, progress, policies, clock, timers, logger });
    this.runs = runs;
    const running = createRunningEvaluations();
    const look = deps.weightsOf(runs);
    const weights = look === null ? {} : { weights: { look, lookSoon: look } };
    const committed = new WeakMap<WorkItem, LoadedRun>();
    const handlers = createWorkHandlers({
      runs,
      committed,
      ledger,
      evaluators: deps.evaluators(id),
      running,
      ...weights,
      orchestratorOf: (loaded, targetId) => deps.orchestratorOf(loaded, targetId, process),
      isolatorOf: (callOut) => deps.isolatorOf(callOut, process),
      channels: deps.channels,
      signer,
      instance: id,
      callbackUrl: (evaluationId, attempt) => `${evaluationId}/${attempt}`,
      statusUrl: (runId) => `#${runId}`,
      timers,
      logger,
    });
    this.worker = createWorker({
      runs,
      ledger,
      instances,
      instance: id,
      running,
      handlers,
      committed,
      queue: deps.queue,
      isWorker: deps.isWorker,
      isScheduler: deps.isScheduler,
      labels: { slots: createLabelSlots(deps.capacity), capacity: deps.capacity, only: false },
      clock,
      timers,
      logger,
      reconcileIntervalMs: deps.reconcileIntervalMs,
      lostAfterMs: deps.lostAfterMs,
      home: { describe: () => id, hasEnded: deps.hasEnded },
    });
    this.heartbeats = createHeartbeats({ runs, progress, signer, clock });
    const resolveParents = createParentage({ runs, ledger, progress });
    const lineage = deps.hasRelatives
      ? createLineage({ runs, ledger, resolveParents, logger, timers })
      : null;
    lineage?.start();
    this.intake = createIntake({
      runs,
      ledger,
      policies,
      defaultPolicy: deps.defaultPolicy,
      policyByLabel: {},
      admitTarget: async (target) => ({ ok: true, target }),
      knownAlerts: new Set(deps.channels.keys()),
      shadowUntil: this.#shadowUntil,
      resolveParents,
      latchLineage: async (state) => lineage?.latch(state),
      statusUrl: (runId, checkpointId) => `${runId}/${checkpointId}`,
      ...weights,
    });
  }

  /** Answers as the server does: a passing fault is 503, a fault of ours 500. */
  async answer(handle: () => Promise<Answer>): Promise<Answer> {
    try {
      return await handle();
    } catch (error) {
      if (error instanceof InterlockError && error.retryable) return { status: 503, body: error.code };
      return { status: 500, body: error };
    }
  }

  register(registration: Registration, identity: Identity): Promise<Answer> {
    return this.answer(async () => {
      const executed = await this.intake.register(registration, identity);
      if (executed.outcome === 'rejected' || executed.outcome === 'reused-id') return refused(executed);
      const loaded = await this.runs.load(registration.runId);
      if (loaded === null) return { status: 404, body: null };
      const permit = await this.heartbeats.issuePermit(loaded, null);
      return { status: executed.outcome === 'recorded' ? 201 : 200, body: { permit } };
    });
  }

  /** As intake does it, for targets that need no look at this machine's processes. */
  registerObserved(registration: Registration, targets: RunTarget[], identity: Identity): Promise<Answer> {
    return this.answer(async () => {
      const chosen = this.#policies.byName(registration.policy ?? this.#defaultPolicy);
      if (chosen === null) return { status: 422, body: 'policy' };
      await this.#policies.record(chosen, identity.id);
      const { runId, title, initialCompute, parents, sources, labels } = registration;
      const executed = await this.runs.execute(
        runId,
        {
          type: 'RegisterRun',
          runId,
          title,
          policyDigest: chosen.digest,
          initialCompute,
          parents,
          sources,
          targets,
          labels,
          contentDigest: `as-sent ${runId}`,
          by: identity.id,
          operator: identity.roles.includes('operator'),
          vouched: registration.vouchedParentage,
          shadowUntil: this.#shadowUntil() ?? undefined,
        },
        { actor: identity.id, policy: chosen.policy },
      );
      return answered(executed, 201);
    });
  }

  checkpoint(
    report: Parameters<Intake['reportCheckpoint']>[0],
    identity: Identity,
    receipt: Receipt | undefined,
  ): Promise<Answer> {
    return this.answer(async () => {
      const executed = await this.intake.reportCheckpoint(report, identity, receipt);
      if (executed.outcome === 'rejected' || executed.outcome === 'reused-id') return refused(executed);
      const body = await this.intake.checkpointAnswer(report.runId, report.checkpointId);
      return { status: executed.outcome === 'recorded' ? 202 : 200, body };
    });
  }

  heartbeat(beat: Parameters<Heartbeats['beat']>[0]): Promise<Answer> {
    return this.answer(async () => {
      const outcome = await this.heartbeats.beat(beat);
      if (outcome.ok) return { status: 200, body: outcome.answer };
      return { status: outcome.code === 'forbidden' ? 403 : 404, body: outcome.message };
    });
  }

  acknowledge(haltId: string, state: 'received' | 'stopped', by: Identity): Promise<Answer> {
    return this.answer(async () => {
      const view = await this.connection.ledger.view('halt', haltId);
      if (view === null) return { status: 404, body: 'no such halt' };
      const orchestrator = by.roles.includes('orchestrator');
      const executed = await this.runs.execute(
        view.runId,
        { type: 'AcknowledgeHalt', haltId, state, claimedAt: null, by: by.id, orchestrator },
        { actor: by.id },
      );
      return answered(executed, 200);
    });
  }

  result(
    evaluationId: string,
    attempt: number,
    result: unknown,
    identity: Identity,
    receipt: Receipt | undefined,
  ): Promise<Answer> {
    return this.answer(async () =>
      answered(await this.intake.recordResult(evaluationId, attempt, result, identity, receipt), 200),
    );
  }

  retry(evaluationId: string, identity: Identity): Promise<Answer> {
    return this.answer(async () => {
      const view = await this.connection.ledger.view('evaluation', evaluationId);
      if (view === null || !ViewDoc.safeParse(view.doc).success) return { status: 404, body: null };
      return answered(await this.intake.retry(evaluationId, identity), 200);
    });
  }

  command(runId: string, command: Command, actor: string, receipt?: Receipt): Promise<Answer> {
    return this.answer(async () =>
      answered(await this.runs.execute(runId, command, { actor, receipt }), 200),
    );
  }

  /** What is known again by its id: what was said under it before is asked of the views. */
  said(
    runId: string,
    { kind, id }: Pick<ViewRow, 'kind' | 'id'>,
    command: (priorDigest: string | null) => Command,
    actor: string,
  ): Promise<Answer> {
    return this.answer(async () => {
      const build = async (): Promise<Command> => {
        const prior = SaidDoc.safeParse((await this.connection.ledger.view(kind, id))?.doc);
        return command(prior.success ? (prior.data.bodyDigest ?? prior.data.contentDigest ?? null) : null);
      };
      return answered(await this.runs.execute(runId, build, { actor }), 200);
    });
  }

  read(runId: string): Promise<Answer> {
    return this.answer(async () => {
      const loaded = await this.runs.load(runId);
      return loaded === null ? { status: 404, body: null } : { status: 200, body: loaded.state };
    });
  }
}

type Outcome = Awaited<ReturnType<Intake['register']>>;
type Failed = Extract<Outcome, { outcome: 'rejected' | 'reused-id' }>;

function answered(executed: Outcome | Executed, status: number): Answer {
  if (executed.outcome === 'rejected' || executed.outcome === 'reused-id') return refused(executed);
  return { status, body: 'state' in executed ? executed.state : executed.response };
}

const STATUS = { conflict: 409, stale: 409, forbidden: 403, invalid: 422, 'not-found': 404 } as const;

function refused(executed: Failed): Answer {
  if (executed.outcome === 'reused-id') return { status: 409, body: 'webhook-id-reused' };
  return { status: STATUS[executed.rejection.code], body: executed.rejection.message };
}
