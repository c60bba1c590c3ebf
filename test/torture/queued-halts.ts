/**
 * H10: `npm run queued:halts -- [--jobs 100000] [--halts 50] [--grade embedded] [--markdown FILE]`: the latency of
 * halts, from press to delivery, before and while the queue is full of evaluations that nobody gets to. Prints one line
 * of JSON; exits 1 where the median got worse by more than half and 100 ms.
 */
import { writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { createWorkQueue } from '../../src/queue/create-work-queue.ts';
import { createRandom } from '../simulation/random.ts';
import { installBuild } from '../support/campaign/installation.ts';
import { openScene, type Scene } from '../support/campaign/scene.ts';
import { GRADES } from '../support/campaign/stores.ts';
import { takenOn } from '../support/machine.ts';
import { openCluster } from './cluster.ts';
import { quantile } from './torture.ts';

const { jobs, halts, grade, markdown } = z
  .object({
    jobs: z.coerce.number().int().min(0).default(100_000),
    halts: z.coerce.number().int().min(1).default(50),
    grade: z.enum(GRADES).default('embedded'),
    markdown: z.string().optional(),
  })
  .parse(
    parseArgs({
      options: {
        jobs: { type: 'string' },
        halts: { type: 'string' },
        grade: { type: 'string' },
        markdown: { type: 'string' },
      },
    }).values,
  );

const BATCH = 1_000;
const SLOTS = 3;
interface Spread {
  readonly p50: number;
  readonly p99: number;
}
const Halts = z.object({ halts: z.array(z.object({ haltId: z.string() })).length(1) });
const silent = { debug() {}, info() {}, warn() {}, error() {} };

const { bin, remove } = await installBuild();
const scene = await openScene({ bin, grade, seed: 1 });
try {
  const service = scene.start();
  scene.api.use(await service.ready);
  await occupySlots(scene);
  const before = await pressed(scene, 'before');
  const { queued, ms, waiting } = await fill(scene);
  const during = await pressed(scene, 'during');
  const stillWaiting = await waiting();
  // Asked to stop, it takes its evaluations with it; they would run on for an hour.
  await service.stop();
  const figures = {
    grade,
    halts,
    queued,
    queuedMs: Math.round(ms),
    stillWaiting,
    before: { p50: quantile(before, 0.5), p99: quantile(before, 0.99) },
    during: { p50: quantile(during, 0.5), p99: quantile(during, 0.99) },
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  if (markdown !== undefined) await writeFile(markdown, table(figures));
  // Consumed meanwhile, the queue was not full, and nothing was shown.
  if (stillWaiting < queued) process.exitCode = 1;
  if (figures.during.p50 > figures.before.p50 * 1.5 + 100) process.exitCode = 1;
} finally {
  await scene.close({ keep: false });
  await remove();
}

function table({ queued, before, during }: { queued: number; before: Spread; during: Spread }): string {
  const row = (name: string, { p50, p99 }: Spread): string =>
    `| ${name} | ${halts} | ${p50} ms | ${p99} ms |`;
  return [
    '| queue | halts | p50 | p99 |',
    '| --- | --: | --: | --: |',
    row('empty', before),
    row(`${queued} evaluations wait`, during),
    '',
    `${grade} grade; ${takenOn()}`,
    '',
  ].join('\n');
}

/** Evaluations that run for longer than this script: whatever is queued behind them waits. */
async function occupySlots({ api, outside, journal }: Scene): Promise<void> {
  for (let i = 1; i <= SLOTS; i += 1) {
    const runId = `busy-${i}`;
    const targets = [{ kind: 'webhook', url: `${outside.url}/halt` }];
    await api.persist({ path: '/v1/runs', body: { runId, targets }, as: 'trainer' });
    journal.registered.add(runId);
    const modelUri = `s3://queued/${runId}?score=0.1&win=0.1&ms=3600000`;
    await api.persist({
      path: '/v1/checkpoints',
      webhookId: `${runId}_ck`,
      body: { runId, checkpointId: 'ck-1', effectiveCompute: 5e19, modelUri },
    });
  }
  await delay(2_000);
}

async function fill({ place, stores }: Scene): Promise<{
  queued: number;
  ms: number;
  /** How many are there still; ends the connection. */
  waiting(): Promise<number>;
}> {
  const redis = stores.env['REDIS_URL'];
  const postgres = stores.env['DATABASE_URL'] ?? (await openCluster(place.dataDir, createRandom(1))).url;
  const queue = createWorkQueue({
    backend: redis === undefined ? { kind: 'postgres', url: postgres } : { kind: 'redis', url: redis },
    logger: silent,
  });
  const fromMs = performance.now();
  let queued = 0;
  for (let at = 0; at < jobs; at += BATCH) {
    const items = Array.from({ length: Math.min(BATCH, jobs - at) }, (_, i) => ({
      kind: 'evaluate' as const,
      key: `ev_filler${at + i}/1`,
      runId: 'filler',
      notBeforeMs: 0,
      ids: { evaluationId: `ev_filler${at + i}`, attempt: 1 },
    }));
    queued += (await queue.enqueue(items)).queued;
  }
  const ms = performance.now() - fromMs;
  return {
    queued,
    ms,
    async waiting() {
      const depths = await queue.depths();
      await queue.close();
      return depths.find(({ kind, state }) => kind === 'evaluate' && state === 'waiting')?.jobs ?? 0;
    },
  };
}

/** Press to delivery, one after another. */
async function pressed({ api, outside, journal }: Scene, name: string): Promise<number[]> {
  const tookMs: number[] = [];
  for (let i = 1; i <= halts; i += 1) {
    // The receiver takes what comes from walks at once.
    const runId = `walk-${name}-${i}`;
    const targets = [{ kind: 'webhook', url: `${outside.url}/halt` }];
    await api.persist({ path: '/v1/runs', body: { runId, targets }, as: 'trainer' });
    journal.registered.add(runId);
    const fromMs = performance.now();
    const answer = await api.persist({
      path: `/v1/runs/${runId}/halt`,
      body: { reason: `${name} ${i}` },
      as: 'board',
    });
    const haltId = Halts.parse(answer?.body).halts[0]?.haltId;
    let received = outside.halts.find((each) => each.haltId === haltId);
    while (received === undefined) {
      await delay(2);
      received = outside.halts.find((each) => each.haltId === haltId);
    }
    tookMs.push(received.atMs - fromMs);
  }
  return tookMs;
}
