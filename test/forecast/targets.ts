/**
 * What the forecast has to reach on the development curves, and whether it does.
 *
 * Coverage is met where the share itself is inside the band; the clustered interval is told beside it, so that a
 * reader sees what the sample can tell apart.
 */
import {
  type CoverageRow,
  coverageTable,
  POOLED_SOURCE,
  SOURCE_MIN_FORECASTS,
} from '../../src/domain/forecast/metrics.ts';
import type { Figures } from './evaluate.ts';

export interface Target {
  readonly what: string;
  readonly wanted: string;
  readonly measured: string;
  readonly isMet: boolean;
}

const MAX_RATIO = 1.05;
const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;
const loss = (value: number): string => value.toFixed(4);

export function targets(figures: Figures, baselines: readonly Figures[]): Target[] {
  const { all, rises, crossings, bagsEarly, bagsLate } = figures;
  return [
    atMost('pinball loss at 0.95', all.pinball95, 0.0105, loss),
    atMost('pinball loss at 0.99', all.pinball99, 0.0042, loss),
    ...coverageTargets('', coverageTable(figures.judged)),
    ...withoutSubjectsTargets(figures),
    atLeast('rises >= 0.15 announced, within the 99% bound', rises.announced.pooled99, 0.9, percent),
    atLeast('the same, mean over sources', rises.announced.covered99, 0.9, percent),
    atLeast('crossings announced, warned at 10% false alarms', crossings.announced.pooled, 0.9, percent),
    atLeast('the same, mean over sources', crossings.announced.warned, 0.9, percent),
    ...(['late', 'early'] as const).flatMap((when) => {
      const max = when === 'late' ? 3 : 6;
      const points = when === 'late' ? '6 points on' : '4 and 5 points';
      const what = `benign bags: trips per 100 checkpoints, ${points}`;
      const worst = Math.max(...figures.bags.map((bag) => bag[when]).filter(Number.isFinite));
      return [
        atMost(what, 100 * (when === 'late' ? bagsLate : bagsEarly), max, one),
        atMost('the same in the worst source', 100 * worst, max, one),
      ];
    }),
    ...ratioTargets(figures, baselines),
  ];
}

const one = (value: number): string => value.toFixed(1);

function atMost(what: string, value: number, max: number, text: (value: number) => string): Target {
  return { what, wanted: `<= ${text(max)}`, measured: text(value), isMet: value <= max };
}

function atLeast(what: string, value: number, min: number, text: (value: number) => string): Target {
  return { what, wanted: `>= ${text(min)}`, measured: text(value), isMet: value >= min };
}

function coverageTargets(which: string, rows: readonly CoverageRow[]): Target[] {
  const pool = rows.find(({ source, when }) => source === POOLED_SOURCE && when === 'all');
  const isPoolJudged = (pool?.forecasts ?? 0) >= SOURCE_MIN_FORECASTS;
  return rows.flatMap(({ source, when, upper95, upper99 }) => {
    if (when === 'all' || (source === POOLED_SOURCE && !isPoolJudged)) return [];
    const interval = ({ share, low, high }: CoverageRow['upper95']): string =>
      `${percent(share)} [${percent(low)}, ${percent(high)}]`;
    return [
      {
        what: `95% bound, ${source}, ${when}${which}`,
        wanted: '93.0% to 97.5%',
        measured: interval(upper95),
        isMet: upper95.share >= 0.93 && upper95.share <= 0.975,
      },
      {
        what: `99% bound, ${source}, ${when}${which}`,
        wanted: '>= 98.0%',
        measured: interval(upper99),
        isMet: upper99.share >= 0.98,
      },
    ];
  });
}

/** Only the sources that have such subjects differ. */
function withoutSubjectsTargets({ judged }: Figures): Target[] {
  const having = new Set(judged.filter((one) => one.isSingleSubject).map(({ source }) => source));
  const rest = judged.filter(({ source, isSingleSubject }) => having.has(source) && !isSingleSubject);
  return coverageTargets(', without single MMLU subjects', coverageTable(rest));
}

/** Never worse than 1.05 times the best baseline in any source. */
function ratioTargets({ bySource }: Figures, baselines: readonly Figures[]): Target[] {
  return [...bySource].flatMap(([source, own]) =>
    (['pinball95', 'pinball99'] as const).map((measure) => {
      const best = Math.min(...baselines.map((each) => each.bySource.get(source)?.[measure] ?? Number.NaN));
      const ratio = own[measure] / best;
      return {
        what: `${measure.replace('pinball', 'pinball loss at 0.')} beside the best baseline, ${source}`,
        wanted: `<= ${MAX_RATIO}x ${loss(best)}`,
        measured: `${ratio.toFixed(2)}x (${loss(own[measure])})`,
        isMet: ratio <= MAX_RATIO,
      };
    }),
  );
}
