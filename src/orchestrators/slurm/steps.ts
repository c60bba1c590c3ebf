/**
 * One step of a halt on a cluster: which requests reach which jobs.
 *
 * An array takes requests by its own id, for all its tasks at once (22.05 knows no task by the id of its job), and a
 * heterogeneous job by its leader. So each process is reached by one request and gets one signal.
 */
import { assertNever } from '../../domain/assert-never.ts';
import type { StepOutcome } from '../orchestrator.ts';
import type { SlurmTarget } from '../targets.ts';
import type { Effect, SlurmAccess } from './access.ts';
import { lifeOf, type SlurmJob } from './job.ts';
import { lookAtAll } from './sight.ts';

export const STEPS = ['signal', 'cancel', 'kill'] as const;
export type Step = (typeof STEPS)[number];

export interface StepRequest {
  readonly target: SlurmTarget;
  readonly step: Step;
  readonly attempt: number;
  readonly signalName: string;
  readonly now: () => Date;
}

/** Slurm loses a signal that comes just as the batch script starts; the clocks may differ a little. */
const JUST_STARTED_S = 5;
const SENT_AGAIN_MAX = 5;
/** Nothing may keep the signal waiting for long. */
const HOLD_MS = 1_500;
const AT_ONCE_MAX = 8;

export async function takeStep(
  access: SlurmAccess,
  request: StepRequest,
  signal: AbortSignal,
): Promise<StepOutcome> {
  const { target, step } = request;
  const { own, named, namedFailure } = await lookAtAll(access, target, signal);
  if (own.kind === 'failed') return { kind: 'retry', detail: own.detail };
  const jobs = [...(own.kind === 'seen' ? own.jobs : []), ...named].filter(isToBeStopped);
  if (jobs.length === 0) {
    if (own.kind === 'other') return { kind: 'rejected', detail: `${own.detail}; nothing was sent` };
    if (own.kind === 'absent') return { kind: 'retry', detail: own.detail };
    if (namedFailure !== null) return { kind: 'retry', detail: namedFailure };
    return { kind: 'accepted', detail: 'already ending or ended' };
  }
  const forbidden = jobs.map((job) => access.forbids(job)).find((why) => why !== null);
  if (forbidden !== undefined) return { kind: 'rejected', detail: `${forbidden}; nothing was sent` };
  if (signal.aborted) return { kind: 'retry', detail: 'given up before it was sent' };

  await holdAll(access, jobs, signal);
  const orders = ordersFor(jobs, step);
  const effects = await inTurn(orders, (order) => carryOut(access, order, request.signalName, signal));
  const outcome = outcomeOf(orders, effects, { by: access.name, signalName: request.signalName });
  if (outcome.kind !== 'accepted') return outcome;

  const isHeld = await areHeld(access, request, signal);
  const detail = isHeld ? outcome.detail : `${outcome.detail}; it could not be held, and may be requeued`;
  if (namedFailure !== null) {
    return { kind: 'retry', detail: `${detail}; jobs of the same name were not found: ${namedFailure}` };
  }
  return startedJustNow(jobs, request) ?? { kind: 'accepted', detail };
}

/** What is being ended is left to Slurm: no second request makes KillWait shorter. */
function isToBeStopped(job: SlurmJob): boolean {
  const life = lifeOf(job);
  return life === 'waiting' || life === 'running' || life === 'unknown';
}

// --- so that it does not come back ---------------------------------------------------------------------

/** Before the signal, and never longer than HOLD_MS; whether it worked is looked at afterwards. */
async function holdAll(access: SlurmAccess, jobs: readonly SlurmJob[], signal: AbortSignal): Promise<void> {
  const open = jobs.filter(({ held }) => !held);
  const ids = [...new Set([...open.map(groupOf), ...open.map(({ jobId }) => jobId)])];
  await within(HOLD_MS, signal, (bounded) => inTurn(ids, (jobId) => access.hold(jobId, bounded)));
}

/** Answers do not tell: 22.05 holds the tasks of an array and says that it failed. */
async function areHeld(access: SlurmAccess, { target }: StepRequest, signal: AbortSignal): Promise<boolean> {
  const { own, named } = await within(HOLD_MS, signal, (bounded) => lookAtAll(access, target, bounded));
  if (own.kind === 'failed') return false;
  const jobs = [...(own.kind === 'seen' ? own.jobs : []), ...named];
  return jobs.every((job) => job.held || !isToBeStopped(job));
}

// --- the requests --------------------------------------------------------------------------------------

interface Order {
  readonly jobId: number;
  readonly jobs: number;
  readonly what: 'ask' | 'cancel' | 'kill';
  /** Some of its jobs wait, which no signal reaches. */
  readonly isMixed: boolean;
}

export function ordersFor(jobs: readonly SlurmJob[], step: Step): Order[] {
  const groups = new Map<number, SlurmJob[]>();
  for (const job of jobs) groups.set(groupOf(job), [...(groups.get(groupOf(job)) ?? []), job]);
  return [...groups].map(([jobId, members]) => {
    const waiting = members.filter((job) => lifeOf(job) === 'waiting').length;
    // Where nothing of it runs there is nothing to save, and what waits is cancelled at once.
    const ask = waiting === members.length ? 'cancel' : 'ask';
    return { jobId, jobs: members.length, what: step === 'signal' ? ask : step, isMixed: waiting > 0 };
  });
}

const groupOf = ({ jobId, arrayJobId, hetJobId }: SlurmJob): number => hetJobId ?? arrayJobId ?? jobId;

function carryOut(
  access: SlurmAccess,
  { jobId, what }: Order,
  signalName: string,
  signal: AbortSignal,
): Promise<Effect> {
  switch (what) {
    case 'ask':
      return access.ask(jobId, signalName, signal);
    case 'cancel':
      return access.cancel(jobId, signal);
    case 'kill':
      return access.kill(jobId, signal);
    default:
      return assertNever(what);
  }
}

function outcomeOf(
  orders: readonly Order[],
  effects: readonly Effect[],
  { by, signalName }: { readonly by: string; readonly signalName: string },
): StepOutcome {
  const isReached = (i: number): boolean => {
    const kind = effects[i]?.kind;
    return kind === 'taken' || kind === 'ended' || (kind === 'busy' && orders[i]?.isMixed === true);
  };
  const reached = orders.filter((_, i) => isReached(i));
  const sum = (of: readonly Order[]): number => of.reduce((total, { jobs }) => total + jobs, 0);
  const failed = effects.find((effect) => effect.kind === 'failed');
  const denied = effects.find((effect) => effect.kind === 'denied');
  const some = reached.length > 0 ? `, ${reached.length} of ${orders.length} requests were taken` : '';
  if (failed !== undefined) return { kind: 'retry', detail: failed.detail + some };
  if (denied !== undefined) return { kind: 'rejected', detail: denied.detail + some };
  if (reached.length < orders.length)
    return { kind: 'retry', detail: `Slurm cannot alter it just now (2020)${some}` };
  const words = { ask: `${signalName} sent to`, kill: 'KILL sent to', cancel: 'cancelled' };
  const said = (['ask', 'kill', 'cancel'] as const).flatMap((what) => {
    const of = orders.filter((order) => order.what === what);
    return of.length === 0 ? [] : [`${words[what]} ${counted(sum(of))}`];
  });
  return { kind: 'accepted', detail: `${said.join(', ')} by ${by}` };
}

const counted = (n: number): string => (n === 1 ? '1 job' : `${n} jobs`);

/** Sent again soon: a job of that age has nothing yet that a second signal could cut short. */
function startedJustNow(jobs: readonly SlurmJob[], request: StepRequest): StepOutcome | null {
  const { step, attempt, signalName, now } = request;
  if (step !== 'signal' || attempt > SENT_AGAIN_MAX) return null;
  const nowS = now().getTime() / 1000;
  const young = jobs.find(
    (job) => lifeOf(job) === 'running' && job.startedAtS !== null && nowS - job.startedAtS < JUST_STARTED_S,
  );
  if (young === undefined) return null;
  const detail = `${signalName} sent to job ${young.jobId}, which has only just started: Slurm may have lost it`;
  return { kind: 'retry', detail };
}

// --- plumbing ------------------------------------------------------------------------------------------

/** A few at a time, the results in order. */
async function inTurn<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const worker = async (): Promise<void> => {
    for (const [i, item] of queue) results[i] = await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE_MAX, items.length) }, worker));
  return results;
}

/** By hand: on Node 20 a timeout inside AbortSignal.any may never fire. */
async function within<T>(
  ms: number,
  signal: AbortSignal,
  work: (bounded: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  const timer = setTimeout(abort, ms);
  signal.addEventListener('abort', abort, { once: true });
  try {
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
  }
}
