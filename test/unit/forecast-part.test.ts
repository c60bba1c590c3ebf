/** The status page's part on what lies ahead: in the policy's order, and nothing that a round in progress must not tell. */
import { describe, expect, it } from 'vitest';
import { compute } from '../../src/domain/compute.ts';
import { forecastPart } from '../../src/http/routes/forecast-part.ts';
import type { LatestForecasts } from '../../src/http/routes/latest-forecasts.ts';

const CATEGORIES = [
  { id: 'cyber', title: 'Cyber <b>' },
  { id: 'bio', title: 'Biology' },
];
const forecast = (category: string, more: Partial<LatestForecasts['forecasts'][number]> = {}) => ({
  category,
  stage: 'pre-mitigation' as const,
  checkpoints: 1,
  horizonCompute: compute('2.2e22'),
  method: 'm/1',
  basis: 'data' as const,
  points: 6,
  quantiles: [
    { p: 0.5, level: 2.123 },
    { p: 0.95, level: 3.456 },
  ],
  exceedance: [
    { level: 3, p: 0.0004 },
    { level: 4, p: 0.0712 },
  ],
  notes: [],
  ...more,
});
const coverage = (covered: number) => ({ covered, share: null, lower: null, upper: null });
const RECORD = {
  forecasts: 0,
  isTooFew: true,
  coverage95: coverage(0),
  coverage99: coverage(0),
  misses: 0,
  excluded: { sealedLate: 0, beyondHorizon: 0, partial: 0 },
  isTruncated: false,
};
const POOL = {
  p: 0.3,
  geometricMean: 0.3,
  exponent: 1,
  n: 2,
  median: 0.3,
  lowerQuartile: 0.2,
  upperQuartile: 0.4,
};
const asked = (more: Partial<LatestForecasts['experts'][number]>): LatestForecasts['experts'][number] => ({
  questionId: 'q',
  roundId: 'q',
  checkpointId: 'c1',
  category: 'cyber',
  stage: 'pre-mitigation',
  level: 4,
  horizonCompute: '2.2e22',
  state: 'closed',
  closesAt: '2026-11-01T00:00:00.000Z',
  given: 2,
  pool: { ...POOL, method: 'pool/1' },
  ...more,
});

const shown = (more: Partial<LatestForecasts> = {}): string =>
  forecastPart(
    {
      runId: 'r1',
      checkpointId: 'c1',
      effectiveCompute: compute('1e22'),
      forecasts: [forecast('bio'), forecast('cyber')],
      experts: [],
      record: RECORD,
      ...more,
    },
    CATEGORIES,
  )
    .map(({ text }) => text.replace(/<[^>]+>/g, ' ').replace(/\s+/g, ' '))
    .join('');

describe('what lies ahead', () => {
  it('is told in the order of the policy, with the level, its bound, both probabilities and the basis', () => {
    const figures = 'from its data 2.12 95 %: up to 3.46 under 0.1 % 7.1 %';
    expect(shown()).toContain(
      `Reaches Critical (4.0) Cyber &lt;b&gt; ${figures} Biology ${figures} No forecast`,
    );
    expect(shown()).toContain('Before the next checkpoint, within 2.2x the compute of c1 (2.2e22 FLOP)');
  });

  it('is not there without a forecast for the next checkpoint', () => {
    expect(shown({ forecasts: [forecast('cyber', { checkpoints: 2 })] })).toBe('');
  });

  it.each([
    [{}, '7.1 % 2 experts: 30.0 %'],
    [{ pool: { ...POOL, method: 'pool/1', n: 1 } }, '7.1 % 1 expert: 30.0 %'],
    [{ state: 'open' as const, pool: null }, '7.1 % a round is open, 2 answered'],
    [{ state: 'open' as const, given: 1 }, '7.1 % 2 experts: 30.0 %; a round is open, 1 answered'],
    [{ pool: null, given: 0 }, '7.1 % experts were asked, nobody answered'],
    [{ level: 3.5 }, 'Cyber &lt;b&gt;, pre-mitigation, High (3.5): 2 experts: 30.0 %'],
    [{ stage: 'post-mitigation' as const }, 'Cyber &lt;b&gt;, post-mitigation, Critical (4.0): 2 experts'],
  ])('comes with what experts say: %j', (more, text) => {
    expect(shown({ experts: [asked(more)] })).toContain(text);
  });

  it.each([
    [{}, 'No forecast of this run has been scored yet.'],
    [
      { excluded: { sealedLate: 1, beyondHorizon: 0, partial: 1 } },
      'No forecast of this run has been scored yet. 2 more do not count.',
    ],
    [
      { forecasts: 3, coverage95: coverage(2), misses: 1 },
      '2 of 3 scored forecasts of this run came at or below the 95 % bound, 1 above the 99 % bound: too few to say.',
    ],
    [
      { forecasts: 40, isTooFew: false, coverage95: coverage(38) },
      '38 of 40 scored forecasts of this run came at or below the 95 % bound, 0 above the 99 % bound.',
    ],
  ])('says how the run was forecast so far: %j', (more, text) => {
    expect(shown({ record: { ...RECORD, ...more } })).toContain(text);
  });
});
