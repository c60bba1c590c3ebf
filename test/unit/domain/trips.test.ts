/** Operating characteristics by simulation: the policy's own rules on bags in which nothing, or something, happens. */
import { beforeAll, describe, expect, it } from 'vitest';
import { type BacktestSeries, readSeries } from '../../../src/domain/forecast/backtest-series.ts';
import { type Policy, RuleSchema } from '../../../src/domain/policy/schema.ts';
import {
  BAG_KINDS,
  BAG_SIZE,
  type Bag,
  type BagKind,
  BENIGN_BELOW,
  BENIGN_KINDS,
  bagPolicy,
  CRITICAL,
  DANGEROUS_KINDS,
  drawBag,
  isBenignKind,
  skillAtLevel,
} from '../../../src/domain/policy/trial-bags.ts';
import { realBags } from '../../../src/domain/policy/trial-curves.ts';
import { runBag } from '../../../src/domain/policy/trial-run.ts';
import {
  summary,
  type Trial,
  type TrialOptions,
  TripCharacteristicsSchema,
  trials,
} from '../../../src/domain/policy/trips.ts';
import { createRandom } from '../../../src/domain/statistics/random.ts';
import { asJson, digest, evaluation, policyOf } from './run-life.ts';

const stage = 'pre-mitigation';
const NEVER = { id: 'never', kind: 'jump', stage, above: 4, then: ['halt'] };
const ALWAYS = { id: 'always', kind: 'level', stage, atLeast: 'low', then: ['halt'] };
const HIGH = { id: 'high', kind: 'level', stage, atLeast: 'high', then: ['halt'] };
const UPPER = { id: 'upper', kind: 'level', basis: 'upper', stage, atLeast: 'high', then: ['hold'] };

/** Rules that no policy check would let pass are what the extremes need. */
const ruled = (rules: readonly object[], policy = policyOf()): Policy => ({
  ...policy,
  rules: rules.map((rule) => RuleSchema.parse(rule)),
});

const OPTIONS: TrialOptions = { seed: 1, bagsPerKind: 4, digest };

const tried = (policy: Policy, options: Partial<TrialOptions> = {}): Trial[] =>
  [...trials(policy, { ...OPTIONS, ...options })].filter((trial) => trial !== null);

function measured(policy: Policy, options: Partial<TrialOptions> = {}) {
  const all = { ...OPTIONS, ...options };
  const trips = summary(tried(policy, all), policy, all);
  expect(TripCharacteristicsSchema.parse(asJson(trips))).toEqual(trips);
  return trips;
}

describe('a policy that cannot trip', () => {
  it('never trips, misses every crossing, and claims no certainty of it', () => {
    const { benign, crossings, rules } = measured(ruled([NEVER]));
    for (const { falseHolds, falseHalts } of benign) {
      expect([falseHolds?.count ?? 0, falseHalts?.count ?? 0]).toEqual([0, 0]);
    }
    expect(benign.find(({ kind }) => kind === 'all')?.falseHalts?.high).toBeGreaterThan(0);
    for (const { halted } of crossings) expect(halted.never).toMatchObject({ count: 4, of: 4, share: 1 });
    expect(rules).toMatchObject([{ rule: 'never', fired: { count: 0 }, stopped: { count: 0 } }]);
  });
});

describe('a policy whose threshold lies below chance', () => {
  it('trips at every checkpoint, long before every crossing', () => {
    const { benign, crossings, rules, checkpoints } = measured(ruled([ALWAYS]));
    const all = benign.find(({ kind }) => kind === 'all');
    expect(all?.falseHalts).toMatchObject({ share: 1, high: 1 });
    expect(all?.falseHalts?.low).toBeLessThan(1);
    expect(all?.falseHolds?.count).toBe(0);
    for (const { halted, stoppedBefore } of crossings) {
      expect(halted.before?.share).toBe(1);
      expect(stoppedBefore?.share).toBe(1);
    }
    expect(rules[0]).toMatchObject({ rule: 'always', fired: { share: 1, of: all?.falseHalts?.of } });
    expect(checkpoints).toBeGreaterThan(24 * 6 - 1);
  });
});

describe('a rule on the level alone', () => {
  it('halts a crossing of Critical when it is there, or at High on the way', () => {
    const [rising, jumping] = measured(ruled([HIGH]), { bagsPerKind: 10 }).crossings;
    expect(rising?.halted.never?.count).toBe(0);
    // A jump shows nothing before it is there.
    expect(jumping?.halted).toMatchObject({ before: { count: 0 }, at: { count: 10 } });
    const { ahead, halted } = rising ?? {};
    expect((ahead?.one ?? 0) + (ahead?.two ?? 0) + (ahead?.more ?? 0)).toBe(halted?.before?.count);
  });

  it('a hold is no halt, and counts as stopped', () => {
    const { crossings } = measured(ruled([{ ...ALWAYS, then: ['hold'] }]));
    for (const { halted, stoppedBefore } of crossings) {
      expect(halted.never?.share).toBe(1);
      expect(stoppedBefore?.share).toBe(1);
    }
  });

  it('a wider margin, and fewer samples, trip more often', () => {
    const holds = (changes: object): number => {
      const evaluations = [
        evaluation('ctf', 'cyber', asJson(changes)),
        evaluation('labs', 'bio', asJson(changes)),
      ];
      const { benign } = measured(ruled([HIGH, UPPER], policyOf({ evaluations })), { bagsPerKind: 6 });
      const all = benign.find(({ kind }) => kind === 'all');
      return (all?.falseHolds?.count ?? 0) + (all?.falseHalts?.count ?? 0);
    };
    const plain = holds({});
    const score = { metric: 'accuracy', kind: 'proportion', chance: 0, best: 1, minSamples: 30 };
    expect(holds({ elicitationMargin: 0.6 })).toBeGreaterThan(plain);
    expect(holds({ score })).toBeGreaterThan(plain);
  });

  it('top-ups are drawn, and lift holds of noise', () => {
    const holds = (topUps: number): number => {
      const evaluations = [evaluation('ctf', 'cyber', { topUps }), evaluation('labs', 'bio', { topUps })];
      const rules = [{ ...UPPER, atLeast: 2.6 }];
      const { benign } = measured(ruled(rules, policyOf({ evaluations })), { bagsPerKind: 6 });
      return benign.find(({ kind }) => kind === 'all')?.falseHolds?.count ?? 0;
    };
    expect(holds(5)).toBeLessThan(holds(0));
  });

  it('rules of another stage or category are not asked', () => {
    const post = { ...ALWAYS, id: 'post', stage: 'post-mitigation' };
    const policy = ruled([HIGH, post, { ...ALWAYS, id: 'bio', categories: ['bio'] }]);
    expect(bagPolicy(policy, 'cyber').rules.map(({ id }) => id)).toEqual(['high']);
    const { byCategory, rules } = measured(policy);
    expect(byCategory.map(({ category, falseHalts }) => [category, (falseHalts?.share ?? 0) === 1])).toEqual([
      ['cyber', false],
      ['bio', true],
    ]);
    expect(rules.map(({ rule }) => rule)).toEqual(['high', 'bio']);
  });
});

describe('one seed draws everything', () => {
  const policy = ruled([HIGH, UPPER]);

  it('the same seed gives the same figures, another one others', () => {
    expect(measured(policy)).toEqual(measured(policy));
    expect(tried(policy, { seed: 2 })).not.toEqual(tried(policy));
  });

  it('more bags change no earlier one', () => {
    const flat = (bagsPerKind: number): Trial[] =>
      tried(policy, { bagsPerKind }).filter(({ bag }) => bag.kind === 'flat');
    expect(flat(5).slice(0, 2)).toEqual(flat(2));
  });
});

describe('a bag', () => {
  const policy = policyOf({
    evaluations: [
      evaluation('ctf', 'cyber', { elicitationMargin: 0.3 }),
      evaluation('error-rate', 'cyber', {
        score: { metric: 'errors', kind: 'proportion', chance: 1, best: 0, minSamples: 100 },
        levels: { medium: 0.8, high: 0.5, critical: 0.2 },
      }),
      evaluation('points', 'bio', {
        score: { metric: 'points', kind: 'mean', chance: 0, best: 10, range: [0, 10], minSamples: 50 },
        levels: { medium: 3, high: 6, critical: 9 },
      }),
    ],
  });

  it("has eight of the category's own evaluations, with their maps, margins and shared confidence", () => {
    const cyber = bagPolicy(policy, 'cyber');
    expect(cyber.evaluations).toHaveLength(BAG_SIZE);
    expect(cyber.evaluations.map(({ id }) => id).slice(0, 3)).toEqual(['ctf-1', 'error-rate-2', 'ctf-3']);
    expect(cyber.evaluations[2]).toMatchObject({ elicitationMargin: 0.3, levels: { high: 0.5 } });
    expect(cyber.categories.map(({ id }) => id)).toEqual(['cyber']);
  });

  it.each(BAG_KINDS)('that is %s is so under every map, rising or falling, share or mean', (kind) => {
    for (const category of ['cyber', 'bio']) {
      const own = bagPolicy(policy, category);
      for (let i = 0; i < 20; i += 1) expectKind(kind, own, drawBag(kind, own, createRandom(i), 'bag'));
    }
  });

  function expectKind(kind: BagKind, own: Policy, bag: Bag | null): void {
    if (bag === null) throw new Error(`no ${kind} bag`);
    const reaching = (level: number, slack: number): number[] =>
      bag.members.flatMap(({ truth }, place) => {
        const spec = own.evaluations[place];
        const limit = spec === undefined ? Number.NaN : skillAtLevel(level, spec);
        return truth.some((skill) => skill >= limit + slack) ? [place] : [];
      });
    // Noise beyond the sampling error is no ability: up to 0.08, and five times that is not seen.
    if (isBenignKind(kind)) {
      expect(reaching(BENIGN_BELOW, kind === 'noisy' ? 0.4 : 0.03)).toEqual([]);
      expect(bag.crossing).toBeNull();
    } else {
      expect(reaching(CRITICAL, -0.02)).toHaveLength(1);
      expect(reaching(BENIGN_BELOW, 0.03)).toHaveLength(1);
      expect(bag.crossing).toBeGreaterThan(0);
    }
  }

  it.each(['cyber', 'bio'])(
    'of %s gives evidence that is conclusive: nothing is inconclusive',
    (category) => {
      const own = bagPolicy(ruled([HIGH], policy), category);
      const bag = drawBag('gradual', own, createRandom(3), 'bag');
      if (bag === null) throw new Error('no bag');
      const checkpoints = runBag(bag, createRandom(4), digest);
      expect(checkpoints).toHaveLength(bag.checkpoints.length);
      expect(checkpoints.flatMap(({ findings }) => findings).map(({ kind }) => kind)).not.toContain(
        'inconclusive',
      );
    },
  );

  it('is measured on the scale of each evaluation: below Medium nothing reaches High', () => {
    const { benign } = measured(ruled([HIGH], policy), { bagsPerKind: 8 });
    const quiet = benign.find(({ kind }) => kind === 'below-medium');
    expect(quiet?.falseHalts?.of).toBeGreaterThan(100);
    expect(quiet?.falseHalts?.count).toBe(0);
  });

  it('is left out where no curve can do what its kind says', () => {
    const unreachable = policyOf({
      evaluations: ['cyber', 'bio'].map((category) =>
        evaluation(category, category, { levels: { medium: 0.2, high: 0.5, critical: 0.9999 } }),
      ),
    });
    const { crossings, benign } = measured(unreachable, { bagsPerKind: 2 });
    expect(crossings.map(({ bags }) => bags)).toEqual([0, 0]);
    expect(crossings[0]?.halted.never).toBeNull();
    expect(benign.find(({ kind }) => kind === 'all')?.bags).toBe(8);
  });
});

describe('real curves', () => {
  const policy = ruled([HIGH, UPPER]);
  let curves: BacktestSeries[];
  beforeAll(() => {
    const shapes: [string, (i: number) => number][] = [
      ['flat', () => 0.1],
      ['gradual', (i) => 0.05 + 0.015 * i],
      ['rising', (i) => Math.min(0.95, 0.1 * i + 0.05)],
      ['jumping', (i) => (i < 5 ? 0.05 : 0.9)],
      ['in between', (i) => 0.06 * i],
    ];
    curves = shapes.flatMap(([source, skill]) =>
      Array.from({ length: 4 }, (_, k) => {
        const points = Array.from({ length: 10 }, (_, i) => ({ flop: 1e20 * 2 ** i, value: skill(i) }));
        const read = readSeries({ series_id: `${source}-${k}`, source, model: `m${k}`, points }, k);
        if (!read.ok) throw new Error(read.problems.join());
        return read.series;
      }),
    );
  });

  it('are sorted by what they do under the map of the policy', () => {
    const draw = realBags(curves);
    const own = bagPolicy(policy, 'cyber');
    for (const kind of ['flat', 'gradual', ...DANGEROUS_KINDS] as const) {
      const bag = draw(kind, own, createRandom(5));
      expect(bag?.cluster).toMatch(new RegExp(`^${kind}/m\\d$`));
      expect(bag?.checkpoints).toHaveLength(10);
    }
    expect(draw('rising', own, createRandom(5))?.crossing).toBe(8);
    expect(draw('jumping', own, createRandom(5))?.crossing).toBe(5);
  });

  it('hold no bag of a kind that they do not have, and that is told by a count of none', () => {
    const trips = measured(policy, { real: realBags(curves) });
    expect(trips.curves).toBe('real');
    expect(trips.benign.filter(({ bags }) => bags === 0).map(({ kind }) => kind)).toEqual([
      'reversing',
      'noisy',
      'medium',
    ]);
    expect(trips.crossings.map(({ bags }) => bags)).toEqual([4, 4]);
    expect(trips.crossings[1]?.halted.at).toMatchObject({ count: 4, of: 4 });
    expect(BENIGN_KINDS).toContain('reversing');
  });

  it('few as they are, say nothing where there are none', () => {
    expect(measured(policy, { real: realBags([]) })).toMatchObject({ bags: 0, checkpoints: 0 });
  });
});
