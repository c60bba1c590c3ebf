/** Evaluations: results in, one evaluation tried again. */
import { z } from 'zod';
import { NativeResultSchema } from '../../domain/native-result.ts';
import { currentAttempt, locate, statusOf } from '../../domain/run/evaluation.ts';
import { statusOfRun } from '../../domain/run/views.ts';
import { FORMAT_NAMES } from '../../evaluators/formats/registry.ts';
import type { EvidenceSource } from '../../service/evidence.ts';
import type { Executed } from '../../service/run-service.ts';
import { type Route, route } from '../route.ts';
import { IdSchema, isFailed, receiptOf, refusalOf } from './common.ts';
import type { Services } from './services.ts';

const RESULT_BYTES_MAX = 256 * 1024;
const LOG_BYTES_MAX = 32 * 1024 * 1024;

/** What is found by the evaluation alone is refused by it. */
const OF_EVALUATION = { '': 'path.evaluation', attempt: 'query.attempt', log: 'body' };

const EvaluationParams = z.strictObject({ evaluation: IdSchema });

const EvaluationAnswer = z
  .object({
    runId: z.string(),
    evaluationId: z.string(),
    attempt: z.number(),
    status: z.enum([
      'queued',
      'running',
      'awaiting-callback',
      'deferred',
      'not-needed',
      'completed',
      'inconclusive',
      'cancelled',
      'archived',
    ]),
    conclusive: z
      .boolean()
      .nullable()
      .meta({ description: 'Whether this attempt settled anything; null while it has not reported' }),
    reasons: z.array(z.string()).meta({ description: 'Why not' }),
    run: z.object({
      status: z.enum(['training', 'on-hold', 'halted', 'finished']),
      haltId: z.string().nullable(),
    }),
  })
  .meta({ id: 'EvaluationAnswer' });

export const evaluationRoutes = (services: Services): Route[] => {
  const { intake, runs, ledger, evidence } = services;

  async function answer(executed: Executed, evaluationId: string, attempt: number | null) {
    const view = await ledger.view('evaluation', evaluationId);
    const runId = view?.runId ?? '';
    const loaded = 'state' in executed ? executed : await runs.load(runId);
    if (loaded === null) throw new TypeError(`evaluation ${evaluationId} without its run`);
    const { state, policy } = loaded;
    const located = locate(state, evaluationId, policy);
    const at = attempt ?? (located === null ? 0 : currentAttempt(located.evaluation).attempt);
    const reading = located?.evaluation.attempts.find((each) => each.attempt === at)?.reading ?? null;
    return {
      runId,
      evaluationId,
      attempt: at,
      status: located === null ? ('archived' as const) : statusOf(located.evaluation),
      conclusive: reading?.conclusive ?? null,
      reasons: reading?.reasons ?? [],
      run: { status: statusOfRun(state), haltId: state.halt?.haltId ?? null },
    };
  }

  return [
    route({
      method: 'POST',
      path: '/v1/evaluations/:evaluation/result',
      summary: 'Report the result of one attempt',
      description:
        'In native form, or, with `format`, as the log that an evaluation harness wrote: then the body is the file itself, of at most 32 MiB with a token and 256 KiB with a signature. Late results are recorded and may only worsen a level; another result for the same attempt is a conflict. A log that cannot be read is refused and nothing is recorded.',
      tags: ['evaluations'],
      params: EvaluationParams,
      query: z.strictObject({
        attempt: z.coerce.number().int().min(1).max(10_000),
        format: z
          .enum(FORMAT_NAMES)
          .optional()
          .meta({ description: 'Which harness wrote the log; left out, the body is a native result' }),
      }),
      body: NativeResultSchema,
      bodyLimitBytes: RESULT_BYTES_MAX,
      responses: { 200: EvaluationAnswer },
      handler: async (call) => {
        const { params, query, body, identity } = call;
        const executed = await intake.recordResult(
          params.evaluation,
          query.attempt,
          body,
          identity,
          receiptOf(call),
        );
        if (isFailed(executed)) return refusalOf(executed, OF_EVALUATION);
        return { status: 200, body: await answer(executed, params.evaluation, query.attempt) };
      },
      file: {
        isAsked: (query) => typeof query === 'object' && query !== null && 'format' in query,
        limitBytes: LOG_BYTES_MAX,
        handler: async (call) => {
          const { params, query, identity, rawBody } = call;
          const log = { bytes: rawBody, format: query.format };
          const executed = await intake.recordLog(
            params.evaluation,
            query.attempt,
            log,
            identity,
            receiptOf(call),
          );
          if (isFailed(executed)) return refusalOf(executed, OF_EVALUATION);
          const told = await answer(executed, params.evaluation, query.attempt);
          // Not waited for: the result is recorded, and a store that is away must not hold its sender.
          void evidence?.keep(inMemory(rawBody), {
            runId: told.runId,
            evaluationId: params.evaluation,
            attempt: query.attempt,
            by: identity.id,
          });
          return { status: 200, body: told };
        },
      },
    }),
    route({
      method: 'POST',
      path: '/v1/evaluations/:evaluation/retry',
      summary: 'Run one evaluation again, alone',
      description: 'Earlier conclusive results go on counting: the worst stands.',
      tags: ['evaluations'],
      params: EvaluationParams,
      body: z.strictObject({}),
      responses: { 202: EvaluationAnswer },
      handler: async (call) => {
        const { params, identity } = call;
        const executed = await intake.retry(params.evaluation, identity, receiptOf(call));
        if (isFailed(executed)) return refusalOf(executed, OF_EVALUATION);
        return { status: 202, body: await answer(executed, params.evaluation, null) };
      },
    }),
  ];
};

const inMemory = (bytes: Buffer): EvidenceSource => ({
  async *stream() {
    yield bytes;
  },
});
