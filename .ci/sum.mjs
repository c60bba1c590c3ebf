/**
 * Adds up what several runs of the suites reported (test/support/summary-reporter.ts), and other steps' counts.
 *
 *   sum.mjs PASSED FAILED DIRECTORY
 *
 * Passes and failures of every run count. A test is skipped only if it ran in no run at all: what needs root is
 * skipped by the ordinary user and runs elsewhere. The last line is the sum; exit code 1 if anything failed.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const [passedSteps, failedSteps, directory] = process.argv.slice(2);
const count = { passed: Number(passedSteps), failed: Number(failedSteps) };
const ran = new Set();
const skipped = new Set();

for (const run of readdirSync(directory)) {
  for (const line of readFileSync(join(directory, run), 'utf8').split('\n')) {
    if (line === '') continue;
    const { test, outcome } = JSON.parse(line);
    if (outcome === 'skipped') {
      skipped.add(test);
      continue;
    }
    ran.add(test);
    count[outcome] += 1;
    if (outcome === 'failed') console.log(`failed (${run}): ${test}`);
  }
}
const never = [...skipped].filter((test) => !ran.has(test));
for (const test of never) console.log(`ran nowhere: ${test}`);
console.log(`${count.passed} passed, ${count.failed} failed, ${never.length} skipped`);
process.exitCode = count.failed > 0 ? 1 : 0;
