/**
 * One job from claim to return: parse the payload, run the handler, answer BullMQ.
 *
 * Nothing a handler throws reaches BullMQ: only fixed codes do, because error texts are stored by the
 * backend (a NUL byte in one makes a job run twice) and exported by tracing. On close the job goes back to
 * the queue, so that another process can take it at once.
 */
import { type Job, WaitingError } from 'bullmq';
import { faultPoint } from '../fault-points.ts';
import { attempt } from './deadline.ts';
import { errorFacts, type QueueLogger } from './log.ts';
import type { QueueSpec } from './queues.ts';
import { type HandlerRun, JobFault, runHandler } from './run-handler.ts';
import type { WorkHandler, WorkItem, WorkKind } from './work-queue.ts';

export interface JobRunnerOptions {
  kind: WorkKind;
  spec: QueueSpec;
  handler: WorkHandler;
  logger: QueueLogger;
  now: () => number;
  /** By job id; a runner adds and removes its own. */
  running: Map<string, HandlerRun>;
}

/** A delayed job may wake a little early: clocks of replicas differ, by at most what the clock check lets pass. */
const EARLY_SLACK_MS = 2_000;

export function createJobRunner({ kind, spec, handler, logger, now, running }: JobRunnerOptions) {
  return async function runJob(job: Job, token: string | undefined): Promise<undefined> {
    const payload = spec.payload.safeParse(job.data);
    if (!payload.success) {
      logger.warn({ kind, jobId: job.id }, 'a job with an unreadable payload was dropped');
      throw new JobFault('queue.payload-unreadable');
    }
    const item: WorkItem = { kind, ...payload.data };
    if (item.notBeforeMs > now() + EARLY_SLACK_MS) {
      // The delay was cut to its bound; the reconciler offers the item again when it is due.
      logger.debug({ kind, key: item.key }, 'a job woke before its time and was let go');
      return undefined;
    }

    const jobId = job.id ?? '';
    faultPoint('work.claimed');
    const run = runHandler(handler, item, spec.timeoutMs);
    running.set(jobId, run);
    try {
      await run.done;
      faultPoint('work.handled');
      return undefined;
    } catch (error) {
      const cause = run.cause();
      const facts = { kind, key: item.key, runId: item.runId };
      if (cause === 'queue.closing') {
        logger.info(facts, 'work was interrupted by close and goes back to the queue');
        return await giveBack(job, token);
      }
      logger.warn({ ...facts, cause, ...errorFacts(error) }, 'work failed; the domain decides on a retry');
      throw new JobFault(cause ?? 'queue.handler-failed');
    } finally {
      if (running.get(jobId) === run) running.delete(jobId);
    }
  };
}

/** Back to waiting, for another worker; where that fails the job ends, and the reconciler offers it again. */
export async function giveBack(job: Job, token: string | undefined): Promise<never> {
  const failure = await attempt('handing work back', () => job.moveToWait(token));
  throw failure === undefined ? new WaitingError() : new JobFault('queue.closing');
}
