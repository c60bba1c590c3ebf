/**
 * Genuine logs, compared with their expected facts. The logs lie beside the checkout and are not part of it: INTERLOCK_EVAL_LOGS
 * names the directory.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { compareAll } from '../formats/compare.ts';

const directory = process.env['INTERLOCK_EVAL_LOGS'] ?? '../shared/data/eval-logs';
const isThere = existsSync(join(directory, 'expected.json'));

test.skipIf(!isThere)(
  `every fact of every genuine log (${isThere ? directory : `skipped: there is no expected.json in ${directory}`})`,
  async () => {
    const comparisons = await compareAll(directory);
    expect(comparisons.length).toBeGreaterThan(0);
    const differing = comparisons.flatMap(({ file, differences }) =>
      differences.map((difference) => `${file}: ${difference}`),
    );
    expect(differing).toEqual([]);
  },
  120_000,
);
