/**
 * How the tests run: one vitest project per folder of test/, one after the other, at most two files at a time.
 *
 * Files of e2e run one by one: they start whole installations, kill them, and measure time. Those of integration wait more
 * than they work (two at a time took 380 s instead of 690 s on two cores).
 * Nothing is written below the checkout (and npm's scripts load this file with `--configLoader runner` for the same
 * reason), so that an ordinary user can test a copy that belongs to somebody else.
 */
import { defineConfig } from 'vitest/config';

const project = (name: string, groupOrder: number, testTimeout: number, fileParallelism: boolean) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    pool: 'forks' as const,
    fileParallelism,
    ...(fileParallelism ? { maxWorkers: 2 } : {}),
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
      project('unit', 0, 20_000, true),
      project('contract', 1, 60_000, true),
      project('integration', 2, 120_000, true),
      project('simulation', 3, 180_000, true),
      project('e2e', 4, 600_000, false),
    ],
  },
});
