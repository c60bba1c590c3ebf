/**
 * MLE-bench: `grading_report.json`, over one run per competition, or several. A score is null where no valid submission was made, which
 * is a competition not won, and no error. A run without any submission may have been one that broke: it is counted beside.
 */
import { z } from 'zod';
import type { HarnessMetric } from '../../domain/harness-log.ts';
import { readDocumentAs } from './documents.ts';
import type { HarnessFormat, ReadLog, ReadOptions } from './format.ts';
import { counts, draft, figure, finish, ratio, refusal, tally, text } from './harness-values.ts';
import type { LogSource } from './log-source.ts';
import { isObjectWith } from './outline.ts';
import { ScoreSheets } from './score-sheets.ts';

const SCORER = 'mle-bench';

export const mleBench: HarnessFormat = {
  name: 'mle-bench',
  kinds: ['mle-bench-grading-report'],
  claims: ({ head }) =>
    isObjectWith(head, { all: ['total_runs'], any: ['competition_reports', 'total_medals'] }),
  kind: () => 'mle-bench-grading-report',
  read,
};

const ReportSchema = z.looseObject({
  competition_id: z.string(),
  score: figure.nullable(),
  any_medal: z.boolean(),
  submission_exists: z.boolean().nullish(),
  created_at: text,
});
const GradingSchema = z.looseObject({
  total_runs: tally,
  total_runs_with_submissions: tally,
  total_valid_submissions: tally,
  total_medals: tally,
  total_gold_medals: tally,
  total_silver_medals: tally,
  total_bronze_medals: tally,
  total_above_median: tally,
  competition_reports: z.array(ReportSchema),
});

const TOTALS = [
  'total_valid_submissions',
  'total_medals',
  'total_gold_medals',
  'total_silver_medals',
  'total_bronze_medals',
  'total_above_median',
] as const;

async function read(source: LogSource, options: ReadOptions): Promise<ReadLog> {
  const document = await readDocumentAs(source, 'MLE-bench grading report', GradingSchema);
  if (!document.ok) return document;
  const grading = document.value;
  const reports = grading.competition_reports;
  if (reports.length !== grading.total_runs)
    return refusal('log-unreadable', 'counts other runs than it reports');
  if (reports.filter((report) => report.any_medal).length !== grading.total_medals) {
    return refusal('log-unreadable', 'counts other medals than it reports');
  }
  if (grading.total_runs_with_submissions > grading.total_runs) {
    return refusal('log-unreadable', 'counts more submissions than runs');
  }
  const sheets = options.scores === undefined ? null : new ScoreSheets();
  for (const { competition_id: sample, any_medal: medal, submission_exists: exists } of reports) {
    const value = exists === false && !medal ? null : medal;
    sheets?.add({ scorer: SCORER, name: 'any_medal_rate' }, { sample, value });
  }
  const { total_runs: runs, total_runs_with_submissions: submitted, total_medals: pass } = grading;
  if (pass > submitted) return refusal('log-unreadable', 'counts more medals than submissions');
  const metric = (name: string, value: number | null): HarnessMetric => ({
    scorer: SCORER,
    name,
    value,
    stderr: null,
  });
  return finish(
    draft('mle-bench-grading-report', 'mle-bench', {
      status: 'success',
      task: 'mle-bench',
      created:
        reports
          .map((report) => report.created_at ?? '')
          .sort()
          .at(-1) || null,
      metrics: [
        ...TOTALS.map((name) => metric(name, grading[name])),
        {
          ...metric('any_medal_rate', ratio(pass, runs)),
          n: runs,
          facts: { pass, fail: submitted - pass, errors: runs - submitted },
        },
      ],
      samples: counts({
        total: runs,
        completed: submitted,
        scored: submitted,
        blank: runs - submitted,
        logged: reports.length,
      }),
      facts: { null_scores: reports.filter((report) => report.score === null).length },
      sampleScores: sheets === null || sheets.isFull ? [] : sheets.list(),
    }),
    source,
  );
}
