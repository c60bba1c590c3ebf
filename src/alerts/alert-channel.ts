/**
 * What every alert channel looks like, and the wrapping all of them get once, outside: a deadline, and
 * redaction of whatever reason comes back.
 *
 * Pages may repeat but not vanish: only a reply that says "this very message will never be accepted" is
 * `rejected`; silence, nonsense, redirects and refused credentials (someone may be rotating them) are tried
 * again. Adapters translate; they do not retry, log, or read the environment.
 */
import { InterlockError } from '../errors.ts';
import type { Outbound } from '../outbound/outbound.ts';
import { plainText } from './text.ts';

export interface Alert {
  alertId: string;
  kind: 'halt-ordered' | 'halt-unconfirmed' | 'halt-confirmed' | 'hold' | 'inconclusive' | 'notice';
  severity: 'critical' | 'error' | 'warning' | 'info';
  dedupKey: string;
  runId: string;
  summary: string;
  details: Record<string, string>;
  at: string;
  runbookUrl?: string;
  statusUrl?: string;
}

export type Delivery = { outcome: 'delivered' | 'retry' | 'rejected'; reason: string };

export interface AlertChannel {
  name: string;
  send(alert: Alert, signal: AbortSignal): Promise<Delivery>;
}

export interface ChannelPost {
  url: string;
  body: Buffer;
  headers?: Record<string, string>;
}

const REQUEST_TIMEOUT_MS = 10_000;
const REPLY_BYTES_MAX = 16_384;

/** One POST; `accepted` says whether a 2xx is the answer that the system gives for a message it took. */
export async function postAlert(
  outbound: Pick<Outbound, 'request'>,
  { url, body, headers }: ChannelPost,
  accepted: (status: number, reply: string) => boolean,
  signal: AbortSignal,
): Promise<Delivery> {
  try {
    const response = await outbound.request(
      {
        url,
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body,
        timeoutMs: REQUEST_TIMEOUT_MS,
        maxResponseBytes: REPLY_BYTES_MAX,
      },
      signal,
    );
    return classifyReply(response.status, response.body.toString('utf8'), accepted);
  } catch (error) {
    return classifyFault(error);
  }
}

/** Replies that judge the message itself, or say that the address is gone for good. */
const FINAL_STATUSES = new Set([400, 405, 406, 410, 411, 413, 414, 415, 422, 431]);

function classifyReply(
  status: number,
  reply: string,
  accepted: (status: number, reply: string) => boolean,
): Delivery {
  if (status >= 200 && status <= 299) {
    return accepted(status, reply)
      ? { outcome: 'delivered', reason: `HTTP ${status}` }
      : { outcome: 'retry', reason: `HTTP ${status} with an unexpected reply` };
  }
  return { outcome: FINAL_STATUSES.has(status) ? 'rejected' : 'retry', reason: `HTTP ${status}` };
}

function classifyFault(error: unknown): Delivery {
  if (!(error instanceof InterlockError)) return { outcome: 'retry', reason: 'failed for an unknown reason' };
  const final = error.code === 'outbound.refused' && !error.retryable;
  return { outcome: final ? 'rejected' : 'retry', reason: error.message };
}

export interface WrapOptions {
  timeoutMs: number;
  /** Texts that must not come back in a reason: keys, secrets, secret URLs. */
  secrets: readonly string[];
}

const REASON_LENGTH_MAX = 300;

/**
 * Settles by its deadline or the caller's signal even if the channel inside ignores both, never throws, and
 * never lets a secret out.
 */
export function wrapChannel(channel: AlertChannel, { timeoutMs, secrets }: WrapOptions): AlertChannel {
  const redact = (text: string): string => {
    const clean = secrets.reduce(
      (rest, secret) => (secret === '' ? rest : rest.replaceAll(secret, '[redacted]')),
      text,
    );
    return plainText(clean, REASON_LENGTH_MAX);
  };
  return {
    name: channel.name,
    async send(alert, signal) {
      const { outcome, reason } = await withDeadline(timeoutMs, signal, (inner) =>
        channel.send(alert, inner),
      );
      return { outcome, reason: redact(reason) };
    },
  };
}

function withDeadline(
  timeoutMs: number,
  signal: AbortSignal,
  send: (signal: AbortSignal) => Promise<Delivery>,
): Promise<Delivery> {
  if (signal.aborted) return Promise.resolve({ outcome: 'retry', reason: 'given up before it was sent' });
  return new Promise((resolve) => {
    const controller = new AbortController();
    const settle = (delivery: Delivery): void => {
      clearTimeout(deadline);
      signal.removeEventListener('abort', onAbort);
      resolve(delivery);
      controller.abort();
    };
    const onAbort = (): void => settle({ outcome: 'retry', reason: 'given up' });
    const deadline = setTimeout(
      () => settle({ outcome: 'retry', reason: `no answer in ${timeoutMs} ms` }),
      timeoutMs,
    );
    signal.addEventListener('abort', onAbort, { once: true });
    // A synchronous throw becomes a rejection here too.
    Promise.resolve()
      .then(() => send(controller.signal))
      .then(settle, () => settle({ outcome: 'retry', reason: 'the channel failed' }));
  });
}
