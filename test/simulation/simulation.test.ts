/**
 * Whole-system simulation: the real services in virtual time, a few hundred seeds of it. `npm run simulate` runs as
 * many as there is time for, and tells the story of whatever fails here: npm run simulate -- --seed N.
 *
 * The first seed is printed, and in CI always the same; SIMULATION_SEED sets it. Regressions run first.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REGRESSIONS } from './regressions.ts';
import { runSeed } from './run-seed.ts';
import { installSignatures, type Signatures } from './signatures.ts';
import { World } from './world.ts';

const CI_SEED = 20_261_123;
const fallback = (process.env['CI'] ?? '') !== '' ? CI_SEED : Date.now() % 1_000_000_007;
const FIRST = Number(process.env['SIMULATION_SEED'] ?? fallback);
/** As many seeds as fit; the machine says how many that is. */
const BUDGET_MS = 20_000;
const SEEDS_MIN = 30;
const SEEDS_MAX = 300;

describe(`the whole system in virtual time (SIMULATION_SEED=${FIRST})`, () => {
  let signatures: Signatures;
  beforeAll(async () => {
    signatures = await installSignatures();
  });
  afterAll(() => signatures.restore());

  it.each(REGRESSIONS)('keeps the invariants at seed $seed ($found)', async ({ seed }) => {
    expect((await runSeed(seed, { signatures })).failure).toBeNull();
  });

  it('keeps the invariants under every fault, and makes progress once healed', async () => {
    const reached = new Map<string, number>();
    const startedMs = performance.now();
    let seeds = 0;
    const hasTime = (): boolean => seeds < SEEDS_MAX && performance.now() - startedMs < BUDGET_MS;
    while (seeds < SEEDS_MIN || hasTime()) {
      const { failure, reached: names } = await runSeed(FIRST + seeds, { signatures });
      expect(failure, `seed ${FIRST + seeds}: npm run simulate -- --seed ${FIRST + seeds}`).toBeNull();
      for (const [name, n] of Object.entries(names)) reached.set(name, (reached.get(name) ?? 0) + n);
      seeds += 1;
    }
    console.log(`simulation: SIMULATION_SEED=${FIRST}, ${seeds} seeds`);
    for (const name of ['CheckpointAssessed', 'HaltOrdered', 'HaltConfirmed', 'RunResumed', 'fault: crash']) {
      expect(reached.get(name) ?? 0, name).toBeGreaterThan(0);
    }
  });

  it('tells the same story for the same seed', async () => {
    const told = async (): Promise<readonly string[]> => {
      const world = new World(FIRST, { signatures, tells: true });
      await world.simulate();
      return world.story;
    };
    const first = await told();
    expect(first.length).toBeGreaterThan(10);
    expect(await told()).toEqual(first);
  });
});
