/**
 * What every evaluator promises: one attempt of one evaluation of one checkpoint, and an outcome.
 *
 * `run` never throws for what an evaluator or a network does; a throw is a fault of Interlock itself.
 * Fails toward inconclusive: whatever was not clearly reported is `failed` with a fixed code.
 * Outcomes carry no output of the child and no body of an answer, but the result itself, which is untrusted
 * until the domain has parsed it (domain/native-result).
 * Not here: attempts and backoff (domain/run), what a score means (domain/levels).
 */
import { LOG_PROBLEMS } from '../domain/harness-log.ts';
import type { LaunchFacts } from '../domain/launch-facts.ts';
import type { Axis } from '../domain/policy/axes.ts';
import { WEIGHTS_CHANGED } from '../domain/run/weights.ts';
import { WEIGHTS_PROBLEMS } from './weights/digest.ts';

export interface EvaluationRequest {
  evaluationId: string;
  attempt: number;
  runId: string;
  checkpointId: string;
  evaluation: string;
  variant: string;
  modelUri: string;
  endpoint?: string;
  effectiveCompute: string;
  variantEnv: Record<string, string>;
  /** Where the variant stands on each axis that it has; INTERLOCK_VARIANT_* to a program. */
  axes?: Readonly<Partial<Record<Axis, string>>>;
  /** The attempt that began what this one waits for, where an earlier one was handed back with its process; default: this one. */
  submission?: number;
  /** Extra samples asked for, on top of the first ones, because the level was too close to call. */
  topUp?: number;
  callbackUrl: string;
  /** Scores of single samples are wanted from a log; by this member of a sample's metadata as its cluster. */
  scores?: { cluster?: string };
}

/** Megabytes of the checkpoint's weights, which are read before the first evaluation of it begins. */
export const WEIGHTS_UNIT = 'MB of weights';

/** How far one attempt has come, in figures alone. */
export interface EvaluationProgress {
  done: number;
  /** Null where the harness does not say how many there will be. */
  total: number | null;
  unit: 'samples' | 'requests' | 'tests' | 'steps' | typeof WEIGHTS_UNIT;
  /** Of those done, ended in an error, where the harness says so while it runs. */
  errored?: number;
}

export interface RunOptions {
  /** Called as often as the harness says something; whoever listens slows it down. Must not throw. */
  onProgress?: ((progress: EvaluationProgress) => void) | undefined;
}

/** Why there is no clean result. Fixed codes: they go to the ledger, to alerts and to metric labels. */
export const FAILURE_REASONS = [
  'exit-nonzero', // the program ended by itself with another code than 0, or by a signal not ours
  'timed-out', // the executor's time was up; everything it started was killed
  'output-too-large', // over a cap: output stream, result file or answer
  'no-result', // ended well, but wrote no result file and no JSON line
  'unreadable-result', // wrote something that is not strict JSON in UTF-8
  'spawn-failed', // the program could not be started
  'model-uri-refused', // a local path outside models.roots
  'argument-refused', // a placeholder's value would be read as an option, or was never reported
  'not-configured', // a secret or variable the policy names is not set
  'target-refused', // the address is not on the outbound allow list
  'http-status', // the answer was neither a result nor an acceptance
  'unreachable', // no connection, or it broke
  'job-lost', // the cluster has ended or lost it, and it did not say how it ended
  'cancelled', // Interlock called it off: a halt, a shutdown, a superseded attempt
  ...LOG_PROBLEMS, // a harness ran, and its log could not be read
  ...WEIGHTS_PROBLEMS, // the weights could not be looked at, before or after
  WEIGHTS_CHANGED, // others than the checkpoint was reported with
] as const;
export type FailureReason = (typeof FAILURE_REASONS)[number];

export type EvaluatorOutcome =
  | {
      kind: 'reported';
      /** A native result, or `{harnessLog}` as a reader translated it. */
      result: unknown;
      /** Of a harness that was started here: held against its log by the domain, exit code and all. */
      launch?: LaunchFacts;
    }
  | { kind: 'dispatched' }
  | {
      kind: 'failed';
      reason: FailureReason;
      /** Safe short text such as `exit code 3`; never text from the evaluator. */
      detail?: string;
      /** What was written all the same: it never clears anything, but a score at a threshold still trips. */
      result?: unknown;
      launch?: LaunchFacts;
    };

export type Failed = Extract<EvaluatorOutcome, { kind: 'failed' }>;
export const failed = (reason: FailureReason, detail?: string): Failed =>
  detail === undefined ? { kind: 'failed', reason } : { kind: 'failed', reason, detail };

/** Why the signal of an attempt is aborted where the attempt itself is over, and not only the process that carries it out. */
export const EVALUATION_CANCELLED = 'evaluation.cancelled';

/** `accepted`: whoever was told took it. `rejected`: the identical call can never help. */
export interface CallOffOutcome {
  kind: 'accepted' | 'retry' | 'rejected';
  /** Safe short text; never text from the evaluator. */
  detail: string;
}

export interface Evaluator {
  run(request: EvaluationRequest, signal: AbortSignal, options?: RunOptions): Promise<EvaluatorOutcome>;
  callOff(request: EvaluationRequest, signal: AbortSignal): Promise<CallOffOutcome>;
}
