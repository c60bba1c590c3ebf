/** `interlock forecast record`: how the forecasts that were sealed have done. */
import { EXIT, type ExitCode } from './exit.ts';
import { json, plural, printable, type Style, table } from './output.ts';
import { connect, path, read, type ServiceOptions } from './service-client.ts';
import { type ForecastFigures, ForecastRecord } from './service-documents.ts';
import type { Terminal } from './terminal.ts';
import { instantBefore } from './when.ts';

export interface RecordOptions extends ServiceOptions {
  run?: string;
  category?: string;
  method?: string;
  since?: string;
  json?: true;
}

export async function forecastRecord(options: RecordOptions, terminal: Terminal): Promise<ExitCode> {
  const { run, category, method, since } = options;
  const query = new URLSearchParams({
    ...(category === undefined ? {} : { category }),
    ...(method === undefined ? {} : { method }),
    ...(since === undefined ? {} : { since: instantBefore('--since', since, new Date()) }),
  });
  const client = await connect(options, terminal);
  // By its path, so that a run that there is not is not an empty record.
  const at = run === undefined ? '/v1/forecasts/record' : path('v1', 'runs', run, 'forecasts', 'record');
  const answer = await client.get(query.size === 0 ? at : `${at}?${query}`);
  terminal.print(options.json ? json(answer) : recordText(read(ForecastRecord, answer), terminal.style));
  return EXIT.ok;
}

const percent = (share: number): string => `${Number((100 * share).toFixed(1))} %`;
const loss = (value: number | null): string => (value === null ? '-' : value.toFixed(3));

export function recordText(record: ForecastRecord, style: Style): string {
  const { total, groups, worstMisses, isTruncated } = record;
  const parts = [
    restsOn(record, style),
    ...(groups.length === 0 ? [] : [groupsText(groups, style)]),
    ...(total.forecasts === 0 ? [] : [calibrationText(total, style)]),
    ...(worstMisses.length === 0 ? [] : [missesText(worstMisses, style)]),
    ...(isTruncated
      ? ['Older scores were left out: it rests on the newest 5,000. --since and --run narrow it down.']
      : []),
  ];
  return parts.join('\n\n');
}

function restsOn({ run, total, excluded }: ForecastRecord, style: Style): string {
  const { forecasts, runs, isTooFew, doublingsShort } = total;
  const whose = run === null ? `in ${plural(runs, 'run')}` : `of run ${printable(run)}`;
  const enough = isTooFew
    ? style.yellow('too few to say how good they are')
    : 'those of one run are not independent, so the intervals are at least so wide';
  const { sealedLate, beyondHorizon, partial } = excluded;
  const left = [
    [sealedLate, 'sealed late'],
    [beyondHorizon, 'whose checkpoint came beyond the horizon'],
    [partial, 'with part of the evidence'],
  ] as const;
  const named = left.flatMap(([count, why]) => (count === 0 ? [] : [`${count} ${why}`]));
  return [
    `${style.bold(`${plural(forecasts, 'scored forecast')} ${whose}`)}: ${enough}`,
    ...(doublingsShort === null
      ? []
      : [
          `The checkpoints came ${doublingsShort.toFixed(2)} doublings of compute before the horizon in the mean.`,
        ]),
    ...(named.length === 0 ? [] : [`Not counted: ${named.join(', ')}.`]),
  ].join('\n');
}

function groupsText(groups: ForecastRecord['groups'], style: Style): string {
  const columns = [
    { title: 'method' },
    { title: 'category' },
    { title: 'stage' },
    { title: 'ahead', align: 'right' },
    { title: 'basis' },
    { title: 'forecasts', align: 'right' },
    { title: 'under the 95 % bound' },
    { title: 'under the 99 % bound' },
    { title: 'loss .5 .95 .99' },
    { title: 'Brier', align: 'right' },
    { title: 'misses', align: 'right' },
  ] as const;
  const rows = groups.map((group) => [
    printable(group.method),
    printable(group.category),
    printable(group.stage),
    String(group.checkpoints),
    printable(group.basis),
    String(group.forecasts),
    coverageText(group, group.coverage95),
    coverageText(group, group.coverage99),
    [group.pinball50, group.pinball95, group.pinball99].map(loss).join(' '),
    loss(group.brier),
    group.misses === 0 ? '0' : style.red(String(group.misses)),
  ]);
  return table(columns, rows, style);
}

function coverageText(
  { forecasts, isTooFew }: ForecastFigures,
  { covered, share, lower, upper }: ForecastFigures['coverage95'],
): string {
  if (isTooFew || share === null || lower === null || upper === null) {
    return `${covered} of ${forecasts}, too few to say`;
  }
  return `${percent(share)} (${percent(lower)} to ${percent(upper)})`;
}

function calibrationText({ pit, levels }: ForecastFigures, style: Style): string {
  return [
    style.bold('Where in the forecast the level came, per tenth (even is calibrated)'),
    `  ${pit.join(' ')}`,
    style.bold('How likely a level was said to be, and how often it came'),
    ...levels.map(
      ({ level, forecasts, stated, came, brier }) =>
        `  ${level.toFixed(2)}  said ${percent(stated)}, came ${percent(came)} of ${forecasts}, Brier ${loss(brier)}`,
    ),
  ].join('\n');
}

function missesText(misses: ForecastRecord['worstMisses'], style: Style): string {
  return [
    style.bold('Worst misses: the level came above the 99 % bound'),
    ...misses.map(
      ({ runId, checkpointId, scoredBy, category, stage, observed, q99 }) =>
        `  ${style.red('!')} ${printable(runId)} ${printable(checkpointId)}: ${printable(category)} ${printable(stage)} came at ${observed.toFixed(2)} (${printable(scoredBy)}), the bound was ${q99.toFixed(2)}`,
    ),
  ].join('\n');
}
