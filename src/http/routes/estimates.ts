/**
 * Estimate rounds: experts are asked, answer apart from each other, read how far apart they are, and answer again.
 *
 * Nothing here shows what somebody else said in an open round, nor ever who said what.
 */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { spreadOf } from '../../domain/forecast/experts.ts';
import {
  forecastSettings,
  LevelReferenceSchema,
  levelAt,
  type Policy,
  type Stage,
  StageSchema,
} from '../../domain/policy/schema.ts';
import { findRound, questionsLike } from '../../domain/run/estimate-state.ts';
import { standingCheckpoint } from '../../domain/run/estimates.ts';
import { ExpertPoolSchema, LevelQuantileSchema } from '../../domain/run/forecast-documents.ts';
import type { RunState } from '../../domain/run/state.ts';
import type { LoadedRun } from '../../service/run-service.ts';
import { notFound, type Refusal } from '../refusal.ts';
import { type Route, route } from '../route.ts';
import {
  ComputeOut,
  IdSchema,
  Instant,
  isFailed,
  isRefusal,
  loadRun,
  OF_RUN,
  RunParams,
  receiptOf,
  refusalOf,
  runAfter,
  text,
} from './common.ts';
import { listOfRun } from './list-of-run.ts';
import type { Services } from './services.ts';

const QUANTILES_MAX = 9;
const RoundParams = z.strictObject({ run: IdSchema, round: IdSchema });
const OF_ROUND = { ...OF_RUN, roundId: 'path.round' };

const closesAt = Instant.optional().meta({
  description: 'Default: as long as a scorecard may take under the policy; at most its maxInterval',
});

const OpenRound = z
  .strictObject({
    category: z.string().min(1).max(64),
    stage: StageSchema.default('pre-mitigation'),
    level: LevelReferenceSchema,
    closesAt,
  })
  .meta({ id: 'EstimateRoundRequest' });

const probability = z.number().min(0).max(1);

const EstimateBody = z
  .strictObject({
    roundId: IdSchema,
    probability: probability.meta({
      description: "Of reaching the round's level before the next checkpoint; counts as 0.001 to 0.999",
    }),
    quantiles: z
      .array(z.strictObject({ p: z.number().gt(0).lt(1), level: z.number().min(1).max(5) }))
      .max(QUANTILES_MAX)
      .default([])
      .meta({ description: 'Where the level will be, rising; must not contradict the probability' }),
    rationale: text(4000).meta({ description: 'Shown to the others without your name' }),
  })
  .meta({ id: 'EstimateRequest' });

const EstimateDocument = z
  .object({
    estimateId: z.string(),
    roundId: z.string(),
    probability: z.number(),
    quantiles: z.array(LevelQuantileSchema),
    rationale: z.string(),
    at: z.string(),
  })
  .meta({ id: 'Estimate', description: 'An estimate of your own: shown to nobody else while it counts' });

/** What the views keep of an estimate; of this only the words go out, and not in the order they came. */
const EstimateRow = EstimateDocument.extend({ salt: z.string() });

const RoundRow = z.object({
  roundId: z.string(),
  questionId: z.string().meta({ description: "The first round's id" }),
  runId: z.string(),
  round: z.union([z.literal(1), z.literal(2)]),
  state: z.enum(['open', 'closed']),
  checkpointId: z.string(),
  category: z.string(),
  stage: StageSchema,
  level: z.number(),
  horizonCompute: ComputeOut,
  by: z.string(),
  openedAt: z.string(),
  closesAt: z.string(),
  closedAt: z.string().nullable(),
  closedBecause: z.enum(['by-hand', 'deadline', 'overtaken']).nullable(),
  given: z.number().meta({ description: 'Experts who have answered in this round' }),
  pool: ExpertPoolSchema.nullable().meta({ description: 'null while open, and where nobody answered' }),
});
const StoredRound = RoundRow.extend({ estimateIds: z.array(z.string()) });

const readBy = z.array(z.string()).meta({ description: "Rules of the run's policy that heed the pool" });
const RoundDocument = RoundRow.extend({ readBy }).meta({ id: 'EstimateRound' });

const RoundWithFeedback = RoundDocument.extend({
  feedback: z
    .object({
      rationales: z.array(z.string()),
      quantiles: z.array(z.object({ p: z.number(), level: z.number(), n: z.number() })),
    })
    .nullable()
    .meta({ description: 'Once closed: why, in an order that says nothing; medians of quantiles given' }),
  mine: EstimateDocument.nullable().meta({ description: 'Your own latest estimate on this question' }),
}).meta({ id: 'EstimateRoundWithFeedback' });

type Loaded = Pick<LoadedRun, 'state' | 'policy'>;

export const estimateRoutes = (services: Services): Route[] => {
  const { runs, ledger } = services;

  async function storedRound(
    runId: string,
    roundId: string,
  ): Promise<z.output<typeof StoredRound> | Refusal> {
    const row = await ledger.view('estimate-round', roundId);
    return row === null || row.runId !== runId
      ? notFound(`run ${runId} has no round ${roundId}`, 'path.round')
      : StoredRound.parse(row.doc);
  }

  async function roundAnswer(loaded: Loaded, roundId: string) {
    const stored = await storedRound(loaded.state.runId, roundId);
    return isRefusal(stored) ? stored : roundDocument(stored, loaded.policy);
  }

  async function estimate(estimateId: string): Promise<z.output<typeof EstimateRow> | null> {
    const row = await ledger.view('estimate', estimateId);
    return row === null ? null : EstimateRow.parse(row.doc);
  }

  async function feedback({ state, pool, estimateIds }: z.output<typeof StoredRound>) {
    if (state === 'open' || pool === null) return null;
    const rows = await Promise.all(estimateIds.map(estimate));
    return feedbackOf(rows.filter((row) => row !== null));
  }

  return [
    route({
      method: 'POST',
      path: '/v1/runs/:run/estimate-rounds',
      summary: 'Ask experts how likely a level is before the next checkpoint',
      description:
        'Looks ahead from the furthest evaluated checkpoint. Each category, stage and level is asked once per checkpoint; a second round is how the answers are revised.',
      tags: ['estimates'],
      params: RunParams,
      body: OpenRound,
      responses: { 201: RoundDocument, 200: RoundDocument },
      handler: async (call) => {
        const { params, body, identity } = call;
        const executed = await runs.execute(
          params.run,
          { type: 'OpenEstimateRound', ...body, closesAt: body.closesAt ?? null, by: identity.id },
          { actor: identity.id, receipt: receiptOf(call) },
        );
        if (isFailed(executed)) return refusalOf(executed, OF_RUN);
        const loaded = await runAfter(executed, runs, params.run);
        if (isRefusal(loaded)) return loaded;
        const asked = roundAsked(loaded.state, body.category, body.stage, levelAt(body.level));
        if (asked === null) return notFound('the round is no longer held');
        const answer = await roundAnswer(loaded, asked);
        if (isRefusal(answer)) return answer;
        return { status: executed.outcome === 'recorded' ? 201 : 200, body: answer };
      },
    }),
    listOfRun(services, {
      path: '/v1/runs/:run/estimate-rounds',
      summary: 'Estimate rounds of a run, the newest first',
      tags: ['estimates'],
      kind: 'estimate-round',
      item: RoundDocument,
      show: (doc, { policy }) => roundDocument(StoredRound.parse(doc), policy),
    }),
    route({
      method: 'GET',
      path: '/v1/runs/:run/estimate-rounds/:round',
      summary: 'One round: once closed, how far apart the experts are, and why',
      tags: ['estimates'],
      params: RoundParams,
      responses: { 200: RoundWithFeedback },
      handler: async ({ params, identity }) => {
        const loaded = await loadRun(runs, params.run);
        if (isRefusal(loaded)) return loaded;
        const stored = await storedRound(params.run, params.round);
        if (isRefusal(stored)) return stored;
        const own = ownEstimateId(loaded.state, params.round, identity.id);
        const [shown, mine] = await Promise.all([feedback(stored), own === null ? null : estimate(own)]);
        return {
          status: 200,
          body: {
            ...roundDocument(stored, loaded.policy),
            feedback: shown,
            mine: mine === null ? null : EstimateDocument.parse(mine),
          },
        };
      },
    }),
    route({
      method: 'POST',
      path: '/v1/runs/:run/estimate-rounds/:round/close',
      summary: 'Close a round before its deadline, and pool it',
      tags: ['estimates'],
      params: RoundParams,
      body: z.strictObject({}),
      responses: { 200: RoundDocument },
      handler: async (call) => {
        const { params, identity } = call;
        const executed = await runs.execute(
          params.run,
          { type: 'CloseEstimateRound', roundId: params.round, by: identity.id },
          { actor: identity.id, receipt: receiptOf(call) },
        );
        if (isFailed(executed)) return refusalOf(executed, OF_ROUND);
        const loaded = await runAfter(executed, runs, params.run);
        if (isRefusal(loaded)) return loaded;
        const answer = await roundAnswer(loaded, params.round);
        return isRefusal(answer) ? answer : { status: 200, body: answer };
      },
    }),
    route({
      method: 'POST',
      path: '/v1/runs/:run/estimate-rounds/:round/second',
      summary: 'Begin the second round, closing the first if it is open',
      description: 'Whoever does not answer again stands by the first estimate. There is no third round.',
      tags: ['estimates'],
      params: RoundParams,
      body: z.strictObject({ closesAt }).meta({ id: 'SecondRoundRequest' }),
      responses: { 201: RoundDocument, 200: RoundDocument },
      handler: async (call) => {
        const { params, body, identity } = call;
        const executed = await runs.execute(
          params.run,
          {
            type: 'BeginSecondRound',
            roundId: params.round,
            closesAt: body.closesAt ?? null,
            by: identity.id,
          },
          { actor: identity.id, receipt: receiptOf(call) },
        );
        if (isFailed(executed)) return refusalOf(executed, OF_ROUND);
        const loaded = await runAfter(executed, runs, params.run);
        if (isRefusal(loaded)) return loaded;
        const begun = findRound(loaded.state, params.round)?.question.rounds[1];
        if (begun === undefined) return notFound('the round is no longer held');
        const answer = await roundAnswer(loaded, begun.roundId);
        if (isRefusal(answer)) return answer;
        return { status: executed.outcome === 'recorded' ? 201 : 200, body: answer };
      },
    }),
    route({
      method: 'POST',
      path: '/v1/runs/:run/estimates',
      summary: 'Give your estimate in an open round',
      description:
        'Nobody else sees it while the round is open. Another one replaces it until then; the ledger keeps both.',
      tags: ['estimates'],
      params: RunParams,
      body: EstimateBody,
      responses: { 201: EstimateDocument, 200: EstimateDocument },
      handler: async (call) => {
        const { params, body, identity } = call;
        const salt = randomBytes(16).toString('hex');
        const executed = await runs.execute(
          params.run,
          { type: 'GiveEstimate', ...body, salt, by: identity.id },
          { actor: identity.id, receipt: receiptOf(call) },
        );
        if (isFailed(executed)) return refusalOf(executed, OF_RUN);
        const loaded = await runAfter(executed, runs, params.run);
        if (isRefusal(loaded)) return loaded;
        const own = ownEstimateId(loaded.state, body.roundId, identity.id);
        const given = own === null ? null : await estimate(own);
        if (given === null) return notFound(`run ${params.run} has no round ${body.roundId}`, 'roundId');
        return {
          status: executed.outcome === 'recorded' ? 201 : 200,
          body: EstimateDocument.parse(given),
        };
      },
    }),
  ];
};

/** At the checkpoint that a question asked now is about. */
function roundAsked(state: RunState, category: string, stage: Stage, level: number): string | null {
  const checkpoint = standingCheckpoint(state);
  const asked = checkpoint === null ? [] : questionsLike(checkpoint, { category, stage, level });
  return asked.at(-1)?.questionId ?? null;
}

/** Of both rounds of the question, the newest. */
function ownEstimateId(state: RunState, roundId: string, by: string): string | null {
  const rounds = findRound(state, roundId)?.question.rounds ?? [];
  const own = rounds.flatMap(({ estimates }) => estimates).findLast((each) => each.by === by);
  return own?.estimateId ?? null;
}

function roundDocument(
  { estimateIds: _ids, ...stored }: z.output<typeof StoredRound>,
  policy: Policy,
): z.input<typeof RoundDocument> {
  return { ...stored, readBy: rulesReading(stored, policy) };
}

function rulesReading(
  { category, stage, level }: Pick<z.output<typeof RoundRow>, 'category' | 'stage' | 'level'>,
  policy: Policy,
): string[] {
  const { experts } = forecastSettings(policy);
  return policy.rules.flatMap((rule) => {
    if (rule.kind !== 'estimate' && rule.kind !== 'forecast') return [];
    const heeds = rule.kind === 'estimate' || (experts !== 'ignore' && rule.checkpoints === 1);
    const asks = rule.stage === stage && levelAt(rule.atLeast) === level;
    const applies = rule.categories === undefined || rule.categories.includes(category);
    return heeds && asks && applies ? [rule.id] : [];
  });
}

function feedbackOf(rows: readonly z.output<typeof EstimateRow>[]) {
  // The salt is random and shown to nobody meanwhile: a shuffle that every reader gets alike.
  const shuffled = [...rows].sort((a, b) => (a.salt < b.salt ? -1 : 1));
  const levels = new Map<number, number[]>();
  for (const { p, level } of rows.flatMap(({ quantiles }) => quantiles)) {
    levels.set(p, [...(levels.get(p) ?? []), level]);
  }
  return {
    rationales: shuffled.map(({ rationale }) => rationale),
    quantiles: [...levels]
      .sort(([a], [b]) => a - b)
      .map(([p, given]) => ({ p, level: spreadOf(given).median, n: given.length })),
  };
}
