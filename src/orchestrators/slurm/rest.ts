/**
 * Slurm by slurmrestd, as one user with a JWT.
 *
 * The version of its API is found by asking: the first that the server knows, remembered until it does not know it any
 * more. v0.0.42 is asked first because it alone among the older ones says what became of a DELETE. Below 24.11 nothing
 * but a look afterwards tells, and the caller looks.
 */

import type { SlurmCluster } from '../../config/orchestrators-slurm.ts';
import { InterlockError } from '../../errors.ts';
import { withoutTrailingSlashes } from '../../outbound/base-url.ts';
import type { Outbound } from '../../outbound/outbound.ts';
import type { Effect, Found, SlurmAccess } from './access.ts';
import { readToken } from './credential.ts';
import { type HttpAnswer, isCalled, isUnknownPath, readEffect, readJobs } from './replies.ts';

export interface RestDeps {
  readonly outbound: Pick<Outbound, 'request'>;
  readonly variable: (reference: string) => string | undefined;
  readonly now: () => Date;
  readonly requestTimeoutMs?: number;
  /** Of the API, in the order in which they are asked for. */
  readonly versions?: readonly string[];
}

const VERSIONS = ['v0.0.42', 'v0.0.43', 'v0.0.44', 'v0.0.41', 'v0.0.40', 'v0.0.39', 'v0.0.38', 'v0.0.37'];
const BEFORE_FLAGS = new Set(['v0.0.37', 'v0.0.38', 'v0.0.39']);
/** An array of a thousand tasks. */
const JOB_BYTES_MAX = 16 * 1024 * 1024;
/** Every job of a cluster: slurmrestd has no filter by user or name. */
const LIST_BYTES_MAX = 128 * 1024 * 1024;
const EFFECT_BYTES_MAX = 1024 * 1024;

type Answered =
  | { readonly ok: true; readonly answer: HttpAnswer; readonly note: string }
  | { readonly ok: false; readonly detail: string };

export function openSlurmRest(rest: NonNullable<SlurmCluster['rest']>, deps: RestDeps): SlurmAccess {
  const { outbound, variable, now, requestTimeoutMs = 3_000, versions = VERSIONS } = deps;
  const base = withoutTrailingSlashes(rest.url);
  let known: string | null = null;
  const inOrder = (): readonly string[] =>
    known === null ? versions : [known, ...versions.filter((each) => each !== known)];

  async function ask(
    call: { method: 'GET' | 'POST' | 'DELETE'; path: string; body?: unknown; bytesMax: number },
    signal: AbortSignal,
  ): Promise<Answered> {
    const token = await readToken(rest.token, variable, now());
    if (!token.ok) return token;
    const { body } = call;
    try {
      for (const version of inOrder()) {
        const answer = await outbound.request(
          {
            url: `${base}/slurm/${version}/${call.path}`,
            method: call.method,
            headers: {
              accept: 'application/json',
              'x-slurm-user-name': rest.user,
              'x-slurm-user-token': token.value,
              ...(body === undefined ? {} : { 'content-type': 'application/json' }),
            },
            ...(body === undefined ? {} : { body: JSON.stringify(body) }),
            timeoutMs: requestTimeoutMs,
            maxResponseBytes: call.bytesMax,
          },
          signal,
        );
        if (isUnknownPath(answer)) continue;
        known = version;
        return { ok: true, answer, note: token.note };
      }
      return { ok: false, detail: 'no version of the Slurm API that is known here (HTTP 404)' };
    } catch (error) {
      return { ok: false, detail: error instanceof InterlockError ? error.message : 'the request failed' };
    }
  }

  const found = (answered: Answered, wanted?: (entry: unknown) => boolean): Found => {
    if (!answered.ok) return { kind: 'failed', detail: answered.detail };
    const jobs = readJobs(answered.answer, wanted);
    return jobs.kind === 'failed' ? { kind: 'failed', detail: jobs.detail + answered.note } : jobs;
  };
  const effect = (answered: Answered): Effect => {
    if (!answered.ok) return { kind: 'failed', detail: answered.detail };
    const read = readEffect(answered.answer);
    return read.kind === 'failed' ? { kind: 'failed', detail: read.detail + answered.note } : read;
  };

  return {
    name: 'REST',
    async find(jobId, signal) {
      return found(await ask({ method: 'GET', path: `job/${jobId}`, bytesMax: JOB_BYTES_MAX }, signal));
    },
    async called(name, user, signal) {
      // Newer versions answer only to the path with a slash, 22.05 to both.
      const answered = await ask({ method: 'GET', path: 'jobs/', bytesMax: LIST_BYTES_MAX }, signal);
      return found(answered, isCalled(name, user));
    },
    forbids(job) {
      return job.user === rest.user || rest.privileged
        ? null
        : `it belongs to another user than the token's, and orchestrators.slurm does not say that this one is privileged`;
    },
    async hold(jobId, signal) {
      // 22.05 leaves `requeue` out without a word; held, a requeued job waits there too.
      const body = { hold: true, requeue: false };
      return effect(
        await ask({ method: 'POST', path: `job/${jobId}`, body, bytesMax: EFFECT_BYTES_MAX }, signal),
      );
    },
    async ask(jobId, name, signal) {
      const query = rest.srun ? `signal=${name}&flags=FULL_STEPS_ONLY` : `signal=${name}`;
      // The flag came with v0.0.40; before, it is left out without a word.
      if (rest.srun && known !== null && BEFORE_FLAGS.has(known)) {
        return { kind: 'failed', detail: `${known} of the Slurm API cannot signal steps and spare srun` };
      }
      const path = `job/${jobId}?${query}`;
      return effect(await ask({ method: 'DELETE', path, bytesMax: EFFECT_BYTES_MAX }, signal));
    },
    async kill(jobId, signal) {
      const path = `job/${jobId}?signal=KILL`;
      return effect(await ask({ method: 'DELETE', path, bytesMax: EFFECT_BYTES_MAX }, signal));
    },
    async cancel(jobId, signal) {
      return effect(
        await ask({ method: 'DELETE', path: `job/${jobId}`, bytesMax: EFFECT_BYTES_MAX }, signal),
      );
    },
  };
}
