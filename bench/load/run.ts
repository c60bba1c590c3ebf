/**
 * `npm run load`: a real service under the load it is made for, and under clients that it is not made for.
 *
 *   npm run load -- [--runs 1000] [--heartbeats 200] [--minutes 2] [--idle 2000] [--grade embedded|server|distributed]
 *                   [--json FILE] [--markdown FILE] [--profile DIR]
 *
 * The figures to publish: --runs 10000 --heartbeats 1000 --minutes 10 --idle 10000. Heartbeats ask for permits all
 * the time, and a red button is pressed every few seconds throughout. A warm-up round brings a burst of checkpoints
 * that are due, idle sockets, slow clients and an overload, one after the other; then `minutes` begin, in which all but
 * the burst come once more. Memory is sampled in those, and nothing is forced on it: what has to be kept for open
 * checkpoints is there by then, and whatever still grows is a leak.
 * Ends 1 when a promise broke, 2 on a wrong option. Latencies are told and not judged: they are the machine's too.
 */
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import type { Outcome } from '../generator.ts';
import { startReceiver } from '../receiver.ts';
import { checkpointBody, registerRuns } from '../registering.ts';
import { openStand } from '../stand.ts';
import { quantile } from '../statistics.ts';
import { type Fate, FateSchema, type Order } from './crowd.ts';
import { kindVerdict, type MemorySample, memoryVerdict, type Verdict } from './promises.ts';

const WholeNumber = z.coerce.number().int().min(1);
const Options = z.strictObject({
  runs: WholeNumber.default(1_000),
  heartbeats: WholeNumber.default(200),
  minutes: z.coerce.number().min(0.2).default(2),
  idle: WholeNumber.default(2_000),
  checkpoints: WholeNumber.default(1_000),
  grade: z.enum(['embedded', 'server', 'distributed']).optional(),
  json: z.string().optional(),
  markdown: z.string().optional(),
  profile: z.string().optional(),
});

const SLICE_S = 10;
/** Before each trouble of the warm-up, so that heartbeats have caught up with the one before. */
const SHORT_QUIET_MS = 10_000;
/** What idle sockets, slow clients and an overload take in all. */
const TROUBLES_MS = 75_000;
const PRESS_EACH_MS = 2_000;
const SLOW_CLIENTS = 50;
/** Past the time in which a request has to arrive, and the look for those over it. */
const SLOW_HOLD_MS = 16_000;
const OVERLOAD_SENDERS = 1_000;
const OVERLOAD_ROUNDS = 3;

function options(): z.output<typeof Options> {
  try {
    const names = Object.keys(Options.shape);
    const { values } = parseArgs({
      options: Object.fromEntries(names.map((name) => [name, { type: 'string' as const }])),
    });
    return Options.parse(values);
  } catch (error) {
    console.error(error instanceof z.ZodError ? z.prettifyError(error) : error);
    process.exit(2);
  }
}

const chosen = options();
const stand = openStand();
const { service, receiver, generators } = await prepare();
const started = performance.now();
const minutesIn = (): number => (performance.now() - started) / 60_000;
/** Known when the warm-up is over. */
let endMs = Number.POSITIVE_INFINITY;

const beats: Outcome[] = [];
const presses: { phase: string; ms: number }[] = [];
const missed: string[] = [];
const memory: MemorySample[] = [];
const verdicts: Verdict[] = [];
let phase = 'heartbeats';
let overloads = 0;

try {
  await Promise.all([heartbeats(), pressing(), warmUpAndMeasure()]);
  verdicts.push(...judged());
} finally {
  await receiver.close();
  await stand.close();
}
await told();
process.exit(verdicts.some(({ kept }) => kept === false) ? 1 : 0);

async function prepare() {
  if (stand.facts.missing !== null) console.log(`missing: ${stand.facts.missing}`);
  const grade = chosen.grade === undefined ? {} : { grade: chosen.grade };
  const begun = await stand.service({ ...grade, profileTo: chosen.profile });
  const list = await Promise.all([stand.generator(), stand.generator()]);
  const perSecond = await registerRuns(list[0], begun, { runs: chosen.runs, prefix: 'load-' });
  console.log(`${chosen.runs} runs registered, ${perSecond.toFixed(0)}/s`);
  return { service: begun, receiver: await startReceiver(), generators: list };
}

/** Ten seconds at a time, each heartbeat at its own moment. */
async function heartbeats(): Promise<void> {
  const body = JSON.stringify({ effectiveCompute: '1e21', step: 1, nonce: 'n-{n}' });
  for (let slice = 0; performance.now() < endMs - 1_000; slice += 1) {
    const outcome = await generators[0].run({
      port: service.port,
      connections: Math.min(200, chosen.heartbeats),
      requests: chosen.heartbeats * SLICE_S,
      rate: chosen.heartbeats,
      from: slice * chosen.heartbeats * SLICE_S,
      runs: chosen.runs,
      path: '/v1/runs/load-{run}/heartbeat',
      body,
      token: service.tokens['trainer'] ?? '',
      holds: '"permit":"ey',
    });
    beats.push(outcome);
    const rss = ((await service.rss()) / 2 ** 20).toFixed(0);
    console.log(
      `${minutesIn().toFixed(1).padStart(5)} min  ${phase.padEnd(14)} ${outcome.perSecond.toFixed(0)} heartbeats/s, p50 ${outcome.p50Ms.toFixed(1)} ms, p99 ${outcome.p99Ms.toFixed(1)} ms, ${JSON.stringify(outcome.statuses)}; last halt ${presses.at(-1)?.ms.toFixed(1) ?? '-'} ms; ${rss} MiB`,
    );
  }
}

/** A red button every few seconds, from the press to the receipt, whatever else is going on. */
async function pressing(): Promise<void> {
  for (let i = 0; performance.now() < endMs - PRESS_EACH_MS; i += 1) {
    const runId = `press-${i}`;
    const before = phase;
    try {
      const targets = [{ kind: 'webhook', url: `${receiver.url}/${runId}` }];
      await untilTaken(() => service.post('/v1/runs', 'operator', { runId, targets }));
      const arrived = receiver.arrival(`/${runId}`);
      const pressedMs = performance.now();
      await service.post(`/v1/runs/${runId}/halt`, 'leadership', { reason: 'load' });
      const atMs = await within(arrived, 30_000);
      presses.push({ phase: before === phase ? phase : `${before}/${phase}`, ms: atMs - pressedMs });
    } catch (error) {
      missed.push(`${before}: ${error instanceof Error ? error.message : String(error)}`);
    }
    await delay(PRESS_EACH_MS);
  }
}

/** Registering is intake and may be told to come again; pressing may not. */
async function untilTaken(send: () => Promise<unknown>): Promise<void> {
  for (;;) {
    try {
      await send();
      return;
    } catch (error) {
      if (!(error instanceof Error && /HTTP (503|429)/.test(error.message)) || performance.now() > endMs)
        throw error;
      await delay(300);
    }
  }
}

async function within<T>(work: Promise<T>, ms: number): Promise<T> {
  const late = delay(ms, undefined, { ref: false }).then(() => {
    throw new Error(`not within ${ms} ms`);
  });
  return Promise.race([work, late]);
}

async function warmUpAndMeasure(): Promise<void> {
  await oneAfterTheOther([burst, idlers, slowClients, overload], SHORT_QUIET_MS);
  const measuredMs = chosen.minutes * 60_000;
  endMs = performance.now() + measuredMs;
  const repeated = [idlers, slowClients, overload] as const;
  await Promise.all([
    sampling(),
    oneAfterTheOther(repeated, Math.max(0, (measuredMs - TROUBLES_MS) / (repeated.length + 1))),
  ]);
}

async function sampling(): Promise<void> {
  console.log(`${minutesIn().toFixed(1).padStart(5)} min  warm; memory is measured from here`);
  while (performance.now() < endMs) {
    await delay(Math.min(5_000, Math.max(1, endMs - performance.now())));
    memory.push({ minute: minutesIn(), bytes: await service.rss() });
  }
}

/** A quiet while before each, so that each shows alone. */
async function oneAfterTheOther(steps: readonly (() => Promise<void>)[], quietMs: number): Promise<void> {
  for (const step of steps) {
    await delay(quietMs);
    await step();
    phase = 'heartbeats';
  }
}

async function burst(): Promise<void> {
  phase = 'burst';
  const outcome = await generators[1].run({
    port: service.port,
    connections: chosen.checkpoints,
    requests: chosen.checkpoints,
    runs: Math.min(chosen.runs, chosen.checkpoints),
    path: '/v1/checkpoints',
    body: checkpointBody('load-{run}', '1e21'),
    secret: service.secret,
    resend: true,
  });
  const accepted = (outcome.statuses['202'] ?? 0) + (outcome.statuses['200'] ?? 0);
  verdicts.push(kindVerdict(`${chosen.checkpoints} checkpoints at once`, [outcome]), {
    promise: `all of ${chosen.checkpoints} checkpoints at once are taken, refused ones when they come again`,
    seen: `${accepted} taken in ${outcome.seconds.toFixed(1)} s`,
    kept: accepted === chosen.checkpoints,
  });
}

async function idlers(): Promise<void> {
  phase = 'idle sockets';
  const { opened, closedByServer } = await crowd({ kind: 'idle', count: chosen.idle, holdMs: 20_000 });
  verdicts.push({
    promise: `${chosen.idle} idle sockets: every one is closed by the service within 20 s${whileWarming()}`,
    seen: `${opened} opened, ${closedByServer} closed`,
    kept: opened > 0 && closedByServer === opened,
  });
}

async function slowClients(): Promise<void> {
  phase = 'slow clients';
  const kinds = ['slow-headers', 'slow-body', 'slow-stream-reader', 'slow-list-reader'] as const;
  const fates = await Promise.all(
    kinds.map((kind) => crowd({ kind, count: SLOW_CLIENTS, holdMs: SLOW_HOLD_MS })),
  );
  for (const [i, kind] of kinds.entries()) {
    const { opened = 0, closedByServer = 0 } = fates[i] ?? {};
    // A slow reader holds what it has been given and nothing more; a slow sender is cut off.
    const isSender = kind === 'slow-headers' || kind === 'slow-body';
    verdicts.push({
      promise: `${kind}: ${isSender ? 'closed by the service within 16 s' : 'disturbs nobody'}${whileWarming()}`,
      seen: `${closedByServer} of ${opened} closed`,
      kept: isSender ? opened > 0 && closedByServer === opened : true,
    });
  }
}

async function overload(): Promise<void> {
  phase = 'overload';
  const outcomes: Outcome[] = [];
  for (let round = 0; round < OVERLOAD_ROUNDS; round += 1) {
    outcomes.push(
      await generators[1].run({
        port: service.port,
        connections: OVERLOAD_SENDERS,
        requests: OVERLOAD_SENDERS * 4,
        from: 1_000_000 * (overloads * OVERLOAD_ROUNDS + round + 1),
        // Of runs whose first checkpoint is open: what is sent here lies below it, and is recorded.
        runs: Math.min(chosen.runs, chosen.checkpoints),
        path: '/v1/checkpoints',
        body: checkpointBody('load-{run}', '1e20'),
        secret: service.secret,
      }),
    );
  }
  overloads += 1;
  verdicts.push(kindVerdict(`overload by ${OVERLOAD_SENDERS} senders at once${whileWarming()}`, outcomes));
}

function whileWarming(): string {
  return endMs === Number.POSITIVE_INFINITY ? ', warming up' : '';
}

async function crowd(order: Omit<Order, 'port' | 'token'>): Promise<Fate> {
  const file = fileURLToPath(new URL('crowd.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), file, '--take-orders'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const token = service.tokens['auditor'] ?? '';
  child.stdin.end(`${JSON.stringify({ ...order, port: service.port, token })}\n`);
  for await (const line of createInterface({ input: child.stdout }))
    return FateSchema.parse(JSON.parse(line));
  throw new Error('the crowd went away');
}

function judged(): Verdict[] {
  const asked = chosen.heartbeats;
  const rates = beats.map(({ perSecond }) => perSecond);
  const p99 = quantile(
    beats.map(({ p99Ms }) => p99Ms),
    0.5,
  );
  const slowest = Math.max(...beats.map(({ maxMs }) => maxMs));
  const told = (name: string, of: readonly number[]): string =>
    of.length === 0
      ? `${name} none`
      : `${name} p50 ${quantile(of, 0.5).toFixed(1)} ms, worst ${Math.max(...of).toFixed(1)} ms (${of.length})`;
  const during = (name: string): number[] =>
    presses.filter((each) => each.phase === name).map(({ ms }) => ms);
  const phases = ['heartbeats', 'burst', 'idle sockets', 'slow clients', 'overload'];
  return [
    kindVerdict(`${asked} heartbeats/s over ${chosen.runs} runs, each with a permit`, beats),
    {
      promise: `${asked} heartbeats/s are answered as they come`,
      seen: `median ${quantile(rates, 0.5).toFixed(0)}/s, least ${Math.min(...rates).toFixed(0)}/s; p99 ${p99.toFixed(0)} ms, slowest ${slowest.toFixed(0)} ms`,
      // A slice that has to catch up ends late: by a tenth is still "as they come".
      kept: quantile(rates, 0.5) >= asked * 0.9,
    },
    {
      promise: 'the red button is never refused, whatever else happens',
      seen: `${presses.length} presses arrived, ${missed.length} did not${missed[0] === undefined ? '' : ` (${missed[0]})`}; ${phases.map((name) => told(name, during(name))).join('; ')}`,
      kept: missed.length === 0 && presses.length > 0,
    },
    memoryVerdict(memory),
  ];
}

async function told(): Promise<void> {
  const word = (kept: boolean | null): string => (kept === null ? 'not shown' : kept ? 'kept' : 'BROKEN');
  const rows = verdicts.map(({ promise, seen, kept }) => `| ${promise} | ${seen} | ${word(kept)} |`);
  const facts = `${new Date().toISOString()}, ${stand.facts.grade}, node ${process.version}, ${chosen.minutes} minutes after warm-up, ${chosen.runs} runs, ${chosen.heartbeats} heartbeats/s`;
  const table = [`${facts}.`, '', '| promise | seen | |', '| --- | --- | --- |', ...rows, ''].join('\n');
  console.log(`\n${table}`);
  if (chosen.markdown !== undefined) await writeFile(chosen.markdown, table);
  const details = { facts, verdicts, beats, presses, missed, memory };
  if (chosen.json !== undefined) await writeFile(chosen.json, `${JSON.stringify(details, null, 2)}\n`);
}
