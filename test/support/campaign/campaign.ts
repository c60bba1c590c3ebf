/**
 * The smoke campaign: a loaded service is killed with -9 at seeded moments, again and again, and started again; then
 * it is left alone, everything open must come to an end, and the checks hold the ledger against the world's memory.
 *
 * The seed draws the load, the faults of receivers and evaluators and the moments of the kills. It does not fix the
 * interleaving: two processes, a database and the machine's other work decide that. A failing seed is worth running
 * again and need not fail again; the log and the export of a failed campaign are kept for that reason.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { createRandom, type Random } from '../../simulation/random.ts';
import { running } from '../data-directories.ts';
import { type Api, createApi } from './api.ts';
import { check, haltsOf } from './checks.ts';
import { type Evidence, gatherEvidence } from './evidence.ts';
import { createJournal, type Journal } from './journal.ts';
import { evaluationProcesses, orphansOf } from './orphans.ts';
import { type Outside, openOutside } from './outside.ts';
import { govern } from './people.ts';
import { type ServiceProcess, startService } from './service-process.ts';
import { type Grade, openStores, type Stores } from './stores.ts';
import { startTrainer, type Trainer } from './trainer.ts';
import { makeWorkplace, type Workplace } from './workplace.ts';

export interface CampaignOptions {
  /** The command of an installation (installation.ts). */
  readonly bin: string;
  readonly grade: Grade;
  readonly seed: number;
  readonly kills: number;
  readonly say?: (line: string) => void;
}

export interface CampaignReport {
  readonly violations: readonly string[];
  readonly figures: Readonly<Record<string, number | string>>;
  /** Where the log and the export are, if something was wrong. */
  readonly kept: string | null;
}

const RUNS_AT_FIRST = 6;
const KILLS_PER_NEW_RUN = 4;
/** Of the kills, so many come before the service is ready. */
const KILLED_STARTING = 0.2;
const HEALED_WITHIN_MS = 90_000;
const LOOK_AGAIN_MS = 250;
const GONE_WITHIN_MS = 10_000;

export async function runCampaign(options: CampaignOptions): Promise<CampaignReport> {
  const { grade, seed, say = () => undefined } = options;
  const outside = await openOutside(createRandom(seed + 1));
  const stores = await openStores(grade);
  const place = await makeWorkplace(outside.url, options.bin);
  const over = new AbortController();
  const journal = createJournal();
  const api = createApi(place, journal, over.signal);
  outside.open({ place, api, journal });
  const world: World = { options, outside, stores, place, journal, api, over, say, trainers: [] };
  let report: CampaignReport | undefined;
  try {
    report = await campaign(world);
    return report;
  } finally {
    over.abort();
    for (const { process } of world.trainers) process?.kill('SIGKILL');
    await outside.close();
    await stores.close();
    if (report !== undefined && report.kept === null) await place.remove();
    else say(`log and data are kept in ${place.directory}`);
  }
}

interface World {
  readonly options: CampaignOptions;
  readonly outside: Outside;
  readonly stores: Stores;
  readonly place: Workplace;
  readonly journal: Journal;
  readonly api: Api;
  readonly over: AbortController;
  readonly say: (line: string) => void;
  readonly trainers: Trainer[];
}

async function campaign(world: World): Promise<CampaignReport> {
  const { options, outside, place, stores, journal, api, over, say, trainers } = world;
  const { grade, seed, kills } = options;
  const draining = new AbortController();
  const random = createRandom(seed);
  const startedAtMs = performance.now();
  const start = () =>
    startService({
      bin: place.bin,
      configFile: place.configFile,
      logFile: place.logFile,
      env: { ...place.env, ...stores.env },
    });

  const addRun = () => {
    const runId = `run-${trainers.length + 1}`;
    const own = createRandom(seed * 1_000 + trainers.length);
    const haltUrl = `${outside.url}/halt`;
    trainers.push(
      startTrainer({
        runId,
        random: own,
        api,
        journal,
        haltUrl,
        haltsReceived: () => outside.halts,
        draining: draining.signal,
        over: over.signal,
      }),
    );
  };
  for (let i = 0; i < RUNS_AT_FIRST; i += 1) addRun();
  const people = govern({
    random: createRandom(seed + 2),
    api,
    journal,
    runIds: () => trainers.map(({ runId }) => runId),
    draining: draining.signal,
  });

  const startsMs: number[] = [];
  for (let i = 1; i <= kills; i += 1) {
    const service = start();
    const when = await strike(service, api, journal, random, startsMs);
    say(`${grade}: kill ${i} of ${kills}, ${when}; ${journal.checkpoints.length} checkpoints acknowledged`);
    if (i % KILLS_PER_NEW_RUN === 0) addRun();
  }

  const last = start();
  try {
    api.use(await last.ready);
    const orphans = await orphansOf(last.pid, place.dataDir);
    journal.violations.push(...orphans.map(({ pid }) => `evaluation process ${pid} outlived its service`));
    draining.abort();
    await people;
    const healedAtMs = performance.now();
    journal.violations.push(...(await demandProgress(world, last)));
    await outside.settled();
    const healMs = performance.now() - healedAtMs;
    say(`${grade}: healed in ${Math.round(healMs)} ms; checking`);
    const evidence = await gatherEvidence(place, stores.env, api);
    over.abort();
    await Promise.all(trainers.map(({ done }) => done));
    const { halts, alerts } = outside;
    const violations = [
      ...(await check({ journal, halts, alerts }, evidence)),
      ...(await stopped(world, last)),
    ];
    const figures = {
      kills,
      ...figuresOf(world, evidence),
      startMedianMs: median(startsMs),
      healMs: Math.round(healMs),
      totalMs: Math.round(performance.now() - startedAtMs),
    };
    return { violations, figures, kept: violations.length === 0 ? null : place.directory };
  } finally {
    await last.kill9();
  }
}

/** Waits for the drawn moment, and kills. Says when it was. */
async function strike(
  service: ServiceProcess,
  api: Api,
  journal: Journal,
  random: Random,
  startsMs: number[],
): Promise<string> {
  const startedAtMs = performance.now();
  const starting = random.chance(KILLED_STARTING);
  const afterMs = starting ? random.between(100, 2_000) : random.between(200, 2_500);
  const ready = service.ready.then((url) => {
    startsMs.push(performance.now() - startedAtMs);
    api.use(url);
  });
  ready.catch(() => undefined);
  if (!starting) {
    await ready;
    await delay(afterMs);
  } else await Promise.race([ready, delay(afterMs)]);
  if (service.isGone()) journal.violations.push('the service ended by itself');
  await service.kill9();
  const isReady = startsMs.length > 0 && starting === false;
  return isReady
    ? `${Math.round(afterMs)} ms after it was ready`
    : `while it started (${Math.round(afterMs)} ms)`;
}

const CheckpointsSchema = z.object({
  items: z.array(
    z.object({
      checkpointId: z.string(),
      disposition: z.enum(['evaluate', 'recorded']),
      verdict: z.string().nullable(),
      evaluations: z.array(z.object({ evaluationId: z.string(), status: z.string() })),
    }),
  ),
});
const RunSchema = z.object({
  status: z.enum(['training', 'on-hold', 'halted', 'finished']),
  openHalt: z.object({ haltId: z.string(), confirmedAt: z.string().nullable() }).nullable(),
});

const CONCLUDED = ['completed', 'inconclusive', 'cancelled', 'archived'];

/** With nothing in its way any more, everything that is open must come to an end. What does not is told. */
async function demandProgress(world: World, service: ServiceProcess): Promise<string[]> {
  const until = performance.now() + HEALED_WITHIN_MS;
  for (;;) {
    const open = await stillOpen(world);
    if (open.length === 0) return [];
    if (service.isGone()) return ['the service ended by itself'];
    if (performance.now() > until)
      return open.map((what) => `still open after ${HEALED_WITHIN_MS} ms: ${what}`);
    await delay(LOOK_AGAIN_MS);
  }
}

async function stillOpen({ api, journal, trainers }: World): Promise<string[]> {
  const open: string[] = [];
  for (const { runId, process } of trainers) {
    if (!journal.registered.has(runId)) {
      open.push(`${runId} is not registered`);
      continue;
    }
    const run = await api.persist({ path: `/v1/runs/${runId}`, as: 'auditor' });
    const list = await api.persist({ path: `/v1/runs/${runId}/checkpoints?limit=200`, as: 'auditor' });
    const { status, openHalt } = RunSchema.parse(run?.body);
    for (const { checkpointId, disposition, verdict, evaluations } of CheckpointsSchema.parse(list?.body)
      .items) {
      if (disposition === 'recorded') continue;
      for (const { evaluationId, status: state } of evaluations) {
        if (!CONCLUDED.includes(state)) open.push(`${runId} ${checkpointId} ${evaluationId} is ${state}`);
      }
      if (verdict === null && status !== 'halted') open.push(`${runId} ${checkpointId} has no verdict`);
    }
    if (openHalt === null) continue;
    if (openHalt.confirmedAt === null) open.push(`the stop of ${runId} is not confirmed`);
    if (process !== null && process.exitCode === null && process.signalCode === null) {
      open.push(`the process of ${runId} lives`);
    }
  }
  return open;
}

/** It stops when asked, and with it its evaluations and, as its last user, the embedded PostgreSQL. */
async function stopped({ options: { grade }, place }: World, service: ServiceProcess): Promise<string[]> {
  const violations: string[] = [];
  const code = await service.stop();
  if (code !== 0) violations.push(`asked to stop, the service ended with ${code}`);
  for (const { pid } of await evaluationProcesses(place.dataDir)) {
    violations.push(`evaluation process ${pid} outlived the last service`);
  }
  if (grade !== 'embedded') return violations;
  const until = performance.now() + GONE_WITHIN_MS;
  while ((await running(place.dataDir)).length > 0) {
    if (performance.now() > until)
      return [...violations, 'the embedded PostgreSQL did not stop with its last user'];
    await delay(LOOK_AGAIN_MS);
  }
  return violations;
}

function figuresOf(
  { journal, outside, trainers }: World,
  { events }: Evidence,
): Record<string, number | string> {
  const count = (kind: string) => events.filter((event) => event.kind === kind).length;
  const latenciesMs = haltsOf(events).flatMap(({ haltId, recordedAt }) => {
    const first = outside.halts.find((each) => each.haltId === haltId);
    return first === undefined ? [] : [first.at - Date.parse(recordedAt)];
  });
  return {
    runs: trainers.length,
    events: events.length,
    checkpointsAcknowledged: journal.checkpoints.length,
    checkpointsEvaluated: count('CheckpointAssessed'),
    evaluationsStarted: count('EvaluationStarted'),
    evaluationsReported: count('EvaluationReported'),
    evaluationsReturned: count('EvaluationReturned'),
    attemptsFailed: count('EvaluationAttemptFailed'),
    resultsByCallback: journal.results.length,
    haltsOrdered: count('HaltOrdered'),
    haltsDelivered: outside.halts.length,
    orderToDeliveredMedianMs: median(latenciesMs),
    orderToDeliveredMaxMs: Math.max(0, ...latenciesMs),
    redButtons: journal.presses.length,
    signOffs: journal.signOffs.length,
    resumes: count('RunResumed'),
    holds: count('HoldPlaced'),
    permits: journal.permits.length,
    answers: [...journal.answers]
      .sort(([a], [b]) => a.localeCompare(b))
      .map(([status, n]) => `${status}: ${n}`)
      .join(', '),
  };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return Math.round(sorted[Math.floor(sorted.length / 2)] ?? 0);
}
