/** A few of the permit trials (test/permit): a dead watchdog stops training in time, a blip stops none. */
import { expect, it } from 'vitest';
import { runTrials } from '../permit/trials.ts';
import { NO_PYTHON } from '../support/python.ts';

const skipped = NO_PYTHON === null ? '' : ` (skipped: ${NO_PYTHON})`;

it(
  'stops every trainer within TTL + check period when all Interlocks die, and none when they are soon back',
  () => tried('typescript'),
  240_000,
);

it.skipIf(NO_PYTHON !== null)(`does so with trainers in Python${skipped}`, () => tried('python'), 240_000);

async function tried(client: 'typescript' | 'python'): Promise<void> {
  const { dead, blips, boundMs } = await runTrials({
    trials: 3,
    wave: 3,
    replicas: 2,
    deadTtlMs: 3_000,
    blipTtlMs: 40_000,
    heartbeatMs: 500,
    checkPeriodMs: 50,
    // A process ends when the machine lets it: the whole suite runs beside it here.
    graceMs: 10_000,
    client,
  });
  expect(dead.filter(({ late }) => late)).toEqual([]);
  expect(Math.max(...dead.map(({ lastStepMs }) => lastStepMs))).toBeLessThanOrEqual(boundMs);
  // They trained on for as long as they were allowed to: it is the permit that ended it.
  expect(Math.min(...dead.map(({ lastStepMs }) => lastStepMs))).toBeGreaterThan(500);
  expect(blips.filter(({ judged }) => judged)).toHaveLength(3);
  expect(blips.filter(({ pauses }) => pauses > 0)).toEqual([]);
}
