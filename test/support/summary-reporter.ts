/**
 * The end of every test run: what was skipped and why, then `N passed, N failed, N skipped` alone on the last line.
 *
 * A suite that skips itself gives its reason in its name ("... (skipped: no Docker daemon answers)"); this prints it.
 * What failed outside any test (a file that does not load, a stray rejection) counts as failed: the line never says
 * "0 failed" of a run that ends non-zero for such a reason.
 * INTERLOCK_TEST_REPORT=FILE also appends the outcome of each test, one JSON line each, for .ci/run to add up.
 */
import { appendFileSync } from 'node:fs';
import { relative } from 'node:path';
import type { Reporter, TestCase, TestModule, TestRunEndReason, TestSuite } from 'vitest/node';

export type Outcome = 'passed' | 'failed' | 'skipped';

export interface ReportLine {
  readonly test: string;
  readonly outcome: Outcome;
}

/** The same test under the same name, whether or not its suite was skipped somewhere. */
export function withoutSkipReason(name: string): string {
  return name.replace(/ \(skipped[^)]*\)/g, '');
}

export default class SummaryReporter implements Reporter {
  onTestRunEnd(
    modules: readonly TestModule[],
    unhandledErrors: readonly unknown[],
    reason: TestRunEndReason,
  ): void {
    const lines: ReportLine[] = [];
    const skipped = new Map<string, number>();
    for (const module of modules) {
      const file = relative(process.cwd(), module.moduleId);
      for (const test of module.children.allTests()) {
        const outcome = outcomeOf(test);
        lines.push({ test: withoutSkipReason(`${file} > ${test.fullName}`), outcome });
        if (outcome !== 'skipped') continue;
        const where = `${file}: ${outermostSkipped(test)}`;
        skipped.set(where, (skipped.get(where) ?? 0) + 1);
      }
      for (const suite of [module, ...module.children.allSuites()]) {
        for (const _error of suite.errors())
          lines.push({ test: `${file} (outside any test)`, outcome: 'failed' });
      }
    }
    for (const _error of unhandledErrors) lines.push({ test: '(unhandled error)', outcome: 'failed' });
    if (reason === 'interrupted') lines.push({ test: '(the run was interrupted)', outcome: 'failed' });

    const count = (outcome: Outcome) => lines.filter((line) => line.outcome === outcome).length;
    const text = [
      '',
      ...explain(skipped),
      summaryLine(count('passed'), count('failed'), count('skipped')),
      '',
    ];
    process.stdout.write(text.join('\n'));

    const report = process.env['INTERLOCK_TEST_REPORT'];
    if (report !== undefined && report !== '') {
      appendFileSync(report, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    }
  }
}

export function summaryLine(passed: number, failed: number, skipped: number): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

function outcomeOf(test: TestCase): Outcome {
  const { state } = test.result();
  // A test that never came to its end did not pass.
  return state === 'pending' ? 'failed' : state;
}

function outermostSkipped(test: TestCase): string {
  let name = test.name;
  for (let parent: TestSuite | TestModule = test.parent; parent.type === 'suite'; parent = parent.parent) {
    if (parent.options.mode === 'skip') name = parent.name;
  }
  return name;
}

function explain(skipped: ReadonlyMap<string, number>): string[] {
  if (skipped.size === 0) return [];
  const rows = [...skipped].map(([where, tests]) => `  ${where} — ${tests} test${tests === 1 ? '' : 's'}`);
  return ['Skipped:', ...rows, ''];
}
