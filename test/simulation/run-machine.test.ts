/**
 * A seeded random walk over every command on the real decide, evolve and outstanding, with simulated time and
 * generated policies. Outside checkers recompute the invariants from the events; recheck judges each event as
 * replay would. Then the walk heals: a proposal with its approvals must be able to resume the run.
 *
 * The seed is printed, and in CI always the same. SIMULATION_SEED=n repeats one; a seed that failed once stays in REGRESSIONS.
 */

import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type WhatIf, whatIf } from '../../src/domain/run/what-if.ts';
import { type Walk, walk } from './run-walk.ts';

const CI_SEED = 20_261_123;
const fallback = (process.env['CI'] ?? '') !== '' ? CI_SEED : Date.now() % 1_000_000_007;
const SEED = Number(process.env['SIMULATION_SEED'] ?? fallback);
const WALKS = 30;
const STEPS = 250;
const REGRESSIONS: readonly number[] = [118, 5193, 439_192_202, 980_323_632];

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

/** Cadence is judged up to the first stop alone. */
const RUN_WIDE = new Set(['overdue', 'overrun']);
/** Ticks of a walk may come hours late, where the answer has each deadline at its own time: few verdicts hang on that. */
const AGREE_MIN = 0.98;

function underItsOwnPolicy({ events, policy }: Walk): WhatIf {
  const [first] = events;
  if (first?.kind !== 'RunRegistered') throw new Error('a walk begins with a run');
  const digest = (text: string): string => createHash('sha256').update(text).digest('hex');
  return whatIf(events, { pinned: policy, policy, policyDigest: first.data.policy, digest });
}

describe('what if it were judged again under the policy it had pinned', () => {
  it('checkpoints get the verdicts that stand in the ledger', () => {
    const rows = Array.from({ length: WALKS }, (_, i) => underItsOwnPolicy(walk(CI_SEED + i, STEPS)))
      .flatMap(({ checkpoints }) => checkpoints)
      .filter(
        ({ recorded, whatIf: would }) =>
          ![...recorded.findings, ...would.findings].some(({ kind }) => RUN_WIDE.has(kind)),
      );
    const agreeing = rows.filter(({ recorded, whatIf: would }) => recorded.verdict === would.verdict);
    expect(rows.filter(({ recorded }) => recorded.verdict === 'halt').length).toBeGreaterThan(10);
    expect(agreeing.length / rows.length).toBeGreaterThan(AGREE_MIN);
  });
});
