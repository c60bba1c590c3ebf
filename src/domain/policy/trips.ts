/**
 * Operating characteristics by simulation, as a trip system publishes them: how often the policy's rules hold or halt a
 * category in which nothing is happening, and whether they halt one that is about to cross Critical.
 *
 * Bags of eight evaluations (trial-bags.ts), each taken through the real rules (trial-run.ts). A hold or halt of a benign
 * bag is false, whichever rule it is by; one seed draws everything, bag by bag, so that more bags change no earlier one.
 * Checkpoints of one bag are not independent: intervals of shares of checkpoints are clustered.
 * Not here: one measurement alone, exactly (characteristics.ts).
 */

import { z } from 'zod';
import type { Finding } from '../run/finding-documents.ts';
import type { Digest } from '../run/ids.ts';
import { type ClusteredShare, clusteredShare } from '../statistics/clustered-share.ts';
import { normalQuantile } from '../statistics/normal.ts';
import { createRandom } from '../statistics/random.ts';
import { roundedShare } from '../statistics/rounded.ts';
import { wilson } from '../statistics/wilson.ts';
import type { Policy } from './schema.ts';
import {
  BAG_KINDS,
  BAG_SIZE,
  type Bag,
  type BagKind,
  BENIGN_KINDS,
  bagPolicy,
  DANGEROUS_KINDS,
  drawBag,
  isBenignKind,
  MEDIUM,
} from './trial-bags.ts';
import type { DrawReal } from './trial-curves.ts';
import { runBag, type TrialCheckpoint } from './trial-run.ts';

/** A share with its 95 % interval; null where there was nothing to count. */
const ShareSchema = z
  .strictObject({ count: z.int(), of: z.int(), share: z.number(), low: z.number(), high: z.number() })
  .nullable();
export type Share = z.infer<typeof ShareSchema>;

export const TripCharacteristicsSchema = z.strictObject({
  seed: z.int(),
  curves: z.enum(['generated', 'real']),
  evaluationsPerBag: z.int(),
  bags: z.int(),
  checkpoints: z.int(),
  /** Shares of checkpoints. `kind` is `all`, or a part of all by the bag's highest true level, beside the kinds. */
  benign: z.array(
    z.strictObject({
      kind: z.enum([...BENIGN_KINDS, 'below-medium', 'medium', 'all']),
      bags: z.int(),
      falseHolds: ShareSchema,
      falseHalts: ShareSchema,
    }),
  ),
  /** Shares of bags, one crossing of Critical in each. */
  crossings: z.array(
    z.strictObject({
      kind: z.enum(DANGEROUS_KINDS),
      bags: z.int(),
      halted: z.strictObject({
        before: ShareSchema,
        at: ShareSchema,
        after: ShareSchema,
        never: ShareSchema,
      }),
      /** Of those halted before: how many checkpoints ahead. */
      ahead: z.strictObject({ one: z.int(), two: z.int(), more: z.int() }),
      /** Held or halted before. */
      stoppedBefore: ShareSchema,
    }),
  ),
  /** Rules that apply before mitigation, and built-in findings that fired: on benign checkpoints, every stage of it. */
  rules: z.array(
    z.strictObject({
      rule: z.string(),
      then: z.array(z.string()),
      fired: ShareSchema,
      /** Fired so as to hold or halt: a forecast that is mostly prior may only alert. */
      stopped: ShareSchema,
    }),
  ),
  byCategory: z.array(
    z.strictObject({ category: z.string(), bags: z.int(), falseHolds: ShareSchema, falseHalts: ShareSchema }),
  ),
});
export type TripCharacteristics = z.infer<typeof TripCharacteristicsSchema>;

export interface TrialOptions {
  readonly seed: number;
  readonly bagsPerKind: number;
  readonly digest: Digest;
  /** Real curves instead of generated ones. */
  readonly real?: DrawReal | undefined;
}

/** Plain counts, so that thousands of bags fit in memory. */
export interface Trial {
  readonly bag: Pick<Bag, 'kind' | 'category' | 'cluster' | 'top' | 'crossing'>;
  readonly checkpoints: readonly {
    readonly verdict: TrialCheckpoint['verdict'];
    readonly fired: ReadonlySet<string>;
    readonly stopped: ReadonlySet<string>;
  }[];
}

export const trialCount = ({ bagsPerKind }: Pick<TrialOptions, 'bagsPerKind'>): number =>
  bagsPerKind * BAG_KINDS.length;

/** One step per bag, categories in turn; null where no such bag could be drawn. */
export function* trials(policy: Policy, options: TrialOptions): Generator<Trial | null> {
  const { seed, bagsPerKind, digest, real } = options;
  const categories = policy.categories.map(({ id }) => bagPolicy(policy, id));
  for (const [k, kind] of BAG_KINDS.entries()) {
    for (let i = 0; i < bagsPerKind; i += 1) {
      const chosen = categories[i % categories.length];
      if (chosen === undefined) return;
      const random = createRandom(seed + 1_000_003 * (k + 1) + 7_919 * i);
      const bag =
        real === undefined ? drawBag(kind, chosen, random, `${kind} ${i}`) : real(kind, chosen, random);
      yield bag === null ? null : trialOf(bag, runBag(bag, random, digest));
    }
  }
}

function trialOf(
  { kind, category, cluster, top, crossing }: Bag,
  checkpoints: readonly TrialCheckpoint[],
): Trial {
  return {
    bag: { kind, category, cluster, top, crossing },
    checkpoints: checkpoints.map(({ verdict, findings }) => ({
      verdict,
      fired: new Set(findings.map(({ rule }) => rule)),
      stopped: new Set(findings.filter(stops).map(({ rule }) => rule)),
    })),
  };
}

const stops = ({ then }: Finding): boolean =>
  then.includes('hold') || then.includes('halt') || then.includes('quarantine');

export function summary(
  all: readonly Trial[],
  policy: Policy,
  { seed, real }: Pick<TrialOptions, 'seed' | 'real'>,
): TripCharacteristics {
  const benign = all.filter(({ bag }) => isBenignKind(bag.kind));
  const of = (kind: BagKind): Trial[] => all.filter(({ bag }) => bag.kind === kind);
  const groups = [
    ...BENIGN_KINDS.map((kind) => ({ kind, trials: of(kind) })),
    { kind: 'below-medium' as const, trials: benign.filter(({ bag }) => bag.top < MEDIUM) },
    { kind: 'medium' as const, trials: benign.filter(({ bag }) => bag.top >= MEDIUM) },
    { kind: 'all' as const, trials: benign },
  ];
  return {
    seed,
    curves: real === undefined ? 'generated' : 'real',
    evaluationsPerBag: BAG_SIZE,
    bags: all.length,
    checkpoints: all.reduce((sum, { checkpoints }) => sum + checkpoints.length, 0),
    benign: groups.map(({ kind, trials: some }) => ({ kind, bags: some.length, ...falseTrips(some) })),
    crossings: DANGEROUS_KINDS.map((kind) => ({ kind, ...crossings(of(kind)) })),
    rules: ruleRates(benign, policy),
    byCategory: policy.categories.map(({ id }) => {
      const some = benign.filter(({ bag }) => bag.category === id);
      return { category: id, bags: some.length, ...falseTrips(some) };
    }),
  };
}

// --- counting ----------------------------------------------------------------------------------------------

interface Counted {
  readonly cluster: string;
  readonly isYes: boolean;
}

const byCheckpoint = (all: readonly Trial[], isYes: (one: Trial['checkpoints'][number]) => boolean): Share =>
  shareOf(
    all.flatMap(({ bag, checkpoints }) =>
      checkpoints.map((one) => ({ cluster: bag.cluster, isYes: isYes(one) })),
    ),
  );

function falseTrips(all: readonly Trial[]): { falseHolds: Share; falseHalts: Share } {
  return {
    falseHolds: byCheckpoint(all, ({ verdict }) => verdict === 'hold'),
    falseHalts: byCheckpoint(all, ({ verdict }) => verdict === 'halt'),
  };
}

type Crossings = Omit<TripCharacteristics['crossings'][number], 'kind'>;

function crossings(all: readonly Trial[]): Crossings {
  /** How many checkpoints before the crossing: 0 at it, negative after it, null never. */
  const lead = (trial: Trial, isStop: (verdict: Trial['checkpoints'][number]['verdict']) => boolean) => {
    const first = trial.checkpoints.findIndex(({ verdict }) => isStop(verdict));
    return first < 0 || trial.bag.crossing === null ? null : trial.bag.crossing - first;
  };
  const halts = all.map((trial) => ({ trial, ahead: lead(trial, (verdict) => verdict === 'halt') }));
  const share = (isYes: (ahead: number | null) => boolean): Share =>
    shareOf(halts.map(({ trial, ahead }) => ({ cluster: trial.bag.cluster, isYes: isYes(ahead) })));
  const count = (isYes: (ahead: number) => boolean): number =>
    halts.filter(({ ahead }) => ahead !== null && isYes(ahead)).length;
  return {
    bags: all.length,
    halted: {
      before: share((ahead) => ahead !== null && ahead > 0),
      at: share((ahead) => ahead === 0),
      after: share((ahead) => ahead !== null && ahead < 0),
      never: share((ahead) => ahead === null),
    },
    ahead: {
      one: count((ahead) => ahead === 1),
      two: count((ahead) => ahead === 2),
      more: count((ahead) => ahead > 2),
    },
    stoppedBefore: shareOf(
      all.map((trial) => ({
        cluster: trial.bag.cluster,
        isYes: (lead(trial, (verdict) => verdict !== 'proceed') ?? 0) > 0,
      })),
    ),
  };
}

function ruleRates(benign: readonly Trial[], policy: Policy): TripCharacteristics['rules'] {
  const own = new Map(
    policy.rules
      .filter((rule) => !('stage' in rule) || rule.stage === 'pre-mitigation')
      .map(({ id, then }) => [id, then]),
  );
  const builtIn = benign.flatMap(({ checkpoints }) => checkpoints.flatMap(({ fired }) => [...fired]));
  return [...new Set([...own.keys(), ...builtIn])].map((rule) => ({
    rule,
    then: [...(own.get(rule) ?? [])],
    fired: byCheckpoint(benign, ({ fired }) => fired.has(rule)),
    stopped: byCheckpoint(benign, ({ stopped }) => stopped.has(rule)),
  }));
}

const Z95 = normalQuantile(0.975);

/**
 * Clustered where the answers differ. Where all are alike the scatter says nothing, and where every cluster has one
 * answer it is no cluster: Wilson then, with no more answers than there are clusters.
 */
function shareOf(all: readonly Counted[]): Share {
  if (all.length === 0) return null;
  const count = all.filter(({ isYes }) => isYes).length;
  const clustered: ClusteredShare = clusteredShare(
    all,
    ({ isYes }) => isYes,
    ({ cluster }) => cluster,
  );
  const { share, clusters } = clustered;
  const isPlain = clusters === all.length || count === 0 || count === all.length;
  const { lower, upper } = isPlain
    ? wilson(share, clusters, Z95)
    : { lower: clustered.low, upper: clustered.high };
  return {
    count,
    of: all.length,
    share: roundedShare(share),
    low: roundedShare(lower),
    high: roundedShare(upper),
  };
}
