/** The forecast on the synthetic set: no change may push a figure through its floor. */
import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { evaluate, type Figures } from '../forecast/evaluate.ts';
import { brokenFloors, type Floors, FloorsSchema } from '../forecast/floors.ts';
import { BASELINE_CONTESTANTS, JUDGED } from '../forecast/methods.ts';
import { markdownReport, sections, terminalReport } from '../forecast/report.ts';
import { synthetic } from '../forecast/synthetic.ts';
import { targets } from '../forecast/targets.ts';

let floors: Floors;
let own: Figures;
let baselines: Figures[];
beforeAll(async () => {
  const text = await readFile(new URL('../forecast/floors.json', import.meta.url), 'utf8');
  floors = FloorsSchema.parse(JSON.parse(text));
  const series = synthetic();
  own = evaluate(series, JUDGED);
  baselines = BASELINE_CONTESTANTS.map((contestant) => evaluate(series, contestant));
});

describe('the synthetic set', () => {
  it('is the same for the same seed, and of seven kinds', () => {
    expect(synthetic(7)).toEqual(synthetic(7));
    expect(synthetic(7)).not.toEqual(synthetic(8));
    const kinds = new Set(synthetic().map(({ source }) => source));
    expect([...kinds]).toEqual(['logistic', 'jump', 'plateau', 'gradual', 'reversal', 'noise', 'flip']);
  });

  it('has what the figures are about: jumps, silent and announced rises, benign series', () => {
    expect(own.jumpSeries.forecasts).toBeGreaterThan(200);
    expect(own.rises.silent.count).toBeGreaterThan(50);
    expect(own.rises.announced.count).toBeGreaterThan(100);
    expect(own.bags.map(({ source }) => source)).toEqual(expect.arrayContaining(['plateau', 'gradual']));
  });
});

describe('the forecast on the synthetic set', () => {
  it('stays above its floors', () => {
    expect(brokenFloors(floors, own, baselines)).toEqual([]);
  });

  it('would not, if it were the last value alone', () => {
    const [, , lastValue] = baselines;
    if (lastValue === undefined) throw new Error('no such baseline');
    expect(brokenFloors(floors, lastValue, baselines).length).toBeGreaterThanOrEqual(5);
  });

  it('breaks a floor that cannot be computed', () => {
    const unheard = { ...own, bagsLate: Number.NaN };
    expect(brokenFloors({ bagTripsLate: { max: 1 } }, unheard, baselines)).toEqual([
      'bagTripsLate is NaN, wanted -Infinity to 1',
    ]);
  });
});

describe('floors', () => {
  it.each([[{ pinball59: { max: 1 } }], [{ pinball95: {} }], [{ pinball95: { maximum: 1 } }]])(
    '%j is refused',
    (wrong) => {
      expect(FloorsSchema.safeParse(wrong).success).toBe(false);
    },
  );
});

describe('the report', () => {
  it('marks every target as met or not, and is the same table in Markdown', () => {
    const all = targets(own, baselines);
    const report = sections(own, baselines, all);
    const text = terminalReport(report);
    expect(text).toContain(`of ${all.length} met`);
    expect(text.match(/(?:^|\s)(?:NOT MET|met)$/gm)).toHaveLength(all.length + 1);
    const markdown = markdownReport(report);
    for (const { title } of report) expect(markdown).toContain(`### ${title.replaceAll('<', '&lt;')}`);
    expect(text + markdown).not.toMatch(/undefined|NaN/);
  });
});
