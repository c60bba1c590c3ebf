/** What the features of feature-policy.ts let happen on a random walk: commands at good moments and at bad ones. */
import { createHash } from 'node:crypto';
import { compute } from '../../src/domain/compute.ts';
import type { Policy } from '../../src/domain/policy/schema.ts';
import type { Command } from '../../src/domain/run/decide.ts';
import type { StatedStage } from '../../src/domain/run/events.ts';
import type { RunState } from '../../src/domain/run/state.ts';
import { LABEL, PARTY, TRAINING_STAGES } from './feature-policy.ts';
import type { ReportedBeside } from './features.ts';
import type { Random } from './random.ts';

const digest = (text: string): string => createHash('sha256').update(text).digest('hex');

interface Moment {
  readonly state: RunState;
  readonly policy: Policy;
  /** Compute where the trainer is. */
  readonly at: number;
  readonly nowMs: number;
  readonly result: Record<string, string | number>;
}

export function featureCommand(random: Random, moment: Moment): Command | null {
  const act = random.next();
  if (act < 0.2) return stageStated(random, moment);
  if (act < 0.3) return breakthrough(random);
  if (act < 0.45) return weightsSeen(random, moment);
  if (act < 0.55) return { type: 'NoteUnstaffed', workers: random.pick([[], [['cpu']], [[LABEL]]]) };
  if (act < 0.65) return granted(random, moment);
  return act < 0.85 ? outsideResult(random, moment) : outsideFinding(random, moment);
}

function stated(random: Random, at: number): StatedStage {
  const name = random.pick(TRAINING_STAGES);
  const own = random.pick([0, 1e-3, 0.02, 0.3, 1]) * at;
  return own === 0 ? { name } : { name, compute: compute(Number(own.toPrecision(6))) };
}

const stageStated = (random: Random, { at }: Moment): Command => ({
  type: 'NoteTrainingStage',
  stage: stated(random, at),
  effectiveCompute: compute(Number(at.toPrecision(6))),
  by: 'trainer',
});

function breakthrough(random: Random): Command {
  const breakthroughId = `b${random.below(4)}`;
  const said = { reason: 'a better optimiser', contentDigest: breakthroughId, priorDigest: null };
  return { type: 'DeclareBreakthrough', breakthroughId, ...said, by: 'operator' };
}

function weightsSeen(random: Random, { state }: Moment): Command | null {
  if (state.checkpoints.length === 0) return null;
  const { checkpointId } = random.pick(state.checkpoints);
  const which = random.pick(['one', 'one', 'one', 'one', 'two']);
  const fingerprint = `${which} ${random.below(2)}`;
  const found = { digest: `sha256:${digest(which)}`, files: 1, bytes: 1_000, fingerprint };
  return { type: 'NoteWeights', checkpointId, ...found };
}

const granted = (random: Random, { nowMs }: Moment): Command => ({
  type: 'GrantOutside',
  party: PARTY,
  checkpoints: random.pick(['all', 'due']),
  endpoint: null,
  compute: false,
  expiresAt: random.chance(0.8) ? null : new Date(nowMs + random.pick([0, 7_200_000])).toISOString(),
  by: 'operator',
});

const signed = (words: string) => ({
  messageId: words,
  timestamp: '1',
  signature: 'v1a,x',
  publicKeys: ['whpk_x'],
  bodyDigest: digest(words),
});

function outsideResult(random: Random, { state, policy, result }: Moment): Command | null {
  const own = policy.evaluations.filter(({ executor }) => executor.kind === 'outside').map(({ id }) => id);
  const all = state.checkpoints.flatMap(({ evaluations }) => evaluations);
  const theirs = all.filter(({ evaluation }) => own.includes(evaluation));
  if (theirs.length === 0) return null;
  const { evaluationId, attempts } = random.pick(theirs);
  const resultDigest = digest(JSON.stringify(result));
  const doubt = random.chance(0.1) ? { doubt: 'weights-gone' } : {};
  const said = { party: PARTY, evaluationId, attempt: attempts.length, result, resultDigest, ...doubt };
  return { type: 'SubmitOutsideResult', ...said, signed: signed(resultDigest) };
}

function outsideFinding(random: Random, { policy }: Moment): Command {
  const findingId = `f${random.below(1_000)}`;
  const [category = null] = policy.categories.map(({ id }) => id);
  return {
    type: 'SubmitOutsideFinding',
    party: PARTY,
    findingId,
    checkpointId: null,
    category: random.chance(0.5) ? category : null,
    severity: random.pick(['low', 'medium', 'high', 'critical']),
    title: null,
    evidenceUri: null,
    signed: signed(findingId),
    priorDigest: null,
  };
}

/** What a checkpoint says of itself beside its compute. */
export function reportedBeside(
  random: Random,
  { at, policy }: Pick<Moment, 'at' | 'policy'>,
): ReportedBeside {
  const hasTripwires = policy.evaluations.some(({ tier }) => tier === 'tripwire');
  return {
    ...(random.chance(0.4) ? { trainingStage: stated(random, at) } : {}),
    ...(random.chance(0.4) ? { weightsDigest: `sha256:${digest(random.pick(['one', 'one', 'two']))}` } : {}),
    ...(hasTripwires && random.chance(0.4) ? { tripwiresOnly: true as const } : {}),
  };
}
