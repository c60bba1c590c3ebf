/**
 * One seed, told as data: what broke, how long it took, what it reached. And where one broke, its shortest story:
 * the same seed with as many kinds of fault left out as the failure does without.
 */
import { FAULTS, type Fault } from './faults.ts';
import { Violation } from './run-checkers.ts';
import type { Signatures } from './signatures.ts';
import { World } from './world.ts';

export interface SeedResult {
  readonly seed: number;
  /** null where every checker was content. */
  readonly failure: { readonly invariant: number | null; readonly message: string } | null;
  readonly reached: Readonly<Record<string, number>>;
  readonly events: number;
  /** Of this process, on all its threads: what a seed costs, however busy the machine is. */
  readonly cpuMs: number;
}

interface Options {
  readonly signatures: Signatures;
  readonly without?: ReadonlySet<Fault>;
}

/** A rejection that nobody handles would end the real process: it ends the seed. */
export function endOnUnhandled(): void {
  process.on('unhandledRejection', (error) => {
    if (current === null) throw error;
    current.scheduler.fail(error);
  });
}

let current: World | null = null;

async function failureOf(world: World): Promise<SeedResult['failure']> {
  current = world;
  try {
    await world.simulate();
    return null;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (error instanceof Violation) return { invariant: error.invariant, message };
    const where = error instanceof Error ? (error.stack ?? '').split('\n').slice(1, 4).join(' ') : '';
    return { invariant: null, message: `${message}${where}` };
  } finally {
    world.ended = true;
    current = null;
  }
}

export async function runSeed(seed: number, options: Options): Promise<SeedResult> {
  const before = process.cpuUsage();
  const world = new World(seed, options);
  const failure = await failureOf(world);
  const { user, system } = process.cpuUsage(before);
  const reached: Record<string, number> = {};
  const add = (name: string, count: number): void => {
    if (count > 0) reached[name] = (reached[name] ?? 0) + count;
  };
  for (const [fault, count] of world.faults.counts) add(`fault: ${fault}`, count);
  for (const [kind, count] of world.seen.counts) add(kind, count);
  add('version conflicts', world.store.conflicts);
  add('repeated messages recognised', world.store.receiptHits);
  return { seed, failure, reached, events: world.store.events.length, cpuMs: (user + system) / 1000 };
}

export interface Story {
  readonly without: readonly Fault[];
  readonly lines: readonly string[];
  readonly failure: SeedResult['failure'];
}

/** The same invariant must break, or it is another failure. */
export async function shortestStory(seed: number, { signatures }: Options): Promise<Story> {
  const whole = await told(seed, new Set(), signatures);
  const without = new Set<Fault>();
  for (const fault of FAULTS) {
    const tried = await told(seed, new Set([...without, fault]), signatures);
    if (tried.failure !== null && tried.failure.invariant === whole.failure?.invariant) without.add(fault);
  }
  const short = await told(seed, without, signatures);
  return { without: [...without], ...short };
}

async function told(seed: number, without: ReadonlySet<Fault>, signatures: Signatures) {
  const world = new World(seed, { signatures, without, tells: true });
  const failure = await failureOf(world);
  return { failure, lines: world.story };
}
