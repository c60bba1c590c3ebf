/**
 * Fuzzing: how many cases, how a value is spoilt, and how long one case may hold the event loop.
 *
 * INTERLOCK_FUZZ_CASES is the number of cases over all targets (10,000 unless it is set); each target has a share.
 * The time of a case is the processor time of this process, so that a busy machine blames nobody; a case that takes
 * too long is tried again, because the collector and the compiler have their moments too, and the best time counts.
 */
import fc from 'fast-check';

export const FUZZ_CASES = Number(process.env['INTERLOCK_FUZZ_CASES'] ?? 10_000);
/** The longest that one hostile input may hold up everything else. */
export const BLOCK_MAX_MS = 100;
const TRIES = 4;

export const cases = (share: number): { numRuns: number } => ({
  numRuns: Math.max(20, Math.round(FUZZ_CASES * share)),
});

function timed<T>(work: () => T): { value: T; ms: number } {
  const from = process.cpuUsage();
  const value = work();
  const { user, system } = process.cpuUsage(from);
  return { value, ms: (user + system) / 1000 };
}

/** Does it, and complains if it holds the event loop for too long. */
export function briefly<T>(work: () => T): T {
  const { value, ms } = timed(work);
  let best = ms;
  for (let i = 1; i < TRIES && best > BLOCK_MAX_MS; i += 1) best = Math.min(best, timed(work).ms);
  if (best > BLOCK_MAX_MS) throw new Error(`held the event loop for ${Math.round(best)} ms`);
  return value;
}

/** What people and programs never mean. */
export const EVIL: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -0,
  -1,
  1.5,
  1e21,
  1e308,
  Number.MAX_SAFE_INTEGER + 2,
  5e-324,
  '',
  ' ',
  '0',
  '-1',
  '1e400',
  '9'.repeat(400),
  'NaN',
  '\u0000',
  '\ud800',
  '\u202e',
  '__proto__',
  'constructor',
  '../../etc/passwd',
  '$(id)',
  "' OR 1=1 --",
  '<script>',
  'x'.repeat(5_000),
  '2026-02-30T00:00:00Z',
  '1d',
  '0s',
  'env:PATH',
  'http://169.254.169.254/',
  [],
  [[]],
  [null],
  {},
  { a: 1 },
  { constructor: { a: 1 } },
  JSON.parse('{"__proto__":{"a":1}}'),
];

export const evil = fc.oneof(
  fc.constantFrom(...EVIL),
  fc.jsonValue({ maxDepth: 3 }),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.double(),
);

/** Not `String`: an object may have a `toString` of its own. */
export const textOf = (value: unknown): string =>
  typeof value === 'string' ? value : (JSON.stringify(value) ?? 'undefined');

type Path = (string | number)[];

function pathsOf(value: unknown, at: Path = []): Path[] {
  if (Array.isArray(value)) return [at, ...value.flatMap((each, i) => pathsOf(each, [...at, i]))];
  if (typeof value === 'object' && value !== null) {
    return [at, ...Object.entries(value).flatMap(([key, each]) => pathsOf(each, [...at, key]))];
  }
  return [at];
}

function changed(value: unknown, path: Path, change: (found: unknown) => unknown): unknown {
  const [next, ...rest] = path;
  if (next === undefined) return change(value);
  if (Array.isArray(value)) return value.map((each, i) => (i === next ? changed(each, rest, change) : each));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [key, key === next ? changed(each, rest, change) : each]),
  );
}

function without(value: unknown, path: Path): unknown {
  const last = path.at(-1);
  return changed(value, path.slice(0, -1), (parent) => {
    if (Array.isArray(parent)) return parent.filter((_, i) => i !== last);
    if (typeof parent !== 'object' || parent === null) return parent;
    return Object.fromEntries(Object.entries(parent).filter(([key]) => key !== last));
  });
}

/** A value that would be taken, spoilt in one to three places: replaced, left out, wrapped, doubled, given a key. */
export function spoilt(value: unknown): fc.Arbitrary<unknown> {
  const step = fc.record({
    how: fc.constantFrom('replace', 'replace', 'replace', 'remove', 'wrap', 'key', 'double'),
    where: fc.nat(),
    by: evil,
    key: fc.oneof(fc.constantFrom('constructor', 'toString', 'x'), fc.string({ maxLength: 12 })),
  });
  return fc.array(step, { minLength: 1, maxLength: 3 }).map((steps) =>
    steps.reduce<unknown>((now, { how, where, by, key }) => {
      const paths = pathsOf(now);
      const path = paths[where % paths.length] ?? [];
      switch (how) {
        case 'remove':
          return path.length === 0 ? by : without(now, path);
        case 'wrap':
          return changed(now, path, (found) => [found]);
        case 'double':
          return changed(now, path, (found) => (Array.isArray(found) ? [...found, ...found] : found));
        case 'key':
          return changed(now, path, (found) =>
            typeof found === 'object' && found !== null && !Array.isArray(found)
              ? { ...found, [key]: by }
              : found,
          );
        default:
          return changed(now, path, () => by);
      }
    }, value),
  );
}

/** A text that would be taken, with a few characters or bytes changed, cut, put in or doubled. */
export function garbled(text: string): fc.Arbitrary<string> {
  const step = fc.record({
    how: fc.constantFrom('change', 'cut', 'insert', 'double', 'truncate'),
    where: fc.nat({ max: Math.max(1, text.length) }),
    length: fc.nat({ max: 8 }),
    by: fc.oneof(
      fc.constantFrom(
        '\u0000',
        '"',
        '\\',
        '{',
        '[',
        ']',
        '}',
        ':',
        ',',
        '\n',
        '\r',
        '\t',
        '.',
        '-',
        '0',
        'e',
        '\ufeff',
        '\u2028',
      ),
      fc.string({ unit: 'binary', minLength: 1, maxLength: 3 }),
    ),
  });
  return fc.array(step, { minLength: 1, maxLength: 4 }).map((steps) =>
    steps.reduce((now, { how, where, length, by }) => {
      const at = where % (now.length + 1);
      switch (how) {
        case 'cut':
          return now.slice(0, at) + now.slice(at + length);
        case 'insert':
          return now.slice(0, at) + by + now.slice(at);
        case 'double':
          return now.slice(0, at) + now.slice(at, at + length) + now.slice(at);
        case 'truncate':
          return now.slice(0, at);
        default:
          return now.slice(0, at) + by + now.slice(at + by.length);
      }
    }, text),
  );
}
