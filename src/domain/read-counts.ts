/**
 * How many samples a result is of, and what became of the others: nothing that was to be measured may vanish.
 *
 * A sample that errored, or that has no score, is lost: up to the policy's share the result is conclusive, and `upper` counts each
 * as a success (domain/levels.ts). Counts that are not stated are not made up; those that contradict each other settle nothing.
 */
import { type NativeCounts, type NativeResult, type Stated, UNUSABLE } from './native-result.ts';
import type { ReasonCode } from './reasons.ts';
import type { ScoresRead } from './sample-scores.ts';

export interface Counts {
  /** Samples x epochs, each only where it is known. */
  readonly total: number | null;
  readonly completed: number | null;
  readonly scored: number | null;
  readonly errored: number | null;
  readonly refused: number | null;
  /** Errored, and ended without a score. */
  readonly lost: number;
  readonly reasons: readonly ReasonCode[];
}

export function readCounts(
  { samples, outputTokens }: Pick<NativeResult, 'samples' | 'outputTokens'>,
  scores: ScoresRead | null,
  maxErrored: number,
): Counts {
  const stated = known(samples);
  const { total, completed, refused } = stated;
  const errored = stated.errored ?? scores?.errored ?? null;
  const scored = stated.scored ?? scores?.scored ?? null;
  const unscored =
    completed !== null && stated.scored !== null
      ? Math.max(0, completed - stated.scored)
      : Math.max(0, (scores?.lost ?? 0) - (errored ?? 0));
  const lost = (errored ?? 0) + unscored;

  const reasons: ReasonCode[] = [];
  if (contradict(samples, stated)) reasons.push('samples-invalid');
  if (total === 0 || completed === 0 || scored === 0) reasons.push('zero-samples');
  if (isIncomplete(stated, errored ?? 0)) reasons.push('samples-incomplete');
  const share = lost === 0 ? 0 : lost / (lost + (scored ?? Math.max(0, (completed ?? 0) - unscored)));
  if (share > maxErrored && (errored ?? 0) > 0) reasons.push('samples-errored');
  if (share > maxErrored && unscored > 0) reasons.push('samples-unscored');
  const ended = completed ?? scored;
  if (refused !== null && refused > 0 && ended !== null && refused >= ended) reasons.push('all-refused');
  if (outputTokens === 0 && ended !== 0) reasons.push('no-output');
  return { total, completed, scored, errored, refused, lost, reasons };
}

type Known = { readonly [name in keyof Required<NativeCounts>]: number | null };

function known(samples: NativeCounts | undefined): Known {
  const number = (stated: Stated | undefined): number | null => (typeof stated === 'number' ? stated : null);
  return {
    total: number(samples?.total),
    completed: number(samples?.completed),
    scored: number(samples?.scored),
    errored: number(samples?.errored),
    refused: number(samples?.refused),
    logged: number(samples?.logged),
  };
}

function contradict(
  samples: NativeCounts | undefined,
  { total, completed, scored, errored, logged }: Known,
): boolean {
  if (Object.values(samples ?? {}).includes(UNUSABLE)) return true;
  const isOver = (part: number | null, whole: number | null): boolean =>
    part !== null && whole !== null && part > whole;
  return (
    [completed, errored, scored, logged].some((part) => isOver(part, total)) || isOver(scored, completed)
  );
}

/** Also where the log holds fewer samples than it says it is of; one that holds none was told to keep none. */
function isIncomplete({ total, completed, logged }: Known, errored: number): boolean {
  const isShort = total !== null && completed !== null && completed + errored < total;
  const isCut = logged !== null && logged > 0 && completed !== null && logged < completed;
  return isShort || isCut;
}
