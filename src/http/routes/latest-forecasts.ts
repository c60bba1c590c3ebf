/**
 * A run's newest forecasts with what stands beside them: what experts say of the same, and how the run's forecasts have done.
 *
 * Of experts only what everybody may read: how many have answered, and the pool of a round that has closed.
 */
import { z } from 'zod';
import { summarise, type TrackRecordSummary } from '../../domain/forecast/track-record.ts';
import { StageSchema } from '../../domain/policy/schema.ts';
import { poolOf } from '../../domain/run/estimate-state.ts';
import { standingCheckpoint } from '../../domain/run/estimates.ts';
import { ExpertPoolSchema, ForecastSchema } from '../../domain/run/forecast-documents.ts';
import type { CheckpointState, RunState } from '../../domain/run/state.ts';
import type { Ledger } from '../../ledger/ledger.ts';
import { readScores } from '../../service/track-record.ts';
import { ComputeOut } from './common.ts';
import { CoverageDocument, ExcludedDocument } from './forecasts.ts';

const ExpertsDocument = z
  .object({
    questionId: z.string(),
    roundId: z.string().meta({ description: 'The latest round of the question' }),
    checkpointId: z.string(),
    category: z.string(),
    stage: StageSchema,
    level: z.number(),
    horizonCompute: ComputeOut,
    state: z.enum(['open', 'closed']),
    closesAt: z.string(),
    given: z.number().meta({ description: 'Experts who have answered in that round' }),
    pool: ExpertPoolSchema.nullable().meta({ description: 'Of the latest round that closed with an answer' }),
  })
  .meta({ id: 'ExpertsOnForecast' });

export const ForecastsDocument = z
  .object({
    runId: z.string(),
    checkpointId: z.string(),
    effectiveCompute: ComputeOut,
    forecasts: z.array(ForecastSchema),
    experts: z
      .array(ExpertsDocument)
      .meta({ description: 'What was asked at this checkpoint or a later one' }),
    record: z
      .object({
        forecasts: z.number().meta({ description: 'Of this run, scored and counted' }),
        isTooFew: z.boolean().meta({ description: 'Under 20: too few to say' }),
        coverage95: CoverageDocument,
        coverage99: CoverageDocument,
        misses: z.number().meta({ description: 'The level came above the 99 % bound' }),
        excluded: ExcludedDocument,
        isTruncated: z.boolean(),
      })
      .meta({ description: 'How the forecasts of this run have done so far' }),
  })
  .meta({ id: 'Forecasts' });
export type LatestForecasts = Omit<z.input<typeof ForecastsDocument>, 'effectiveCompute' | 'forecasts'> &
  Pick<CheckpointState, 'effectiveCompute' | 'forecasts'>;

/** One query's worth: some dozens of checkpoints. */
const SCORES_MAX = 500;

/** null before the first forecast is sealed. */
export async function latestForecasts(
  state: RunState,
  ledger: Pick<Ledger, 'views'>,
): Promise<LatestForecasts | null> {
  const sealed = state.checkpoints.findLast(({ forecasts }) => forecasts.length > 0);
  if (sealed === undefined) return null;
  const { checkpointId, effectiveCompute, forecasts } = sealed;
  const standing = standingCheckpoint(state);
  const asked = standing === null || standing === sealed ? [sealed] : [sealed, standing];
  const { scores, isTruncated } = await readScores(ledger, { runId: state.runId }, SCORES_MAX);
  const record = recordOf(summarise(scores));
  return {
    runId: state.runId,
    checkpointId,
    effectiveCompute,
    forecasts,
    experts: asked.flatMap(expertsAt),
    record: { ...record, isTruncated },
  };
}

function expertsAt({ checkpointId, questions = [] }: CheckpointState): LatestForecasts['experts'] {
  return questions.flatMap((question) => {
    const { questionId, category, stage, level, horizonCompute, rounds } = question;
    const round = rounds.at(-1);
    if (round === undefined) return [];
    return [
      {
        questionId,
        roundId: round.roundId,
        checkpointId,
        category,
        stage,
        level,
        horizonCompute,
        state: round.closed === null ? ('open' as const) : ('closed' as const),
        closesAt: round.closesAt,
        given: round.estimates.length,
        pool: poolOf(question),
      },
    ];
  });
}

const recordOf = ({
  total: { forecasts, isTooFew, coverage95, coverage99, misses },
  excluded,
}: TrackRecordSummary) => ({ forecasts, isTooFew, coverage95, coverage99, misses, excluded });
