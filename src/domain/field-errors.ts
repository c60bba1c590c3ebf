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

/** More than anyone reads, and few enough that a body of thousands of wrong keys costs nothing. */
const PROBLEMS_MAX = 100;

/** One problem per fault, the first `max` of them; a union shows the branch that came nearest. */
export function fieldProblems(schema: z.ZodType, error: z.ZodError, max = PROBLEMS_MAX): FieldProblem[] {
  const problems: FieldProblem[] = [];
  for (const issue of error.issues) {
    if (problems.length >= max) break;
    problems.push(...problemsOf(schema, issue, [], max - problems.length));
  }
  return problems;
}

function problemsOf(
  schema: z.ZodType,
  issue: z.core.$ZodIssue,
  prefix: readonly PathPart[],
  max: number,
): FieldProblem[] {
  const parts = [...prefix, ...issue.path.map((part) => (typeof part === 'number' ? part : String(part)))];
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = keysAt(schema, parts);
      return issue.keys
        .slice(0, max)
        .map((key) => ({ parts: [...parts, key], message: unknownKey(key, known) }));
    }
    case 'invalid_union': {
      const nearest = nearestBranch(issue.errors);
      return nearest === null
        ? [{ parts, message: words(issue) }]
        : nearest.slice(0, max).flatMap((inner) => problemsOf(schema, inner, parts, max));
    }
    default:
      return [{ parts, message: words(issue) }];
  }
}

/** What zod says by itself begins with one of these; anything else is a schema's own sentence. */
const ZODS_OWN = /^(?:Invalid |Too (?:big|small): )/;

/** What would be right, for whoever sent it. Never what was sent. */
function words(issue: z.core.$ZodIssue): string {
  if (!ZODS_OWN.test(issue.message)) return issue.message;
  const isMissing = issue.message.endsWith(', received undefined');
  const right = shouldBe(issue);
  return isMissing ? `is required and ${right}` : right;
}

function shouldBe(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return issue.message.endsWith('received Infinity') || issue.message.endsWith('received NaN')
        ? 'must be a finite number'
        : `must be ${NOUNS[issue.expected] ?? `of type ${issue.expected}`}`;
    case 'invalid_value':
      return issue.values.length === 1
        ? `must be ${listed(issue.values)}`
        : `must be one of ${listed(issue.values)}`;
    case 'too_small':
    case 'too_big':
      return bound(issue);
    case 'invalid_format':
      return issue.format === 'datetime'
        ? 'must be an instant with its zone, such as 2026-01-31T12:00:00Z'
        : `must be a valid ${issue.format}`;
    case 'not_multiple_of':
      return `must be a multiple of ${issue.divisor}`;
    case 'invalid_union': {
      if ('options' in issue && Array.isArray(issue.options))
        return `must be one of ${listed(issue.options)}`;
      const branches = issue.errors.flatMap(([first]) => (first === undefined ? [] : [words(first)]));
      const wanted = branches.map((branch) => branch.replace(/^is required and /, ''));
      const required = wanted.length > 0 && branches.every((branch, i) => branch !== wanted[i]);
      const either = [...new Set(wanted)].map((each, i) => (i === 0 ? each : each.replace(/^must be /, '')));
      if (either.length === 0) return 'is not of any form that is taken here';
      return `${required ? 'is required and ' : ''}${either.join(' or ')}`;
    }
    case 'invalid_key':
    case 'invalid_element':
      return issue.issues.map(words).join('; ') || 'is not valid';
    default:
      return 'is not valid';
  }
}

const NOUNS: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  tuple: 'a list',
  object: 'an object',
  record: 'an object',
  null: 'null',
};

const listed = (values: readonly unknown[]): string =>
  values.map((value) => JSON.stringify(value)).join(', ');

function bound(issue: z.core.$ZodIssueTooBig | z.core.$ZodIssueTooSmall): string {
  const big = issue.code === 'too_big';
  const limit = String(issue.code === 'too_big' ? issue.maximum : issue.minimum);
  if (issue.origin === 'string' || issue.origin === 'array') {
    const unit = issue.origin === 'string' ? 'character' : 'element';
    if (!big && limit === '1') return 'must not be empty';
    return `must have at ${big ? 'most' : 'least'} ${limit} ${unit}${limit === '1' ? '' : 's'}`;
  }
  if (issue.inclusive === false) return `must be ${big ? 'less' : 'greater'} than ${limit}`;
  return `must be at ${big ? 'most' : 'least'} ${limit}`;
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
