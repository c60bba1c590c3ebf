/**
 * Results that are well formed and measured nothing.
 *
 * A weak model is no broken scorer: no success at all, or at the other end all of them, is a genuine score. What a working scorer
 * does not give is the same number between the ends for every sample, a number that stands for none, or a fall back to guessing.
 * Asked only of results that say which harness they come from, or hold their samples' scores.
 */
import type { Measured } from './levels.ts';
import type { NativeResult } from './native-result.ts';
import { type Arm, armStderr } from './read-arm.ts';
import type { ReadingContext, ScoreDefinition } from './read-result.ts';
import type { ReasonCode } from './reasons.ts';

/** What programs write where they have no number. */
const PLACEHOLDERS = [-1, -99, -999, -9999, 99, 999, 9999, 99_999, 999_999, 1e6, 1e9, -1e9];
/** So few may agree by accident. */
const CONSTANT_SAMPLES_MIN = 5;
/** Standard errors above chance, and of the fall, that are plain. */
const PLAINLY = 3;
const INDISTINGUISHABLE = 1.96;

export function emptiness(
  result: NativeResult,
  { score, stderr, n, scores }: Arm,
  definition: ScoreDefinition,
  { before }: ReadingContext,
): ReasonCode[] {
  const { range, kind, pass } = definition;
  if (score === null || (result.harness === undefined && scores === null)) return [];
  const reasons: ReasonCode[] = [];
  const isScattered = stderr !== null && stderr > 0;
  if (PLACEHOLDERS.includes(score) && !isScattered) reasons.push('placeholder-value');
  const same = scores?.constant ?? (scores === null && kind === 'mean' && stderr === 0 ? score : null);
  const samples = scores?.scored ?? n ?? 0;
  if (pass === undefined && same !== null && !range.includes(same) && samples >= CONSTANT_SAMPLES_MIN) {
    reasons.push('constant-scores');
  }
  if (before !== undefined && fellToChance({ score, stderr, n }, before, definition))
    reasons.push('all-chance');
  return reasons;
}

function fellToChance(
  now: Pick<Measured, 'score' | 'stderr' | 'n'>,
  before: Pick<Measured, 'score' | 'stderr' | 'n'>,
  definition: ScoreDefinition,
): boolean {
  const { chance, best, range, control } = definition;
  // At an end of the range there is no guessing: a model that can do nothing scores there honestly.
  if (chance === undefined || best === undefined || range.includes(chance) || control !== undefined)
    return false;
  const sign = best >= chance ? 1 : -1;
  const noiseNow = scatterOf(now, definition);
  const noiseBefore = scatterOf(before, definition);
  if (noiseNow === null || noiseBefore === null) return false;
  const isAtChance = Math.abs(now.score - chance) <= INDISTINGUISHABLE * noiseNow;
  const wasAbove = sign * (before.score - chance) > PLAINLY * noiseBefore;
  const fall = sign * (before.score - now.score);
  return (
    isAtChance && wasAbove && fall > PLAINLY * Math.sqrt(noiseNow * noiseNow + noiseBefore * noiseBefore)
  );
}

const scatterOf = (measured: Measured, definition: ScoreDefinition): number | null =>
  measured.stderr ?? armStderr(measured, definition);
