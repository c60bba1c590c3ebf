/**
 * Estimate rounds (Delphi): experts are asked, apart from each other, how likely a level is before the next checkpoint;
 * then they read how far apart they are and why, and may answer once more.
 *
 * One question per checkpoint, category, stage and level, of two rounds at most: who dislikes a pool cannot ask again
 * until it pleases. One that closed without any answer is no question yet, or opening and closing would be a veto. Each round that closes is pooled, over the latest estimate of each expert, so a second round that
 * nobody begins or answers loses nothing. A round closes by hand or at its deadline, and without a pool when the next
 * checkpoint is assessed first: what it asked about has passed.
 */
import { canonicalJson } from '../canonical-json.ts';
import { type Compute, compareCompute, flopText, timesText } from '../compute.ts';
import { durationMs } from '../duration.ts';
import { type LevelQuantile, poolExperts, quantileProblem } from '../forecast/experts.ts';
import { levelText } from '../levels.ts';
import { isControl, type LevelReference, levelAt, type Policy, type Stage } from '../policy/schema.ts';
import { raiseAlert } from './alerts.ts';
import { horizon } from './checkpoint.ts';
import { type Context, type Decision, iso, isoAfter, reached, reject } from './context.ts';
import {
  countedEstimates,
  findRound,
  isOvertaken,
  isUnanswered,
  type PlacedRound,
  questionsLike,
  roundsOf,
} from './estimate-state.ts';
import type { RunEvent, RunEventData } from './events.ts';
import { idOf } from './ids.ts';
import { type CheckpointState, EXPERTS_MAX, QUESTIONS_MAX, type RunState } from './state.ts';

export interface OpenEstimateRound {
  readonly type: 'OpenEstimateRound';
  readonly category: string;
  readonly stage: Stage;
  readonly level: LevelReference;
  /** null: as long as a scorecard may take. */
  readonly closesAt: string | null;
  readonly by: string;
}
export interface BeginSecondRound {
  readonly type: 'BeginSecondRound';
  /** Either round of the question. */
  readonly roundId: string;
  readonly closesAt: string | null;
  readonly by: string;
}
export interface CloseEstimateRound {
  readonly type: 'CloseEstimateRound';
  readonly roundId: string;
  readonly by: string;
}
export interface GiveEstimate {
  readonly type: 'GiveEstimate';
  readonly roundId: string;
  /** Of reaching the round's level before the next checkpoint. */
  readonly probability: number;
  readonly quantiles: readonly LevelQuantile[];
  readonly rationale: string;
  /** Random: what readers see of an estimate in an open round is a hash, which nobody may find by trying. */
  readonly salt: string;
  readonly by: string;
}

// --- asking --------------------------------------------------------------------------------------------

/** The checkpoint that the run stands at: the furthest one that is evaluated. */
export function standingCheckpoint({ checkpoints }: RunState): CheckpointState | null {
  return checkpoints.reduce<CheckpointState | null>(
    (furthest, each) =>
      furthest === null || compareCompute(each.effectiveCompute, furthest.effectiveCompute) >= 0
        ? each
        : furthest,
    null,
  );
}

export function openEstimateRound(state: RunState, command: OpenEstimateRound, context: Context): Decision {
  const { category, stage, closesAt: stated, by } = command;
  const { policy } = context;
  const level = levelAt(command.level);
  const problem = questionProblem(policy, category, stage, level);
  if (problem !== null) return reject('invalid', problem.message, problem.path);
  const checkpoint = standingCheckpoint(state);
  if (checkpoint === null || isOvertaken(state, checkpoint)) {
    return reject(
      'conflict',
      state.finishedAt === null
        ? `run ${state.runId} has no evaluated checkpoint to look ahead from`
        : `run ${state.runId} is finished: no checkpoint will come`,
      'runId',
    );
  }
  const questions = checkpoint.questions ?? [];
  const asked = questionsLike(checkpoint, { category, stage, level });
  const standing = asked.find((each) => !isUnanswered(each));
  const [first] = standing?.rounds ?? [];
  if (first !== undefined) {
    const isSame = first.by === by && (stated === null || Date.parse(stated) === Date.parse(first.closesAt));
    if (first.closed === null && isSame) return [];
    return reject(
      'conflict',
      `this was asked at checkpoint ${checkpoint.checkpointId}, in round ${first.roundId}; a second round is how it is revised`,
      'category',
    );
  }
  if (questions.length >= QUESTIONS_MAX) {
    return reject(
      'conflict',
      `${QUESTIONS_MAX} questions were asked at ${checkpoint.checkpointId}, which is all`,
    );
  }
  const closesAt = closingTime(stated, context);
  if (typeof closesAt !== 'string') return reject('invalid', closesAt.problem, 'closesAt');
  const { checkpointId, effectiveCompute } = checkpoint;
  const ordinal = asked.length + 1;
  const roundId = idOf('round', context.digest, state.runId, checkpointId, category, stage, level, ordinal);
  const horizonCompute = horizon(checkpoint, 1, policy);
  const question = { questionId: roundId, category, stage, level, horizonCompute };
  const opened = { roundId, round: 1 as const, checkpointId, ...question, by, closesAt };
  return [openedRound(opened, context), ...invitation(state, opened, effectiveCompute, context)];
}

function questionProblem(
  policy: Policy,
  category: string,
  stage: Stage,
  level: number,
): { path: string; message: string } | null {
  if (!policy.categories.some(({ id }) => id === category)) {
    const known = policy.categories.map(({ id }) => id).join(', ');
    return { path: 'category', message: `is not a category of the run's policy (${known})` };
  }
  if (
    !policy.evaluations.some((spec) => spec.category === category && spec.stage === stage && !isControl(spec))
  ) {
    return { path: 'stage', message: `the policy evaluates nothing of ${category} at ${stage}` };
  }
  return level > 1 ? null : { path: 'level', message: 'must be above 1, where every run is' };
}

function closingTime(stated: string | null, { policy, now }: Context): string | { problem: string } {
  const { scorecardDeadline, maxInterval } = policy.cadence;
  if (stated === null) return isoAfter(now, durationMs(scorecardDeadline));
  const ms = Date.parse(stated);
  if (Number.isNaN(ms)) return { problem: 'must be an instant with a zone, RFC 3339' };
  if (ms <= now.getTime()) return { problem: 'must lie in the future' };
  // By then the next checkpoint is due whatever the compute.
  if (ms > now.getTime() + durationMs(maxInterval)) return { problem: `must lie within ${maxInterval}` };
  return new Date(ms).toISOString();
}

type Opened = Omit<RunEventData<'EstimateRoundOpened'>, 'at'> & { readonly horizonCompute: Compute };

function openedRound(data: Opened, { now }: Context): RunEvent {
  return { kind: 'EstimateRoundOpened', data: { ...data, at: iso(now) } };
}

/** Experts hear of a round as on-call people hear of a hold: what is asked, until when, how to answer. Once for each round. */
function invitation(
  state: RunState,
  { roundId, round, questionId, checkpointId, category, stage, level, horizonCompute, closesAt }: Opened,
  effectiveCompute: Compute,
  context: Context,
): RunEvent[] {
  const { runId } = state;
  const title = context.policy.categories.find(({ id }) => id === category)?.title ?? category;
  const within = `within ${timesText(horizonCompute, effectiveCompute)} the compute of ${checkpointId} (${flopText(horizonCompute)})`;
  const question = `how likely is ${title} ${stage} to reach ${levelText(level)} before the next checkpoint, ${within}?`;
  const head =
    round === 1 ? 'experts are asked' : 'experts are asked once more, having read why others differ';
  return raiseAlert(state, context, {
    kind: 'notice',
    severity: 'info',
    dedupKey: idOf('alert', context.digest, runId, 'estimate-round', roundId),
    summary: `${runId}: ${head}, apart from each other: ${question} Until ${closesAt}`,
    details: {
      roundId,
      round: String(round),
      checkpointId,
      question,
      closesAt,
      answer: `interlock estimate give --run ${runId} --round ${roundId} --probability P --rationale TEXT (or POST /v1/runs/${runId}/estimates)`,
      ...(round === 1 ? {} : { read: `interlock estimate show --run ${runId} --round ${questionId}` }),
    },
  });
}

// --- answering -----------------------------------------------------------------------------------------

export function giveEstimate(state: RunState, command: GiveEstimate, context: Context): Decision {
  const { roundId, probability, quantiles, rationale, salt, by } = command;
  const placed = findRound(state, roundId);
  if (placed === null) return noRound(state, roundId);
  const { round, question } = placed;
  const contentDigest = context.digest(
    canonicalJson({ probability, quantiles: quantiles.map(({ p, level }) => ({ p, level })), rationale }),
  );
  const mine = round.estimates.find((each) => each.by === by);
  // Also once the round is closed: whoever lost the answer asks again and is no conflict.
  if (mine?.contentDigest === contentDigest) return [];
  if (round.closed !== null || reached(context.now, round.closesAt)) {
    return reject('conflict', `round ${roundId} closed at ${round.closed?.at ?? round.closesAt}`, 'roundId');
  }
  const problem = quantileProblem(quantiles, probability, question.level);
  if (problem !== null) return reject('invalid', problem.message, problem.path);
  if (mine === undefined && round.estimates.length >= EXPERTS_MAX) {
    return reject(
      'conflict',
      `round ${roundId} has ${EXPERTS_MAX} experts, which is all it takes`,
      'roundId',
    );
  }
  const estimateId = idOf('est', context.digest, state.runId, roundId, by, (mine?.given ?? 0) + 1);
  return [
    {
      kind: 'EstimateGiven',
      data: {
        roundId,
        estimateId,
        by,
        probability,
        quantiles: quantiles.map(({ p, level }) => ({ p, level })),
        rationale,
        contentDigest,
        salt,
        at: iso(context.now),
      },
    },
  ];
}

// --- closing -------------------------------------------------------------------------------------------

export function closeEstimateRound(state: RunState, command: CloseEstimateRound, context: Context): Decision {
  const placed = findRound(state, command.roundId);
  if (placed === null) return noRound(state, command.roundId);
  return placed.round.closed === null ? closing(placed, command.by, context) : [];
}

export function beginSecondRound(state: RunState, command: BeginSecondRound, context: Context): Decision {
  const { roundId: named, by } = command;
  const placed = findRound(state, named);
  if (placed === null) return noRound(state, named);
  const { checkpoint, question } = placed;
  const [first, second] = question.rounds;
  if (second !== undefined || first === undefined) {
    if (second?.closed === null && second.by === by) return [];
    return reject('conflict', 'the second round is the last: it was begun before', 'roundId');
  }
  if (questionsLike(checkpoint, question).at(-1) !== question) {
    return reject('conflict', 'nobody answered it, and the question was asked anew', 'roundId');
  }
  if (isOvertaken(state, checkpoint)) {
    return reject('conflict', `what round ${named} asked about has passed`, 'roundId');
  }
  const closesAt = closingTime(command.closesAt, context);
  if (typeof closesAt !== 'string') return reject('invalid', closesAt.problem, 'closesAt');
  const { rounds: _rounds, ...asked } = question;
  const { checkpointId, effectiveCompute } = checkpoint;
  const roundId = idOf('round', context.digest, state.runId, question.questionId, 'second');
  const opened = { roundId, round: 2 as const, checkpointId, ...asked, by, closesAt };
  return [
    ...(first.closed === null ? closing(placed, by, context) : []),
    openedRound(opened, context),
    ...invitation(state, opened, effectiveCompute, context),
  ];
}

/** Closes what is past its deadline or overtaken. */
export function closeEstimateRounds(state: RunState, context: Context): RunEvent[] {
  for (const placed of roundsOf(state)) {
    const { round, checkpoint } = placed;
    if (round.closed !== null) continue;
    if (isOvertaken(state, checkpoint)) return [closed(round.roundId, 'overtaken', null, context)];
    if (reached(context.now, round.closesAt)) return closing(placed, null, context);
  }
  return [];
}

function closing(placed: PlacedRound, by: string | null, context: Context): RunEvent[] {
  const { roundId, closesAt } = placed.round;
  const event = reached(context.now, closesAt)
    ? closed(roundId, 'deadline', null, context)
    : closed(roundId, 'by-hand', by, context);
  const pooled = pooledEstimates(placed, context.now);
  return pooled === null ? [event] : [event, { kind: 'EstimatesPooled', data: pooled }];
}

function closed(
  roundId: string,
  reason: RunEventData<'EstimateRoundClosed'>['reason'],
  by: string | null,
  { now }: Context,
): RunEvent {
  return { kind: 'EstimateRoundClosed', data: { roundId, reason, by, at: iso(now) } };
}

/** What a round's closing says; null where nobody has answered. */
export function pooledEstimates(
  { checkpoint, question, round }: PlacedRound,
  now: Date,
): RunEventData<'EstimatesPooled'> | null {
  const counted = countedEstimates(question);
  if (counted.length === 0) return null;
  const { category, stage, level } = question;
  return {
    roundId: round.roundId,
    checkpointId: checkpoint.checkpointId,
    category,
    stage,
    level,
    pool: poolExperts(counted.map(({ probability }) => probability)),
    estimateIds: counted.map(({ estimateId }) => estimateId),
    at: iso(now),
  };
}

function noRound({ runId }: RunState, roundId: string): Decision {
  return reject('not-found', `run ${runId} has no round ${roundId} that can still be answered`, 'roundId');
}
