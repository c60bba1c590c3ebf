/**
 * The `webhook` orchestrator: posts the halt, with the signed order in it, to one URL.
 *
 * The webhook id and the body are the same at every attempt, so a receiver recognises a repetition; the
 * header timestamp is that of the attempt, so that it is never too old. Success is a 2xx whose body reports
 * no error; everything else is tried again, a 404 or 401 too, for a halt is not to be talked out of.
 *
 * Fails toward stopping: where the secret is missing the halt goes out all the same, without `v1`. The
 * order inside carries its own signature, and a receiver that insists on ours refuses it, which is seen.
 *
 * A rehearsal is a message of another type, `halt.drill`, on the same way and signed the same. It carries no order: a
 * receiver that obeys orders and reads no types must find none to obey.
 *
 * Not here: whether the run stopped (a URL cannot tell).
 */

import type { KeyObject } from 'node:crypto';
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { InterlockError } from '../errors.ts';
import type { Outbound } from '../outbound/outbound.ts';
import type { WebhookSecret } from '../signing/standard-webhooks.ts';
import { signWebhook } from '../signing/standard-webhooks.ts';
import { peekHaltOrder } from '../signing/tokens.ts';
import type { HaltMessage, Orchestrator, StepOutcome } from './orchestrator.ts';
import { unknownStep } from './orchestrator.ts';
import type { WebhookTarget } from './targets.ts';

export interface WebhookOrchestratorDeps {
  outbound: Pick<Outbound, 'request'>;
  /** Every active secret of the target: its own, or by default the registering trainer's. */
  secretsFor(target: WebhookTarget): readonly WebhookSecret[];
  ed25519Keys?: readonly KeyObject[];
  now?: () => Date;
  requestTimeoutMs?: number;
}

const STEPS = ['webhook'] as const;
const REPLY_BYTES_MAX = 16_384;

export function createWebhookOrchestrator(
  target: WebhookTarget,
  deps: WebhookOrchestratorDeps,
): Orchestrator {
  const { outbound, now = () => new Date(), requestTimeoutMs = 5_000 } = deps;

  async function post(type: MessageType, message: HaltMessage, signal: AbortSignal): Promise<StepOutcome> {
    const attemptAt = now();
    const payload =
      type === 'halt.drill' ? toDrillPayload(message, attemptAt) : toPayload(message, attemptAt);
    const body = Buffer.from(JSON.stringify(payload));
    const signature = signatureHeaders(target, deps, {
      id: webhookIdOf(message, target, type),
      timestamp: attemptAt,
      body,
    });
    const note = signature.signed ? '' : ', sent unsigned: no usable secret';
    const response = await outbound.request(
      {
        url: target.url,
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json', ...signature.headers },
        body,
        timeoutMs: requestTimeoutMs,
        maxResponseBytes: REPLY_BYTES_MAX,
      },
      signal,
    );
    const verdict = classifyReply(response.status, response.body);
    return { kind: verdict.kind, detail: verdict.detail + note };
  }

  const send = (type: MessageType): Orchestrator['take'] =>
    async function sendStep(step, message, signal) {
      if (step !== 'webhook') return unknownStep('webhook', STEPS);
      try {
        return await post(type, message, signal);
      } catch (error) {
        return classifyFault(error);
      }
    };

  return {
    kind: 'webhook',
    steps: STEPS,
    take: send('halt.ordered'),
    rehearse: send('halt.drill'),
    async observe() {
      return { state: 'unknown', detail: 'a webhook does not show whether the run stopped' };
    },
  };
}

type MessageType = 'halt.ordered' | 'halt.drill';

/** The body; the same bytes for the same order, since its time is the order's and not the attempt's. */
export function toPayload(message: HaltMessage, attemptAt: Date) {
  const { runId, haltId, action, reason, order } = message;
  return {
    type: 'halt.ordered',
    timestamp: issuedAt(order, attemptAt),
    data: { runId, haltId, action, reason, order },
  };
}

export function toDrillPayload({ runId, haltId, action, reason, order }: HaltMessage, attemptAt: Date) {
  return {
    type: 'halt.drill',
    timestamp: issuedAt(order, attemptAt),
    data: { runId, haltId, action, reason },
  };
}

function issuedAt(order: string, attemptAt: Date): string {
  const issuedAtS = peekHaltOrder(order)?.iat;
  return (issuedAtS === undefined ? attemptAt : new Date(issuedAtS * 1000)).toISOString();
}

/** One id per halt, action and URL: a halt hardened to a quarantine is another message, not a repetition. */
export function webhookIdOf(
  { haltId, action }: HaltMessage,
  target: WebhookTarget,
  type: MessageType = 'halt.ordered',
): string {
  // Nor may an order be taken for a repetition of its own rehearsal.
  const rehearsed = type === 'halt.drill' ? 'drill\n' : '';
  const digest = createHash('sha256').update(`${rehearsed}${haltId}\n${action}\n${target.url}`).digest('hex');
  return `msg_${digest.slice(0, 40)}`;
}

function signatureHeaders(
  target: WebhookTarget,
  { secretsFor, ed25519Keys = [] }: WebhookOrchestratorDeps,
  message: { id: string; timestamp: Date; body: Buffer },
): { signed: boolean; headers: Record<string, string> } {
  const secrets = secretsOrNone(() => secretsFor(target));
  try {
    return { signed: secrets.length > 0, headers: signWebhook({ ...message, secrets, ed25519Keys }) };
  } catch {
    // No key at all, or one that cannot sign: see the header for why the halt still goes out.
    const seconds = Math.floor(message.timestamp.getTime() / 1000);
    return { signed: false, headers: { 'webhook-id': message.id, 'webhook-timestamp': String(seconds) } };
  }
}

function secretsOrNone(read: () => readonly WebhookSecret[]): readonly WebhookSecret[] {
  try {
    return read();
  } catch {
    return []; // an unset variable must not hold a halt up
  }
}

const errorReplySchema = z.object({ error: z.unknown() });

function classifyReply(status: number, body: Buffer): StepOutcome {
  if (status < 200 || status > 299) return { kind: 'retry', detail: `HTTP ${status}` };
  const reply = errorReplySchema.safeParse(readJson(body));
  // Some systems answer 200 and say in the body that they did nothing.
  if (reply.success && reply.data.error)
    return { kind: 'retry', detail: `HTTP ${status} reporting an error` };
  return { kind: 'accepted', detail: `HTTP ${status}` };
}

function readJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return null; // a plain-text 2xx is an acceptance
  }
}

function classifyFault(error: unknown): StepOutcome {
  if (!(error instanceof InterlockError))
    return { kind: 'retry', detail: 'the request failed for an unknown reason' };
  // An answer that is too long still says that nothing usable came back; only the allow list is final.
  const final = error.code === 'outbound.refused' && !error.retryable;
  return { kind: final ? 'rejected' : 'retry', detail: error.message };
}
