/**
 * A disk that can fail: an ext4 file system of our own on a loop device.
 *
 * A power cut is the file system's own shutdown (FS_IOC_SHUTDOWN without flushing its log, what xfstests calls
 * "godown"): from that instant on nothing more reaches the device, and what was written and never fsynced is gone;
 * the next mount replays the journal, as after a real cut. The device below keeps its order of writes: a disk that
 * lies about its cache is not simulated.
 * Needs root and loop devices; `whyNoDisk` says so where either is missing.
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import {
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { mkdir, mkdtemp, open, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { MARKER_VARIABLE } from '../../src/evaluators/process-tree.ts';

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
  const home = await realpath(await mkdtemp(join(tmpdir(), 'ilk-disk-')));
  const directory = join(home, 'd');
  const image = join(home, 'image');
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
    spawnSync('umount', ['-l', directory]);
    spawnSync('losetup', ['-d', device]);
    await rm(home, { recursive: true, force: true });
  };
  // Whatever ends this process, the mount must not stay.
  process.once('exit', () => {
    spawnSync('umount', ['-l', directory]);
    spawnSync('losetup', ['-d', device]);
    rmSync(home, { recursive: true, force: true });
  });
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
      // 1: errors were corrected.
      const checked = spawnSync('e2fsck', ['-p', device], { encoding: 'utf8' });
      if ((checked.status ?? 8) > 1) run('e2fsck', ['-y', device], [0, 1]);
      mount();
    },
    remove,
  };
}

function writeUntilFull(path: string): void {
  spawnSync('dd', ['if=/dev/zero', `of=${path}`, 'bs=4k', 'status=none'], { stdio: 'ignore' });
}

/** A machine that loses its power takes everybody with it: whoever works in the directory is killed. */
async function endUsers(directory: string): Promise<void> {
  for (let i = 0; i < 20; i += 1) {
    const users = usersOf(directory);
    if (users.length === 0) return;
    for (const pid of users) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Gone already.
      }
    }
    await delay(50);
  }
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
