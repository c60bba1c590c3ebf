/** The evaluation as tables, for a terminal or as Markdown. */
import { type Column, PLAIN, printable, type Style, table } from '../../src/cli/output.ts';
import {
  coverageTable,
  type Judged,
  pitHistogram,
  reliability,
  worstMisses,
} from '../../src/domain/forecast/metrics.ts';
import type { Figures } from './evaluate.ts';
import type { Target } from './targets.ts';

export interface Section {
  readonly title: string;
  readonly note?: string;
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly string[])[];
}

const percent = (share: number): string => (Number.isNaN(share) ? '-' : `${(100 * share).toFixed(1)}%`);
const loss = (value: number): string => (Number.isNaN(value) ? '-' : value.toFixed(4));
const hundred = (share: number): string => (Number.isNaN(share) ? '-' : (100 * share).toFixed(1));
const right = (title: string): Column => ({ title, align: 'right' });

export function sections(
  judged: Figures,
  baselines: readonly Figures[],
  targets: readonly Target[],
): Section[] {
  const everyone = [judged, ...baselines];
  const withoutSubjects = judged.judged.filter(({ isSingleSubject }) => !isSingleSubject);
  return [
    ...(targets.length === 0 ? [] : [targetSection(targets)]),
    overview(everyone),
    bySource('pinball loss at 0.95, by source', everyone, ({ pinball95 }) => pinball95),
    bySource('pinball loss at 0.99, by source', everyone, ({ pinball99 }) => pinball99),
    coverage(`${judged.name}: coverage of the upper bounds`, judged.judged),
    ...(withoutSubjects.length === judged.judged.length
      ? []
      : [coverage(`${judged.name}: the same without single MMLU subjects`, withoutSubjects)]),
    risesBySource(everyone),
    crossingsBySource(everyone),
    bags(everyone),
    calibration(everyone),
    reliabilitySection(judged),
    misses(judged),
  ];
}

function targetSection(targets: readonly Target[]): Section {
  return {
    title: `targets: ${targets.filter(({ isMet }) => isMet).length} of ${targets.length} met`,
    columns: [{ title: 'what' }, right('wanted'), right('measured'), { title: '' }],
    rows: targets.map(({ what, wanted, measured, isMet }) => [
      what,
      wanted,
      measured,
      isMet ? 'met' : 'NOT MET',
    ]),
  };
}

/** Each source by parameters that have not seen it, beside those that have. */
export function crossValidationSections(
  heldOut: Figures,
  served: Figures,
  heldOutTargets: readonly Target[],
  servedTargets: readonly Target[],
): Section[] {
  const met = (of: readonly Target[]): number => of.filter(({ isMet }) => isMet).length;
  const mark = (target: Target | undefined): string =>
    target === undefined ? '-' : `${target.measured}${target.isMet ? '' : ' NOT MET'}`;
  return [
    {
      title: `targets, each source left out of the fit: ${met(heldOutTargets)} of ${heldOutTargets.length} met; with all sources in view ${met(servedTargets)}`,
      columns: [{ title: 'what' }, right('wanted'), right('left out'), right('in view')],
      rows: heldOutTargets.map((target, i) => [
        target.what,
        target.wanted,
        mark(target),
        mark(servedTargets[i]),
      ]),
    },
    {
      title: 'by source: left out / in view',
      columns: [
        { title: 'source' },
        right('pinball 0.95'),
        right('pinball 0.99'),
        right('95% bound'),
        right('99% bound'),
      ],
      rows: [...heldOut.bySource, ['mean', heldOut.all] as const].map(([source, out]) => {
        const seen = source === 'mean' ? served.all : served.bySource.get(source);
        const both = (figure: (losses: Figures['all']) => string): string =>
          `${figure(out)} / ${seen === undefined ? '-' : figure(seen)}`;
        return [
          printable(source),
          both(({ pinball95 }) => loss(pinball95)),
          both(({ pinball99 }) => loss(pinball99)),
          both(({ coverage95 }) => percent(coverage95)),
          both(({ coverage99 }) => percent(coverage99)),
        ];
      }),
    },
  ];
}

/** One pair of figures for each number of checkpoints ahead: the method and the straight line. */
export function horizonSection(
  pairs: readonly { readonly ahead: number; readonly judged: Figures; readonly linear: Figures }[],
): Section {
  const beside = (ours: number, its: number): string => `${loss(ours)} / ${loss(its)}`;
  return {
    title: 'checkpoints ahead',
    columns: [
      right('checkpoints ahead'),
      right('forecasts'),
      right('pinball 0.95, beside linear'),
      right('pinball 0.99, beside linear'),
      right('95% bound'),
      right('99% bound'),
    ],
    rows: pairs.map(({ ahead, judged: { judged, all }, linear }) => [
      String(ahead),
      String(judged.length),
      beside(all.pinball95, linear.all.pinball95),
      beside(all.pinball99, linear.all.pinball99),
      percent(all.coverage95),
      percent(all.coverage99),
    ]),
  };
}

function overview(everyone: readonly Figures[]): Section {
  const row = (what: string, figure: (figures: Figures) => string): string[] => [
    what,
    ...everyone.map(figure),
  ];
  return {
    title: 'figures, mean over sources of the mean over forecasts',
    note: 'announced: not from a silent plateau. Shares of rises and crossings: mean over sources / of all.',
    columns: [{ title: '' }, ...everyone.map(({ name }) => right(name))],
    rows: [
      row('forecasts', ({ all }) => String(all.forecasts)),
      row('pinball loss at 0.50', ({ all }) => loss(all.pinball50)),
      row('pinball loss at 0.95', ({ all }) => loss(all.pinball95)),
      row('pinball loss at 0.99', ({ all }) => loss(all.pinball99)),
      row('coverage of the 95% bound', ({ all }) => percent(all.coverage95)),
      row('coverage of the 99% bound', ({ all }) => percent(all.coverage99)),
      row('without single MMLU subjects: 0.95', ({ withoutSubjects }) => loss(withoutSubjects.pinball95)),
      row('without single MMLU subjects: 0.99', ({ withoutSubjects }) => loss(withoutSubjects.pinball99)),
      row('jump series: forecasts', ({ jumpSeries }) => String(jumpSeries.forecasts)),
      row('jump series: 0.95', ({ jumpSeries }) => loss(jumpSeries.pinball95)),
      row('jump series: 0.99', ({ jumpSeries }) => loss(jumpSeries.pinball99)),
      row('jump series: coverage of the 95% bound', ({ jumpSeries }) => percent(jumpSeries.coverage95)),
      row('jump series: coverage of the 99% bound', ({ jumpSeries }) => percent(jumpSeries.coverage99)),
      ...(['all', 'announced', 'silent'] as const).flatMap((which) => [
        row(`rises >= 0.15, ${which}`, ({ rises }) => String(rises[which].count)),
        row('  within the 95% bound', ({ rises }) => pair(rises[which].covered95, rises[which].pooled95)),
        row('  within the 99% bound', ({ rises }) => pair(rises[which].covered99, rises[which].pooled99)),
      ]),
      row('warning from, at 10% false alarms', ({ crossings }) => crossings.all.warnFrom.toFixed(4)),
      ...(['all', 'announced', 'silent'] as const).flatMap((which) => [
        row(`crossings, ${which}`, ({ crossings }) => String(crossings[which].count)),
        row('  warned', ({ crossings }) => pair(crossings[which].warned, crossings[which].pooled)),
      ]),
      row('crossings warned from 5% on', ({ crossingsAt5 }) =>
        pair(crossingsAt5.warned, crossingsAt5.pooled),
      ),
      row('  false alarms', ({ crossingsAt5 }) => percent(crossingsAt5.falseAlarms)),
      row('benign bags: trips per 100, 4 and 5 points', ({ bagsEarly }) => hundred(bagsEarly)),
      row('benign bags: trips per 100, 6 points on', ({ bagsLate }) => hundred(bagsLate)),
    ],
  };
}

const pair = (overSources: number, pooled: number): string => `${percent(overSources)} / ${percent(pooled)}`;

function bySource(
  title: string,
  everyone: readonly Figures[],
  figure: (losses: Figures['all']) => number,
): Section {
  const sources = [...(everyone[0]?.bySource ?? [])];
  return {
    title,
    columns: [{ title: 'source' }, right('forecasts'), ...everyone.map(({ name }) => right(name))],
    rows: sources.map(([source, { forecasts }]) => [
      printable(source),
      String(forecasts),
      ...everyone.map((each) => {
        const own = each.bySource.get(source);
        return own === undefined ? '-' : loss(figure(own));
      }),
    ]),
  };
}

function coverage(title: string, judged: readonly Judged[]): Section {
  return {
    title,
    note: 'Intervals of 95%, clustered by model. Early: the 3rd to 5th point. Sources under 200 forecasts are pooled.',
    columns: [
      { title: 'source' },
      { title: 'when' },
      right('forecasts'),
      right('models'),
      right('95% bound'),
      right('interval'),
      right('99% bound'),
      right('interval'),
    ],
    rows: coverageTable(judged).map(({ source, when, forecasts, upper95, upper99 }) => [
      printable(source),
      when,
      String(forecasts),
      String(upper95.clusters),
      percent(upper95.share),
      `${percent(upper95.low)} to ${percent(upper95.high)}`,
      percent(upper99.share),
      `${percent(upper99.low)} to ${percent(upper99.high)}`,
    ]),
  };
}

function risesBySource(everyone: readonly Figures[]): Section {
  return {
    title: 'rises >= 0.15 by source: within the 95% / 99% bound',
    columns: [{ title: 'source' }, right('rises'), ...everyone.map(({ name }) => right(name))],
    rows: [...(everyone[0]?.risesBySource ?? [])]
      .filter(([, { count }]) => count > 0)
      .map(([source, { count }]) => [
        printable(source),
        String(count),
        ...everyone.map((each) => {
          const own = each.risesBySource.get(source);
          return own === undefined ? '-' : pair(own.covered95, own.covered99);
        }),
      ]),
  };
}

function crossingsBySource(everyone: readonly Figures[]): Section {
  return {
    title: 'crossings of 0.15, 0.3, 0.5, 0.7 by source: warned / false alarms, at 10% false alarms over all',
    columns: [{ title: 'source' }, right('crossings'), ...everyone.map(({ name }) => right(name))],
    rows: [...(everyone[0]?.crossingsBySource ?? [])].map(([source, { count }]) => [
      printable(source),
      String(count),
      ...everyone.map((each) => {
        const own = each.crossingsBySource.get(source);
        return own === undefined ? '-' : pair(own.warned, own.falseAlarms);
      }),
    ]),
  };
}

function bags(everyone: readonly Figures[]): Section {
  return {
    title: 'bags of eight benign series: trips per 100 checkpoints, 4 and 5 points / 6 points on',
    columns: [{ title: 'source' }, right('series'), ...everyone.map(({ name }) => right(name))],
    rows: (everyone[0]?.bags ?? []).map(({ source, series }) => [
      printable(source),
      String(series),
      ...everyone.map((each) => {
        const own = each.bags.find((one) => one.source === source);
        return own === undefined ? '-' : `${hundred(own.early)} / ${hundred(own.late)}`;
      }),
    ]),
  };
}

const PIT_BINS = 10;

function calibration(everyone: readonly Figures[]): Section {
  const histograms = everyone.map(({ judged }) => pitHistogram(judged, PIT_BINS));
  return {
    title: 'probability integral transform: share of forecasts in each tenth (10% each if calibrated)',
    columns: [{ title: 'tenth' }, ...everyone.map(({ name }) => right(name))],
    rows: Array.from({ length: PIT_BINS }, (_, bin) => [
      `${(bin / PIT_BINS).toFixed(1)} to ${((bin + 1) / PIT_BINS).toFixed(1)}`,
      ...histograms.map((histogram) => percent(histogram[bin] ?? Number.NaN)),
    ]),
  };
}

function reliabilitySection({ name, crossingForecasts }: Figures): Section {
  return {
    title: `${name}: reliability of P(r >= threshold), forecasts made below the threshold`,
    columns: [right('said'), right('forecasts'), right('said, mean'), right('came')],
    rows: reliability(crossingForecasts).map(({ from, to, forecasts, stated, came }) => [
      `${percent(from)} to ${percent(to)}`,
      String(forecasts),
      percent(stated),
      percent(came),
    ]),
  };
}

function misses({ name, judged }: Figures): Section {
  return {
    title: `${name}: the ten worst misses, in r`,
    columns: [
      { title: 'series' },
      right('index'),
      right('last'),
      right('q99'),
      right('actual'),
      right('miss'),
    ],
    rows: worstMisses(judged).map(({ seriesId, index, last, q99, actual }) => [
      printable(seriesId),
      String(index),
      last.toFixed(3),
      q99.toFixed(3),
      actual.toFixed(3),
      (actual - q99).toFixed(3),
    ]),
  };
}

export function terminalReport(all: readonly Section[], style: Style = PLAIN): string {
  return all
    .map(({ title, note, columns, rows }) =>
      [style.bold(title), ...(note === undefined ? [] : [note]), table(columns, rows, style)].join('\n'),
    )
    .join('\n\n');
}

export function markdownReport(all: readonly Section[]): string {
  const cell = (text: string): string => printable(text).replaceAll('|', '\\|').replaceAll('<', '&lt;');
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`;
  const parts = all.map(({ title, note, columns, rows }) =>
    [
      `### ${cell(title)}`,
      '',
      ...(note === undefined ? [] : [note, '']),
      line(columns.map((column) => column.title)),
      `|${columns.map(({ align }) => (align === 'right' ? '---:' : '---')).join('|')}|`,
      ...rows.map(line),
    ].join('\n'),
  );
  return `${parts.join('\n\n')}\n`;
}
