/**
 * Ray's Jobs REST API, as far as a halt needs it: one job, all jobs, stop one. Every answer is a value.
 *
 * Nothing of an answer but ids, types, statuses and metadata is read, and nothing of it is repeated: a job's `message`
 * holds the last lines of its log, its `runtime_env` its variables. What is not plainly Ray's own answer (a page of a
 * login proxy, a 404 of something in between, an older shape) is a failure.
 */

import { z } from 'zod';
import type { RayCluster } from '../config/orchestrators-ray.ts';
import { nestsDeeperThan } from '../domain/json-depth.ts';
import { InterlockError } from '../errors.ts';
import { withoutTrailingSlashes } from '../outbound/base-url.ts';
import type { Outbound } from '../outbound/outbound.ts';
import { readCredential } from './credential.ts';

export interface RayApiDeps {
  outbound: Pick<Outbound, 'request'>;
  variable: (reference: string) => string | undefined;
  requestTimeoutMs?: number;
}

export interface RayJob {
  type: string;
  /** Null of a driver that nobody submitted. */
  submissionId: string | null;
  status: string;
  /** Its `interlock_run`, by which submissions of one run know each other. */
  run: string | null;
}

interface Failed {
  kind: 'failed';
  detail: string;
  /** Interlock's own configuration forbids it: no other attempt can help. */
  isFinal: boolean;
}
export type JobAnswer = { kind: 'found'; job: RayJob } | { kind: 'absent' } | Failed;
export type ListAnswer = { kind: 'found'; jobs: RayJob[] } | Failed;
export type StopAnswer =
  | { kind: 'taken'; wasRunning: boolean }
  | { kind: 'absent' }
  | { kind: 'not-a-submission' }
  | Failed;

export interface RayApi {
  job(id: string, signal: AbortSignal): Promise<JobAnswer>;
  list(signal: AbortSignal): Promise<ListAnswer>;
  stop(id: string, signal: AbortSignal): Promise<StopAnswer>;
}

/** A cluster keeps every job it ever had, each with its environment and the end of its log. */
const LIST_BYTES_MAX = 16 * 2 ** 20;
const ANSWER_BYTES_MAX = 2 ** 20;
const DEPTH_MAX = 64;
/** Two calls after one another must fit into the ten seconds that a step has. */
const REQUEST_TIMEOUT_MS = 4_000;

const jobSchema = z.object({
  type: z.string().nullish(),
  submission_id: z.string().nullish(),
  status: z.string(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
});
const stopSchema = z.object({ stopped: z.boolean() });

export function openRayApi(name: string, cluster: RayCluster, deps: RayApiDeps): RayApi {
  const { outbound, variable, requestTimeoutMs = REQUEST_TIMEOUT_MS } = deps;
  const base = withoutTrailingSlashes(cluster.url);
  const failed = (what: string, isFinal = false): Failed => ({
    kind: 'failed',
    detail: `cluster ${name}: ${what}`.slice(0, 280),
    isFinal,
  });

  async function headers(): Promise<{ ok: true; sent: Record<string, string> } | { ok: false; why: string }> {
    const sent: Record<string, string> = { accept: 'application/json' };
    for (const [header, reference] of Object.entries(cluster.headers)) {
      const value = await readCredential(reference, variable);
      if (!value.ok) return { ok: false, why: value.reason };
      sent[header] = value.value;
    }
    if (cluster.token !== undefined) {
      const token = await readCredential(cluster.token, variable);
      if (!token.ok) return { ok: false, why: token.reason };
      sent['authorization'] = `Bearer ${token.value}`;
    }
    return { ok: true, sent };
  }

  async function call(
    method: 'GET' | 'POST',
    path: string,
    maxResponseBytes: number,
    signal: AbortSignal,
  ): Promise<{ kind: 'answered'; status: number; body: Buffer } | Failed> {
    const ready = await headers();
    if (!ready.ok) return failed(ready.why);
    try {
      const answer = await outbound.request(
        { url: base + path, method, headers: ready.sent, timeoutMs: requestTimeoutMs, maxResponseBytes },
        signal,
      );
      return { kind: 'answered', status: answer.status, body: answer.body };
    } catch (error) {
      if (!(error instanceof InterlockError)) return failed('the request failed for an unknown reason');
      return failed(error.message, error.code === 'outbound.refused' && !error.retryable);
    }
  }

  function unusable({ status }: { status: number }): Failed {
    if (status === 401) return failed('HTTP 401: its credentials are missing or do not count');
    if (status === 403) return failed('HTTP 403: its credentials give no right to this');
    return failed(status === 200 ? 'HTTP 200 with what is no answer of the Jobs API' : `HTTP ${status}`);
  }

  return {
    async job(id, signal) {
      const answer = await call('GET', `/api/jobs/${encodeURIComponent(id)}`, ANSWER_BYTES_MAX, signal);
      if (answer.kind === 'failed') return answer;
      if (saysAbsent(answer)) return { kind: 'absent' };
      const parsed = answer.status === 200 ? jobSchema.safeParse(readJson(answer.body)) : null;
      return parsed?.success ? { kind: 'found', job: jobOf(parsed.data) } : unusable(answer);
    },
    async list(signal) {
      const answer = await call('GET', '/api/jobs/', LIST_BYTES_MAX, signal);
      if (answer.kind === 'failed') return answer;
      // One entry that cannot be read may be the one that counts.
      const parsed = answer.status === 200 ? z.array(jobSchema).safeParse(readJson(answer.body)) : null;
      return parsed?.success ? { kind: 'found', jobs: parsed.data.map(jobOf) } : unusable(answer);
    },
    async stop(id, signal) {
      const path = `/api/jobs/${encodeURIComponent(id)}/stop`;
      const answer = await call('POST', path, ANSWER_BYTES_MAX, signal);
      if (answer.kind === 'failed') return answer;
      if (saysAbsent(answer)) return { kind: 'absent' };
      if (answer.status === 400 && says(answer, 'Can only stop submission type jobs')) {
        return { kind: 'not-a-submission' };
      }
      const parsed = answer.status === 200 ? stopSchema.safeParse(readJson(answer.body)) : null;
      return parsed?.success ? { kind: 'taken', wasRunning: parsed.data.stopped } : unusable(answer);
    },
  };
}

function jobOf({ type, submission_id, status, metadata }: z.output<typeof jobSchema>): RayJob {
  const run = metadata?.['interlock_run'];
  return {
    type: type ?? 'SUBMISSION',
    submissionId: submission_id ?? null,
    status,
    run: typeof run === 'string' ? run : null,
  };
}

/** A 404 counts as Ray's only in Ray's own words. */
function saysAbsent(answer: { status: number; body: Buffer }): boolean {
  return answer.status === 404 && says(answer, 'does not exist');
}

function says({ body }: { body: Buffer }, words: string): boolean {
  return body.length < 4_096 && !body.includes('<') && body.includes(words);
}

function readJson(body: Buffer): unknown {
  if (nestsDeeperThan(body, DEPTH_MAX)) return undefined;
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    return undefined; // not repeated: the parser's message quotes the text
  }
}
