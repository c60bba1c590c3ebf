/**
 * What experts were asked and have said, as the state holds it: who answered, with what probability, and what was
 * pooled. A question belongs to the checkpoint at which it was asked, so that a pool counts for that one alone.
 *
 * Not here: who may ask and answer, and when (estimates.ts).
 */
import { compareCompute } from '../compute.ts';
import type { RunEventData } from './events.ts';
import type { CheckpointState, EstimateQuestion, EstimateRound, RunState } from './state.ts';

type Estimate = EstimateRound['estimates'][number];

/** A round where it stands. */
export interface PlacedRound {
  readonly checkpoint: CheckpointState;
  readonly question: EstimateQuestion;
  readonly round: EstimateRound;
  readonly ordinal: 1 | 2;
}

export function roundsOf(state: RunState): PlacedRound[] {
  return state.checkpoints.flatMap((checkpoint) =>
    (checkpoint.questions ?? []).flatMap((question) =>
      question.rounds.map((round, i) => ({
        checkpoint,
        question,
        round,
        ordinal: i === 0 ? (1 as const) : (2 as const),
      })),
    ),
  );
}

export function findRound(state: RunState, roundId: string): PlacedRound | null {
  return roundsOf(state).find(({ round }) => round.roundId === roundId) ?? null;
}

export const hasOpenRound = ({ questions = [] }: CheckpointState): boolean =>
  questions.some(({ rounds }) => rounds.some(({ closed }) => closed === null));

/** A later checkpoint has been assessed, or none will come: what was asked about has passed. */
export function isOvertaken(state: RunState, checkpoint: CheckpointState): boolean {
  const { effectiveCompute } = checkpoint;
  const { lastCleared, checkpoints, finishedAt } = state;
  const beyond = (each: Pick<CheckpointState, 'effectiveCompute'>): boolean =>
    compareCompute(each.effectiveCompute, effectiveCompute) > 0;
  return (
    finishedAt !== null ||
    (lastCleared !== null && beyond(lastCleared)) ||
    checkpoints.some((each) => each.closed !== null && beyond(each))
  );
}

/** Nothing that was said can be revised any more: now everybody may see who said what. */
export function isSettled(state: RunState, { checkpoint, question }: PlacedRound): boolean {
  const [, second] = question.rounds;
  return (second !== undefined && second.closed !== null) || isOvertaken(state, checkpoint);
}

/** The latest estimate of each expert over both rounds: whoever does not revise stands by the first. */
export function countedEstimates({ rounds }: EstimateQuestion): Estimate[] {
  const latest = new Map(rounds.flatMap(({ estimates }) => estimates.map((each) => [each.by, each])));
  return [...latest.values()].sort((a, b) => (a.estimateId < b.estimateId ? -1 : 1));
}

/** The last of them is the one that counts: those before it closed without an answer. */
export function questionsLike(
  { questions = [] }: CheckpointState,
  { category, stage, level }: Pick<EstimateQuestion, 'category' | 'stage' | 'level'>,
): EstimateQuestion[] {
  return questions.filter(
    (each) => each.category === category && each.stage === stage && each.level === level,
  );
}

/** Over, and nobody has said anything. */
export const isUnanswered = ({ rounds }: EstimateQuestion): boolean =>
  rounds.every(({ closed, estimates }) => closed !== null && estimates.length === 0);

/** The newest pool of a question; null while no round with an estimate has closed. */
export const poolOf = ({ rounds }: EstimateQuestion): EstimateRound['pool'] =>
  rounds.findLast(({ pool }) => pool !== null)?.pool ?? null;

// --- events --------------------------------------------------------------------------------------------

function withQuestions(
  state: RunState,
  has: (checkpoint: CheckpointState) => boolean,
  change: (questions: readonly EstimateQuestion[]) => EstimateQuestion[],
): RunState {
  const checkpoints = state.checkpoints.map((each) =>
    has(each) ? { ...each, questions: change(each.questions ?? []) } : each,
  );
  return { ...state, checkpoints };
}

function withRound(
  state: RunState,
  roundId: string,
  change: (round: EstimateRound) => EstimateRound,
): RunState {
  const isIn = ({ rounds }: EstimateQuestion): boolean => rounds.some((each) => each.roundId === roundId);
  return withQuestions(
    state,
    ({ questions = [] }) => questions.some(isIn),
    (questions) =>
      questions.map((question) =>
        isIn(question)
          ? {
              ...question,
              rounds: question.rounds.map((each) => (each.roundId === roundId ? change(each) : each)),
            }
          : question,
      ),
  );
}

function opened(state: RunState, data: RunEventData<'EstimateRoundOpened'>): RunState {
  const { roundId, questionId, checkpointId, by, closesAt, at } = data;
  const round: EstimateRound = {
    roundId,
    by,
    openedAt: at,
    closesAt,
    closed: null,
    pool: null,
    estimateIds: [],
    estimates: [],
  };
  return withQuestions(
    state,
    (checkpoint) => checkpoint.checkpointId === checkpointId,
    (questions) => {
      if (questions.some((each) => each.questionId === questionId)) {
        return questions.map((each) =>
          each.questionId === questionId ? { ...each, rounds: [...each.rounds, round] } : each,
        );
      }
      const { category, stage, level, horizonCompute } = data;
      return [...questions, { questionId, category, stage, level, horizonCompute, rounds: [round] }];
    },
  );
}

export const estimateEvolvers = {
  EstimateRoundOpened: opened,
  EstimateGiven: (state: RunState, data: RunEventData<'EstimateGiven'>): RunState =>
    withRound(state, data.roundId, (round) => {
      const { estimateId, by, probability, contentDigest } = data;
      const given = (round.estimates.find((each) => each.by === by)?.given ?? 0) + 1;
      const others = round.estimates.filter((each) => each.by !== by);
      return {
        ...round,
        estimates: [...others, { estimateId, by, probability, contentDigest, given }],
      };
    }),
  EstimateRoundClosed: (
    state: RunState,
    { roundId, reason, at }: RunEventData<'EstimateRoundClosed'>,
  ): RunState => withRound(state, roundId, (round) => ({ ...round, closed: { reason, at } })),
  EstimatesPooled: (
    state: RunState,
    { roundId, pool, estimateIds }: RunEventData<'EstimatesPooled'>,
  ): RunState => withRound(state, roundId, (round) => ({ ...round, pool, estimateIds })),
};
