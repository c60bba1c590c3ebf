import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { describeHome, hasEnded } from '../../../src/service/instance-home.ts';

const NO_PROC = process.platform === 'linux' ? false : 'needs /proc';

describe.skipIf(NO_PROC)(`where an instance runs${NO_PROC === false ? '' : ` (skipped: ${NO_PROC})`}`, () => {
  const children: ChildProcess[] = [];
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
  });
  async function start(): Promise<ChildProcess & { pid: number }> {
    const child = spawn('sleep', ['60']);
    children.push(child);
    await once(child, 'spawn');
    const { pid } = child;
    if (pid === undefined) throw new Error('not started');
    return Object.assign(child, { pid });
  }

  it('has not ended while its process lives', async () => {
    const child = await start();
    expect(hasEnded(describeHome())).toBe(false);
    expect(hasEnded(describeHome(child.pid))).toBe(false);
  });

  it('has ended when its process was killed', async () => {
    const child = await start();
    const home = describeHome(child.pid);
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(hasEnded(home)).toBe(true);
  });

  it('has ended when its pid is another process by now', async () => {
    const child = await start();
    const home = JSON.parse(describeHome(child.pid));
    expect(hasEnded(JSON.stringify({ ...home, startTime: '1' }))).toBe(true);
  });

  it('is not judged from another machine, boot or container', async () => {
    const child = await start();
    const home = JSON.parse(describeHome(child.pid));
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(hasEnded(JSON.stringify({ ...home, machine: `${home.machine}x` }))).toBe(false);
  });

  it.each(['', 'pid 12', '{}', '[]', '{"machine":1,"pid":"2"}'])('is not judged from %j', (detail) => {
    expect(hasEnded(detail)).toBe(false);
  });
});
