/** A few of the permit trials (test/permit): a dead watchdog stops training in time, a blip stops none. */
import { expect, it } from 'vitest';
import { runTrials } from '../permit/trials.ts';
import { NO_PYTHON } from '../support/python.ts';

/** Trainers of both clients beside each other; without python3, of one. */
const client = NO_PYTHON === null ? 'both' : 'typescript';

it('stops every trainer within TTL + check period when all Interlocks die, and none when they are soon back', async () => {
  const { dead, blips, boundMs } = await runTrials({
    trials: 4,
    wave: 4,
    client,
    replicas: 2,
    deadTtlMs: 3_000,
    blipTtlMs: 40_000,
    heartbeatMs: 500,
    checkPeriodMs: 50,
    // A process ends when the machine lets it: the whole suite runs beside it here.
    graceMs: 10_000,
  });
  expect(dead.filter(({ late }) => late)).toEqual([]);
  expect(Math.max(...dead.map(({ lastStepMs }) => lastStepMs))).toBeLessThanOrEqual(boundMs);
  // They trained on for as long as they were allowed to: it is the permit that ended it.
  expect(Math.min(...dead.map(({ lastStepMs }) => lastStepMs))).toBeGreaterThan(500);
  expect(blips.filter(({ judged }) => judged)).toHaveLength(4);
  expect(blips.filter(({ pauses }) => pauses > 0)).toEqual([]);
}, 240_000);
