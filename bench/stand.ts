/**
 * The test stand: PostgreSQL with fsync on, Redis where it is installed, and everything that is measured in a
 * process of its own: the service (`interlock serve` of a build, as a deployment runs it), baselines, the load
 * generator.
 *
 * PostgreSQL is the embedded one as a server with one database per subject, or the server of
 * INTERLOCK_TEST_DATABASE_URL. All that was started is ended by `close`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parse, stringify } from 'yaml';
import { initDirectory } from '../src/config/init.ts';
import { createKeyringFile } from '../src/signing/keyring.ts';
import { installBuild } from '../test/support/campaign/installation.ts';
import { startTestDatabase, type TestDatabase } from '../test/support/embedded-database.ts';
import { redisAvailable, startRedis, type TestRedis } from '../test/support/redis.ts';
import { type Job, type Outcome, OutcomeSchema } from './generator.ts';

const TSX = import.meta.resolve('tsx');
const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 35_000;

export type StandGrade = 'embedded' | 'server' | 'distributed';

/** What the figures were taken on, for the table's head; `missing` says what would make it better. */
export interface StandFacts {
  readonly grade: 'PostgreSQL + Redis' | 'PostgreSQL';
  readonly missing: string | null;
}

export interface Service {
  readonly port: number;
  readonly pid: number;
  readonly url: string;
  readonly directory: string;
  readonly tokens: Readonly<Record<string, string>>;
  readonly secret: string;
  readonly redis: TestRedis | null;
  readonly database: TestDatabase | null;
  readonly configFile: string;
  readonly env: Readonly<Record<string, string>>;
  post(path: string, as: string, body: unknown): Promise<unknown>;
  get(path: string, as?: string): Promise<unknown>;
  /** Bytes of resident memory. */
  rss(): Promise<number>;
  stop(): Promise<void>;
}

export interface ServiceOptions {
  /** By default the best that the machine has. */
  readonly grade?: StandGrade;
  /** By name; the first one is the default. Left out: the shipped preparedness-beta. */
  readonly policies?: Readonly<Record<string, unknown>>;
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
  /** Writes a CPU profile there when it ends. */
  readonly profileTo?: string | undefined;
  readonly nodeOptions?: readonly string[];
}

export interface Baseline {
  readonly port: number;
  readonly pid: number;
  stop(): Promise<void>;
}

export interface Generator {
  run(job: Job): Promise<Outcome>;
  stop(): Promise<void>;
}

export interface Stand {
  readonly facts: StandFacts;
  service(options?: ServiceOptions): Promise<Service>;
  /** A script of baselines/ on a database of its own. */
  baseline(name: 'bare-insert' | 'bullmq-script', secret?: string): Promise<Baseline>;
  generator(): Promise<Generator>;
  /** Where a module of the build lies, by its path below src/, without ending. */
  builtModule(path: string): Promise<string>;
  close(): Promise<void>;
}

export function openStand(): Stand {
  const ends = new Set<() => Promise<void>>();
  const hasRedis = redisAvailable();

  /** Ended by its owner or by `close`, whichever comes first, and once. */
  function owned(end: () => Promise<void>): () => Promise<void> {
    let ended: Promise<void> | undefined;
    const stop = (): Promise<void> => {
      ends.delete(stop);
      ended ??= end();
      return ended;
    };
    ends.add(stop);
    return stop;
  }

  let building: Promise<string> | undefined;

  /** Built once, as the image has it: what compiles sources as they are read also slows what it compiled. */
  async function built(): Promise<string> {
    const { bin, remove } = await installBuild();
    owned(remove);
    return bin;
  }

  async function service(options: ServiceOptions = {}): Promise<Service> {
    building ??= built();
    const bin = await building;
    const grade = options.grade ?? (hasRedis ? 'distributed' : 'server');
    const directory = await mkdtemp(join(tmpdir(), 'interlock-bench-'));
    const { configFile, tokens, webhookSecrets } = await initDirectory(directory, {
      createKeyringFile,
      policies: await policyTexts(options.policies),
    });
    const file: unknown = parse(await readFile(configFile, 'utf8'));
    await writeFile(configFile, stringify({ ...Object(file), ...options.settings }), { mode: 0o600 });
    const database = grade === 'embedded' ? null : await startTestDatabase();
    const redis = grade === 'distributed' ? await startRedis() : null;
    const env = {
      PATH: process.env['PATH'] ?? '',
      HOME: process.env['HOME'] ?? '',
      NODE_ENV: 'production',
      ...(database === null ? {} : { DATABASE_URL: database.url }),
      ...(redis === null ? {} : { REDIS_URL: redis.url }),
      ...options.env,
    };
    const profile =
      options.profileTo === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${options.profileTo}`];
    const log = openSync(join(directory, 'service.log'), 'a', 0o600);
    const child = spawn(
      process.execPath,
      [...profile, ...(options.nodeOptions ?? []), bin, 'serve', '--config', configFile, '--port', '0'],
      { env, stdio: ['ignore', 'pipe', log] },
    );
    const stop = owned(async () => {
      await endProcess(child);
      await redis?.stop();
      await database?.close();
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    });
    const url = /listening on (\S+)/.exec(await firstLine(child, join(directory, 'service.log')))?.[1] ?? '';
    const request = async (method: string, path: string, as: string | undefined, body?: unknown) => {
      const response = await fetch(url + path, {
        method,
        headers: {
          ...(as === undefined ? {} : { authorization: `Bearer ${tokens[as] ?? ''}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      if (!response.ok) throw new Error(`${method} ${path}: HTTP ${response.status} ${text}`);
      const answer: unknown = /json/.test(response.headers.get('content-type') ?? '')
        ? JSON.parse(text)
        : text;
      return answer;
    };
    return {
      port: Number(new URL(url).port),
      pid: child.pid ?? 0,
      url,
      directory,
      tokens,
      secret: webhookSecrets['trainer'] ?? '',
      redis,
      database,
      configFile,
      env,
      post: (path, as, body) => request('POST', path, as, body),
      get: (path, as) => request('GET', path, as),
      rss: () => residentBytes(child.pid ?? 0),
      stop,
    };
  }

  async function baseline(name: 'bare-insert' | 'bullmq-script', secret?: string): Promise<Baseline> {
    const database = await startTestDatabase();
    const redis = name === 'bullmq-script' && hasRedis ? await startRedis() : null;
    const child = spawn(process.execPath, ['--import', TSX, script(`baselines/${name}.ts`)], {
      env: {
        PATH: process.env['PATH'],
        NODE_ENV: 'production',
        DATABASE_URL: database.url,
        ...(redis === null ? {} : { REDIS_URL: redis.url }),
        ...(secret === undefined ? {} : { SECRET: secret }),
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const stop = owned(async () => {
      await endProcess(child);
      await redis?.stop();
      await database.close();
    });
    const line = await firstLine(child, null);
    return { port: Number(/(\d+)\s*$/.exec(line)?.[1]), pid: child.pid ?? 0, stop };
  }

  async function generator(): Promise<Generator> {
    const child = spawn(process.execPath, ['--import', TSX, script('generator.ts'), '--serve-jobs'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    return {
      async run(job) {
        child.stdin.write(`${JSON.stringify(job)}\n`);
        const { value, done } = await answers.next();
        if (done === true) throw new Error('the load generator ended');
        return OutcomeSchema.parse(JSON.parse(String(value)));
      },
      stop: owned(() => endProcess(child)),
    };
  }

  return {
    facts: {
      grade: hasRedis ? 'PostgreSQL + Redis' : 'PostgreSQL',
      missing: hasRedis
        ? null
        : 'redis-server is not installed (Debian: apt-get install redis-server), so the queue is on PostgreSQL',
    },
    service,
    baseline,
    generator,
    async builtModule(path) {
      building ??= built();
      return pathToFileURL(join(dirname(await building), '..', 'dist', 'src', `${path}.js`)).href;
    },
    async close() {
      for (const end of [...ends].reverse()) await end();
    },
  };
}

async function policyTexts(
  policies: Readonly<Record<string, unknown>> | undefined,
): Promise<{ name: string; text: string }[]> {
  if (policies !== undefined) {
    return Object.entries(policies).map(([name, policy]) => ({ name, text: JSON.stringify(policy) }));
  }
  const name = 'preparedness-beta';
  const file = new URL(`../config/policies/${name}.yaml`, import.meta.url);
  return [{ name, text: await readFile(file, 'utf8') }];
}

async function firstLine(child: ChildProcess, logFile: string | null): Promise<string> {
  const { stdout } = child;
  if (stdout === null) throw new TypeError('the process has no standard output');
  const lines: Interface = createInterface({ input: stdout });
  const timer = setTimeout(() => child.kill('SIGKILL'), START_TIMEOUT_MS);
  try {
    for await (const line of lines) return line;
  } finally {
    clearTimeout(timer);
    stdout.resume();
  }
  const log = logFile === null ? '' : (await readFile(logFile, 'utf8')).split('\n').slice(-6).join('\n');
  throw new Error(`a process ended before it was ready: ${log}`);
}

async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await exited;
  clearTimeout(timer);
}

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
}
