/**
 * The calls a trainer makes, as thin as the contract allows: register, report a checkpoint, heartbeat, acknowledge a
 * halt, finish.
 *
 * Checkpoints are signed Standard Webhooks and are retried under one webhook-id, derived from the body:
 * a trainer that restarts and reports the same checkpoint again is answered like the first time.
 * Heartbeats are not retried here, for a late one is worthless; the guard sends the next. `Retry-After` lengthens a
 * wait and never shortens one, up to a bound, for whoever answers may be wrong.
 *
 * Not here: whether the run may go on (guard.ts). Redirects are refused: a credential goes only where
 * it was meant to go.
 */
import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { isDecimal, toDecimal } from './decimal.ts';
import { badConfiguration, InterlockClientError } from './errors.ts';
import { type Secret, secretValue } from './secrets.ts';
import { isRecord } from './tokens.ts';
import { signWebhook, WebhookSecret } from './webhook.ts';

export interface InterlockClientOptions {
  url: string;
  /** Bearer token of the trainer: registration, heartbeats, acknowledgements. */
  token: Secret;
  /** `whsec_...`: signs checkpoints. */
  webhookSecret?: Secret;
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
  step?: number;
  modelUri: string;
  /** `sha256:...`: later runs may name these weights by it. */
  weightsDigest?: string;
  /** Weights of other runs that were merged in since the checkpoint before. */
  parents?: readonly string[];
  trainingStage?: TrainingStage;
}

/** `compute` is that of the stage alone, where it is more than the run has trained since the stage began. */
export interface TrainingStage {
  name: string;
  compute?: number | bigint | string;
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
  /** By checkpoint, RFC 3339: to be kept at least until then. An older service says nothing of it. */
  retainUntil?: Readonly<Record<string, string>>;
  /** Changes with the key set: fetch it again. */
  keySet?: string | null;
  /** Where no permit is to be had before: seconds until asking again is of use. */
  retryAfterS?: number | null;
}

export interface HeartbeatMessage {
  effectiveCompute: string;
  step?: number;
  nonce: string;
  trainingStage?: TrainingStage;
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
  /** Signed and sent with retries, for whoever has no queue on disk (training-guard.ts has). */
  reportCheckpoint(report: CheckpointReport, signal?: AbortSignal): Promise<CheckpointReceipt>;
  /** One attempt with these very bytes (`reportBody`). */
  sendCheckpoint(body: Buffer, signal?: AbortSignal): Promise<Omit<CheckpointReceipt, 'attempts'>>;
  heartbeat(runId: string, beat: HeartbeatMessage, signal?: AbortSignal): Promise<HeartbeatReply>;
  acknowledgeHalt(haltId: string, state: 'received' | 'stopped', signal?: AbortSignal): Promise<void>;
  /** Declares the run finished: it gets no permit from here on. */
  finish(runId: string): Promise<void>;
  jwks(signal?: AbortSignal): Promise<unknown>;
}

const replyLengthMax = 1_048_576;
/** Quick at first, because a checkpoint that is not reported is a run that will pause. */
const retryDelaysMs = [200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 60_000, 60_000];
const ackDelaysMs = [100, 200, 500, 1_000, 2_000];
/** The longest that `Retry-After` is obeyed: an acknowledgement has to be out before its process ends. */
export const reportRetryAfterMaxMs = 60_000;
const ackRetryAfterMaxMs = 5_000;
const retryAfterForm = /^\d{1,9}$/;
const tokenForm = /^[\x21-\x7e]{1,4096}$/;
const problemForm = /^urn:interlock:problem:([A-Za-z0-9._-]{1,80})$/;

export function createInterlockClient(options: InterlockClientOptions): InterlockClient {
  const { token, webhookSecret, timeoutMs = 10_000 } = options;
  const base = baseOf(options.url);
  const wait = options.wait ?? ((ms, signal) => delay(ms, undefined, signal === undefined ? {} : { signal }));
  const bearer = (): { authorization: string } => {
    const value = secretValue(token);
    // Before fetch sees it: its error for a bad header quotes the value.
    if (!tokenForm.test(value)) throw badConfiguration('the token must be printable ASCII without spaces');
    return { authorization: `Bearer ${value}` };
  };
  // Said now, not at the first heartbeat or checkpoint.
  if (typeof token === 'string') bearer();
  if (typeof webhookSecret === 'string') new WebhookSecret(webhookSecret);

  async function call(
    method: 'GET' | 'POST',
    path: string,
    headers: Record<string, string>,
    body: Buffer | null,
    signal: AbortSignal | undefined,
  ): Promise<Reply> {
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
    let retryAfterS: number | undefined;
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
      retryAfterS = readRetryAfter(response.headers.get('retry-after'));
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
    if (status < 200 || status > 299) throw httpError(status, retryAfterS, text);
    return { value: parseReply(text), retryAfterS };
  }

  /** Repeats `attempt` while its failure is retryable and a delay is left. */
  async function persist<T>(
    { delaysMs, retryAfterMaxMs }: { delaysMs: readonly number[]; retryAfterMaxMs: number },
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
        const askedMs = Math.min((error.retryAfterS ?? 0) * 1000, retryAfterMaxMs);
        await wait(Math.max(delayMs, askedMs), signal);
      }
    }
  }

  async function sendCheckpoint(
    body: Buffer,
    signal: AbortSignal | undefined,
  ): Promise<Omit<CheckpointReceipt, 'attempts'>> {
    if (webhookSecret === undefined) {
      throw badConfiguration('a checkpoint is signed: give the client a webhookSecret (whsec_...)');
    }
    const secret = new WebhookSecret(secretValue(webhookSecret));
    const headers = { ...signWebhook(secret, reportId(body), new Date(), body) };
    return readReceipt((await call('POST', 'v1/checkpoints', headers, body, signal)).value);
  }

  return {
    async register(run) {
      const body = Buffer.from(JSON.stringify(run));
      const { value } = await call('POST', 'v1/runs', bearer(), body, undefined);
      const permit = isRecord(value) ? value['permit'] : undefined;
      return { permit: typeof permit === 'string' ? permit : null };
    },

    async reportCheckpoint(report, signal) {
      const body = reportBody(report);
      const pace = { delaysMs: retryDelaysMs, retryAfterMaxMs: reportRetryAfterMaxMs };
      const { value, attempts } = await persist(pace, signal, () => sendCheckpoint(body, signal));
      return { ...value, attempts };
    },

    sendCheckpoint,

    async heartbeat(runId, beat, signal) {
      const path = `v1/runs/${encodeURIComponent(runId)}/heartbeat`;
      const body = Buffer.from(JSON.stringify(beat));
      const { value, retryAfterS } = await call('POST', path, bearer(), body, signal);
      return { ...readHeartbeatReply(value), retryAfterS: retryAfterS ?? null };
    },

    async acknowledgeHalt(haltId, state, signal) {
      const path = `v1/halts/${encodeURIComponent(haltId)}/ack`;
      const body = Buffer.from(JSON.stringify({ state, at: new Date().toISOString() }));
      const pace = { delaysMs: ackDelaysMs, retryAfterMaxMs: ackRetryAfterMaxMs };
      await persist(pace, signal, () => call('POST', path, bearer(), body, signal));
    },

    async finish(runId) {
      await call(
        'POST',
        `v1/runs/${encodeURIComponent(runId)}/finish`,
        bearer(),
        Buffer.from('{}'),
        undefined,
      );
    },

    async jwks(signal) {
      return (await call('GET', '.well-known/jwks.json', {}, null, signal)).value;
    },
  };
}

interface Reply {
  value: unknown;
  retryAfterS: number | undefined;
}

/** The same report gives the same bytes, and so the same webhook id, in every client. */
export function reportBody(report: CheckpointReport): Buffer {
  const { runId, checkpointId, effectiveCompute, step, modelUri, weightsDigest, parents, trainingStage } =
    report;
  const compute = toDecimal(effectiveCompute);
  return Buffer.from(
    JSON.stringify({
      runId,
      checkpointId,
      effectiveCompute: compute,
      step,
      modelUri,
      weightsDigest,
      parents,
      trainingStage: trainingStage === undefined ? undefined : statedStage(trainingStage),
    }),
  );
}

/** As it goes out: compute is exact. */
export function statedStage({ name, compute }: TrainingStage): TrainingStage {
  return compute === undefined ? { name } : { name, compute: toDecimal(compute) };
}

export function reportId(body: Buffer): string {
  return `cp_${createHash('sha256').update(body).digest('base64url')}`;
}

function baseOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text.endsWith('/') ? text : `${text}/`) : null;
  const plain = url !== null && url.username === '' && url.password === '';
  if (plain && (url.protocol === 'http:' || url.protocol === 'https:')) return url;
  throw badConfiguration('url must be http://HOST:PORT or https://HOST, without a user name');
}

/** Seconds alone. A date would be compared with a clock of ours; without it our own delays stand. */
function readRetryAfter(text: string | null): number | undefined {
  return text !== null && retryAfterForm.test(text) ? Number(text) : undefined;
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

function httpError(status: number, retryAfterS: number | undefined, text: string): InterlockClientError {
  const problem = tryParse(text);
  // Only the machine's code of the problem: its prose may quote what was sent.
  const type = isRecord(problem) && typeof problem['type'] === 'string' ? problem['type'] : '';
  const [, code] = problemForm.exec(type) ?? [];
  const retryable = status === 408 || status === 425 || status === 429 || status >= 500;
  return new InterlockClientError(`Interlock answered ${status}${code === undefined ? '' : ` (${code})`}`, {
    code: `http-${status}`,
    retryable,
    status,
    retryAfterS,
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
    retainUntil: textsOf(reply['retainUntil']),
    keySet: textOrNull(reply['keySet']),
  };
}

function textsOf(value: unknown): Record<string, string> {
  const entries = isRecord(value) ? Object.entries(value) : [];
  return Object.fromEntries(
    entries.flatMap(([key, text]) => (typeof text === 'string' ? [[key, text] as const] : [])),
  );
}

function textOrNull(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
