/** The guard for training loops: steps, the end of a run, and reports on disk, also of a process that is killed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { CheckpointQueue, queuedMax } from '../../clients/typescript/checkpoint-queue.ts';
import { guardFileName } from '../../clients/typescript/guard-state.ts';
import {
  createInterlockClient,
  EXIT_HALTED,
  EXIT_PAUSED,
  type GuardEvent,
  Halted,
  PauseOutlasted,
  TrainingGuard,
  type TrainingGuardOptions,
} from '../../clients/typescript/index.ts';
import { runId, startInterlock, temporaryDirectory, token } from './client-support.ts';

let directory: ReturnType<typeof temporaryDirectory>;
let interlock: Awaited<ReturnType<typeof startInterlock>>;
let open: TrainingGuard[];
let events: GuardEvent[];
const children: ChildProcess[] = [];

beforeEach(async () => {
  directory = temporaryDirectory();
  interlock = await startInterlock(directory.path);
  open = [];
  events = [];
});
afterEach(async () => {
  await Promise.all(
    children.splice(0).map(async (child) => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
    }),
  );
  await Promise.all(open.map((guard) => guard.permitGuard.close()));
  await interlock.close();
  directory.remove();
});

const client = () =>
  createInterlockClient({
    url: interlock.url,
    token,
    webhookSecret: interlock.webhookSecret,
    wait: () => Promise.resolve(),
  });

async function newGuard(options: Partial<TrainingGuardOptions> = {}): Promise<TrainingGuard> {
  const guard = await TrainingGuard.open({
    client: client(),
    runId,
    stateDirectory: join(directory.path, 'state'),
    heartbeatIntervalMs: 20,
    impatientIntervalMs: 20,
    onEvent: (event) => events.push(event),
    ...options,
  });
  open.push(guard);
  return guard;
}

const report = (checkpointId: string, effectiveCompute: number | string = 10) => ({
  checkpointId,
  effectiveCompute,
  step: 1,
  modelUri: `file:///models/${checkpointId}`,
});
const sentIds = () => interlock.seen.checkpoints.map(({ body }) => body.checkpointId);
const orderHalt = async (guard: TrainingGuard) =>
  guard.permitGuard.receiveOrder(await interlock.signer.halt(), 'webhook');

describe('a training loop', () => {
  it('waits without a permit, says why, and goes on by itself with one', async () => {
    interlock.script.permit = null;
    const reasons: string[] = [];
    const guard = await newGuard({ onPause: (reason) => reasons.push(reason) });
    const step = guard.step('1');
    await vi.waitFor(() => expect(reasons).toEqual(['no permit']));
    interlock.script.permit = {};
    await step;
  });

  it('lets heartbeats through although no step of it ever waits', async () => {
    const guard = await newGuard();
    await guard.step('1');
    const before = interlock.seen.beats.length;
    for (let step = 2; interlock.seen.beats.length < before + 2; step += 1) await guard.step('1', step);
  });

  it('states a step as spent when the next is asked for, and once only', async () => {
    const guard = await newGuard({ start: false });
    const { permitGuard } = guard;
    await permitGuard.beat();
    await guard.step('10', 1);
    await guard.step('10', 1);
    await permitGuard.beat();
    await guard.step('20', 2);
    await permitGuard.beat();
    expect(interlock.seen.beats.map(({ effectiveCompute, step }) => [effectiveCompute, step])).toEqual([
      ['1', undefined],
      ['1', undefined],
      ['10', 1],
    ]);
  });

  it('gives up a pause that outlasts its limit, and gives the permit back', async () => {
    interlock.script.permit = null;
    const guard = await newGuard({ maxPauseMs: 60 });
    await expect(guard.step('1')).rejects.toThrow(PauseOutlasted);
    expect(interlock.seen.beats.at(-1)?.leaving).toBe(true);
  });

  it('knows when a checkpoint is due, and that one was made', async () => {
    const guard = await newGuard();
    await vi.waitFor(() => expect(guard.checkpointDue('2000')).toBe(true));
    expect(guard.checkpointDue('1999.9')).toBe(false);
    guard.checkpoint(report('c1', '2000'));
    expect(guard.checkpointDue('2500')).toBe(false);
  });

  it('makes one anew where Interlock refused the last for good', async () => {
    const guard = await newGuard({ start: false });
    await guard.permitGuard.beat();
    guard.checkpoint(report('c1', '2000'));
    interlock.script.failures = [409];
    await guard.permitGuard.beat();
    expect(guard.checkpointDue('2000')).toBe(true);
  });
});

describe('a halt', () => {
  it('ends the loop: last checkpoint, then what was trained, then the acknowledgement', async () => {
    const hook = vi.fn((_: Halted) => guard.checkpoint(report('last')));
    const guard = await newGuard({ onHalt: hook });
    await guard.step('10', 1);
    await orderHalt(guard);
    const ending = await guard.step('20', 2).catch((error: unknown) => error);
    expect(ending).toBeInstanceOf(Halted);
    expect(ending).toMatchObject({ exitCode: EXIT_HALTED, halt: { haltId: 'halt_a', action: 'halt' } });
    expect(hook).toHaveBeenCalledTimes(1);

    expect(interlock.seen.acks.at(-1)).toEqual({ haltId: 'halt_a', state: 'stopped' });
    const paths = interlock.seen.attempts.map(({ path }) => path);
    expect(paths.lastIndexOf('/v1/checkpoints')).toBeLessThan(
      paths.lastIndexOf(`/v1/runs/${runId}/heartbeat`),
    );
    expect(paths.at(-1)).toBe('/v1/halts/halt_a/ack');
    expect(sentIds()).toEqual(['last']);
    expect(interlock.seen.beats.at(-1)).toMatchObject({ effectiveCompute: '10', step: 1, leaving: true });
  });

  it('wakes a step that waits', async () => {
    interlock.script.permit = null;
    const guard = await newGuard();
    const step = guard.step('1');
    await orderHalt(guard);
    await expect(step).rejects.toThrow(Halted);
  });

  it('gets no step to a loop that catches it and asks again, and saves once', async () => {
    const hook = vi.fn();
    const guard = await newGuard({ onHalt: hook });
    await guard.step('10', 1);
    await orderHalt(guard);
    for (let i = 0; i < 3; i += 1) await expect(guard.step('20', 2)).rejects.toThrow(Halted);
    expect(hook).toHaveBeenCalledTimes(1);
  });

  it('saves nothing where nothing was trained', async () => {
    const hook = vi.fn();
    const guard = await newGuard({ onHalt: hook });
    await orderHalt(guard);
    await expect(guard.step('1')).rejects.toThrow(Halted);
    expect(hook).not.toHaveBeenCalled();
  });

  it('is acknowledged although the hook fails', async () => {
    const guard = await newGuard({ onHalt: () => Promise.reject(new RangeError('disk')) });
    await guard.step('1');
    await orderHalt(guard);
    await expect(guard.step('2')).rejects.toThrow(Halted);
    expect(events).toContainEqual({ kind: 'on-halt-failed', error: 'RangeError' });
    expect(interlock.seen.acks.at(-1)?.state).toBe('stopped');
  });

  it('leaves the end to a loop that has something to do before it', async () => {
    const guard = await newGuard();
    expect(await guard.decide('1')).toBeNull();
    await orderHalt(guard);
    const stop = await guard.decide('2');
    expect(interlock.seen.acks.filter(({ state }) => state === 'stopped')).toEqual([]);
    if (stop === null) throw new Error('it was allowed a step');
    await expect(guard.end(stop)).rejects.toThrow(Halted);
    expect(interlock.seen.acks.at(-1)?.state).toBe('stopped');
  });
});

describe('a queue of reports', () => {
  const queueAt = (name = 'queue') => new CheckpointQueue(join(directory.path, name));

  it('keeps order when the clock is set back', () => {
    const ahead = `${(BigInt(Date.now()) + 10n ** 9n) * 1_000_000n}`.padStart(20, '0');
    const queue = queueAt();
    const name = queue.put(Buffer.from('one'));
    writeFileSync(join(directory.path, 'queue', ahead + name.slice(20)), 'one');
    queue.done(name);
    queue.put(Buffer.from('two'));
    expect(queue.pending().map((each) => queue.read(each)?.toString())).toEqual(['one', 'two']);
  });

  it('sets a damaged report aside', () => {
    const queue = queueAt();
    const name = queue.put(Buffer.from('whole'));
    writeFileSync(join(directory.path, 'queue', name), 'who');
    expect(queue.read(name)).toBeNull();
    expect(queue.pending()).toEqual([]);
    expect(readdirSync(join(directory.path, 'queue', 'rejected'))).toEqual([`damaged-${name}`]);
  });

  it('refuses one beyond its bound to who makes it, and says where to look', () => {
    const queue = queueAt();
    for (let n = 0; n < queuedMax; n += 1) {
      const name = `${String(n).padStart(20, '0')}-${'A'.repeat(43)}.json`;
      writeFileSync(join(directory.path, 'queue', name), '');
    }
    const put = () => queue.put(Buffer.from('one too many'));
    expect(put).toThrow(new RegExp(`${queuedMax} checkpoint reports wait in .*queue`));
    expect(put).toThrow(expect.objectContaining({ code: 'queue-full' }));
    expect(queue.pending()).toHaveLength(queuedMax);
  });

  it('is emptied before a flush returns, and says so where it is not', async () => {
    const guard = await newGuard();
    guard.checkpoint(report('c1'));
    expect(await guard.flush(20_000)).toBe(true);
    expect(sentIds()).toEqual(['c1']);
    interlock.script.away = true;
    guard.checkpoint(report('c2'));
    expect(await guard.flush(100)).toBe(false);
  });
});

interface Child {
  readonly lines: Record<string, unknown>[];
  readonly complaints: () => string;
  readonly ended: Promise<{ code: number | null }>;
  kill(): void;
}

function start(task: object): Child {
  const program = fileURLToPath(new URL('client-child.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', program, JSON.stringify(task)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  const lines: Record<string, unknown>[] = [];
  const complaints: string[] = [];
  createInterface({ input: child.stdout }).on('line', (text) => {
    lines.push(z.record(z.string(), z.unknown()).parse(JSON.parse(text)));
  });
  child.stderr.on('data', (chunk: Buffer) => complaints.push(chunk.toString('utf8')));
  const ended = once(child, 'close').then(() => ({ code: child.exitCode }));
  return { lines, complaints: () => complaints.join(''), ended, kill: () => void child.kill('SIGKILL') };
}

const trainer = (more: object = {}) => ({
  kind: 'train',
  url: interlock.url,
  token,
  webhookSecret: interlock.webhookSecret,
  runId,
  stateDirectory: join(directory.path, 'state'),
  ...more,
});
const within = { timeout: 15_000, interval: 10 };

describe('a process that is killed with -9', () => {
  it('in the middle of writes loses no report that it had called safe, and leaves none in part', async () => {
    const place = join(directory.path, 'queue');
    const safe: string[] = [];
    for (let life = 0; life < 4; life += 1) {
      const cut = life % 2 === 0 ? {} : { halfWritten: 3 + life };
      const child = start({ kind: 'queue', directory: place, life: `life-${life}`, ...cut });
      if (life % 2 === 0) {
        await vi.waitFor(() => expect(child.lines.length).toBeGreaterThan(3 + life), within);
        child.kill();
      }
      expect(await child.ended).toEqual({ code: null });
      safe.push(...child.lines.map((line) => `life-${life} ${String(line['safe'])} `.repeat(2_000)));
    }
    const queue = new CheckpointQueue(place);
    const found = queue.pending().map((name) => queue.read(name)?.toString() ?? 'damaged');
    expect(found).not.toContain('damaged');
    expect(found.filter((body) => safe.includes(body))).toEqual(safe);
    // Whole, and not yet told of.
    expect(found.length).toBeLessThanOrEqual(safe.length + 4);
  }, 60_000);

  it('between a report and its receipt has it delivered by the next process, under the same id', async () => {
    let heard = (): void => undefined;
    const reached = new Promise<void>((resolve) => {
      heard = resolve;
    });
    // Interlock gets the first and the process is killed before it is answered.
    interlock.script.onCheckpoint = () => {
      heard();
      return new Promise<void>(() => undefined);
    };
    const child = start(trainer({ checkpoints: ['c1', 'c2'] }));
    await reached;
    await vi.waitFor(() => expect(child.lines.map(({ safe }) => safe)).toContain('c2'), within);
    child.kill();
    await child.ended;

    interlock.script.onCheckpoint = () => undefined;
    const guard = await newGuard();
    expect(await guard.flush(20_000)).toBe(true);
    expect(sentIds()).toEqual(['c1', 'c1', 'c2']);
    const ids = interlock.seen.checkpoints.map(({ webhookId }) => webhookId);
    expect(ids[0]).toBe(ids[1]);
    expect(ids[2]).not.toBe(ids[0]);
  }, 60_000);
});

describe('the exit code of a process whose loop catches nothing', () => {
  it('is 86 on a halt, which is told without a stack', async () => {
    const child = start(trainer());
    await vi.waitFor(() => expect(child.lines).toHaveLength(1), within);
    interlock.script.directive = { action: 'halt', haltId: 'halt_a', order: await interlock.signer.halt() };
    expect(await child.ended, child.complaints()).toEqual({ code: EXIT_HALTED });
    expect(child.complaints()).toContain('Halted: halt halt_a ended the training');
    expect(child.complaints()).not.toMatch(/^ {4}at .*training-guard/m);
    expect(interlock.seen.acks.at(-1)?.state).toBe('stopped');
  }, 60_000);

  it('is 86 also where the last checkpoint hangs, and then nothing is said to have stopped', async () => {
    const child = start(trainer({ hook: 'hangs' }));
    await vi.waitFor(() => expect(child.lines).toHaveLength(1), within);
    interlock.script.directive = { action: 'halt', haltId: 'halt_a', order: await interlock.signer.halt() };
    expect(await child.ended, child.complaints()).toEqual({ code: EXIT_HALTED });
    expect(interlock.seen.acks.map(({ state }) => state)).toEqual(['received']);
  }, 60_000);

  it('is 75 where no permit came for as long as it was ready to wait', async () => {
    interlock.script.permit = null;
    const child = start(trainer({ maxPauseMs: 100 }));
    expect(await child.ended, child.complaints()).toEqual({ code: EXIT_PAUSED });
  }, 60_000);
});

describe('state on disk', () => {
  it('is named as the Python client names it', async () => {
    const guard = await newGuard();
    await guard.close();
    expect(readdirSync(join(directory.path, 'state')).sort()).toEqual([
      `${guardFileName(runId)}.json`,
      `${guardFileName(runId)}.queue`,
    ]);
  });
});

describe('whether a checkpoint may be deleted', () => {
  const until = '2027-01-31T00:00:00.000Z';

  it('is no before Interlock has answered, and while it asks to keep it', async () => {
    interlock.script.kept = { retain: ['c1'], retainUntil: { c1: until } };
    interlock.script.failures.push(503, 503, 503);
    const guard = await newGuard();
    expect(guard.canDelete('c9')).toBe(false);
    await vi.waitFor(() => expect(guard.canDelete('c9')).toBe(true));
    expect(guard.canDelete('c1')).toBe(false);
    expect(guard.retainUntil).toEqual({ c1: until });
  });

  it('is no for one that was reported here until a heartbeat after its delivery was answered', async () => {
    const guard = await newGuard();
    await vi.waitFor(() => expect(guard.canDelete('c1')).toBe(true));
    interlock.script.failures.push(503);
    guard.checkpoint(report('c1'));
    expect(guard.canDelete('c1')).toBe(false);
    await vi.waitFor(() => expect(interlock.seen.checkpoints).toHaveLength(1));
    await vi.waitFor(() => expect(guard.canDelete('c1')).toBe(true));
  });

  it('is no for one that a process before left on disk', async () => {
    const before = await newGuard({ start: false });
    before.checkpoint(report('c1'));
    interlock.script.away = true;
    await before.close();
    interlock.script.away = false;
    // The first delivery fails, the heartbeat after it is answered, and the second delivery waits to be let through.
    interlock.script.failures.push(503);
    let letThrough: () => void = () => undefined;
    interlock.script.onCheckpoint = () =>
      new Promise((resolve) => {
        letThrough = resolve;
      });
    const guard = await newGuard();
    await vi.waitFor(() => expect(guard.canDelete('c9')).toBe(true));
    await vi.waitFor(() => expect(interlock.seen.checkpoints).toHaveLength(1));
    expect(guard.canDelete('c1')).toBe(false);
    letThrough();
    await vi.waitFor(() => expect(guard.canDelete('c1')).toBe(true));
  });
});
