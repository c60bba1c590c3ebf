import { expect, it } from 'vitest';
import { MOST_MIB, measure } from '../formats/memory.ts';

it.each(['deflate', 'zstd'] as const)(
  'a log that expands to hundreds of megabytes is read within a heap of 64 (%s)',
  async (method) => {
    const found = await measure(200, method);
    expect(found).toMatchObject({ status: 'success' });
    expect(found.expandedMib).toBeGreaterThan(190);
    expect(found.peakMib).toBeLessThan(MOST_MIB);
  },
  120_000,
);
