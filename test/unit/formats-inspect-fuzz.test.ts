import { expect, it } from 'vitest';
import { fuzz } from '../fuzz/engine.ts';
import { inspectTarget, SYNTHETIC } from '../fuzz/formats-inspect.ts';

it('logs of Inspect, damaged in 2,000 ways, never break the reader nor become a success that the file does not support', async () => {
  const report = await fuzz(inspectTarget(SYNTHETIC), { cases: 2_000, seed: 20 });
  expect(report.violations).toEqual([]);
  // Damage that is always refused would prove nothing.
  expect(report.outcomes['success']).toBeGreaterThan(100);
  expect(report.outcomes['log-unreadable']).toBeGreaterThan(100);
});
