/**
 * Control groups: one per attempt and hierarchy, below the group that this process itself is in.
 *
 * Version 2 kills a group at one stroke (`cgroup.kill`) and, where its controllers are delegated, limits it; the
 * old hierarchies (version 1, still found on clusters) limit it too, and what is in them is found and killed one
 * by one. Group names carry the job's random marker, so that a sweep needs no record to know whose they are.
 *
 * Nothing outside the own group is ever written. The one change to the own group: where version 2 forbids to
 * limit children of a group that holds processes itself, this process and what is with it step into a
 * child group first, but only where they are this process's own or the whole of a container.
 */
import { accessSync, constants, readdirSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rmdir, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { processStat } from './process-stat.ts';

export const CONTROLLERS = ['memory', 'pids', 'cpu'] as const;
export type Controller = (typeof CONTROLLERS)[number];

export interface Hierarchy {
  readonly version: 1 | 2;
  /** Where groups of jobs are made. */
  readonly directory: string;
  readonly controllers: readonly Controller[];
}

export type GroupLimits = Readonly<Record<Controller, number | null>>;

const PREFIX = 'interlock-';
const SUPERVISOR = 'interlock-supervisor';

export const groupName = (marker: string): string => `${PREFIX}${marker}`;

/** Whether a recorded path can only be that job's own group. */
export function isGroupOf(directory: string, marker: string): boolean {
  return (
    path.isAbsolute(directory) &&
    path.normalize(directory) === directory &&
    path.basename(directory) === groupName(marker)
  );
}

/**
 * The hierarchies in which this process may make groups; empty where there is none (or no Linux). `self` is where the
 * kernel says what is mounted and which groups this process is in.
 */
export async function usableHierarchies(self = '/proc/self'): Promise<Hierarchy[]> {
  let mounts: Mount[];
  let memberships: Membership[];
  try {
    mounts = readMounts(path.join(self, 'mountinfo'));
    memberships = readMemberships(path.join(self, 'cgroup'));
  } catch {
    return [];
  }
  const found: Hierarchy[] = [];
  for (const { controllers: names, path: own } of memberships) {
    const version = names.length === 0 ? 2 : 1;
    const mount = mounts.find(
      (each) =>
        each.version === version && (version === 2 || names.some((name) => each.options.includes(name))),
    );
    const directory = mount === undefined ? null : ownDirectory(mount, own);
    if (directory === null || !isWritable(directory)) continue;
    if (version === 2) found.push({ version, ...(await delegated(directory)) });
    else {
      const controllers = CONTROLLERS.filter((name) => names.includes(name));
      if (controllers.length > 0) found.push({ version, directory, controllers });
    }
  }
  // A controller stands in one hierarchy; version 2 first, for its kill.
  return found.sort((a, b) => b.version - a.version);
}

interface Mount {
  readonly version: 1 | 2;
  readonly root: string;
  readonly point: string;
  readonly options: readonly string[];
}

function readMounts(file: string): Mount[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((line): Mount[] => {
      const [left = '', right = ''] = line.split(' - ');
      const [, , , root, point] = left.split(' ');
      const [type, , options = ''] = right.split(' ');
      if (root === undefined || point === undefined || (type !== 'cgroup' && type !== 'cgroup2')) return [];
      return [{ version: type === 'cgroup2' ? 2 : 1, root, point, options: options.split(',') }];
    });
}

interface Membership {
  /** Empty for version 2. */
  readonly controllers: readonly string[];
  readonly path: string;
}

function readMemberships(file: string): Membership[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [, , controllers, own] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
      if (controllers === undefined || own === undefined) return [];
      return [{ controllers: controllers === '' ? [] : controllers.split(','), path: own }];
    });
}

/** A container sees only a part of the tree mounted, and may be shown its path from the host's root. */
function ownDirectory({ root, point }: Mount, own: string): string | null {
  if (own.startsWith('/..') || root.startsWith('/..')) return null;
  const inside = root === '/' ? own : own.startsWith(root) ? own.slice(root.length) : null;
  return inside === null ? null : path.join(point, inside);
}

function isWritable(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK);
    accessSync(path.join(directory, 'cgroup.procs'), constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

// --- version 2: asking for the controllers -------------------------------------------------------------

async function delegated(own: string): Promise<{ directory: string; controllers: Controller[] }> {
  // Another Interlock of this group has made room before us, or a process manager put us there.
  const directory = path.basename(own) === SUPERVISOR ? path.dirname(own) : own;
  const wanted = known(await words(path.join(directory, 'cgroup.controllers')));
  const control = path.join(directory, 'cgroup.subtree_control');
  const missing = async () => {
    const enabled = known(await words(control));
    return wanted.filter((name) => !enabled.includes(name));
  };
  for (const name of await missing()) await writeFile(control, `+${name}`).catch(() => undefined);
  if ((await missing()).length > 0 && (await stepAside(directory))) {
    for (const name of await missing()) await writeFile(control, `+${name}`).catch(() => undefined);
  }
  return { directory, controllers: known(await words(control)).filter((name) => wanted.includes(name)) };
}

const known = (names: readonly string[]): Controller[] => CONTROLLERS.filter((name) => names.includes(name));

async function words(file: string): Promise<string[]> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return text.split(/\s+/).filter((word) => word !== '');
}

/** True where the group itself holds no process any more; those below it may. */
export async function stepAside(directory: string): Promise<boolean> {
  try {
    const pids = directMembers(directory);
    const isContainer = pids.includes(1);
    if (!isContainer && !pids.every(isOurs)) return false;
    const leaf = path.join(directory, SUPERVISOR);
    await mkdir(leaf, { recursive: true });
    for (const pid of pids)
      await writeFile(path.join(leaf, 'cgroup.procs'), String(pid)).catch(() => undefined);
    return directMembers(directory).length === 0;
  } catch {
    return false;
  }
}

/** This process, or one that it started. */
function isOurs(pid: number): boolean {
  for (let at = pid, steps = 0; at > 1 && steps < 64; steps += 1) {
    if (at === process.pid) return true;
    at = processStat(at)?.parentPid ?? 0;
  }
  return false;
}

// --- one job's groups ----------------------------------------------------------------------------------

/** Makes the groups and sets their limits; a limit that cannot be set is an error, for it was promised at start. */
export async function makeGroups(
  hierarchies: readonly Hierarchy[],
  marker: string,
  limits: GroupLimits,
): Promise<string[]> {
  const made: string[] = [];
  try {
    for (const { version, directory, controllers } of hierarchies) {
      const group = path.join(directory, groupName(marker));
      await mkdir(group, { mode: 0o755 });
      made.push(group);
      for (const controller of controllers) {
        const limit = limits[controller];
        if (limit !== null) await setLimit(group, version, controller, limit);
      }
    }
    return made;
  } catch (error) {
    await removeGroups(made);
    throw error;
  }
}

const CPU_PERIOD_US = 100_000;

async function setLimit(group: string, version: 1 | 2, controller: Controller, limit: number): Promise<void> {
  const write = (name: string, text: string) => writeFile(path.join(group, name), text);
  const quota = String(Math.max(1_000, Math.round(limit * CPU_PERIOD_US)));
  switch (controller) {
    case 'pids':
      return write('pids.max', String(limit));
    case 'cpu':
      return version === 2 ? write('cpu.max', `${quota} ${CPU_PERIOD_US}`) : write('cpu.cfs_quota_us', quota);
    case 'memory':
      if (version === 1) {
        await write('memory.limit_in_bytes', String(limit));
        await write('memory.memsw.limit_in_bytes', String(limit)).catch(() => undefined); // only with swap accounting
        return;
      }
      await write('memory.max', String(limit));
      await write('memory.swap.max', '0').catch(() => undefined);
      // Half an evaluation would go on to report something.
      await write('memory.oom.group', '1').catch(() => undefined);
      return;
    default:
      return controller satisfies never;
  }
}

function directMembers(group: string): number[] {
  const text = readFileSync(path.join(group, 'cgroup.procs'), 'utf8');
  return text
    .split('\n')
    .map(Number)
    .filter((pid) => pid > 0);
}

/** Pids in a group and all groups below it, as this process numbers them. */
export function members(group: string): number[] {
  try {
    const below = readdirSync(group, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [...directMembers(group), ...below.flatMap(({ name }) => members(path.join(group, name)))];
  } catch {
    return [];
  }
}

/** At one stroke, also what forks meanwhile; without effect on version 1 and before Linux 5.14. */
export async function killGroup(group: string): Promise<void> {
  // Opened without O_CREAT: in a directory that is no cgroup nothing may appear.
  await writeFile(path.join(group, 'cgroup.kill'), '1', { flag: 'r+' }).catch(() => undefined);
}

/** Which limits stopped something, for the outcome's detail. */
export async function limitsHit(groups: readonly string[]): Promise<('memory' | 'processes')[]> {
  const hit = new Set<'memory' | 'processes'>();
  for (const group of groups) {
    const counted = async (file: string, key: string) => {
      const text = await readFile(path.join(group, file), 'utf8').catch(() => '');
      return Number(new RegExp(`^${key} (\\d+)$`, 'm').exec(text)?.[1] ?? 0) > 0;
    };
    if ((await counted('memory.events', 'oom_kill')) || (await counted('memory.oom_control', 'oom_kill')))
      hit.add('memory');
    if (await counted('pids.events', 'max')) hit.add('processes');
  }
  return [...hit];
}

const REMOVE_TRIES = 40;
const REMOVE_PAUSE_MS = 25;

/** False where something is still in one of them. The kernel may need a moment after the last process is gone. */
export async function removeGroups(groups: readonly string[]): Promise<boolean> {
  let all = true;
  for (const group of groups) {
    for (let tries = 0; ; tries += 1) {
      if (await removeTree(group)) break;
      if (tries === REMOVE_TRIES) {
        all = false;
        break;
      }
      await delay(REMOVE_PAUSE_MS);
    }
  }
  return all;
}

/**
 * Empty groups that nobody has entered for so long: of an Interlock that was killed and whose records went with its
 * directory. One that is empty and young may be about to be entered.
 */
export async function removeAbandoned(hierarchies: readonly Hierarchy[], olderThanMs: number): Promise<void> {
  for (const { directory } of hierarchies) {
    const names = await readdir(directory).catch((): string[] => []);
    for (const name of names.filter((each) => /^interlock-(probe-)?[0-9a-f]{16,32}$/.test(each))) {
      const group = path.join(directory, name);
      const madeMs = (await stat(group).catch(() => null))?.mtimeMs ?? Number.POSITIVE_INFINITY;
      if (Date.now() - madeMs >= olderThanMs && members(group).length === 0) await removeTree(group);
    }
  }
}

async function removeTree(group: string): Promise<boolean> {
  const entries = await readdir(group, { withFileTypes: true }).catch(() => null);
  if (entries === null) return true;
  for (const entry of entries) if (entry.isDirectory()) await removeTree(path.join(group, entry.name));
  return rmdir(group).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code === 'ENOENT',
  );
}
