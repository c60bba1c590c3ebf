/**
 * The `slurm` orchestrator: asks a job for a last checkpoint by a signal, then cancels it, then kills it.
 *
 * A job is its id AND its user, time of submission and count of restarts, recorded at registration: an id that belongs
 * to another job now is never touched. The run is that job, or all tasks of that array, or all components of that
 * heterogeneous job, and, where the target names it, every other job of the same user with the same name.
 *
 * Fails toward stopping. An answer to a call never says that something stopped; only a look does. A job that Slurm no
 * longer knows is `unknown`: it forgets ended jobs after MinJobAge, but a controller that lost its state, or another
 * cluster behind the address, knows as little of one that runs. A job that waits, held or not, is `running`: its owner
 * lets it run again with one command.
 *
 * Known gaps: docs/orchestrators/slurm.md.
 */
import type { SlurmCluster } from '../config/orchestrators-slurm.ts';
import type { Orchestrator, StepOutcome, Usage } from './orchestrator.ts';
import { unknownStep } from './orchestrator.ts';
import type { SlurmAccess } from './slurm/access.ts';
import { identityOf, type SlurmJob } from './slurm/job.ts';
import { describeJobs, isAlive, lookAtAll, lookAtOwn, observationOf, partsOf } from './slurm/sight.ts';
import { STEPS, type Step, takeStep } from './slurm/steps.ts';
import type { SlurmTarget } from './targets.ts';

export interface SlurmOrchestratorDeps {
  /** Ways to the cluster, in the order in which they are tried. */
  readonly accesses: readonly SlurmAccess[];
  readonly signalName: SlurmCluster['signal'];
  readonly now: () => Date;
}

const isStep = (step: string): step is Step => STEPS.some((each) => each === step);

export function createSlurmOrchestrator(target: SlurmTarget, deps: SlurmOrchestratorDeps): Orchestrator {
  const { accesses, signalName, now } = deps;

  /** The first way that works; what the others said where none does. */
  async function firstOf(
    signal: AbortSignal,
    attempt: (access: SlurmAccess) => Promise<StepOutcome>,
  ): Promise<StepOutcome> {
    const outcomes: StepOutcome[] = [];
    for (const access of accesses) {
      if (signal.aborted) break;
      const outcome = await attempt(access);
      if (outcome.kind === 'accepted') return { ...outcome, detail: short(outcome.detail) };
      outcomes.push({ ...outcome, detail: `${access.name}: ${outcome.detail}` });
    }
    if (outcomes.length === 0) return { kind: 'retry', detail: 'given up before it was sent' };
    const isFinal = outcomes.every(({ kind }) => kind === 'rejected');
    const detail = short(outcomes.map((outcome) => outcome.detail).join('; '));
    return { kind: isFinal ? 'rejected' : 'retry', detail };
  }

  return {
    kind: 'slurm',
    steps: STEPS,
    async take(step, { attempt }, signal) {
      if (!isStep(step)) return unknownStep('slurm', STEPS);
      const request = { target, step, attempt, signalName, now };
      return firstOf(signal, (access) => takeStep(access, request, signal));
    },
    async rehearse(step, _message, signal) {
      if (!isStep(step)) return unknownStep('slurm', STEPS);
      return firstOf(signal, (access) => rehearseBy(access, target, signal));
    },
    async observe(signal) {
      const failures: string[] = [];
      for (const access of accesses) {
        const own = await lookAtOwn(access, target, signal);
        if (own.kind === 'failed') {
          failures.push(`${access.name}: ${own.detail}`);
          continue;
        }
        // What is alive says enough; the list of every job can be long.
        const isEnough = own.kind === 'seen' && own.jobs.some(isAlive);
        const sight = isEnough
          ? { own, named: [], namedFailure: null }
          : await lookAtAll(access, target, signal);
        const { state, detail } = observationOf(sight, target);
        return { state, detail: short(detail) };
      }
      return { state: 'unknown', detail: short(failures.join('; ')) };
    },
    async usage(signal) {
      for (const access of accesses) {
        const { own, named, namedFailure } = await lookAtAll(access, target, signal);
        if (own.kind === 'seen' && namedFailure === null) {
          return usageOf([...own.jobs, ...named.filter(isAlive)], now());
        }
      }
      return null;
    },
  };
}

async function rehearseBy(
  access: SlurmAccess,
  target: SlurmTarget,
  signal: AbortSignal,
): Promise<StepOutcome> {
  const { own, named, namedFailure } = await lookAtAll(access, target, signal);
  if (own.kind === 'other') return { kind: 'rejected', detail: own.detail };
  if (own.kind !== 'seen') return { kind: 'retry', detail: own.detail };
  if (namedFailure !== null) return { kind: 'retry', detail: namedFailure };
  const jobs = [...own.jobs, ...named];
  const forbidden = jobs.map((job) => access.forbids(job)).find((why) => why !== null);
  if (forbidden !== undefined) return { kind: 'rejected', detail: forbidden };
  return {
    kind: 'accepted',
    detail: `${describeJobs([...own.jobs, ...named.filter(isAlive)], target)}; nothing was sent`,
  };
}

/**
 * The target to record when a run is registered: this job, as it stands there now. What a caller states of its identity
 * is not believed: a false one would be another job.
 */
export async function describeSlurmJob(
  { kind, after, cluster, jobId, jobName }: SlurmTarget,
  accesses: readonly SlurmAccess[],
  signal: AbortSignal,
): Promise<
  | { readonly ok: true; readonly target: SlurmTarget }
  | { readonly ok: false; readonly reason: string; readonly field: string }
> {
  const refuse = (reason: string, field = 'jobId') => ({ ok: false as const, reason: short(reason), field });
  const failures: string[] = [];
  for (const access of accesses) {
    const found = await access.find(jobId, signal);
    if (found.kind === 'failed') {
      failures.push(`${access.name}: ${found.detail}`);
      continue;
    }
    const [first, ...rest] = found.kind === 'found' ? partsOf(found.jobs, jobId) : [];
    if (first === undefined) return refuse(`the cluster ${cluster} knows no job ${jobId}`);
    const parts: [SlurmJob, ...SlurmJob[]] = [first, ...rest];
    const whole = first.hetJobId ?? first.arrayJobId ?? jobId;
    if (whole !== jobId) {
      const what = first.hetJobId === null ? 'task of the array' : 'component of the heterogeneous job';
      return refuse(
        `job ${jobId} is a ${what} ${whole}, which can only be stopped whole; state jobId ${whole}`,
      );
    }
    if (!parts.some(isAlive)) return refuse(`job ${jobId} has ended`);
    const forbidden = parts.map((job) => access.forbids(job)).find((why) => why !== null);
    if (forbidden !== undefined) {
      failures.push(`${access.name}: job ${jobId} cannot be stopped from here: ${forbidden}`);
      continue;
    }
    const identity = identityOf(parts);
    if (jobName !== undefined) {
      const named = await access.called(jobName, identity.user, signal);
      if (named.kind === 'failed') return refuse(`jobs cannot be found by name: ${named.detail}`, 'jobName');
      const ids = new Set(named.kind === 'found' ? named.jobs.map((job) => job.jobId) : []);
      if (!parts.every((job) => ids.has(job.jobId))) {
        return refuse(`must be the name that job ${jobId} has on ${cluster}`, 'jobName');
      }
    }
    const delayed = after === undefined ? {} : { after };
    const named = jobName === undefined ? {} : { jobName };
    return { ok: true, target: { kind, ...delayed, cluster, jobId, ...named, ...identity } };
  }
  return refuse(`the cluster ${cluster} could not be asked about job ${jobId}: ${failures.join('; ')}`);
}

/** Of the jobs that have it now, or had it last, each for its own time. */
export function usageOf(jobs: readonly SlurmJob[], now: Date): Usage | null {
  const started = jobs.filter(({ startedAtS }) => startedAtS !== null);
  const live = started.filter(isAlive);
  const counted = live.length > 0 ? live : started;
  if (counted.length === 0) return null;
  const nowS = Math.floor(now.getTime() / 1000);
  const held = counted.map((job) => {
    const untilS = isAlive(job) ? nowS : (job.endedAtS ?? nowS);
    return { job, seconds: Math.max(0, untilS - (job.startedAtS ?? untilS)) };
  });
  return {
    nodeSeconds: held.reduce((sum, { job, seconds }) => sum + job.nodes * seconds, 0),
    acceleratorSeconds: held.reduce<number | null>(
      (sum, { job: { accelerators }, seconds }) =>
        sum === null || accelerators === null ? null : sum + accelerators * seconds,
      0,
    ),
  };
}

const DETAIL_MAX = 280;

function short(detail: string): string {
  const plain = detail.replace(/[^\x20-\x7e]/g, '?');
  return plain.length <= DETAIL_MAX ? plain : `${plain.slice(0, DETAIL_MAX - 3)}...`;
}
