/** A way to a cluster: slurmrestd, or Slurm's own programs. What either cannot say comes back as a value. */
import type { SlurmJob } from './job.ts';

export type Found =
  | { readonly kind: 'found'; readonly jobs: readonly SlurmJob[] }
  /** The cluster answered that it knows no such job. */
  | { readonly kind: 'absent' }
  | { readonly kind: 'failed'; readonly detail: string };

export type Effect =
  | { readonly kind: 'taken' }
  /** It had ended before. */
  | { readonly kind: 'ended' }
  /** Some of it waits, which no signal reaches; what runs of it was reached. */
  | { readonly kind: 'busy' }
  /** Another time: not reached, not let in with this token. */
  | { readonly kind: 'failed'; readonly detail: string }
  /** Not allowed to. */
  | { readonly kind: 'denied'; readonly detail: string };

export interface SlurmAccess {
  readonly name: string;
  /** The job, all tasks of the array, or all components of the heterogeneous job of this id. */
  find(jobId: number, signal: AbortSignal): Promise<Found>;
  /** Every job of one user with this name. */
  called(name: string, user: string, signal: AbortSignal): Promise<Found>;
  /** Why it must not be touched, or null: asking Slurm about somebody else's job can lock its controller up. */
  forbids(job: SlurmJob): string | null;
  /** Not to be started again by itself. */
  hold(jobId: number, signal: AbortSignal): Promise<Effect>;
  /**
   * A signal to the processes that do the work: those of its steps where srun started it (srun itself, given SIGTERM,
   * would kill them), else every process of the batch step, its shell included.
   */
  ask(jobId: number, name: string, signal: AbortSignal): Promise<Effect>;
  kill(jobId: number, signal: AbortSignal): Promise<Effect>;
  cancel(jobId: number, signal: AbortSignal): Promise<Effect>;
}
