/**
 * The checkers bite: three mutations of the code, each in a process of its own, must be caught by the checker of the
 * invariant that they break. `npm run simulate -- --mutants` does the same for all of them.
 */
import { describe, expect, it } from 'vitest';
import { MUTANTS, staleMutants } from './mutants.ts';
import { SeedProcess } from './seed-process.ts';

const FAST = ['ceiling-squared', 'permit-under-halt', 'state-beside-the-ledger'];
const SEEDS = 40;

describe('mutations of the code', () => {
  it.each(MUTANTS.filter(({ id }) => FAST.includes(id)))('$id is caught', async (mutant) => {
    const worker = new SeedProcess(mutant);
    let caught = '';
    try {
      const seeds = Array.from({ length: SEEDS }, (_, i) => i + 1);
      await worker.run(seeds, ({ failure }) => {
        if (failure?.invariant === mutant.invariant) caught = failure.message;
        return caught === '';
      });
    } finally {
      worker.end();
    }
    expect(caught).toContain(`invariant ${mutant.invariant}`);
  });

  it('change a passage that is there exactly once', async () => {
    expect(await staleMutants()).toEqual([]);
  });

  it('are there for every invariant from 1 to 10, for what shadow promises and for budgets', () => {
    const invariants = new Set(MUTANTS.map(({ invariant }) => invariant));
    expect([...invariants].sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13]);
  });
});
