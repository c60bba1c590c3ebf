/**
 * Field errors: zod's findings in words a person can act on, with the place spelled as they wrote it.
 *
 * Used for requests and for configuration alike, so that both name a misspelt key and what was
 * probably meant. Values are never repeated, only keys, and those are shortened and escaped.
 */
import { z } from 'zod';

export type PathPart = string | number;
export interface FieldProblem {
  parts: readonly PathPart[];
  message: string;
}

const PLAIN_KEY = /^[A-Za-z_][A-Za-z0-9_-]*$/;
const KEY_LENGTH_MAX = 64;

/** `targets[0].url`; a key that is not a plain word is quoted and escaped. */
export function fieldPath(parts: readonly PathPart[]): string {
  let path = '';
  for (const part of parts) {
    if (typeof part === 'number') path += `[${part}]`;
    else if (part.length <= KEY_LENGTH_MAX && PLAIN_KEY.test(part)) path += path === '' ? part : `.${part}`;
    else path += `[${quoteKey(part)}]`;
  }
  return path;
}

function quoteKey(key: string): string {
  const short = key.length > KEY_LENGTH_MAX ? `${key.slice(0, KEY_LENGTH_MAX)}…` : key;
  // Beyond ASCII everything is escaped: a right-to-left override in an error message is an attack on the reader.
  return JSON.stringify(short).replace(
    /[^\x20-\x7e…]/gu,
    (c) => `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`,
  );
}

/** One problem per fault; a union shows the branch that came nearest. */
export function fieldProblems(schema: z.ZodType, error: z.ZodError): FieldProblem[] {
  return error.issues.flatMap((issue) => problemsOf(schema, issue, []));
}

function problemsOf(schema: z.ZodType, issue: z.core.$ZodIssue, prefix: readonly PathPart[]): FieldProblem[] {
  const parts = [...prefix, ...issue.path.map((part) => (typeof part === 'number' ? part : String(part)))];
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => ({
        parts: [...parts, key],
        message: unknownKey(key, keysAt(schema, parts)),
      }));
    case 'invalid_union': {
      const nearest = nearestBranch(issue.errors);
      return nearest === null
        ? [{ parts, message: plain(issue) }]
        : nearest.flatMap((inner) => problemsOf(schema, inner, parts));
    }
    case 'invalid_key':
    case 'invalid_element':
      return [{ parts, message: issue.issues.map(plain).join('; ') || plain(issue) }];
    default:
      return [{ parts, message: plain(issue) }];
  }
}

function plain(issue: z.core.$ZodIssue): string {
  const message = issue.message.replace(/^Invalid input: /, '').replace(/^Invalid option: /, '');
  return message.endsWith(', received undefined')
    ? `is required (${message.slice(0, -', received undefined'.length)})`
    : message;
}

/** The branch that went deepest is the one that was meant; where all fail at the door, none is. */
function nearestBranch(
  branches: readonly (readonly z.core.$ZodIssue[])[],
): readonly z.core.$ZodIssue[] | null {
  let best: readonly z.core.$ZodIssue[] | null = null;
  let bestDepth = 0;
  for (const branch of branches) {
    const depth = Math.max(
      0,
      ...branch.map((issue) => issue.path.length + (issue.code === 'unrecognized_keys' ? 1 : 0)),
    );
    if (depth > bestDepth || (depth === bestDepth && best !== null && branch.length < best.length)) {
      best = branch;
      bestDepth = depth;
    }
  }
  return best;
}

function unknownKey(key: string, known: readonly string[]): string {
  const meant = nearestWord(key, known);
  if (meant !== null) return `unknown key; did you mean "${meant}"?`;
  if (known.length === 0) return 'unknown key; none are allowed here';
  return known.length <= 16 ? `unknown key; allowed here: ${known.join(', ')}` : 'unknown key';
}

/** The keys an object schema allows at a place, seen through optional, default, union and the like. */
function keysAt(schema: z.core.$ZodType, parts: readonly PathPart[]): string[] {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodReadonly
  ) {
    return keysAt(schema.def.innerType, parts);
  }
  if (schema instanceof z.ZodPipe) return keysAt(schema.def.in, parts);
  if (schema instanceof z.ZodUnion) {
    return [...new Set(schema.def.options.flatMap((option) => keysAt(option, parts)))];
  }
  const [next, ...rest] = parts;
  if (schema instanceof z.ZodArray) return next === undefined ? [] : keysAt(schema.def.element, rest);
  if (schema instanceof z.ZodRecord) return next === undefined ? [] : keysAt(schema.def.valueType, rest);
  if (!(schema instanceof z.ZodObject)) return [];
  if (next === undefined) return Object.keys(schema.def.shape);
  const member = Object.hasOwn(schema.def.shape, next) ? schema.def.shape[next] : undefined;
  return member === undefined ? [] : keysAt(member, rest);
}

/** The nearest of the known words within a third of its length, or null. */
export function nearestWord(word: string, known: readonly string[]): string | null {
  if (word.length > KEY_LENGTH_MAX) return null;
  let best: string | null = null;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best !== null && best.length >= 3 && bestDistance <= Math.ceil(best.length / 3) ? best : null;
}

/** Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row.push(
        Math.min(
          (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1),
          (last[j] ?? 0) + 1,
          (row[j - 1] ?? 0) + 1,
          isSwap ? (beforeLast[j - 2] ?? 0) + 1 : Number.POSITIVE_INFINITY,
        ),
      );
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length] ?? 0;
}
