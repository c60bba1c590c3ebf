/**
 * The red button with everything real around it: a service from its command line with the button process it starts, a
 * PostgreSQL and a Redis of its own, a webhook target that says when a halt reached it; and every way to take each of
 * them away.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { createServer, request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { type ButtonFiles, buttonFiles } from '../../src/button/layout.ts';
import { type ButtonProcess, runningButton } from '../../src/button/running.ts';
import { type DatabaseHandle, openDatabase } from '../../src/database/open-database.ts';
import { interlock, type ServiceProcess, startService } from './campaign/service-process.ts';
import { silentLogger } from './embedded-database.ts';
import { redisAvailable, startRedis, type TestRedis } from './redis.ts';

const BIN = fileURLToPath(new URL('../../bin/interlock.mjs', import.meta.url));

export interface ReceivedHalt {
  readonly runId: string;
  readonly haltId: string;
  readonly reason: string;
  readonly order: string;
  readonly atMs: number;
}

const HaltBody = z.object({
  data: z.object({ runId: z.string(), haltId: z.string(), reason: z.string(), order: z.string() }),
});
const Initialised = z.object({ configFile: z.string(), tokens: z.record(z.string(), z.string()) });
const Events = z.array(
  z.object({
    seq: z.number(),
    stream: z.string(),
    kind: z.string(),
    actor: z.string(),
    data: z.record(z.string(), z.unknown()),
  }),
);
export type LedgerEvent = z.infer<typeof Events>[number];
export const Health = z.object({
  pid: z.number(),
  knownRuns: z.number(),
  knowledgeAgeMs: z.number().nullable(),
  pendingPresses: z.number(),
  undurablePresses: z.number(),
  ordersBeingSent: z.number(),
});

export interface Reply {
  readonly status: number;
  readonly body: string;
}

export interface ButtonScene {
  readonly directory: string;
  readonly configFile: string;
  readonly files: ButtonFiles;
  readonly env: Readonly<Record<string, string>>;
  readonly received: readonly ReceivedHalt[];
  readonly hasRedis: boolean;
  token(identity: string): string;
  /** Starts the service; resolves when it answers and its button is live. */
  start(more?: Readonly<Record<string, string>>): Promise<void>;
  readonly service: ServiceProcess;
  readonly serviceUrl: string;
  button(): ButtonProcess;
  health(): Promise<z.infer<typeof Health>>;
  register(runIds: readonly string[], targets?: readonly object[]): Promise<void>;
  /** The button knows these runs. */
  known(count: number): Promise<void>;
  post(
    url: string,
    options: { as?: string; bearer?: string; body?: unknown; form?: Record<string, string> },
  ): Promise<Reply>;
  /** Resolves with the first halt of the run that is received after `sinceMs`; rejects after `withinMs`. */
  halted(runId: string, sinceMs: number, withinMs?: number): Promise<ReceivedHalt>;
  databaseDown(): Promise<void>;
  databaseUp(): Promise<void>;
  redisDown(): Promise<void>;
  redisUp(): Promise<void>;
  /** No file of the button may grow beyond this; null takes the limit away. */
  limitDisk(bytes: number | null): void;
  killButton(): void;
  /** Everything in the ledger, oldest first. */
  ledger(): Promise<LedgerEvent[]>;
  /** Every press is in the ledger. */
  drained(): Promise<void>;
  cli(args: readonly string[], env?: Readonly<Record<string, string>>): ReturnType<typeof interlock>;
  close(): Promise<void>;
}

const PATIENCE_MS = 60_000;
const LOOK_MS = 50;

/** The trials run without a test runner: looks again until it does not throw. */
async function until<T>(look: () => Promise<T>): Promise<T> {
  for (const deadline = performance.now() + PATIENCE_MS; ; ) {
    try {
      return await look();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await delay(LOOK_MS);
    }
  }
}

export async function openButtonScene({
  redis: wantsRedis = false,
}: {
  redis?: boolean;
} = {}): Promise<ButtonScene> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'interlock-button-')));
  const received: ReceivedHalt[] = [];
  const waiting = new Set<(halt: ReceivedHalt) => void>();
  const receiver = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('error', () => undefined);
    request.on('end', () => {
      const atMs = performance.now();
      const body = HaltBody.safeParse(JSON.parse(Buffer.concat(chunks).toString('utf8')));
      if (body.success) {
        const halt = { ...body.data.data, atMs };
        received.push(halt);
        for (const listener of [...waiting]) listener(halt);
      }
      response.writeHead(200, { connection: 'close' }).end('{}');
    });
  });
  receiver.listen(0, '127.0.0.1');
  await once(receiver, 'listening');
  const address = receiver.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const targetUrl = `http://127.0.0.1:${address.port}/halt`;

  const databaseDir = join(directory, 'database');
  let database: DatabaseHandle | null = await openDatabase({
    dataDir: databaseDir,
    logger: silentLogger,
    poolMax: 2,
  });
  const redis: TestRedis | null = wantsRedis && redisAvailable() ? await startRedis() : null;
  const env: Record<string, string> = {
    DATABASE_URL: database.url,
    ...(redis === null ? {} : { REDIS_URL: redis.url }),
  };
  const made = await interlock(BIN, ['init', '--dir', join(directory, 'interlock'), '--json']);
  if (made.code !== 0) throw new Error(`init ended with ${made.code}: ${made.stderr}`);
  const { configFile, tokens } = Initialised.parse(JSON.parse(made.stdout));
  const config = z.record(z.string(), z.unknown()).parse(parse(await readFile(configFile, 'utf8')));
  await writeFile(configFile, stringify({ ...config, button: { port: 0 } }), { mode: 0o600 });
  const files = buttonFiles(join(directory, 'interlock', 'data'));

  let service: ServiceProcess | null = null;
  let serviceUrl = '';
  const running = (): ServiceProcess => {
    if (service === null) throw new Error('the service was not started');
    return service;
  };
  const button = (): ButtonProcess => {
    const found = runningButton(files);
    if (found === null) throw new Error('no button is running');
    return found;
  };
  const token = (identity: string): string => {
    const found = tokens[identity];
    if (found === undefined) throw new RangeError(`there is no identity ${identity}`);
    return found;
  };

  /** A connection of its own each time, as somebody has who comes to press. */
  const post: ButtonScene['post'] = (
    url,
    { as, bearer = as === undefined ? undefined : token(as), body, form },
  ) => {
    const content = form === undefined ? JSON.stringify(body ?? {}) : new URLSearchParams(form).toString();
    const type = form === undefined ? 'application/json' : 'application/x-www-form-urlencoded';
    return new Promise((resolve, reject) => {
      const request = httpRequest(
        url,
        {
          method: 'POST',
          agent: false,
          headers: {
            'content-type': type,
            'content-length': Buffer.byteLength(content),
            ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
          },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
          );
        },
      );
      request.on('error', reject);
      request.end(content);
    });
  };
  const get = async (url: string, as: string): Promise<unknown> => {
    const response = await fetch(url, { headers: { authorization: `Bearer ${token(as)}` } });
    return response.json();
  };
  const health = async () => Health.parse(await (await fetch(`${button().url}/healthz`)).json());

  const scene: ButtonScene = {
    directory,
    configFile,
    files,
    env,
    received,
    hasRedis: redis !== null,
    token,
    get service() {
      return running();
    },
    get serviceUrl() {
      return serviceUrl;
    },
    async start(more = {}) {
      const logFile = join(directory, 'service.log');
      service = startService({ bin: BIN, configFile, logFile, env: { ...env, ...more } });
      serviceUrl = await service.ready;
      await until(health);
    },
    button,
    health,
    async register(runIds, targets = [{ kind: 'webhook', url: targetUrl }]) {
      const next = runIds.values();
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          for (const runId of next) {
            const answer = await post(`${serviceUrl}/v1/runs`, { as: 'operator', body: { runId, targets } });
            if (answer.status !== 201) throw new Error(`${runId}: ${answer.status} ${answer.body}`);
          }
        }),
      );
    },
    known: (count) =>
      until(async () => {
        const { knownRuns } = await health();
        if (knownRuns < count) throw new Error(`the button knows ${knownRuns} of ${count} runs`);
      }),
    post,
    halted(runId, sinceMs, withinMs = 10_000) {
      const already = received.find((halt) => halt.runId === runId && halt.atMs >= sinceMs);
      if (already !== undefined) return Promise.resolve(already);
      return new Promise((resolve, reject) => {
        const listener = (halt: ReceivedHalt): void => {
          if (halt.runId !== runId) return;
          clearTimeout(timer);
          waiting.delete(listener);
          resolve(halt);
        };
        const timer = setTimeout(() => {
          waiting.delete(listener);
          reject(new Error(`no halt of ${runId} within ${withinMs} ms`));
        }, withinMs);
        waiting.add(listener);
      });
    },
    async databaseDown() {
      await database?.close();
      database = null;
    },
    async databaseUp() {
      database ??= await openDatabase({ dataDir: databaseDir, logger: silentLogger, poolMax: 2 });
      if (database.url !== env['DATABASE_URL']) throw new Error('the database came back at another address');
    },
    redisDown: async () => redis?.kill9(),
    redisUp: async () => redis?.restart(),
    limitDisk(bytes) {
      const limit = bytes === null ? 'unlimited' : String(bytes);
      const set = spawnSync('prlimit', ['--pid', String(button().pid), `--fsize=${limit}:`], {
        encoding: 'utf8',
      });
      if (set.status !== 0) throw new Error(`prlimit: ${set.stderr}`);
    },
    killButton: () => void process.kill(button().pid, 'SIGKILL'),
    async ledger() {
      const all: LedgerEvent[] = [];
      for (let after = 0; ; ) {
        const page = z
          .object({ items: Events })
          .parse(await get(`${serviceUrl}/v1/ledger?after=${after}&limit=200`, 'auditor'));
        const last = page.items.at(-1);
        if (last === undefined) return all;
        all.push(...page.items);
        after = last.seq;
      }
    },
    drained: () =>
      until(async () => {
        const { pendingPresses, undurablePresses } = await health();
        if (pendingPresses + undurablePresses > 0)
          throw new Error(`${pendingPresses} presses are not entered`);
      }),
    cli: (args, more = {}) => interlock(BIN, args, { ...env, ...more }),
    async close() {
      service?.suspend(false);
      await service?.stop();
      const left = runningButton(files);
      if (left !== null) process.kill(left.pid, 'SIGKILL');
      await redis?.stop();
      await database?.close();
      receiver.closeAllConnections();
      receiver.close();
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
  return scene;
}
