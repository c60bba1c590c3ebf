/**
 * Text for people: tables, level bars, spans of time. No dependencies, no colour unless the terminal wants it.
 *
 * Whatever comes from outside (a title, a reason, a finding) passes `printable` first: a run's title must not be
 * able to move the cursor of whoever looks at it.
 */
import type { Environment } from '../config/environment.ts';

export type Paint = (text: string) => string;

export interface Style {
  readonly bold: Paint;
  readonly dim: Paint;
  readonly red: Paint;
  readonly yellow: Paint;
  readonly green: Paint;
}

const plain: Paint = (text) => text;
const sgr =
  (on: number, off: number): Paint =>
  (text) =>
    `\u001b[${on}m${text}\u001b[${off}m`;

export const PLAIN: Style = { bold: plain, dim: plain, red: plain, yellow: plain, green: plain };
const COLOURED: Style = {
  bold: sgr(1, 22),
  dim: sgr(2, 22),
  red: sgr(31, 39),
  yellow: sgr(33, 39),
  green: sgr(32, 39),
};

/** NO_COLOR as no-color.org has it: set and not empty. */
export function styleFor({ isTty, env }: { isTty: boolean; env: Environment }): Style {
  const isRefused = (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb';
  return isTty && !isRefused ? COLOURED : PLAIN;
}

/** Controls, direction marks and invisible characters: everything that makes a terminal show something else. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

export function printable(text: string): string {
  return text.replace(UNPRINTABLE, ' ');
}

/** Our own colour sequences take no room. */
const COLOUR = new RegExp(`${String.fromCharCode(27)}\\[\\d+m`, 'g');
const widthOf = (text: string): number => [...text.replace(COLOUR, '')].length;

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
}

/** Two spaces between columns, none behind the last. Cells come painted or plain. */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  style: Style = PLAIN,
): string {
  const widths = columns.map(({ title }, i) =>
    Math.max(widthOf(title), ...rows.map((row) => widthOf(row[i] ?? ''))),
  );
  const line = (cells: readonly string[]): string =>
    columns
      .map(({ align = 'left' }, i) => {
        const cell = cells[i] ?? '';
        const room = ' '.repeat(Math.max(0, (widths[i] ?? 0) - widthOf(cell)));
        return align === 'right' ? room + cell : cell + room;
      })
      .join('  ')
      .trimEnd();
  return [line(columns.map(({ title }) => style.bold(title))), ...rows.map(line)].join('\n');
}

const BAR_CELLS = 16;

/** A level from 1 to 5: solid up to the estimate, light up to the upper limit, a bar where each level begins. */
export function levelBar(estimate: number | null, upper: number | null, style: Style = PLAIN): string {
  const cells = Array.from({ length: BAR_CELLS }, (_, i) => {
    const middle = 1 + ((i + 0.5) * 4) / BAR_CELLS;
    if (estimate !== null && middle <= estimate) return '█';
    return upper !== null && middle <= upper ? '▒' : '·';
  });
  const quarters = [0, 1, 2, 3].map((i) =>
    cells.slice((i * BAR_CELLS) / 4, ((i + 1) * BAR_CELLS) / 4).join(''),
  );
  return levelPaint(estimate, upper, style)(quarters.join('|'));
}

export function levelPaint(estimate: number | null, upper: number | null, style: Style): Paint {
  if (estimate === null) return style.dim;
  if (estimate >= 3) return style.red;
  return (upper ?? estimate) >= 3 ? style.yellow : style.green;
}

/** Two units at most: `3 d 4 h`, `12 min 5 s`, `340 ms`. */
export function span(ms: number): string {
  const whole = Math.max(0, Math.round(ms));
  if (whole < 1000) return `${whole} ms`;
  const units: readonly (readonly [string, number])[] = [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['min', 60_000],
    ['s', 1000],
  ];
  const first = units.findIndex(([, size]) => whole >= size);
  let rest = whole;
  return units
    .slice(first, first + 2)
    .map(([unit, size]) => {
      const count = Math.floor(rest / size);
      rest -= count * size;
      return count === 0 ? '' : `${count} ${unit}`;
    })
    .filter((part) => part !== '')
    .join(' ');
}

/** `4 min 2 s ago`, `in 3 h`; a time that cannot be read is shown as it came. */
export function relative(instant: string, now: Date): string {
  const ms = Date.parse(instant);
  if (Number.isNaN(ms)) return printable(instant);
  const difference = ms - now.getTime();
  return difference > 0 ? `in ${span(difference)}` : `${span(-difference)} ago`;
}

/** Compute is exact as text; people read three digits: `1.64e22`. */
export function shortCompute(compute: string | null): string {
  if (compute === null) return '-';
  const value = Number(compute);
  return Number.isFinite(value) ? value.toExponential(2).replace(/\.?0*e\+?/, 'e') : printable(compute);
}

export function json(value: unknown): string {
  return JSON.stringify(value, null, 2);
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
