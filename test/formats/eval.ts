/**
 * `npm run formats:eval -- --dir DIR`: every log of DIR/expected.json, read, against what it says.
 *
 * Exit code 0 where all facts are equal, 1 where one differs, 2 where there is nothing to compare.
 */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { table } from '../../src/cli/output.ts';
import { type Comparison, compareAll } from './compare.ts';

const { values } = parseArgs({ options: { dir: { type: 'string', default: '../shared/data/eval-logs' } } });
try {
  await access(join(values.dir, 'expected.json'));
} catch {
  console.error(`there is no expected.json in ${values.dir}: name a directory of evaluation logs with --dir`);
  process.exit(2);
}

const comparisons = await compareAll(values.dir);
console.log(
  table(
    [
      { title: 'file' },
      { title: 'format' },
      { title: 'facts', align: 'right' },
      { title: 'equal' },
      { title: 'ms', align: 'right' },
    ],
    comparisons.map(row),
  ),
);
const differing = comparisons.filter(({ differences }) => differences.length > 0);
for (const { file, differences } of differing) {
  console.log(`\n${file}`);
  for (const difference of differences.slice(0, 20)) console.log(`  ${difference}`);
}
const facts = comparisons.reduce((sum, comparison) => sum + comparison.facts, 0);
console.log(
  `\n${comparisons.length} files, ${facts} facts: ${differing.length === 0 ? 'all equal' : `${differing.length} files differ`}`,
);
process.exit(differing.length === 0 ? 0 : 1);

function row({ file, format, facts, differences, ms }: Comparison): string[] {
  const equal = differences.length === 0 ? 'yes' : `no, ${differences.length} differ`;
  return [file.length > 90 ? `${file.slice(0, 87)}...` : file, format, String(facts), equal, ms.toFixed(0)];
}
