/**
 * The vectors of retries, queues and halts by webhook (clients/conformance) against the TypeScript client.
 * The Python client is held to the same files by clients/python/test_conformance.py.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { CheckpointQueue } from '../../clients/typescript/checkpoint-queue.ts';
import { guardFileName } from '../../clients/typescript/guard-state.ts';
import {
  createInterlockClient,
  type InterlockClient,
  InterlockClientError,
  listenForHalts,
  PermitGuard,
  signWebhook,
  TrainingGuard,
  WebhookSecret,
} from '../../clients/typescript/index.ts';
import { temporaryDirectory } from './client-support.ts';
import { type Answer, serve, vectors } from './conformance-support.ts';

const Said = z.union([
  z.literal('unreachable'),
  z.object({ status: z.number(), text: z.string().default(''), retryAfter: z.string().exactOptional() }),
]);
type Said = z.output<typeof Said>;
const Persisted = z.array(
  z.object({ name: z.string(), answers: z.array(Said), waitsS: z.array(z.number()), ends: z.string() }),
);
const Step = z.object({
  put: z.string().optional(),
  beat: z.array(Said).optional(),
  advanceS: z.number().default(0),
  restart: z.literal(true).optional(),
  sent: z.array(z.string()).optional(),
  waiting: z.array(z.string()).optional(),
  refused: z.array(z.string()).optional(),
});
const retries = vectors(
  'retries.json',
  z.object({
    runId: z.string(),
    issuer: z.string(),
    nowS: z.number(),
    jwks: z.json(),
    reports: Persisted,
    acknowledgements: Persisted,
    queues: z.array(z.object({ name: z.string(), steps: z.array(Step) })),
    paces: z.array(
      z.object({ name: z.string(), before: z.string().nullable(), answer: Said, nextBeatS: z.number() }),
    ),
  }),
);
const receiver = vectors(
  'receiver.json',
  z.object({
    runId: z.string(),
    issuer: z.string(),
    jwks: z.json(),
    secret: z.string(),
    cases: z.array(
      z.object({
        name: z.string(),
        body: z.string(),
        repeat: z.number().default(1),
        signed: z.boolean(),
        status: z.number(),
        halted: z.boolean(),
      }),
    ),
  }),
);
const Report = z.object({ checkpointId: z.string() });

const place = temporaryDirectory();
let server: Awaited<ReturnType<typeof serve>>;
/** Answers to heartbeats, and to whatever else is posted, in turn; none left is a failure of the test. */
const answers = { heartbeats: [] as Said[], others: [] as Said[] };
let sent: string[] = [];

beforeAll(async () => {
  server = await serve((request, body) => {
    if (request.method === 'GET') return { status: 200, text: JSON.stringify(retries.jwks) };
    const isHeartbeat = request.url?.endsWith('/heartbeat') === true;
    if (request.url === '/v1/checkpoints') sent.push(checkpointIn(body));
    return given((isHeartbeat ? answers.heartbeats : answers.others).shift());
  });
});
beforeEach(() => {
  answers.heartbeats = [];
  answers.others = [];
  sent = [];
});
afterAll(async () => {
  await server.close();
  place.remove();
});

function given(said: Said | undefined): Answer | null {
  return said === undefined || said === 'unreachable' ? null : said;
}

const checkpointIn = (body: Uint8Array): string =>
  Report.parse(JSON.parse(Buffer.from(body).toString('utf8'))).checkpointId;

function clientOf(wait: (ms: number) => Promise<void> = () => Promise.resolve()): InterlockClient {
  const webhookSecret = receiver.secret;
  return createInterlockClient({ url: server.url, token: 'trainer-token', webhookSecret, wait });
}

async function persisted(
  { answers: said, waitsS, ends }: z.output<typeof Persisted>[number],
  call: (client: InterlockClient) => Promise<string>,
): Promise<void> {
  const waited: number[] = [];
  answers.others = [...said];
  const client = clientOf((ms) => {
    waited.push(ms / 1000);
    return Promise.resolve();
  });
  const ended = await call(client).catch((error: unknown) =>
    error instanceof InterlockClientError ? error.message : String(error),
  );
  expect({ waited, ended, left: answers.others }).toEqual({ waited: waitsS, ended: ends, left: [] });
}

describe('what the TypeScript client repeats, by the vectors', () => {
  it.each(retries.reports)('report: $name', (row) =>
    persisted(row, async (client) => {
      const report = { runId: 'r', checkpointId: 'c', effectiveCompute: '1', step: 1, modelUri: 'file:///m' };
      return (await client.reportCheckpoint(report)).disposition;
    }),
  );

  it.each(retries.acknowledgements)('acknowledgement: $name', (row) =>
    persisted(row, async (client) => {
      await client.acknowledgeHalt('halt_a', 'stopped');
      return 'told';
    }),
  );
});

describe('when the TypeScript guard asks again, by the vectors', () => {
  it.each(retries.paces)('$name', async ({ name, before, answer, nextBeatS }) => {
    const scheduled: number[] = [];
    const guard = await PermitGuard.open({
      client: clientOf(),
      runId: retries.runId,
      issuer: retries.issuer,
      stateDirectory: join(place.path, `pace-${name.replaceAll(/\W/g, '-')}`),
      heartbeatIntervalMs: 10_000,
      impatientIntervalMs: 500,
      monotonicMs: () => 1_000,
      wallClock: () => new Date(retries.nowS * 1000),
      nonce: () => 'nonce-1',
      after: (ms) => {
        scheduled.push(ms / 1000);
        return () => undefined;
      },
    });
    answers.heartbeats = [...(before === null ? [] : [{ status: 200, text: before }]), answer];
    guard.start();
    while (answers.heartbeats.length > 0) await guard.beat();
    await guard.beat();
    expect(scheduled.at(before === null ? 0 : 1)).toBeCloseTo(nextBeatS);
    await guard.close();
  });
});

describe('what the TypeScript guard keeps on disk and sends, by the vectors', () => {
  let guard: TrainingGuard | null = null;
  afterEach(async () => {
    await guard?.permitGuard.close();
    guard = null;
  });

  it.each(retries.queues)('$name', async ({ name, steps }) => {
    const stateDirectory = join(place.path, `queue-${name.replaceAll(/\W/g, '-')}`);
    let monotonicMs = 1_000;
    const open = () =>
      TrainingGuard.open({
        client: clientOf(),
        runId: retries.runId,
        stateDirectory,
        monotonicMs: () => monotonicMs,
        start: false,
      });
    guard = await open();
    const directory = join(stateDirectory, `${guardFileName(retries.runId)}.queue`);
    const queue = new CheckpointQueue(directory);
    for (const [index, step] of steps.entries()) {
      const at = `step ${index}: ${JSON.stringify(step)}`;
      monotonicMs += step.advanceS * 1000;
      if (step.put !== undefined) {
        const more = { effectiveCompute: '1000', step: 1, modelUri: 'file:///models/1' };
        guard.checkpoint({ checkpointId: step.put, ...more });
      }
      if (step.beat !== undefined) {
        answers.others = [...step.beat];
        await guard.permitGuard.beat();
        expect(answers.others, at).toEqual([]);
      }
      if (step.restart === true) {
        await guard.permitGuard.close();
        guard = await open();
      }
      if (step.sent !== undefined) expect(sent.splice(0), at).toEqual(step.sent);
      if (step.waiting !== undefined) {
        const bodies = queue.pending().map((file) => queue.read(file) ?? Buffer.of());
        expect(bodies.map(checkpointIn), at).toEqual(step.waiting);
      }
      if (step.refused !== undefined) {
        expect(refusedIn(join(directory, 'rejected')), at).toEqual(step.refused);
      }
    }
  });

  const refusedIn = (directory: string): string[] =>
    readdirSync(directory)
      .sort()
      .map(
        (file) => `${file.replace(/-[0-9]{20}-.*/, '')} ${checkpointIn(readFileSync(join(directory, file)))}`,
      );
});

describe('what the TypeScript receiver of halts answers, by the vectors', () => {
  it.each(receiver.cases)('$name', async ({ name, body: text, repeat, signed, status, halted }) => {
    const guard = await PermitGuard.open({
      client: clientOf(),
      runId: receiver.runId,
      issuer: receiver.issuer,
      stateDirectory: join(place.path, `receiver-${name.replaceAll(/\W/g, '-')}`),
    });
    const listener = await listenForHalts({ guard, secrets: [receiver.secret], port: 0 });
    const body = Buffer.from(text.repeat(repeat));
    const headers = signed
      ? { ...signWebhook(new WebhookSecret(receiver.secret), 'msg_1', new Date(), body) }
      : {};
    const answer = await fetch(listener.url, { method: 'POST', headers, body: new Uint8Array(body) });
    expect([answer.status, guard.halts.length]).toEqual([status, halted ? 1 : 0]);
    await listener.close();
    await guard.close();
  });
});
