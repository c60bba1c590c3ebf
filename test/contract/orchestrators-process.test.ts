import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Orchestrator } from '../../src/orchestrators/orchestrator.ts';
import { openProc, parseStat } from '../../src/orchestrators/proc.ts';
import { createProcessOrchestrator, describeProcess } from '../../src/orchestrators/process.ts';
import type { ProcessTarget } from '../../src/orchestrators/targets.ts';
import { describeOrchestrator, does, haltMessage, live } from './describe-orchestrator.ts';

const noProc = existsSync('/proc/self/stat') ? false : 'this system has no /proc';

interface Child {
  pid: number;
  process: ChildProcess;
  lines: string[];
  line(text: string | RegExp): Promise<string>;
}

const children: Child[] = [];

/** Starts a shell script that says `ready`; a group of its own unless told otherwise. */
async function start(script: string, { detached = true } = {}): Promise<Child> {
  const child = spawn('sh', ['-c', script], { detached, stdio: ['ignore', 'pipe', 'ignore'] });
  const lines: string[] = [];
  child.stdout
    .setEncoding('utf8')
    .on('data', (text: string) => lines.push(...text.split('\n').filter(Boolean)));
  const { pid } = child;
  if (pid === undefined) throw new Error('the child did not start');
  const started: Child = {
    pid,
    process: child,
    lines,
    async line(text) {
      const matches = (line: string): boolean => (typeof text === 'string' ? line === text : text.test(line));
      await vi.waitUntil(() => lines.some(matches), { timeout: 10_000 });
      return lines.find(matches) ?? '';
    },
  };
  children.push(started);
  await started.line('ready');
  return started;
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // gone already
  }
}

afterEach(() => {
  for (const child of children.splice(0)) {
    kill(-child.pid); // nothing where it leads no group
    kill(child.pid);
  }
});

const COOPERATIVE = 'echo ready; exec sleep 60';
// Traps run between commands, hence the short sleeps; each TERM that arrives is reported.
const STUBBORN = 'trap "echo TERM" TERM; echo ready; while :; do sleep 0.05; done';

// The launcher dies of SIGTERM; its worker does not.
const LAUNCHER_AND_WORKER = `sh -c 'trap "" TERM; echo worker $$; while :; do sleep 0.05; done' & echo ready; wait`;

async function targetOf({ pid }: Child): Promise<ProcessTarget> {
  const described = await describeProcess(pid);
  if (!described.ok) throw new Error(described.reason);
  return described.target;
}

async function stopped(orchestrator: Orchestrator): Promise<void> {
  await vi.waitFor(async () => expect((await orchestrator.observe(live())).state).toBe('stopped'), {
    timeout: 10_000,
    interval: 20,
  });
}

const terms = (child: Child): number => child.lines.filter((line) => line === 'TERM').length;

describe.skipIf(noProc)(`the process orchestrator${noProc ? ` (skipped: ${noProc})` : ''}`, () => {
  describeOrchestrator(
    'the process orchestrator',
    async () => {
      const child = await start(STUBBORN);
      const target = await targetOf(child);
      const stranger = { ...target, startTime: `${target.startTime?.split(':')[0]}:1` };
      let launcher: Child | undefined;
      return {
        orchestrator: createProcessOrchestrator(target),
        refused: createProcessOrchestrator(stranger),
        secrets: [],
        reached: (n) => vi.waitUntil(() => terms(child) >= n, { timeout: 10_000 }).then(() => undefined),
        count: () => terms(child),
        close: async () => undefined,
        side: {
          end: does(() => kill(-child.pid)),
          forget: () => createProcessOrchestrator({ kind: 'process', pid: child.pid }),
          lie: does(() => undefined),
          async keepOne() {
            launcher = await start(LAUNCHER_AND_WORKER);
            return createProcessOrchestrator(await targetOf(launcher));
          },
          othersGone: () => vi.waitUntil(() => launcher?.process.signalCode === 'SIGTERM'),
        },
      };
    },
    {
      refuses: 'another account is needed for that; the kernel says EPERM, and the suite may run as root',
      'times out': 'a signal and a look at /proc answer at once',
      'comes back': 'a process that ended is not restarted as itself; what takes its pid is another one',
      expired: 'there are no credentials but the account',
      hostile: 'the kernel answers',
    },
  );

  test('stops a process that listens to SIGTERM, and sees that it is gone', async () => {
    const child = await start(COOPERATIVE);
    const orchestrator = createProcessOrchestrator(await targetOf(child));
    expect((await orchestrator.observe(live())).state).toBe('running');
    expect(await orchestrator.take('sigterm', haltMessage(), live())).toEqual({
      kind: 'accepted',
      detail: `SIGTERM sent to process group ${child.pid}`,
    });
    await stopped(orchestrator);
    for (const step of orchestrator.steps) {
      expect(await orchestrator.take(step, haltMessage(), live())).toEqual({
        kind: 'accepted',
        detail: 'already stopped',
      });
    }
  });

  test('a process that ignores SIGTERM is still running until SIGKILL', async () => {
    const child = await start(STUBBORN);
    const orchestrator = createProcessOrchestrator(await targetOf(child));
    await orchestrator.take('sigterm', haltMessage(), live());
    await child.line('TERM');
    expect((await orchestrator.observe(live())).state).toBe('running');
    expect(await orchestrator.take('sigkill', haltMessage(), live())).toMatchObject({ kind: 'accepted' });
    await stopped(orchestrator);
  });

  test('a run has stopped only when its grandchildren have, also those that outlive their parent', async () => {
    const child = await start(LAUNCHER_AND_WORKER);
    const workerPid = Number((await child.line(/^worker /)).split(' ')[1]);
    const orchestrator = createProcessOrchestrator(await targetOf(child));
    await orchestrator.take('sigterm', haltMessage(), live());
    await vi.waitUntil(() => child.process.exitCode !== null || child.process.signalCode !== null);
    expect(openProc().read(child.pid)).toBeNull();
    expect(openProc().read(workerPid)).toMatchObject({ groupId: child.pid, zombie: false });

    expect((await orchestrator.observe(live())).state).toBe('running');
    expect(await orchestrator.take('sigkill', haltMessage(), live())).toMatchObject({ kind: 'accepted' });
    await stopped(orchestrator);
    const left = openProc().read(workerPid);
    expect(left === null || left.zombie).toBe(true);
  });

  test('signals only the process where it does not lead its group', async () => {
    const child = await start(COOPERATIVE, { detached: false });
    expect(openProc().read(child.pid)?.groupId).not.toBe(child.pid);
    const orchestrator = createProcessOrchestrator(await targetOf(child));
    expect(await orchestrator.take('sigterm', haltMessage(), live())).toEqual({
      kind: 'accepted',
      detail: `SIGTERM sent to process ${child.pid}`,
    });
    await stopped(orchestrator);
  });

  test('never signals a pid that belongs to another process now', async () => {
    const child = await start(STUBBORN);
    const target = await targetOf(child);
    const [boot, ticks] = target.startTime?.split(':') ?? [];
    const earlier = createProcessOrchestrator({ ...target, startTime: `${boot}:${Number(ticks) - 1}` });
    for (const step of earlier.steps) {
      expect(await earlier.take(step, haltMessage(), live())).toEqual({
        kind: 'rejected',
        detail: `pid ${child.pid} belongs to another process now; nothing was signalled`,
      });
    }
    expect(await earlier.observe(live())).toMatchObject({ state: 'stopped' });
    // The process recorded before the machine restarted is gone as well, though the pid is there.
    const beforeRestart = createProcessOrchestrator({ ...target, startTime: `another-boot:${ticks}` });
    expect(await beforeRestart.take('sigkill', haltMessage(), live())).toEqual({
      kind: 'accepted',
      detail: 'already stopped',
    });
    expect(await beforeRestart.observe(live())).toMatchObject({ state: 'stopped' });

    const rightful = createProcessOrchestrator(target);
    expect((await rightful.observe(live())).state).toBe('running');
    await rightful.take('sigterm', haltMessage(), live());
    await child.line('TERM');
    expect(terms(child)).toBe(1);
  });

  test('without a recorded start time it signals nothing and knows nothing', async () => {
    const child = await start(STUBBORN);
    const orchestrator = createProcessOrchestrator({ kind: 'process', pid: child.pid });
    expect(await orchestrator.take('sigkill', haltMessage(), live())).toMatchObject({ kind: 'rejected' });
    expect(await orchestrator.observe(live())).toMatchObject({ state: 'unknown' });
    expect(openProc().read(child.pid)).not.toBeNull();
  });

  test('never signals init, itself, or its own process group', async () => {
    const own = openProc().read(process.pid);
    const leader = own === null ? null : openProc().read(own.groupId);
    const forbidden: ProcessTarget[] = [
      { kind: 'process', pid: 1, startTime: openProc().read(1)?.startTime ?? '' },
      { kind: 'process', pid: 0, startTime: own?.startTime ?? '' },
      { kind: 'process', pid: -1, startTime: own?.startTime ?? '' },
      { kind: 'process', pid: process.pid, startTime: own?.startTime ?? '' },
      ...(leader === null
        ? []
        : [{ kind: 'process', pid: leader.pid, startTime: leader.startTime } as const]),
    ];
    // Were it to send them, neither this test nor its runner would be there to say so.
    for (const target of forbidden) {
      const orchestrator = createProcessOrchestrator(target);
      expect(await orchestrator.take('sigterm', haltMessage(), live()), String(target.pid)).toMatchObject({
        kind: 'rejected',
      });
      expect(await describeProcess(target.pid), String(target.pid)).toMatchObject({ ok: false });
    }
  });

  test('a rehearsal signals nothing, and finds a process that is gone, another one, or itself', async () => {
    const child = await start(STUBBORN);
    const target = await targetOf(child);
    const rehearse = (one: ProcessTarget) =>
      createProcessOrchestrator(one).rehearse?.('sigkill', haltMessage(), live());
    expect(await rehearse(target)).toEqual({
      kind: 'accepted',
      detail: `process group ${child.pid} is there and may be signalled; nothing was sent`,
    });
    const [boot, ticks] = target.startTime?.split(':') ?? [];
    expect(await rehearse({ ...target, startTime: `${boot}:${Number(ticks) - 1}` })).toMatchObject({
      kind: 'rejected',
    });
    expect(await rehearse({ kind: 'process', pid: process.pid })).toMatchObject({ kind: 'rejected' });
    expect(openProc().read(child.pid)).toMatchObject({ zombie: false });
    expect(terms(child)).toBe(0);
    kill(-child.pid);
    await stopped(createProcessOrchestrator(target));
    expect(await rehearse(target)).toEqual({
      kind: 'rejected',
      detail: 'the process is gone: there is nothing to rehearse on',
    });
  });

  test('a zombie has stopped', async () => {
    // The shell becomes `sleep`, which never waits for the child it inherits. One that ended before would be the shell's to reap.
    const child = await start('sleep 0.5 & echo zombie $!; echo ready; exec sleep 60');
    const pid = Number((await child.line(/^zombie /)).split(' ')[1]);
    await vi.waitUntil(() => openProc().read(pid)?.zombie === true, { timeout: 10_000 });
    const startTime = openProc().read(pid)?.startTime ?? '';
    const orchestrator = createProcessOrchestrator({ kind: 'process', pid, startTime });
    expect(await orchestrator.observe(live())).toMatchObject({ state: 'stopped' });
    expect(await describeProcess(pid)).toMatchObject({ ok: false });
  });

  test('a suspended process is running, and SIGKILL ends it', async () => {
    const child = await start(COOPERATIVE);
    const orchestrator = createProcessOrchestrator(await targetOf(child));
    process.kill(child.pid, 'SIGSTOP');
    await orchestrator.take('sigterm', haltMessage(), live());
    expect((await orchestrator.observe(live())).state).toBe('running');
    await orchestrator.take('sigkill', haltMessage(), live());
    await stopped(orchestrator);
  });

  test('describes a process that is not there as not there', async () => {
    const child = await start(COOPERATIVE);
    kill(child.pid);
    await vi.waitUntil(() => child.process.signalCode !== null);
    expect(await describeProcess(child.pid)).toMatchObject({ ok: false });
  });
});

describe('the process orchestrator on a system without /proc', () => {
  test('goes by presence alone', async () => {
    const procRoot = mkdtempSync(join(tmpdir(), 'interlock-noproc-'));
    const child = await start(STUBBORN);
    const described = await describeProcess(child.pid, { procRoot });
    expect(described).toEqual({ ok: true, target: { kind: 'process', pid: child.pid } });
    const orchestrator = createProcessOrchestrator({ kind: 'process', pid: child.pid }, { procRoot });
    expect((await orchestrator.observe(live())).state).toBe('running');
    expect(await orchestrator.take('sigterm', haltMessage(), live())).toMatchObject({ kind: 'accepted' });
    await child.line('TERM');
    expect(await orchestrator.take('sigkill', haltMessage(), live())).toMatchObject({ kind: 'accepted' });
    await stopped(orchestrator);
    expect(await orchestrator.take('sigkill', haltMessage(), live())).toMatchObject({
      detail: 'already stopped',
    });
    rmSync(procRoot, { recursive: true });
  });

  test('does not believe a start time that it cannot check', async () => {
    const procRoot = mkdtempSync(join(tmpdir(), 'interlock-noproc-'));
    const child = await start(COOPERATIVE);
    const target: ProcessTarget = { kind: 'process', pid: child.pid, startTime: 'boot:1' };
    const orchestrator = createProcessOrchestrator(target, { procRoot });
    expect(await orchestrator.take('sigkill', haltMessage(), live())).toMatchObject({ kind: 'rejected' });
    expect(await orchestrator.observe(live())).toMatchObject({ state: 'unknown' });
    rmSync(procRoot, { recursive: true });
  });
});

describe('reading /proc', () => {
  const rest = 'S 1 77 77 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 2539520 200';
  test('a name with spaces and parentheses does not shift the fields', () => {
    expect(parseStat(9, `9 (a) R 1 (b c)) ${rest}`, 'boot')).toEqual({
      pid: 9,
      groupId: 77,
      startTime: 'boot:123456',
      zombie: false,
    });
    expect(parseStat(9, `9 (x) ${rest.replace('S', 'Z')}`, 'boot')?.zombie).toBe(true);
    expect(parseStat(9, '9 (x) S 1', 'boot')).toBeNull();
    expect(parseStat(9, '', 'boot')).toBeNull();
  });
});
