/**
 * The `ray` orchestrator: stops a submission of Ray's Jobs API, and whatever else on the cluster is the same run.
 *
 * A run is its submission, every submission whose metadata has the same `interlock_run`, and every one whose id begins
 * with the prefix that the target states. Pending or running, any of them is the run running: a run that is
 * submitted again under another id is seen, and stopped with it.
 *
 * Ray ends the driver with SIGTERM and three seconds later with SIGKILL, so there is one step. A stop is taken when Ray
 * says so; it is a stop when the status is final and no other submission of the run is live.
 * Fails toward "still running": a submission that Ray does not know (any more) has not stopped, it is unknown; so is
 * any status that is not one of Ray's.
 *
 * Known gaps: detached actors outlive their job and are not seen here; a run that is submitted again without the
 * metadata and outside of the prefix is another run to us; a driver that nobody submitted can be seen, not stopped.
 */
import { createHash } from 'node:crypto';
import type { RayCluster } from '../config/orchestrators-ray.ts';
import type { HaltMessage, Observation, Orchestrator, StepOutcome } from './orchestrator.ts';
import { unknownStep } from './orchestrator.ts';
import type { RayApi, RayApiDeps, RayJob, StopAnswer } from './ray-api.ts';
import { openRayApi } from './ray-api.ts';
import type { RayTarget } from './targets.ts';

export interface RayDeps extends RayApiDeps {
  clusters: Readonly<Record<string, RayCluster>>;
}

const STEPS = ['stop'] as const;
const LIVE = new Set(['PENDING', 'RUNNING']);
const FINAL = new Set(['STOPPED', 'SUCCEEDED', 'FAILED']);
/** At one attempt; there is always another one. */
const OTHERS_MAX = 16;

export function createRayOrchestrator(target: RayTarget, deps: RayDeps): Orchestrator {
  const api = apiOf(target, deps);
  const gone = `there is no cluster ${target.cluster} in interlock.yaml any more`;
  return {
    kind: 'ray',
    steps: STEPS,
    async take(step, _message, signal) {
      if (step !== 'stop') return unknownStep('ray', STEPS);
      return api === null ? { kind: 'rejected', detail: gone } : stopAll(target, api, signal);
    },
    async observe(signal) {
      return api === null ? { state: 'unknown', detail: gone } : look(target, api, signal);
    },
    async rehearse(step, message, signal) {
      if (step !== 'stop') return unknownStep('ray', STEPS);
      return api === null ? { kind: 'rejected', detail: gone } : rehearse(target, api, message, signal);
    },
  };
}

/** What to record of a target at registration; the run must be there, or nobody could tell whether it ever stopped. */
export async function describeRayRun(
  target: RayTarget,
  deps: RayDeps,
): Promise<{ ok: true; target: RayTarget } | { ok: false; reason: string; field: string }> {
  const refused = (field: string, reason: string) => ({ ok: false as const, reason, field });
  const { cluster, submissionId, submissionPrefix, run } = target;
  const api = apiOf(target, deps);
  if (api === null) {
    const names = Object.keys(deps.clusters).join(', ');
    return refused('cluster', `there is no Ray cluster ${cluster}; there is ${names || 'none'}`);
  }
  if (submissionPrefix !== undefined && !submissionId.startsWith(submissionPrefix)) {
    return refused('submissionPrefix', 'must be the beginning of submissionId');
  }
  const answer = await api.job(submissionId, new AbortController().signal);
  if (answer.kind === 'failed') return refused('cluster', answer.detail);
  if (answer.kind === 'absent') {
    return refused('submissionId', `cluster ${cluster} knows no submission ${submissionId}`);
  }
  const { job } = answer;
  if (job.submissionId !== submissionId || job.type !== 'SUBMISSION') {
    return refused('submissionId', 'must be the submission id of a job that was submitted by the Jobs API');
  }
  if (!LIVE.has(job.status)) {
    const what = FINAL.has(job.status) ? `has ended (${job.status})` : 'has a status that is not known';
    return refused('submissionId', `submission ${submissionId} ${what}; it must be pending or running`);
  }
  if (run !== undefined && run !== job.run) {
    return refused('run', "must be the value of interlock_run in the submission's metadata");
  }
  return { ok: true, target: { ...target, ...(job.run === null ? {} : { run: job.run }) } };
}

function apiOf({ cluster }: RayTarget, deps: RayDeps): RayApi | null {
  const named = Object.hasOwn(deps.clusters, cluster) ? deps.clusters[cluster] : undefined;
  return named === undefined ? null : openRayApi(cluster, named, deps);
}

function isOther(job: RayJob, { submissionId, submissionPrefix, run }: RayTarget): boolean {
  if (job.submissionId === submissionId) return false;
  if (run !== undefined && job.run === run) return true;
  return submissionPrefix !== undefined && job.submissionId?.startsWith(submissionPrefix) === true;
}

async function look(target: RayTarget, api: RayApi, signal: AbortSignal): Promise<Observation> {
  const { submissionId } = target;
  const unknown = (detail: string): Observation => ({ state: 'unknown', detail });
  const named = await api.job(submissionId, signal);
  if (named.kind === 'failed') return unknown(named.detail);
  if (named.kind === 'found') {
    const { job } = named;
    if (job.submissionId !== submissionId) return unknown(`the cluster answered for another job`);
    if (LIVE.has(job.status)) {
      return { state: 'running', detail: `submission ${submissionId} is ${job.status}` };
    }
    if (!FINAL.has(job.status)) return unknown(`submission ${submissionId} has a status that is not known`);
  }
  // It may have been submitted again since: under another id, or under its own after a deletion.
  const listed = await api.list(signal);
  if (listed.kind === 'failed') return unknown(listed.detail);
  const run = listed.jobs.filter((job) => job.submissionId === submissionId || isOther(job, target));
  const live = run.filter(({ status }) => LIVE.has(status)).length;
  if (live > 0) return { state: 'running', detail: `${count(live)} of the run pending or running` };
  if (run.some(({ status }) => !FINAL.has(status))) {
    return unknown('a submission of the run has a status that is not known');
  }
  if (named.kind === 'absent' || run.every((job) => job.submissionId !== submissionId)) {
    return unknown(`the cluster does not know submission ${submissionId} (any more)`);
  }
  return {
    state: 'stopped',
    detail: `submission ${submissionId} is ${named.job.status}, and no other of the run is pending or running`,
  };
}

async function stopAll(target: RayTarget, api: RayApi, signal: AbortSignal): Promise<StepOutcome> {
  const { submissionId } = target;
  // Side by side: the list may be long, and the stop must not wait for it.
  const [named, listed] = await Promise.all([api.stop(submissionId, signal), api.list(signal)]);
  const jobs = listed.kind === 'found' ? listed.jobs : [];
  const others = jobs.filter((job) => isOther(job, target) && LIVE.has(job.status));
  const answers = await Promise.all(
    others.slice(0, OTHERS_MAX).map(({ type, submissionId: id }): Promise<StopAnswer> => {
      const isSubmission = type === 'SUBMISSION' && id !== null;
      return isSubmission ? api.stop(id, signal) : Promise.resolve({ kind: 'not-a-submission' });
    }),
  );

  const isLive = jobs.some((job) => job.submissionId === submissionId && LIVE.has(job.status));
  const problem =
    problemOf(named, submissionId, isLive) ??
    answers.map((answer) => problemOf(answer, 'another of the run', false)).find((each) => each !== null) ??
    (others.length > OTHERS_MAX ? `${count(others.length - OTHERS_MAX)} more to stop` : null) ??
    (listed.kind === 'failed' ? `stopped it, not what else may be of the run: ${listed.detail}` : null);
  if (problem !== null) {
    const isFinal = named.kind === 'not-a-submission' || (named.kind === 'failed' && named.isFinal);
    return { kind: isFinal ? 'rejected' : 'retry', detail: problem.slice(0, 290) };
  }
  const asked = named.kind === 'taken' && named.wasRunning ? 'asked to stop' : 'had ended';
  const more = others.length === 0 ? '' : `; ${count(others.length)} more of the run asked to stop`;
  return { kind: 'accepted', detail: `submission ${submissionId} ${asked}${more}` };
}

function problemOf(answer: StopAnswer, which: string, isLive: boolean): string | null {
  switch (answer.kind) {
    case 'failed':
      return answer.detail;
    case 'absent':
      return `the cluster does not know submission ${which}`;
    case 'not-a-submission':
      return `${which} was not submitted by the Jobs API, which cannot stop it: stop it by hand`;
    case 'taken':
      // Between its submission and its supervisor's start a job has nothing that would take the stop.
      return isLive && !answer.wasRunning ? `submission ${which} is live, and took no stop` : null;
  }
}

/** The right to stop is tried on a submission that nobody has: a cluster that lets us in says that it does not exist. */
async function rehearse(
  target: RayTarget,
  api: RayApi,
  { haltId, runId }: HaltMessage,
  signal: AbortSignal,
): Promise<StepOutcome> {
  const nobody = createHash('sha256').update(`rehearsal\n${runId}\n${haltId}`).digest('hex').slice(0, 32);
  const [named, listed, stop] = await Promise.all([
    api.job(target.submissionId, signal),
    api.list(signal),
    api.stop(`interlock-rehearsal-${nobody}`, signal),
  ]);
  const failed = [named, listed, stop].find((answer) => answer.kind === 'failed');
  if (failed?.kind === 'failed')
    return { kind: failed.isFinal ? 'rejected' : 'retry', detail: failed.detail };
  if (named.kind !== 'found' || named.job.submissionId !== target.submissionId) {
    return { kind: 'rejected', detail: `the cluster does not know submission ${target.submissionId}` };
  }
  if (stop.kind !== 'absent') {
    return { kind: 'retry', detail: 'the cluster took a stop of a submission that nobody made' };
  }
  return {
    kind: 'accepted',
    detail: `submission ${target.submissionId} is known and may be stopped; nothing was sent`,
  };
}

const count = (n: number): string => (n === 1 ? 'one submission' : `${n} submissions`);
