/**
 * A call-out by webhook: posts what is to be isolated, signed (Standard Webhooks), until the answer says that it is.
 *
 * The webhook id and the body are the same at every attempt, so a receiver recognises a repetition. A 2xx with the JSON
 * `{"state": "isolated"}` confirms; any other 2xx says that it was taken, and it is asked again.
 * Fails toward isolating: without a secret it goes out all the same, unsigned; the order inside has its own signature.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { CallOut } from '../domain/policy/quarantine.ts';
import { InterlockError } from '../errors.ts';
import type { Outbound } from '../outbound/outbound.ts';
import { signWebhook, type WebhookSecret } from '../signing/standard-webhooks.ts';
import { peekHaltOrder } from '../signing/tokens.ts';
import type { IsolationMessage, IsolationOutcome, Isolator } from './isolator.ts';

export interface WebhookIsolatorDeps {
  readonly outbound: Pick<Outbound, 'request'>;
  /** The secrets behind `env:NAME`, several during a rotation; empty where it is not set. */
  readonly secrets: (reference: string) => readonly WebhookSecret[];
  readonly now: () => Date;
}

const REPLY_BYTES_MAX = 16_384;
const TIMEOUT_MS = 8_000;

export function createWebhookIsolator(
  { url, secret }: Extract<CallOut, { kind: 'webhook' }>,
  { outbound, secrets: secretsOf, now }: WebhookIsolatorDeps,
): Isolator {
  return {
    async isolate(message, signal) {
      const timestamp = now();
      const body = Buffer.from(JSON.stringify(toPayload(message, timestamp)));
      const id = webhookIdOf(message, url);
      const secrets = secretsOf(secret);
      const note = secrets.length > 0 ? '' : `, sent unsigned: ${secret} is not set`;
      const signed =
        secrets.length > 0
          ? signWebhook({ id, timestamp, body, secrets })
          : { 'webhook-id': id, 'webhook-timestamp': String(Math.floor(timestamp.getTime() / 1000)) };
      try {
        const answer = await outbound.request(
          {
            url,
            method: 'POST',
            headers: { 'content-type': 'application/json', accept: 'application/json', ...signed },
            body,
            timeoutMs: TIMEOUT_MS,
            maxResponseBytes: REPLY_BYTES_MAX,
          },
          signal,
        );
        const { kind, detail } = outcomeOf(answer);
        return { kind, detail: detail + note };
      } catch (error) {
        return faultOf(error);
      }
    },
  };
}

/** The same bytes for the same order: its time is the order's, not the attempt's. */
function toPayload({ runId, haltId, step, reason, order, revert }: IsolationMessage, attemptAt: Date) {
  const issuedAtS = peekHaltOrder(order)?.iat;
  const timestamp = (issuedAtS === undefined ? attemptAt : new Date(issuedAtS * 1000)).toISOString();
  return { type: 'quarantine.isolate', timestamp, data: { runId, haltId, step, reason, revert, order } };
}

function webhookIdOf({ haltId, step }: IsolationMessage, url: string): string {
  const digest = createHash('sha256').update(`isolate\n${haltId}\n${step}\n${url}`).digest('hex');
  return `msg_${digest.slice(0, 40)}`;
}

const ReplySchema = z.object({ state: z.string().optional(), error: z.unknown().optional() });

function outcomeOf({ status, body }: { status: number; body: Buffer }): IsolationOutcome {
  if (status < 200 || status > 299) return { kind: 'retry', detail: `HTTP ${status}` };
  const reply = ReplySchema.safeParse(readJson(body));
  if (reply.success && reply.data.error) {
    return { kind: 'retry', detail: `HTTP ${status} reporting an error` };
  }
  const isolated = reply.success && reply.data.state === 'isolated';
  return isolated
    ? { kind: 'isolated', detail: `HTTP ${status}: isolated` }
    : { kind: 'accepted', detail: `HTTP ${status}, not isolated yet` };
}

function readJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return null; // a plain-text 2xx says that it was taken
  }
}

function faultOf(error: unknown): IsolationOutcome {
  if (!(error instanceof InterlockError)) {
    return { kind: 'retry', detail: 'the request failed for an unknown reason' };
  }
  const isFinal = error.code === 'outbound.refused' && !error.retryable;
  return { kind: isFinal ? 'rejected' : 'retry', detail: error.message };
}
