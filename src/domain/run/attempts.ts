/**
 * Attempts of an evaluation: by which executor each is carried out, when the next one is due, and when the budget is used up.
 *
 * Where the policy names replicas, the attempts take turns: the executor, then each replica, and so on until every one of them
 * has had its attempts. So one that is broken costs an attempt, and no evaluation, while another works.
 * What is asked for beside these (a top-up, a retry by people) goes to whoever gave the first conclusive result: further samples are
 * of the same instrument. What is handed back with its process is asked for again as what it was.
 */
import { durationMs } from '../duration.ts';
import type { Executor } from '../executor.ts';
import { wallTimeMs } from '../policy/scheduling-schema.ts';
import type { Evaluation } from '../policy/schema.ts';
import type { Attempt, EvaluationState } from './state.ts';

/** Latest end of a backed-off wait between attempts. */
const BACKOFF_MAX_MS = 600_000;
/** Attempts lost with their process cost none, up to here: an evaluation that kills its worker must end inconclusive. */
const RETURNS_FORGIVEN = 5;

const isOwn = ({ purpose }: Attempt): boolean => purpose === 'first' || purpose === 'automatic';
export const wasReturned = ({ reason }: Attempt): boolean =>
  reason === 'shutdown' || reason === 'instance-lost';

/** The executor first, its replicas after it. */
export const executorsOf = ({ executor, replicas = [] }: Evaluation): readonly [Executor, ...Executor[]] => [
  executor,
  ...replicas,
];

/** Who takes which automatic attempt, as indices of `executorsOf`. */
function turns(spec: Evaluation): number[] {
  const all = executorsOf(spec);
  const rounds = Math.max(...all.map(({ attempts }) => attempts));
  return Array.from({ length: rounds }, (_, round) =>
    all.flatMap(({ attempts }, i) => (attempts > round ? [i] : [])),
  ).flat();
}

/** Automatic attempts that count, of these. */
function counted(attempts: readonly Attempt[]): number {
  const own = attempts.filter(isOwn);
  return own.length - Math.min(own.filter(wasReturned).length, RETURNS_FORGIVEN);
}

/** Which of the executors carries out an attempt; 0 is the executor itself. */
export function replicaOf(
  { attempts }: Pick<EvaluationState, 'attempts'>,
  attempt: number,
  spec: Evaluation,
): number {
  const at = attempts.findIndex((each) => each.attempt === attempt);
  const current = attempts[at];
  if (current === undefined || spec.replicas === undefined) return 0;
  if (current.replica !== undefined) return current.replica;
  const before = attempts.slice(0, at);
  if (!isOwn(current)) return before.find(({ reading }) => reading?.conclusive === true)?.replica ?? 0;
  const all = turns(spec);
  return all[Math.min(counted(before), all.length - 1)] ?? 0;
}

export function executorFor(evaluation: EvaluationState, attempt: number, spec: Evaluation): Executor {
  return executorsOf(spec)[replicaOf(evaluation, attempt, spec)] ?? spec.executor;
}

/** Somebody else carries it out, with machines of their own: to hand it over takes a moment. */
export function isHandedOver(evaluation: EvaluationState, attempt: number, spec: Evaluation): boolean {
  const executor = executorFor(evaluation, attempt, spec);
  return executor.kind === 'outside' || (executor.kind === 'http' && executor.mode === 'callback');
}

/**
 * The attempt whose job this one waits for: where attempts were handed back with their process, what they had begun elsewhere
 * goes on, and is not begun again.
 */
export function submissionOf(evaluation: EvaluationState, attempt: number, spec: Evaluation): number {
  const { attempts } = evaluation;
  let at = attempts.findIndex((each) => each.attempt === attempt);
  for (; at > 0; at -= 1) {
    const [before, current] = [attempts[at - 1], attempts[at]];
    if (before === undefined || current === undefined || !wasReturned(before)) break;
    if (current.purpose !== 'automatic' && current.purpose !== before.purpose) break;
    if (replicaOf(evaluation, before.attempt, spec) !== replicaOf(evaluation, attempt, spec)) break;
  }
  return attempts[at]?.attempt ?? attempt;
}

/** What is waited before the next automatic attempt, ms; null: there is none. */
export function nextAttemptWaitMs({ attempts }: EvaluationState, spec: Evaluation): number | null {
  const made = counted(attempts);
  const all = turns(spec);
  const next = all[made];
  if (next === undefined) return null;
  // Another replica need not be spared for what this one did.
  const used = all.slice(0, made).filter((each) => each === next).length;
  return backedOffMs(executorsOf(spec)[next] ?? spec.executor, used);
}

/** How many further samples were asked for up to this attempt: one that was handed back, or cancelled, is drawn by the attempt in its place. */
export function samplesUpTo({ attempts }: EvaluationState, attempt: number): number {
  const asked = attempts.filter((each) => each.purpose === 'top-up' && each.attempt <= attempt);
  return asked.filter((each) => each.attempt === attempt || drewSample(each)).length;
}

/** What was handed back, or cancelled with the run, drew nothing. */
export const drewSample = (each: Attempt): boolean => !wasReturned(each) && each.state !== 'cancelled';

/** What is waited before a further sample is drawn, ms: as before any attempt, where the last ones gave none. */
export function sampleWaitMs(evaluation: EvaluationState, spec: Evaluation): number {
  const { attempts } = evaluation;
  const last = attempts.findLastIndex(({ reading }) => reading?.conclusive === true);
  const vain = attempts.slice(last + 1).filter((each) => !wasReturned(each));
  const executor = executorFor(evaluation, attempts.at(-1)?.attempt ?? 1, spec);
  return backedOffMs(executor, vain.length);
}

/** After so many attempts by the same one. */
function backedOffMs({ backoff }: Executor, used: number): number {
  if (used === 0) return 0;
  let waitMs = durationMs(backoff);
  for (let i = 1; i < used && waitMs < BACKOFF_MAX_MS; i += 1) waitMs *= 2;
  return Math.min(waitMs, BACKOFF_MAX_MS);
}

// --- budget --------------------------------------------------------------------------------------------

export type BudgetPart = 'attempts' | 'wallTime' | 'samples';

const spentMs = (attempts: readonly Attempt[]): number =>
  attempts.reduce((sum, { spentMs: each = 0 }) => sum + each, 0);

/** Wall time that is left, ms; null: no limit. */
export function wallTimeLeftMs({ attempts }: EvaluationState, { budget }: Evaluation): number | null {
  const limitMs = budget === undefined ? null : wallTimeMs(budget);
  return limitMs === null ? null : Math.max(0, limitMs - spentMs(attempts));
}

/** Which part of the budget leaves no room for another attempt; null where there is room. `samples`: of a result that is not in yet. */
export function budgetUsedUp(evaluation: EvaluationState, spec: Evaluation, samples = 0): BudgetPart | null {
  const { budget } = spec;
  if (budget === undefined) return null;
  const { attempts } = evaluation;
  if (budget.attempts !== undefined && attempts.length >= budget.attempts) return 'attempts';
  if (wallTimeLeftMs(evaluation, spec) === 0) return 'wallTime';
  const drawn = samples + sampleCount(evaluation);
  return budget.samples !== undefined && drawn >= budget.samples ? 'samples' : null;
}

/** Of all results that say how many they are of. */
export const sampleCount = ({ attempts }: Pick<EvaluationState, 'attempts'>): number =>
  attempts.reduce((sum, { reading }) => sum + (reading?.n ?? 0), 0);

/** What an attempt that ends now has used, where the policy counts it; one that has ended uses no more. */
export function spends(
  { startedAt, spentMs }: Attempt,
  { budget }: Evaluation,
  now: Date,
): { spentMs?: number } {
  if (budget === undefined || startedAt === null || spentMs !== undefined) return {};
  return { spentMs: Math.max(0, now.getTime() - Date.parse(startedAt)) };
}
