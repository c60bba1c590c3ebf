/**
 * Effective compute: FLOP x algorithmic-efficiency multiplier, a positive number up to 1e40.
 *
 * Held as a canonical decimal string and compared exactly (scaled integers, not doubles), so that
 * 9007199254740993 stays itself and `1e25` equals `"10000000000000000000000000"`. Products with a
 * ratio are exact up to 40 significant digits and then rounded down: a ceiling never rounds up.
 */
import { z } from 'zod';

export type Compute = string & z.$brand<'Compute'>;

/** coefficient x 10^exponent, the coefficient without trailing zeros (0 has exponent 0). */
interface Decimal {
  readonly coefficient: bigint;
  readonly exponent: number;
  /** Where its first digit stands: of two that differ in this, it alone tells which is greater. */
  readonly magnitude: number;
}

const TEXT = /^(\d{1,50})(?:\.(\d{1,50}))?(?:[eE]([+-]?\d{1,3}))?$/;
const MAX_SIGNIFICANT_DIGITS = 40;
export const COMPUTE_MAX = '1e40';

function normalised(coefficient: bigint, exponent: number): Decimal {
  if (coefficient === 0n) return { coefficient, exponent: 0, magnitude: Number.NEGATIVE_INFINITY };
  let digits = coefficient.toString();
  let power = exponent;
  if (digits.length > MAX_SIGNIFICANT_DIGITS) {
    power += digits.length - MAX_SIGNIFICANT_DIGITS;
    digits = digits.slice(0, MAX_SIGNIFICANT_DIGITS);
  }
  const trimmed = digits.replace(/0+$/, '');
  return {
    coefficient: BigInt(trimmed),
    exponent: power + digits.length - trimmed.length,
    magnitude: power + digits.length,
  };
}

function readDecimal(text: string): Decimal | null {
  const match = TEXT.exec(text);
  if (match === null) return null;
  const [, whole = '', fraction = '', power = '0'] = match;
  return normalised(BigInt(whole + fraction), Number(power) - fraction.length);
}

/** A multiplier (ratio, 1 + grace, efficiency) as the decimal that its shortest text denotes. */
function decimalOf(value: number): Decimal {
  const decimal = Number.isFinite(value) && value >= 0 ? readDecimal(String(value)) : null;
  if (decimal === null) throw new RangeError(`not a non-negative finite number: ${value}`);
  return decimal;
}

/**
 * What was read lately: a run's ceiling and due point are compared in every decision, and reading a decimal costs a
 * hundred times the comparison. Emptied when full, which forgets nothing but work.
 */
const read = new Map<string, Decimal>();
const READ_MAX = 4_096;

function decimalOfText(text: string): Decimal {
  const known = read.get(text);
  if (known !== undefined) return known;
  const decimal = readDecimal(text);
  if (decimal === null) throw new RangeError(`not a decimal: ${text}`);
  if (read.size >= READ_MAX) read.clear();
  read.set(text, decimal);
  return decimal;
}

/** Plain digits up to 21 places, then `d.ddde25`, as JavaScript prints numbers (without the plus). */
function textOf({ coefficient, exponent }: Decimal): Compute {
  const digits = coefficient.toString();
  const magnitude = digits.length + exponent;
  if (magnitude > 21 || magnitude < -5) {
    const fraction = digits.length > 1 ? `.${digits.slice(1)}` : '';
    return `${digits.slice(0, 1)}${fraction}e${magnitude - 1}` as Compute;
  }
  if (exponent >= 0) return (digits + '0'.repeat(exponent)) as Compute;
  if (magnitude > 0) return `${digits.slice(0, magnitude)}.${digits.slice(magnitude)}` as Compute;
  return `0.${'0'.repeat(-magnitude)}${digits}` as Compute;
}

function align(a: Decimal, b: Decimal): [bigint, bigint] {
  const low = Math.min(a.exponent, b.exponent);
  return [scaled(a, low), scaled(b, low)];
}

function scaled({ coefficient, exponent }: Decimal, low: number): bigint {
  return exponent === low ? coefficient : coefficient * tenTo(exponent - low);
}

/** Exponents are small, so these are few; reading one from its digits costs more than the comparison it is for. */
const powersOfTen = new Map<number, bigint>();

function tenTo(power: number): bigint {
  const known = powersOfTen.get(power);
  if (known !== undefined) return known;
  const made = BigInt(`1${'0'.repeat(power)}`);
  powersOfTen.set(power, made);
  return made;
}

function order(a: Decimal, b: Decimal): -1 | 0 | 1 {
  if (a.magnitude !== b.magnitude) return a.magnitude < b.magnitude ? -1 : 1;
  const [x, y] = align(a, b);
  return x < y ? -1 : x > y ? 1 : 0;
}

const MAX = decimalOfText(COMPUTE_MAX);
const MIN = decimalOfText('1e-6');

/** What cannot be kept exactly is refused, never rounded in silence. */
function isExact(text: string): boolean {
  const [digits = ''] = text.split(/[eE]/);
  return digits.replace('.', '').replace(/^0+|0+$/g, '').length <= MAX_SIGNIFICANT_DIGITS;
}

function problemOf(decimal: Decimal | null): string | null {
  if (decimal === null) return 'must be a decimal number such as 1e25 or "10000000000000000000000000"';
  if (order(decimal, MIN) < 0) return 'must be greater than 0 (at least 1e-6)';
  if (order(decimal, MAX) > 0) return `must be at most ${COMPUTE_MAX}`;
  return null;
}

/** Compute as people and machines send it: a JSON number or a decimal string. Output is canonical. */
export const ComputeSchema = z
  .union([z.number(), z.string().max(64)])
  .transform((value, context): Compute => {
    const text = String(value);
    const decimal = readDecimal(text);
    const inexact = isExact(text) ? null : `must have at most ${MAX_SIGNIFICANT_DIGITS} significant digits`;
    const problem = problemOf(decimal) ?? inexact;
    if (problem !== null || decimal === null) {
      context.addIssue({ code: 'custom', message: problem ?? 'must be a decimal number' });
      return z.NEVER;
    }
    return textOf(decimal);
  })
  .meta({
    description: 'Effective compute in FLOP: a JSON number or a decimal string, above 0, at most 1e40',
  });

export function compute(value: number | string): Compute {
  return ComputeSchema.parse(value);
}

export function compareCompute(a: Compute, b: Compute): -1 | 0 | 1 {
  return a === b ? 0 : order(decimalOfText(a), decimalOfText(b));
}

export function maxCompute(a: Compute, b: Compute): Compute {
  return compareCompute(a, b) >= 0 ? a : b;
}

export function minCompute(a: Compute, b: Compute): Compute {
  return compareCompute(a, b) <= 0 ? a : b;
}

/** `compute` times each factor, exact to 40 digits, capped at 1e40. */
export function timesCompute(value: Compute, ...factors: readonly number[]): Compute {
  let product = decimalOfText(value);
  for (const factor of factors) {
    const by = decimalOf(factor);
    product = normalised(product.coefficient * by.coefficient, product.exponent + by.exponent);
  }
  return textOf(order(product, MAX) > 0 ? MAX : product);
}

/** The sum, capped at 1e40. */
export function plusCompute(a: Compute, b: Compute): Compute {
  const sum = add(decimalOfText(a), decimalOfText(b));
  return textOf(order(sum, MAX) > 0 ? MAX : sum);
}

/** `a - b`, or null where nothing is left that counts as compute. */
export function minusCompute(a: Compute, b: Compute): Compute | null {
  const [x, y] = [decimalOfText(a), decimalOfText(b)];
  if (order(x, y) <= 0) return null;
  const [larger, smaller] = align(x, y);
  const left = normalised(larger - smaller, Math.min(x.exponent, y.exponent));
  return order(left, MIN) < 0 ? null : textOf(left);
}

/** Rounded down to so many digits: what people are asked for by name. */
export function shortened(value: Compute, digits: number): Compute {
  const { coefficient, exponent } = decimalOfText(value);
  const text = coefficient.toString();
  if (text.length <= digits) return value;
  return textOf(normalised(BigInt(text.slice(0, digits)), exponent + text.length - digits));
}

/** 1 + x without the double's rounding (1 + 0.1 stays 1.1). For `grace`. */
export function onePlus(x: number): number {
  return Number(textOf(add(decimalOf(1), decimalOf(x))));
}

function add(a: Decimal, b: Decimal): Decimal {
  const [x, y] = align(a, b);
  return normalised(x + y, Math.min(a.exponent, b.exponent));
}

/** As a double, for plotting and for the forecast's x-axis; never for comparisons that decide. */
export function computeNumber(value: Compute): number {
  return Number(value);
}

/** log2 of effective compute: the number of doublings since 1 FLOP. */
export function log2Compute(value: Compute): number {
  return Math.log2(Number(value));
}

/** For people, at three digits: `2.2e22 FLOP`. */
export function flopText(value: Compute): string {
  return `${Number(value)
    .toExponential(2)
    .replace(/\.?0*e\+?/, 'e')} FLOP`;
}

/** For people: how many times `from`, at three digits: `2.2x`. */
export function timesText(value: Compute, from: Compute): string {
  return `${Number((Number(value) / Number(from)).toPrecision(3))}x`;
}

/** The three forms in which a sender may state compute; see DESIGN words, "effective compute". */
export interface StatedCompute {
  readonly effectiveCompute?: Compute | undefined;
  readonly physicalFlop?: Compute | undefined;
  readonly efficiencyMultiplier?: number | undefined;
  readonly parameters?: Compute | undefined;
  readonly tokens?: Compute | undefined;
}

export type ResolvedCompute =
  | { readonly ok: true; readonly effectiveCompute: Compute }
  | { readonly ok: false; readonly path: keyof StatedCompute; readonly message: string };

/** Forms that disagree by more than this share of the larger one are refused. */
const TOLERANCE_PERCENT = 1n;

/**
 * One effective compute from what was stated. `parameters` and `tokens` give 6ND physical FLOP,
 * times the efficiency multiplier where one is given. Several forms must agree within 1 %; the
 * most direct one is then taken.
 */
export function resolveCompute(stated: StatedCompute): ResolvedCompute {
  const { effectiveCompute, physicalFlop, efficiencyMultiplier, parameters, tokens } = stated;
  if (physicalFlop !== undefined && efficiencyMultiplier === undefined) {
    return refuse('efficiencyMultiplier', 'is required with physicalFlop (1 if there is no efficiency gain)');
  }
  if ((parameters === undefined) !== (tokens === undefined)) {
    return refuse(parameters === undefined ? 'parameters' : 'tokens', 'parameters and tokens go together');
  }
  if (efficiencyMultiplier !== undefined && !(efficiencyMultiplier > 0 && efficiencyMultiplier <= 1e30)) {
    return refuse('efficiencyMultiplier', 'must be greater than 0 and at most 1e30');
  }
  const forms: { readonly path: keyof StatedCompute; readonly value: Decimal }[] = [];
  if (effectiveCompute !== undefined) {
    forms.push({ path: 'effectiveCompute', value: decimalOfText(effectiveCompute) });
  }
  const multiplier = decimalOf(efficiencyMultiplier ?? 1);
  if (physicalFlop !== undefined) {
    forms.push({ path: 'physicalFlop', value: multiply(decimalOfText(physicalFlop), multiplier) });
  }
  if (parameters !== undefined && tokens !== undefined) {
    const nd = multiply(decimalOfText(parameters), decimalOfText(tokens));
    forms.push({ path: 'parameters', value: multiply(multiply(nd, decimalOf(6)), multiplier) });
  }
  const [first] = forms;
  if (first === undefined) {
    return refuse(
      'effectiveCompute',
      'give effectiveCompute, or physicalFlop with efficiencyMultiplier, or parameters with tokens',
    );
  }
  for (const [i, form] of forms.entries()) {
    const other = forms.slice(0, i).find(({ value }) => disagree(value, form.value));
    if (other !== undefined) {
      return refuse(
        form.path,
        `gives ${textOf(form.value)}, which differs by more than 1 % from ${textOf(other.value)} (${other.path})`,
      );
    }
  }
  const problem = problemOf(first.value);
  if (problem !== null) return refuse(first.path, problem);
  return { ok: true, effectiveCompute: textOf(first.value) };
}

function refuse(path: keyof StatedCompute, message: string): ResolvedCompute {
  return { ok: false, path, message };
}

function multiply(a: Decimal, b: Decimal): Decimal {
  return normalised(a.coefficient * b.coefficient, a.exponent + b.exponent);
}

function disagree(a: Decimal, b: Decimal): boolean {
  const [x, y] = align(a, b);
  const [larger, smaller] = x > y ? [x, y] : [y, x];
  return (larger - smaller) * 100n > larger * TOLERANCE_PERCENT;
}
