/** Policies drawn by the seed, wide, and passed through the real policy check: what it refuses is drawn again. */
import type { JsonObject } from '../../src/domain/canonical-json.ts';
import { checkPolicy } from '../../src/domain/policy/check.ts';
import type { Policy } from '../../src/domain/policy/schema.ts';
import { expertPolicy } from './experts.ts';
import { featurePolicy, MINUTES } from './feature-policy.ts';
import {
  CRITICAL_RULE,
  forecastRule,
  GROUPS,
  governance,
  jumpRule,
  LEADING_METRIC,
  maybe,
  OVERDUE_RULE,
  silenceRule,
} from './policy-parts.ts';
import type { Random } from './random.ts';
import { riskPolicy } from './risk-policy.ts';
import { tierPolicy } from './tier-policy.ts';

function evaluation(random: Random, category: string, i: number): JsonObject {
  const falling = random.chance(0.15);
  const post = i === 1 && random.chance(0.4);
  const kind = random.pick(['proportion', 'proportion', 'mean']);
  const [chance, best] = falling ? [1, 0] : [random.pick([0, 0.1]), 1];
  const at = (share: number): number => Number((chance + (best - chance) * share).toFixed(3));
  const [medium, high, critical] = random.pick([
    [0.2, 0.5, 0.8],
    [0.15, 0.45, 0.8],
    [0.3, 0.4, 0.95],
  ]);
  return {
    id: `${category}-${i}`,
    category,
    stage: post ? 'post-mitigation' : 'pre-mitigation',
    required: i === 0 || random.chance(0.5),
    executor: {
      ...random.pick<JsonObject>([
        { kind: 'http', mode: 'callback' },
        { kind: 'command', command: ['evaluate'] },
      ]),
      timeout: random.pick(['40s', '1m', '2m']),
      attempts: 1 + random.below(3),
      backoff: random.pick(['1s', '10s']),
    },
    variants: random.pick<JsonObject[]>([
      [{ id: 'default' }],
      [{ id: 'default' }],
      [{ id: 'bare' }, { id: 'tools' }],
      [
        { id: 's1', pool: 'seeds' },
        { id: 's2', pool: 'seeds' },
      ],
    ]),
    score: { metric: 'accuracy', kind, chance, best, minSamples: 100 },
    levels: { medium: at(medium ?? 0.2), high: at(high ?? 0.5), critical: at(critical ?? 0.8) },
    elicitationMargin: random.pick([0, 0, 0.2, 0.5]),
    // By no draw: the seeds that are kept as regressions must go on telling their stories.
    ...(i % 2 === 0 ? { leads: { metric: LEADING_METRIC, chance, best } } : {}),
    topUps: random.below(3),
  };
}

interface Drawn {
  readonly consulted: ReturnType<typeof expertPolicy> | null;
  readonly limited: Random | null;
  readonly isolation: JsonObject;
  readonly tiered: Random | null;
  readonly featured: Random | null;
}

function draw(
  random: Random,
  name: string,
  { consulted, limited, isolation, tiered, featured }: Drawn,
): JsonObject {
  // Features make evaluations many: two categories of them take as long as three without.
  const most = featured === null ? 3 : 2;
  const categories = ['cyber', 'bio', 'talk'].slice(0, Math.min(most, random.pick([1, 1, 1, 2, 3])));
  const stage = 'pre-mitigation';
  const plain = {
    policy: name,
    title: 'Generated',
    cadence: {
      ratio: random.pick([1.5, 2, 2, 4]),
      grace: random.pick([0, 0.1, 0.1, 0.5]),
      firstCheckpointBy: random.pick([1e21, 3.7e21, 1e22]),
      maxInterval: random.pick(['6m', '1h', '2d']),
      scorecardDeadline: random.pick(['2m', '3m', '6m']),
      holdDeadline: random.pick(['2m', '5m', '15m']),
    },
    permit: {
      ttl: random.pick(['60s', '90s', '4m', '10m', '1h']),
      heartbeatInterval: random.pick(['10s', '30s', '1m']),
    },
    halt: { confirmWithin: random.pick(['30s', '2m', '5m']), ...isolation },
    categories: categories.map((id) => ({ id, title: id, confidence: random.pick([0.9, 0.95, 0.99]) })),
    evaluations: categories.flatMap((category) =>
      Array.from({ length: random.pick([1, 1, 1, 2]) }, (_, i) => evaluation(random, category, i)),
    ),
    rules: [
      {
        id: 'high',
        kind: 'level',
        stage,
        atLeast: random.pick<string | number>(['high', 'high', 2.6]),
        then: ['halt'],
      },
      ...maybe(random, 0.5, CRITICAL_RULE),
      ...maybe(random, 0.6, {
        id: 'upper',
        kind: 'level',
        stage,
        basis: 'upper',
        atLeast: 'high',
        then: [random.pick(['hold', 'hold', 'halt'])],
      }),
      ...maybe(random, 0.4, forecastRule(random)),
      ...maybe(random, 0.3, jumpRule(random)),
      ...maybe(random, 0.2, silenceRule(random)),
      ...maybe(random, 0.2, OVERDUE_RULE),
      ...(consulted?.rules ?? []),
    ],
    governance: governance(random),
    alerts: random.pick([[], ['oncall'], ['oncall'], ['oncall', 'chat']]),
    ...consulted?.more,
  };
  const features = featured === null ? null : featurePolicy(featured, { ...plain, categories }, MINUTES);
  const drawn =
    features === null
      ? plain
      : {
          ...plain,
          evaluations: features.evaluations,
          rules: [...plain.rules, ...features.rules],
          cadence: { ...plain.cadence, ...features.cadence },
        };
  const tiers = tiered === null ? null : tierPolicy(tiered, categories, GROUPS);
  const policy =
    tiers === null
      ? drawn
      : { ...drawn, evaluations: [...drawn.evaluations, ...tiers.evaluations], ...tiers.more };
  if (limited === null) return policy;
  const { cadence, more } = riskPolicy(limited, policy.cadence, GROUPS);
  return { ...policy, cadence: { ...policy.cadence, ...cadence }, ...more };
}

const DRAWS_MAX = 50;

/** What a story has beside what all have, each drawn from a stream of its own. */
export interface Parts {
  /** Who are asked, if anybody is. */
  readonly experts?: Random | null;
  /** It has a limit of risk. */
  readonly limited?: Random | null;
  readonly isolation?: JsonObject;
  /** Tripwires. */
  readonly tiered?: Random | null;
  readonly featured?: Random | null;
}

export function generatedPolicy(
  random: Random,
  name: string,
  { experts = null, limited = null, isolation = {}, tiered = null, featured = null }: Parts = {},
): Policy {
  const consulted = experts === null ? null : expertPolicy(experts);
  let problems = '';
  for (let i = 0; i < DRAWS_MAX; i += 1) {
    const check = checkPolicy(draw(random, name, { consulted, limited, isolation, tiered, featured }));
    if (check.ok) return check.policy;
    problems = JSON.stringify(check.problems);
  }
  throw new Error(`no policy passes the check: ${problems}`);
}
