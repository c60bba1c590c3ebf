/**
 * `interlock results parse`: what Interlock takes from an evaluation harness's log, or from every log of a directory.
 *
 * The same readers that the service has, so that nothing looks fine here and is refused there. What the harness says of a run as a
 * whole is shown, its error text cut short and without control characters; prompts, answers and samples never are.
 * A file that accompanies logs, or is none, is no failed evaluation: exit 0. One that is a log and cannot be read: exit 1.
 */
import { realpath, stat } from 'node:fs/promises';
import type { HarnessLog, HarnessMetric } from '../domain/harness-log.ts';
import { type Reading, readLog } from '../evaluators/formats/detect.ts';
import { logsIn } from '../evaluators/formats/directory.ts';
import { openLog } from '../evaluators/formats/log-source.ts';
import { FORMAT_NAMES, FORMATS } from '../evaluators/formats/registry.ts';
import { EXIT, type ExitCode, UsageError } from './exit.ts';
import { json, plural, printable, type Style, table } from './output.ts';
import type { Terminal } from './terminal.ts';

export interface ResultsParseOptions {
  readonly format?: string;
  readonly json?: true;
}

export async function resultsParse(
  file: string,
  options: ResultsParseOptions,
  terminal: Terminal,
): Promise<ExitCode> {
  const format = readerOf(options.format);
  // A person may name a link; what a harness wrote is opened without following any.
  const place = await realpath(file);
  if ((await stat(place)).isDirectory()) return parseDirectory(place, format, options, terminal);
  const source = await openLog(place);
  if (source === null) throw new UsageError(`${printable(file)} is no file that can be read`);
  const reading = await readLog(source, { format }).finally(() => source.close());
  return show(file, agreeing(reading, options.format), options, terminal);
}

/** A reader's name, or one of the kinds of files that it reads. */
function readerOf(stated: string | undefined): string | undefined {
  if (stated === undefined) return undefined;
  const reader = FORMATS.find(({ name, kinds }) => name === stated || kinds.includes(stated));
  if (reader === undefined) {
    throw new UsageError(`there is no format ${printable(stated)}; there are ${FORMAT_NAMES.join(', ')}`);
  }
  return reader.name;
}

/** Where a kind of file was asked for, another kind of the same harness is not it. */
function agreeing(reading: Reading, stated: string | undefined): Reading {
  if (!reading.ok || stated === undefined || FORMAT_NAMES.includes(stated)) return reading;
  const kind = reading.log.format;
  if (kind === stated) return reading;
  return { ok: false, problem: 'format-disagrees', detail: `is ${kind}, not ${stated}`, kind };
}

function show(file: string, reading: Reading, options: ResultsParseOptions, terminal: Terminal): ExitCode {
  if (isNoLog(reading, options)) {
    terminal.print(options.json ? json(NO_LOG) : `${printable(file)} is no evaluation log`);
    return EXIT.ok;
  }
  if (options.json) terminal.print(json(reading.ok ? parsedOf(reading.log) : unreadable(reading)));
  else if (reading.ok) terminal.print(readable(reading.log, terminal.style));
  if (reading.ok) return EXIT.ok;
  terminal.complain(`${file}: ${printable(reading.detail)} (${reading.problem})`);
  return EXIT.negative;
}

type Unreadable = Extract<Reading, { ok: false }>;

/** Only where nobody said what it was to be. */
const isNoLog = (reading: Reading, { format }: ResultsParseOptions): boolean =>
  !reading.ok && reading.problem === 'format-unknown' && format === undefined;

// --- JSON --------------------------------------------------------------------------------------------

const UNSAID = {
  task: null,
  model: null,
  created: null,
  metrics: [],
  samples: { total: null, completed: null, scored: null, errored: null, refused: null, logged: null },
};
const NO_LOG = { format: 'not-an-eval-log', status: null, ...UNSAID, error: null };

function unreadable({ kind, problem, detail }: Unreadable): object {
  return { format: kind, status: 'unreadable', ...UNSAID, error: detail, problem };
}

/** The contract's members first, then whatever else the log says. */
function parsedOf({ sampleScores: _scores, ...log }: HarnessLog): object {
  const { format, status, task, model, created, metrics, samples, error, ...more } = log;
  return { format, status, task, model, created, metrics, samples, error, ...more };
}

// --- for people --------------------------------------------------------------------------------------

const ERROR_CHARACTERS = 300;

function readable(log: HarnessLog, style: Style): string {
  const { harness, harnessVersion, format, status } = log;
  const facts: [string, string | null][] = [
    ['format', `${format} (${[harness, harnessVersion].filter((part) => part !== null).join(' ')})`],
    ['status', status ?? 'none: it accompanies logs and says nothing of how a run ended'],
    ['task', [log.task, log.taskVersion].filter((part) => part !== null).join(', version ') || null],
    ['model', log.model],
    ['revision', log.revision],
    ['dataset', log.dataset],
    ['created', log.created],
    ['samples', status === null ? null : samplesOf(log)],
    ['limits', limitsOf(log)],
    ['error', log.error === null ? null : shortened(log.error, ERROR_CHARACTERS)],
    ['sha256', log.fileDigest],
  ];
  const lines = facts.flatMap(([name, value]) =>
    value === null ? [] : [`${name.padEnd(8)} ${shortened(value, ERROR_CHARACTERS)}`],
  );
  if (status === null) return lines.join('\n');
  if (log.metrics.length === 0) return [...lines, 'no metric and no score: inconclusive'].join('\n');
  return [...lines, '', metricsTable(log.metrics, style)].join('\n');
}

function samplesOf({ samples: { total, completed, errored, refused }, epochs }: HarnessLog): string {
  if (total === null && completed === null) return 'not stated';
  const parts = [
    total === null ? `${completed} completed` : `${completed ?? 'unknown'} of ${total} completed`,
    ...(epochs === null || epochs === 1 ? [] : [`in ${epochs} epochs`]),
    ...(errored === null || errored === 0 ? [] : [`${errored} errored`]),
    ...(refused === null || refused === 0 ? [] : [`${refused} refused`]),
  ];
  return parts.join(', ');
}

function limitsOf({ limits }: HarnessLog): string | null {
  return (
    Object.entries(limits)
      .map(([name, limit]) => `${name} ${limit}`)
      .join(', ') || null
  );
}

function metricsTable(metrics: readonly HarnessMetric[], style: Style): string {
  const has = (member: 'task' | 'scorer' | 'reducer' | 'n'): boolean =>
    metrics.some((metric) => metric[member] !== undefined && metric[member] !== null);
  const columns = [
    ...(has('task') ? [{ title: 'task', of: taskOf }] : []),
    ...(has('scorer') ? [{ title: 'scorer', of: ({ scorer }: HarnessMetric) => scorer ?? '-' }] : []),
    { title: 'metric', of: ({ name, reducer }: HarnessMetric) => (reducer ? `${name}, ${reducer}` : name) },
    {
      title: 'value',
      align: 'right' as const,
      of: ({ value }: HarnessMetric) => (value === null ? 'unusable' : String(value)),
    },
    { title: 'stderr', align: 'right' as const, of: ({ stderr }: HarnessMetric) => String(stderr ?? '-') },
    ...(has('n')
      ? [{ title: 'n', align: 'right' as const, of: ({ n }: HarnessMetric) => String(n ?? '-') }]
      : []),
  ];
  const rows = metrics.map((metric) => columns.map((column) => shortened(column.of(metric), 60)));
  return table(columns, rows, style);
}

const taskOf = ({ task, group }: HarnessMetric): string => `${task ?? '-'}${group ? ' (group)' : ''}`;

function shortened(text: string, length: number): string {
  const characters = [...printable(text)];
  return characters.length <= length ? characters.join('') : `${characters.slice(0, length - 1).join('')}…`;
}

// --- a directory -------------------------------------------------------------------------------------

async function parseDirectory(
  directory: string,
  format: string | undefined,
  options: ResultsParseOptions,
  terminal: Terminal,
): Promise<ExitCode> {
  const logs = await logsIn(directory, { format });
  if (logs === null)
    throw new UsageError(`${printable(directory)} has too many files: name a smaller directory`);
  if (logs.length === 0) {
    terminal.complain(`${printable(directory)} has no evaluation log`);
    return EXIT.negative;
  }
  if (options.json) {
    for (const { file, reading } of logs) {
      terminal.print(JSON.stringify({ file, ...(reading.ok ? parsedOf(reading.log) : unreadable(reading)) }));
    }
  } else {
    const rows = logs.map(({ file, reading }) => [shortened(file, 80), ...cellsOf(reading)]);
    const titles = ['file', 'format', 'status', 'task', 'model', 'samples', 'metrics'];
    terminal.print(
      table(
        titles.map((title) => ({ title })),
        rows,
        terminal.style,
      ),
    );
  }
  const refused = logs.filter(({ reading }) => !reading.ok).length;
  if (refused === 0) return EXIT.ok;
  terminal.complain(`${plural(refused, 'log')} cannot be read`);
  return EXIT.negative;
}

function cellsOf(reading: Reading): string[] {
  if (!reading.ok) return [reading.kind ?? '-', reading.problem, shortened(reading.detail, 60)];
  const { format, status, task, model, metrics, samples } = reading.log;
  const counted = samples.total === null ? '-' : `${samples.completed ?? '?'}/${samples.total}`;
  const cells = [format, status ?? 'companion', task ?? '-', model ?? '-', counted];
  return [...cells, String(metrics.length)].map((cell) => shortened(cell, 40));
}
