/**
 * Decimal strings compared exactly: compute goes up to 1e40, where a JavaScript number has lost the
 * last twenty digits and "one step over the ceiling" would be invisible.
 */
const decimal = /^(\d{1,64})(?:\.(\d{1,64}))?(?:[eE]([+-]?\d{1,3}))?$/;

export interface Scaled {
  digits: bigint;
  exponent: number;
}

export function parseDecimal(text: string): Scaled | null {
  const match = decimal.exec(text);
  if (match === null) return null;
  const [, whole = '', fraction = '', exponent = '0'] = match;
  return { digits: BigInt(whole + fraction), exponent: Number(exponent) - fraction.length };
}

export function isDecimal(text: string): boolean {
  return decimal.test(text);
}

/** True only where both are decimals and a <= b: what cannot be read is never within a ceiling. */
export function atMost(a: string, b: string): boolean {
  const left = parseDecimal(a);
  const right = parseDecimal(b);
  if (left === null || right === null) return false;
  const common = Math.min(left.exponent, right.exponent);
  return scale(left, common) <= scale(right, common);
}

function scale({ digits, exponent }: Scaled, common: number): bigint {
  return digits * 10n ** BigInt(exponent - common);
}

/** The least whole number that is no smaller. */
export function wholeUp({ digits, exponent }: Scaled): bigint {
  if (exponent >= 0) return digits * 10n ** BigInt(exponent);
  const unit = 10n ** BigInt(-exponent);
  return (digits + unit - 1n) / unit;
}

/** A compute figure as the decimal string that goes on the wire. */
export function toDecimal(compute: number | bigint | string): string {
  const text = typeof compute === 'number' ? plain(compute) : compute.toString();
  if (!isDecimal(text)) throw new RangeError('compute must be a non-negative finite decimal');
  return text;
}

/** A whole number is written out: `1e21` as a bigint says exactly what the double holds. */
function plain(value: number): string {
  if (!Number.isFinite(value) || value < 0) return '';
  return Number.isInteger(value) ? BigInt(value).toString() : value.toString();
}
