import { defineConfig } from 'vitest/config';

const project = (name: string, testTimeout: number, fileParallelism: boolean) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout,
    hookTimeout: 120_000,
    fileParallelism,
  },
});

export default defineConfig({
  test: {
    projects: [
      project('unit', 20_000, true),
      project('contract', 60_000, true),
      project('integration', 120_000, false),
      project('simulation', 180_000, true),
      project('e2e', 600_000, false),
    ],
  },
});
