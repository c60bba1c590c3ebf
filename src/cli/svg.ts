/**
 * Drawings as SVG text, without a library: fan charts of a backtest and a reliability diagram.
 *
 * Every text is escaped and every number is finite and rounded, so that a series' name cannot become markup. No
 * script, no outside reference: the files open anywhere and show the same.
 */
import { escapeHtml } from '../http/html.ts';
import { printable } from './output.ts';

/** Lone surrogates are no characters of XML either. */
export function escaped(text: string): string {
  return escapeHtml(
    printable(text)
      .toWellFormed()
      .replace(/[\ufffe\uffff]/g, ' '),
  );
}

const WIDTH = 640;
const HEIGHT = 360;
const PLOT = { left: 56, right: 624, top: 44, bottom: 316 } as const;
const COLOUR = {
  ink: '#1f2933',
  faint: '#9aa5b1',
  bands: ['#d9e8f6', '#a9cbea', '#6fa5d8'],
  miss: '#c81e1e',
} as const;

const fixed = (value: number): string =>
  Number.isFinite(value) ? String(Math.round(value * 100) / 100) : '0';

export interface FanPoint {
  readonly flop: number;
  readonly score: number;
  readonly stderr: number | null;
  /** Forecast from the points before it, in score; null for the points that were only history. */
  readonly band: {
    readonly q01: number;
    readonly q05: number;
    readonly q25: number;
    readonly q50: number;
    readonly q75: number;
    readonly q95: number;
    readonly q99: number;
  } | null;
}

export interface FanChart {
  readonly title: string;
  readonly subtitle: string;
  readonly points: readonly FanPoint[];
  readonly chance: number;
  /** The point to point out, if any. */
  readonly marked?: number;
}

/** What came as dots; around each the 50, 90 and 98% band of the forecast made before it. Red: above the 99% bound. */
export function fanChart({ title, subtitle, points, chance, marked }: FanChart): string {
  const scores = points.flatMap(({ score, band }) => [score, ...(band === null ? [] : [band.q01, band.q99])]);
  const y = scale(Math.min(0, chance, ...scores), Math.max(1, ...scores), PLOT.bottom, PLOT.top);
  const doublings = points.map(({ flop }) => Math.log2(flop));
  const first = Math.min(...doublings);
  const last = Math.max(...doublings);
  const x = scale(first - 0.3, last + 0.3, PLOT.left, PLOT.right);
  const at = (i: number): number => x(doublings[i] ?? first);
  const gaps = doublings.slice(1).map((d, i) => x(d) - x(doublings[i] ?? d));
  const half = Math.min(14, Math.max(1.5, 0.36 * Math.min(28, ...gaps)));
  const bands = points.flatMap(({ band }, i) => {
    if (band === null) return [];
    const box = (low: number, high: number, fill: string, width: number): string =>
      `<rect x="${fixed(at(i) - width)}" y="${fixed(y(high))}" width="${fixed(2 * width)}" height="${fixed(
        Math.max(0.5, y(low) - y(high)),
      )}" fill="${fill}"/>`;
    return [
      box(band.q01, band.q99, COLOUR.bands[0], half),
      box(band.q05, band.q95, COLOUR.bands[1], half),
      box(band.q25, band.q75, COLOUR.bands[2], half),
      line(at(i) - half, y(band.q50), at(i) + half, y(band.q50), COLOUR.ink, 1),
    ];
  });
  const dots = points.map(({ score, stderr, band }, i) => {
    const isMiss = band !== null && score > band.q99 + 1e-9;
    const colour = isMiss ? COLOUR.miss : COLOUR.ink;
    const error = stderr ?? 0;
    return [
      error > 0 ? line(at(i), y(score - error), at(i), y(score + error), colour, 1) : '',
      `<circle cx="${fixed(at(i))}" cy="${fixed(y(score))}" r="3.2" fill="${colour}"/>`,
      i === marked
        ? `<circle cx="${fixed(at(i))}" cy="${fixed(y(score))}" r="8" fill="none" stroke="${COLOUR.miss}" stroke-width="1.5"/>`
        : '',
    ].join('');
  });
  const path = points.map(({ score }, i) => `${fixed(at(i))},${fixed(y(score))}`).join(' ');
  return drawing(title, subtitle, [
    ...[0, 0.25, 0.5, 0.75, 1].map((tick) => horizontal(y(tick), tick.toFixed(2))),
    line(PLOT.left, y(chance), PLOT.right, y(chance), COLOUR.faint, 1, '4 3'),
    text(PLOT.left + 2, y(chance) - 8, 'chance', 'start', COLOUR.faint),
    ...bands,
    `<polyline points="${path}" fill="none" stroke="${COLOUR.ink}" stroke-width="0.8" opacity="0.5"/>`,
    ...dots,
    text(PLOT.left, HEIGHT - 24, compute(points[0]?.flop), 'start', COLOUR.ink),
    text(PLOT.right, HEIGHT - 24, `${compute(points.at(-1)?.flop)} FLOP`, 'end', COLOUR.ink),
    text(
      (PLOT.left + PLOT.right) / 2,
      HEIGHT - 8,
      'compute, doublings; boxes: 50, 90, 98% of the forecast made before the point; red: above the 99% bound',
      'middle',
      COLOUR.faint,
    ),
  ]);
}

export interface ReliabilityPoint {
  readonly stated: number;
  readonly came: number;
  readonly forecasts: number;
}

/** What was said against what came, both on a square root scale: the small probabilities are those that decide. */
export function reliabilityDiagram(title: string, bins: readonly ReliabilityPoint[]): string {
  const x = scale(0, 1, PLOT.left, PLOT.right);
  const y = scale(0, 1, PLOT.bottom, PLOT.top);
  const ticks = [0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1];
  const most = Math.max(1, ...bins.map(({ forecasts }) => forecasts));
  const root = (p: number): number => Math.sqrt(Math.max(0, p));
  const points = bins.map((bin) => ({ ...bin, cx: x(root(bin.stated)), cy: y(root(bin.came)) }));
  return drawing(title, 'came against said; above the diagonal: said too little', [
    ...ticks.map((tick) => horizontal(y(root(tick)), `${100 * tick}%`)),
    ...ticks.map((tick) => text(x(root(tick)), PLOT.bottom + 16, `${100 * tick}%`, 'middle', COLOUR.ink)),
    line(x(0), y(0), x(1), y(1), COLOUR.faint, 1, '4 3'),
    `<polyline points="${points.map(({ cx, cy }) => `${fixed(cx)},${fixed(cy)}`).join(' ')}" fill="none" stroke="${COLOUR.bands[2]}" stroke-width="1.5"/>`,
    ...points.map(
      ({ cx, cy, forecasts }) =>
        `<circle cx="${fixed(cx)}" cy="${fixed(cy)}" r="${fixed(3 + 5 * Math.sqrt(forecasts / most))}" fill="${COLOUR.bands[2]}" opacity="0.8"><title>${forecasts} forecasts</title></circle>`,
    ),
    text((PLOT.left + PLOT.right) / 2, HEIGHT - 8, 'said', 'middle', COLOUR.ink),
  ]);
}

export interface TradeOff {
  readonly name: string;
  readonly cost: number;
  /** 0 to 1. */
  readonly covered: number;
  /** Joined by a line with the others of the path; a point beside it is none of them. */
  readonly isOnPath: boolean;
}

/** What is covered against what it costs: up and to the left is better. */
export function tradeOffDiagram(title: string, costs: string, all: readonly TradeOff[]): string {
  const values = all.map(({ cost }) => cost);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const margin = 0.08 * (most - least);
  const x = scale(least - margin, most + margin, PLOT.left, PLOT.right);
  const y = scale(0, 1, PLOT.bottom, PLOT.top);
  const points = all.map((each) => ({ ...each, cx: x(each.cost), cy: y(each.covered) }));
  const path = points.filter(({ isOnPath }) => isOnPath).map(({ cx, cy }) => `${fixed(cx)},${fixed(cy)}`);
  return drawing(title, `covered, against ${costs}; up and to the left is better`, [
    ...[0, 0.25, 0.5, 0.75, 1].map((tick) => horizontal(y(tick), `${100 * tick}%`)),
    `<polyline points="${path.join(' ')}" fill="none" stroke="${COLOUR.bands[2]}" stroke-width="1.5"/>`,
    ...points.map(({ cx, cy, name, isOnPath }) =>
      [
        `<circle cx="${fixed(cx)}" cy="${fixed(cy)}" r="4" fill="${isOnPath ? COLOUR.bands[2] : COLOUR.miss}"/>`,
        text(cx, cy - 9, name, 'middle', COLOUR.ink),
      ].join(''),
    ),
    ...[least, most]
      .filter(Number.isFinite)
      .map((value) => text(x(value), PLOT.bottom + 16, value.toFixed(4), 'middle', COLOUR.ink)),
    text((PLOT.left + PLOT.right) / 2, HEIGHT - 8, costs, 'middle', COLOUR.ink),
  ]);
}

export interface Drawing {
  readonly file: string;
  readonly title: string;
  readonly note: string;
}

/** A page that shows the drawings beside it. */
export function indexPage(title: string, drawings: readonly Drawing[]): string {
  const figures = drawings.map(
    ({ file, title, note }) =>
      `<figure><img src="${escaped(encodeURI(file))}" width="${WIDTH}" height="${HEIGHT}" loading="lazy" alt="${escaped(title)}"><figcaption>${escaped(title)}: ${escaped(note)}</figcaption></figure>`,
  );
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>${escaped(title)}</title>
<style>body{font:14px system-ui,sans-serif;margin:2rem}main{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0}</style></head>
<body><h1>${escaped(title)}</h1>
<main>
${figures.join('\n')}
</main></body></html>
`;
}

const SLUG_MAX = 80;

/** A file name that is safe everywhere: the number keeps it unique, whatever the name was. */
export function safeFileName(number: number, name: string): string {
  const slug = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
    .slice(0, SLUG_MAX);
  return `${String(number).padStart(5, '0')}${slug === '' ? '' : `-${slug}`}.svg`;
}

function drawing(title: string, subtitle: string, parts: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" font-family="system-ui, sans-serif" font-size="11">
<title>${escaped(title)}</title>
<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>
<text x="${PLOT.left}" y="18" font-size="13" font-weight="600" fill="${COLOUR.ink}">${escaped(shortened(title))}</text>
${text(PLOT.left, 34, subtitle, 'start', COLOUR.ink)}
${parts.filter((part) => part !== '').join('\n')}
</svg>
`;
}

const TITLE_MAX = 80;
const shortened = (title: string): string =>
  title.length <= TITLE_MAX ? title : `${title.slice(0, TITLE_MAX - 1)}…`;

function scale(fromLow: number, fromHigh: number, toLow: number, toHigh: number): (value: number) => number {
  const width = fromHigh - fromLow;
  return (value) => (width > 0 ? toLow + ((value - fromLow) / width) * (toHigh - toLow) : toLow);
}

function line(
  x1: number,
  y1: number,
  x2: number,
  y2: number,
  stroke: string,
  width: number,
  dashes = '',
): string {
  const dash = dashes === '' ? '' : ` stroke-dasharray="${dashes}"`;
  return `<line x1="${fixed(x1)}" y1="${fixed(y1)}" x2="${fixed(x2)}" y2="${fixed(y2)}" stroke="${stroke}" stroke-width="${width}"${dash}/>`;
}

function text(x: number, y: number, content: string, anchor: string, fill: string): string {
  return `<text x="${fixed(x)}" y="${fixed(y)}" text-anchor="${anchor}" fill="${fill}">${escaped(content)}</text>`;
}

function horizontal(y: number, label: string): string {
  return `${line(PLOT.left, y, PLOT.right, y, '#e4e7eb', 1)}${text(PLOT.left - 6, y + 4, label, 'end', COLOUR.ink)}`;
}

const compute = (flop: number | undefined): string =>
  flop === undefined ? '' : flop.toExponential(2).replace('e+', 'e');
