/** What is seen of a run on a cluster, and what that says of it. */
import { assertNever } from '../../domain/assert-never.ts';
import type { Observation } from '../orchestrator.ts';
import type { SlurmTarget } from '../targets.ts';
import type { Found, SlurmAccess } from './access.ts';
import { type Identity, isSame, type Life, lifeOf, type SlurmJob } from './job.ts';

/** The job, array or heterogeneous job that was registered. */
export type Own =
  | { readonly kind: 'seen'; readonly jobs: readonly SlurmJob[] }
  /** Not known any more. */
  | { readonly kind: 'absent'; readonly detail: string }
  /** The id is another job's. */
  | { readonly kind: 'other'; readonly detail: string }
  | { readonly kind: 'failed'; readonly detail: string };

export interface Sight {
  readonly own: Own;
  /** Jobs that were found to have its name. */
  readonly named: readonly SlurmJob[];
  /** Why they could not be looked for. */
  readonly namedFailure: string | null;
}

export async function lookAtOwn(access: SlurmAccess, target: SlurmTarget, signal: AbortSignal): Promise<Own> {
  const { jobId, user, submittedAtS, restarts } = target;
  if (user === undefined || submittedAtS === undefined || restarts === undefined) {
    return { kind: 'other', detail: `it was not recorded which job ${jobId} is meant` };
  }
  return ownOf(await access.find(jobId, signal), jobId, { user, submittedAtS, restarts });
}

export async function lookAtAll(
  access: SlurmAccess,
  target: SlurmTarget,
  signal: AbortSignal,
): Promise<Sight> {
  const { jobName, user } = target;
  const own = await lookAtOwn(access, target, signal);
  if (jobName === undefined || user === undefined || own.kind === 'failed') {
    return { own, named: [], namedFailure: null };
  }
  const found = await access.called(jobName, user, signal);
  if (found.kind === 'failed') return { own, named: [], namedFailure: found.detail };
  const known = new Set(own.kind === 'seen' ? own.jobs.map(({ jobId }) => jobId) : []);
  const jobs = found.kind === 'found' ? found.jobs : [];
  return {
    own,
    named: jobs.filter((job) => job.user === user && !known.has(job.jobId)),
    namedFailure: null,
  };
}

/** Of what came back only what was asked for. */
export function partsOf(jobs: readonly SlurmJob[], jobId: number): SlurmJob[] {
  return jobs.filter((job) => job.jobId === jobId || job.arrayJobId === jobId || job.hetJobId === jobId);
}

function ownOf(found: Found, jobId: number, identity: Identity): Own {
  if (found.kind === 'failed') return found;
  const parts = found.kind === 'found' ? partsOf(found.jobs, jobId) : [];
  if (parts.length === 0) {
    return { kind: 'absent', detail: `the cluster does not know job ${jobId}, or not any more` };
  }
  if (!parts.some((job) => isSame(job, identity))) {
    return { kind: 'other', detail: `id ${jobId} belongs to another job now` };
  }
  return { kind: 'seen', jobs: parts.filter(({ user }) => user === identity.user) };
}

const ALIVE: ReadonlySet<Life> = new Set(['waiting', 'running', 'ending']);
export const isAlive = (job: SlurmJob): boolean => ALIVE.has(lifeOf(job));

export function observationOf({ own, named, namedFailure }: Sight, target: SlurmTarget): Observation {
  const jobs = [...(own.kind === 'seen' ? own.jobs : []), ...named];
  const alive = jobs.filter(isAlive);
  if (alive.length > 0) return { state: 'running', detail: describeJobs(alive, target) };
  switch (own.kind) {
    case 'absent':
    case 'other':
    case 'failed':
      return { state: 'unknown', detail: own.detail };
    case 'seen':
      break;
    default:
      return assertNever(own);
  }
  const doubtful = jobs.filter((job) => lifeOf(job) !== 'ended');
  if (doubtful.length > 0) {
    const detail = `${describeJobs(doubtful, target)}; what became of its processes cannot be seen`;
    return { state: 'unknown', detail };
  }
  if (namedFailure !== null) {
    return { state: 'unknown', detail: `jobs of the same name could not be looked for: ${namedFailure}` };
  }
  return { state: 'stopped', detail: describeJobs(own.jobs, target) };
}

const SHOWN_MAX = 3;

/** `job 12 RUNNING, requeued` and so on: numbers and Slurm's own words. */
export function describeJobs(jobs: readonly SlurmJob[], { restarts = 0 }: SlurmTarget): string {
  const shown = jobs.slice(0, SHOWN_MAX).map((job) => {
    const held = lifeOf(job) === 'waiting' && job.held ? ', held' : '';
    const again = job.restarts > restarts && isAlive(job) ? ', requeued' : '';
    return `job ${job.jobId} ${job.states.join('+') || 'without a state'}${held}${again}`;
  });
  const more = jobs.length > SHOWN_MAX ? [`${jobs.length - SHOWN_MAX} more`] : [];
  return [...shown, ...more].join('; ');
}
