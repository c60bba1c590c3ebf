/**
 * From evidence to the halt on the wire: a tripping result is posted to a real service, and the clock stops when
 * the halt webhook arrives at a receiver in this process.
 *
 * The baseline in the same run is the least that could do it: one durable insert into the same PostgreSQL and one
 * bare HTTP POST to the same receiver. Only the ratio means anything; the machine and its neighbours change both.
 *
 *   npx tsx bench/time-to-trip.ts [runs]
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { alertChannelConfigSchema } from '../src/alerts/registry.ts';
import { initDirectory } from '../src/config/init.ts';
import { loadConfiguration } from '../src/config/load.ts';
import { openDatabase } from '../src/database/open-database.ts';
import { startInterlock } from '../src/main.ts';
import { createKeyringFile } from '../src/signing/keyring.ts';

const runs = Number(process.argv[2] ?? 60);
const directory = await mkdtemp(join(tmpdir(), 'interlock-bench-'));
const policy = 'preparedness-beta';
const text = await readFile(new URL(`../config/policies/${policy}.yaml`, import.meta.url), 'utf8');
const { configFile, tokens } = await initDirectory(join(directory, 'interlock'), {
  createKeyringFile,
  policies: [{ name: policy, text }],
});
const env = { ...process.env, DATABASE_URL: undefined, REDIS_URL: undefined };
const config = await loadConfiguration(configFile, { env, alertSchema: alertChannelConfigSchema });
const interlock = await startInterlock(config, { env, port: 0, logger: pino({ level: 'silent' }) });

const arrivals = new Map<string, (atMs: number) => void>();
const receiver = createServer((request, response) => {
  arrivals.get(request.url ?? '')?.(performance.now());
  request.resume();
  response.end('{}');
});
await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
const address = receiver.address();
if (address === null || typeof address === 'string') throw new TypeError('no port');
const target = `http://127.0.0.1:${address.port}`;

const arrival = (path: string): Promise<number> => new Promise((resolve) => arrivals.set(path, resolve));

async function post(path: string, identity: string, body: object): Promise<unknown> {
  const response = await fetch(interlock.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${tokens[identity] ?? ''}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path}: HTTP ${response.status} ${await response.text()}`);
  return response.json();
}

async function trip(i: number): Promise<number> {
  const runId = `bench-${i}`;
  await post('/v1/runs', 'trainer', { runId, targets: [{ kind: 'webhook', url: `${target}/${runId}` }] });
  const reported = await post('/v1/checkpoints', 'trainer', {
    runId,
    checkpointId: 'c1',
    effectiveCompute: '1e21',
    modelUri: 's3://bench/c1',
  });
  const [first] = (reported as { evaluations: { evaluationId: string }[] }).evaluations;
  const arrived = arrival(`/${runId}`);
  const startedMs = performance.now();
  await post(`/v1/evaluations/${first?.evaluationId}/result?attempt=1`, 'evaluator', {
    status: 'success',
    score: 0.6,
    n: 300,
  });
  return (await arrived) - startedMs;
}

const database = await openDatabase({
  dataDir: config.dataDir,
  logger: { info: () => {}, warn: () => {}, error: () => {} },
});
await database.pool.query('CREATE TABLE IF NOT EXISTS bench_baseline (body text)');

async function baseline(i: number): Promise<number> {
  const arrived = arrival(`/baseline-${i}`);
  const startedMs = performance.now();
  await database.pool.query('INSERT INTO bench_baseline VALUES ($1)', ['x'.repeat(2_000)]);
  await fetch(`${target}/baseline-${i}`, { method: 'POST', body: '{}' });
  return (await arrived) - startedMs;
}

const spread = (values: readonly number[]): { p50: number; p99: number } => {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (q: number): number => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0;
  return { p50: at(0.5), p99: at(0.99) };
};

// Turn about, so that a busy neighbour slows both.
const trips: number[] = [];
const bare: number[] = [];
for (let i = 0; i < runs + 5; i += 1) {
  const tripMs = await trip(i);
  const bareMs = await baseline(i);
  if (i < 5) continue; // warming up
  trips.push(tripMs);
  bare.push(bareMs);
}
const measured = spread(trips);
const least = spread(bare);
console.log(`time to trip, ${runs} runs: result posted -> halt webhook received`);
console.log(`  interlock      p50 ${measured.p50.toFixed(1)} ms   p99 ${measured.p99.toFixed(1)} ms`);
console.log(
  `  bare baseline  p50 ${least.p50.toFixed(1)} ms   p99 ${least.p99.toFixed(1)} ms   (one durable insert + one POST)`,
);
console.log(
  `  ratio          p50 ${(measured.p50 / least.p50).toFixed(1)}x   p99 ${(measured.p99 / least.p99).toFixed(1)}x`,
);

await database.close();
await interlock.close();
receiver.close();
receiver.closeAllConnections();
await rm(directory, { recursive: true, force: true });
