/**
 * The faults, each with the promise it tries. A fault strikes, lasts, and is over; then the service has to heal.
 *
 * kill: the process dies, at a named point or anywhere. database, queue: what it stands on fails, and it must not
 * die of that. power: the machine goes, with everything that was not fsynced.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import type { LedgerEvent } from '../support/campaign/evidence.ts';
import type { Grade } from '../support/campaign/stores.ts';
import { type Fault, over, type Struck } from './fault.ts';
import type { Judge } from './judge.ts';
import { KEY_ROTATION } from './keys.ts';
import { PLACES } from './places.ts';
import type { Stage } from './stage.ts';

const ALL: readonly Grade[] = ['embedded', 'server', 'distributed'];
const SERVERS: readonly Grade[] = ['server', 'distributed'];
const REDIS: readonly Grade[] = ['distributed'];
const ON_POSTGRES: readonly Grade[] = ['embedded', 'server'];

const OUTAGE_MS = 1_500;
const CUT_MS = 2_000;
const SILENCE_MS = 4_000;
const SLOW_MS = 3_000;
const SLOWED_BY_MS = 120;
const FULL_MS = 3_000;

async function killDatabase(
  stage: Stage,
  what: 'postmaster' | 'backend' | 'everything',
  signal: NodeJS.Signals,
): Promise<Struck> {
  await stage.cluster.kill(what, signal);
  // A killed backend makes the postmaster begin anew by itself; Interlock's own it starts itself.
  if (stage.grade === 'embedded' || what === 'backend') return over();
  await delay(stage.random.between(100, OUTAGE_MS));
  await stage.cluster.start();
  return over();
}

function proxied(stage: Stage, which: 'database' | 'redis'): NonNullable<Stage['database']> {
  const proxy = which === 'database' ? stage.database : stage.redis?.proxy;
  if (proxy == null) throw new Error(`there is no proxy before the ${which} on this grade`);
  return proxy;
}

function redisOf(stage: Stage): NonNullable<Stage['redis']> {
  if (stage.redis === null) throw new Error('there is no Redis on this grade');
  return stage.redis;
}

async function cut(stage: Stage, which: 'database' | 'redis'): Promise<Struck> {
  const proxy = proxied(stage, which);
  await proxy.cut();
  await delay(CUT_MS);
  await proxy.mend();
  return over();
}

async function silence(stage: Stage, which: 'database' | 'redis'): Promise<Struck> {
  const proxy = proxied(stage, which);
  proxy.silence();
  await delay(SILENCE_MS);
  await proxy.mend();
  return over();
}

async function slow(stage: Stage, which: 'database' | 'redis'): Promise<Struck> {
  const proxy = proxied(stage, which);
  proxy.slow(SLOWED_BY_MS);
  await delay(SLOW_MS);
  proxy.slow(0);
  return over();
}

function diskOf(stage: Stage): NonNullable<Stage['disk']> {
  if (stage.disk === null) throw new Error('there is no disk that can fail');
  return stage.disk;
}

export const FAULTS: readonly Fault[] = [
  // --- the process -------------------------------------------------------------------------------------
  {
    name: 'kill -9 of Interlock and PostgreSQL together',
    of: 'kill',
    grades: ALL,
    kills: true,
    async strike(stage) {
      await delay(stage.random.between(100, 800));
      await Promise.all([stage.service().kill9(), stage.cluster.kill('everything', 'SIGKILL')]);
      if (stage.grade !== 'embedded') await stage.cluster.start();
      return over();
    },
  },
  // --- the database ------------------------------------------------------------------------------------
  {
    name: 'kill -9 of the postmaster',
    of: 'database',
    grades: ALL,
    strike: (stage) => killDatabase(stage, 'postmaster', 'SIGKILL'),
  },
  {
    name: 'kill -9 of a backend',
    of: 'database',
    grades: ALL,
    strike: (stage) => killDatabase(stage, 'backend', 'SIGKILL'),
  },
  {
    name: 'immediate restart of PostgreSQL',
    of: 'database',
    grades: ALL,
    strike: (stage) => killDatabase(stage, 'postmaster', 'SIGQUIT'),
  },
  {
    name: 'database connections cut',
    of: 'database',
    grades: SERVERS,
    strike: (stage) => cut(stage, 'database'),
  },
  { name: 'database silent', of: 'database', grades: SERVERS, strike: (stage) => silence(stage, 'database') },
  { name: 'database slow', of: 'database', grades: SERVERS, strike: (stage) => slow(stage, 'database') },
  {
    name: 'disk of the database full',
    of: 'database',
    grades: ALL,
    needsDisk: true,
    async strike(stage) {
      const disk = diskOf(stage);
      disk.fill();
      // What is allocated already would last for hours: the log has to go on in a new file, for which there is no room.
      await stage.cluster.query('SELECT pg_switch_wal()').catch(() => undefined);
      await delay(FULL_MS);
      disk.free();
      // A server that could not write its log has stopped; somebody makes room and starts it.
      if (stage.grade !== 'embedded') await stage.cluster.start();
      return over();
    },
  },
  {
    name: 'disk of the database turns read-only',
    of: 'database',
    grades: ALL,
    needsDisk: true,
    kills: true,
    async strike(stage) {
      const disk = diskOf(stage);
      disk.turnReadOnly();
      await delay(FULL_MS);
      if (stage.service().isGone()) stage.scene.journal.violations.push('a read-only disk ended the service');
      // Nothing repairs a mounted file system: the machine is restarted.
      await Promise.all([stage.service().kill9(), stage.cluster.kill('everything', 'SIGKILL')]);
      await disk.mend();
      if (stage.grade !== 'embedded') await stage.cluster.start();
      return over();
    },
  },
  {
    name: 'power cut',
    of: 'power',
    grades: ALL,
    needsDisk: true,
    kills: true,
    async strike(stage) {
      const disk = diskOf(stage);
      await delay(stage.random.between(100, 1_000));
      disk.cutPower();
      await Promise.all([stage.service().kill9(), stage.cluster.kill('everything', 'SIGKILL')]);
      await disk.mend();
      if (stage.grade !== 'embedded') await stage.cluster.start();
      return over();
    },
  },
  // --- the queue ---------------------------------------------------------------------------------------
  {
    name: 'queue wiped (DROP SCHEMA)',
    of: 'queue',
    grades: ON_POSTGRES,
    strike: (stage, judge) =>
      wipe(stage, judge, () => sabotage(stage, 'DROP SCHEMA IF EXISTS bullmq CASCADE')),
  },
  {
    name: 'half of the jobs deleted',
    of: 'queue',
    grades: ON_POSTGRES,
    strike: (stage, judge) =>
      wipe(stage, judge, () => sabotage(stage, 'DELETE FROM bullmq.job WHERE random() < 0.5')),
  },
  {
    name: 'queue wiped (FLUSHALL)',
    of: 'queue',
    grades: REDIS,
    strike: (stage, judge) => wipe(stage, judge, () => redisOf(stage).client.flushall()),
  },
  {
    name: 'half of the keys deleted',
    of: 'queue',
    grades: REDIS,
    strike: (stage, judge) =>
      wipe(stage, judge, async () => {
        const { client } = redisOf(stage);
        const keys = (await client.keys('*')).filter(() => stage.random.chance(0.5));
        if (keys.length > 0) await client.del(...keys);
      }),
  },
  {
    name: 'kill -9 of Redis',
    of: 'queue',
    grades: REDIS,
    async strike(stage) {
      const { server } = redisOf(stage);
      await server.kill9();
      await delay(OUTAGE_MS);
      await server.restart();
      return over();
    },
  },
  {
    name: 'Redis full',
    of: 'queue',
    grades: REDIS,
    async strike(stage) {
      const { client } = redisOf(stage);
      await client.config('SET', 'maxmemory', '1');
      await delay(SILENCE_MS);
      await client.config('SET', 'maxmemory', '0');
      return over();
    },
  },
  {
    name: 'Redis with a wrong eviction policy',
    of: 'queue',
    grades: REDIS,
    async strike(stage) {
      const { client } = redisOf(stage);
      await client.config('SET', 'maxmemory-policy', 'allkeys-lru');
      await client.config('SET', 'maxmemory', '3mb');
      await delay(SILENCE_MS);
      await client.config('SET', 'maxmemory', '0');
      await client.config('SET', 'maxmemory-policy', 'noeviction');
      return over();
    },
  },
  { name: 'Redis connections cut', of: 'queue', grades: REDIS, strike: (stage) => cut(stage, 'redis') },
  { name: 'Redis silent', of: 'queue', grades: REDIS, strike: (stage) => silence(stage, 'redis') },
  { name: 'Redis slow', of: 'queue', grades: REDIS, strike: (stage) => slow(stage, 'redis') },
  ...PLACES,
  KEY_ROTATION,
];

// --- how late forgotten work comes -----------------------------------------------------------------------

const Failed = z.object({ evaluationId: z.string(), attempt: z.int() });
const BACKOFF_MS = 1_000;
const FAILED_WITHIN_MS = 20_000;
const BEGUN_WITHIN_MS = 20_000;
let serial = 0;

/**
 * Wipes while work is waiting in the queue: second attempts that are due in a second. Their start is compared with
 * when they were due.
 */
async function wipe(stage: Stage, judge: Judge, destroy: () => Promise<unknown>): Promise<Struck> {
  const { api, journal, outside } = stage.scene;
  serial += 1;
  const runId = `wiped-${serial}`;
  const targets = [{ kind: 'webhook', url: `${outside.url}/halt` }];
  await api.persist({ path: '/v1/runs', body: { runId, targets }, as: 'trainer' });
  journal.registered.add(runId);
  const modelUri = `s3://wiped/${runId}?score=0.1&win=0.1&fail=1&refuse=1`;
  const effectiveCompute = 5e19;
  const answer = await api.persist({
    path: '/v1/checkpoints',
    webhookId: `${runId}_ck`,
    body: { runId, checkpointId: 'ck-1', effectiveCompute, modelUri },
  });
  if (answer?.status === 202 || answer?.status === 200) {
    journal.checkpoints.push({ runId, checkpointId: 'ck-1', effectiveCompute, tookMs: 0 });
  }
  const of = (kind: string) => async (): Promise<LedgerEvent[]> => {
    await judge.readOn();
    return judge.events().filter((event) => event.stream === `run-${runId}` && event.kind === kind);
  };
  const failed = await until(of('EvaluationAttemptFailed'), (found) => found.length >= 2, FAILED_WITHIN_MS);
  await destroy();
  const overAtMs = performance.now();
  if (failed === null) return { overAtMs };
  const second = (event: LedgerEvent) => Failed.parse(event.data).attempt === 2;
  const begun = await until(
    of('EvaluationStarted'),
    (found) => found.filter(second).length >= failed.length,
    BEGUN_WITHIN_MS,
  );
  if (begun === null) {
    journal.violations.push(
      `evaluations of ${runId} were not begun ${BEGUN_WITHIN_MS} ms after the queue was wiped`,
    );
    return { overAtMs };
  }
  const latenessMs = begun.filter(second).map((event) => {
    const { evaluationId } = Failed.parse(event.data);
    const before = failed.find((each) => Failed.parse(each.data).evaluationId === evaluationId);
    const dueMs = Date.parse(before?.recordedAt ?? event.recordedAt) + BACKOFF_MS;
    return Date.parse(event.recordedAt) - dueMs;
  });
  return { overAtMs, extraDelayMs: Math.max(0, ...latenessMs) };
}

const DEADLOCK = '40P01';
const SABOTAGE_TRIES = 20;

/** Its locks meet those of the workers, and PostgreSQL may choose it as the one to give way: then once more. */
async function sabotage({ cluster }: Stage, sql: string): Promise<void> {
  for (let i = 1; ; i += 1) {
    try {
      await cluster.query(sql);
      return;
    } catch (error) {
      const isDeadlock = error instanceof Error && 'code' in error && error.code === DEADLOCK;
      if (!isDeadlock || i === SABOTAGE_TRIES) throw error;
    }
  }
}

async function until<T>(
  look: () => Promise<T[]>,
  enough: (found: T[]) => boolean,
  withinMs: number,
): Promise<T[] | null> {
  const limitMs = performance.now() + withinMs;
  for (;;) {
    const found = await look();
    if (enough(found)) return found;
    if (performance.now() > limitMs) return null;
    await delay(30);
  }
}
