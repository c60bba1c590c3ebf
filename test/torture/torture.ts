/**
 * The torture of one grade: round after round a fault, the healing, the judgement, until the time is up.
 *
 * First every fault and every fault point once, in a drawn order; then draws, for as long as there is time. Kills at
 * points come in chains: the service that died at one point is started again to die at the next, so that recovery
 * itself is interrupted too; after each chain it must heal.
 */
import { setMaxListeners } from 'node:events';
import { availableParallelism } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { FAULT_POINTS, type FaultPoint } from '../../src/fault-points.ts';
import type { Random } from '../simulation/random.ts';
import { haltsOf } from '../support/campaign/checks.ts';
import { demandProgress, stopped } from '../support/campaign/healing.ts';
import { orphansOf } from '../support/campaign/orphans.ts';
import { GRADES, type Grade } from '../support/campaign/stores.ts';
import { reasonOf } from '../support/reason.ts';
import { type Fault, type FaultClass, over } from './fault.ts';
import { FAULTS } from './faults.ts';
import { createJudge, type Findings, type Judge } from './judge.ts';
import { openStage, type Stage } from './stage.ts';
import { walk } from './walk.ts';

export interface Round {
  readonly number: number;
  readonly name: string;
  readonly of: FaultClass;
  /** Kills of Interlock in it. */
  readonly kills: number;
  readonly points: readonly string[];
  readonly healMs: number | null;
  readonly extraDelayMs: number | null;
  readonly found: Findings;
}

export interface GradeReport {
  readonly grade: Grade;
  readonly seed: number;
  readonly rounds: readonly Round[];
  /** Points that were armed and not passed in time. */
  readonly notReached: readonly string[];
  /** Faults for which there was no time, or no means. */
  readonly notVisited: readonly string[];
  readonly figures: Readonly<Record<string, number>>;
  readonly kept: string | null;
}

export interface TortureOptions {
  readonly bin: string;
  readonly grade: Grade;
  readonly seed: number;
  readonly untilMs: number;
  readonly say: (line: string) => void;
  /** Only these, by name: for the suite and for repeating. */
  readonly only?: { readonly faults?: readonly string[]; readonly points?: readonly FaultPoint[] };
}

type Step =
  | { readonly kind: 'points'; readonly points: readonly FaultPoint[]; readonly nthMax: number }
  | { readonly kind: 'fault'; readonly fault: Fault };

/** By the machine, as three grades share it. */
const RUNS = Math.min(5, Math.max(2, Math.ceil(availableParallelism() / 2)));
const WARM_UP_MS = 2_500;
const CHAIN = 4;
const FAULTS_PER_CHAIN = 6;
const NTH_MAX = 3;
const REACHED_WITHIN_MS = 15_000;
/** On a machine that needs long to start a service at all, in proportion. */
const HEALED_WITHIN_MS = 60_000;
const HEALED_WITHIN_STARTS = 30;
const REACHED_WITHIN_STARTS = 4;
const SWEPT_WITHIN_MS = 15_000;
const WALK_PAUSE_MS = 150;
const STARTS_MAX = 5;
/** Replay folds everything again: it may take this share of the time. */
const REPLAY_SHARE = 0.1;

export async function torture(options: TortureOptions): Promise<GradeReport> {
  const stage = await openStage(options);
  let keep = true;
  try {
    const report = await campaign(stage, options);
    keep = report.rounds.some(({ found }) => isBroken(found));
    return { ...report, kept: keep ? stage.scene.place.directory : null };
  } finally {
    await stage.close({ keep });
  }
}

export const isBroken = ({ kept, halts, other }: Findings): boolean =>
  kept.length + halts.length + other.length > 0;

async function campaign(stage: Stage, options: TortureOptions): Promise<GradeReport> {
  const { grade, seed, untilMs, say, only } = options;
  const { scene, random } = stage;
  const startedAtMs = performance.now();
  const judge = createJudge(stage);
  for (let i = 0; i < RUNS; i += 1) scene.addRun();
  scene.addPeople();
  await stage.startService();
  await delay(WARM_UP_MS);
  const walking = walkOn(stage);

  const rounds: Round[] = [];
  const notReached: string[] = [];
  const { steps, impossible } = firstPass(stage, random, only);
  const planned = steps.length;
  let done = 0;
  let replayMs = 0;
  let at = 'the first round';
  try {
    while (performance.now() < untilMs || (only !== undefined && steps.length > 0)) {
      const step = steps.shift() ?? (only === undefined ? draw(stage, random) : undefined);
      if (step === undefined) break;
      done += 1;
      at = nameOf(step);
      const number = rounds.length + 1;
      const begunMs = performance.now();
      const struck =
        step.kind === 'points'
          ? await killAt(stage, step, notReached)
          : await strike(stage, judge, step.fault);
      const healMs = await heal(stage, struck.overAtMs, struck.name);
      const elapsedMs = performance.now() - startedAtMs;
      const replay = replayMs < elapsedMs * REPLAY_SHARE;
      const fromMs = performance.now();
      const found = await judge.judge({ replay });
      if (replay) replayMs += performance.now() - fromMs;
      const tookMs = { round: performance.now() - begunMs, judging: performance.now() - fromMs };
      const round: Round = { number, ...struck, healMs, found };
      rounds.push(round);
      say(line(grade, round, scene.journal.checkpoints.length, tookMs));
      if (number % 4 === 0) scene.addRun();
    }
    at = 'the end';
    const last = await settle(stage, judge, walking, rounds.length + 1);
    rounds.push(last);
    say(line(grade, last, scene.journal.checkpoints.length));
  } catch (error) {
    // What can no longer be judged did not hold; the other grades go on.
    const round = brokenOff(rounds.length + 1, at, [...scene.journal.violations, reasonOf(error)]);
    rounds.push(round);
    say(line(grade, round, scene.journal.checkpoints.length));
  } finally {
    await walking.end();
    await judge.close();
  }
  return {
    grade,
    seed,
    rounds,
    notReached,
    notVisited: [...impossible, ...(done < planned ? steps.map((step) => `${nameOf(step)} (no time)`) : [])],
    figures: figuresOf(stage, judge, rounds),
    kept: null,
  };
}

// --- what is done ------------------------------------------------------------------------------------------

const nameOf = (step: Step): string => (step.kind === 'points' ? step.points.join(', ') : step.fault.name);

/** Points that a service on its own does not pass; `keys.ts` tries them. */
const ELSEWHERE: readonly FaultPoint[] = [
  'keys.written',
  'keys.replaced',
  // test/integration/button-*.test.ts
  'press.written',
  'press.sending',
  'press.entered',
];

function possible(stage: Stage): { faults: Fault[]; impossible: string[] } {
  const mine = FAULTS.filter(({ grades }) => grades.includes(stage.grade));
  return {
    faults: mine.filter(({ needsDisk }) => needsDisk !== true || stage.disk !== null),
    impossible: mine
      .filter(({ needsDisk }) => needsDisk === true && stage.disk === null)
      .map(({ name }) => `${name} (no such disk here)`),
  };
}

const isPoint = (name: string): name is FaultPoint => Object.hasOwn(FAULT_POINTS, name);
const POINTS = Object.keys(FAULT_POINTS)
  .filter(isPoint)
  .filter((name) => !ELSEWHERE.includes(name));

function firstPass(
  stage: Stage,
  random: Random,
  only: TortureOptions['only'],
): { steps: Step[]; impossible: string[] } {
  const { faults, impossible } = possible(stage);
  const points = only === undefined ? dealt(stage.grade, random) : shuffled(only.points ?? [], random);
  const chains: Step[] = [];
  for (let i = 0; i < points.length; i += CHAIN)
    chains.push({ kind: 'points', nthMax: 1, points: points.slice(i, i + CHAIN) });
  const wanted =
    only === undefined ? faults : faults.filter(({ name }) => only.faults?.includes(name) ?? false);
  const others: Step[] = shuffled(wanted, random).map((fault) => ({ kind: 'fault', fault }));
  // Every kind of fault first, with chains in between: whatever the time allows has something of both.
  const steps: Step[] = [];
  while (chains.length + others.length > 0) {
    steps.push(...others.splice(0, FAULTS_PER_CHAIN), ...chains.splice(0, 1));
  }
  return { steps, impossible };
}

/** Each grade begins with points of its own, so that together they come to all of them soon. */
function dealt(grade: Grade, random: Random): FaultPoint[] {
  const hand = GRADES.indexOf(grade);
  const isMine = (_: FaultPoint, i: number): boolean => i % GRADES.length === hand;
  const others = POINTS.filter((point, i) => !isMine(point, i));
  return [...shuffled(POINTS.filter(isMine), random), ...shuffled(others, random)];
}

function draw(stage: Stage, random: Random): Step {
  const { faults } = possible(stage);
  if (random.chance(0.4)) return { kind: 'fault', fault: random.pick(faults) };
  return {
    kind: 'points',
    nthMax: NTH_MAX,
    points: Array.from({ length: CHAIN }, () => random.pick(POINTS)),
  };
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  const left = [...items];
  const drawn: T[] = [];
  while (left.length > 0) drawn.push(...left.splice(random.below(left.length), 1));
  return drawn;
}

type Struck = Pick<Round, 'name' | 'of' | 'kills' | 'points' | 'extraDelayMs'> & { overAtMs: number };

/** A kill at a random moment, then one at each point; the service is left dead. */
async function killAt(
  stage: Stage,
  { points, nthMax }: Extract<Step, { kind: 'points' }>,
  notReached: string[],
): Promise<Struck> {
  const { random } = stage;
  await delay(random.between(50, 600));
  await stage.service().kill9();
  const reached: string[] = [];
  for (const point of points) {
    const nth = 1 + random.below(nthMax);
    const service = stage.launch({ INTERLOCK_FAULT: `${point}:kill:${nth}` });
    const limit = new AbortController();
    const isOver = await Promise.race([
      service.ended.then(() => true),
      delay(Math.max(REACHED_WITHIN_MS, REACHED_WITHIN_STARTS * firstStartMs(stage)), false, {
        signal: limit.signal,
      }).catch(() => true),
    ]);
    limit.abort();
    if (isOver) reached.push(point);
    else notReached.push(point);
    await service.kill9();
  }
  return {
    name: `kill -9 at random, then at ${points.join(', ')}`,
    of: 'kill',
    kills: 1 + points.length,
    points: reached,
    extraDelayMs: null,
    overAtMs: performance.now(),
  };
}

async function strike(stage: Stage, judge: Judge, fault: Fault): Promise<Struck> {
  const { overAtMs, extraDelayMs = null } = await fault.strike(stage, judge).catch((error: unknown) => {
    stage.scene.journal.violations.push(`${fault.name}: could not be gone through with: ${reasonOf(error)}`);
    return over();
  });
  if (fault.kills !== true && stage.service().isGone()) {
    stage.scene.journal.violations.push(`the service ended by itself: ${fault.name}`);
  }
  return {
    name: fault.name,
    of: fault.of,
    kills: fault.kills === true ? 1 : 0,
    points: [],
    extraDelayMs,
    overAtMs,
  };
}

const firstStartMs = ({ startsMs }: Stage): number => startsMs[0] ?? 0;

/** From when nothing is in the way any more until a new run has been taken down the whole main path. */
async function heal(stage: Stage, overAtMs: number, after: string): Promise<number | null> {
  const { journal, place } = stage.scene;
  const limit = new AbortController();
  const withinMs = Math.round(Math.max(HEALED_WITHIN_MS, HEALED_WITHIN_STARTS * firstStartMs(stage)));
  const timer = setTimeout(() => limit.abort(), withinMs);
  try {
    for (let i = 0; stage.service().isGone(); i += 1) {
      await stage.startService().catch(() => undefined);
      if (i === STARTS_MAX) break;
    }
    const walked = await walk(stage.scene, limit.signal);
    if (walked === null) {
      journal.violations.push(`not healed ${withinMs} ms after: ${after}`);
      return null;
    }
    for (const { pid } of await orphansLeft(stage.service().pid, place.dataDir)) {
      journal.violations.push(`evaluation process ${pid} outlived its service, after: ${after}`);
    }
    return Math.round(walked.haltedAtMs - overAtMs);
  } finally {
    clearTimeout(timer);
  }
}

/** At a start they are ended before anything else; beside a service that lives on, within a sweep of its watch. */
async function orphansLeft(servicePid: number, dataDir: string): ReturnType<typeof orphansOf> {
  const limitMs = performance.now() + SWEPT_WITHIN_MS;
  for (;;) {
    const left = await orphansOf(servicePid, dataDir);
    if (left.length === 0 || performance.now() > limitMs) return left;
    await delay(200);
  }
}

/** Somebody is always on the way somewhere, so that every point is passed soon. */
function walkOn({ scene }: Stage): { end(): Promise<void> } {
  const ending = new AbortController();
  setMaxListeners(0, ending.signal);
  const walking = (async () => {
    while (!ending.signal.aborted) {
      await walk(scene, ending.signal);
      await delay(WALK_PAUSE_MS, undefined, { signal: ending.signal }).catch(() => undefined);
    }
  })();
  return {
    async end() {
      ending.abort();
      await walking;
    },
  };
}

/** Nothing in the way any more: what is open comes to an end, everything is delivered, the service stops cleanly. */
async function settle(
  stage: Stage,
  judge: Judge,
  walking: { end(): Promise<void> },
  number: number,
): Promise<Round> {
  const { scene } = stage;
  const { journal } = scene;
  const fromMs = performance.now();
  await walking.end();
  await scene.drain();
  journal.violations.push(...(await demandProgress(scene, stage.service())));
  await scene.outside.settled();
  const healMs = Math.round(performance.now() - fromMs);
  const found = await judge.judge({ replay: true, settled: true });
  await scene.silence();
  const atEnd = await stopped(scene, stage.service());
  return {
    number,
    name: 'left alone until everything has ended',
    of: 'other',
    kills: 0,
    points: [],
    healMs,
    extraDelayMs: null,
    found: { ...found, other: [...found.other, ...atEnd] },
  };
}

function brokenOff(number: number, at: string, violations: readonly string[]): Round {
  return {
    number,
    name: `broken off at: ${at}`,
    of: 'other',
    kills: 0,
    points: [],
    healMs: null,
    extraDelayMs: null,
    found: { kept: [], halts: [], other: violations },
  };
}

// --- what is told -------------------------------------------------------------------------------------------

function line(
  grade: Grade,
  { number, name, healMs, extraDelayMs, found }: Round,
  acknowledged: number,
  tookMs?: { round: number; judging: number },
): string {
  const healed = healMs === null ? 'NOT HEALED' : `healed after ${healMs} ms`;
  const extra = extraDelayMs === null ? '' : `, forgotten work ${Math.round(extraDelayMs)} ms late`;
  const broken = [...found.kept, ...found.halts, ...found.other]
    .map((text) => `\n    BROKEN ${text}`)
    .join('');
  const seconds = (ms: number): string => `${Math.round(ms / 1_000)} s`;
  const took =
    tookMs === undefined ? '' : `; took ${seconds(tookMs.round)}, ${seconds(tookMs.judging)} of it judging`;
  return `${grade} ${number}: ${name}; ${healed}${extra}; ${acknowledged} checkpoints acknowledged${took}${broken}`;
}

function figuresOf(
  { scene, startsMs }: Stage,
  judge: Judge,
  rounds: readonly Round[],
): Record<string, number> {
  const { journal, outside } = scene;
  const ordered = haltsOf(judge.events());
  const firstReceived = new Map<string, number>();
  for (const { haltId, at } of outside.halts) if (!firstReceived.has(haltId)) firstReceived.set(haltId, at);
  const deliveredMs = ordered.flatMap(({ haltId, recordedAt }) => {
    const at = firstReceived.get(haltId);
    return at === undefined ? [] : [at - Date.parse(recordedAt)];
  });
  return {
    events: judge.events().length,
    checkpointsAcknowledged: journal.checkpoints.length,
    resultsAcknowledged: journal.results.length,
    signOffsAcknowledged: journal.signOffs.length,
    haltsOrdered: ordered.length,
    haltsDelivered: new Set(outside.halts.map(({ haltId }) => haltId)).size,
    permits: journal.permits.length,
    answered503: journal.answers.get('503') ?? 0,
    kills: rounds.reduce((sum, { kills }) => sum + kills, 0),
    startMedianMs: quantile(startsMs, 0.5),
    startMaxMs: quantile(startsMs, 1),
    orderToDeliveredMedianMs: quantile(deliveredMs, 0.5),
    orderToDeliveredMaxMs: quantile(deliveredMs, 1),
  };
}

/** How many of the points that a service passes were passed, and died at, at least once. */
export function pointsOf({ rounds, notReached }: GradeReport): {
  reached: number;
  of: number;
  notReached: readonly string[];
  names: readonly string[];
} {
  const reached = new Set(rounds.flatMap(({ points }) => points));
  return {
    reached: reached.size,
    names: [...reached],
    of: POINTS.length,
    notReached: [...new Set(notReached)].filter((point) => !reached.has(point)),
  };
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0);
}
