/**
 * The training stage that a run is in (`rl`, `fine-tuning`), its own compute, and breakthroughs that were declared: what makes
 * a checkpoint due before the doubling of the run's whole compute does.
 *
 * A stage's own compute is the greater of what the trainer states and what the run has trained since the stage began: one
 * that states too little gains nothing. The permit's ceiling stays one of the whole compute; a stage that passes its own
 * due point without a due checkpoint, or what the grace allows while that one is evaluated, is *overdue*: it holds.
 * A due checkpoint answers whatever was declared before it.
 */
import {
  type Compute,
  compareCompute,
  maxCompute,
  minusCompute,
  onePlus,
  plusCompute,
  timesCompute,
} from '../compute.ts';
import { durationMs } from '../duration.ts';
import { checkpointWithinMs, stageCadence } from '../policy/trigger-schema.ts';
import { type Context, type Decision, iso, isoAfter, reject } from './context.ts';
import type { RunEventData, StatedStage } from './events.ts';
import type { CheckpointState, RunState, TrainingStage } from './state.ts';

type Policied = Pick<Context, 'policy'>;

const cadenceOf = ({ name, before }: TrainingStage, { policy }: Policied) =>
  stageCadence(policy.cadence, name, before);

/** What it has trained by itself where the whole run is at `total`; null: nothing yet. */
export function ownCompute(
  { before }: Pick<TrainingStage, 'before'>,
  total: Compute,
  stated: Compute | null,
): Compute | null {
  const trained = before === null ? total : minusCompute(total, before);
  if (trained === null || stated === null) return trained ?? stated;
  return maxCompute(trained, stated);
}

/** Own compute at which the next checkpoint of the stage is due; null: none before its first is cleared. */
export function stageDue(stage: TrainingStage, context: Policied): Compute | null {
  const { ratio, first } = cadenceOf(stage, context);
  const cleared = stage.cleared?.compute ?? null;
  if (cleared === null) return first;
  const next = timesCompute(cleared, ratio);
  return first === null ? next : maxCompute(first, next);
}

/** The same, in compute of the whole run. */
export function stageDueTotal({ trainingStage }: RunState, context: Policied): Compute | null {
  if (trainingStage === undefined) return null;
  const due = stageDue(trainingStage, context);
  if (due === null) return null;
  return trainingStage.before === null ? due : plusCompute(trainingStage.before, due);
}

/** Changed, and no due checkpoint of it is in. */
const isUnseen = ({ trainingStage }: RunState): boolean => trainingStage?.seen === false;

const openBreakthroughs = ({ breakthroughs = [] }: RunState) =>
  breakthroughs.filter(({ answeredBy }) => answeredBy === null);

/** A due checkpoint is awaited whatever its compute. */
export const isAwaited = (state: RunState): boolean => isUnseen(state) || openBreakthroughs(state).length > 0;

/** By when it must be in, the earliest; null where none is awaited. */
export function awaitedBy(state: RunState): string | null {
  const stage = isUnseen(state) ? [state.trainingStage?.seenBy ?? null] : [];
  const all = [...stage, ...openBreakthroughs(state).map(({ dueBy }) => dueBy)].filter((at) => at !== null);
  return all.sort((a, b) => Date.parse(a) - Date.parse(b))[0] ?? null;
}

export type StageReason = 'stage' | 'stage-ratio' | 'breakthrough';

/** Why a checkpoint is due that the run's whole compute does not make due. */
export function whyDueByStage(
  state: RunState,
  { effectiveCompute, trainingStage: stated }: Reported,
  context: Policied,
): StageReason | null {
  const { trainingStage: stage } = state;
  if (stated !== undefined && isChange(state, stated)) return 'stage';
  if (isUnseen(state)) return 'stage';
  if (openBreakthroughs(state).length > 0 && !isBehind(state, effectiveCompute)) return 'breakthrough';
  if (stage === undefined) return null;
  const due = stageDue(stage, context);
  const own = ownCompute(stage, effectiveCompute, stated?.compute ?? null);
  return due !== null && own !== null && compareCompute(own, due) >= 0 ? 'stage-ratio' : null;
}

/** Weights from before those last cleared: what was declared since says nothing of them. */
const isBehind = ({ lastCleared }: RunState, effectiveCompute: Compute): boolean =>
  lastCleared !== null && compareCompute(effectiveCompute, lastCleared.effectiveCompute) < 0;

interface Reported {
  readonly effectiveCompute: Compute;
  readonly trainingStage?: StatedStage | undefined;
}

/** The first name that a run gives, before it has trained anything that was evaluated, changes nothing. */
function isChange({ trainingStage, checkpoints, lastCleared }: RunState, { name }: StatedStage): boolean {
  if (trainingStage !== undefined) return trainingStage.name !== name;
  return lastCleared !== null || checkpoints.some(({ due }) => due);
}

/** By the calendar of the stage; null where it has none of its own. */
export function stageIntervalMs({ trainingStage }: RunState, context: Policied): number | null {
  if (trainingStage === undefined) return null;
  const { maxInterval } = cadenceOf(trainingStage, context);
  return maxInterval === null ? null : durationMs(maxInterval);
}

export interface StageCrossing {
  readonly observed: Compute;
  readonly threshold: Compute;
  readonly explanation: string;
}

/** The own compute that it has trained or states, where that is at its due point or past it. */
function crossedDue(state: RunState, high: Compute | null, context: Policied) {
  const { trainingStage: stage } = state;
  if (stage === undefined || high === null) return null;
  const due = stageDue(stage, context);
  const own = ownCompute(stage, high, stage.compute);
  return due === null || own === null || compareCompute(own, due) < 0 ? null : { stage, due, own };
}

/** Past the stage's own due point without a due checkpoint at or past it. */
export function missesStageCheckpoint(state: RunState, high: Compute | null, context: Policied): boolean {
  const crossed = crossedDue(state, high, context);
  if (crossed === null) return false;
  return !state.checkpoints.some((checkpoint) => speaksFor(checkpoint, crossed.stage, crossed.due));
}

/** Such a checkpoint is missing; or it is past what the grace allows while that one is evaluated. */
export function stageOverdue(state: RunState, high: Compute | null, context: Policied): StageCrossing | null {
  const crossed = crossedDue(state, high, context);
  if (crossed === null) return null;
  const { stage, due, own } = crossed;
  const name = `training stage ${stage.name}`;
  if (missesStageCheckpoint(state, high, context)) {
    return {
      observed: own,
      threshold: due,
      explanation: `no checkpoint was reported although ${name} has trained ${own} by itself, and one is due at ${due}`,
    };
  }
  const limit = timesCompute(due, onePlus(context.policy.cadence.grace));
  if (compareCompute(own, limit) <= 0) return null;
  return {
    observed: own,
    threshold: limit,
    explanation: `${name} has trained ${own} by itself, past ${limit}, and the checkpoint that was due at ${due} is not cleared`,
  };
}

/** Its first due checkpoint speaks for a stage up to its first due point; later ones from theirs on. */
function speaksFor(
  { due: isDue, trainingStage, effectiveCompute }: CheckpointState,
  stage: TrainingStage,
  due: Compute,
): boolean {
  if (!isDue || trainingStage?.name !== stage.name || trainingStage.enteredAt !== stage.enteredAt)
    return false;
  if (stage.cleared === null) return true;
  const own = ownCompute(stage, effectiveCompute, trainingStage.compute ?? null);
  return own !== null && compareCompute(own, due) >= 0;
}

// --- commands ------------------------------------------------------------------------------------------

export interface NoteTrainingStage {
  readonly type: 'NoteTrainingStage';
  readonly stage: StatedStage;
  readonly effectiveCompute: Compute;
  readonly by: string;
}

/** What a heartbeat states: recorded where it is another stage, or where its own compute crosses the due point. */
export function noteTrainingStage(
  state: RunState,
  { stage: stated, effectiveCompute, by }: NoteTrainingStage,
  context: Context,
): Decision {
  if (!mattersStage(state, stated, context) || state.finishedAt !== null) return [];
  // A stage that nothing was seen of is awaited as long as ever, whatever comes after it.
  const awaited = isUnseen(state) ? (state.trainingStage?.seenBy ?? null) : null;
  const seenBy = awaited ?? isoAfter(context.now, checkpointWithinMs(context.policy.cadence));
  return [
    {
      kind: 'TrainingStageNoted',
      data: { stage: stated, effectiveCompute, seenBy, by, at: iso(context.now) },
    },
  ];
}

/** Cheap look before a command: most heartbeats repeat what is known. */
export function mattersStage(state: RunState, stated: StatedStage, context: Policied): boolean {
  const { trainingStage: stage } = state;
  if (stage?.name !== stated.name) return true;
  const { compute } = stated;
  const due = stageDue(stage, context);
  if (compute === undefined || due === null || compareCompute(compute, due) < 0) return false;
  const limit = timesCompute(due, onePlus(context.policy.cadence.grace));
  if (stage.compute === null || compareCompute(stage.compute, due) < 0) return true;
  return compareCompute(stage.compute, limit) <= 0 && compareCompute(compute, limit) > 0;
}

export interface DeclareBreakthrough {
  readonly type: 'DeclareBreakthrough';
  readonly breakthroughId: string;
  readonly reason: string;
  readonly efficiencyMultiplier?: number | undefined;
  readonly contentDigest: string;
  /** Of an earlier declaration under this id that the state may have let go of. */
  readonly priorDigest: string | null;
  readonly by: string;
}

/** So that the state stays small; older ones are answered, or the run is long on hold for them. */
const OPEN_MAX = 16;

export function declareBreakthrough(
  state: RunState,
  command: DeclareBreakthrough,
  { policy, now }: Context,
): Decision {
  const { breakthroughId, reason, efficiencyMultiplier, contentDigest, by } = command;
  const standing = state.breakthroughs?.find((each) => each.breakthroughId === breakthroughId);
  const prior = command.priorDigest ?? standing?.contentDigest ?? null;
  if (prior === contentDigest) return [];
  if (prior !== null) {
    return reject('conflict', `breakthrough ${breakthroughId} was declared otherwise`, 'breakthroughId');
  }
  if (state.finishedAt !== null) {
    return reject('conflict', `run ${state.runId} was declared finished at ${state.finishedAt}`, 'runId');
  }
  if (openBreakthroughs(state).length >= OPEN_MAX) {
    return reject('conflict', `${OPEN_MAX} breakthroughs of run ${state.runId} await a checkpoint already`);
  }
  return [
    {
      kind: 'BreakthroughDeclared',
      data: {
        breakthroughId,
        reason,
        ...(efficiencyMultiplier === undefined ? {} : { efficiencyMultiplier }),
        dueBy: isoAfter(now, checkpointWithinMs(policy.cadence)),
        contentDigest,
        by,
        at: iso(now),
      },
    },
  ];
}

// --- state ---------------------------------------------------------------------------------------------

interface Statement {
  readonly stage: StatedStage;
  readonly effectiveCompute: Compute;
  readonly at: string;
  /** A due checkpoint states it. */
  readonly isSeen: boolean;
  readonly seenBy: string | null;
}

function entered(state: RunState, { stage, effectiveCompute, at, isSeen, seenBy }: Statement): TrainingStage {
  const { name, compute = null } = stage;
  const known = state.trainingStage;
  if (known?.name === name) {
    const highest =
      compute === null || known.compute === null
        ? (known.compute ?? compute)
        : maxCompute(known.compute, compute);
    return { ...known, compute: highest, seen: known.seen || isSeen };
  }
  const change = isChange(state, stage);
  const own = compute === null ? effectiveCompute : minusCompute(effectiveCompute, compute);
  // A name from the beginning on is one of the whole run.
  const before = change || state.initialCompute !== null ? own : null;
  return { name, enteredAt: at, before, compute, seen: isSeen || !change, seenBy, cleared: null };
}

/** Before the checkpoint is in the state: whether it is a change is asked of what was there. */
export function withStageReported(
  state: RunState,
  data: RunEventData<'CheckpointReported'>,
): Pick<RunState, 'trainingStage' | 'breakthroughs'> {
  const { trainingStage: stated, effectiveCompute, at, due, checkpointId } = data;
  const isAnswer = due && !isBehind(state, effectiveCompute);
  const answered = state.breakthroughs?.map((each) =>
    isAnswer && each.answeredBy === null ? { ...each, answeredBy: checkpointId } : each,
  );
  const statement = { effectiveCompute, at, isSeen: due, seenBy: null };
  const known = state.trainingStage;
  const stage = stated ?? (known === undefined ? undefined : { name: known.name });
  return {
    ...(stage === undefined ? {} : { trainingStage: entered(state, { ...statement, stage }) }),
    ...(answered === undefined ? {} : { breakthroughs: answered.slice(-OPEN_MAX) }),
  };
}

/** The stage that a checkpoint is of, as it stays with it. */
export function stageOfCheckpoint(
  { trainingStage }: Pick<RunState, 'trainingStage'>,
  { trainingStage: stated }: Pick<RunEventData<'CheckpointReported'>, 'trainingStage'>,
): Pick<CheckpointState, 'trainingStage'> {
  if (trainingStage === undefined) return {};
  const { name, enteredAt } = trainingStage;
  return {
    trainingStage: { name, enteredAt, ...(stated?.compute === undefined ? {} : { compute: stated.compute }) },
  };
}

/** What it last cleared: the furthest of its checkpoints, and in shadow the furthest that was due. */
export function withStageCleared(
  { trainingStage: stage }: RunState,
  { checkpointId, effectiveCompute, trainingStage }: CheckpointState,
  at: string,
): Pick<RunState, 'trainingStage'> {
  if (stage === undefined || trainingStage?.name !== stage.name) return {};
  if (trainingStage.enteredAt !== stage.enteredAt) return {};
  const compute = ownCompute(stage, effectiveCompute, trainingStage.compute ?? null);
  const before = stage.cleared?.compute ?? null;
  if (
    stage.cleared !== null &&
    (compute === null || (before !== null && compareCompute(compute, before) <= 0))
  ) {
    return {};
  }
  return { trainingStage: { ...stage, cleared: { checkpointId, compute, at } } };
}

export const trainingStageEvolvers = {
  TrainingStageNoted: (state: RunState, data: RunEventData<'TrainingStageNoted'>): RunState => {
    const { stage, effectiveCompute, seenBy, at } = data;
    const computeHigh =
      state.computeHigh === null ? effectiveCompute : maxCompute(state.computeHigh, effectiveCompute);
    return {
      ...state,
      computeHigh,
      trainingStage: entered(state, { stage, effectiveCompute, at, isSeen: false, seenBy }),
    };
  },
  BreakthroughDeclared: (state: RunState, data: RunEventData<'BreakthroughDeclared'>): RunState => {
    const { breakthroughId, contentDigest, dueBy, at } = data;
    const declared = { breakthroughId, contentDigest, dueBy, at, answeredBy: null };
    return { ...state, breakthroughs: [...(state.breakthroughs ?? []), declared].slice(-2 * OPEN_MAX) };
  },
};
