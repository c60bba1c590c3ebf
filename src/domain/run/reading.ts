/**
 * From what was reported to the reading that the ledger keeps: what it was of, what it says, and why it may say nothing.
 *
 * A reading is made once, when the result is recorded, and then is a fact: assessments read the sealed figures. So whatever
 * needs the samples' scores (clusters, pass@k, a bootstrap) is computed here, and the scores themselves are left behind.
 */
import { compareCompute } from '../compute.ts';
import { HarnessLogSchema } from '../harness-log.ts';
import { resultOfLog } from '../harness-result.ts';
import type { LaunchFacts } from '../launch-facts.ts';
import { type NativeResult, type ParsedNativeResult, parseNativeResult } from '../native-result.ts';
import { confidenceZ } from '../policy/confidence.ts';
import { metricRange } from '../policy/scale.ts';
import type { Evaluation, Policy } from '../policy/schema.ts';
import { type ReadingContext, readResult, type ScoreDefinition } from '../read-result.ts';
import { besideScore } from './comparable.ts';
import type { Digest } from './ids.ts';
import type { Source, StoredReading } from './reading-documents.ts';
import type { Attempt, CheckpointState, RunState } from './state.ts';

/** Around one result: what it was asked of, and what else is known. */
export interface Situation {
  readonly state: RunState;
  readonly policy: Policy;
  readonly spec: Evaluation;
  readonly checkpointId: string;
  /** Null once it has left the state, and its attempts with it. */
  readonly checkpoint: CheckpointState | null;
  readonly evaluationId: string;
  readonly variant: string;
  readonly attempt: Attempt | null;
  readonly launch: LaunchFacts | undefined;
}

/** A native result as it is, or a harness's log as its reader translated it: `{harnessLog}`. */
export function takeResult(raw: unknown, spec: Evaluation, digest: Digest): ParsedNativeResult {
  if (typeof raw !== 'object' || raw === null || !('harnessLog' in raw)) return parseNativeResult(raw);
  const parsed = HarnessLogSchema.safeParse(raw.harnessLog);
  if (parsed.success) return { ok: true, result: resultOfLog(parsed.data, spec, digest) };
  // Made by a reader of ours: paths are names of the form, never text of a log.
  const [issue] = parsed.error.issues;
  const path = ['harnessLog', ...(issue?.path ?? []).filter((part) => typeof part === 'string')].join('.');
  return { ok: false, problems: [{ path, message: 'is not what a reader returns' }], salvage: null };
}

function scoreDefinition(spec: Evaluation): ScoreDefinition {
  const { metric, kind, minSamples, chance, best, maxErrored, interval, cluster, pass } = spec.score;
  const { control, allow, totalSamples } = spec.score;
  const reducer = spec.score.reducer ?? undefined;
  return {
    ...{
      metric,
      kind,
      minSamples,
      chance,
      best,
      reducer,
      maxErrored,
      interval,
      cluster,
      pass,
      allow,
      totalSamples,
    },
    range: metricRange(spec),
    ...(control === undefined ? {} : { control: control.metric ?? metric }),
  };
}

export function readingOf(result: NativeResult, situation: Situation): StoredReading {
  const { spec } = situation;
  const read = readResult(result, scoreDefinition(spec), contextOf(result, situation));
  const rising = spec.score.best >= spec.score.chance;
  // Two numbers that disagree settle nothing, and the more dangerous of them may still trip.
  const scores = [read.score, read.alsoFound].filter((score) => score !== null);
  const score = scores.length === 0 ? null : rising ? Math.max(...scores) : Math.min(...scores);
  return {
    ...{ conclusive: read.conclusive, score, stderr: read.stderr, n: read.n, reasons: [...read.reasons] },
    ...besideScore(result, spec),
    ...read.details,
    ...sourceOf(result),
  };
}

function contextOf(result: NativeResult, situation: Situation): ReadingContext {
  const { checkpoint, spec, policy, launch } = situation;
  return {
    checkpointReportedAt: checkpoint?.reportedAt,
    ...(checkpoint === null ? {} : { checkpoint }),
    expected: expectedOf(situation),
    launch,
    z: confidenceZ(policy, spec),
    seed: seedOf(result),
    replayed: isReplayed(result, situation),
    before: pointBefore(result, situation),
  };
}

function expectedOf({ spec, state, checkpointId }: Situation): ReadingContext['expected'] {
  const { expects = {}, score } = spec;
  const filled = (text: string | undefined): string | undefined =>
    text?.replaceAll('{checkpointId}', checkpointId).replaceAll('{runId}', state.runId);
  return {
    ...expects,
    task: score.task ?? undefined,
    model: filled(expects.model),
    revision: filled(expects.revision),
  };
}

/** The same file is drawn from in the same way, whoever reads it. */
const seedOf = ({ fileDigest }: NativeResult): number =>
  fileDigest === undefined ? 1 : Number.parseInt(fileDigest.slice(0, 8), 16);

/**
 * One log may hold the tasks of several evaluations of a checkpoint. It never is of two checkpoints, of two variants of one
 * evaluation, or of two attempts.
 */
function isReplayed({ fileDigest }: NativeResult, situation: Situation): boolean {
  if (fileDigest === undefined) return false;
  const { state, spec, checkpointId, evaluationId, attempt } = situation;
  return state.checkpoints.some((checkpoint) =>
    checkpoint.evaluations.some((evaluation) => {
      const elsewhere = checkpoint.checkpointId !== checkpointId || evaluation.evaluation === spec.id;
      const own = evaluation.evaluationId === evaluationId ? attempt : null;
      return (
        elsewhere &&
        evaluation.attempts.some(
          (each) => each.attempt !== own?.attempt && each.reading?.source?.fileDigest === fileDigest,
        )
      );
    }),
  );
}

/** The nearest one with less compute; of another protocol it says nothing. */
function pointBefore(
  { protocol }: NativeResult,
  { state, spec, variant, checkpoint }: Situation,
): ReadingContext['before'] {
  if (checkpoint === null) return undefined;
  const point = state.series
    .find((series) => series.evaluation === spec.id && series.variant === variant)
    ?.points.findLast(
      ({ effectiveCompute }) => compareCompute(effectiveCompute, checkpoint.effectiveCompute) < 0,
    );
  return point !== undefined && point.protocol === protocol ? point : undefined;
}

/** Of a result that says where it comes from. */
function sourceOf(result: NativeResult): { source?: Source } {
  const { harness, harnessVersion, task, revision, dataset, weightsDigest, fileDigest } = result;
  const named = { harness, harnessVersion, task, revision, dataset, weightsDigest, fileDigest };
  if (Object.values(named).every((each) => each === undefined)) return {};
  const { model, startedAt, completedAt, limits, epochs } = result;
  const all = { ...named, model, startedAt, completedAt, limits };
  const stated = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  return { source: { ...stated, ...(typeof epochs === 'number' ? { epochs } : {}) } };
}

/** Of an attempt that failed: never a pass, yet a score at a threshold trips. */
export function salvagedReading(
  result: unknown,
  reason: string,
  situation: Situation,
  digest: Digest,
): StoredReading | null {
  if (result === undefined || result === null) return null;
  const parsed = takeResult(result, situation.spec, digest);
  const found = parsed.ok ? parsed.result : parsed.salvage;
  if (found === null) return null;
  const reading = readingOf(found, situation);
  return { ...reading, conclusive: false, reasons: [reason, ...reading.reasons] };
}
