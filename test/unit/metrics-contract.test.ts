/**
 * docs/metrics.md is the contract of `/metrics`: here it is held to what is exposed, and the exposition to the
 * text format, by a parser that takes nothing that the format does not say.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { createMetrics, METRIC_NAMES, METRICS, type MetricName } from '../../src/telemetry/metrics.ts';
import { parseExposition } from '../support/exposition.ts';

const PAGE = new URL('../../docs/metrics.md', import.meta.url);
const BEGIN = /<!-- table: .* -->\n/;
const END = '<!-- end of table -->';

function unitOf(name: string): string {
  if (name.endsWith('_seconds')) return 'seconds';
  return name.endsWith('_bytes') ? 'bytes' : '';
}

function table(): string {
  const rows = METRIC_NAMES.map((name) => {
    const { type, labels, help } = METRICS[name];
    return `| \`${name}\` | ${type} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${unitOf(name)} | ${help} |`;
  });
  return ['| name | type | labels | unit | what |', '| --- | --- | --- | --- | --- |', ...rows].join('\n');
}

/** However the table is aligned. */
const cells = (text: string): string[][] =>
  text
    .trim()
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim().replace(/^-+$/, '---')));

describe('the contract of /metrics', () => {
  const page = readFileSync(PAGE, 'utf8');
  const begin = BEGIN.exec(page);
  if (begin === null) throw new Error('docs/metrics.md has lost its table');
  const start = begin.index + begin[0].length;

  it('is what the page says: name, type, labels, unit and meaning', () => {
    const end = page.indexOf(END);
    if (process.env['INTERLOCK_UPDATE_METRICS'] !== undefined) {
      writeFileSync(PAGE, `${page.slice(0, start)}\n${table()}\n\n${page.slice(end)}`);
      return;
    }
    expect(cells(page.slice(start, end)), 'INTERLOCK_UPDATE_METRICS=1 writes the table anew').toEqual(
      cells(table()),
    );
  });

  it('the example rules name only what is exposed, with labels that it has', () => {
    const rules = page.slice(page.indexOf('```yaml'));
    const named = [...rules.matchAll(/\b(interlock_[a-z_]+)(?:\{([a-z_]+)[!=~]+"[^"]*"\})?/g)];
    expect(named.length).toBeGreaterThan(10);
    for (const [, stated = '', label] of named) {
      const name = METRIC_NAMES.find(
        (each) => stated.replace(/_(bucket|sum|count)$/, '') === each || stated === each,
      );
      expect(name, stated).toBeDefined();
      if (label !== undefined && name !== undefined) expect(METRICS[name].labels).toContain(label);
    }
  });

  it('every metric is exposed with its type and its help, also before it has a sample', () => {
    const families = parseExposition(createMetrics().render());
    expect([...families.keys()]).toEqual([...METRIC_NAMES]);
    for (const [name, { type, help, samples }] of families) {
      const metric = METRICS[METRIC_NAMES.find((each) => each === name) ?? 'interlock_runs'];
      expect({ name, type, help }).toEqual({ name, type: metric.type, help: metric.help });
      // A rate over a counter that appears with its first event misses that event.
      if (metric.type !== 'gauge' && metric.labels.length === 0) expect(samples.length).toBeGreaterThan(0);
    }
  });

  it('keeps to the text format whatever a label holds', () => {
    const metrics = createMetrics();
    const hostile = ['a"b\\c\nd', '', '}{=,"', 'ü\u2028\u0000', 'x'.repeat(10_000)];
    for (const kind of hostile) metrics.count('interlock_ledger_events_total', { kind });
    metrics.observe('interlock_evaluation_duration_seconds', { outcome: 'a"b\nc' }, 3);
    metrics.set('interlock_database_up', {}, Number.NaN);
    metrics.collect('interlock_ledger_size', () => Number.POSITIVE_INFINITY);
    const families = parseExposition(metrics.render());
    const kinds = families
      .get('interlock_ledger_events_total')
      ?.samples.map(({ labels }) => labels.get('kind'));
    expect(kinds).toEqual(hostile.map((kind) => kind.slice(0, 96)));
    expect(families.get('interlock_ledger_size')?.samples[0]?.value).toBe(Number.POSITIVE_INFINITY);
  });

  it('histograms are cumulative and end in +Inf with their count', () => {
    const metrics = createMetrics();
    for (const spent of [0.001, 0.3, 7_000])
      metrics.observe('interlock_halt_order_to_stop_seconds', {}, spent);
    const family = parseExposition(metrics.render()).get('interlock_halt_order_to_stop_seconds');
    const buckets = family?.samples.filter(({ name }) => name.endsWith('_bucket')) ?? [];
    const counts = buckets.map(({ value }) => value);
    expect(counts).toEqual([...counts].sort((a, b) => a - b));
    expect(buckets.at(-1)?.labels.get('le')).toBe('+Inf');
    expect(counts.at(-1)).toBe(3);
    expect(family?.samples.find(({ name }) => name.endsWith('_sum'))?.value).toBeCloseTo(7_000.301);
  });

  it('a gauge that is read shows only what is there now', () => {
    const metrics = createMetrics();
    let states = ['training', 'halted'];
    metrics.collectAll('interlock_runs', () => states.map((status) => ({ labels: { status }, value: 1 })));
    let size: number | null = 3;
    metrics.collect('interlock_ledger_size', () => size);
    const shown = (name: MetricName) => parseExposition(metrics.render()).get(name)?.samples.length;
    expect([shown('interlock_runs'), shown('interlock_ledger_size')]).toEqual([2, 1]);
    states = ['halted'];
    size = null;
    expect([shown('interlock_runs'), shown('interlock_ledger_size')]).toEqual([1, 0]);
  });

  it.each([
    'interlock_x 1',
    '# TYPE interlock_x gauge\ninterlock_x{a=b} 1\n',
    '# TYPE interlock_x gauge\ninterlock_x{a="b"c="d"} 1\n',
    '# TYPE interlock_x gauge\ninterlock_x 1\ninterlock_x 2\n',
    '# TYPE interlock_x gauge\n# TYPE interlock_x gauge\n',
    '# TYPE interlock_x gauge\ninterlock_x one\n',
    '# TYPE interlock_x counter\ninterlock_x{a="\n"} 1\n',
  ])('(the parser takes no %j)', (text) => {
    expect(() => parseExposition(text)).toThrow();
  });
});
