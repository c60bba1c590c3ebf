/**
 * What torture mounts does not outlive it: not where it is interrupted, and where it is killed only until the next run.
 * The disk is held by a process of its own, as `npm run torture` is one.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { sweepDisks, whyNoDisk } from '../torture/disk.ts';

const disk = JSON.stringify(fileURLToPath(new URL('../torture/disk.ts', import.meta.url)));
/** Opens a disk, with somebody working on it, says where, and stays. */
const HOLDER = `
  import { spawn } from 'node:child_process';
  import { openDisk } from ${disk};
  const { directory } = await openDisk();
  const user = spawn('sleep', ['1000'], { cwd: directory, stdio: 'ignore', detached: true });
  user.unref();
  console.log(directory + ' ' + user.pid);
  setInterval(() => {}, 1000);
`;

interface Held {
  readonly child: ChildProcess;
  readonly directory: string;
  readonly userPid: number;
}

const children: ChildProcess[] = [];
const made: string[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGTERM');
    await once(child, 'exit');
  }
  for (const each of made.splice(0)) rmSync(each, { recursive: true });
});

async function hold(): Promise<Held> {
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', HOLDER], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  const [said] = await once(child.stdout, 'data');
  const [directory = '', userPid = ''] = String(said).trim().split(' ');
  return { child, directory, userPid: Number(userPid) };
}

async function end({ child }: Held, signal: NodeJS.Signals): Promise<unknown> {
  const exited = once(child, 'exit');
  child.kill(signal);
  const [, by] = await exited;
  return by;
}

const isMounted = (directory: string): boolean =>
  readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${directory} `);
const isHeld = ({ directory, userPid }: Held): boolean[] => [
  isMounted(directory),
  existsSync(dirname(directory)),
  spawnSync('losetup', ['-a'], { encoding: 'utf8' }).stdout.includes(dirname(directory)),
  // Nothing in a zombie's.
  existsSync(`/proc/${userPid}/cwd`),
];
const ALL = [true, true, true, true];
const NOTHING = [false, false, false, false];

const why = whyNoDisk();
describe.skipIf(why !== false)(`a disk of torture${why === false ? '' : ` (${why})`}`, () => {
  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('is gone when its run is ended by %s', async (signal) => {
    const held = await hold();
    expect(isHeld(held)).toEqual(ALL);
    expect(await end(held, signal)).toBe(signal);
    expect(isHeld(held)).toEqual(NOTHING);
  });

  it('is swept by the next run where its own was killed, and no other is', async () => {
    const [killed, living] = [await hold(), await hold()];
    // Not marked: whoever made it may be about to.
    const unmarked = realpathSync(mkdtempSync(join(tmpdir(), 'ilk-disk-')));
    made.push(unmarked);
    expect(await end(killed, 'SIGKILL')).toBe('SIGKILL');
    expect(isHeld(killed)).toEqual(ALL);
    expect(sweepDisks()).toContain(dirname(killed.directory));
    expect(isHeld(killed)).toEqual(NOTHING);
    expect(isHeld(living)).toEqual(ALL);
    expect(existsSync(unmarked)).toBe(true);
  });
});
