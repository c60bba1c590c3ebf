/**
 * A real Interlock in this process, on a directory that `init` wrote, on one of the three storage grades.
 *
 * Nothing in it is replaced: configuration, identities, keys, policies, HTTP on a free port, evaluators as
 * subprocesses, queue and database. The directory outlives `stop`, so that `start` is a restart on the same port.
 * What it logs is kept line by line, as an operator would read it.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { alertChannelConfigSchema } from '../../src/alerts/registry.ts';
import type { InterlockConfiguration } from '../../src/composition/configuration.ts';
import { openStore, type Store } from '../../src/composition/store.ts';
import { generateSharedSecret, generateToken, hashToken } from '../../src/config/credentials.ts';
import { initDirectory } from '../../src/config/init.ts';
import { loadConfiguration } from '../../src/config/load.ts';
import { type Interlock, startInterlock } from '../../src/main.ts';
import { createKeyringFile } from '../../src/signing/keyring.ts';
import {
  generateWebhookKeyPair,
  parseWebhookPrivateKey,
  signWebhook,
  WebhookSecret,
} from '../../src/signing/standard-webhooks.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { startTestDatabase, type TestDatabase } from './embedded-database.ts';
import { NO_REDIS, redisAvailable, startRedis, type TestRedis } from './redis.ts';

export type Grade = 'embedded' | 'server' | 'distributed';

export const GRADES: readonly Grade[] = ['embedded', 'server', 'distributed'];

/** Why a grade cannot be had on this machine, or null. */
export function gradeMissing(grade: Grade): string | null {
  return grade === 'distributed' && !redisAvailable() ? NO_REDIS : null;
}

export interface InterlockOptions {
  grade?: Grade;
  /** By name, as plain data (a policy file is YAML, and JSON is YAML); the first is the default. */
  policies: Readonly<Record<string, unknown>>;
  /** Merged over what `init` wrote into interlock.yaml. */
  settings?: Readonly<Record<string, unknown>>;
  /** Beside those of `init`: id, roles, groups. Each gets a token and a webhook secret. */
  identities?: readonly { id: string; roles?: string[]; groups?: string[] }[];
  env?: Readonly<Record<string, string>>;
  clock?: () => Date;
  logLevel?: 'debug' | 'info';
}

export interface Sent {
  readonly status: number;
  readonly headers: Headers;
  readonly body: unknown;
  readonly text: string;
}

export interface CallOptions {
  /** The identity whose token is shown; left out: none. */
  as?: string;
  body?: unknown;
  /** Sent as they are, instead of `body`. */
  raw?: string | Buffer;
  headers?: Readonly<Record<string, string>>;
}

export interface SignOptions {
  by?: string;
  id?: string;
  at?: Date;
  headers?: Readonly<Record<string, string>>;
}

export interface TestInterlock {
  readonly grade: Grade;
  readonly directory: string;
  /** Local models go here: it is the only one of `models.roots`. */
  readonly models: string;
  readonly config: InterlockConfiguration;
  readonly tokens: Readonly<Record<string, string>>;
  readonly webhookSecrets: Readonly<Record<string, string>>;
  readonly url: string;
  readonly ledger: Interlock['ledger'];
  readonly redis: TestRedis | null;
  /** For another process on the same stores. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly logs: readonly string[];
  call(method: string, path: string, options?: CallOptions): Promise<Sent>;
  /** A signed POST, as a machine sends it. */
  signed(path: string, body: unknown, options?: SignOptions): Promise<Sent>;
  /** The database beside the running service: to verify, export, replay, or to do harm. */
  withStore<T>(work: (store: Store) => Promise<T>): Promise<T>;
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Stops it and removes everything. */
  close(): Promise<void>;
}

const silent = createLogger({ level: 'silent' });

export async function startTestInterlock(options: InterlockOptions): Promise<TestInterlock> {
  const grade = options.grade ?? 'embedded';
  const directory = await mkdtemp(join(tmpdir(), 'interlock-service-'));
  const models = join(directory, 'models');
  await mkdir(models);
  const initialised = await initDirectory(directory, {
    createKeyringFile,
    policies: Object.entries(options.policies).map(([name, policy]) => ({
      name,
      text: JSON.stringify(policy),
    })),
  });
  const tokens: Record<string, string> = { ...initialised.tokens };
  const webhookSecrets: Record<string, string> = { ...initialised.webhookSecrets };
  /** Of outside evaluators, which sign with a key of their own. */
  const signingKeys: Record<string, string> = {};
  await mergeYaml(initialised.configFile, (file) => ({
    ...file,
    models: { roots: [models] },
    button: { port: 0 },
    ...options.settings,
  }));
  const added = (options.identities ?? []).map(({ id, roles = [], groups = [] }) => {
    const token = generateToken();
    const secret = generateSharedSecret();
    tokens[id] = token;
    if (roles.includes('outside-evaluator')) {
      const { privateKey, publicKey } = generateWebhookKeyPair();
      signingKeys[id] = privateKey;
      return { id, name: id, roles, groups, tokenHashes: [hashToken(token)], publicKeys: [publicKey] };
    }
    webhookSecrets[id] = secret;
    return { id, name: id, roles, groups, tokenHashes: [hashToken(token)], webhookSecrets: [secret] };
  });
  await mergeYaml(join(directory, 'identities.yaml'), (file) => ({
    identities: [...(Array.isArray(file['identities']) ? file['identities'] : []), ...added],
  }));

  let database: TestDatabase | null = null;
  let redis: TestRedis | null = null;
  const env: Record<string, string | undefined> = {
    PATH: process.env['PATH'],
    HOME: process.env['HOME'],
    ...options.env,
  };
  if (grade !== 'embedded') {
    database = await startTestDatabase();
    env['DATABASE_URL'] = database.url;
  }
  if (grade === 'distributed') {
    redis = await startRedis();
    env['REDIS_URL'] = redis.url;
  }
  const config = await loadConfiguration(initialised.configFile, {
    env,
    alertSchema: alertChannelConfigSchema,
  });
  const logs: string[] = [];
  const logger = createLogger({
    level: options.logLevel ?? 'info',
    destination: { write: (line: string) => void logs.push(line) },
  });

  let interlock: Interlock | null = null;
  let port = 0;
  const running = (): Interlock => {
    if (interlock === null) throw new Error('this Interlock is stopped');
    return interlock;
  };
  const start = async (): Promise<void> => {
    interlock = await startInterlock(config, {
      env,
      logger,
      port,
      ...(options.clock === undefined ? {} : { clock: options.clock }),
    });
    port = interlock.port;
  };
  const stop = async (): Promise<void> => {
    const stopping = interlock;
    interlock = null;
    await stopping?.close();
  };
  const call: TestInterlock['call'] = (method, path, { as, body, raw, headers } = {}) => {
    const token = as === undefined ? undefined : tokens[as];
    if (as !== undefined && token === undefined) throw new Error(`there is no identity ${as}`);
    const content = raw ?? (body === undefined ? undefined : JSON.stringify(body));
    return send(`http://127.0.0.1:${port}${path}`, {
      method,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(content === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(content === undefined ? {} : { body: content }),
    });
  };
  await start();

  return {
    grade,
    directory,
    models,
    config,
    tokens,
    webhookSecrets,
    redis,
    env,
    logs,
    get url() {
      return running().url;
    },
    get ledger() {
      return running().ledger;
    },
    call,
    signed(path, body, { by = 'trainer', id = `msg_${randomBytes(12).toString('hex')}`, at, headers } = {}) {
      const raw = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
      const key = signingKeys[by];
      const keys =
        key === undefined
          ? { secrets: [WebhookSecret.parse(webhookSecrets[by] ?? '')] }
          : { secrets: [], ed25519Keys: [parseWebhookPrivateKey(key)] };
      const signature = signWebhook({ id, timestamp: at ?? new Date(), body: raw, ...keys });
      return call('POST', path, { raw, headers: { ...signature, ...headers } });
    },
    async withStore(work) {
      const store = await openStore(config, silent);
      try {
        return await work(store);
      } finally {
        await store.close();
      }
    },
    start,
    stop,
    async close() {
      await stop();
      await redis?.stop();
      await database?.close();
      await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

async function send(url: string, init: RequestInit): Promise<Sent> {
  const response = await fetch(url, init);
  const text = await response.text();
  const isJson = /\bjson\b/.test(response.headers.get('content-type') ?? '');
  return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : text };
}

async function mergeYaml(
  path: string,
  change: (content: Record<string, unknown>) => Record<string, unknown>,
): Promise<void> {
  const content: unknown = parse(await readFile(path, 'utf8'));
  if (typeof content !== 'object' || content === null) throw new Error(`${path} holds no mapping`);
  await writeFile(path, stringify(change({ ...content })), { mode: 0o600 });
}
