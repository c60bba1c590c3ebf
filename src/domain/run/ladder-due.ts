/**
 * When a step of a target's ladder is due: at its time after the order, moved by the rules of the steps before it.
 *
 * A step with a rule (`until`, `withinMs`) has so long to have its effect. While the effect stands, the steps after it
 * wait for that time to run out; without it, the next step comes as soon as it has, if not before by its own time.
 * Fails toward stopping: nothing delays the hardest step, nor a page after it, beyond its own time; and what
 * orchestrators say meets no rule once the run has shown that it is not so. The rungs of a ladder are few.
 */
import { durationMs } from '../duration.ts';
import { hardestIndex } from '../policy/ladder.ts';
import type { Policy } from '../policy/schema.ts';
import type { LadderStep } from './halt-documents.ts';
import type { Halt, RunState } from './state.ts';

type HaltTarget = Halt['targets'][number];

/** In ms since the epoch, by the order of the target's steps; null: nothing more to do. */
export function stepsDueMs(
  halt: Halt,
  target: HaltTarget,
  ladder: readonly LadderStep[],
  policy: Policy,
): (number | null)[] {
  const own = target.steps.map(({ nextAt }) => (nextAt === null ? null : Date.parse(nextAt)));
  if (!ladder.some(({ until }) => until !== undefined)) return own;
  const hardest = hardestIndex(ladder);
  const intervalMs = durationMs(policy.permit.heartbeatInterval);
  const due: (number | null)[] = [];
  for (const [i, rung] of target.steps.entries()) {
    let at = own[i] ?? null;
    if (rung.attempts === 0 && at !== null) {
      const ownMs = at;
      for (let before = 0; before < i; before += 1) {
        const rule = ruleOf(halt, target, ladder, before, due, intervalMs);
        if (rule === null) continue;
        const isMet = rule.metMs <= Math.min(ownMs, rule.untilMs);
        if (isMet && i < hardest) at = Math.max(at, rule.untilMs);
        if (!isMet && before === i - 1) at = Math.min(at, rule.untilMs);
      }
    }
    due.push(at);
  }
  return due;
}

interface Rule {
  /** When the effect came about; never: Infinity. */
  readonly metMs: number;
  readonly untilMs: number;
}

function ruleOf(
  halt: Halt,
  target: HaltTarget,
  ladder: readonly LadderStep[],
  index: number,
  due: readonly (number | null)[],
  intervalMs: number,
): Rule | null {
  const rung = target.steps[index];
  const plan = ladder[index];
  if (rung === undefined || plan?.until === undefined || plan.withinMs === undefined) return null;
  const fromMs = instant(rung.firstAt) ?? due[index] ?? null;
  if (fromMs === null) return null;
  return {
    metMs: metMs(halt, target, rung, plan.until, fromMs, intervalMs),
    untilMs: fromMs + plan.withinMs,
  };
}

function metMs(
  { receivedAt, stoppedAckAt, progressAt, doubtedAt }: Halt,
  { stoppedAt }: HaltTarget,
  { acceptedAt }: HaltTarget['steps'][number],
  until: NonNullable<LadderStep['until']>,
  fromMs: number,
  intervalMs: number,
): number {
  const never = Number.POSITIVE_INFINITY;
  switch (until) {
    case 'accepted':
      return instant(acceptedAt) ?? never;
    case 'acknowledged':
      return Math.min(instant(receivedAt) ?? never, instant(stoppedAckAt) ?? never);
    case 'quiet':
      return Math.max(fromMs, instant(progressAt ?? null) ?? fromMs) + intervalMs;
    case 'observed':
      return doubtedAt === undefined ? (instant(stoppedAt) ?? never) : never;
    default:
      return until satisfies never;
  }
}

const instant = (at: string | null): number | null => (at === null ? null : Date.parse(at));

/** Whether heartbeats of the halted run have to be in the ledger, because a step's rule reads them. */
export function readsProgress({ targets }: Pick<RunState, 'targets'>): boolean {
  return targets.some(({ ladder }) => ladder.some(({ until }) => until === 'quiet'));
}
