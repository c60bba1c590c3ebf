/**
 * Scores of forecasts as the views hold them: what the track record rests on.
 *
 * Bounded however long the ledger is: the newest SCORES_MAX are read, a page at a time so that nothing else waits, and
 * whoever asked is told when there are older ones.
 */
import { z } from 'zod';
import type { ForecastScore } from '../domain/forecast/track-record.ts';
import { ForecastScoreSchema } from '../domain/run/forecast-documents.ts';
import type { Ledger } from '../ledger/ledger.ts';

/** A row of the views: the latest revision of one score. */
export const ScoredForecastSchema = ForecastScoreSchema.extend({ runId: z.string(), at: z.string() });

export const SCORES_MAX = 5_000;
const PAGE = 500;

export interface ScoresWanted {
  readonly runId?: string | undefined;
  readonly category?: string | undefined;
  readonly method?: string | undefined;
  readonly since?: Date | undefined;
}

export interface Scores {
  readonly scores: readonly ForecastScore[];
  /** There are older ones that were not read. */
  readonly isTruncated: boolean;
}

export async function readScores(
  ledger: Pick<Ledger, 'views'>,
  { runId, category, method, since }: ScoresWanted,
  max = SCORES_MAX,
): Promise<Scores> {
  const scores: ForecastScore[] = [];
  let looked = 0;
  let after: { after?: number } = {};
  for (;;) {
    const rows = await ledger.views({
      kind: 'forecast-score',
      limit: Math.min(PAGE, max),
      order: 'desc',
      ...(runId === undefined ? {} : { runId }),
      ...after,
    });
    const inTime = rows.filter(({ ordinal }) => since === undefined || ordinal >= since.getTime());
    scores.push(...inTime.map(({ doc }) => ScoredForecastSchema.parse(doc)).filter(isWanted));
    looked += rows.length;
    const last = rows.at(-1);
    const isEnd = last === undefined || rows.length < Math.min(PAGE, max) || inTime.length < rows.length;
    if (isEnd || looked >= max) return { scores, isTruncated: !isEnd };
    after = { after: last.ordinal };
  }

  function isWanted(score: ForecastScore): boolean {
    return (
      (category === undefined || score.category === category) &&
      (method === undefined || score.method === method)
    );
  }
}
