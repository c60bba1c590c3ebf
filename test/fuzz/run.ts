/**
 * Fuzzes the log readers: `npm run fuzz:formats -- --cases 100000 [--seed N] [--only CASE] [--format NAME] [--keep DIR]`.
 *
 * Seeds are synthetic logs and, where INTERLOCK_EVAL_LOGS or its default is there, the genuine ones that are small enough.
 * Exits 1 on any violation; `--keep` writes the files that did it.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { type FuzzSeed, type FuzzTarget, fuzz } from './engine.ts';
import { inspectTarget, SYNTHETIC } from './formats-inspect.ts';
import { OTHER_FORMATS, otherTarget } from './formats-others.ts';

const DATA = process.env['INTERLOCK_EVAL_LOGS'] ?? '../shared/data/eval-logs';
const GENUINE_BYTES = 60_000;

/** One entry per reader. */
const TARGETS: Readonly<Record<string, () => FuzzTarget>> = {
  inspect: () => inspectTarget([...SYNTHETIC, ...genuine('inspect')]),
  ...Object.fromEntries(
    OTHER_FORMATS.map((name) => [name, () => otherTarget(name, genuine(FOLDERS[name] ?? name))]),
  ),
};

/** Where it is not the reader's name. */
const FOLDERS: Readonly<Record<string, string>> = { intercode: 'intercode-ctf' };

function genuine(folder: string): FuzzSeed[] {
  const directory = path.join(DATA, folder);
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.(?:json|jsonl|eval)$/.test(file))
    .map((file) => ({ fileName: path.basename(file), bytes: readFileSync(path.join(directory, file)) }))
    .filter(({ bytes }) => bytes.length <= GENUINE_BYTES);
}

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
    format: { type: 'string' },
    keep: { type: 'string' },
  },
});
let failed = false;
for (const [name, make] of Object.entries(TARGETS)) {
  if (values.format !== undefined && values.format !== name) continue;
  const target = make();
  const began = performance.now();
  let kept = 0;
  const report = await fuzz(target, {
    cases: Number(values.cases),
    seed: Number(values.seed),
    only: values.only === undefined ? undefined : Number(values.only),
    onViolation: (bytes) => {
      if (values.keep === undefined) return;
      mkdirSync(values.keep, { recursive: true });
      writeFileSync(path.join(values.keep, `${name}-${kept++}`), bytes);
    },
  });
  failed ||= report.violations.length > 0;
  console.log(
    `${name}: ${report.cases} cases of ${target.seeds.length} logs in ${Math.round((performance.now() - began) / 1000)} s`,
  );
  console.log(`  ${JSON.stringify(report.outcomes)}`);
  console.log(
    `  slowest ${Math.round(report.slowestMs)} ms, peak memory ${Math.round(process.resourceUsage().maxRSS / 1024)} MiB`,
  );
  console.log(
    report.violations.length === 0
      ? '  no violation'
      : report.violations.map((line) => `  ${line}`).join('\n'),
  );
}
process.exitCode = failed ? 1 : 0;
