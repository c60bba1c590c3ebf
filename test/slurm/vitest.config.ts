/** `npm run test:slurm`: against real clusters, which need root and Slurm; hence beside the projects of `npm test`. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    cache: false,
    globalSetup: ['test/slurm/prepare.ts'],
    include: ['test/slurm/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 3,
    testTimeout: 40_000,
    hookTimeout: 240_000,
    reporters: ['verbose', './test/support/summary-reporter.ts'],
  },
});
