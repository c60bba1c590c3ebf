/**
 * Fuzzing of a log reader: genuine and synthetic logs, damaged in every way that files are, and read.
 *
 * Held to, for each case: the reader returns, within seconds, either a fixed problem or a log of the right form; and whatever it
 * says of scores and success stands in the file, as another decoder than its own reads it (`unsupported` of the target).
 * The same seed gives the same cases: a violation names seed and case, and `--only` runs that one again.
 */
import { HarnessLogSchema, LOG_PROBLEMS } from '../../src/domain/harness-log.ts';
import { createRandom, type Random } from '../../src/domain/statistics/random.ts';
import type { HarnessFormat } from '../../src/evaluators/formats/format.ts';
import { logOfBytes } from '../../src/evaluators/formats/log-source.ts';
import { damageBytes } from './damage.ts';

export interface FuzzSeed {
  readonly fileName: string;
  readonly bytes: Buffer;
}

export interface FuzzTarget {
  readonly format: HarnessFormat;
  readonly seeds: readonly FuzzSeed[];
  /** A file that is cut off where a line ends may be a whole one: nothing in it says how many there are. */
  readonly linesStandAlone?: true;
  /** Damage that knows the form of the file; null leaves it to that of bytes. */
  damage(seed: FuzzSeed, random: Random): Buffer | null;
  /** What the log says and the bytes do not; null: everything it says stands there. */
  unsupported(bytes: Buffer, log: ReturnType<typeof HarnessLogSchema.parse>): Promise<string | null>;
}

export interface FuzzReport {
  readonly cases: number;
  /** By what came of them: `success`, `started`, ..., or the problem. */
  readonly outcomes: Readonly<Record<string, number>>;
  readonly slowestMs: number;
  readonly violations: readonly string[];
}

export interface FuzzOptions {
  readonly cases: number;
  readonly seed: number;
  /** Only this case. */
  readonly only?: number | undefined;
  readonly onViolation?: ((bytes: Buffer, what: string) => void) | undefined;
}

const NEWLINE = 0x0a;
const SLOW_MS = 10_000;
const VIOLATIONS_SHOWN = 20;

export async function fuzz(target: FuzzTarget, options: FuzzOptions): Promise<FuzzReport> {
  const outcomes: Record<string, number> = {};
  const violations: string[] = [];
  let slowestMs = 0;
  const first = options.only ?? 0;
  const end = options.only === undefined ? options.cases : first + 1;
  for (let index = first; index < end; index += 1) {
    const random = createRandom(options.seed * 1_000_003 + index);
    const seed = random.pick(target.seeds);
    const { bytes, cut } = damaged(target, seed, random);
    const began = performance.now();
    const { outcome, wrong } = await readOnce(target, seed, bytes, cut);
    const took = performance.now() - began;
    slowestMs = Math.max(slowestMs, took);
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    const what = wrong ?? (took > SLOW_MS ? `took ${Math.round(took)} ms` : null);
    if (what === null) continue;
    if (violations.length < VIOLATIONS_SHOWN)
      violations.push(`seed ${options.seed}, case ${index}, of ${seed.fileName}: ${what}`);
    options.onViolation?.(bytes, what);
  }
  return { cases: end - first, outcomes, slowestMs, violations };
}

function damaged(target: FuzzTarget, seed: FuzzSeed, random: Random): { bytes: Buffer; cut: boolean } {
  if (random.chance(0.1))
    return { bytes: seed.bytes.subarray(0, random.below(seed.bytes.length)), cut: true };
  const structured = random.chance(0.7) ? target.damage(seed, random) : null;
  if (structured !== null) return { bytes: structured, cut: false };
  return { bytes: damageBytes(seed.bytes, random), cut: false };
}

async function readOnce(
  target: FuzzTarget,
  seed: FuzzSeed,
  bytes: Buffer,
  cut: boolean,
): Promise<{ outcome: string; wrong: string | null }> {
  let result: Awaited<ReturnType<HarnessFormat['read']>>;
  try {
    target.format.claims({ fileName: seed.fileName, size: bytes.length, head: bytes.subarray(0, 65_536) });
    result = await target.format.read(logOfBytes(bytes, seed.fileName), { scores: {} });
  } catch (error) {
    return { outcome: 'threw', wrong: `threw ${String(error)}` };
  }
  if (!result.ok) {
    const known = LOG_PROBLEMS.some((problem) => problem === result.problem);
    const defect = result.detail === 'the reader came to its end on this file';
    return {
      outcome: result.problem,
      wrong: known && !defect ? null : `${result.problem}: ${result.detail}`,
    };
  }
  const parsed = HarnessLogSchema.safeParse(result.log);
  if (!parsed.success) return { outcome: 'misshapen', wrong: `no HarnessLog: ${parsed.error.message}` };
  const outcome = parsed.data.status ?? 'companion';
  // Space at the end may be cut off without anything being lost.
  const atLineEnd = seed.bytes[bytes.length] === NEWLINE || seed.bytes[bytes.length - 1] === NEWLINE;
  const isWhole = target.linesStandAlone === true && atLineEnd;
  const rest = seed.bytes.subarray(bytes.length).toString('latin1').trim();
  if (cut && !isWhole && outcome === 'success' && rest !== '')
    return { outcome, wrong: 'a success of a file that is cut off' };
  return { outcome, wrong: await target.unsupported(bytes, parsed.data) };
}
