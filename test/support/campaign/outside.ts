/**
 * Everything the service calls: the receiver of halts, the alert channel, and an evaluation service that answers by
 * callback. They live in the test's process, so they remember what a killed service has forgotten.
 *
 * As real receivers do they sometimes fail: then what came is not counted as delivered. Signatures are checked on
 * raw bytes; what is not signed as it should be is a violation.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { verifyWebhook, WebhookSecret } from '../../../src/signing/standard-webhooks.ts';
import type { Random } from '../../simulation/random.ts';
import type { Api } from './api.ts';
import type { Journal } from './journal.ts';
import type { Workplace } from './workplace.ts';

export interface ReceivedHalt {
  readonly haltId: string;
  readonly runId: string;
  /** The signed order. */
  readonly order: string;
  readonly atMs: number;
  /** Wall clock, for comparison with the ledger's. */
  readonly at: number;
}

export interface Outside {
  readonly url: string;
  /** Halts that were answered 2xx. */
  readonly halts: ReceivedHalt[];
  readonly alerts: Set<string>;
  /** How often a halt came and was not taken. */
  readonly refusals: () => number;
  /** Set once the workplace is made; nothing is served before. */
  open(parts: { place: Workplace; api: Api; journal: Journal }): void;
  /** From now on halts are refused, as by a receiver that is down; or taken again. */
  refuseHalts(refuse: boolean): void;
  /** Callback results that are still to be posted. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

interface Parts {
  readonly place: Workplace;
  readonly api: Api;
  readonly journal: Journal;
}

const HaltSchema = z.object({
  type: z.literal('halt.ordered'),
  data: z.object({ runId: z.string(), haltId: z.string(), order: z.string() }),
});
const AlertSchema = z.object({ data: z.object({ alertId: z.string() }) });
const EvaluationSchema = z.object({
  data: z.object({
    evaluationId: z.string(),
    attempt: z.int(),
    modelUri: z.string(),
    callbackUrl: z.string(),
  }),
});

export async function openOutside(random: Random): Promise<Outside> {
  const halts: ReceivedHalt[] = [];
  const alerts = new Set<string>();
  /** One result per attempt, however often it is asked for. */
  const scores = new Map<string, number>();
  const posting = new Set<Promise<void>>();
  let parts: Parts | null = null;
  let refusing = false;
  let refusals = 0;

  const server = createServer((request, response) => {
    void bodyOf(request)
      .then((body) => serve(request, body, response))
      .catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');

  function serve(request: IncomingMessage, body: Buffer, response: ServerResponse): void {
    const answer = (status: number) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end('{}');
    if (parts === null) return void answer(503);
    const { place, journal } = parts;
    const secret = request.url === '/halt' ? place.trainerSecret : place.outsideSecret;
    const verdict = verifyWebhook({
      rawHeaders: request.rawHeaders,
      body,
      secrets: [WebhookSecret.parse(secret)],
      now: new Date(),
    });
    if (!verdict.ok) {
      journal.violations.push(`${request.url} came with a bad signature: ${verdict.reason}`);
      return void answer(401);
    }
    const json: unknown = JSON.parse(body.toString('utf8'));
    switch (request.url) {
      case '/halt':
        return void answer(takeHalt(json, journal));
      case '/alert':
        alerts.add(AlertSchema.parse(json).data.alertId);
        return void answer(200);
      case '/evaluate':
        return void answer(takeEvaluation(EvaluationSchema.parse(json).data, parts));
      default:
        return void answer(404);
    }
  }

  function takeHalt(json: unknown, journal: Journal): number {
    const { runId, haltId, order } = HaltSchema.parse(json).data;
    // What measures how soon a halt goes out must not be refused by chance.
    if (refusing || (!runId.startsWith('walk-') && random.chance(0.15))) {
      refusals += 1;
      return 503;
    }
    journal.knowHalt(haltId);
    halts.push({ haltId, runId, order, atMs: performance.now(), at: Date.now() });
    return 200;
  }

  function takeEvaluation(job: z.infer<typeof EvaluationSchema>['data'], given: Parts): number {
    // As often as the model's URI asks for, so that a second attempt has to come.
    const refused = Number(new URL(job.modelUri).searchParams.get('refuse') ?? 0);
    if (job.attempt <= refused || random.chance(0.1)) return 500;
    evaluate(job, given);
    return 202;
  }

  function evaluate(job: z.infer<typeof EvaluationSchema>['data'], { api, journal }: Parts): void {
    const { evaluationId, attempt, modelUri, callbackUrl } = job;
    const plan = new URL(modelUri).searchParams;
    const key = `${evaluationId}/${attempt}`;
    const score = scores.get(key) ?? Number(plan.get('win')) + random.next() * 1e-3;
    scores.set(key, score);
    const { pathname, search } = new URL(callbackUrl);
    const post = async () => {
      await delay(random.between(20, 600));
      const times = random.chance(0.15) ? 2 : 1;
      for (let i = 0; i < times; i += 1) {
        const answer = await api.persist({
          path: `${pathname}${search}`,
          body: { status: 'success', score, n: 400 },
          as: 'evaluator',
        });
        if (answer === null) return;
        if (answer.status === 200) journal.results.push({ evaluationId, attempt, score });
        else {
          journal.violations.push(
            `the result of ${key} was refused with ${answer.status}: ${JSON.stringify(answer.body)}`,
          );
        }
      }
    };
    const posted = post().finally(() => posting.delete(posted));
    posting.add(posted);
  }

  return {
    url: `http://127.0.0.1:${address.port}`,
    halts,
    alerts,
    refusals: () => refusals,
    open(given) {
      parts = given;
    },
    refuseHalts(refuse) {
      refusing = refuse;
    },
    async settled() {
      while (posting.size > 0) await Promise.all(posting);
    },
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close').catch(() => undefined);
    },
  };
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}
