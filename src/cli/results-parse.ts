/**
 * `interlock results parse`: what Interlock takes from a harness's result file.
 *
 * The same reading that a posted result gets, so that nothing looks fine here and is refused there. Numbers that
 * cannot be used are shown as null, and text that a model may have written is not shown at all.
 */
import { readFile, stat } from 'node:fs/promises';
import { z } from 'zod';
import { type NativeResult, parseNativeResult, type ShapeProblem } from '../domain/native-result.ts';
import { parseResult, RESULT_LIMIT_BYTES } from '../evaluators/result-text.ts';
import { EXIT, type ExitCode, UsageError } from './exit.ts';
import { json, printable, type Style, table } from './output.ts';
import type { Terminal } from './terminal.ts';

export interface ParsedResult {
  readonly format: 'native';
  readonly status: NativeResult['status'];
  readonly task: string | null;
  readonly model: string | null;
  readonly created: string | null;
  readonly metrics: readonly {
    scorer: string | null;
    name: string;
    value: number | null;
    stderr: number | null;
  }[];
  readonly samples: { readonly total: number | null; readonly completed: number | null };
  readonly error: string | null;
}

const LATER = ['inspect', 'lm-eval', 'promptfoo'];

export async function resultsParse(
  file: string,
  options: { format: string; json?: true },
  terminal: Terminal,
): Promise<ExitCode> {
  if (LATER.includes(options.format)) {
    throw new UsageError(`the format ${options.format} comes in a later version; native is what is read now`);
  }
  if (options.format !== 'native') throw new UsageError(`there is no format ${printable(options.format)}`);
  const { size } = await stat(file);
  const text = size > RESULT_LIMIT_BYTES ? { kind: 'too-large' as const } : parseResult(await readFile(file));
  if (text.kind !== 'found') return refuse(terminal, file, [{ path: '', message: UNREADABLE[text.kind] }]);
  const parsed = parseNativeResult(text.result);
  if (!parsed.ok) return refuse(terminal, file, parsed.problems);
  const result = nativeReading(parsed.result, modelOf(text.result));
  terminal.print(options.json ? json(result) : readable(result, terminal.style));
  return EXIT.ok;
}

const UNREADABLE = {
  none: 'is empty',
  unreadable: 'is not one JSON object in UTF-8 (a bare NaN is not JSON)',
  'too-large': 'is larger than the 1 MiB that a result may have',
} as const;

function refuse(terminal: Terminal, file: string, problems: readonly ShapeProblem[]): ExitCode {
  for (const { path, message } of problems) {
    terminal.complain(`${file}: ${path === '' ? 'the result' : printable(path)} ${message}`);
  }
  return EXIT.negative;
}

export function nativeReading(result: NativeResult, model: string | null): ParsedResult {
  const n = usable(result.n);
  const named = Object.entries(result.metrics ?? {}).map(([name, metric]) =>
    reading(name, metric.value, metric.stderr),
  );
  const score = result.score === undefined ? [] : [reading('score', result.score, result.stderr)];
  return {
    format: 'native',
    status: result.status,
    task: null,
    model,
    created: result.completedAt ?? result.startedAt ?? null,
    metrics: [...score, ...named],
    samples: { total: n, completed: n },
    error:
      result.errorLength === undefined ? null : `${result.errorLength} characters of error text, not shown`,
  };
}

function reading(name: string, value: Stated, stderr: Stated): ParsedResult['metrics'][number] {
  return { scorer: null, name, value: usable(value), stderr: usable(stderr) };
}

type Stated = NativeResult['score'];
const usable = (stated: Stated): number | null => (typeof stated === 'number' ? stated : null);

/** A name that a person would recognise; prose is none. */
function modelOf(raw: object): string | null {
  const parsed = z.object({ model: z.string().regex(/^[\w@:/.+ -]{1,200}$/) }).safeParse(raw);
  return parsed.success ? parsed.data.model : null;
}

function readable(result: ParsedResult, style: Style): string {
  const number = (value: number | null): string => (value === null ? 'unusable' : String(value));
  const facts: [string, string | null][] = [
    ['format', result.format],
    ['status', result.status],
    ['model', result.model],
    ['created', result.created],
    ['samples', result.samples.completed === null ? 'not stated' : String(result.samples.completed)],
    ['error', result.error],
  ];
  const metrics = result.metrics.map(({ name, value, stderr }) => [
    printable(name),
    number(value),
    stderr === null ? '-' : String(stderr),
  ]);
  return [
    ...facts.flatMap(([name, value]) => (value === null ? [] : [`${name.padEnd(8)} ${printable(value)}`])),
    ...(metrics.length === 0
      ? ['no metric and no score: inconclusive']
      : [
          '',
          table(
            [{ title: 'metric' }, { title: 'value', align: 'right' }, { title: 'stderr', align: 'right' }],
            metrics,
            style,
          ),
        ]),
  ].join('\n');
}
