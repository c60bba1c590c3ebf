/**
 * From the values of a harness's JSON to those of a HarnessLog: what every reader writes in the same way.
 *
 * Nothing is filled in: a draft starts with everything unsaid, and a reader says what its file says.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson, type Json, type JsonObject } from '../../domain/canonical-json.ts';
import {
  type HarnessLog,
  HarnessLogSchema,
  type HarnessMetric,
  type HarnessNumber,
  type LogProblem,
  NON_FINITE,
} from '../../domain/harness-log.ts';
import { READ_LIMITS, type ReadLog } from './format.ts';
import { digestOfLog, type LogSource } from './log-source.ts';

export type Draft = Omit<HarnessLog, 'fileDigest'>;
export type Refusal = Extract<ReadLog, { ok: false }>;

export function refusal(problem: LogProblem, detail: string): Refusal {
  return { ok: false, problem, detail };
}

export function draft(format: string, harness: string, said: Partial<Draft>): Draft {
  return {
    format,
    harness,
    harnessVersion: null,
    status: null,
    task: null,
    taskVersion: null,
    model: null,
    revision: null,
    modelBaseUrl: null,
    dataset: null,
    created: null,
    startedAt: null,
    completedAt: null,
    epochs: null,
    limits: {},
    metrics: [],
    samples: counts({}),
    error: null,
    facts: {},
    protocol: {},
    sampleScores: [],
    ...said,
  };
}

export function counts(said: Partial<HarnessLog['samples']>): HarnessLog['samples'] {
  return { total: null, completed: null, scored: null, errored: null, refused: null, logged: null, ...said };
}

/** The form is checked once more: a reader that lets a broken value through has not read the file. */
export async function finish(log: Draft, source: LogSource): Promise<ReadLog> {
  if (log.metrics.length > READ_LIMITS.metrics) {
    return refusal('log-too-large', `holds over ${READ_LIMITS.metrics} metrics`);
  }
  const parsed = HarnessLogSchema.safeParse({ ...log, fileDigest: await digestOfLog(source) });
  if (parsed.success) return { ok: true, log: parsed.data };
  const member = parsed.error.issues[0]?.path.filter((part) => typeof part !== 'number').join('.') ?? '';
  return refusal('log-unreadable', `holds no usable ${member}`);
}

/** A figure, finite or not; values that are not finite arrive under their names. */
export const figure = z.union([z.number(), z.enum(NON_FINITE)]);

/** Undefined: it is no figure, and does not stand for one. */
export function harnessNumber(value: unknown): HarnessNumber | undefined {
  return value === null ? null : figure.safeParse(value).data;
}

export const isNonFinite = (value: unknown): boolean => NON_FINITE.some((name) => name === value);

/** As Python would compute with it. Null: it is no figure. */
export function arithmetic(value: unknown): number | null {
  if (typeof value === 'boolean') return Number(value);
  const number = harnessNumber(value);
  return number === undefined || number === null ? null : Number(number);
}

/** Of a computed number. */
export function named(value: number): HarnessNumber {
  if (Number.isFinite(value)) return value;
  return NON_FINITE.find((name) => name === String(value)) ?? null;
}

/** What is no number counts as not stated, as do "N/A" and null. */
export const statedNumber = (value: unknown): HarnessNumber => harnessNumber(value) ?? null;

/** One metric of which nothing but its value is known; none where that is no figure. */
export function plainMetric(scorer: string | null, name: string, value: unknown): HarnessMetric[] {
  const number = harnessNumber(value);
  return number === undefined ? [] : [{ scorer, name, value: number, stderr: null }];
}

/** Null where nothing was counted: no share of nothing, and no mean of it. */
export const ratio = (part: number, whole: number): number | null => (whole > 0 ? part / whole : null);

/** JSON of a value that came out of JSON; numbers that are not finite keep their names, absent members stay absent. */
export function toJson(value: unknown): Json {
  if (value === null || value === undefined) return null;
  if (typeof value === 'boolean') return value;
  if (typeof value === 'number') return named(value);
  if (typeof value === 'string') return value.toWellFormed();
  if (Array.isArray(value)) return value.map(toJson);
  return typeof value === 'object' ? jsonMembers(value) : null;
}

export function jsonMembers(members: object): JsonObject {
  return Object.fromEntries(
    Object.entries(members)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [name.toWellFormed(), toJson(value)]),
  );
}

/** Names long text, such as a prompt, in facts of the protocol. */
export function digestOf(value: unknown): string {
  return createHash('sha256')
    .update(canonicalJson(toJson(value)))
    .digest('hex');
}

/** RFC 3339 to the second, which is how finely the harnesses themselves write it. Null for what is no such instant. */
export function instantOfEpoch(seconds: number): string | null {
  const date = new Date(Math.floor(seconds) * 1000);
  return Number.isNaN(date.getTime()) ? null : date.toISOString().replace('.000Z', 'Z');
}

/** Provenance: what is no text counts as not stated. */
export const text = z
  .unknown()
  .optional()
  .transform((value) => (typeof value === 'string' && value !== '' ? value.toWellFormed() : null));
/** A figure that stands or falls with the file. */
export const tally = z.int().min(0);
/** Provenance again: a version is text in one release and a number in the next. */
export const textOrNumber = z
  .unknown()
  .optional()
  .transform((value) =>
    typeof value === 'number' && Number.isFinite(value) ? String(value) : text.parse(value),
  );
export const record = z.record(z.string(), z.unknown());

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export const distinct = <T>(values: Iterable<T>): T[] => [...new Set(values)];

/** Null where there is none. */
export const joined = (names: readonly string[]): string | null =>
  names.length === 0 ? null : names.join(',');

/** Where a value does not have the layout that the format has: which member, never its content. */
export function layoutProblem(what: string, error: z.ZodError): Refusal {
  const path = (error.issues[0]?.path ?? []).filter(
    (part) => typeof part === 'string' && /^[\w-]{1,40}$/.test(part),
  );
  return refusal(
    'log-unreadable',
    `is no ${what}: ${path.length === 0 ? 'the layout' : path.join('.')} is another`,
  );
}
