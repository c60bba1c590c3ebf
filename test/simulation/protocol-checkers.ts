/**
 * What a verdict rests on, recomputed from the events: that everything was asked for which the policy promises (every variant, the
 * old protocol and the new one), that the gravest counts, that controls, refusals, compound rules and outsiders are heeded, and
 * that nothing counts of weights which were exchanged.
 */
import type { Evaluation, Policy } from '../../src/domain/policy/schema.ts';
import type { RunEvent, RunEventData } from '../../src/domain/run/events.ts';
import type { StoredReading } from '../../src/domain/run/reading-documents.ts';
import { estimate, isPooled, LEVEL_CLOSE, thresholdOf, variantCount } from './arithmetic.ts';

type Broken = (invariant: number, message: string) => never;
type Assessed = RunEventData<'CheckpointAssessed'>;
type Asked = Pick<
  RunEventData<'CheckpointReported'>['evaluations'][number],
  'evaluationId' | 'evaluation' | 'variant'
>;

const [EVIDENCE, TRIP, MISSING] = [2, 3, 8];

interface Tracked {
  readonly spec: Evaluation;
  readonly variant: string;
  readonly checkpointId: string;
  /** By attempt: the last word counts. */
  readonly readings: Map<number, StoredReading>;
}

interface Placed {
  readonly compute: number;
  isClosed: boolean;
  /** The first that was stated or found; it counts for good. */
  digest: string | null;
}

const STOPS = ['halt', 'quarantine', 'hold'];
const HALTS = ['halt', 'quarantine'];
const SEVERITIES = ['low', 'medium', 'high', 'critical'];
/** Closed checkpoints that a state keeps at least. */
const KEPT = 4;

export class ProtocolCheckers {
  readonly #policy: Policy;
  readonly #broken: Broken;
  readonly #evaluations = new Map<string, Tracked>();
  readonly #checkpoints = new Map<string, Placed>();
  readonly #changed = new Set<string>();
  readonly #begun = new Map<string, string | null>();
  readonly #ended = new Set<string>();
  #cleared: { readonly id: string; readonly compute: number } | null = null;
  /** What this decision has to lead to. */
  readonly #begins = new Set<string>();
  #mustHalt: string | null = null;
  #mustStop: string | null = null;

  constructor(policy: Policy, broken: Broken) {
    this.#policy = policy;
    this.#broken = broken;
  }

  take({ kind, data }: RunEvent): void {
    switch (kind) {
      case 'CheckpointReported':
        this.#reported(data);
        return;
      case 'SuccessionBegun':
        this.#begin(data);
        return;
      case 'SuccessionEnded':
        this.#end(data);
        return;
      case 'EvaluationStarted':
        this.#notOfOthers(data.evaluationId, 'is started');
        return;
      case 'EvaluationReported':
        this.#read(data.evaluationId, data.attempt, data.reading, data.by);
        return;
      case 'EvaluationAttemptFailed':
        if (data.reading !== null) this.#read(data.evaluationId, data.attempt, data.reading, null);
        return;
      case 'WeightsDigested':
        this.#digested(data.checkpointId, data.digest);
        return;
      case 'WeightsChanged':
        this.#changed.add(data.checkpointId);
        this.#mustStop = `the weights of ${data.checkpointId} changed`;
        return;
      case 'OutsideFindingReported':
        this.#found(data);
        return;
      case 'CheckpointAssessed':
        this.#assessed(data);
        return;
      default:
        return;
    }
  }

  /** After one decision; `isExcused`: of a run in shadow nothing is done. */
  decided({ isHalted, holds, isFinished, isExcused }: Outcome): void {
    for (const id of this.#begins)
      this.#broken(EVIDENCE, `${id} is asked, and its succession does not begin`);
    const [mustHalt, mustStop] = [this.#mustHalt, this.#mustStop];
    this.#mustHalt = null;
    this.#mustStop = null;
    if (isHalted || isExcused) return;
    if (mustHalt !== null) this.#broken(TRIP, `${mustHalt}, and no halt`);
    if (mustStop !== null && holds === 0 && !isFinished) this.#broken(MISSING, `${mustStop}, and no hold`);
  }

  // --- what is asked -------------------------------------------------------------------------------------

  #reported(data: RunEventData<'CheckpointReported'>): void {
    const { checkpointId, effectiveCompute, evaluations, weightsDigest = null } = data;
    const compute = Number(effectiveCompute);
    this.#checkpoints.set(checkpointId, { compute, isClosed: false, digest: weightsDigest });
    if (evaluations.length === 0) return;
    this.#asks(checkpointId, evaluations);
    for (const spec of this.#policy.evaluations) {
      const asked = new Set(
        evaluations.filter(({ evaluation }) => evaluation === spec.id).map(({ variant }) => variant),
      );
      const wanted = this.#isWanted(spec, compute) ? variantCount(spec) : 0;
      if (asked.size !== wanted) {
        const what = `${spec.id} is asked of ${checkpointId} in ${asked.size} variants of ${wanted}`;
        this.#broken(EVIDENCE, what);
      }
      if (spec.succeeds !== undefined && wanted > 0 && !this.#begun.has(spec.id)) this.#begins.add(spec.id);
    }
  }

  /** Both protocols from the promised compute on, until they have run side by side for long enough. */
  #isWanted({ id, succeeds }: Evaluation, compute: number): boolean {
    const next = this.#policy.evaluations.find((each) => each.succeeds?.evaluation === id);
    if (next !== undefined && this.#ended.has(next.id)) return false;
    if (succeeds === undefined || this.#begun.has(id)) return true;
    return succeeds.from === undefined || compute >= Number(succeeds.from);
  }

  #asks(checkpointId: string, asked: readonly Asked[]): void {
    for (const { evaluationId, evaluation, variant } of asked) {
      const spec = this.#policy.evaluations.find(({ id }) => id === evaluation);
      if (spec === undefined) this.#broken(EVIDENCE, `the policy has no ${evaluation}`);
      else this.#evaluations.set(evaluationId, { spec, variant, checkpointId, readings: new Map() });
    }
  }

  #begin({ evaluation, checkpointId, lastCleared }: RunEventData<'SuccessionBegun'>): void {
    this.#begins.delete(evaluation);
    this.#begun.set(evaluation, lastCleared?.checkpointId ?? null);
    const cleared = this.#cleared?.id ?? null;
    if (lastCleared === null) {
      const closed = [...this.#checkpoints.values()].filter(({ isClosed }) => isClosed).length;
      const isThere = cleared !== null && cleared !== checkpointId && closed <= KEPT;
      if (isThere && !this.#changed.has(cleared)) {
        this.#broken(EVIDENCE, `${evaluation} begins, and is not asked of ${cleared}, the last one cleared`);
      }
      return;
    }
    const spec = this.#policy.evaluations.find(({ id }) => id === evaluation);
    const variants = new Set(lastCleared.evaluations.map(({ variant }) => variant));
    if (lastCleared.checkpointId !== cleared || spec === undefined || variants.size !== variantCount(spec)) {
      this.#broken(
        EVIDENCE,
        `${evaluation} is asked of ${lastCleared.checkpointId}; ${cleared} was cleared last`,
      );
    }
    if (this.#changed.has(lastCleared.checkpointId)) {
      this.#broken(EVIDENCE, `${evaluation} is asked of weights that are others now`);
    }
    this.#asks(lastCleared.checkpointId, lastCleared.evaluations);
  }

  #end({ evaluation, succeeds, checkpoints }: RunEventData<'SuccessionEnded'>): void {
    const beside = new Set(checkpoints.filter((id) => id !== this.#begun.get(evaluation)));
    const isComplete = (checkpointId: string, id: string): boolean => {
      const own = [...this.#evaluations.values()].filter(
        (each) => each.checkpointId === checkpointId && each.spec.id === id,
      );
      const [first] = own;
      return first !== undefined && own.length === variantCount(first.spec) && own.every(isConclusive);
    };
    const both = [...beside].filter((id) => isComplete(id, evaluation) && isComplete(id, succeeds));
    if (both.length < 2) {
      this.#broken(EVIDENCE, `${succeeds} ends after ${both.length} checkpoints beside ${evaluation}`);
    }
    this.#ended.add(evaluation);
  }

  // --- what comes ----------------------------------------------------------------------------------------

  #digested(checkpointId: string, digest: string): void {
    const placed = this.#checkpoints.get(checkpointId);
    if (placed === undefined) return;
    placed.digest ??= digest;
    if (placed.digest !== digest) {
      this.#broken(EVIDENCE, `${digest} was found for ${checkpointId}, which is ${placed.digest}`);
    }
  }

  #notOfOthers(evaluationId: string, what: string): void {
    const known = this.#evaluations.get(evaluationId);
    if (known === undefined || !this.#changed.has(known.checkpointId)) return;
    this.#broken(EVIDENCE, `${evaluationId} ${what}, of weights that are others now`);
  }

  #read(evaluationId: string, attempt: number, reading: StoredReading, by: string | null): void {
    const known = this.#evaluations.get(evaluationId);
    if (known === undefined) return;
    if (reading.conclusive) this.#notOfOthers(evaluationId, 'counts');
    const { executor, replicas = [] } = known.spec;
    // A replica of the house may speak where there is one.
    if (executor.kind === 'outside' && replicas.length === 0 && by !== null && by !== executor.party) {
      this.#broken(1, `${evaluationId} was reported by ${by}, and ${executor.party} carries it out`);
    }
    known.readings.set(attempt, reading);
  }

  #found({ severity, category, findingId }: RunEventData<'OutsideFindingReported'>): void {
    for (const rule of this.#policy.rules) {
      if (rule.kind !== 'outside-finding') continue;
      const isAbout =
        category === null || rule.categories === undefined || rule.categories.includes(category);
      if (!isAbout || SEVERITIES.indexOf(severity) < SEVERITIES.indexOf(rule.atLeast)) continue;
      const what = `outsiders found ${findingId}, ${severity}, under ${rule.id}`;
      if (rule.then.some((each) => HALTS.includes(each))) this.#mustHalt = what;
      else if (rule.then.includes('hold')) this.#mustStop = what;
    }
  }

  // --- verdicts ------------------------------------------------------------------------------------------

  #assessed(data: Assessed): void {
    const { checkpointId, verdict, clears } = data;
    const placed = this.#checkpoints.get(checkpointId);
    if (placed === undefined) return;
    placed.isClosed = true;
    this.#gravest(data);
    if (verdict !== 'proceed') return;
    const own = [...this.#evaluations.values()].filter((each) => each.checkpointId === checkpointId);
    this.#passes(
      data,
      'weights',
      this.#changed.has(checkpointId) ? 'its weights are others now' : null,
      EVIDENCE,
    );
    for (const each of own) this.#passes(data, 'control', failedControl(each), MISSING, nameOf(each));
    for (const rule of this.#policy.rules) {
      if (rule.kind === 'refusal' && stops(rule.then)) {
        for (const each of own) {
          if (each.spec.stage !== rule.stage) continue;
          const isMeant = rule.evaluations?.includes(each.spec.id) ?? each.spec.benignControl === undefined;
          if (isMeant) this.#passes(data, rule.id, refused(each, rule.above), MISSING, nameOf(each));
        }
      }
      if (rule.kind === 'compound') this.#passes(data, rule.id, this.#together(rule, own), TRIP);
    }
    if (clears !== false && (this.#cleared === null || placed.compute > this.#cleared.compute)) {
      this.#cleared = { id: checkpointId, compute: placed.compute };
    }
  }

  /** A verdict proceeds in spite of it only where people waived that very finding. */
  #passes(
    { checkpointId, findings }: Assessed,
    rule: string,
    problem: string | null,
    invariant: number,
    evaluation?: string,
  ): void {
    if (problem === null) return;
    const waived = findings.some(
      (each) =>
        each.rule === rule && each.waived && (evaluation === undefined || each.evaluation === evaluation),
    );
    if (!waived) this.#broken(invariant, `${checkpointId} proceeds although ${problem} (${rule})`);
  }

  /** Of all evaluations, variants, protocols and attempts the gravest is the level. */
  #gravest({ checkpointId, scorecard }: Assessed): void {
    for (const each of this.#evaluations.values()) {
      if (each.checkpointId !== checkpointId) continue;
      const own = levelOf(each);
      if (own === null) continue;
      const { category, stage, id } = each.spec;
      const shown = scorecard.categories.find((one) => one.id === category)?.stages[stage]?.estimate ?? null;
      if (shown === null || shown < own - LEVEL_CLOSE) {
        this.#broken(MISSING, `${id} of ${checkpointId} is at ${own}, and ${category} is shown at ${shown}`);
      }
    }
  }

  #together(
    rule: Extract<Policy['rules'][number], { kind: 'compound' }>,
    own: readonly Tracked[],
  ): string | null {
    const isStopping = stops(rule.then) || rule.countsAs !== undefined;
    if (!isStopping || rule.basis !== 'estimate') return null;
    const levels = new Map<string, { category: string; level: number }>();
    for (const each of own) {
      const { id, category, stage } = each.spec;
      if (stage !== rule.stage || rule.categories?.includes(category) === false) continue;
      const level = Math.max(levelOf(each) ?? 0, levels.get(id)?.level ?? 0);
      levels.set(id, { category, level });
    }
    const categories = [...new Set([...levels.values()].map(({ category }) => category))];
    const ofCategory = (id: string): number[] =>
      [...levels.values()].filter(({ category }) => category === id).map(({ level }) => level);
    const at =
      rule.atLeast === undefined ? Number.POSITIVE_INFINITY : thresholdOf(rule.atLeast) + LEVEL_CLOSE;
    const reached = (all: readonly number[]): number => all.filter((level) => level >= at).length;
    let counted: number[];
    if (rule.of === 'categories') counted = [reached(categories.map((id) => Math.max(0, ...ofCategory(id))))];
    else if (rule.of === 'evaluations') counted = categories.map((id) => reached(ofCategory(id)));
    else {
      const met = rule.of.filter(({ evaluation, category, atLeast }) => {
        const level =
          evaluation === undefined
            ? Math.max(0, ...ofCategory(category ?? ''))
            : (levels.get(evaluation)?.level ?? 0);
        return level >= thresholdOf(atLeast) + LEVEL_CLOSE;
      });
      counted = [met.length];
    }
    const most = Math.max(0, ...counted);
    return most >= rule.count ? `${most} levels together are over ${rule.atLeast ?? 'their clauses'}` : null;
  }
}

export interface Outcome {
  readonly isHalted: boolean;
  readonly holds: number;
  readonly isFinished: boolean;
  readonly isExcused: boolean;
}

const stops = (then: readonly string[]): boolean => then.some((each) => STOPS.includes(each));

const nameOf = ({ spec, variant }: Tracked): string => `${spec.id}/${variant}`;

const isConclusive = ({ readings }: Tracked): boolean =>
  [...readings.values()].some(({ conclusive }) => conclusive);

/** null where its level is not its own, or there is none. */
function levelOf({ spec, variant, readings }: Tracked): number | null {
  if (spec.benignControl !== undefined || isPooled(spec, variant)) return null;
  const scores = [...readings.values()].flatMap(({ score }) => (score === null ? [] : [score]));
  return scores.length === 0 ? null : Math.max(...scores.map((score) => estimate(score, spec)));
}

function failedControl({ spec, readings }: Tracked): string | null {
  const { benignControl } = spec;
  if (benignControl === undefined) return null;
  const { atLeast = Number.NEGATIVE_INFINITY, atMost = Number.POSITIVE_INFINITY } = benignControl;
  const failed = [...readings.values()].find(
    ({ conclusive, score }) => conclusive && score !== null && (score < atLeast || score > atMost),
  );
  return failed === undefined ? null : `its control ${spec.id} scored ${failed.score}`;
}

function refused({ spec, readings }: Tracked, above: number): string | null {
  for (const { refused: some, total, n } of readings.values()) {
    const all = total ?? n;
    if (some !== undefined && all !== null && some / all > above) {
      return `the model refused ${some} of ${all} in ${spec.id}`;
    }
  }
  return null;
}
