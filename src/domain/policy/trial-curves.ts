/**
 * Bags of real curves: the leading one gives the kind, the compute of the checkpoints and the cluster; seven others go
 * along, point by point.
 *
 * A real curve is what was measured, so its noise is its own and none is drawn, but for top-ups. It is benign while it
 * stays below 2.5 on the policy's map and never steps by 0.15, up or down: gradual where it rises by 0.05 in all, else
 * flat. It rises, or jumps as forecast/shapes.ts has it, where it crosses Critical after its first point. Anything else is left out.
 */
import type { BacktestSeries } from '../forecast/backtest-series.ts';
import { isJumpSeries, isLargeRise } from '../forecast/shapes.ts';
import { levelOfScore } from '../levels.ts';
import { scoreSpecOf } from '../run/scorecard.ts';
import type { Random } from '../statistics/random.ts';
import type { Evaluation, Policy } from './schema.ts';
import {
  type Bag,
  type BagKind,
  type BagMember,
  BENIGN_BELOW,
  CRITICAL,
  isBenignKind,
  MEDIUM,
  skillAtLevel,
} from './trial-bags.ts';

const POINTS_MIN = 3;
const GRADUAL_RISE = 0.05;
/** A leading curve may be so long that too few can go with it. */
const DRAWS_MAX = 40;

/** Null where these curves hold no such bag under this policy's levels. */
export type DrawReal = (kind: BagKind, policy: Policy, random: Random) => Bag | null;

export function realBags(all: readonly BacktestSeries[]): DrawReal {
  const usable = all.filter(({ points }) => points.length >= POINTS_MIN);
  const known = new Map<string, Sorted>();
  const sorted = (spec: Evaluation): Sorted => {
    const limits = {
      quiet: skillAtLevel(MEDIUM, spec),
      benign: skillAtLevel(BENIGN_BELOW, spec),
      critical: skillAtLevel(CRITICAL, spec),
    };
    const key = JSON.stringify(limits);
    const found = known.get(key) ?? sort(usable, limits);
    known.set(key, found);
    return found;
  };
  return (kind, policy, random) => {
    for (let i = 0; i < DRAWS_MAX; i += 1) {
      const bag = drawOne(kind, policy, random, sorted);
      if (bag !== null) return bag;
    }
    return null;
  };
}

interface Limits {
  readonly quiet: number;
  readonly benign: number;
  readonly critical: number;
}

interface Sorted {
  readonly byKind: ReadonlyMap<BagKind, readonly BacktestSeries[]>;
  readonly benign: readonly BacktestSeries[];
  /** Benign, and below Medium throughout. */
  readonly quiet: readonly BacktestSeries[];
}

function sort(all: readonly BacktestSeries[], limits: Limits): Sorted {
  const byKind = new Map<BagKind, BacktestSeries[]>();
  const benign: BacktestSeries[] = [];
  for (const series of all) {
    const kind = kindOf(series, limits);
    if (kind === null) continue;
    const alike = byKind.get(kind);
    if (alike === undefined) byKind.set(kind, [series]);
    else alike.push(series);
    if (isBenignKind(kind)) benign.push(series);
  }
  const quiet = benign.filter(({ points }) => points.every(({ skill }) => skill < limits.quiet));
  return { byKind, benign, quiet };
}

function kindOf(series: BacktestSeries, { benign, critical }: Limits): BagKind | null {
  const skills = series.points.map(({ skill }) => skill);
  const crossing = skills.findIndex((skill) => skill >= critical);
  if (crossing > 0) return isJumpSeries(series) ? 'jumping' : 'rising';
  const isCalm = skills.every(
    (skill, i) => i === 0 || !isLargeRise(Math.abs(skill - (skills[i - 1] ?? skill))),
  );
  if (crossing === 0 || !isCalm || skills.some((skill) => skill >= benign)) return null;
  return (skills.at(-1) ?? 0) - (skills[0] ?? 0) >= GRADUAL_RISE ? 'gradual' : 'flat';
}

function drawOne(
  kind: BagKind,
  policy: Policy,
  random: Random,
  sorted: (spec: Evaluation) => Sorted,
): Bag | null {
  const [category] = policy.categories;
  const lead = random.below(policy.evaluations.length);
  const leading = policy.evaluations[lead];
  const leaders = leading === undefined ? [] : (sorted(leading).byKind.get(kind) ?? []);
  if (category === undefined || leading === undefined || leaders.length === 0) return null;
  const series = random.pick(leaders);
  const count = series.points.length;
  const members: { spec: Evaluation; series: BacktestSeries }[] = [];
  for (const [i, spec] of policy.evaluations.entries()) {
    const { benign, quiet } = sorted(spec);
    const others = (isBenignKind(kind) ? benign : quiet).filter(({ points }) => points.length >= count);
    if (i !== lead && others.length === 0) return null;
    members.push({ spec, series: i === lead ? series : random.pick(others) });
  }
  const critical = skillAtLevel(CRITICAL, leading);
  return {
    kind,
    policy,
    category: category.id,
    cluster: `${series.source ?? ''}/${series.model ?? series.id}`,
    checkpoints: series.points.map(({ log2Compute }) => log2Compute),
    members: members.map((member) => memberOf(member.series, count)),
    top: Math.max(...members.map((member) => highest(member.series, count, member.spec))),
    crossing: isBenignKind(kind) ? null : series.points.findIndex(({ skill }) => skill >= critical),
  };
}

function memberOf({ points }: BacktestSeries, count: number): BagMember {
  const taken = points.slice(0, count);
  return {
    truth: taken.map(({ skill }) => skill),
    measured: taken.map(({ skill }) => ({ skill })),
  };
}

function highest({ points }: BacktestSeries, count: number, spec: Evaluation): number {
  const map = scoreSpecOf(spec);
  const skill = Math.max(...points.slice(0, count).map((point) => point.skill));
  return levelOfScore(map.chance + skill * (map.best - map.chance), map);
}
