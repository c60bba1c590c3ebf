/**
 * From what was reported to the reading that the ledger keeps: what it was of, what it says, and why it may say nothing.
 *
 * A reading is made once, when the result is recorded, and then is a fact: assessments read the sealed figures. So whatever
 * needs the samples' scores (clusters, pass@k, a bootstrap) is computed here, and the scores themselves are left behind.
 */
import { HarnessLogSchema } from '../harness-log.ts';
import { resultOfLog } from '../harness-result.ts';
import type { LaunchFacts } from '../launch-facts.ts';
import { type NativeResult, type ParsedNativeResult, parseNativeResult } from '../native-result.ts';
import { metricRange } from '../policy/scale.ts';
import type { Evaluation, Policy } from '../policy/schema.ts';
import { readResult, type ScoreDefinition } from '../read-result.ts';
import { besideScore } from './comparable.ts';
import type { StoredReading } from './events.ts';
import type { Digest } from './ids.ts';
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
  const { metric, kind, minSamples } = spec.score;
  return { metric, kind, range: metricRange(spec), minSamples };
}

export function readingOf(result: NativeResult, { checkpoint, spec }: Situation): StoredReading {
  const read = readResult(result, scoreDefinition(spec), { checkpointReportedAt: checkpoint?.reportedAt });
  const rising = spec.score.best >= spec.score.chance;
  // Two numbers that disagree settle nothing, and the more dangerous of them may still trip.
  const scores = [read.score, read.alsoFound].filter((score) => score !== null);
  const score = scores.length === 0 ? null : rising ? Math.max(...scores) : Math.min(...scores);
  const reading = { conclusive: read.conclusive, score, stderr: read.stderr, n: read.n };
  return { ...reading, reasons: [...read.reasons], ...besideScore(result, spec) };
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
