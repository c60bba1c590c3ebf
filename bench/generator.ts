/**
 * The load generator, in a process of its own so that its work is not timed as the server's.
 *
 * Reads jobs as JSON lines, answers each with one JSON line. A closed loop: so many connections, one request in
 * flight on each. With `rate`, requests have their times, and a late one counts from when it should have been sent:
 * a server that stalls must not slow down its own measurement.
 * Requests of a closed loop are written and signed before the clock starts, and answers are read just far enough to
 * know status and length: a client that spends as much as the server would halve what the server can show.
 */
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { signWebhook, WebhookSecret } from '../src/signing/standard-webhooks.ts';

/** `{n}` in path and body becomes the request's number, `{run}` that number modulo `runs`. */
export const JobSchema = z.strictObject({
  port: z.int(),
  connections: z.int().min(1),
  requests: z.int().min(1),
  /** The number of the first request, so that rounds do not repeat one another. */
  from: z.int().min(0).default(0),
  runs: z.int().min(1).default(1),
  method: z.enum(['GET', 'POST']).default('POST'),
  path: z.string(),
  body: z.string().default(''),
  /** One of the two: a bearer token, or the secret to sign with. */
  token: z.string().optional(),
  secret: z.string().optional(),
  /** Text that every answer of a 2xx must hold. */
  holds: z.string().optional(),
  /** Requests per second; left out, each connection sends as soon as it has its answer. */
  rate: z.number().positive().optional(),
  /** What is answered 503 with Retry-After is sent again after that time, until it is taken. */
  resend: z.boolean().default(false),
});
export type Job = z.input<typeof JobSchema>;

export const OutcomeSchema = z.object({
  seconds: z.number(),
  perSecond: z.number(),
  p50Ms: z.number(),
  p99Ms: z.number(),
  maxMs: z.number(),
  statuses: z.record(z.string(), z.number()),
  /** Answers without the wanted text, and connections that broke. */
  faults: z.number(),
  /** Refusals that do not say when to come again, and faults of the server: neither may be. */
  unkind: z.number(),
});
export type Outcome = z.infer<typeof OutcomeSchema>;

const RESEND_AFTER_MS = 1_000;
const HEAD_END = Buffer.from('\r\n\r\n');

function requestsOf(job: z.output<typeof JobSchema>): (at: number) => Buffer {
  const secrets = job.secret === undefined ? null : [WebhookSecret.parse(job.secret)];
  const started = Date.now();
  const write = (at: number): Buffer => {
    const timestamp = new Date();
    const n = String(job.from + at);
    const run = String((job.from + at) % job.runs);
    const fill = (template: string): string => template.replaceAll('{n}', n).replaceAll('{run}', run);
    const body = Buffer.from(fill(job.body));
    const id = `msg_${process.pid}_${started}_${n}`;
    const signature = secrets === null ? {} : signWebhook({ id, timestamp, body, secrets });
    const headers = {
      host: `127.0.0.1:${job.port}`,
      ...(job.token === undefined ? {} : { authorization: `Bearer ${job.token}` }),
      ...signature,
      ...(body.length === 0 ? {} : { 'content-type': 'application/json', 'content-length': body.length }),
    };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    return Buffer.concat([
      Buffer.from(`${job.method} ${fill(job.path)} HTTP/1.1\r\n${lines.join('')}\r\n`),
      body,
    ]);
  };
  if (job.rate !== undefined) return write;
  const written = Array.from({ length: job.requests }, (_, at) => write(at));
  return (at) => written[at] ?? write(at);
}

interface Tally {
  readonly latencies: number[];
  readonly statuses: Record<string, number>;
  faults: number;
  unkind: number;
}

async function run(job: z.output<typeof JobSchema>): Promise<Outcome> {
  const request = requestsOf(job);
  const tally: Tally = { latencies: [], statuses: {}, faults: 0, unkind: 0 };
  let next = 0;
  const startedMs = performance.now();

  const lane = async (): Promise<void> => {
    let socket: Socket | null = null;
    for (let at = next++; at < job.requests; at = next++) {
      const dueMs = job.rate === undefined ? performance.now() : startedMs + (at / job.rate) * 1000;
      await until(dueMs);
      for (;;) {
        socket ??= await open(job.port).catch(() => null);
        const answer = socket === null ? null : await exchange(socket, request(at));
        if (answer === null || answer.closes) {
          socket?.destroy();
          socket = null;
        }
        if (count(answer, job, tally) && job.resend) {
          await until(performance.now() + RESEND_AFTER_MS);
          continue;
        }
        tally.latencies.push(performance.now() - dueMs);
        break;
      }
    }
    socket?.destroy();
  };
  await Promise.all(Array.from({ length: Math.min(job.connections, job.requests) }, lane));
  const seconds = (performance.now() - startedMs) / 1000;
  const sorted = Float64Array.from(tally.latencies).sort();
  const rank = (q: number): number =>
    sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)] ?? 0;
  return {
    seconds,
    perSecond: job.requests / seconds,
    p50Ms: rank(0.5),
    p99Ms: rank(0.99),
    maxMs: sorted.at(-1) ?? 0,
    statuses: tally.statuses,
    faults: tally.faults,
    unkind: tally.unkind,
  };
}

/** Whether it was refused for now, and says so. */
function count(answer: Answer | null, { holds }: z.output<typeof JobSchema>, tally: Tally): boolean {
  if (answer === null) {
    tally.faults += 1;
    return false;
  }
  const { status, saysWhen } = answer;
  tally.statuses[status] = (tally.statuses[status] ?? 0) + 1;
  const isRefusal = status === '503' || status === '429';
  if ((isRefusal && !saysWhen) || (status.startsWith('5') && !isRefusal)) tally.unkind += 1;
  if (status.startsWith('2') && holds !== undefined && !answer.text().includes(holds)) tally.faults += 1;
  return isRefusal;
}

function until(atMs: number): Promise<void> | undefined {
  const waitMs = atMs - performance.now();
  return waitMs <= 0 ? undefined : new Promise((resolve) => setTimeout(resolve, waitMs));
}

function open(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    socket.once('connect', () => {
      socket.off('error', reject);
      // What breaks later shows as a close in the middle of an exchange.
      socket.on('error', () => socket.destroy());
      resolve(socket);
    });
    socket.once('error', reject);
  });
}

interface Answer {
  readonly status: string;
  readonly closes: boolean;
  readonly saysWhen: boolean;
  text(): string;
}

/** One answer with a content-length, or null where the connection ended first. */
function exchange(socket: Socket, request: Buffer): Promise<Answer | null> {
  return new Promise((resolve) => {
    let received: Buffer = Buffer.alloc(0);
    let total = -1;
    let head = '';
    const end = (answer: Answer | null): void => {
      socket.off('data', onData);
      socket.off('close', onClose);
      resolve(answer);
    };
    const onClose = (): void => end(null);
    const onData = (chunk: Buffer): void => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      if (total < 0) {
        const at = received.indexOf(HEAD_END);
        if (at === -1) return;
        head = received.toString('latin1', 0, at);
        const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
        if (length === undefined) {
          end(null);
          return;
        }
        total = at + HEAD_END.length + Number(length);
      }
      if (received.length < total) return;
      const whole = received;
      end({
        status: head.slice(9, 12),
        closes: /\r\nconnection: *close/i.test(head),
        saysWhen: /\r\nretry-after: *\d+/i.test(head),
        text: () => whole.toString('utf8'),
      });
    };
    socket.on('data', onData);
    socket.once('close', onClose);
    socket.write(request);
  });
}

if (process.argv[2] === '--serve-jobs') {
  for await (const line of createInterface({ input: process.stdin })) {
    const outcome = await run(JobSchema.parse(JSON.parse(line)));
    process.stdout.write(`${JSON.stringify(outcome)}\n`);
  }
}
