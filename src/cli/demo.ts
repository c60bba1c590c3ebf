/**
 * `interlock demo`: a real model trains, is evaluated at each doubling, reaches High and is stopped.
 *
 * Everything is the product: the service as `serve` starts it (in this process), a trainer that holds a
 * permit through the client library, evaluators that load the saved weights. The demo only starts them,
 * listens to the ledger and tells the story. It passes only if the run was stopped by Interlock, the ledger
 * verifies and the replay agrees.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pino } from 'pino';
import { stringify } from 'yaml';
import { z } from 'zod';
import { evaluateCommand, trainCommand } from '../../examples/training-run/commands.ts';
import { demoPolicy, runPolicyName } from '../../examples/training-run/policy.ts';
import { alertChannelConfigSchema } from '../alerts/registry.ts';
import { initDirectory } from '../config/init.ts';
import { loadConfiguration } from '../config/load.ts';
import { InterlockError } from '../errors.ts';
import { type Interlock, startInterlock } from '../main.ts';
import { createKeyringFile } from '../signing/keyring.ts';
import { generateWebhookSecret } from '../signing/standard-webhooks.ts';
import { createLogger } from '../telemetry/logger.ts';
import { createStory, type Outcome, type Story } from './demo-story.ts';
import { styleFor } from './output.ts';

const RUN_ID = 'demo-run';
/** Longer than any machine should need; then the demo has failed, and says so. */
const TIME_LIMIT_MS = 300_000;
const TRAINER_GRACE_MS = 5_000;
const CONFIRM_GRACE_MS = 20_000;

const TrainerLine = z.looseObject({ event: z.string(), at: z.string() });

export async function runDemo({ exit }: { exit: boolean }): Promise<number> {
  const style = styleFor({ isTty: process.stdout.isTTY === true, env: process.env });
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  const story = createStory({ say, style, isTty: process.stdout.isTTY === true });
  const cleanups: (() => Promise<unknown>)[] = [];
  const interrupted = new Promise<'interrupted'>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve('interrupted'));
  });
  try {
    const directory = await mkdtemp(join(tmpdir(), 'interlock-demo-'));
    cleanups.push(() => rm(directory, { recursive: true, force: true }));
    const stage = await setUp(directory, story, cleanups);
    const trainer = startTrainer(stage, story);
    cleanups.push(() => stopTrainer(trainer.child));
    const listening = await Promise.race([trainer.listening, interrupted]);
    if (listening === 'interrupted') return 1;
    await register(stage, listening);
    const confirmed = story.stopConfirmed.then(() => 'stopped' as const);
    const ending = await Promise.race([
      confirmed,
      // A trainer that obeys is gone before its stop is observed and confirmed.
      trainer.exited.then((gone) => Promise.race([confirmed, after(CONFIRM_GRACE_MS).then(() => gone)])),
      interrupted,
      after(TIME_LIMIT_MS),
    ]);
    if (ending !== 'stopped') {
      story.failed(ending);
      return 1;
    }
    await Promise.race([trainer.exited, after(TRAINER_GRACE_MS)]);
    const outcome = await story.conclude(stage.config);
    if (!exit) {
      say('');
      say(`The service stays up for a look: ${stage.interlock.url}/  (API: ${stage.interlock.url}/docs)`);
      say(`An auditor's token: ${stage.tokens['auditor'] ?? ''}`);
      say('Press Ctrl-C to end it; its directory is removed then.');
      await interrupted;
      return isSuccess(outcome) ? 0 : 1;
    }
    say(JSON.stringify(outcome));
    return isSuccess(outcome) ? 0 : 1;
  } finally {
    for (const cleanUp of cleanups.reverse()) await cleanUp().catch(() => undefined);
  }
}

const isSuccess = ({ haltedBy, ledgerVerified, replayAgrees }: Outcome): boolean =>
  haltedBy === 'interlock' && ledgerVerified && replayAgrees;

function after(ms: number): Promise<'timed-out'> {
  return new Promise((resolve) => {
    setTimeout(() => resolve('timed-out'), ms).unref();
  });
}

// --- the stage -----------------------------------------------------------------------------------------

interface Stage {
  readonly directory: string;
  readonly interlock: Interlock;
  readonly config: Awaited<ReturnType<typeof loadConfiguration<typeof alertChannelConfigSchema>>>;
  readonly tokens: Readonly<Record<string, string>>;
  readonly webhookSecret: string;
}

async function setUp(directory: string, story: Story, cleanups: (() => Promise<unknown>)[]): Promise<Stage> {
  story.chapter('Interlock starts: its own PostgreSQL, its own queue, nothing else is needed');
  const startedMs = performance.now();
  const pager = await startPager(story);
  cleanups.push(() => pager.close());
  const policy = demoPolicy({ evaluateCommand: evaluateCommand(), alerts: ['oncall'] });
  const written = await initDirectory(join(directory, 'interlock'), {
    createKeyringFile,
    policies: [{ name: runPolicyName, text: stringify(policy) }],
  });
  await adjust(written.configFile, [
    ['roots: []', `roots: [${JSON.stringify(join(directory, 'models'))}]`],
    [
      '\nalerts: []',
      `\nalerts: [{ name: oncall, kind: webhook, url: "${pager.url}", secret: "env:DEMO_PAGER_SECRET" }]`,
    ],
  ]);
  const env = {
    ...process.env,
    DATABASE_URL: undefined,
    REDIS_URL: undefined,
    DEMO_PAGER_SECRET: generateWebhookSecret(),
  };
  const config = await loadConfiguration(written.configFile, { env, alertSchema: alertChannelConfigSchema });
  const log = pino.destination({ dest: join(directory, 'interlock.log'), sync: false });
  const interlock = await startInterlock(config, {
    env,
    port: 0,
    logger: createLogger({ level: 'info', destination: log }),
  });
  cleanups.push(() => interlock.close());
  interlock.ledger.onAppended((events) => story.recorded(events));
  story.note(`ready in ${((performance.now() - startedMs) / 1000).toFixed(1)} s at ${interlock.url}`);
  story.note(
    'the rules: halt when a pre-mitigation level reaches High (3.0) or is forecast to reach Critical',
  );
  return {
    directory,
    interlock,
    config,
    tokens: written.tokens,
    webhookSecret: written.webhookSecrets['trainer'] ?? '',
  };
}

/** Changes what `init` wrote, as a person would with an editor. */
async function adjust(file: string, changes: readonly (readonly [string, string])[]): Promise<void> {
  let text = await readFile(file, 'utf8');
  for (const [from, to] of changes) {
    if (!text.includes(from)) {
      throw new InterlockError(`the demo does not find "${from.trim()}" in ${file}`, { code: 'demo.config' });
    }
    text = text.replace(from, to);
  }
  await writeFile(file, text, { mode: 0o600 });
}

/** Stands for the on-call person's phone. */
async function startPager(story: Story): Promise<{ url: string; close(): Promise<void> }> {
  const Page = z.looseObject({ data: z.looseObject({ summary: z.string() }) });
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      response.end('{}');
      const page = Page.safeParse(parseJson(Buffer.concat(chunks).toString('utf8')));
      if (page.success) story.paged(page.data.data.summary);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('the pager has no port');
  return {
    url: `http://127.0.0.1:${address.port}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// --- the trainer ---------------------------------------------------------------------------------------

interface Listening {
  readonly pid: number;
  readonly haltUrl: string;
}

interface Trainer {
  readonly child: ChildProcess;
  readonly listening: Promise<Listening>;
  readonly exited: Promise<'trainer-exited'>;
}

function startTrainer({ directory, interlock, tokens, webhookSecret }: Stage, story: Story): Trainer {
  story.chapter('A trainer starts: a small network learns four skills by gradient descent');
  const [program = process.execPath, ...args] = trainCommand();
  const paths = ['--state', join(directory, 'trainer'), '--models', join(directory, 'models')];
  const child = spawn(
    program,
    [...args, '--url', interlock.url, '--run', RUN_ID, ...paths, '--halt-port', '0'],
    {
      detached: true, // a process group of its own, as a launcher would have
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env['PATH'],
        HOME: process.env['HOME'],
        INTERLOCK_TOKEN: tokens['trainer'],
        INTERLOCK_WEBHOOK_SECRET: webhookSecret,
      },
    },
  );
  child.stderr?.on('data', (chunk: Buffer) => story.complaint(chunk.toString('utf8')));
  const exited = new Promise<'trainer-exited'>((resolve) => {
    child.once('exit', () => resolve('trainer-exited'));
  });
  const listening = new Promise<Listening>((resolve, reject) => {
    if (child.stdout === null) throw new TypeError('the trainer has no standard output');
    createInterface({ input: child.stdout }).on('line', (line) => {
      const parsed = TrainerLine.safeParse(parseJson(line));
      if (!parsed.success) return;
      const heard = z.object({ pid: z.number(), haltUrl: z.string() }).safeParse(parsed.data);
      if (parsed.data.event === 'listening' && heard.success) resolve(heard.data);
      else story.trainer(parsed.data);
    });
    child.once('error', reject);
    child.once('exit', () =>
      reject(new InterlockError('the trainer ended before it began', { code: 'demo.trainer' })),
    );
  });
  return { child, listening, exited };
}

async function stopTrainer(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  process.kill(-child.pid, 'SIGTERM');
  const waited = await Promise.race([gone, after(TRAINER_GRACE_MS)]);
  if (waited === 'timed-out') process.kill(-child.pid, 'SIGKILL');
  await gone;
}

/** As an operator would: two targets, the signed webhook at once and the process only where that did not help. */
async function register({ interlock, tokens }: Stage, { pid, haltUrl }: Listening): Promise<void> {
  const response = await fetch(`${interlock.url}/v1/runs`, {
    method: 'POST',
    headers: { authorization: `Bearer ${tokens['operator'] ?? ''}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      runId: RUN_ID,
      title: 'Demo: a small model that really learns',
      policy: runPolicyName,
      targets: [
        { kind: 'webhook', url: haltUrl },
        { kind: 'process', pid, after: '5s' },
      ],
    }),
  });
  if (!response.ok) {
    throw new InterlockError(
      `registering the run was refused: HTTP ${response.status} ${await response.text()}`,
      {
        code: 'demo.register',
      },
    );
  }
}
