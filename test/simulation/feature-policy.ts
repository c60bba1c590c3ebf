/**
 * What evaluation teams ask of a watchdog, in generated policies and in combination: replicas, budgets, closing in, changed
 * protocols, a matrix of variants, benign controls, refusals, compound rules, training stages and breakthroughs, outside
 * evaluators, labels that nobody may have. A share of all seeds has them, drawn from a stream of its own.
 */
import type { JsonObject } from '../../src/domain/canonical-json.ts';
import { mix } from './faults.ts';
import { maybe } from './policy-parts.ts';
import { createRandom, type Random } from './random.ts';

/** Chosen so that no regression from before there were features has them: each goes on telling the story that failed. */
const STREAM = 7_042;
const SHARE = 1 / 5;

export function featuresOf(seed: number): Random | null {
  const random = createRandom(mix(seed, STREAM));
  return random.chance(SHARE) ? random : null;
}

export const PARTY = 'institute';
export const LABEL = 'gpu';
export const TRAINING_STAGES = ['pretraining', 'rl', 'fine-tuning'];

/** How long things take in a story: minutes where everything is simulated, hours on a walk. */
export interface Spans {
  readonly timeouts: readonly string[];
  readonly within: readonly string[];
  readonly wallTimes: readonly string[];
  readonly waits: readonly string[];
}

export const MINUTES: Spans = {
  timeouts: ['40s', '1m', '2m'],
  within: ['20s', '45s', '90s'],
  wallTimes: ['30s', '90s', '4m'],
  waits: ['1m', '2m', '4m'],
};

export const HOURS: Spans = {
  timeouts: ['30m', '1h', '2h'],
  within: ['1h', '5h', '12h'],
  wallTimes: ['30m', '2h', '6h'],
  waits: ['1h', '12h', '48h'],
};

export interface Featured {
  readonly evaluations: JsonObject[];
  readonly rules: JsonObject[];
  readonly cadence: JsonObject;
}

/** Changes what was drawn already, and adds to it. */
export function featurePolicy(
  random: Random,
  drawn: { readonly evaluations: readonly JsonObject[]; readonly categories: readonly string[] },
  spans: Spans,
): Featured {
  const evaluations = drawn.evaluations.map((each) => scheduled(random, each, spans));
  const [first] = evaluations;
  const category = drawn.categories[0] ?? '';
  const added = [
    ...maybe(random, 0.25, benignControl(random, category, spans)),
    ...maybe(random, 0.25, ofParty(random, category, spans)),
    ...(first === undefined ? [] : maybe(random, 0.3, successor(random, first))),
  ];
  const closes = evaluations.some((each) => each['closingIn'] !== undefined);
  return {
    evaluations: [...evaluations, ...added],
    rules: [
      // Nothing closes in on what holds nobody.
      ...(closes ? [{ ...NOT_RULED_OUT, atLeast: random.pick<string | number>(['high', 2.2, 2.4]) }] : []),
      ...maybe(random, 0.3, refusalRule(random)),
      ...maybe(random, 0.35, compoundRule(random, evaluations.length, drawn.categories)),
      ...maybe(random, 0.5, outsideRule(random, category)),
      ...maybe(random, 0.2, { id: 'other-weights', kind: 'weights', then: ['halt'] }),
      ...maybe(random, 0.2, { id: 'no-control', kind: 'control', then: [random.pick(['halt', 'alert'])] }),
      ...maybe(random, 0.2, { id: 'hides', kind: 'sandbagging', then: ['hold'] }),
    ],
    cadence: random.chance(0.65) ? triggers(random, spans) : {},
  };
}

const NOT_RULED_OUT: JsonObject = {
  id: 'not-ruled-out',
  kind: 'level',
  stage: 'pre-mitigation',
  basis: 'upper',
  then: ['hold'],
};

/** What one evaluation may use, who stands in for it, and how it goes on where a level is not ruled out. */
function scheduled(random: Random, evaluation: JsonObject, spans: Spans): JsonObject {
  const closingIn = {
    attempts: 1 + random.below(3),
    within: random.pick(spans.within),
    ...(random.chance(0.3) ? { samples: random.pick([2_000, 30_000]) } : {}),
  };
  const budget = {
    ...(random.chance(0.7) ? { attempts: 1 + random.below(5) } : { wallTime: random.pick(spans.wallTimes) }),
    ...(random.chance(0.3) ? { samples: random.pick([1_000, 25_000]) } : {}),
  };
  const replicas = ['1', '2']
    .slice(0, 1 + random.below(2))
    .map((nth) => replica(random, nth, random.pick(spans.timeouts)));
  const labelled = random.chance(0.4) && evaluation['required'] !== true;
  return {
    ...evaluation,
    ...(random.chance(0.5) ? { closingIn, topUps: 0 } : {}),
    ...(random.chance(0.35) ? { budget } : {}),
    ...(random.chance(0.3) ? { replicas } : {}),
    ...(random.chance(0.2) ? { variants: [{ id: 'default' }], matrix: matrix(random) } : {}),
    ...(labelled || random.chance(0.05) ? { resources: [LABEL] } : {}),
  };
}

const replica = (random: Random, nth: string, timeout: string): JsonObject => ({
  kind: 'command',
  command: ['evaluate', '--replica', nth],
  timeout,
  attempts: 1 + random.below(2),
  backoff: '1s',
});

const matrix = (random: Random): JsonObject =>
  random.pick<JsonObject>([
    { tools: ['none', 'bash'] },
    { tokenBudget: [1_000, 10_000] },
    { items: ['public', 'held-out'] },
    { noise: [0, 0.1] },
    { seed: [1, 2] },
    { seed: [1, 2], poolSeeds: false },
    {
      tools: ['none', 'bash'],
      scaffold: ['react', 'plan'],
      exclude: [{ tools: 'none', scaffold: 'plan' }],
    },
  ]);

/** A healthy model scores well on it; now and then one does not. */
const benignControl = (random: Random, category: string, spans: Spans): JsonObject => ({
  id: `${category}-benign`,
  category,
  stage: 'pre-mitigation',
  required: random.chance(0.7),
  executor: {
    kind: 'http',
    mode: 'callback',
    timeout: random.pick(spans.timeouts),
    attempts: 2,
    backoff: '1s',
  },
  score: { metric: 'accuracy', kind: 'proportion', chance: 0, best: 1, minSamples: 100 },
  benignControl: { atLeast: 0.5 },
});

const ofParty = (random: Random, category: string, spans: Spans): JsonObject => ({
  id: `${category}-outside`,
  category,
  stage: 'pre-mitigation',
  required: random.chance(0.4),
  executor: {
    kind: 'outside',
    party: PARTY,
    timeout: random.pick(spans.timeouts),
    attempts: 1 + random.below(2),
  },
  score: { metric: 'accuracy', kind: 'proportion', chance: 0, best: 1, minSamples: 100 },
  levels: { medium: 0.2, high: 0.5, critical: 0.8 },
});

function successor(random: Random, before: JsonObject): JsonObject {
  const from = random.pick([{}, { from: 4e21 }, { from: 1.2e22 }]);
  const { id } = before;
  return { ...before, id: `${String(id)}-v2`, succeeds: { evaluation: id ?? '', ...from } };
}

const refusalRule = (random: Random): JsonObject => ({
  id: 'refuses',
  kind: 'refusal',
  stage: 'pre-mitigation',
  above: 0.3,
  then: [random.pick(['hold', 'hold', 'alert', 'halt'])],
});

function compoundRule(random: Random, evaluations: number, categories: readonly string[]): JsonObject {
  const rule = { id: 'together', kind: 'compound', stage: 'pre-mitigation' };
  const then = [random.pick(['hold', 'halt'])];
  const atLeast = random.pick<string | number>(['medium', 1.6]);
  if (categories.length > 1) return { ...rule, of: 'categories', atLeast, count: 2, then };
  // As many as there are may be of the other stage: the policy check says.
  if (evaluations > 1 && random.chance(0.5)) return { ...rule, of: 'evaluations', atLeast, count: 2, then };
  const id = `${categories[0] ?? ''}-0`;
  const of = [
    { evaluation: id, atLeast },
    { category: categories[0] ?? '', atLeast: 1.3 },
  ];
  return random.chance(0.5)
    ? { ...rule, of, count: 2, then }
    : { ...rule, of, count: 2, countsAs: 'critical', then: [] };
}

const outsideRule = (random: Random, category: string): JsonObject => ({
  id: 'told',
  kind: 'outside-finding',
  atLeast: random.pick(['medium', 'high', 'critical']),
  ...(random.chance(0.3) ? { categories: [category] } : {}),
  then: [random.pick(['halt', 'halt', 'hold', 'quarantine'])],
});

const triggers = (random: Random, spans: Spans): JsonObject => ({
  trainingStages: {
    rl: {
      ratio: random.pick([1.5, 2]),
      ...(random.chance(0.4) ? { firstCheckpointBy: random.pick([2e20, 1e21]) } : {}),
      ...(random.chance(0.4) ? { maxInterval: random.pick(spans.waits) } : {}),
    },
  },
  triggers: { checkpointWithin: random.pick(spans.waits), tripwireJump: random.pick([0.02, 0.05, 0.3]) },
});
