/**
 * Checkpoints: reporting one, sealing its forecasts, and closing its scorecard with a verdict.
 *
 * A checkpoint closes when every required evaluation has concluded or its deadline has passed, and is assessed again
 * whenever evidence changes what stands. A verdict `proceed` clears it: the permit's ceiling rises to
 * ratio x (1 + grace) x its compute, or within the terms of a waiver to what the resume granted.
 */
import { canonicalJson, plainJson, sameJson } from '../canonical-json.ts';
import { type Compute, compareCompute, log2Compute, maxCompute, onePlus, timesCompute } from '../compute.ts';
import { durationMs } from '../duration.ts';
import { type EvaluationHistory, forecastCategory } from '../forecast/category-forecast.ts';
import type { Limit } from '../forecast/explanation.ts';
import { servedMethod } from '../forecast/served-method.ts';
import {
  type ForecastRule,
  isControl,
  levelAt,
  type Policy,
  type Stage,
  variantsOf,
} from '../policy/schema.ts';
import { raiseAlert } from './alerts.ts';
import { ancestryProblem } from './ancestry.ts';
import type { Ancestry } from './ancestry-documents.ts';
import { type Assessment, activeWaiver, assess, findingKey, stopsTraining } from './assess.ts';
import { type DueReason, whyDue } from './cadence.ts';
import { seriesPoints } from './checkpoint-state.ts';
import { comparableHistory } from './comparable.ts';
import { type Context, type Decision, iso, isoAfter, reached, reject } from './context.ts';
import { isConcluded, specOf } from './evaluation.ts';
import type { RunEvent, StatedStage } from './events.ts';
import type { Finding } from './finding-documents.ts';
import type { SealedForecast } from './forecast-documents.ts';
import { boundRecord, dueBeyond } from './forecast-state.ts';
import { idOf } from './ids.ts';
import { ceilingWithin, isAhead, riskTaken, sealRisk } from './permit-risk.ts';
import { scorecardOf, scoreSpecOf } from './scorecard.ts';
import type { Scorecard } from './scorecard-documents.ts';
import { isShadowed } from './shadow-state.ts';
import { type CheckpointState, type EvaluationState, REQUESTED_OPEN_MAX, type RunState } from './state.ts';
import { askedOf, beginSuccessions, evaluationsWanted } from './succession.ts';
import { hasTripwires, isDeferred, isTripwireOnly } from './tiers.ts';

export interface ReportCheckpoint {
  readonly type: 'ReportCheckpoint';
  readonly checkpointId: string;
  readonly effectiveCompute: Compute;
  readonly step: number | null;
  readonly modelUri: string;
  readonly endpoint: string | null;
  readonly evaluate: boolean;
  /** Of one that is not due its tripwires alone. */
  readonly tripwiresOnly?: boolean | undefined;
  /** `evaluate: false` was said, not only left out. */
  readonly declined?: boolean;
  readonly weightsDigest?: string | undefined;
  readonly efficiencyMultiplier?: number | undefined;
  /** Of weights that were merged into it; left out where it names none. */
  readonly ancestry?: Ancestry | undefined;
  readonly trainingStage?: StatedStage | undefined;
  readonly contentDigest: string;
  /** Content digest of a checkpoint of this id that was reported before, from the views. */
  readonly priorDigest: string | null;
  readonly correlationId: string;
  readonly by: string;
}

export function reportCheckpoint(state: RunState, command: ReportCheckpoint, context: Context): Decision {
  if (state.sources !== null && !state.sources.includes(command.by)) {
    return reject('forbidden', `${command.by} is not a source of run ${state.runId}`);
  }
  // The state knows what was committed after the views were read.
  const open = state.checkpoints.find(({ checkpointId }) => checkpointId === command.checkpointId);
  const prior = command.priorDigest ?? open?.contentDigest ?? null;
  if (prior !== null) {
    if (prior === command.contentDigest) return [];
    return reject(
      'conflict',
      `checkpoint ${command.checkpointId} was reported with other content`,
      'checkpointId',
    );
  }
  const { policy, now } = context;
  // One that shows the finished run alive is no mistake to be sent back: it is recorded, and is an overrun.
  if (state.finishedAt !== null && compareCompute(command.effectiveCompute, state.ceiling) <= 0) {
    return reject('conflict', `run ${state.runId} was declared finished at ${state.finishedAt}`, 'runId');
  }
  const why = whyDue(state, command, context);
  // What is due always is evaluated; wishes beyond it must not swell the state until no append fits, a halt neither.
  // Due by what a trainer states at will is no different: a stage that changes with every checkpoint fills it as well.
  const atWill = why === null ? command.evaluate : isAtWill(why);
  if (atWill && state.checkpoints.length >= REQUESTED_OPEN_MAX) {
    return reject(
      'conflict',
      `${state.checkpoints.length} checkpoints of run ${state.runId} are open; this one is ${why === null ? 'not due' : `due by ${why} alone`} and cannot be evaluated now`,
      why === null ? 'evaluate' : 'checkpointId',
    );
  }
  const { weightsDigest, efficiencyMultiplier, ancestry, trainingStage } = command;
  const problem = ancestry === undefined ? null : ancestryProblem(state, ancestry);
  if (problem !== null) return reject('invalid', problem, 'parents');
  const tripwiresOnly = command.tripwiresOnly === true;
  if (tripwiresOnly && !hasTripwires(policy)) {
    return reject('invalid', 'the policy of this run has no tripwire; ask for true or false', 'evaluate');
  }
  const evaluate = why !== null || command.evaluate;
  const wanted = { due: why !== null, tripwiresOnly, effectiveCompute: command.effectiveCompute };
  const evaluations = evaluate
    ? evaluationsWanted(state, command, policy).flatMap((spec) =>
        askedOf(spec, state.runId, command.checkpointId, context).map((asked) => ({
          ...asked,
          ...(isDeferred(spec, wanted, policy) ? { deferred: true as const } : {}),
        })),
      )
    : [];
  return [
    {
      kind: 'CheckpointReported',
      data: {
        checkpointId: command.checkpointId,
        effectiveCompute: command.effectiveCompute,
        step: command.step,
        modelUri: command.modelUri,
        endpoint: command.endpoint,
        due: why !== null,
        reason: why ?? (command.evaluate ? 'requested' : 'not-due'),
        evaluations,
        ...(why !== null && command.declined === true ? { declined: true as const } : {}),
        ...(weightsDigest === undefined ? {} : { weightsDigest }),
        ...(efficiencyMultiplier === undefined ? {} : { efficiencyMultiplier }),
        ...(ancestry === undefined ? {} : { ancestry }),
        ...(trainingStage === undefined ? {} : { trainingStage }),
        deadlineAt: evaluate ? isoAfter(now, durationMs(policy.cadence.scorecardDeadline)) : null,
        contentDigest: command.contentDigest,
        correlationId: command.correlationId,
        by: command.by,
        at: iso(now),
      },
    },
    ...(evaluate ? beginSuccessions(state, command, context) : []),
    ...regressionNotice(state, command, context),
  ];
}

const isAtWill = (why: DueReason): boolean =>
  why === 'stage' || why === 'stage-ratio' || why === 'breakthrough';

/** Compute only grows: a checkpoint behind an earlier one is late, restarted or mistaken. People are told. */
function regressionNotice(
  state: RunState,
  { checkpointId, effectiveCompute }: ReportCheckpoint,
  context: Context,
): RunEvent[] {
  const earlier = [...state.checkpoints, ...(state.lastCleared === null ? [] : [state.lastCleared])];
  const ahead = earlier.find((each) => compareCompute(each.effectiveCompute, effectiveCompute) > 0);
  if (ahead === undefined) return [];
  return raiseAlert(state, context, {
    kind: 'notice',
    severity: 'warning',
    dedupKey: idOf('alert', context.digest, state.runId, 'regression', checkpointId),
    summary: `${state.runId}: checkpoint ${checkpointId} at ${effectiveCompute} FLOP lies behind ${ahead.checkpointId} at ${ahead.effectiveCompute}`,
    details: { checkpointId, effectiveCompute },
  });
}

// --- forecasts -----------------------------------------------------------------------------------------

/** Every stage and horizon that a forecast rule reads; without a rule, one checkpoint ahead is still sealed. */
function forecastsWanted(policy: Policy): Omit<Wanted, 'category'>[] {
  const rules = policy.rules.filter((rule): rule is ForecastRule => rule.kind === 'forecast');
  const limits = (stage: Stage, checkpoints: number): Limit[] => {
    const all = rules
      .filter((rule) => rule.stage === stage && rule.checkpoints === checkpoints)
      .map(({ atLeast, probability }) => ({ level: levelAt(atLeast), probability }));
    return all.filter((limit, i) => all.findIndex((each) => sameJson(each, limit)) === i);
  };
  const wanted = new Map<string, { stage: Stage; checkpoints: number; levels: Set<number> }>();
  const want = (stage: Stage, checkpoints: number): Set<number> => {
    const key = `${stage} ${checkpoints}`;
    const entry = wanted.get(key) ?? { stage, checkpoints, levels: new Set([2, 3, 4]) };
    wanted.set(key, entry);
    return entry.levels;
  };
  want('pre-mitigation', 1);
  for (const rule of rules) want(rule.stage, rule.checkpoints).add(levelAt(rule.atLeast));
  return [...wanted.values()].map((entry) => ({
    ...entry,
    levels: [...entry.levels].sort((a, b) => a - b),
    limits: limits(entry.stage, entry.checkpoints),
  }));
}

/** The ceiling of the permit that clearing this checkpoint, and `checkpoints - 1` more after it, would earn. */
export function horizon(
  { effectiveCompute, risk }: Pick<CheckpointState, 'effectiveCompute' | 'risk'>,
  checkpoints: number,
  policy: Policy,
): Compute {
  const { ratio, grace } = policy.cadence;
  if (risk !== undefined) {
    return timesCompute(risk.chosen.compute, ...Array.from({ length: checkpoints - 1 }, () => ratio));
  }
  return timesCompute(effectiveCompute, ...Array.from({ length: checkpoints }, () => ratio), onePlus(grace));
}

/**
 * Seals a category's forecasts once all its evaluations at a stage have concluded, or the deadline has passed;
 * again when evidence of the newest checkpoint changes (a retry, a top-up) while it is not cleared.
 */
export function sealForecasts(state: RunState, context: Context): RunEvent[] {
  const { policy, now } = context;
  for (const checkpoint of state.checkpoints) {
    // What its tripwires alone say is no ground for a forecast; one that was made due since has none yet.
    const isPassed = checkpoint.closed?.verdict === 'proceed' && checkpoint.forecasts.length > 0;
    if (isPassed || isTripwireOnly(checkpoint)) continue;
    const newest = checkpoint === state.checkpoints.at(-1);
    const late = reached(now, checkpoint.deadlineAt);
    if (policy.cadence.risk !== undefined && isAhead(state, checkpoint)) {
      const known = {
        isReady: (rows: readonly EvaluationState[]) => late || readyToForecast(rows, policy),
        historiesOf: (category: string, stage: Stage) =>
          historiesOf(state.series, checkpoint, { category, stage }, policy),
      };
      const sealed = sealRisk(state, checkpoint, context, known);
      if (sealed !== null) return [sealed];
      // Its forecasts are of the ceiling that is chosen.
      if (checkpoint.risk === undefined) continue;
    }
    for (const { stage, checkpoints, levels, limits } of forecastsWanted(policy)) {
      for (const { id: category } of policy.categories) {
        const sealed = checkpoint.forecasts.find(
          (each) => each.category === category && each.stage === stage && each.checkpoints === checkpoints,
        );
        if (sealed !== undefined && !(newest && sealed.method === servedMethod.method)) continue;
        const specs = policy.evaluations.filter(
          (spec) => spec.category === category && spec.stage === stage && !isControl(spec),
        );
        const rows = checkpoint.evaluations.filter(
          ({ evaluation, beside }) => beside === undefined && specs.some(({ id }) => id === evaluation),
        );
        if (rows.length === 0) continue;
        if (!(late || readyToForecast(rows, policy))) continue;
        const wanted = { category, stage, checkpoints, levels, limits };
        const forecast = forecastOf(state, checkpoint, wanted, policy);
        if (sealed !== undefined && sameJson(sealed, forecast)) continue;
        return [
          {
            kind: 'ForecastSealed',
            data: {
              checkpointId: checkpoint.checkpointId,
              forecast,
              dueBeyond: dueBeyond(state, checkpoint),
              at: iso(now),
            },
          },
        ];
      }
    }
  }
  return [];
}

/** The required evaluations are in; where none is required, all of them. */
function readyToForecast(rows: readonly EvaluationState[], policy: Policy): boolean {
  const required = rows.filter(({ evaluation }) => specOf(policy, evaluation).required);
  const awaited = required.length === 0 ? rows : required;
  return awaited.length > 0 && awaited.every(isConcluded);
}

interface Wanted {
  readonly category: string;
  readonly stage: Stage;
  readonly checkpoints: number;
  readonly levels: number[];
  readonly limits: Limit[];
}

interface Forecasts {
  readonly policy: Policy;
  readonly series: RunState['series'];
  readonly bounds: RunState['bounds'];
  readonly made: Map<string, SealedForecast>;
}

/** While neither the checkpoint nor what came before it changes, every decision would work out the same. */
const forecastsKnown = new WeakMap<CheckpointState, Forecasts>();

function forecastOf(
  { series, bounds }: Pick<RunState, 'series' | 'bounds'>,
  checkpoint: CheckpointState,
  wanted: Wanted,
  policy: Policy,
): SealedForecast {
  const last = forecastsKnown.get(checkpoint);
  const fits = last?.policy === policy && last.series === series && last.bounds === bounds;
  const { made } = fits ? last : { made: new Map<string, SealedForecast>() };
  if (!fits) forecastsKnown.set(checkpoint, { policy, series, bounds, made });
  // The levels are the policy's, by stage and horizon.
  const name = `${wanted.stage} ${wanted.checkpoints} ${wanted.category}`;
  const forecast = made.get(name) ?? makeForecast({ series, bounds }, checkpoint, wanted, policy);
  made.set(name, forecast);
  return forecast;
}

function makeForecast(
  { series, bounds }: Pick<RunState, 'series' | 'bounds'>,
  checkpoint: CheckpointState,
  wanted: Wanted,
  policy: Policy,
): SealedForecast {
  const { category, stage, checkpoints, levels, limits } = wanted;
  const horizonCompute = horizon(checkpoint, checkpoints, policy);
  const histories = historiesOf(series, checkpoint, wanted, policy);
  return {
    category,
    stage,
    checkpoints,
    horizonCompute,
    ...forecastCategory(servedMethod, histories, log2Compute(horizonCompute), levels, {
      asked: { limits, fromLog2Compute: log2Compute(checkpoint.effectiveCompute) },
      record: boundRecord({ bounds }, wanted),
    }),
  };
}

function historiesOf(
  allSeries: RunState['series'],
  checkpoint: CheckpointState,
  { category, stage }: Pick<Wanted, 'category' | 'stage'>,
  policy: Policy,
): EvaluationHistory[] {
  const current = seriesPoints(scorecardOf(checkpoint, policy));
  return (
    policy.evaluations
      .filter((spec) => spec.category === category && spec.stage === stage && !isControl(spec))
      // One that has ended, or has not begun, says nothing of this checkpoint.
      .filter(({ id }) => checkpoint.evaluations.some(({ evaluation }) => evaluation === id))
      .flatMap((spec) =>
        variantsOf(spec).map(({ id: variant }) => {
          const earlier = allSeries.find(
            (series) => series.evaluation === spec.id && series.variant === variant,
          );
          const points = [
            ...(earlier?.points ?? []).filter(({ checkpointId }) => checkpointId !== checkpoint.checkpointId),
            ...current.filter((point) => point.evaluation === spec.id && point.variant === variant),
          ].filter(
            ({ effectiveCompute }) => compareCompute(effectiveCompute, checkpoint.effectiveCompute) <= 0,
          );
          return {
            name: `${spec.id}/${variant}`,
            kind: scoreSpecOf(spec).kind,
            map: scoreSpecOf(spec),
            elicitationMargin: spec.elicitationMargin,
            ...comparableHistory(points, spec),
          };
        }),
      )
  );
}

// --- closing -------------------------------------------------------------------------------------------

/** Digests of scorecards that have not changed: every open checkpoint's is asked for in every decision. */
const digests = new WeakMap<Scorecard, { readonly digest: Context['digest']; readonly hex: string }>();

export function scorecardDigest(scorecard: Scorecard, { digest }: Pick<Context, 'digest'>): string {
  const last = digests.get(scorecard);
  if (last?.digest === digest) return last.hex;
  const hex = digest(canonicalJson(plainJson(scorecard)));
  digests.set(scorecard, { digest, hex });
  return hex;
}

/** Closes what is complete, and assesses again what has changed since. */
export function closeCheckpoints(state: RunState, context: Context): RunEvent[] {
  for (const checkpoint of state.checkpoints) {
    const assessment = assess(state, checkpoint, context.policy, context.now);
    const { closed } = checkpoint;
    if (closed === null && !assessment.complete) continue;
    const digest = scorecardDigest(assessment.scorecard, context);
    if (closed !== null && closed.scorecardDigest === digest && sameFindings(assessment, closed)) continue;
    const revision = (closed?.revision ?? 0) + 1;
    const ceiling = earnedCeiling(state, checkpoint, assessment, context);
    const taken = riskTaken(state, checkpoint, ceiling);
    return [
      {
        kind: 'CheckpointAssessed',
        data: {
          checkpointId: checkpoint.checkpointId,
          revision,
          verdict: assessment.verdict,
          findings: [...assessment.findings],
          scorecard: assessment.scorecard,
          scorecardDigest: digest,
          ceiling,
          ...(assessment.verdict === 'proceed' && isTripwireOnly(checkpoint)
            ? { clears: false as const }
            : {}),
          ...(taken === undefined ? {} : { risk: taken }),
          at: iso(context.now),
        },
      },
      ...noticeOf(state, checkpoint, assessment.findings, revision, context),
    ];
  }
  return [];
}

/** People are told once of each finding that asks for it, whatever the verdict is; not of what would have stopped the run. */
function noticeOf(
  state: RunState,
  { checkpointId, closed }: CheckpointState,
  findings: readonly Finding[],
  revision: number,
  context: Context,
): RunEvent[] {
  const told = new Set((closed?.findings ?? []).map(findingKey));
  const news = findings.filter(
    (finding) =>
      !finding.waived &&
      finding.then.includes('alert') &&
      !told.has(findingKey(finding)) &&
      !(isShadowed(state, context.now) && stopsTraining(finding)),
  );
  if (news.length === 0) return [];
  return raiseAlert(state, context, {
    kind: 'notice',
    severity: 'warning',
    dedupKey: idOf('alert', context.digest, state.runId, 'notice', checkpointId, revision),
    summary: `${state.runId} at ${checkpointId}: ${news.map(({ explanation }) => explanation).join('; ')}`,
    details: { checkpointId, rules: news.map(({ rule }) => rule).join(', ') },
  });
}

function sameFindings(
  { findings, verdict }: Assessment,
  closed: NonNullable<CheckpointState['closed']>,
): boolean {
  if (verdict !== closed.verdict) return false;
  return sameJson(findings, closed.findings);
}

/** The ceiling that a verdict earns, or null. Never lower than the one in force, and within the waiver in use. */
export function earnedCeiling(
  state: RunState,
  checkpoint: CheckpointState,
  { verdict, findings }: Assessment,
  context: Context,
): Compute | null {
  if (verdict !== 'proceed' || isTripwireOnly(checkpoint)) return null;
  const { ratio, grace } = context.policy.cadence;
  const earned = timesCompute(checkpoint.effectiveCompute, ratio, onePlus(grace));
  const safe = ceilingWithin(state, checkpoint, context.policy, earned);
  if (safe === null) return state.ceiling;
  const waiver = findings.some(({ waived }) => waived) ? activeWaiver(state, checkpoint, context.now) : null;
  const granted = waiver !== null && compareCompute(safe, waiver.ceiling) > 0 ? waiver.ceiling : safe;
  return maxCompute(state.ceiling, granted);
}
