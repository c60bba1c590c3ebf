/**
 * The smoke campaign: a loaded service is killed with -9 at seeded moments, again and again, and started again; then
 * it is left alone, everything open must come to an end, and the checks hold the ledger against the world's memory.
 *
 * The seed draws the load, the faults of receivers and evaluators and the moments of the kills. It does not fix the
 * interleaving: two processes, a database and the machine's other work decide that. A failing seed is worth running
 * again and need not fail again; the log and the export of a failed campaign are kept for that reason.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { createRandom, type Random } from '../../simulation/random.ts';
import { check, haltsOf } from './checks.ts';
import { type Evidence, gatherEvidence } from './evidence.ts';
import { alertsArrived, demandProgress, stopped } from './healing.ts';
import { snapshot } from './journal.ts';
import { orphansOf } from './orphans.ts';
import { openScene, type Scene } from './scene.ts';
import type { ServiceProcess } from './service-process.ts';
import type { Grade } from './stores.ts';

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
const WARM_UP_MS = 4_000;
/** Of the kills, so many come before the service is ready. */
const KILLED_STARTING = 0.2;

export async function runCampaign(options: CampaignOptions): Promise<CampaignReport> {
  const scene = await openScene(options);
  let report: CampaignReport | undefined;
  try {
    report = await campaign(scene, options);
    return report;
  } finally {
    const keep = report === undefined || report.kept !== null;
    await scene.close({ keep });
    if (keep) options.say?.(`log and data are kept in ${scene.place.directory}`);
  }
}

async function campaign(
  scene: Scene,
  { seed, kills, grade, say = () => undefined }: CampaignOptions,
): Promise<CampaignReport> {
  const { journal, api, place } = scene;
  const random = createRandom(seed);
  const startedAtMs = performance.now();
  for (let i = 0; i < RUNS_AT_FIRST; i += 1) scene.addRun();
  scene.addPeople();

  // Until the runs have cleared something they are waiting more than they report.
  const first = scene.start();
  api.use(await first.ready);
  await delay(WARM_UP_MS);
  await first.kill9();

  const startsMs: number[] = [];
  for (let i = 1; i <= kills; i += 1) {
    const when = await strike(scene, random, startsMs);
    say(`${grade}: kill ${i} of ${kills}, ${when}; ${journal.checkpoints.length} checkpoints acknowledged`);
    if (i % KILLS_PER_NEW_RUN === 0) scene.addRun();
  }

  const last = scene.start();
  api.use(await last.ready);
  const orphans = await orphansOf(last.pid, place.dataDir);
  journal.violations.push(...orphans.map(({ pid }) => `evaluation process ${pid} outlived its service`));
  const { violations, figures } = await conclude(scene, last);
  return {
    violations,
    figures: {
      kills: kills + 1,
      ...figures,
      startMedianMs: median(startsMs),
      totalMs: Math.round(performance.now() - startedAtMs),
    },
    kept: violations.length === 0 ? null : place.directory,
  };
}

/** Starts the service, waits for the drawn moment, and kills. Says when it was. */
async function strike({ start, api, journal }: Scene, random: Random, startsMs: number[]): Promise<string> {
  const starting = random.chance(KILLED_STARTING);
  const afterMs = starting ? random.between(100, 2_000) : random.between(200, 2_500);
  const startedAtMs = performance.now();
  const service = start();
  const ready = service.ready.then((url) => {
    startsMs.push(performance.now() - startedAtMs);
    api.use(url);
  });
  ready.catch(() => undefined);
  if (!starting) await ready;
  await delay(afterMs);
  if (service.isGone()) journal.violations.push('the service ended by itself');
  await service.kill9();
  return `${Math.round(afterMs)} ms after it was ${starting ? 'started' : 'ready'}`;
}

/** Drains, demands progress, gathers the evidence, checks, and stops the service. */
export async function conclude(
  scene: Scene,
  service: ServiceProcess,
): Promise<Pick<CampaignReport, 'violations' | 'figures'>> {
  const { journal, outside, place, stores, api } = scene;
  const fromMs = performance.now();
  await scene.drain();
  journal.violations.push(...(await demandProgress(scene, service)));
  await outside.settled();
  const healMs = Math.round(performance.now() - fromMs);
  // First what was acknowledged, then the ledger: attempts that nobody waits for any more may report in between.
  const acknowledged = snapshot(journal);
  const evidence = await gatherEvidence(place, stores.env, api);
  // And the other way about for what the ledger owes: an alert of a moment ago is on its way.
  await alertsArrived(evidence.events, outside);
  const seen = { journal: acknowledged, halts: [...outside.halts], alerts: new Set(outside.alerts) };
  await scene.silence();
  const violations = [...(await check(seen, evidence)), ...(await stopped(scene, service))];
  return { violations, figures: { ...figuresOf(scene, evidence), healMs } };
}

function figuresOf(
  { journal, outside, trainers }: Scene,
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
