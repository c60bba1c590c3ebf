/** A few damaged logs of every other reader; `npm run fuzz:formats -- --cases 100000` has the rest. */
import { expect, test } from 'vitest';
import { fuzz } from '../fuzz/engine.ts';
import { OTHER_FORMATS, otherTarget } from '../fuzz/formats-others.ts';

test.each(OTHER_FORMATS)(
  '%s: whatever is damaged, the reader says nothing that the file does not bear out',
  async (name) => {
    const report = await fuzz(otherTarget(name, []), { cases: 400, seed: 20_261_130 });
    expect(report.violations).toEqual([]);
    // The oracle had something to look at.
    expect(report.outcomes['success'] ?? 0).toBeGreaterThan(10);
  },
  30_000,
);
