/** The track record of forecasts: how those that were sealed have done, over all runs and of one; and each score. */
import { z } from 'zod';
import { summarise } from '../../domain/forecast/track-record.ts';
import { StageSchema } from '../../domain/policy/schema.ts';
import { ForecastSchema, ForecastScoreSchema } from '../../domain/run/forecast-documents.ts';
import { readScores, type ScoresWanted } from '../../service/track-record.ts';
import { type Route, route } from '../route.ts';
import { ComputeOut, IdSchema, Instant, isRefusal, loadRun, RunParams } from './common.ts';
import { listOfRun } from './list-of-run.ts';
import type { Services } from './services.ts';

const filters = {
  category: z.string().min(1).max(64).optional(),
  method: z
    .string()
    .min(1)
    .max(128)
    .optional()
    .meta({ description: 'Name and version, e.g. `local-linear/1`' }),
  since: Instant.optional().meta({ description: 'Only what was scored from then on' }),
};
const RecordQuery = z.strictObject({ run: IdSchema.optional(), ...filters });
const RunRecordQuery = z.strictObject(filters);

const share = z.number().nullable();
export const CoverageDocument = z
  .object({
    covered: z.number(),
    share,
    lower: share.meta({ description: 'Wilson, two-sided 95 %' }),
    upper: share,
  })
  .meta({
    id: 'Coverage',
    description: 'How often the level came at or below the bound; null without forecasts',
  });

export const ExcludedDocument = z
  .object({ sealedLate: z.number(), beyondHorizon: z.number(), partial: z.number() })
  .meta({ description: 'Scored and not counted: docs/forecasting.md says why' });

const stated = { forecasts: z.number(), stated: z.number(), came: z.number() };
const LevelDocument = z
  .object({ level: z.number(), ...stated, brier: z.number() })
  .meta({ id: 'ForecastLevelRecord' });
const ReliabilityDocument = z
  .object({ from: z.number(), to: z.number(), ...stated })
  .meta({ id: 'ForecastReliability' });

const figures = {
  forecasts: z.number(),
  runs: z.number(),
  isTooFew: z.boolean().meta({ description: 'Under 20: too few to say' }),
  coverage95: CoverageDocument,
  coverage99: CoverageDocument,
  pinball50: share.meta({ description: 'Mean loss of the median, in levels' }),
  pinball95: share,
  pinball99: share,
  pit: z.array(z.number()).meta({ description: 'Forecasts per tenth of [0, 1]; even is calibrated' }),
  levels: z
    .array(LevelDocument)
    .meta({ description: 'P(level >= x): as stated in the mean, how often it came, and the Brier score' }),
  brier: share.meta({ description: 'Of P(level >= x) at every x; 0 is best' }),
  reliability: z
    .array(ReliabilityDocument)
    .meta({ description: 'What came where the probability stated was from `from` to `to`' }),
  misses: z.number().meta({ description: 'The level came above the 99 % bound' }),
  doublingsShort: share.meta({
    description: 'Mean doublings of compute from the checkpoint that came to the horizon',
  }),
};

const ScoreDocument = ForecastScoreSchema.extend({
  runId: z.string(),
  fromCompute: ComputeOut,
  horizonCompute: ComputeOut,
  actualCompute: ComputeOut,
  at: z.string(),
}).meta({ id: 'ScoredForecast' });

const Miss = ScoreDocument.pick({
  runId: true,
  checkpointId: true,
  scoredBy: true,
  category: true,
  stage: true,
  checkpoints: true,
  method: true,
  basis: true,
  observed: true,
  q95: true,
  q99: true,
  at: true,
}).meta({ id: 'ForecastMiss' });

const TrackRecordDocument = z
  .object({
    run: z.string().nullable(),
    category: z.string().nullable(),
    method: z.string().nullable(),
    since: z.string().nullable(),
    total: z.object(figures),
    groups: z.array(
      z.object({
        method: z.string(),
        basis: ForecastSchema.shape.basis,
        category: z.string(),
        stage: StageSchema,
        checkpoints: z.number().meta({ description: 'How many due checkpoints it looked ahead' }),
        ...figures,
      }),
    ),
    worstMisses: z.array(Miss).meta({ description: 'At most ten, the worst first' }),
    excluded: ExcludedDocument,
    isTruncated: z
      .boolean()
      .meta({ description: 'It rests on the newest 5,000 scores; there are older ones' }),
  })
  .meta({ id: 'ForecastRecord', description: 'How sealed forecasts have done' });

export const forecastRoutes = (services: Services): Route[] => {
  const { runs, ledger } = services;
  async function record(runId: string | undefined, query: z.output<typeof RunRecordQuery>) {
    const { category, method, since } = query;
    const wanted: ScoresWanted = {
      runId,
      category,
      method,
      ...(since === undefined ? {} : { since: new Date(since) }),
    };
    const { scores, isTruncated } = await readScores(ledger, wanted);
    return {
      run: runId ?? null,
      category: category ?? null,
      method: method ?? null,
      since: since ?? null,
      ...summarise(scores),
      isTruncated,
    };
  }

  return [
    route({
      method: 'GET',
      path: '/v1/forecasts/record',
      summary: 'How sealed forecasts have done, over all runs',
      description:
        'Each forecast is sealed in the ledger before the evaluations of the checkpoint that it is about are queued, and scored when their level is in. Forecasts of one run are not independent: the intervals are at least so wide.',
      tags: ['scorecards'],
      query: RecordQuery,
      responses: { 200: TrackRecordDocument },
      handler: async ({ query }) => {
        const { run, ...rest } = query;
        return { status: 200, body: await record(run, rest) };
      },
    }),
    route({
      method: 'GET',
      path: '/v1/runs/:run/forecasts/record',
      summary: 'How the sealed forecasts of one run have done',
      tags: ['scorecards'],
      params: RunParams,
      query: RunRecordQuery,
      responses: { 200: TrackRecordDocument },
      handler: async ({ params, query }) => {
        const loaded = await loadRun(runs, params.run);
        return isRefusal(loaded) ? loaded : { status: 200, body: await record(params.run, query) };
      },
    }),
    listOfRun(services, {
      path: '/v1/runs/:run/forecasts/scores',
      summary: 'Scored forecasts of a run, the newest first',
      description: 'The latest revision of each; `excluded` says why one does not count in the record.',
      tags: ['scorecards'],
      kind: 'forecast-score',
      item: ScoreDocument,
    }),
  ];
};
