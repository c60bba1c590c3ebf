/**
 * One Slurm job as both ways of asking (REST, commands) tell it, and what its state means for a halt.
 *
 * Fails toward running: a state that is not known to be final is not one. COMPLETING is still alive (processes are
 * being ended), so is a job that waits, held or not: whoever owns it lets it run again with one command.
 */
import { z } from 'zod';

export const jobSchema = z.object({
  jobId: z.int().min(1),
  /** Null where it is no part of an array. */
  arrayJobId: z.int().min(1).nullable(),
  /** The leader of the heterogeneous job that it is a component of. */
  hetJobId: z.int().min(1).nullable(),
  user: z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9._@-]{0,127}$/),
  /** Null where only the name is told. */
  userId: z.int().min(0).nullable(),
  states: z.array(z.string().regex(/^[A-Z_]{1,32}$/)).max(16),
  submittedAtS: z.int().min(0),
  startedAtS: z.int().min(0).nullable(),
  endedAtS: z.int().min(0).nullable(),
  restarts: z.int().min(0),
  /** A requeue would leave it waiting until somebody releases it. */
  held: z.boolean(),
  nodes: z.int().min(0),
  accelerators: z.int().min(0).nullable(),
});
export type SlurmJob = Readonly<z.infer<typeof jobSchema>>;

export { type Life, lifeOf } from '../../subprocess/slurm-states.ts';

/** What registration records of a job, so that the next job of its id is not taken for it. */
export interface Identity {
  readonly user: string;
  readonly submittedAtS: number;
  readonly restarts: number;
}

/** A requeue gives a job a new time of submission, and counts one restart more. */
export function isSame(job: SlurmJob, { user, submittedAtS, restarts }: Identity): boolean {
  if (job.user !== user) return false;
  if (job.restarts === restarts) return job.submittedAtS === submittedAtS;
  return job.restarts > restarts && job.submittedAtS >= submittedAtS;
}

/** Of a job, an array or a heterogeneous job; a task that was requeued before is no other job than its siblings. */
export function identityOf(jobs: readonly [SlurmJob, ...SlurmJob[]]): Identity {
  return {
    user: jobs[0].user,
    submittedAtS: Math.min(...jobs.map(({ submittedAtS }) => submittedAtS)),
    restarts: Math.min(...jobs.map(({ restarts }) => restarts)),
  };
}

/** GPUs of a text such as `cpu=8,node=2,gres/gpu=16,gres/gpu:a100=16`; null where it names none. */
export function acceleratorsOfTres(text: string): number | null {
  const counts = [...text.matchAll(/(?:^|,)gres\/gpu(:[^=,]+)?=(\d{1,9})(?=,|$)/g)];
  const whole = counts.find(([, type]) => type === undefined);
  if (whole !== undefined) return Number(whole[2]);
  return counts.length === 0 ? null : counts.reduce((sum, [, , count]) => sum + Number(count), 0);
}

/** GPUs of texts such as `gpu:a100:8(IDX:0-7)`, one for each node. */
export function acceleratorsOfGres(perNode: readonly string[]): number | null {
  const counts = perNode.flatMap((text) =>
    [...text.matchAll(/(?:^|,)gpu(?::[^:(),]+)?:(\d{1,9})(?=\(|,|$)/g)].map(([, count]) => Number(count)),
  );
  return counts.length === 0 ? null : counts.reduce((sum, count) => sum + count, 0);
}
