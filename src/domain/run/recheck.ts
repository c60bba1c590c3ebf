/**
 * Does a recorded judgement follow from what was known when it was made? The check behind `interlock replay`.
 *
 * Recomputes, from the state before the event and the event's own `at`: every assessment (scorecard, findings,
 * verdict, earned ceiling, and what of the risk it takes), every halt that a rule ordered, every hold, every score of a forecast, and whether it was
 * sealed in time and with the run's record of bounds. Forecasts are not recomputed: they are sealed, and verdicts and scores read the sealed figures.
 * Nothing here reads the heartbeat side columns, which are not in the ledger: a judgement that rested on them has
 * its `ProgressNoted` before it.
 */
import { canonicalJson, plainJson } from '../canonical-json.ts';
import { compareCompute } from '../compute.ts';
import { calibrationOf } from '../forecast/calibration.ts';
import { levelsOf } from '../levels.ts';
import { isControl, levelAt, type Policy } from '../policy/schema.ts';
import { type Assessment, assess } from './assess.ts';
import { earnedCeiling, scorecardDigest } from './checkpoint.ts';
import type { Context } from './context.ts';
import { findRound } from './estimate-state.ts';
import { pooledEstimates } from './estimates.ts';
import { specOf } from './evaluation.ts';
import type { RunEvent, RunEventData } from './events.ts';
import type { Finding } from './finding-documents.ts';
import { scoreForecasts } from './forecast-scores.ts';
import { boundRecord, dueBeyond } from './forecast-state.ts';
import { haltingFindings } from './halt.ts';
import type { HaltCause } from './halt-documents.ts';
import { closingInOf, holdCauses } from './holds.ts';
import type { Digest } from './ids.ts';
import { riskProblem, riskTaken } from './permit-risk.ts';
import { confidenceZ, scoreSpecOf } from './scorecard.ts';
import { isShadowed, shadowOf } from './shadow-state.ts';
import type { CheckpointState, RunState } from './state.ts';
import { beginSuccessions, endSuccessions } from './succession.ts';
import { clearingProblem, isTripwireOnly } from './tiers.ts';

/** null where the event agrees or claims nothing that can be recomputed; else a sentence naming the difference. */
export function recheck(
  before: RunState | null,
  event: RunEvent,
  policy: Policy,
  digest: Digest,
): string | null {
  if (before === null) return null;
  const context: Context = { now: new Date(event.data.at), policy, digest, progress: null };
  switch (event.kind) {
    case 'CheckpointAssessed':
      return assessmentDiffers(before, event.data, context);
    case 'HaltOrdered':
    case 'HaltCauseAdded':
      return (
        actedInShadow(before, event.data.cause, context) ?? causeDiffers(before, event.data.cause, context)
      );
    case 'HoldPlaced':
      return actedInShadow(before, null, context) ?? holdDiffers(before, event.data, context);
    case 'WouldHaveHalted':
      return excused(before, context) ?? causeDiffers(before, event.data.cause, context);
    case 'WouldHaveHeld':
      return excused(before, context) ?? holdDiffers(before, event.data, context);
    case 'ShadowEnded':
      return endDiffers(before, event.data);
    case 'ArchivedResultReported':
      return archivedDiffers(event.data, policy);
    case 'EstimatesPooled':
      return poolDiffers(before, event.data);
    case 'ForecastSealed':
      return sealDiffers(before, event.data);
    case 'PermitRiskSealed':
      return riskDiffers(before, event.data, policy);
    case 'TripwireCleared': {
      const problem = clearingProblem(before, event.data, context);
      return problem === null ? null : `tripwires cleared ${event.data.checkpointId}: ${problem}`;
    }
    case 'SuccessionBegun':
      return successionDiffers(before, event.data, context);
    case 'SuccessionEnded':
      return endSuccessions(before, context).some(({ data }) => same(data, event.data))
        ? null
        : `${event.data.succeeds} ended before it had run beside ${event.data.evaluation} for long enough`;
    case 'ForecastScored':
      return scoreDiffers(before, event.data, context);
    default:
      return null;
  }
}

function assessmentDiffers(
  before: RunState,
  data: RunEventData<'CheckpointAssessed'>,
  context: Context,
): string | null {
  const checkpoint = before.checkpoints.find(({ checkpointId }) => checkpointId === data.checkpointId);
  const named = `checkpoint ${data.checkpointId}, revision ${data.revision}`;
  if (checkpoint === undefined) return `${named}: no such checkpoint was open`;
  const assessment = assess(before, checkpoint, context.policy, context.now);
  if (assessment.verdict !== data.verdict) {
    return `${named}: the recorded verdict is ${data.verdict}, the rules give ${assessment.verdict}`;
  }
  if (!same(assessment.findings, data.findings)) return `${named}: the rules give other findings`;
  if (!same(assessment.scorecard, data.scorecard)) return `${named}: the evidence gives another scorecard`;
  if (scorecardDigest(assessment.scorecard, context) !== data.scorecardDigest) {
    return `${named}: the digest is not that of the scorecard`;
  }
  if ((data.clears === false) !== isPartial(checkpoint, assessment)) {
    return `${named}: whether it clears anything is recorded otherwise`;
  }
  const ceiling = earnedCeiling(before, checkpoint, assessment, context);
  const agrees =
    ceiling === null || data.ceiling === null
      ? ceiling === data.ceiling
      : compareCompute(ceiling, data.ceiling) === 0;
  if (!agrees) return `${named}: the recorded ceiling is ${data.ceiling}, the rules give ${ceiling}`;
  const taken = riskTaken(before, checkpoint, ceiling);
  return text({ taken }) === text({ taken: data.risk })
    ? null
    : `${named}: what the permit takes of the risk is recorded otherwise`;
}

/** Of a checkpoint whose tripwires alone were asked for. */
const isPartial = (checkpoint: CheckpointState, { verdict }: Assessment): boolean =>
  verdict === 'proceed' && isTripwireOnly(checkpoint);

function successionDiffers(
  before: RunState,
  data: RunEventData<'SuccessionBegun'>,
  context: Context,
): string | null {
  const { checkpointId, evaluation, succeeds } = data;
  const named = `${evaluation} beside ${succeeds}`;
  const reported = before.checkpoints.find((each) => each.checkpointId === checkpointId);
  if (reported === undefined) return `${named}: ${checkpointId} is not evaluated`;
  const expected = beginSuccessions(before, reported, context).some((event) => same(event.data, data));
  return expected ? null : `${named}: the policy begins it elsewhere, or otherwise`;
}

/** Only people stop a run that is in shadow. */
function actedInShadow(before: RunState, cause: HaltCause | null, { now }: Context): string | null {
  if (cause?.kind === 'person' || !isShadowed(before, now)) return null;
  return 'a rule stopped the run although it was in shadow';
}

/** A run that is armed is excused nothing. */
function excused(before: RunState, { now }: Context): string | null {
  return isShadowed(before, now) ? null : 'what should have stopped the run did not: it was not in shadow';
}

function endDiffers(before: RunState, { reason, at }: RunEventData<'ShadowEnded'>): string | null {
  const shadow = shadowOf(before);
  if (shadow === null) return 'a shadow ended that the run was not in';
  const early = reason === 'time' && Date.parse(at) < Date.parse(shadow.until);
  return early ? `its shadow ended by itself before ${shadow.until}` : null;
}

function causeDiffers(before: RunState, cause: HaltCause, context: Context): string | null {
  // A person's word, and the state of another run: neither is in this run's events before.
  if (cause.kind !== 'rule') return null;
  // Judged when it was recorded, of evidence that has left the state since.
  if (before.shadow?.kept.some((kept) => same(kept.cause, cause)) === true) return null;
  const { checkpointId: id } = cause;
  const known = id === null || before.checkpoints.some(({ checkpointId }) => checkpointId === id);
  if (!known) return archivedCauseDiffers(cause.findings, context.policy);
  const groups = haltingFindings(before, context).filter(
    ({ checkpointId }) => checkpointId === cause.checkpointId,
  );
  const standing = new Set(groups.flatMap(({ findings }) => findings.map(text)));
  const unfounded = cause.findings.find((finding) => !standing.has(text(finding)));
  return unfounded === undefined
    ? null
    : `the halt's cause ${unfounded.rule} (${unfounded.explanation}) does not follow from what was known`;
}

/** The checkpoint is gone from the state: the finding's own arithmetic is what can be checked. */
function archivedCauseDiffers(findings: readonly Finding[], policy: Policy): string | null {
  const unfounded = findings.find(({ rule: id, stage, observed, threshold, basis, then }) => {
    const rule = policy.rules.find((each) => each.id === id);
    const follows =
      rule?.kind === 'level' &&
      rule.stage === stage &&
      rule.basis === basis &&
      threshold === levelAt(rule.atLeast) &&
      typeof observed === 'number' &&
      observed >= threshold &&
      same(rule.then, then);
    return !follows;
  });
  return unfounded === undefined
    ? null
    : `the halt's cause ${unfounded.rule} (${unfounded.explanation}) does not follow from the policy`;
}

function archivedDiffers(data: RunEventData<'ArchivedResultReported'>, policy: Policy): string | null {
  const { score } = data.reading;
  const spec = specOf(policy, data.evaluation);
  const levels =
    score === null || isControl(spec)
      ? { estimate: null, upper: null }
      : levelsOf({ ...data.reading, score }, scoreSpecOf(spec), confidenceZ(policy, spec));
  if (levels.estimate === data.estimate && levels.upper === data.upper) return null;
  return `the late result ${data.evaluationId}/${data.attempt}: its score gives other levels`;
}

/** Rounded to the sixth decimal from logarithms that may differ between engines in the last bit. */
const POOL_CLOSE = 1.5e-6;

function poolDiffers(before: RunState, data: RunEventData<'EstimatesPooled'>): string | null {
  const named = `the pool of round ${data.roundId}`;
  const placed = findRound(before, data.roundId);
  if (placed === null) return `${named}: no such round was open`;
  const expected = pooledEstimates(placed, new Date(data.at));
  if (expected === null) return `${named}: nobody had answered`;
  const { p, geometricMean, ...rest } = expected.pool;
  const pool = { ...data.pool, ...rest };
  const close = (a: number, b: number): boolean => Math.abs(a - b) <= POOL_CLOSE;
  const agrees = close(data.pool.p, p) && close(data.pool.geometricMean, geometricMean);
  return agrees && same({ ...data, pool }, { ...expected, pool }) && same(data.pool, pool)
    ? null
    : `${named}: the estimates give another`;
}

function sealDiffers(
  before: RunState,
  { checkpointId, forecast, dueBeyond: recorded }: RunEventData<'ForecastSealed'>,
): string | null {
  const checkpoint = before.checkpoints.find((each) => each.checkpointId === checkpointId);
  const named = `the forecast of ${forecast.category} at ${checkpointId}`;
  if (checkpoint === undefined) return `${named}: no such checkpoint was open`;
  const { calibration } = forecast;
  if (calibration !== undefined && !same(calibration, calibrationOf(boundRecord(before, forecast)))) {
    return `${named}: the run's bounds had another record`;
  }
  if (recorded === undefined || same(recorded, dueBeyond(before, checkpoint))) return null;
  return `${named}: other checkpoints had been reported before it was sealed`;
}

function riskDiffers(
  before: RunState,
  { checkpointId, risk }: RunEventData<'PermitRiskSealed'>,
  policy: Policy,
): string | null {
  const named = `the risk of the permit that ${checkpointId} earns`;
  const checkpoint = before.checkpoints.find((each) => each.checkpointId === checkpointId);
  if (checkpoint === undefined) return `${named}: no such checkpoint was open`;
  const problem = riskProblem(before, checkpoint, risk, policy);
  return problem === null ? null : `${named}: ${problem}`;
}

function scoreDiffers(
  before: RunState,
  data: RunEventData<'ForecastScored'>,
  context: Context,
): string | null {
  const expected = scoreForecasts(before, context).some((event) => same(event.data, data));
  return expected
    ? null
    : `the score of the forecast of ${data.category} at ${data.checkpointId}: the sealed figures and the evidence give another, or none`;
}

function holdDiffers(
  before: RunState,
  { key, findings, closingIn }: Omit<RunEventData<'HoldPlaced'>, 'holdId'>,
  context: Context,
): string | null {
  const cause = holdCauses(before, context).find((each) => each.key === key);
  if (cause === undefined) return `the hold ${key} does not follow from what was known`;
  if (!same(cause.findings, findings)) return `the hold ${key}: the rules give other findings`;
  if (isShadowed(before, context.now)) return null;
  return closingInOf(before, key, context) === (closingIn?.until ?? null)
    ? null
    : `the hold ${key}: whether people are woken for it is recorded otherwise`;
}

function same(a: object, b: object): boolean {
  return text(a) === text(b);
}

/** Through JSON, because the recorded side has been through it. */
function text(value: object): string {
  return canonicalJson(plainJson(value));
}
