/**
 * Ending everything a job started, also what tried to get away.
 *
 * A program can leave its process group (`setsid`) or outlive its parent, so three threads lead back to it:
 * the group, the tree of parents, and a random marker in the environment that every descendant inherits.
 * The last two need Linux's /proc; elsewhere only the group is ended.
 * Guarantee: nothing is signalled by its name, and no pid on trust; a pid counts only with its start time.
 * Known gap: a process that left the group, cleared its environment *and* lost its parent is not found.
 * Only a cgroup or a container holds that one.
 */

import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

export const MARKER_VARIABLE = 'INTERLOCK_JOB';

export interface ProcessStat {
  pid: number;
  parentPid: number;
  groupId: number;
  /** In clock ticks since boot, as text: compared for equality only. */
  startTime: string;
}

export interface JobIdentity {
  marker: string;
  /** The job's first process, also its group; null where it is not known to have started. */
  leader: { pid: number; startTime: string | null } | null;
}

/** Null where there is no such live process, or no /proc. A zombie is not alive. */
export function processStat(pid: number): ProcessStat | null {
  try {
    return parseStat(pid, readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return null;
  }
}

function parseStat(pid: number, text: string): ProcessStat | null {
  // The name in parentheses may hold anything, parentheses too: what counts begins after the last one.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, parentPid, groupId] = fields;
  const startTime = fields[19];
  if (state === undefined || parentPid === undefined || groupId === undefined || startTime === undefined)
    return null;
  if (state === 'Z' || state === 'X') return null;
  return { pid, parentPid: Number(parentPid), groupId: Number(groupId), startTime };
}

/**
 * Every live process that demonstrably belongs to the job. Empty where there is no /proc. `known` are processes
 * found before: a signal may have ended the parent by which they were found.
 */
export async function findJobProcesses(
  job: JobIdentity,
  known: readonly ProcessStat[] = [],
): Promise<ProcessStat[]> {
  const all = await liveProcesses();
  const members = new Map<number, ProcessStat>();
  const startTimes = new Map(known.map(({ pid, startTime }) => [pid, startTime]));
  for (const process of all) {
    if (startTimes.get(process.pid) === process.startTime) members.set(process.pid, process);
  }
  const byMarker = await Promise.all(
    all.map(async (process) => ({ process, marked: await hasMarker(process.pid, job.marker) })),
  );
  for (const { process, marked } of byMarker) if (marked) members.set(process.pid, process);

  const { leader } = job;
  const leaderAlive =
    leader !== null &&
    leader.startTime !== null &&
    all.some((process) => process.pid === leader.pid && process.startTime === leader.startTime);
  if (leader !== null && leaderAlive) {
    for (const process of all) if (process.groupId === leader.pid) members.set(process.pid, process);
  }
  // Children of members, to the last generation: they may have changed both group and environment.
  for (let grown = true; grown; ) {
    const children = all.filter(({ pid, parentPid }) => members.has(parentPid) && !members.has(pid));
    for (const child of children) members.set(child.pid, child);
    grown = children.length > 0;
  }
  members.delete(process.pid);
  return [...members.values()];
}

async function liveProcesses(): Promise<ProcessStat[]> {
  const names = await readdir('/proc').catch(() => []);
  const stats = await Promise.all(
    names
      .filter((name) => /^[1-9][0-9]*$/.test(name))
      .map(async (name) => {
        const text = await readFile(`/proc/${name}/stat`, 'latin1').catch(() => null);
        return text === null ? null : parseStat(Number(name), text);
      }),
  );
  return stats.filter((stat) => stat !== null);
}

async function hasMarker(pid: number, marker: string): Promise<boolean> {
  // Another user's process cannot be read, and cannot be ours.
  const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
  return environment.split('\0').includes(`${MARKER_VARIABLE}=${marker}`);
}

/** Signals the whole group. False where it is gone. */
export function signalGroup(groupId: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(-groupId, signal);
    return true;
  } catch {
    return false;
  }
}

/** One pass over everything found, which it returns. A pid that changed hands in between is left alone. */
export async function signalJob(
  job: JobIdentity,
  signal: NodeJS.Signals,
  known: readonly ProcessStat[] = [],
): Promise<ProcessStat[]> {
  const found = await findJobProcesses(job, known);
  for (const { pid, startTime } of found) {
    if (processStat(pid)?.startTime !== startTime) continue;
    try {
      process.kill(pid, signal);
    } catch {
      // Gone between the look and the signal, which is what was wanted.
    }
  }
  return found;
}

const KILL_ALLOWED_MS = 3_000;

/**
 * Kills until none is found, so that what forks while it is being killed is killed too. True when none is left;
 * false after the time allowed, which is for processes that the kernel holds (a hung file system).
 */
export async function killJob(job: JobIdentity, known: readonly ProcessStat[] = []): Promise<boolean> {
  const deadline = performance.now() + KILL_ALLOWED_MS;
  for (let found = known; ; ) {
    found = await signalJob(job, 'SIGKILL', found);
    if (found.length === 0) return true;
    if (performance.now() > deadline) return false;
    await delay(5);
  }
}
