/**
 * A seeded random walk over every command on the real decide, evolve and outstanding, with simulated time and
 * generated policies. Outside checkers recompute the invariants from the events; recheck judges each event as
 * replay would. Then the walk heals: a proposal with its approvals must be able to resume the run.
 *
 * The seed is printed, and in CI always the same. SIMULATION_SEED=n repeats one; a seed that failed once stays in REGRESSIONS.
 */
import { describe, expect, it } from 'vitest';
import { walk } from './run-walk.ts';

const CI_SEED = 20_261_123;
const fallback = (process.env['CI'] ?? '') !== '' ? CI_SEED : Date.now() % 1_000_000_007;
const SEED = Number(process.env['SIMULATION_SEED'] ?? fallback);
const WALKS = 30;
const STEPS = 250;
const REGRESSIONS: readonly number[] = [118, 5193, 439_192_202];

describe(`a run under a random walk (SIMULATION_SEED=${SEED})`, () => {
  it('keeps the invariants at every step, and can go on when people agree', () => {
    console.log(`run machine: SIMULATION_SEED=${SEED}, ${WALKS} walks of ${STEPS} steps`);
    const kinds = new Map<string, number>();
    for (let i = 0; i < WALKS; i += 1) {
      for (const { kind } of walk(SEED + i, STEPS).events) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    }
    // A walk that never gets anywhere proves nothing.
    for (const kind of [
      'CheckpointAssessed',
      'HaltOrdered',
      'HaltConfirmed',
      'RunResumed',
      'HoldLifted',
      'HaltReopened',
      'EstimatesPooled',
    ]) {
      expect(kinds.get(kind) ?? 0, kind).toBeGreaterThan(0);
    }
  });

  it.each(REGRESSIONS)('keeps them at seed %d, which failed once', (seed) => {
    walk(seed, STEPS);
  });
});
