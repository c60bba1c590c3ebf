/**
 * A disk that can fail: an ext4 file system of our own on a loop device.
 *
 * A power cut is the file system's own shutdown (FS_IOC_SHUTDOWN without flushing its log, what xfstests calls
 * "godown"): from that instant on nothing more reaches the device, and what was written and never fsynced is gone;
 * the next mount replays the journal, as after a real cut. The device below keeps its order of writes: a disk that
 * lies about its cache is not simulated.
 * Needs root and loop devices; `whyNoDisk` says so where either is missing.
 *
 * A mount outlives the process that made it, so it is taken away on every way out that a process can hear of (its end,
 * SIGINT, SIGTERM, SIGHUP), and what a killed run left is swept when the next one opens a disk. Swept is only what
 * carries a mark of ours, by an owner that is surely dead: a pid of this PID namespace that is another's by now, or gone.
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { isSameProcess, thisProcess } from '../../src/button/process-identity.ts';
import { MARKER_VARIABLE } from '../../src/subprocess/process-tree.ts';

export interface Disk {
  /** Where it is mounted. */
  readonly directory: string;
  /** Takes all the space that is left, and gives it back. */
  fill(): void;
  free(): void;
  /** As ext4 does itself when it finds an error: no write succeeds any more. */
  turnReadOnly(): void;
  /** Mounted read-only from the beginning, with nobody on it; or not any more. */
  setReadOnly(readOnly: boolean): void;
  /** Nothing more reaches it, from one instant to the next. */
  cutPower(): void;
  /** After a cut or an error: ends who still uses it, repairs it and mounts it again. */
  mend(): Promise<void>;
  remove(): Promise<void>;
}

const SIZE = '1500M';
const END_TRIES = 20;
const END_PAUSE_MS = 50;
/** FS_IOC_SHUTDOWN, and EXT4_GOING_FLAGS_NOLOGFLUSH. */
const SHUT_DOWN =
  'open(my $f, "<", $ARGV[0]) or die; my $flag = pack("L", 2); ioctl($f, 0x8004587d, $flag) or die';
const PROGRAMS = ['losetup', 'mkfs.ext4', 'mount', 'umount', 'e2fsck', 'perl'];

/** Why there can be no such disk here, in one sentence; false where there can. */
export function whyNoDisk(): string | false {
  if (process.platform !== 'linux') return 'power cuts and full disks need Linux (a loop device with ext4)';
  if (process.geteuid?.() !== 0) {
    return 'power cuts, full and read-only disks need root (a loop device with ext4): run it with sudo';
  }
  const absent = PROGRAMS.find((name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0);
  if (absent !== undefined) {
    return `power cuts, full and read-only disks need ${absent}: apt-get install e2fsprogs mount util-linux perl`;
  }
  if (!existsSync('/dev/loop-control')) {
    return 'power cuts, full and read-only disks need loop devices (modprobe loop; a container needs --privileged)';
  }
  return false;
}

export async function openDisk(): Promise<Disk> {
  sweepDisks();
  const home = makeHome();
  const { directory, image } = placesIn(home);
  await mkdir(directory, { mode: 0o711 });
  const file = await open(image, 'w');
  await file.close();
  run('truncate', ['-s', SIZE, image]);
  run('mkfs.ext4', ['-q', '-m', '0', '-E', 'lazy_itable_init=1', image]);
  const device = run('losetup', ['--find', '--show', image]).stdout.trim();
  const ballast = join(directory, 'ballast');
  const mount = () => run('mount', ['-o', 'errors=remount-ro', device, directory]);
  const remove = async () => {
    await endUsers(directory);
    discard(home);
  };
  try {
    mount();
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    directory,
    fill() {
      const { bavail, bsize } = statfsSync(directory);
      // Allocated without being written; what other writers take meanwhile only fills it sooner.
      spawnSync('fallocate', ['-l', String(Math.max(bsize, bavail * bsize - 64 * 1024)), ballast]);
      writeUntilFull(`${ballast}.rest`);
    },
    free() {
      rmSync(ballast, { force: true });
      rmSync(`${ballast}.rest`, { force: true });
    },
    turnReadOnly() {
      writeFileSync(`/sys/fs/ext4/${basename(device)}/trigger_fs_error`, 'torture');
    },
    setReadOnly(readOnly) {
      run('mount', ['-o', readOnly ? 'remount,ro' : 'remount,rw', directory]);
    },
    cutPower() {
      run('perl', ['-e', SHUT_DOWN, directory]);
    },
    async mend() {
      await endUsers(directory);
      for (let i = 0; ; i += 1) {
        if (spawnSync('umount', [directory]).status === 0) break;
        if (i === 50) throw new Error(`${directory} stays in use`);
        await delay(100);
        await endUsers(directory);
      }
      const checked = await check(device, '-p');
      if (checked > 1) run('e2fsck', ['-y', device], [0, 1]);
      mount();
    },
    remove,
  };
}

/** e2fsck could not do its work: as a rule, because the device is in use. */
const IN_USE = 8;

/**
 * 1: errors were corrected. Unmounted here, it may be mounted for a moment longer where a container is just being
 * started: its mount namespace begins as a copy of ours.
 */
async function check(device: string, how: '-p'): Promise<number> {
  for (let i = 0; ; i += 1) {
    const status = spawnSync('e2fsck', [how, device]).status ?? IN_USE;
    if (status !== IN_USE || i === 50) return status;
    await delay(100);
  }
}

// --- that nothing of it stays --------------------------------------------------------------------------

const PREFIX = 'ilk-disk-';
const MARK = 'owner.json';
const MarkSchema = z.object({ pid: z.int(), startTime: z.string(), pidNamespace: z.string() });
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

const placesIn = (home: string) => ({ directory: join(home, 'd'), image: join(home, 'image') });
const pidNamespace = (): string => readlinkSync('/proc/self/ns/pid');

/** Of this process, from before anything is mounted until nothing is any more. */
const homes = new Set<string>();

/** Marked before there is anything to sweep, and in one go with being known here: no signal comes in between. */
function makeHome(): string {
  if (homes.size === 0) listen();
  const home = realpathSync(mkdtempSync(join(tmpdir(), PREFIX)));
  homes.add(home);
  writeFileSync(join(home, MARK), JSON.stringify({ ...thisProcess(), pidNamespace: pidNamespace() }));
  return home;
}

function listen(): void {
  process.once('exit', discardAll);
  for (const signal of SIGNALS) process.once(signal, onSignal);
}

/** Ends by the signal all the same, once there is nothing left: whoever sent it sees what it sent. */
function onSignal(signal: NodeJS.Signals): void {
  discardAll();
  process.kill(process.pid, signal);
}

function discardAll(): void {
  for (const home of homes) {
    endUsersNow(placesIn(home).directory);
    discard(home);
  }
}

function discard(home: string): void {
  const { directory, image } = placesIn(home);
  spawnSync('umount', ['-l', directory]);
  const devices = spawnSync('losetup', ['--noheadings', '--output', 'NAME', '-j', image], {
    encoding: 'utf8',
  });
  for (const device of devices.stdout.split(/\s+/).filter((name) => name !== '')) {
    spawnSync('losetup', ['-d', device]);
  }
  rmSync(home, { recursive: true, force: true });
  homes.delete(home);
  if (homes.size > 0) return;
  process.off('exit', discardAll);
  for (const signal of SIGNALS) process.off(signal, onSignal);
}

/** Takes away what runs left that were killed; answers which. */
export function sweepDisks(): string[] {
  const parent = realpathSync(tmpdir());
  const stale = readdirSync(parent)
    .filter((name) => name.startsWith(PREFIX))
    .map((name) => join(parent, name))
    .filter(isAbandoned);
  for (const home of stale) {
    endUsersNow(placesIn(home).directory);
    discard(home);
  }
  return stale;
}

function isAbandoned(home: string): boolean {
  try {
    const owner = MarkSchema.parse(JSON.parse(readFileSync(join(home, MARK), 'utf8')));
    return owner.pidNamespace === pidNamespace() && !isSameProcess(owner);
  } catch {
    // No mark, or half of one: somebody is making it in this moment, or it is none of ours.
    return false;
  }
}

// --- using it ------------------------------------------------------------------------------------------

function writeUntilFull(path: string): void {
  spawnSync('dd', ['if=/dev/zero', `of=${path}`, 'bs=4k', 'status=none'], { stdio: 'ignore' });
}

/** A machine that loses its power takes everybody with it: whoever works in the directory is killed. */
async function endUsers(directory: string): Promise<void> {
  for (let i = 0; i < END_TRIES && killUsers(directory); i += 1) await delay(END_PAUSE_MS);
}

/** The same where nothing can be awaited any more. */
function endUsersNow(directory: string): void {
  const clock = new Int32Array(new SharedArrayBuffer(4));
  for (let i = 0; i < END_TRIES && killUsers(directory); i += 1) Atomics.wait(clock, 0, 0, END_PAUSE_MS);
}

/** Whether there was anybody. */
function killUsers(directory: string): boolean {
  const users = usersOf(directory);
  for (const pid of users) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // Gone already.
    }
  }
  return users.length > 0;
}

function usersOf(directory: string): number[] {
  const within = (path: string) => path === directory || path.startsWith(`${directory}/`);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        if (within(readlinkSync(`/proc/${pid}/cwd`))) return true;
        const environment = readFileSync(`/proc/${pid}/environ`, 'latin1');
        return environment.includes(`${MARKER_VARIABLE}=`) && environment.includes(`=${directory}/`);
      } catch {
        return false;
      }
    })
    .map(Number);
}

function run(
  program: string,
  args: readonly string[],
  accepted: readonly number[] = [0],
): SpawnSyncReturns<string> {
  const result = spawnSync(program, [...args], { encoding: 'utf8' });
  if (!accepted.includes(result.status ?? -1)) {
    throw new Error(`${program} ended with ${result.status}: ${result.stderr.slice(0, 300)}`);
  }
  return result;
}
