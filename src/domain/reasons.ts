/**
 * Why a result settles nothing. Fixed codes: ledger, alerts, metric labels and docs/evaluations-reasons.md carry them.
 *
 * A reason makes a result inconclusive, whatever its score; a score at a threshold trips all the same. Reasons that rest on what
 * genuine results hardly ever look like (`WAIVABLE`) can be allowed by the policy for one evaluation, by name. Others never can.
 */
export const REASON_CODES = [
  // What the evaluator or harness says of the run as a whole.
  'status-error', // it says itself that it failed
  'status-cancelled', // it was stopped before its end
  'status-started', // the log is of a run that had not ended
  'status-missing', // the file is a companion of a log and says nothing of an outcome
  'error-with-success', // it says success and sends error text
  'exit-disagrees', // exit code and status say different things
  'invalidated', // somebody marked the log, or samples of it, as invalid
  // The number.
  'score-missing', // neither metrics[metric] nor score; in a log: no metric of that name, scorer, task and reducer
  'metric-ambiguous', // several metrics of the log fit what the policy names
  'score-not-finite', // stated as NaN, Infinity or text
  'score-out-of-range', // not on the metric's scale: another unit, or another metric
  'metric-disagrees', // score and metrics[metric] are different numbers
  'scores-disagree', // the samples' scores give another number than the metric
  'units-disagree', // as above, by a factor of exactly 100: one is in percent
  'placeholder-value', // a number that stands for nothing, such as -1 or 999, with no scatter
  'control-missing', // the policy asks for a difference and one arm is not there
  // Its uncertainty.
  'stderr-invalid', // negative, not finite, zero where it cannot be, or over half the range
  'uncertainty-missing', // nothing from which an interval could be made
  'scores-missing', // the policy's interval, clusters or pass@k take scores of single samples
  'scores-not-binary', // pass@k counts successes, and a score is neither end of the range
  'cluster-missing', // a sample does not say to which cluster it belongs
  'epochs-missing', // a sample has fewer scored epochs than the k of pass@k
  // Its samples.
  'samples-invalid', // n is not a count, or the counts contradict each other
  'zero-samples',
  'samples-missing', // n is not stated and cannot be inferred, so minSamples is not shown
  'too-few-samples', // under the policy's minSamples
  'samples-incomplete', // fewer than the log itself claims, or under the stated size of the evaluation
  'samples-errored', // more ended in an error than the policy's maxErrored
  'samples-unscored', // these and those without a score together are more than maxErrored
  'all-refused', // the model refused every sample: the score says nothing of what it can do
  'no-output', // the model wrote nothing at all
  'constant-scores', // all samples have one and the same value, and it is no end of the range
  'all-chance', // no better than guessing, where the checkpoint before was plainly better
  // What was measured.
  'task-mismatch',
  'model-mismatch',
  'revision-mismatch',
  'harness-mismatch', // another harness, or another version of it, than the policy expects
  'weights-mismatch', // the digest of the weights is not the checkpoint's
  'checkpoint-mismatch', // the model answered elsewhere than at the checkpoint's endpoint
  'provenance-missing', // what the policy expects is not stated
  // When.
  'completed-before-started',
  'started-before-checkpoint', // by over the tolerance for clocks: these are other weights
  'took-no-time', // thousands of samples in an instant
  'stale-log', // begun or written before the attempt that should have made it
  'replayed-log', // the very file that another checkpoint, variant or attempt was judged by
] as const;
export type ReasonCode = (typeof REASON_CODES)[number];

/** What `score.allow` may name: unlikely in a genuine result, and yet possible. */
export const WAIVABLE = [
  'placeholder-value',
  'scores-disagree',
  'all-refused',
  'no-output',
  'constant-scores',
  'all-chance',
  'checkpoint-mismatch',
  'took-no-time',
] as const satisfies readonly ReasonCode[];
export type Waivable = (typeof WAIVABLE)[number];
