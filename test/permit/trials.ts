/**
 * Permit trials on real processes: what a dead watchdog and a short blip do to trainers that train.
 *
 * C1: trainers train under short permits; every Interlock is killed with -9 at once. Each must have taken its last step
 * within TTL + check period, and its process must have ended within a grace after that. C2: every Interlock is
 * killed and started again while the permits last; no trainer may pause. Trainers run side by side in waves, each at
 * its own place between two heartbeats, so that a kill hits all of them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { initDirectory } from '../../src/config/init.ts';
import { createKeyringFile } from '../../src/signing/keyring.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { type ClientLanguage, endWithUs, nowMs, startTrainer, type Trainer } from './trainer-process.ts';

export interface TrialOptions {
  readonly trials: number;
  /** Trainers at once. */
  readonly wave: number;
  readonly replicas: number;
  /** Life of a permit when the watchdog dies, and when it blips. */
  readonly deadTtlMs: number;
  readonly blipTtlMs: number;
  readonly heartbeatMs: number;
  readonly checkPeriodMs: number;
  /** From the last step to the end of the process. */
  readonly graceMs: number;
  /** Which client the trainers use; with `both` every other one is in Python. */
  readonly client?: ClientLanguage | 'both';
  readonly say?: (line: string) => void;
}

export interface DeadTrial {
  readonly runId: string;
  /** From the kill to the last step, and to the end of the process. */
  readonly lastStepMs: number;
  readonly endedMs: number;
  readonly late: boolean;
}

export interface BlipTrial {
  readonly runId: string;
  /** How long no permit came. */
  readonly gapMs: number;
  readonly pauses: number;
  /** The outage was longer than the permits allow here: says nothing about the promise. */
  readonly judged: boolean;
}

export interface TrialResults {
  readonly boundMs: number;
  readonly graceMs: number;
  readonly dead: readonly DeadTrial[];
  readonly blips: readonly BlipTrial[];
}

const root = fileURLToPath(new URL('../../', import.meta.url));

export async function runTrials(options: TrialOptions): Promise<TrialResults> {
  const { deadTtlMs, checkPeriodMs, graceMs, trials, wave } = options;
  const dead: DeadTrial[] = [];
  const blips: BlipTrial[] = [];
  for (let left = trials, again = 2; left > 0; ) {
    const count = Math.min(left, wave);
    const done = await withScene(options, async (scene) => {
      const stopped = await deadWave(scene, count, options);
      await scene.startAll();
      return { stopped, blipped: await blipWave(scene, count, options) };
    });
    dead.push(...done.stopped);
    // A machine too busy to start a service in time proves nothing about a blip: once more.
    if (done.blipped.some(({ judged }) => !judged) && again > 0) {
      again -= 1;
      continue;
    }
    blips.push(...done.blipped);
    left -= wave;
  }
  return { boundMs: deadTtlMs + checkPeriodMs, graceMs, dead, blips };
}

// --- the two waves ---------------------------------------------------------------------------------------

async function deadWave(scene: Scene, count: number, options: TrialOptions): Promise<DeadTrial[]> {
  const trainers = await scene.train(count, 'dead');
  const killedAtMs = await scene.killAll();
  options.say?.(`killed ${options.replicas} Interlocks over ${count} trainers`);
  const bound = options.deadTtlMs + options.checkPeriodMs;
  return Promise.all(
    trainers.map(async (trainer) => {
      const endedAtMs = await trainer.ended;
      const stopped = trainer.lines.find(({ event }) => event === 'stopped');
      const lastStepMs = (stopped?.lastStepAtMs ?? Number.POSITIVE_INFINITY) - killedAtMs;
      const endedMs = endedAtMs - killedAtMs;
      const late = !(lastStepMs <= bound && endedMs <= bound + options.graceMs);
      return { runId: trainer.runId, lastStepMs, endedMs, late };
    }),
  );
}

async function blipWave(scene: Scene, count: number, options: TrialOptions): Promise<BlipTrial[]> {
  const trainers = await scene.train(count, 'blip');
  const killedAtMs = await scene.killAll();
  await scene.startAll();
  options.say?.(
    `killed and started again over ${count} trainers: away for ${Math.round(nowMs() - killedAtMs)} ms`,
  );
  const allowanceMs = options.blipTtlMs - 1_000 - options.heartbeatMs;
  const trials = await Promise.all(
    trainers.map(async (trainer) => {
      const permit = await trainer.heard(({ event, atMs }) => event === 'permit' && atMs > killedAtMs + 50);
      const before = trainer.lines.findLast(({ event, atMs }) => event === 'permit' && atMs < permit.atMs);
      const gapMs = permit.atMs - (before?.atMs ?? killedAtMs);
      // Every instant up to the new permit counts, and none before the kill.
      const pauses = trainer.lines.filter(
        ({ event, atMs }) => event === 'paused' && atMs > killedAtMs,
      ).length;
      return { runId: trainer.runId, gapMs, pauses, judged: permit.atMs - killedAtMs < allowanceMs };
    }),
  );
  for (const trainer of trainers) trainer.kill();
  await Promise.all(trainers.map(({ ended }) => ended));
  return trials;
}

// --- the scene ---------------------------------------------------------------------------------------------

interface Scene {
  /** Trainers under the policy of that name; those of a blip wait through pauses. */
  train(count: number, policy: 'dead' | 'blip'): Promise<Trainer[]>;
  /** The instant before the first signal. */
  killAll(): Promise<number>;
  startAll(): Promise<void>;
}

/** Real Interlocks on one embedded database, in a directory of their own that goes with them. */
async function withScene<T>(options: TrialOptions, work: (scene: Scene) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'interlock-permit-'));
  const ports = await freePorts(options.replicas);
  const { configFile, tokens, webhookSecrets } = await initDirectory(directory, {
    createKeyringFile,
    policies: [
      { name: 'dead', text: JSON.stringify(policyOf('dead', options.deadTtlMs)) },
      { name: 'blip', text: JSON.stringify(policyOf('blip', options.blipTtlMs)) },
    ],
  });
  const config: unknown = parse(await readFile(configFile, 'utf8'));
  await writeFile(configFile, stringify({ ...Object(config), logLevel: 'warn' }), { mode: 0o600 });
  let services: ChildProcess[] = [];
  const trainers: Trainer[] = [];

  const scene: Scene = {
    async startAll() {
      // One after the other: the first brings the database up, the others find it.
      const started: ChildProcess[] = [];
      for (const port of ports) started.push(await startService(configFile, port));
      services = started;
    },
    async killAll() {
      const killedAtMs = nowMs();
      const exits = services.map((service) => once(service, 'exit'));
      for (const service of services) service.kill('SIGKILL');
      await Promise.all(exits);
      services = [];
      return killedAtMs;
    },
    async train(count, policy) {
      const wave = Array.from({ length: count }, (_, i) => `trial-${trainers.length + i}`);
      await Promise.all(
        wave.map((runId) => register(ports[0] ?? 0, tokens['operator'] ?? '', runId, policy)),
      );
      const started = wave.map((runId, i) =>
        startTrainer(languageOf(options, i), {
          url: `http://127.0.0.1:${ports[i % ports.length] ?? 0}`,
          token: tokens['trainer'] ?? '',
          webhookSecret: webhookSecrets['trainer'] ?? '',
          runId,
          stateDirectory: join(directory, 'state'),
          heartbeatIntervalMs: options.heartbeatMs,
          checkPeriodMs: options.checkPeriodMs,
          goOn: policy === 'blip',
        }),
      );
      trainers.push(...started);
      await Promise.all(started.map((trainer) => trainer.heard(({ event }) => event === 'training')));
      // One more permit each, so that nobody is judged by the rush of the start.
      await Promise.all(
        started.map((trainer) => {
          const sinceMs = nowMs();
          return trainer.heard(({ event, atMs }) => event === 'permit' && atMs > sinceMs);
        }),
      );
      return started;
    },
  };
  try {
    await scene.startAll();
    return await work(scene);
  } finally {
    for (const trainer of trainers) trainer.kill();
    // In order, where one is left, so that the database stops with it; after a kill, by one more start.
    if (services.length === 0) await scene.startAll().catch(() => undefined);
    const exits = services.map((service) => once(service, 'exit'));
    for (const service of services) service.kill('SIGTERM');
    await Promise.all(exits);
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

function languageOf({ client = 'typescript' }: TrialOptions, i: number): ClientLanguage {
  return client === 'both' ? (i % 2 === 0 ? 'typescript' : 'python') : client;
}

async function startService(configFile: string, port: number): Promise<ChildProcess> {
  const child = spawn(
    process.execPath,
    [join(root, 'bin/interlock.mjs'), 'serve', '--config', configFile, '--port', String(port)],
    { env: withoutStores(process.env), stdio: ['ignore', 'pipe', 'pipe'] },
  );
  endWithUs(child);
  const complaints: string[] = [];
  child.stderr.on('data', (chunk: Buffer) => complaints.push(chunk.toString('utf8').slice(0, 2_000)));
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith('listening on ')) return child;
  }
  throw new Error(`Interlock did not start: ${complaints.slice(-3).join('')}`);
}

async function register(port: number, token: string, runId: string, policy: string): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${port}/v1/runs`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ runId, policy, targets: [{ kind: 'webhook', url: 'http://127.0.0.1:9/halt' }] }),
  });
  if (response.status !== 201) throw new Error(`registering ${runId} was answered ${response.status}`);
}

function policyOf(name: string, ttlMs: number): object {
  return oneEvaluationPolicy({
    policy: name,
    title: 'Permit trials',
    cadence: { firstCheckpointBy: '1e22' },
    permit: { ttl: `${ttlMs}ms`, heartbeatInterval: '1s' },
  });
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => z.object({ port: z.number() }).parse(server.address()).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}

function withoutStores(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { DATABASE_URL: _, DATABASE_DIRECT_URL: __, REDIS_URL: ___, ...rest } = env;
  return rest;
}
