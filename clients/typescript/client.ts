/**
 * The four calls a trainer makes, as thin as the contract allows: register, report a checkpoint,
 * heartbeat, acknowledge a halt.
 *
 * Checkpoints are signed Standard Webhooks and are retried under one webhook-id, derived from the body:
 * a trainer that restarts and reports the same checkpoint again is answered like the first time.
 * Heartbeats are not retried here, for a late one is worthless; the guard sends the next.
 *
 * Not here: whether the run may go on (guard.ts). Redirects are refused: a credential goes only where
 * it was meant to go.
 */
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { isDecimal, toDecimal } from './decimal.ts';
import { InterlockClientError } from './errors.ts';
import { isRecord } from './tokens.ts';
import { signWebhook, WebhookSecret } from './webhook.ts';

export interface InterlockClientOptions {
  url: string;
  /** Bearer token of the trainer: registration, heartbeats, acknowledgements. */
  token: string;
  /** `whsec_...`: signs checkpoints. */
  webhookSecret: string;
  timeoutMs?: number;
  /** Waits between attempts; a seam for tests. */
  wait?: (ms: number, signal?: AbortSignal) => Promise<void>;
}

export interface RunRegistration {
  runId: string;
  title?: string;
  policy?: string;
  initialCompute?: string;
  /** Whose weights it starts from: runs, run/checkpoint, or digests that checkpoints reported. */
  parents?: readonly string[];
  vouchedParentage?: string;
  accelerator?: string;
  sources?: readonly string[];
  targets: readonly Record<string, unknown>[];
  labels?: Record<string, string>;
}

export interface CheckpointReport {
  runId: string;
  checkpointId: string;
  effectiveCompute: number | bigint | string;
  step: number;
  modelUri: string;
  /** `sha256:...`: later runs may name these weights by it. */
  weightsDigest?: string;
  /** Weights of other runs that were merged in since the checkpoint before. */
  parents?: readonly string[];
}

export interface CheckpointReceipt {
  disposition: 'evaluate' | 'recorded';
  evaluations: readonly { evaluationId: string; name: string }[];
  /** How many attempts it took. */
  attempts: number;
}

export interface HeartbeatReply {
  directive: {
    action: 'continue' | 'pause' | 'halt' | 'quarantine';
    haltId: string | null;
    reason: string | null;
    resumeFrom: string | null;
    order: string | null;
  };
  permit: string | null;
  nextCheckpointAt: string | null;
  retain: readonly string[];
  /** Changes with the key set: fetch it again. */
  keySet?: string | null;
}

export interface HeartbeatMessage {
  effectiveCompute: string;
  step?: number;
  nonce: string;
  /** This process; one at a time gets permits for a run. */
  instance?: string;
  /** The process that this one replaces and knows to be gone: its permit need not run out first. */
  supersedes?: string;
  /** Halts in force here that no permit has cleared yet. */
  halts?: readonly string[];
  /** This process trains no more: another may begin at once. */
  leaving?: boolean;
}

export interface InterlockClient {
  /** Answers the first permit's token as it came; the guard asks for one of its own, with a nonce. */
  register(run: RunRegistration): Promise<{ permit: string | null }>;
  reportCheckpoint(report: CheckpointReport, signal?: AbortSignal): Promise<CheckpointReceipt>;
  heartbeat(runId: string, beat: HeartbeatMessage, signal?: AbortSignal): Promise<HeartbeatReply>;
  acknowledgeHalt(haltId: string, state: 'received' | 'stopped', signal?: AbortSignal): Promise<void>;
  jwks(signal?: AbortSignal): Promise<unknown>;
}

const replyLengthMax = 1_048_576;
/** Quick at first, because a checkpoint that is not reported is a run that will pause. */
const retryDelaysMs = [200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 60_000, 60_000];
const ackDelaysMs = [100, 200, 500, 1_000, 2_000];

export function createInterlockClient(options: InterlockClientOptions): InterlockClient {
  const { token, timeoutMs = 10_000 } = options;
  const base = new URL(options.url.endsWith('/') ? options.url : `${options.url}/`);
  const secret = new WebhookSecret(options.webhookSecret);
  const wait = options.wait ?? ((ms, signal) => delay(ms, undefined, signal === undefined ? {} : { signal }));
  const bearer = { authorization: `Bearer ${token}` };

  async function call(
    method: 'GET' | 'POST',
    path: string,
    headers: Record<string, string>,
    body: Buffer | null,
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    // By hand: on Node 20 a timeout inside AbortSignal.any may never fire, and a heartbeat would hang for good.
    const controller = new AbortController();
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      controller.abort();
    }, timeoutMs);
    const abort = (): void => controller.abort();
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted === true) abort();
    let status: number;
    let text: string;
    try {
      const response = await fetch(new URL(path, base), {
        method,
        headers: body === null ? headers : { ...headers, 'content-type': 'application/json' },
        body: body === null ? null : new Uint8Array(body),
        redirect: 'manual',
        signal: controller.signal,
      });
      status = response.status;
      text = await readLimited(response);
    } catch (cause) {
      if (cause instanceof InterlockClientError) throw cause;
      throw new InterlockClientError(late ? 'Interlock did not answer in time' : 'Interlock is unreachable', {
        code: late ? 'timed-out' : 'unreachable',
        retryable: signal?.aborted !== true,
        cause,
      });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    }
    if (status < 200 || status > 299) throw httpError(status, text);
    return parseReply(text);
  }

  /** Repeats `attempt` while its failure is retryable and a delay is left. */
  async function persist<T>(
    delaysMs: readonly number[],
    signal: AbortSignal | undefined,
    attempt: () => Promise<T>,
  ): Promise<{ value: T; attempts: number }> {
    for (let attempts = 1; ; attempts += 1) {
      try {
        return { value: await attempt(), attempts };
      } catch (error) {
        const delayMs = delaysMs[attempts - 1];
        const retryable = error instanceof InterlockClientError && error.retryable;
        if (!retryable || delayMs === undefined || signal?.aborted === true) throw error;
        await wait(delayMs, signal);
      }
    }
  }

  return {
    async register(run) {
      const body = Buffer.from(JSON.stringify(run));
      const reply = await call('POST', 'v1/runs', bearer, body, undefined);
      const permit = isRecord(reply) ? reply['permit'] : undefined;
      return { permit: typeof permit === 'string' ? permit : null };
    },

    async reportCheckpoint(report, signal) {
      const { runId, checkpointId, effectiveCompute, step, modelUri, weightsDigest, parents } = report;
      const compute = toDecimal(effectiveCompute);
      const body = Buffer.from(
        JSON.stringify({
          runId,
          checkpointId,
          effectiveCompute: compute,
          step,
          modelUri,
          weightsDigest,
          parents,
        }),
      );
      const id = `cp_${createHash('sha256').update(body).digest('base64url')}`;
      const { value, attempts } = await persist(retryDelaysMs, signal, () =>
        call('POST', 'v1/checkpoints', { ...signWebhook(secret, id, new Date(), body) }, body, signal),
      );
      return { ...readReceipt(value), attempts };
    },

    async heartbeat(runId, beat, signal) {
      const path = `v1/runs/${encodeURIComponent(runId)}/heartbeat`;
      const reply = await call('POST', path, bearer, Buffer.from(JSON.stringify(beat)), signal);
      return readHeartbeatReply(reply);
    },

    async acknowledgeHalt(haltId, state, signal) {
      const path = `v1/halts/${encodeURIComponent(haltId)}/ack`;
      const body = Buffer.from(JSON.stringify({ state, at: new Date().toISOString() }));
      await persist(ackDelaysMs, signal, () => call('POST', path, bearer, body, signal));
    },

    jwks: (signal) => call('GET', '.well-known/jwks.json', {}, null, signal),
  };
}

async function readLimited(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.byteLength;
    if (length > replyLengthMax) throw badReply('too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function httpError(status: number, text: string): InterlockClientError {
  const problem = tryParse(text);
  // Only the machine's code of the problem: its prose may quote what was sent.
  const type =
    isRecord(problem) && typeof problem['code'] === 'string' ? ` (${problem['code'].slice(0, 80)})` : '';
  const retryable = status === 408 || status === 425 || status === 429 || status >= 500;
  return new InterlockClientError(`Interlock answered ${status}${type}`, {
    code: `http-${status}`,
    retryable,
    status,
  });
}

function parseReply(text: string): unknown {
  if (text === '') return null;
  const value = tryParse(text);
  if (value === undefined) throw badReply('not JSON');
  return value;
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function badReply(what: string): InterlockClientError {
  return new InterlockClientError(`Interlock's reply is not usable: ${what}`, {
    code: 'bad-reply',
    retryable: true,
  });
}

function readReceipt(reply: unknown): Omit<CheckpointReceipt, 'attempts'> {
  const disposition = isRecord(reply) ? reply['disposition'] : undefined;
  if (!isRecord(reply) || (disposition !== 'evaluate' && disposition !== 'recorded')) {
    throw badReply('no disposition');
  }
  const listed = Array.isArray(reply['evaluations']) ? reply['evaluations'] : [];
  const evaluations = listed.flatMap((entry: unknown) => {
    if (!isRecord(entry)) return [];
    const { evaluationId, name } = entry;
    return typeof evaluationId === 'string' && typeof name === 'string' ? [{ evaluationId, name }] : [];
  });
  return { disposition, evaluations };
}

function readHeartbeatReply(reply: unknown): HeartbeatReply {
  const directive = isRecord(reply) ? reply['directive'] : undefined;
  if (!isRecord(reply) || !isRecord(directive)) throw badReply('no directive');
  const { action } = directive;
  if (action !== 'continue' && action !== 'pause' && action !== 'halt' && action !== 'quarantine') {
    throw badReply('unknown directive');
  }
  const retain = Array.isArray(reply['retain']) ? reply['retain'] : [];
  const next = textOrNull(reply['nextCheckpointAt']);
  return {
    directive: {
      action,
      haltId: textOrNull(directive['haltId']),
      reason: textOrNull(directive['reason']),
      resumeFrom: textOrNull(directive['resumeFrom']),
      order: textOrNull(directive['order']),
    },
    permit: textOrNull(reply['permit']),
    nextCheckpointAt: next !== null && isDecimal(next) ? next : null,
    retain: retain.filter((id: unknown) => typeof id === 'string'),
    keySet: textOrNull(reply['keySet']),
  };
}

function textOrNull(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
