/** Effective compute: exact, canonical, and from three forms that must agree. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ComputeSchema,
  compareCompute,
  compute,
  log2Compute,
  maxCompute,
  onePlus,
  resolveCompute,
  timesCompute,
} from '../../../src/domain/compute.ts';
import { rows } from './table.ts';

describe('compute as sent', () => {
  it.each(
    rows(`
      JSON                                          | canonical text, or refused
      1e22                                          | 1e22
      "1e22"                                        | 1e22
      "1E+22"                                       | 1e22
      1e+25                                         | 1e25
      "10000000000000000000000000"                  | 1e25
      "12345678901234567890"                        | 12345678901234567890
      "123456789012345678901234567890"              | 1.2345678901234567890123456789e29
      "9007199254740993"                            | 9007199254740993
      9007199254740991                              | 9007199254740991
      1                                             | 1
      0.5                                           | 0.5
      "0.000001"                                    | 0.00001e-1
      "1.50"                                        | 1.5
      "007"                                         | 7
      "100000000000000000000"                       | 100000000000000000000
      1e40                                          | 1e40
      "1e40"                                        | 1e40
      "1234567890123456789012345678901234567890"    | 1.23456789012345678901234567890123456789e39
      0                                             | refused
      -0                                            | refused
      "0"                                           | refused
      "0.0"                                         | refused
      -1                                            | refused
      "-1e25"                                       | refused
      1e-7                                          | refused
      1e41                                          | refused
      "1e41"                                        | refused
      "1.0000000000000000000000000000001e40"        | refused
      "1e400"                                       | refused
      "1e-400"                                      | refused
      1e999                                         | refused
      "0x10"                                        | refused
      " 1e25 "                                      | refused
      "1e25 "                                       | refused
      "+1e25"                                       | refused
      "1_000"                                       | refused
      "1,000"                                       | refused
      "١٢٣"                                         | refused
      ".5"                                          | refused
      "5."                                          | refused
      "NaN"                                         | refused
      "Infinity"                                    | refused
      ""                                            | refused
      null                                          | refused
      true                                          | refused
      [1e25]                                        | refused
      "12345678901234567890123456789012345678901"   | refused
      "1.0000000000000000000000000000000000000001"  | refused
    `).slice(1),
  )('%s is %s', (json = '', expected = '') => {
    const parsed = ComputeSchema.safeParse(JSON.parse(json));
    if (expected === 'refused') expect(parsed.success).toBe(false);
    else expect(parsed.data).toBe(compute(expected));
  });

  it('of 401 digits is refused', () => {
    expect(ComputeSchema.safeParse('1'.repeat(401)).success).toBe(false);
  });

  it('has one text per value, and reading that text again gives it back', () => {
    const decimal = fc.tuple(fc.bigInt({ min: 1n, max: 10n ** 39n }), fc.integer({ min: 0, max: 30 }));
    fc.assert(
      fc.property(decimal, ([digits, zeros]) => {
        const plain = ComputeSchema.safeParse(digits.toString());
        const padded = ComputeSchema.safeParse(`${digits}.${'0'.repeat(1 + Math.min(zeros, 10))}`);
        expect(plain.data).toBe(padded.data);
        if (plain.success) expect(compute(plain.data)).toBe(plain.data);
      }),
    );
  });

  it('orders as the integers it stands for', () => {
    const integer = fc.bigInt({ min: 1n, max: 10n ** 38n });
    fc.assert(
      fc.property(integer, integer, (a, b) => {
        const [x, y] = [compute(a.toString()), compute(b.toString())];
        expect(compareCompute(x, y)).toBe(a < b ? -1 : a > b ? 1 : 0);
        expect(maxCompute(x, y)).toBe(a > b ? x : y);
      }),
    );
  });
});

describe('products', () => {
  it.each(
    rows(`
      compute                 | factors      | product
      1e22                    | 2            | 2e22
      1e22                    | 2 1.1        | 2.2e22
      9007199254740993        | 2            | 18014398509481986
      1e40                    | 2            | 1e40
      9e39                    | 1.2          | 1e40
      0.3                     | 0.1          | 0.03
      1e22                    | 1e21         | 1e40
      3333333333333333333333333333333333333333 | 1.1 | 3.666666666666666666666666666666666666666e39
    `).slice(1),
  )('%s times %s is exactly %s', (value = '', factors = '', product = '') => {
    expect(timesCompute(compute(value), ...factors.split(' ').map(Number))).toBe(compute(product));
  });

  it('never round up', () => {
    const value = fc.bigInt({ min: 1n, max: 10n ** 38n });
    fc.assert(
      fc.property(value, fc.integer({ min: 1, max: 999 }), (a, thousandths) => {
        const product = timesCompute(compute(a.toString()), thousandths / 1000);
        const exact = a * BigInt(thousandths);
        const [digits = '', power = '0'] = product.split('e');
        const [whole = '', fraction = ''] = digits.split('.');
        const scale = Number(power) - fraction.length + 3;
        const shown = BigInt(whole + fraction);
        if (scale >= 0) expect(shown * 10n ** BigInt(scale) <= exact).toBe(true);
        else expect(shown <= exact * 10n ** BigInt(-scale)).toBe(true);
      }),
    );
  });

  it.each([
    [0.1, 1.1],
    [0.2, 1.2],
    [0.7, 1.7],
    [0, 1],
    [0.05, 1.05],
  ])('1 + %d is %d without a rounding of its own', (grace, expected) => {
    expect(onePlus(grace)).toBe(expected);
  });

  it('count doublings', () => {
    expect(log2Compute(compute(1024))).toBe(10);
    expect(log2Compute(compute('2e22')) - log2Compute(compute('1e22'))).toBeCloseTo(1, 12);
  });
});

describe('stated forms', () => {
  const stated = (text: string) =>
    Object.fromEntries(
      text.split(' ').map((pair) => {
        const [key = '', value = ''] = pair.split('=');
        return [key, key === 'efficiencyMultiplier' ? Number(value) : compute(value)];
      }),
    );

  it.each(
    rows(`
      stated                                                                | effective compute, or the path refused
      effectiveCompute=1e22                                                 | 1e22
      physicalFlop=1e22 efficiencyMultiplier=1                              | 1e22
      physicalFlop=1e22 efficiencyMultiplier=2.5                            | 2.5e22
      parameters=1e9 tokens=2e10                                            | 1.2e20
      parameters=1e9 tokens=2e10 efficiencyMultiplier=2                     | 2.4e20
      effectiveCompute=1.2e20 parameters=1e9 tokens=2e10                    | 1.2e20
      effectiveCompute=1.21e20 parameters=1e9 tokens=2e10                   | 1.21e20
      effectiveCompute=1.2e20 parameters=1e9 tokens=2.02e10                 | 1.2e20
      effectiveCompute=1.2e20 parameters=1e9 tokens=2.021e10                | parameters
      effectiveCompute=1e22 physicalFlop=1e22 efficiencyMultiplier=1.02     | physicalFlop
      effectiveCompute=1e22 physicalFlop=9.91e21 efficiencyMultiplier=1     | 1e22
      effectiveCompute=1e22 physicalFlop=9.89e21 efficiencyMultiplier=1     | physicalFlop
      effectiveCompute=1e20 physicalFlop=1.009e20 efficiencyMultiplier=1 parameters=1e9 tokens=1.653e10 | parameters
      physicalFlop=1e22                                                     | efficiencyMultiplier
      physicalFlop=1e22 efficiencyMultiplier=-1                             | efficiencyMultiplier
      physicalFlop=1e22 efficiencyMultiplier=NaN                            | efficiencyMultiplier
      physicalFlop=1e22 efficiencyMultiplier=Infinity                       | efficiencyMultiplier
      physicalFlop=1e22 efficiencyMultiplier=0                              | efficiencyMultiplier
      parameters=1e9                                                        | tokens
      tokens=1e9                                                            | parameters
      efficiencyMultiplier=2                                                | effectiveCompute
      parameters=1e30 tokens=1e30                                           | parameters
    `).slice(1),
  )('%s gives %s', (text = '', expected = '') => {
    const resolved = resolveCompute(stated(text));
    if (resolved.ok) expect(resolved.effectiveCompute).toBe(compute(expected));
    else expect(resolved.path).toBe(expected);
  });
});
