/**
 * The scorecard of one checkpoint: per category and stage the levels, and the evidence behind them.
 *
 * Category level = the highest over its evaluations and variants (worst known case); seeds of one variant
 * (`pool`) are pooled first. A doubtful score (of an inconclusive attempt) can raise an estimate but
 * completes nothing. Missing evidence has no level at all: never 1, never Low. Benign controls have none either.
 */
import { LEVEL_TITLES, levelName, levelsOf, type Measured, type ScoreSpec } from '../levels.ts';
import type { Axes } from '../policy/axes.ts';
import { categoryOf, confidenceZ, evidenceCount } from '../policy/confidence.ts';
import { metricRange, scoreRange } from '../policy/scale.ts';
import type { Evaluation, Policy, Stage } from '../policy/schema.ts';
import { isControl, levelMarks, STAGES, variantsOf } from '../policy/schema.ts';
import { besideEvidence } from './comparable.ts';
import { specOf, statusOf } from './evaluation.ts';
import type { StoredReading } from './reading-documents.ts';
import type { Evidence, Scorecard } from './scorecard-documents.ts';
import type { CheckpointState, EvaluationState } from './state.ts';
import { waitsInVain } from './unstaffed.ts';

const NOT_ENOUGH = 'not enough information';

export function scoreSpecOf(spec: Evaluation): ScoreSpec {
  return {
    chance: spec.score.chance,
    best: spec.score.best,
    levels: levelMarks(spec),
    // A difference of two shares is no share: its uncertainty is that of its arms.
    kind: spec.score.control === undefined ? spec.score.kind : 'mean',
    interval: spec.score.interval,
    armRange: metricRange(spec),
    range: scoreRange(spec),
    stderrFloor: spec.score.stderrFloor,
    elicitationMargin: spec.elicitationMargin,
  };
}

export { categoryOf, confidenceZ, evidenceCount };

type Scored = StoredReading & { readonly score: number };

/** The very object: what stands is traced back to its attempt by it. */
const hasScore = (reading: StoredReading | null): reading is Scored => reading?.score != null;

/** Several samples of one quantity as one: weighted by n where all know it, else by the mean, errors combined. */
export function pooled(samples: readonly Measured[]): Measured | null {
  const [first, ...rest] = samples;
  if (first === undefined) return null;
  if (rest.length === 0) return first;
  return {
    ...pooledScore(samples),
    ...pooledCounts(samples),
    ...pooledArms(samples),
  };
}

function pooledScore(samples: readonly Measured[]): {
  score: number;
  stderr: number | null;
  n: number | null;
} {
  const total = samples.reduce((sum, { n }) => sum + (n ?? 0), 0);
  const weighted = samples.every(({ n }) => n !== null && n > 0);
  const weight = ({ n }: Measured): number => (weighted ? (n ?? 0) / total : 1 / samples.length);
  const score = samples.reduce((sum, each) => sum + weight(each) * each.score, 0);
  const known = samples.every(({ stderr }) => stderr !== null);
  const variance = samples.reduce((sum, each) => {
    const part = weight(each) * (each.stderr ?? 0);
    return sum + part * part;
  }, 0);
  return { score, stderr: known ? Math.sqrt(variance) : null, n: weighted ? total : null };
}

const SUMMED = ['total', 'scored', 'errored', 'refused', 'lost', 'clusters'] as const;

/** What only some of them state counts for those; an interval that was sealed of one is none of the whole. */
function pooledCounts(samples: readonly Measured[]): Partial<Measured> {
  const sums: { [name in (typeof SUMMED)[number]]?: number } = Object.fromEntries(
    SUMMED.filter((name) => samples.some((each) => each[name] !== undefined)).map((name) => [
      name,
      samples.reduce((total, each) => total + (each[name] ?? 0), 0),
    ]),
  );
  const dependent = samples.some(({ effectiveN }) => effectiveN !== undefined);
  const effectiveN = samples.reduce((total, each) => total + (each.effectiveN ?? each.n ?? 0), 0);
  return { ...sums, ...(dependent ? { effectiveN } : {}) };
}

function pooledArms(samples: readonly Measured[]): Partial<Measured> {
  const arms = samples.map((each) => each.arms);
  const treatment = pooled(arms.flatMap((each) => each?.treatment ?? []));
  const control = pooled(arms.flatMap((each) => each?.control ?? []));
  const all = arms.every((each) => each !== undefined);
  return all && treatment !== null && control !== null ? { arms: { treatment, control } } : {};
}

interface Standing {
  readonly measured: Measured;
  readonly estimate: number;
  readonly upper: number;
}

/**
 * What stands for one evaluation variant.
 *
 * The worst conclusive attempt gives the estimate, whatever it was for. Top-ups enlarge the first sample, and
 * only they: pooled with it they narrow its interval, so that `upper` can fall and lift a hold, but no estimate
 * falls by it, and a retry stands alone; as does a top-up by another protocol, which measured something else. Apart from these the worst doubtful score, for the estimate alone.
 */
function standing(
  evaluation: EvaluationState,
  spec: Evaluation,
  z: number,
): { conclusive: Standing | null; doubtful: Standing | null } {
  const scoreSpec = scoreSpecOf(spec);
  const readings = evaluation.attempts.flatMap(({ purpose, reading }) =>
    hasScore(reading) ? [{ purpose, reading }] : [],
  );
  const conclusive = readings.filter(({ reading }) => reading.conclusive);
  const base = conclusive.find(({ purpose }) => purpose !== 'top-up');
  const [first] = base === undefined ? conclusive : [base];
  const enlarging = conclusive.filter(
    ({ purpose, reading }) => purpose === 'top-up' && reading.protocol === first?.reading.protocol,
  );
  if (base !== undefined) enlarging.unshift(base);
  const sample = pooled(enlarging.map(({ reading }) => reading));
  const asOne = sample === null ? [] : [{ measured: sample, ...levelsOf(sample, scoreSpec, z) }];
  const alone = conclusive.map((each) => {
    const levels = levelsOf(each.reading, scoreSpec, z);
    return {
      measured: each.reading,
      ...levels,
      upper: enlarging.includes(each) ? levels.estimate : levels.upper,
    };
  });
  const doubtful = readings
    .filter(({ reading }) => !reading.conclusive)
    .map(({ reading }) => {
      const { estimate } = levelsOf(reading, scoreSpec, z);
      return { measured: reading, estimate, upper: estimate };
    });
  return {
    conclusive: worst([...asOne, ...alone]),
    doubtful: worst(doubtful),
  };
}

type Standings = ReturnType<typeof standing>;

/** One result changes one evaluation of a checkpoint: what the others show is known. */
const standings = new WeakMap<EvaluationState, { readonly policy: Policy; readonly stands: Standings }>();

function standingOf(evaluation: EvaluationState, policy: Policy): Standings {
  const last = standings.get(evaluation);
  if (last?.policy === policy) return last.stands;
  const spec = specOf(policy, evaluation.evaluation);
  const stands = standing(evaluation, spec, confidenceZ(policy, spec));
  standings.set(evaluation, { policy, stands });
  return stands;
}

function worst(candidates: readonly Standing[]): Standing | null {
  const [first, ...rest] = candidates;
  if (first === undefined) return null;
  return rest.reduce(
    (gravest, each) => ({
      measured: each.estimate > gravest.estimate ? each.measured : gravest.measured,
      estimate: Math.max(gravest.estimate, each.estimate),
      upper: Math.max(gravest.upper, each.upper),
    }),
    first,
  );
}

function evidenceOf(checkpoint: CheckpointState, evaluation: EvaluationState, policy: Policy): Evidence {
  const spec = specOf(policy, evaluation.evaluation);
  const stands = isControl(spec) ? controlStanding(evaluation, spec) : graver(standingOf(evaluation, policy));
  const axes = variantOf(spec, evaluation)?.axes;
  const status = statusOf(evaluation);
  const reasons = evaluation.attempts.flatMap(({ reading, reason, exhausted }) => [
    ...(reason === null ? [] : [reason]),
    ...(reading?.reasons ?? []),
    ...(exhausted === undefined ? [] : ['budget-exhausted']),
  ]);
  const inVain = waitsInVain(checkpoint, evaluation, spec);
  return {
    evaluationId: evaluation.evaluationId,
    evaluation: evaluation.evaluation,
    variant: evaluation.variant,
    required: spec.required && evaluation.beside === undefined,
    status,
    attempts: evaluation.attempts.length,
    score: stands?.measured.score ?? null,
    stderr: stands?.measured.stderr ?? null,
    n: stands?.measured.n ?? null,
    estimate: stands?.estimate ?? null,
    upper: stands?.upper ?? null,
    reasons: status === 'completed' ? [] : [...new Set([...reasons, ...(inVain === null ? [] : [inVain])])],
    ...besideEvidence(evaluation, spec),
    ...(axes === undefined ? {} : { axes }),
    ...(isControl(spec) ? { control: true as const } : {}),
    ...(evaluation.beside === undefined ? {} : { beside: evaluation.beside }),
    ...samplesOf(evaluation, stands),
  };
}

const graver = ({ conclusive, doubtful }: Standings): Standing | null =>
  worst([conclusive, doubtful].filter((each) => each !== null));

/** Of a control the least danger is the worst: the conclusive attempt that is furthest from what it has to reach. */
function controlStanding(
  { attempts }: EvaluationState,
  { score: { chance, best } }: Evaluation,
): { measured: Measured; estimate: null; upper: null } | null {
  const sign = best >= chance ? 1 : -1;
  const scored = attempts
    .map(({ reading }) => reading)
    .filter(hasScore)
    .filter(({ conclusive }) => conclusive);
  const [first, ...rest] = scored;
  if (first === undefined) return null;
  const measured = rest.reduce(
    (least, each) => (sign * each.score < sign * least.score ? each : least),
    first,
  );
  return { measured, estimate: null, upper: null };
}

/** The evidence of one variant, or of all seeds that are pooled to one. */
export interface Arm {
  readonly evaluation: string;
  /** The pool's name, where there is one. */
  readonly variant: string;
  readonly axes: Axes | null;
  /** All that is conclusive, as one sample. */
  readonly sample: Measured | null;
  readonly levels: readonly { readonly estimate: number; readonly upper: number }[];
}

/** What became of the samples behind what stands; of one attempt also where it says that it comes from. */
function samplesOf(
  { attempts }: EvaluationState,
  stands: Pick<Standing, 'measured'> | null,
): Partial<Evidence> {
  if (stands === null) return {};
  const { total, scored, errored, refused, lost, effectiveN, clusters, arms } = stands.measured;
  const from = attempts.find(({ reading }) => reading !== null && reading === stands.measured);
  return plainParts({
    ...{ total, scored, errored, refused, lost, effectiveN, clusters, arms },
    source: from?.reading?.source,
  });
}

const plainParts = (parts: Partial<Evidence>): Partial<Evidence> =>
  Object.fromEntries(Object.entries(parts).filter(([, value]) => value !== undefined));

/**
 * Levels of each evaluation variant. Seeds of one variant are pooled to one larger sample first; the rows keep
 * what each seed scored. A doubtful score is in no pool: it would thin out what the sound ones found.
 */
export function armsOf(evaluations: readonly EvaluationState[], policy: Policy): Arm[] {
  const groups = new Map<string, [EvaluationState, ...EvaluationState[]]>();
  for (const evaluation of evaluations) {
    const spec = specOf(policy, evaluation.evaluation);
    if (isControl(spec)) continue;
    const pool = variantOf(spec, evaluation)?.pool;
    const key = pool === undefined ? evaluation.evaluationId : `${spec.id} ${pool}`;
    groups.set(key, [...(groups.get(key) ?? []), evaluation]);
  }
  return [...groups.values()].map((group) => {
    const spec = specOf(policy, group[0].evaluation);
    const stands = group.map((evaluation) => standingOf(evaluation, policy));
    const conclusive = stands.flatMap((each) => each.conclusive ?? []);
    const doubtful = stands.flatMap((each) => each.doubtful ?? []);
    const { id, pool, axes = null } = variantOf(spec, group[0]) ?? { id: group[0].variant };
    const sample = pooled(conclusive.map(({ measured }) => measured));
    const asOne =
      conclusive.length <= 1 || sample === null
        ? conclusive
        : [levelsOf(sample, scoreSpecOf(spec), confidenceZ(policy, spec))];
    return { evaluation: spec.id, variant: pool ?? id, axes, sample, levels: [...asOne, ...doubtful] };
  });
}

const variantOf = (spec: Evaluation, { variant }: EvaluationState) =>
  variantsOf(spec).find(({ id }) => id === variant);

function stageLevels(
  evidence: readonly Evidence[],
  evaluations: readonly EvaluationState[],
  policy: Policy,
): Scorecard['categories'][number]['stages'][Stage] {
  const arms = armsOf(evaluations, policy);
  const levels = arms.flatMap((arm) => arm.levels);
  const complete = evidence.every(({ required, status }) => !required || status === 'completed');
  const estimate = levels.length === 0 ? null : Math.max(...levels.map((each) => each.estimate));
  const upper = levels.length === 0 ? null : Math.max(...levels.map((each) => each.upper));
  const worst = worstCase(arms);
  return {
    estimate,
    upper,
    name: nameOf(estimate, complete),
    complete,
    evidence: [...evidence],
    // Only where variants have axes: scorecards of policies from before them must stay what they were.
    ...(worst !== null && evidence.some(({ axes }) => axes !== undefined) ? { worst } : {}),
  };
}

/** Best elicitation is the worst known case: which variant the level is of. The first where several share it. */
function worstCase(arms: readonly Arm[]): { evaluation: string; variant: string; estimate: number } | null {
  return arms.reduce<ReturnType<typeof worstCase>>((gravest, { evaluation, variant, levels }) => {
    if (levels.length === 0) return gravest;
    const estimate = Math.max(...levels.map((each) => each.estimate));
    return gravest === null || estimate > gravest.estimate ? { evaluation, variant, estimate } : gravest;
  }, null);
}

/** Without all required evidence a low level is no level: only a High or worse one can be named early. */
function nameOf(estimate: number | null, complete: boolean): string {
  if (estimate === null) return NOT_ENOUGH;
  if (!complete && estimate < 3) return NOT_ENOUGH;
  return LEVEL_TITLES[levelName(estimate)];
}

/** Of a checkpoint that has not changed it is the same: several reactions of every decision ask for it. */
const known = new WeakMap<CheckpointState, { readonly policy: Policy; readonly scorecard: Scorecard }>();

export function scorecardOf(checkpoint: CheckpointState, policy: Policy): Scorecard {
  const last = known.get(checkpoint);
  if (last?.policy === policy) return last.scorecard;
  const scorecard = makeScorecard(checkpoint, policy);
  known.set(checkpoint, { policy, scorecard });
  return scorecard;
}

function makeScorecard(checkpoint: CheckpointState, policy: Policy): Scorecard {
  const categories = policy.categories.map(({ id, title }) => {
    const stages: Scorecard['categories'][number]['stages'] = {};
    for (const stage of STAGES) {
      const evaluations = checkpoint.evaluations.filter(({ evaluation }) => {
        const spec = specOf(policy, evaluation);
        return spec.category === id && spec.stage === stage;
      });
      if (evaluations.length === 0) continue;
      const evidence = evaluations.map((evaluation) => evidenceOf(checkpoint, evaluation, policy));
      const levels = stageLevels(evidence, evaluations, policy);
      if (levels !== undefined) stages[stage] = levels;
    }
    return { id, title, stages };
  });
  const before = categories.flatMap(({ stages }) => stages['pre-mitigation'] ?? []);
  const estimates = before.flatMap(({ estimate }) => (estimate === null ? [] : [estimate]));
  const uppers = before.flatMap(({ upper }) => (upper === null ? [] : [upper]));
  const estimate = estimates.length === 0 ? null : Math.max(...estimates);
  const complete = before.every((levels) => levels.complete && levels.estimate !== null);
  return {
    checkpointId: checkpoint.checkpointId,
    effectiveCompute: checkpoint.effectiveCompute,
    categories,
    overall: {
      estimate,
      upper: uppers.length === 0 ? null : Math.max(...uppers),
      name: nameOf(estimate, complete),
    },
  };
}
