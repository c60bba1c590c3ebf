/**
 * Secrets and a model's words, planted wherever they can come in, are nowhere where they could get out.
 *
 * One whole story on a real process with PostgreSQL and Redis: checkpoints, evaluators that fail in every way, a halt,
 * alerts and targets that answer badly, refusals, people signing in, the database and Redis failing, a diagnostic
 * report and a crash. Then everything that left the process, or that it left behind, is searched for every canary in
 * every encoding.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { buttonFiles } from '../../src/button/layout.ts';
import { runningButton } from '../../src/button/running.ts';
import { generateSharedSecret, generateToken } from '../../src/config/credentials.ts';
import { initDirectory } from '../../src/config/init.ts';
import { createKeyringFile } from '../../src/signing/keyring.ts';
import { signWebhook, WebhookSecret } from '../../src/signing/standard-webhooks.ts';
import { type Canary, canary, leaks, word } from '../support/canaries.ts';
import { startTestDatabase, type TestDatabase } from '../support/embedded-database.ts';
import { testPolicy } from '../support/evaluation-policy.ts';
import { startIssuer, type TestIssuer } from '../support/oidc-issuer.ts';
import { NO_REDIS, redisAvailable, startRedis, type TestRedis } from '../support/redis.ts';
import { interlock } from './cli-process.ts';

const bin = fileURLToPath(new URL('../../bin/interlock.mjs', import.meta.url));

/** What a model says. With everything in it that could break out of a format. */
const hazard = {
  error: word('error'),
  metric: word('metric'),
  model: word('model'),
  stdout: word('stdout'),
  stderr: word('stderr'),
  file: word('file'),
  unreadable: word('unreadable'),
  httpBody: word('httpbody'),
  httpError: word('httperror'),
  metadata: word('metadata'),
  metadataKey: word('metakey'),
  unknownField: word('unknown'),
  refused: word('refused'),
  targetAnswer: word('target'),
  alertAnswer: word('alert'),
  /** Of an expert, in a round that is open: for nobody else yet. */
  rationale: word('rationale'),
  title: 'weights', // plain: a title is for people and shown
};
const saying = (text: string): string => `"${text}" <b>&\n${text}`;

const secret = {
  databasePassword: word('dbpw'),
  redisPassword: word('redispw'),
  probeKey: word('probekey'),
  trainer: generateSharedSecret(),
  evaluator: generateSharedSecret(),
  alert: generateSharedSecret(),
  chatPath: word('chatpath'),
};

let directory: string;
let database: TestDatabase;
let redis: TestRedis;
let issuer: TestIssuer;
let outside: Outside;
let codes: string[] = [];
let roundId = '';
let service: ChildProcess;
let url = '';
const tokens: Record<string, string> = {};
const canaries: Canary[] = [];
const said: string[] = [];
const answers: string[] = [];
const lines: string[] = [];
const children: { cmdline: string[]; environ: string[] } = { cmdline: [], environ: [] };
let env: Record<string, string> = {};

const missing = redisAvailable() ? null : NO_REDIS;
const suite = missing === null ? 'canaries' : `canaries (left out: ${missing})`;

interface Outside {
  url: string;
  server: Server;
  received: string[];
  close(): Promise<void>;
}

/** Everything that the service calls: a target, alert channels, evaluators, a collector of traces. */
async function startOutside(): Promise<Outside> {
  const received: string[] = [];
  const answer = (request: IncomingMessage, response: ServerResponse, path: string): void => {
    const reply = (status: number, body: string): void => void response.writeHead(status).end(body);
    if (path === '/halt-bad') reply(500, saying(hazard.targetAnswer));
    else if (path.startsWith('/chat')) reply(500, saying(hazard.alertAnswer));
    else if (path === '/quiz-bad') reply(500, saying(hazard.httpError));
    else if (path === '/quiz') {
      const isStrange = received.filter((each) => each.startsWith('/quiz\n')).length % 2 === 0;
      const result = {
        status: 'error',
        error: saying(hazard.httpBody),
        ...(isStrange && { transcript: saying(hazard.httpBody) }),
      };
      reply(200, JSON.stringify(result));
    } else reply(200, '{}');
    void request;
  };
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { url: path = '' } = request;
      received.push(
        [path, request.rawHeaders.join('\n'), Buffer.concat(chunks).toString('latin1')].join('\n'),
      );
      answer(request, response, path);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    server,
    received,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

const EVALUATOR = `import { readFileSync, writeFileSync } from 'node:fs';
const [, , model, out] = process.argv;
const said = JSON.parse(readFileSync(model, 'utf8'));
console.log(said.stdout ?? '');
console.error(said.stderr ?? '');
if (said.result !== undefined) writeFileSync(out, said.raw ?? JSON.stringify(said.result));
if (said.hang) setInterval(() => {}, 1000);
else process.exitCode = said.exit ?? 0;
`;

/** Throws in the middle of the process, as a bug would, with everything on the error that libraries put there. */
const CRASH = `process.on('SIGWINCH', () => {
  const env = process.env;
  throw Object.assign(new TypeError('cannot read a thing of nothing', { cause: Object.assign(new Error('inner'), {
    input: ${JSON.stringify(saying(hazard.error))},
  }) }), { config: { headers: { authorization: 'Bearer ' + env.CANARY_TOKEN } }, body: ${JSON.stringify(saying(hazard.stdout))} });
});
`;

beforeAll(async () => {
  if (missing !== null) return;
  directory = await mkdtemp(join(tmpdir(), 'interlock-canaries-'));
  [database, redis, issuer, outside] = await Promise.all([
    startTestDatabase(),
    startRedis(),
    startIssuer(),
    startOutside(),
  ]);
  const admin = new Redis(redis.url);
  await admin.config('SET', 'requirepass', secret.redisPassword);
  admin.disconnect();

  const made = await initDirectory(directory, {
    createKeyringFile,
    policies: [{ name: 'main', text: JSON.stringify(policy()) }],
  });
  Object.assign(tokens, made.tokens);
  await mkdir(join(directory, 'models'));
  await writeFile(join(directory, 'evaluate.mjs'), EVALUATOR);
  await writeFile(join(directory, 'crash.mjs'), CRASH);
  await edit('interlock.yaml', (file) => ({
    ...file,
    logLevel: 'trace',
    server: { host: '127.0.0.1', port: 0 },
    button: { port: 0 },
    models: { roots: [join(directory, 'models')] },
    alerts: [
      { name: 'siem', kind: 'webhook', url: `${outside.url}/alert`, secret: 'env:ALERT_SECRET' },
      { name: 'chat', kind: 'slack', url: 'env:CHAT_URL' },
    ],
    oidc: [
      { name: 'corp', issuer: issuer.url, audience: 'interlock', groupMap: { ops: { roles: ['operator'] } } },
    ],
  }));
  await edit('identities.yaml', ({ identities }) => ({
    identities: z
      .array(z.record(z.string(), z.unknown()))
      .parse(identities)
      .map((entry) =>
        entry['id'] === 'trainer' ? { ...entry, webhookSecrets: ['env:TRAINER_SECRET'] } : entry,
      ),
  }));

  const databaseUrl = new URL(database.url);
  databaseUrl.password = secret.databasePassword;
  env = {
    PATH: process.env['PATH'] ?? '',
    HOME: directory,
    DATABASE_URL: databaseUrl.href,
    REDIS_URL: redis.url.replace('redis://', `redis://:${secret.redisPassword}@`),
    TRAINER_SECRET: secret.trainer,
    EVAL_SECRET: secret.evaluator,
    ALERT_SECRET: secret.alert,
    CHAT_URL: `${outside.url}/chat/${secret.chatPath}`,
    PROBE_KEY: secret.probeKey,
    CANARY_TOKEN: tokens['auditor'] ?? '',
    OTEL_EXPORTER_OTLP_ENDPOINT: outside.url,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    OTEL_TRACES_EXPORTER: 'otlp',
    OTEL_BSP_SCHEDULE_DELAY: '200',
  };
  for (const [id, token] of Object.entries(tokens)) canaries.push(canary(`token of ${id}`, token));
  for (const [name, text] of Object.entries(secret)) {
    // What follows the prefix: masked text may keep the prefix, to say what was there.
    canaries.push(canary(name, text.replace(/^whsec_/, '')));
  }
  for (const [name, text] of Object.entries(hazard)) {
    if (name !== 'title') canaries.push(canary(`words: ${name}`, text));
  }
  const keyring = await readFile(join(directory, 'signing-key.json'), 'utf8');
  for (const [, d] of keyring.matchAll(/"d":\s*"([\w-]+)"/g)) canaries.push(canary('signing key', d ?? ''));
  expect(canaries.some(({ name }) => name === 'signing key')).toBe(true);
  const printed = await interlock(
    [
      'break-glass',
      'create',
      '--identity',
      'board',
      '--count',
      '3',
      '--json',
      '--config',
      join(directory, 'interlock.yaml'),
    ],
    { cwd: directory, env },
  );
  codes = z
    .object({ codes: z.array(z.object({ code: z.string() })) })
    .parse(JSON.parse(printed.out))
    .codes.map(({ code }) => code);
  for (const code of codes) {
    canaries.push(
      canary('break-glass code', code),
      canary('break-glass code, as read', code.replace(/[^0-9A-Za-z]/g, '')),
    );
  }
  await start();
}, 120_000);

afterAll(async () => {
  // The red button outlives a service that was killed, as it should.
  const button = directory === undefined ? null : runningButton(buttonFiles(join(directory, 'data')));
  service?.kill('SIGKILL');
  if (button !== null) process.kill(button.pid, 'SIGKILL');
  await Promise.all([outside?.close(), issuer?.stop(), redis?.stop(), database?.close()]);
  if (directory !== undefined) await rm(directory, { recursive: true, force: true, maxRetries: 5 });
}, 60_000);

function policy(): Record<string, unknown> {
  const http = (id: string, path: string, category: string) => ({
    id,
    category,
    stage: 'pre-mitigation',
    required: true,
    executor: {
      kind: 'http',
      mode: 'sync',
      url: `${outside.url}${path}`,
      secret: 'env:EVAL_SECRET',
      timeout: '20s',
      attempts: 1,
    },
    score: { metric: 'accuracy', kind: 'proportion', chance: 0, best: 1, minSamples: 100 },
    levels: { medium: 0.15, high: 0.45, critical: 0.8 },
  });
  const base = testPolicy({
    silentDebate: true,
    alerts: ['siem', 'chat'],
    probe: {
      command: [process.execPath, 'evaluate.mjs', '{modelUri}', '{resultFile}'],
      attempts: 1,
      env: { PROBE_KEY: 'env:PROBE_KEY' },
    },
  });
  const evaluations = z.array(z.unknown()).parse(base['evaluations']);
  return {
    ...base,
    evaluations: [
      ...evaluations,
      http('quiz', '/quiz', 'cybersecurity'),
      http('quiz-bad', '/quiz-bad', 'cybersecurity'),
    ],
  };
}

async function edit(
  name: string,
  change: (content: Record<string, unknown>) => Record<string, unknown>,
): Promise<void> {
  const file = join(directory, name);
  const content = z.record(z.string(), z.unknown()).parse(parse(await readFile(file, 'utf8')));
  await writeFile(file, stringify(change(content)), { mode: 0o600 });
}

async function start(): Promise<void> {
  const reports = join(directory, 'reports');
  await mkdir(reports, { recursive: true });
  const flags = [
    '--report-on-signal',
    '--report-signal=SIGUSR2',
    '--report-uncaught-exception',
    `--report-directory=${reports}`,
  ];
  service = spawn(
    process.execPath,
    [
      ...flags,
      '--import',
      join(directory, 'crash.mjs'),
      bin,
      'serve',
      '--config',
      join(directory, 'interlock.yaml'),
    ],
    { cwd: directory, env, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let out = '';
  service.stdout?.on('data', (chunk: Buffer) => {
    out += chunk.toString('utf8');
    said.push(chunk.toString('utf8'));
  });
  service.stderr?.on('data', (chunk: Buffer) => said.push(chunk.toString('utf8')));
  await vi.waitUntil(() => out.includes('\n') || service.exitCode !== null, {
    timeout: 60_000,
    interval: 20,
  });
  const [, at] = /^listening on (http:\/\/\S+)\n/.exec(out) ?? [];
  if (at === undefined) throw new Error(`the service did not start: ${said.join('')}`);
  url = at;
}

interface Sent {
  status: number;
  text: string;
  headers: Headers;
}

async function send(method: string, path: string, options: RequestInit = {}): Promise<Sent> {
  const response = await fetch(`${url}${path}`, { method, redirect: 'manual', ...options });
  const text = await response.text();
  // A cookie that is set goes to whom it belongs, and is looked for everywhere else.
  const headers = [...response.headers].filter(([name]) => name !== 'set-cookie');
  answers.push(`${method} ${response.status}\n${JSON.stringify(headers)}\n${text}`);
  return { status: response.status, text, headers: response.headers };
}

const as = (id: string, more: Record<string, string> = {}) => ({
  authorization: `Bearer ${tokens[id]}`,
  'content-type': 'application/json',
  ...more,
});
const post = (id: string, path: string, body: unknown) =>
  send('POST', path, { headers: as(id), body: typeof body === 'string' ? body : JSON.stringify(body) });
const get = (id: string, path: string) => send('GET', path, { headers: as(id) });
const soon = <T>(look: () => Promise<T>) => vi.waitFor(look, { timeout: 20_000, interval: 50 });

function signed(path: string, body: unknown): Promise<Sent> {
  const raw = Buffer.from(JSON.stringify(body));
  const headers = signWebhook({
    id: `msg_${word('id')}`,
    timestamp: new Date(),
    body: raw,
    secrets: [WebhookSecret.parse(secret.trainer)],
  });
  return send('POST', path, { headers: { ...headers, 'content-type': 'application/json' }, body: raw });
}

async function weights(name: string, content: unknown): Promise<string> {
  const file = join(directory, 'models', `${name}.json`);
  await writeFile(file, JSON.stringify(content));
  return file;
}

async function checkpoint(
  runId: string,
  checkpointId: string,
  compute: string,
  content: unknown,
): Promise<void> {
  const sent = await signed('/v1/checkpoints', {
    runId,
    checkpointId,
    effectiveCompute: compute,
    modelUri: await weights(checkpointId, content),
    metadata: { note: saying(hazard.metadata), [hazard.metadataKey]: [saying(hazard.metadata)] },
  });
  expect(sent.status, sent.text).toBe(202);
}

const kinds = async (runId: string): Promise<string[]> => {
  const { text } = await get('auditor', `/v1/runs/${runId}/events?limit=200`);
  return z
    .object({ items: z.array(z.object({ kind: z.string() })) })
    .parse(JSON.parse(text))
    .items.map(({ kind }) => kind);
};
const happened = (runId: string, kind: string, times = 1) =>
  soon(async () => {
    const seen = await kinds(runId);
    const count = seen.filter((each) => each === kind).length;
    expect(count, `${kind} in ${seen.join(' ')}`).toBeGreaterThanOrEqual(times);
  });

/** Arguments and environment of the service's descendants, as every account on the machine may see the first. */
async function lookAtProcesses(): Promise<number> {
  const stats = await Promise.all(
    (await readdir('/proc'))
      .filter((name) => /^\d+$/.test(name))
      .map(async (pid) => {
        const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
        return { pid: Number(pid), parent: Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? 0) };
      }),
  );
  const own = new Set([service.pid ?? 0]);
  for (let grown = true; grown; ) {
    grown = false;
    for (const { pid, parent } of stats) {
      if (own.has(parent) && !own.has(pid)) grown = own.add(pid) !== undefined;
    }
  }
  for (const pid of own) {
    const cmdline = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '');
    children.cmdline.push(cmdline);
    // Interlock's own processes are given the secrets, and so is the compiler that a checkout runs by; a child that
    // has not become its program yet still shows its parent's.
    if (/bin\/interlock\.mjs|esbuild/.test(cmdline) || cmdline === '') continue;
    const environ = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
    children.environ.push(`${cmdline} ${environ}`);
  }
  return own.size - 1;
}

async function filesBelow(path: string): Promise<Record<string, string>> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true }).catch(() => []);
  const files: Record<string, string> = {};
  for (const entry of entries.filter((each) => each.isFile())) {
    const file = join(entry.parentPath, entry.name);
    files[`file ${file.slice(directory.length + 1)}`] = await readFile(file, 'latin1').catch(() => '');
  }
  return files;
}

async function databaseContent(): Promise<string> {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  try {
    const { rows: tables } = await client.query<{ name: string }>(
      `SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables
       WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')`,
    );
    const content: string[] = [];
    for (const { name } of tables) {
      const { rows } = await client.query<{ line: string }>(`SELECT each::text AS line FROM ${name} AS each`);
      content.push(name, ...rows.map(({ line }) => line));
    }
    return content.join('\n');
  } finally {
    await client.end();
  }
}

async function redisContent(): Promise<string> {
  const client = new Redis(redis.url, { password: secret.redisPassword });
  try {
    const content: string[] = [];
    for (const key of await client.keys('*')) {
      const type = await client.type(key);
      const value =
        type === 'string'
          ? await client.get(key)
          : type === 'hash'
            ? await client.hgetall(key)
            : type === 'list'
              ? await client.lrange(key, 0, -1)
              : type === 'set'
                ? await client.smembers(key)
                : type === 'zset'
                  ? await client.zrange(key, '0', '-1')
                  : await client.xrange(key, '-', '+');
      content.push(key, JSON.stringify(value));
    }
    return content.join('\n');
  } finally {
    client.disconnect();
  }
}

describe.skipIf(missing !== null)(suite, () => {
  it('are found where they are, in every encoding: the search itself bites', () => {
    const one = canary('x', 'a"b<c>secret words');
    for (const text of [
      one.text,
      JSON.stringify({ one: one.text }),
      JSON.stringify(JSON.stringify(one.text)),
      `?q=${encodeURIComponent(one.text)}`,
      ...['', 'y', 'yy', 'yyy'].map((before) => Buffer.from(`${before}${one.text}zz`).toString('base64')),
      Buffer.from(`z${one.text}`).toString('base64url'),
      Buffer.from(one.text).toString('hex'),
    ]) {
      expect(leaks([one], { sink: text }), text).toHaveLength(1);
    }
    expect(leaks([one], { sink: 'nothing here' })).toEqual([]);
  });

  it('a run is evaluated, badly in every way, and halted', async () => {
    const target = (path: string) => ({
      kind: 'webhook',
      url: `${outside.url}${path}`,
      secret: 'env:TRAINER_SECRET',
    });
    for (const runId of ['r1', 'r2', 'r3']) {
      const body = { runId, title: hazard.title, targets: [target('/halt'), target('/halt-bad')] };
      const sent = await post('trainer', '/v1/runs', body);
      expect(sent.status, sent.text).toBe(201);
    }
    const stream = new AbortController();
    const events = await fetch(`${url}/v1/stream`, { headers: as('auditor'), signal: stream.signal });
    const reader = (async () => {
      for await (const chunk of events.body ?? []) lines.push(Buffer.from(chunk).toString('utf8'));
    })().catch(() => undefined);

    const noise = { stdout: saying(hazard.stdout), stderr: saying(hazard.stderr) };
    const bad = { status: 'error', error: saying(hazard.error), model: saying(hazard.model) };
    await checkpoint('r1', 'hanging', '1e21', { ...noise, hang: true });
    await soon(async () => {
      const seen = await lookAtProcesses();
      expect(seen).toBeGreaterThan(0);
      expect(children.environ.join('\n')).toContain(secret.probeKey);
    });
    await checkpoint('r2', 'failing', '1e21', {
      ...noise,
      exit: 3,
      result: { ...bad, output: saying(hazard.file) },
    });
    await happened('r2', 'EvaluationAttemptFailed', 2);
    await checkpoint('r2', 'unreadable', '2e21', {
      ...noise,
      raw: `{"status": ${saying(hazard.unreadable)}`,
      result: 1,
    });
    await happened('r2', 'EvaluationAttemptFailed', 4);
    await checkpoint('r3', 'worded', '1e21', {
      ...noise,
      result: {
        status: 'success',
        score: 0.6,
        n: 400,
        error: saying(hazard.error),
        model: saying(hazard.model),
        metrics: { [hazard.metric]: { value: 1 } },
      },
    });
    await happened('r3', 'EvaluationReported', 1);
    const own = {
      status: 'success',
      score: 0.9,
      n: 400,
      model: saying(hazard.model),
      metrics: { [hazard.metric]: { value: 0.5 } },
    };
    const found = await get('auditor', '/v1/runs/r3');
    const id = /"(ev_[a-z2-7]+)"/.exec((await get('auditor', '/v1/runs/r3/events')).text)?.[1] ?? '';
    expect([found.status, id]).toEqual([200, expect.stringMatching(/^ev_/)]);
    for (const body of [
      own,
      { ...own, transcript: saying(hazard.unknownField) },
      { ...own, error: saying(hazard.error) },
    ]) {
      await post('evaluator', `/v1/evaluations/${id}/result?attempt=2`, body);
    }
    const pressed = await post('board', '/v1/halt', { reason: 'a person says so' });
    expect(pressed.status, pressed.text).toBe(202);
    await soon(async () => {
      for (const path of ['/halt', '/halt-bad', '/alert', '/chat/']) {
        expect(
          outside.received.some((each) => each.startsWith(path)),
          path,
        ).toBe(true);
      }
    });
    stream.abort();
    await reader;
    expect(lines.join('')).toContain('HaltOrdered');
  }, 90_000);

  it('experts are asked, answer in private, and are refused', async () => {
    const opened = await post('board', '/v1/runs/r3/estimate-rounds', {
      category: 'cybersecurity',
      level: 'critical',
    });
    expect(opened.status, opened.text).toBe(201);
    roundId = z.object({ roundId: z.string() }).parse(JSON.parse(opened.text)).roundId;
    const estimate = { roundId, probability: 0.2, rationale: saying(hazard.rationale) };
    // Past `answers`: the one who gave it reads it again, and nobody else.
    const given = await fetch(`${url}/v1/runs/r3/estimates`, {
      method: 'POST',
      headers: as('evaluator'),
      body: JSON.stringify(estimate),
    });
    expect([given.status, await given.text()]).toEqual([201, expect.stringContaining(hazard.rationale)]);
    const refused = saying(hazard.refused);
    for (const body of [
      { ...estimate, probability: 1.2, rationale: refused },
      { ...estimate, roundId: refused, rationale: refused },
      { ...estimate, rationale: refused, reasons: [refused] },
      { ...estimate, rationale: refused, quantiles: [{ p: 0.9, level: 1.1 }] },
    ]) {
      const sent = await post('evaluator', '/v1/runs/r3/estimates', body);
      expect(sent.status, sent.text).toBe(422);
    }
    await post('board', '/v1/runs/r3/estimate-rounds', { category: refused, level: 'high' });
    await post('trainer', '/v1/runs/r3/estimates', { ...estimate, rationale: refused });
    await soon(async () => expect(outside.received.join('\n')).toContain('experts are asked'));
  }, 30_000);

  it('callers are refused in every way', async () => {
    const body = (text: string) => JSON.stringify({ runId: 'r1', checkpointId: 'x', effectiveCompute: text });
    const token = tokens['operator'] ?? '';
    const forged = generateToken();
    canaries.push(canary('unknown token', forged));
    const person = await issuer.token({ sub: 'ann', groups: ['ops'] });
    const wrong = await issuer.token({ sub: 'eve', groups: hazard.refused });
    canaries.push(
      canary('token of a person', person.split('.')[2] ?? ''),
      canary('token of a stranger', wrong.split('.')[2] ?? ''),
    );
    const said = saying(hazard.refused);
    const hazardous = `{"${hazard.refused}`;
    const tries: readonly [string, string, RequestInit][] = [
      ['GET', '/v1/runs', { headers: { authorization: `Bearer ${forged}` } }],
      ['GET', '/v1/runs', { headers: { authorization: `Bearer ${person}` } }],
      ['GET', '/v1/runs', { headers: { authorization: `Bearer ${wrong}` } }],
      ['GET', '/v1/runs', { headers: { authorization: `Bearer ${person}x` } }],
      [
        'GET',
        '/v1/runs',
        { headers: { authorization: `Basic ${Buffer.from(`x:${token}`).toString('base64')}` } },
      ],
      ['GET', `/v1/runs?access_token=${token}`, {}],
      ['GET', `/v1/runs?q=${token}`, { headers: as('operator') }],
      ['GET', `/v1/runs/${hazard.refused}!`, { headers: as('operator') }],
      ['GET', `/v1/runs/${encodeURIComponent(said)}`, { headers: as('operator') }],
      ['GET', `/${hazard.refused}/${token}`, {}],
      ['POST', '/v1/checkpoints', { headers: as('trainer'), body: body(said) }],
      ['POST', '/v1/checkpoints', { headers: as('trainer'), body: said }],
      [
        'POST',
        '/v1/checkpoints',
        { headers: as('trainer'), body: `{"twice":"${hazard.refused}","twice":2}` },
      ],
      ['POST', '/v1/checkpoints', { headers: as('trainer'), body: `{"a": ${hazard.refused}}` }],
      ['POST', '/v1/checkpoints', { headers: as('trainer', { 'content-type': hazard.refused }), body: '{}' }],
      [
        'POST',
        '/v1/checkpoints',
        { headers: as('trainer', { 'x-correlation-id': `${token} ${hazard.refused}` }), body: '{}' },
      ],
      ['POST', '/v1/checkpoints', { headers: as('trainer', { 'webhook-id': hazard.refused }), body: '{}' }],
      [
        'POST',
        '/v1/checkpoints',
        {
          headers: {
            'webhook-id': 'm',
            'webhook-timestamp': '1',
            'webhook-signature': `v1,${secret.trainer}`,
          },
          body: '{}',
        },
      ],
      [
        'POST',
        '/v1/runs',
        {
          headers: as('trainer'),
          body: JSON.stringify({
            runId: 'r9',
            targets: [{ kind: 'webhook', url: `http://u:${secret.chatPath}@127.0.0.1:1/` }],
          }),
        },
      ],
      [
        'POST',
        '/v1/runs',
        {
          headers: as('trainer'),
          body: JSON.stringify({
            runId: 'r9',
            targets: [{ kind: 'webhook', url: 'http://127.0.0.1:1/', secret: secret.trainer }],
          }),
        },
      ],
      [
        'POST',
        '/sign-in',
        {
          headers: { origin: url, 'content-type': 'application/x-www-form-urlencoded' },
          body: `token=${forged}`,
        },
      ],
    ];
    for (const [method, path, init] of tries) {
      const { status } = await send(method, path, init);
      expect(status, `${method} ${path.slice(0, 20)}`).toBeLessThan(500);
    }
    // The red button, with printed codes: right, used, wrong, and on its page.
    const door = await soon(async () => {
      const found = await runningButton(buttonFiles(join(directory, 'data')));
      if (found === null) throw new Error('no red button yet');
      return found;
    });
    const [first = '', second = ''] = codes;
    const press = async (init: RequestInit, path = '/v1/runs/r1/halt'): Promise<number> => {
      const response = await fetch(`${door.url}${path}`, { method: 'POST', ...init });
      answers.push(
        `button ${response.status} ${JSON.stringify([...response.headers])} ${await response.text()}`,
      );
      return response.status;
    };
    const withCode = (code: string, content = '{}') =>
      press({
        headers: { authorization: `Bearer ${code}`, 'content-type': 'application/json' },
        body: content,
      });
    expect(await withCode(first)).toBe(202);
    await withCode(first);
    await withCode(`${second}X`);
    await withCode(second, hazardous);
    const pageForm = new URLSearchParams({
      credential: second,
      scope: 'run',
      run: 'r2',
      reason: 'from the page',
    });
    await press(
      {
        headers: { origin: door.url, 'content-type': 'application/x-www-form-urlencoded' },
        body: pageForm.toString(),
      },
      '/',
    );
    const signIn = await send('POST', '/sign-in', {
      headers: { origin: url, 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ token }).toString(),
    });
    const cookie = /=([\w-]{43});/.exec(signIn.headers.get('set-cookie') ?? '')?.[1] ?? '';
    expect(signIn.status).toBe(303);
    canaries.push(canary('session', cookie));
    await send('GET', '/', { headers: { cookie: `interlock-session=${cookie}` } });
    await send('POST', '/sign-out', {
      headers: {
        origin: url,
        cookie: `interlock-session=${cookie}`,
        'content-type': 'application/x-www-form-urlencoded',
      },
      body: '',
    });
  }, 60_000);

  it('the database and Redis fail under it, and come back', async () => {
    const name = new URL(database.url).pathname.slice(1);
    const admin = new pg.Client({ connectionString: database.url.replace(`/${name}`, '/postgres') });
    await admin.connect();
    await admin.query(`ALTER DATABASE ${name} WITH ALLOW_CONNECTIONS false`);
    const kill = () =>
      admin.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [name]);
    await kill();
    await soon(async () => {
      await kill();
      const { status } = await post('trainer', '/v1/runs', {
        runId: 'r8',
        targets: [{ kind: 'webhook', url: outside.url }],
      });
      expect(status).toBe(503);
    });
    await send('GET', '/readyz');
    await post('trainer', '/v1/runs/r1/heartbeat', { effectiveCompute: '1e21', nonce: hazard.refused });
    await admin.query(`ALTER DATABASE ${name} WITH ALLOW_CONNECTIONS true`);
    await admin.end();
    const queue = new Redis(redis.url, { password: secret.redisPassword });
    await queue.config('SET', 'requirepass', 'another');
    await queue.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await soon(async () => expect(said.join('')).toContain('queue connection lost'));
    await queue.config('SET', 'requirepass', secret.redisPassword);
    queue.disconnect();
    await soon(async () => expect((await send('GET', '/readyz')).status).toBe(200));
  }, 90_000);

  it('it is read by everybody who may, reports on itself, and crashes', async () => {
    for (const path of [
      ...[
        '/v1/runs',
        '/v1/ledger?limit=1000',
        '/v1/ledger/head',
        '/metrics',
        '/readyz',
        '/healthz',
        '/openapi.json',
        '/docs',
        '/',
        '/v1/forecasts/record',
        `/v1/runs/r3/estimate-rounds/${roundId}`,
      ],
      ...['r1', 'r2', 'r3'].flatMap((run) =>
        [
          '',
          '/checkpoints',
          '/scorecards',
          '/scorecards/latest',
          '/forecasts/latest',
          '/forecasts/record',
          '/forecasts/scores',
          '/estimate-rounds',
          '/gates',
          '/halts',
          '/events?limit=200',
          '/proposals',
        ].map((rest) => `/v1/runs/${run}${rest}`),
      ),
    ]) {
      await get('auditor', path);
    }
    await lookAtProcesses();
    service.kill('SIGUSR2');
    const reports = join(directory, 'reports');
    await soon(async () => expect(await readdir(reports)).toHaveLength(1));
    const ended = once(service, 'exit');
    service.kill('SIGWINCH');
    expect((await ended)[0]).not.toBe(0);
    expect(said.join('')).toContain('"level":"fatal"');
  }, 60_000);

  it('are nowhere: logs, traces, metrics, alerts, orders, ledger, API, page, queue, files, processes, crash', async () => {
    const sinks: Record<string, string> = {
      'logs and crash output': said.join(''),
      'answers, pages, metrics': answers.join('\n\n'),
      'event stream': lines.join(''),
      'alerts, orders, evaluators, traces': outside.received.join('\n\n'),
      'process arguments': children.cmdline.join('\n'),
      'environment of children': children.environ.join('\n'),
      database: await databaseContent(),
      redis: await redisContent(),
      ...(await filesBelow(join(directory, 'data'))),
      ...(await filesBelow(join(directory, 'reports'))),
    };
    const exported = spawn(
      process.execPath,
      [bin, 'ledger', 'export', '--config', join(directory, 'interlock.yaml')],
      {
        cwd: directory,
        env,
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    let out = '';
    for (const stream of [exported.stdout, exported.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        out += chunk.toString('latin1');
      });
    }
    await once(exported, 'close');
    sinks['export'] = out;
    for (const [name, content] of Object.entries(sinks)) expect(content.length, name).toBeGreaterThan(0);
    expect(out).toContain('HaltOrdered');
    expect(sinks['database']).toContain('EvaluationReported');
    expect(sinks['database']).toContain(hazard.rationale);
    for (const sent of ['halt.ordered', '/v1/traces']) {
      expect(sinks['alerts, orders, evaluators, traces']).toContain(sent);
    }

    const found = leaks(canaries, sinks, (name, sink) => {
      // Where it has to be: the policy gives it to this program.
      if (name === 'probeKey' && sink === 'environment of children') return true;
      // What an expert says is kept, and withheld from readers of the API while its round is open.
      if (name === 'words: rationale' && (sink === 'database' || sink === 'export')) return true;
      // The address of a chat webhook is its password, and goes to the chat.
      return name === 'chatPath' && sink === 'alerts, orders, evaluators, traces';
    });
    expect(found).toEqual([]);
  }, 60_000);
});
