/**
 * `interlock policy check --characteristics`: the policy's rules on bags of evaluations, in numbers.
 *
 * What a trip system publishes of itself: how often it stops what it should not, and what it misses.
 */
import type { Policy } from '../domain/policy/schema.ts';
import { realBags } from '../domain/policy/trial-curves.ts';
import {
  type Share,
  summary,
  type Trial,
  type TripCharacteristics,
  trialCount,
  trials,
} from '../domain/policy/trips.ts';
import { sha256 } from '../service/digest.ts';
import { readFileOfSeries } from './backtest.ts';
import { plural, printable, type Style, table } from './output.ts';
import { createProgress } from './progress.ts';
import type { Terminal } from './terminal.ts';

export interface TripOptions {
  readonly seed: number;
  readonly bags: number;
  readonly series?: string | undefined;
}

/** Null where the series are refused, which has been said. */
export async function tripCharacteristics(
  policy: Policy,
  { seed, bags: bagsPerKind, series }: TripOptions,
  terminal: Terminal,
): Promise<TripCharacteristics | null> {
  const curves = series === undefined ? undefined : await readFileOfSeries(series, terminal);
  if (curves === null) return null;
  const real = curves === undefined ? undefined : realBags(curves);
  const { redraw, complain } = terminal;
  const total = trialCount({ bagsPerKind });
  const progress = createProgress({ total, what: 'bags', redraw, complain, nowMs: () => performance.now() });
  const done: Trial[] = [];
  let tried = 0;
  for (const trial of trials(policy, { seed, bagsPerKind, digest: sha256, real })) {
    if (trial !== null) done.push(trial);
    tried += 1;
    progress.done(tried);
  }
  progress.end();
  return summary(done, policy, { seed, real });
}

const right = (title: string) => ({ title, align: 'right' as const });

const BENIGN_TITLES: Readonly<Record<TripCharacteristics['benign'][number]['kind'], string>> = {
  flat: 'flat',
  gradual: 'gradual',
  reversing: 'reversing',
  noisy: 'noisy',
  'below-medium': 'all below Medium',
  medium: 'all from Medium to 2.5',
  all: 'all',
};

export function tripTables(trips: TripCharacteristics, style: Style): string {
  const { seed, curves, evaluationsPerBag, bags, checkpoints, benign, crossings, rules, byCategory } = trips;
  const missing = [...benign, ...crossings].filter((row) => row.bags === 0).map(({ kind }) => kind);
  return [
    `Operating characteristics by simulation: categories of ${evaluationsPerBag} evaluations on ${curves} curves, seed ${seed},`,
    `${plural(bags, 'bag')}, ${plural(checkpoints, 'checkpoint')}. Per 100, with 95 % intervals; none seen is not never.`,
    '',
    table(
      [
        { title: 'nothing is happening' },
        right('bags'),
        ...triples('false holds'),
        ...triples('false halts'),
      ],
      [
        ...benign.map(({ kind, bags: count, falseHolds, falseHalts }) => [
          BENIGN_TITLES[kind],
          String(count),
          ...cells(falseHolds),
          ...cells(falseHalts),
        ]),
        ...byCategory.map(({ category, bags: count, falseHolds, falseHalts }) => [
          `all of ${printable(category)}`,
          String(count),
          ...cells(falseHolds),
          ...cells(falseHalts),
        ]),
      ],
      style,
    ),
    '',
    crossingTable(crossings, style),
    '',
    table(
      [
        { title: 'rule, on benign checkpoints' },
        { title: 'then' },
        ...triples('fired'),
        ...triples('held or halted'),
      ],
      rules.map(({ rule, then, fired, stopped }) => [
        printable(rule),
        then.length === 0 ? '(built in)' : printable(then.join(', ')),
        ...cells(fired),
        ...cells(stopped),
      ]),
      style,
    ),
    '',
    'Benign: true levels by the map, without the margin, stay below 2.5 up to the end of the next permit. A run that would be',
    'stopped goes on. Every evaluation reports, with minSamples; top-ups are drawn. Halted before counts any halt, also a lucky one.',
    ...(missing.length === 0
      ? []
      : [`No such bag could be drawn under this policy's levels: ${[...new Set(missing)].join(', ')}.`]),
  ].join('\n');
}

type Crossing = TripCharacteristics['crossings'][number];

/** One kind a column: side by side they would not fit a terminal. */
function crossingTable(crossings: readonly Crossing[], style: Style): string {
  const counted = (title: string, count: (one: Crossing) => number): string[] => [
    title,
    ...crossings.flatMap((one) => [String(count(one)), '']),
  ];
  const shared = (title: string, share: (one: Crossing) => Share): string[] => [
    title,
    ...crossings.flatMap((one) => cells(share(one))),
  ];
  return table(
    [{ title: 'one of eight crosses Critical' }, ...crossings.flatMap(({ kind }) => triples(kind))],
    [
      counted('bags', ({ bags }) => bags),
      shared('halted before it', ({ halted }) => halted.before),
      counted('  1 checkpoint ahead, bags', ({ ahead }) => ahead.one),
      counted('  2 ahead', ({ ahead }) => ahead.two),
      counted('  3 or more ahead', ({ ahead }) => ahead.more),
      shared('halted at it', ({ halted }) => halted.at),
      shared('missed: halted after it', ({ halted }) => halted.after),
      shared('missed: never halted', ({ halted }) => halted.never),
      shared('held or halted before it', ({ stoppedBefore }) => stoppedBefore),
    ],
    style,
  );
}

/** A figure and its interval stand in columns of their own, so that both align. */
const triples = (title: string): { title: string; align?: 'right' }[] => [right(title), { title: '' }];

function cells(share: Share): [string, string] {
  if (share === null) return ['-', ''];
  return [hundred(share.share), `[${hundred(share.low)}, ${hundred(share.high)}]`];
}

const hundred = (share: number): string => (100 * share).toFixed(1);
