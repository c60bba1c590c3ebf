/** Runs: registering, heartbeats, and everything that is read about one. */
import { z } from 'zod';
import type { Identity } from '../../config/identities.ts';
import { NameSchema } from '../../domain/policy/schema.ts';
import type { AttemptProgress } from '../../ledger/evaluation-progress.ts';
import { targetSchema } from '../../orchestrators/targets.ts';
import { createDisclosure } from '../../service/disclosure.ts';
import { type LoadedRun, runStream } from '../../service/run-service.ts';
import { forbidden, notFound } from '../refusal.ts';
import { type Route, route } from '../route.ts';
import {
  ComputeOut,
  ComputeSchema,
  IdSchema,
  isFailed,
  isRefusal,
  listOf,
  loadRun,
  newestOf,
  OF_RUN,
  PageQuery,
  RunParams,
  receiptOf,
  refusalOf,
  TrainingStageIn,
  text,
} from './common.ts';
import {
  CheckpointDocument,
  GatesDocument,
  gatesDocument,
  HaltDocument,
  RunDocument,
  RunSummary,
  RunWarning,
  runDocument,
  ScorecardDocument,
} from './documents.ts';
import { ForecastsDocument, latestForecasts } from './latest-forecasts.ts';
import { EventDocument, eventDocument, WITHHELD } from './ledger.ts';
import { listOfRun } from './list-of-run.ts';
import { scorecardNow } from './open-scorecard.ts';
import { progressOf } from './progress-part.ts';
import type { Services } from './services.ts';

const label = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'must be letters, digits, dots or dashes');

const RegisterRun = z
  .strictObject({
    runId: IdSchema,
    title: text(200).optional(),
    policy: z.string().min(1).max(64).optional().meta({ description: 'Operators only' }),
    initialCompute: ComputeSchema.optional().meta({
      description: 'Compute already in the weights it starts from',
    }),
    parents: z.array(z.string().min(1).max(256)).max(64).optional().meta({
      description:
        'Whose weights it starts from: runs, run/checkpoint, or digests (sha256:...) that checkpoints reported',
    }),
    vouchedParentage: text(500).optional().meta({
      description:
        'Operators only: why the weights that it starts from may be used although nobody here knows their origin',
    }),
    accelerator: NameSchema.optional().meta({
      description: "Which of the policy's accelerators it trains on; default: the fastest of them",
    }),
    drill: z.literal(true).optional().meta({
      description:
        'Operators only: the targets are shadows, such as a job that only sleeps; they are halted at once and for real, which is timed',
    }),
    sources: z
      .array(IdSchema)
      .min(1)
      .max(64)
      .optional()
      .meta({ description: 'Identities that may report it' }),
    targets: z.array(targetSchema).min(1).max(16),
    labels: z.record(label, label).optional(),
  })
  .meta({ id: 'RegisterRun' });

const RegisteredRun = z
  .object({ run: RunDocument, permit: z.string().nullable(), warnings: z.array(RunWarning) })
  .meta({ id: 'RegisteredRun' });

const Heartbeat = z
  .strictObject({
    effectiveCompute: ComputeSchema,
    step: z.int().min(0).optional(),
    nonce: z
      .string()
      .regex(/^[\x21-\x7e]{1,256}$/, 'must be 1 to 256 printable ASCII characters')
      .optional()
      .meta({ description: 'Random; the permit echoes it' }),
    instance: IdSchema.optional().meta({
      description: 'This process, drawn at its start: one process of a run gets permits at a time',
    }),
    supersedes: IdSchema.optional().meta({
      description:
        'The instance that this one replaces and knows to be gone: its permit need not run out first',
    }),
    halts: z
      .array(z.string().regex(/^[A-Za-z0-9_-]{1,128}$/, 'must be the id of a halt'))
      .max(64)
      .optional()
      .meta({ description: 'Halts in force at the trainer: the permit names those that are cleared' }),
    trainingStage: TrainingStageIn.optional(),
    leaving: z
      .boolean()
      .optional()
      .meta({ description: 'This process trains no more: no permit, and another may begin at once' }),
  })
  .meta({ id: 'Heartbeat' });

const HeartbeatAnswer = z
  .object({
    directive: z.object({
      action: z.enum(['continue', 'pause', 'halt', 'quarantine']),
      haltId: z.string().optional(),
      reason: z.string().optional(),
      resumeFrom: z.string().optional(),
      order: z.string().optional().meta({ description: 'The signed halt order (compact JWS)' }),
    }),
    permit: z.string().nullable().meta({ description: 'Compact JWS; null while none may be issued' }),
    nextCheckpointAt: ComputeOut,
    retain: z.array(z.string()).meta({ description: 'Checkpoints whose weights must be kept' }),
    retainUntil: z.record(z.string(), z.string()).meta({
      description:
        'Until when, by checkpoint: at least that long, also where no further answer comes; each answer renews it',
    }),
    keySet: z
      .string()
      .optional()
      .meta({ description: 'Names the key set; when it changes, fetch /.well-known/jwks.json' }),
  })
  .meta({ id: 'HeartbeatAnswer' });

type Checkpoint = z.infer<typeof CheckpointDocument>;

const withProgress = (checkpoint: Checkpoint, rows: readonly AttemptProgress[]): Checkpoint => ({
  ...checkpoint,
  evaluations: checkpoint.evaluations.map((evaluation) => {
    const progress = evaluation.status === 'running' ? progressOf(rows, evaluation) : null;
    return progress === null ? evaluation : { ...evaluation, progress };
  }),
});

/** `sources` are fixed at registration; an operator speaks for every run. */
const isSource = ({ state: { sources } }: LoadedRun, { id, roles }: Identity): boolean =>
  sources === null || sources.includes(id) || roles.includes('operator');

export const runRoutes = (services: Services): Route[] => {
  const { runs, ledger, progress, intake, heartbeats, clock } = services;
  const disclose = createDisclosure(runs);

  async function latestScorecard(runId: string) {
    const loaded = await loadRun(runs, runId);
    if (isRefusal(loaded)) return loaded;
    const newest = loaded.state.checkpoints.at(-1);
    const open = newest === undefined ? null : await scorecardNow(loaded, newest.checkpointId, services);
    if (open !== null) return open;
    const [row] = await ledger.views({ kind: 'scorecard', runId, limit: 1, order: 'desc' });
    return row === undefined
      ? notFound(`run ${runId} has no evaluated checkpoint yet`, 'path.run')
      : ScorecardDocument.parse(row.doc);
  }

  return [
    route({
      method: 'POST',
      path: '/v1/runs',
      summary: 'Register a run',
      description:
        'The same registration again is answered 200; another one under the same id is a conflict.',
      tags: ['runs'],
      body: RegisterRun,
      responses: { 201: RegisteredRun, 200: RegisteredRun },
      handler: async (call) => {
        const { body, identity } = call;
        const executed = await intake.register(
          {
            runId: body.runId,
            title: body.title ?? null,
            policy: body.policy ?? null,
            initialCompute: body.initialCompute ?? null,
            parents: body.parents ?? [],
            sources: body.sources ?? null,
            targets: body.targets,
            labels: body.labels ?? {},
            ...(body.vouchedParentage === undefined ? {} : { vouchedParentage: body.vouchedParentage }),
            ...(body.accelerator === undefined ? {} : { accelerator: body.accelerator }),
            ...(body.drill === undefined ? {} : { drill: body.drill }),
          },
          identity,
          receiptOf(call),
        );
        if (isFailed(executed)) return refusalOf(executed);
        const loaded = await loadRun(runs, body.runId);
        if (isRefusal(loaded)) return loaded;
        const run = runDocument(loaded, await progress.read(body.runId), clock());
        const answer = {
          run,
          warnings: run.warnings,
          // Who may not report the run gets no permit of it by registering it once more.
          permit: isSource(loaded, identity) ? await heartbeats.issuePermit(loaded, null) : null,
        };
        return { status: executed.outcome === 'recorded' ? 201 : 200, body: answer };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/runs',
      summary: 'Runs, the newest first',
      tags: ['runs'],
      query: PageQuery,
      responses: { 200: listOf(RunSummary) },
      handler: async ({ query }) => {
        const item = (doc: unknown) => RunSummary.parse(doc);
        return { status: 200, body: await newestOf(ledger, { kind: 'run' }, query, item) };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/runs/:run',
      summary: 'One run: what it may do, what stands against it, what is open',
      tags: ['runs'],
      params: RunParams,
      responses: { 200: RunDocument },
      handler: async ({ params }) => {
        const loaded = await loadRun(runs, params.run);
        if (isRefusal(loaded)) return loaded;
        return { status: 200, body: runDocument(loaded, await progress.read(params.run), clock()) };
      },
    }),
    route({
      method: 'POST',
      path: '/v1/runs/:run/heartbeat',
      isFrequent: true,
      summary: 'Say where the run is; hear whether it may go on',
      description:
        'Where only a passing thing keeps the permit back (another process holds it, the ledger cannot be written), `Retry-After` says when asking again is of use.',
      tags: ['runs'],
      params: RunParams,
      body: Heartbeat,
      responses: { 200: HeartbeatAnswer },
      handler: async (call) => {
        const { params, body, identity } = call;
        const receipt = receiptOf(call);
        const received = receipt === undefined ? 'new' : await runs.receive(params.run, receipt);
        if (received === 'no-run') return notFound(`there is no run ${params.run}`, 'path.run');
        if (received === 'no-source') {
          return forbidden(`${identity.id} is not a source of run ${params.run}`, 'path.run');
        }
        if (received === 'reused-id') return refusalOf({ outcome: 'reused-id' });
        const outcome = await heartbeats.beat({
          runId: params.run,
          effectiveCompute: body.effectiveCompute,
          step: body.step ?? null,
          nonce: body.nonce ?? null,
          repeated: received === 'replayed',
          by: identity.id,
          instance: body.instance ?? null,
          supersedes: body.supersedes ?? null,
          halts: body.halts ?? [],
          leaving: body.leaving ?? false,
          trainingStage: body.trainingStage,
        });
        if (!outcome.ok) {
          const { code, message } = outcome;
          return refusalOf({ outcome: 'rejected', rejection: { code, message } }, OF_RUN);
        }
        services.metrics.count('interlock_heartbeats_total', { directive: outcome.answer.directive.action });
        if (outcome.answer.permit !== null) services.metrics.count('interlock_permits_issued_total', {});
        else
          services.metrics.count('interlock_permits_refused_total', {
            directive: outcome.answer.directive.action,
          });
        const { answer, retryAfterS } = outcome;
        return {
          status: 200,
          body: answer,
          ...(retryAfterS === undefined ? {} : { headers: { 'retry-after': String(retryAfterS) } }),
        };
      },
    }),
    route({
      method: 'POST',
      path: '/v1/runs/:run/finish',
      summary: 'Declare a run finished: no permit from here on',
      tags: ['runs'],
      params: RunParams,
      body: z.strictObject({}),
      responses: { 200: RunDocument },
      handler: async (call) => {
        const { params, identity } = call;
        const found = await loadRun(runs, params.run);
        if (isRefusal(found)) return found;
        if (!isSource(found, identity)) {
          return forbidden(`${identity.id} is not a source of run ${params.run}`, 'path.run');
        }
        const executed = await runs.execute(
          params.run,
          { type: 'FinishRun', by: identity.id },
          { actor: identity.id, receipt: receiptOf(call) },
        );
        if (isFailed(executed)) return refusalOf(executed, OF_RUN);
        const loaded = await loadRun(runs, params.run);
        if (isRefusal(loaded)) return loaded;
        return { status: 200, body: runDocument(loaded, await progress.read(params.run), clock()) };
      },
    }),
    listOfRun(services, {
      path: '/v1/runs/:run/checkpoints',
      summary: 'Checkpoints of a run, the newest first',
      tags: ['runs'],
      kind: 'checkpoint',
      item: CheckpointDocument,
      async complete(items, runId) {
        const rows = await services.evaluationProgress.ofRun(runId);
        return rows.length === 0 ? items : items.map((each) => withProgress(each, rows));
      },
    }),
    listOfRun(services, {
      path: '/v1/runs/:run/scorecards',
      summary: 'Closed scorecards of a run, the newest first',
      tags: ['scorecards'],
      kind: 'scorecard',
      item: ScorecardDocument,
    }),
    route({
      method: 'GET',
      path: '/v1/runs/:run/scorecards/latest',
      summary: 'The newest scorecard, open or closed',
      tags: ['scorecards'],
      params: RunParams,
      responses: { 200: ScorecardDocument },
      handler: async ({ params }) => {
        const scorecard = await latestScorecard(params.run);
        return isRefusal(scorecard) ? scorecard : { status: 200, body: scorecard };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/runs/:run/scorecards/:checkpoint',
      summary: 'The scorecard of one checkpoint',
      tags: ['scorecards'],
      params: z.strictObject({ run: IdSchema, checkpoint: IdSchema }),
      responses: { 200: ScorecardDocument },
      handler: async ({ params }) => {
        const loaded = await loadRun(runs, params.run);
        if (isRefusal(loaded)) return loaded;
        const open = await scorecardNow(loaded, params.checkpoint, services);
        if (open !== null) return { status: 200, body: open };
        const row = await ledger.view('scorecard', `${params.run}/${params.checkpoint}`);
        if (row === null)
          return notFound(
            `run ${params.run} has no scorecard of checkpoint ${params.checkpoint}`,
            'path.checkpoint',
          );
        return { status: 200, body: ScorecardDocument.parse(row.doc) };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/runs/:run/forecasts/latest',
      summary:
        'The newest sealed forecasts, what experts say of the same, and how the forecasts of the run have done',
      tags: ['scorecards'],
      params: RunParams,
      responses: { 200: ForecastsDocument },
      handler: async ({ params }) => {
        const loaded = await loadRun(runs, params.run);
        if (isRefusal(loaded)) return loaded;
        const body = await latestForecasts(loaded.state, ledger);
        return body === null
          ? notFound(`run ${params.run} has no forecast yet`, 'path.run')
          : { status: 200, body };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/runs/:run/gates',
      summary: 'May development and deployment go on?',
      tags: ['scorecards'],
      params: RunParams,
      responses: { 200: GatesDocument },
      handler: async ({ params }) => {
        const loaded = await loadRun(runs, params.run);
        return isRefusal(loaded) ? loaded : { status: 200, body: gatesDocument(loaded.state) };
      },
    }),
    listOfRun(services, {
      path: '/v1/runs/:run/halts',
      summary: 'Halts of a run, the newest first',
      tags: ['halts'],
      kind: 'halt',
      item: HaltDocument,
    }),
    route({
      method: 'GET',
      path: '/v1/runs/:run/events',
      summary: "The run's events in the order of the ledger",
      description: WITHHELD,
      tags: ['ledger'],
      params: RunParams,
      query: PageQuery,
      responses: { 200: listOf(EventDocument) },
      handler: async ({ params, query }) => {
        const loaded = await loadRun(runs, params.run);
        if (isRefusal(loaded)) return loaded;
        const events = await ledger.read({
          after: Number(query.cursor ?? 0),
          stream: runStream(params.run),
          limit: query.limit,
        });
        const last = events.at(-1);
        return {
          status: 200,
          body: {
            items: (await disclose(events)).map(eventDocument),
            nextCursor: events.length >= query.limit && last !== undefined ? String(last.seq) : null,
          },
        };
      },
    }),
  ];
};
