/**
 * How the campaign speaks to the service: as its users do, over HTTP, again and again until it is answered.
 *
 * A 5xx or a broken connection is no answer and is repeated, the same message under the same webhook-id. A 500 is a
 * violation whenever it comes, and so is a 503 that does not say when to come back.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { signWebhook, WebhookSecret } from '../../../src/signing/standard-webhooks.ts';
import type { Journal } from './journal.ts';
import type { Workplace } from './workplace.ts';

export interface Answer {
  readonly status: number;
  readonly body: unknown;
  /** When the attempt that was answered was sent. */
  readonly sentAtMs: number;
}

export interface Message {
  readonly path: string;
  readonly body?: object;
  /** Bearer token of this identity. */
  readonly as?: string;
  /** Signed by the trainer under this webhook-id, in place of a token. */
  readonly webhookId?: string;
}

export interface Api {
  /** Where the service is now; each start may be on another port. */
  use(url: string): void;
  /** One attempt; null where there was no answer. */
  once(message: Message): Promise<Answer | null>;
  /** Until there is an answer that is not a 5xx. Null only when the campaign is over. */
  persist(message: Message): Promise<Answer | null>;
}

const TIMEOUT_MS = 10_000;
const PAUSE_MS = 100;

export function createApi(place: Workplace, journal: Journal, over: AbortSignal): Api {
  let base = 'http://127.0.0.1:9';
  const secret = WebhookSecret.parse(place.trainerSecret);

  function headersOf({ as, webhookId, body }: Message, bytes: Buffer): Record<string, string> {
    const timestamp = new Date();
    return {
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(as === undefined ? {} : { authorization: `Bearer ${place.token(as)}` }),
      ...(webhookId === undefined
        ? {}
        : signWebhook({ id: webhookId, timestamp, body: bytes, secrets: [secret] })),
    };
  }

  async function once(message: Message): Promise<Answer | null> {
    const { path, body } = message;
    const bytes = Buffer.from(body === undefined ? '' : JSON.stringify(body));
    const sentAtMs = performance.now();
    // Not AbortSignal.any and AbortSignal.timeout: on Node 20 such a pair may be collected before it fires.
    const attempt = new AbortController();
    const giveUp = () => attempt.abort();
    const timer = setTimeout(giveUp, TIMEOUT_MS);
    over.addEventListener('abort', giveUp, { once: true });
    let status: number;
    let text: string;
    let retryAfter: string | null;
    try {
      const response = await fetch(new URL(path, base), {
        method: body === undefined ? 'GET' : 'POST',
        headers: headersOf(message, bytes),
        ...(body === undefined ? {} : { body: new Uint8Array(bytes) }),
        signal: attempt.signal,
      });
      status = response.status;
      retryAfter = response.headers.get('retry-after');
      text = await response.text();
    } catch {
      journal.count('no answer');
      return null;
    } finally {
      clearTimeout(timer);
      over.removeEventListener('abort', giveUp);
    }
    journal.count(String(status));
    if (status === 500) journal.violations.push(`${path} was answered 500: ${text.slice(0, 300)}`);
    if (status === 503 && retryAfter === null && path.startsWith('/v1/')) {
      journal.violations.push(`${path} was answered 503 without Retry-After`);
    }
    try {
      return { status, body: text === '' ? null : JSON.parse(text), sentAtMs };
    } catch {
      journal.violations.push(`${path} was answered ${status} with a body that is no JSON`);
      return { status, body: null, sentAtMs };
    }
  }

  return {
    use(url) {
      base = url;
    },
    once,
    async persist(message) {
      while (!over.aborted) {
        const answer = await once(message);
        if (answer !== null && answer.status < 500 && answer.status !== 429) return answer;
        await delay(PAUSE_MS, undefined, { signal: over }).catch(() => undefined);
      }
      return null;
    },
  };
}
