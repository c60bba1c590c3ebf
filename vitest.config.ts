/**
 * How the tests run: one vitest project per folder of test/, one after the other, a few files at a time.
 *
 * Files of e2e run one by one: they start whole installations, kill them, and measure time. Those of integration wait more
 * than they work: on two cores they take less than half as long three at a time as one by one.
 * Nothing is written below the checkout (and npm's scripts load this file with `--configLoader runner` for the same
 * reason), so that an ordinary user can test a copy that belongs to somebody else.
 */
import { defineConfig } from 'vitest/config';

const project = (name: string, groupOrder: number, testTimeout: number, maxWorkers: number) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    pool: 'forks' as const,
    fileParallelism: maxWorkers > 1,
    maxWorkers,
    testTimeout,
    setupFiles: ['./test/support/fast-check-seed.ts'],
    hookTimeout: 120_000,
    sequence: { groupOrder },
  },
});

export default defineConfig({
  test: {
    cache: false,
    reporters: ['default', './test/support/summary-reporter.ts'],
    projects: [
      project('unit', 0, 20_000, 2),
      project('contract', 1, 60_000, 2),
      project('integration', 2, 120_000, 3),
      project('simulation', 3, 180_000, 2),
      project('e2e', 4, 600_000, 1),
    ],
  },
});
