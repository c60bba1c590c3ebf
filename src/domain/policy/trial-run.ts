/**
 * One bag taken through the domain's own functions, checkpoint by checkpoint: report, results, forecasts sealed, top-ups
 * asked for and drawn, scorecard closed, assessed. Rules, levels, series and history are the machine's; nothing of them is
 * written here a second time.
 *
 * A run that would be stopped goes on all the same: each checkpoint is asked what the rules say of it.
 */
import { type Compute, compute } from '../compute.ts';
import { closeCheckpoints, sealForecasts } from '../run/checkpoint.ts';
import { requestTopUps } from '../run/closing-in.ts';
import { type Context, isoAfter } from '../run/context.ts';
import type { RunEvent, RunEventData } from '../run/events.ts';
import { evolve } from '../run/evolve.ts';
import type { Finding, Verdict } from '../run/finding-documents.ts';
import { scoreForecasts } from '../run/forecast-scores.ts';
import type { Digest } from '../run/ids.ts';
import type { StoredReading } from '../run/reading-documents.ts';
import { registered } from '../run/registration.ts';
import { scoreSpecOf } from '../run/scorecard.ts';
import type { RunState } from '../run/state.ts';
import { type Random, standardNormal } from '../statistics/random.ts';
import type { Evaluation, Policy } from './schema.ts';
import type { Bag, BagMember } from './trial-bags.ts';

export interface TrialCheckpoint {
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
}

const START = '2026-01-01T00:00:00.000Z';
const DAY_MS = 86_400_000;
const BY = 'trial';

export function runBag(bag: Bag, random: Random, digest: Digest): TrialCheckpoint[] {
  const { policy, checkpoints } = bag;
  let state = registeredRun(policy);
  return checkpoints.map((log2Compute, i) => {
    const now = new Date(isoAfter(START, i * DAY_MS));
    const context: Context = { now, policy, digest, progress: null };
    const checkpointId = `c${i + 1}`;
    state = reportedCheckpoint(state, checkpointId, computeOf(log2Compute), context);
    for (const [place, spec] of policy.evaluations.entries()) {
      const reading = first(bag.members[place], i, spec, random);
      state = evolve(state, result(idOf(checkpointId, spec), 1, reading, context));
    }
    const { after, assessed } = settled(state, context, (evaluationId, attempt) => {
      const place = policy.evaluations.findIndex((spec) => idOf(checkpointId, spec) === evaluationId);
      const spec = policy.evaluations[place];
      const truth = bag.members[place]?.truth[i];
      if (spec === undefined || truth === undefined) return null;
      return result(evaluationId, attempt, sampled(truth, spec, random), context);
    });
    state = after;
    const verdict = assessed.findLast((each) => each.checkpointId === checkpointId);
    if (verdict === undefined) throw new RangeError(`${checkpointId} was not assessed`);
    return { verdict: verdict.verdict, findings: verdict.findings };
  });
}

/** Doubles are as exact as a drawn compute needs to be. */
function computeOf(log2Compute: number): Compute {
  return compute(Math.exp(log2Compute * Math.LN2));
}

const idOf = (checkpointId: string, { id }: Evaluation): string => `${checkpointId}/${id}`;

function registeredRun(policy: Policy): RunState {
  return registered({
    runId: BY,
    title: null,
    policy: BY,
    policyName: policy.policy,
    by: BY,
    initialCompute: null,
    parents: [],
    sources: null,
    targets: [],
    labels: {},
    ceiling: policy.cadence.firstCheckpointBy,
    contentDigest: BY,
    at: START,
  });
}

function reportedCheckpoint(
  state: RunState,
  checkpointId: string,
  effectiveCompute: Compute,
  { policy, now }: Context,
): RunState {
  return evolve(state, {
    kind: 'CheckpointReported',
    data: {
      checkpointId,
      effectiveCompute,
      step: null,
      modelUri: BY,
      endpoint: null,
      due: true,
      reason: 'ratio',
      evaluations: policy.evaluations.map((spec) => ({
        evaluationId: idOf(checkpointId, spec),
        evaluation: spec.id,
        variant: 'default',
      })),
      deadlineAt: isoAfter(now, DAY_MS),
      contentDigest: BY,
      correlationId: BY,
      by: BY,
      at: now.toISOString(),
    },
  });
}

function result(evaluationId: string, attempt: number, reading: StoredReading, { now }: Context): RunEvent {
  return {
    kind: 'EvaluationReported',
    data: {
      evaluationId,
      attempt,
      reading,
      resultDigest: `${evaluationId} ${attempt}`,
      model: null,
      transcriptUri: null,
      late: false,
      nextAttemptAt: null,
      by: BY,
      at: now.toISOString(),
    },
  };
}

/** Forecasts, closing and top-ups until nothing follows any more, as decide.ts has them. */
function settled(
  from: RunState,
  context: Context,
  answer: (evaluationId: string, attempt: number) => RunEvent | null,
): { after: RunState; assessed: RunEventData<'CheckpointAssessed'>[] } {
  // The event and not the state: a checkpoint that is cleared may be dropped from it at once.
  const assessed: RunEventData<'CheckpointAssessed'>[] = [];
  const reactions = [
    ...(readsForecasts(context.policy) ? [scoreForecasts, sealForecasts] : []),
    closeCheckpoints,
    requestTopUps,
  ];
  let state = from;
  for (;;) {
    const [event] = reactions.reduce<readonly RunEvent[]>(
      (found, reaction) => (found.length > 0 ? found : reaction(state, context)),
      [],
    );
    if (event === undefined) return { after: state, assessed };
    state = evolve(state, event);
    if (event.kind === 'CheckpointAssessed') assessed.push(event.data);
    if (event.kind !== 'EvaluationRequeued') continue;
    const answered = answer(event.data.evaluationId, event.data.attempt);
    if (answered !== null) state = evolve(state, answered);
  }
}

/** Forecasts that no rule reads change nothing here, and cost most of a trial. */
const readsForecasts = ({ rules, cadence }: Policy): boolean =>
  cadence.risk !== undefined || rules.some(({ kind }) => kind === 'forecast');

// --- measurements --------------------------------------------------------------------------------------------

/** Of a mean nobody knows the scatter beforehand: a quarter of its range, as of answers spread over all of it. */
const MEAN_SCATTER = 0.25;

function first(member: BagMember | undefined, i: number, spec: Evaluation, random: Random): StoredReading {
  const measured = member?.measured[i] ?? null;
  if (measured !== null) return reading(measured.skill, spec);
  return sampled(member?.truth[i] ?? 0, spec, random);
}

/** A score drawn around the truth with `minSamples` samples. */
function sampled(skill: number, spec: Evaluation, random: Random): StoredReading {
  const { chance, best, range, kind } = scoreSpecOf(spec);
  const [low, high] = range;
  const n = spec.score.minSamples;
  const truth = clamp(chance + skill * (best - chance), low, high);
  const share = (truth - low) / (high - low);
  const scatter = kind === 'proportion' ? Math.sqrt((share * (1 - share)) / n) : MEAN_SCATTER / Math.sqrt(n);
  const drawn = share + scatter * standardNormal(random);
  const rounded = kind === 'proportion' ? Math.round(n * drawn) / n : drawn;
  return stored(clamp(low + rounded * (high - low), low, high), spec);
}

/** What was measured on a real curve, as if by the policy's own number of samples. */
function reading(skill: number, spec: Evaluation): StoredReading {
  const { chance, best, range } = scoreSpecOf(spec);
  return stored(clamp(chance + skill * (best - chance), range[0], range[1]), spec);
}

function stored(score: number, spec: Evaluation): StoredReading {
  const { kind, range, stderrFloor } = scoreSpecOf(spec);
  const n = spec.score.minSamples;
  const scatter = (MEAN_SCATTER * (range[1] - range[0])) / Math.sqrt(n);
  const stderr = kind === 'proportion' ? null : Math.max(stderrFloor, scatter);
  return { conclusive: true, score, stderr, n, reasons: [] };
}

const clamp = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));
