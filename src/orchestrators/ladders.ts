/**
 * The default ladder of each kind, as data: which step is due how long after the order, the waits between
 * failed attempts (`retryMs`), and the waits after an accepted one while no stop is confirmed (`resendMs`).
 * The last wait of a schedule repeats for as long as the halt is open.
 *
 * A halt is urgent where ordinary webhooks are not, hence first retries within a second instead of the
 * five seconds and five minutes that Standard Webhooks suggests. SIGTERM is not sent again: a trainer that
 * is writing its last checkpoint may take a second one for impatience, and SIGKILL comes anyway.
 */

import { assertNever } from '../domain/assert-never.ts';
import { durationMs } from '../domain/duration.ts';
import { afterMs, type Ladder } from '../domain/policy/ladder.ts';
import type { LadderStep } from '../domain/run/halt-documents.ts';
import type { Target } from './targets.ts';

const FAST_RETRIES_MS = [500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000];

export function defaultLadder(kind: Target['kind']): LadderStep[] {
  switch (kind) {
    case 'webhook':
      return [
        { step: 'webhook', afterMs: 0, retryMs: [...FAST_RETRIES_MS], resendMs: [15_000, 30_000, 60_000] },
      ];
    case 'process':
      return [
        { step: 'sigterm', afterMs: 0, retryMs: [...FAST_RETRIES_MS], resendMs: [] },
        {
          step: 'sigkill',
          afterMs: 10_000,
          retryMs: [...FAST_RETRIES_MS],
          resendMs: [5_000, 10_000, 30_000],
        },
      ];
    case 'ray':
      // Ray itself goes on to SIGKILL after three seconds; asked again, it also meets what was submitted since.
      return [{ step: 'stop', afterMs: 0, retryMs: [...FAST_RETRIES_MS], resendMs: [5_000, 10_000, 30_000] }];
    case 'command':
      return [
        { step: 'stop', afterMs: 0, retryMs: [...FAST_RETRIES_MS], resendMs: [] },
        {
          step: 'kill',
          afterMs: 30_000,
          retryMs: [...FAST_RETRIES_MS],
          resendMs: [15_000, 30_000, 60_000],
        },
      ];
    case 'kubernetes':
      // Each later rung suspends again and adds to it; 60 s leave the usual grace of 30 s to run out.
      return [
        { step: 'suspend', afterMs: 0, retryMs: [...FAST_RETRIES_MS], resendMs: [10_000, 30_000, 60_000] },
        {
          step: 'delete',
          afterMs: 15_000,
          retryMs: [...FAST_RETRIES_MS],
          resendMs: [15_000, 30_000, 60_000],
        },
        { step: 'kill', afterMs: 60_000, retryMs: [...FAST_RETRIES_MS], resendMs: [10_000, 30_000, 60_000] },
      ];
    case 'slurm':
      // Cancelling is Slurm's own SIGTERM and, KillWait later (30 s by default), its SIGKILL: a run has the first
      // 30 s and that time to save. A signal is not sent again, but see slurm.ts for a job that has only just started.
      return [
        { step: 'signal', afterMs: 0, retryMs: [...FAST_RETRIES_MS], resendMs: [] },
        {
          step: 'cancel',
          afterMs: 30_000,
          retryMs: [...FAST_RETRIES_MS],
          resendMs: [15_000, 30_000, 60_000],
        },
        { step: 'kill', afterMs: 60_000, retryMs: [...FAST_RETRIES_MS], resendMs: [15_000, 30_000, 60_000] },
      ];
    default:
      return assertNever(kind);
  }
}

/** A step that the kind's own ladder does not have, as a command's may be. */
const OTHER_STEP = { retryMs: [...FAST_RETRIES_MS], resendMs: [15_000, 30_000, 60_000] };

/**
 * The target's own ladder, else that of the policy (`halt.ladders`) for its kind, else the kind's; begun as late as the
 * target asks. A stated ladder says which steps are taken, and when; how often one is tried again stays the kind's.
 */
export function ladderOf({ kind, after, ladder }: Target, ofPolicy?: Ladder): LadderStep[] {
  const delayMs = after === undefined ? 0 : durationMs(after);
  const usual = defaultLadder(kind);
  const stated = ladder ?? ofPolicy;
  const rungs =
    stated?.map((rung) => {
      const { retryMs, resendMs } = usual.find(({ step }) => step === rung.step) ?? OTHER_STEP;
      const { step, until, within } = rung;
      const rule = until === undefined || within === undefined ? {} : { until, withinMs: durationMs(within) };
      return { step, afterMs: afterMs(rung), retryMs, resendMs, ...rule };
    }) ?? usual;
  return rungs.map((rung) => ({ ...rung, afterMs: rung.afterMs + delayMs }));
}

/**
 * What confirms a stop: `observed` where the adapter can see the run itself, `acknowledged` where only the
 * trainer's word and its silence can.
 */
export function confirmationOf(kind: Target['kind']): 'observed' | 'acknowledged' {
  switch (kind) {
    case 'webhook':
      return 'acknowledged';
    case 'process':
    case 'ray':
    case 'command':
    case 'kubernetes':
    case 'slurm':
      return 'observed';
    default:
      return assertNever(kind);
  }
}
