/**
 * The load generator, in a process of its own so that its work is not timed as the server's.
 *
 * Reads jobs as JSON lines, answers each with one JSON line. A closed loop: so many connections, one request in
 * flight on each. Requests are written and signed before the clock starts, and answers are read just far enough to
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
  /** Text that every answer must hold, besides a status of 2xx. */
  holds: z.string().optional(),
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
});
export type Outcome = z.infer<typeof OutcomeSchema>;

const HEAD_END = Buffer.from('\r\n\r\n');

function requestsOf(job: z.output<typeof JobSchema>): Buffer[] {
  const secrets = job.secret === undefined ? null : [WebhookSecret.parse(job.secret)];
  const timestamp = new Date();
  return Array.from({ length: job.requests }, (_, at) => {
    const n = String(job.from + at);
    const run = String((job.from + at) % job.runs);
    const fill = (template: string): string => template.replaceAll('{n}', n).replaceAll('{run}', run);
    const body = Buffer.from(fill(job.body));
    const id = `msg_${process.pid}_${timestamp.getTime()}_${n}`;
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
  });
}

async function run(input: z.output<typeof JobSchema>): Promise<Outcome> {
  const requests = requestsOf(input);
  const latencies: number[] = [];
  const statuses: Record<string, number> = {};
  let faults = 0;
  let next = 0;

  const lane = async (): Promise<void> => {
    let socket: Socket | null = null;
    try {
      for (let request = requests[next++]; request !== undefined; request = requests[next++]) {
        socket ??= await open(input.port);
        const startedMs = performance.now();
        const answer = await exchange(socket, request);
        latencies.push(performance.now() - startedMs);
        if (answer === null) {
          faults += 1;
          socket.destroy();
          socket = null;
          continue;
        }
        statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
        if (input.holds !== undefined && !answer.text().includes(input.holds)) faults += 1;
        if (answer.closes) {
          socket.destroy();
          socket = null;
        }
      }
    } finally {
      socket?.destroy();
    }
  };
  const startedMs = performance.now();
  await Promise.all(Array.from({ length: Math.min(input.connections, requests.length) }, lane));
  const seconds = (performance.now() - startedMs) / 1000;
  const sorted = Float64Array.from(latencies).sort();
  const rank = (q: number): number =>
    sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)] ?? 0;
  return {
    seconds,
    perSecond: latencies.length / seconds,
    p50Ms: rank(0.5),
    p99Ms: rank(0.99),
    maxMs: sorted.at(-1) ?? 0,
    statuses,
    faults,
  };
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
