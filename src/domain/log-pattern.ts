/**
 * Which file below a directory is the log of a harness: a path with `*` within a name and `**` over directories.
 *
 * Small on purpose: no braces, no classes, no negation. Everything else in it means itself.
 */
import { z } from 'zod';

/** The harnesses whose logs can be read; src/evaluators/formats has a reader for each. */
export const HARNESS_FORMATS = [
  'inspect',
  'lm-eval',
  'promptfoo',
  'helm',
  'openai-evals',
  'swe-bench',
  'garak',
  'bigcode',
  'metr',
  'intercode',
  'mle-bench',
  'lighteval',
  'dclm',
] as const;
export type HarnessFormatName = (typeof HARNESS_FORMATS)[number];

/** `auto`: whichever harness's log it is. */
export const RESULT_FORMATS = ['native', 'auto', ...HARNESS_FORMATS] as const;
export type ResultFormat = (typeof RESULT_FORMATS)[number];

export const LogPatternSchema = z
  .string()
  .min(1)
  .max(512)
  .refine((text) => !text.startsWith('/') && !text.split('/').includes('..'), {
    message: 'is relative to {logDirectory} and stays below it',
  })
  .refine((text) => text.split('/').every((segment) => segment !== '' && segment !== '.'), {
    message: 'has an empty part between slashes',
  });

/** Which file a harness calls its log, where it leaves others that read like one beside it. */
export const DEFAULT_LOG: Readonly<Record<'auto' | HarnessFormatName, string>> = {
  auto: '**',
  inspect: '**',
  'lm-eval': '**/*.json',
  promptfoo: '**/*.json',
  helm: '**/stats.json',
  'openai-evals': '**',
  'swe-bench': '**/*.json',
  garak: '**/*.report.jsonl',
  bigcode: '**/*.json',
  metr: '**/*.jsonl',
  intercode: '**/*.json',
  'mle-bench': '**/*.json',
  lighteval: '**/results_*.json',
  dclm: '**/*.json',
};

/** Whether a path (with `/`, relative to the directory) is one that the pattern means. */
export function matchesLogPattern(pattern: string, file: string): boolean {
  return matches(pattern.split('/'), file.split('/'));
}

function matches(pattern: readonly string[], path: readonly string[]): boolean {
  const [first, ...rest] = pattern;
  if (first === undefined) return path.length === 0;
  if (first === '**' && rest.length === 0) return path.length > 0;
  if (first === '**') return path.some((_, skipped) => matches(rest, path.slice(skipped)));
  const [name, ...below] = path;
  return name !== undefined && matchesName(first, name) && matches(rest, below);
}

/** Greedy, with one place to come back to: linear in practice, never exponential. */
function matchesName(pattern: string, name: string): boolean {
  let [at, read, star, retry] = [0, 0, -1, 0];
  while (read < name.length) {
    if (pattern[at] === '*') {
      star = at;
      retry = read;
      at += 1;
    } else if (pattern[at] === name[read]) {
      at += 1;
      read += 1;
    } else if (star >= 0) {
      at = star + 1;
      retry += 1;
      read = retry;
    } else return false;
  }
  while (pattern[at] === '*') at += 1;
  return at === pattern.length;
}
