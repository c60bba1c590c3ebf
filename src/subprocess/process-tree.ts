/**
 * Ending everything a job started, also what tried to get away.
 *
 * A program can leave its process group (`setsid`) or outlive its parent, so four threads lead back to it: its
 * control groups where it has some, the process group, the tree of parents, and a random marker in the environment
 * that every descendant inherits. All but the process group need Linux's /proc; elsewhere only that is ended.
 * Guarantee: nothing is signalled by its name, and no pid on trust; a pid counts only with its start time.
 * Known gap: where there is neither control group nor PID namespace (containment.ts), a process that left the
 * group, cleared its environment *and* lost its parent is not found.
 */

import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { killGroup, members } from './cgroups.ts';
import { liveProcesses, type ProcessStat, processStat } from './process-stat.ts';

export const MARKER_VARIABLE = 'INTERLOCK_JOB';

export interface JobIdentity {
  marker: string;
  /** The job's first process, also its group; null where it is not known to have started. */
  leader: { pid: number; startTime: string | null } | null;
  /** Its control groups; see cgroups.ts. */
  groups: readonly string[];
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
  const found = new Map<number, ProcessStat>();
  const startTimes = new Map(known.map(({ pid, startTime }) => [pid, startTime]));
  for (const process of all) {
    if (startTimes.get(process.pid) === process.startTime) found.set(process.pid, process);
  }
  const grouped = new Set(job.groups.flatMap(members));
  for (const process of all) if (grouped.has(process.pid)) found.set(process.pid, process);
  const byMarker = await Promise.all(
    all.map(async (process) => ({ process, marked: await hasMarker(process.pid, job.marker) })),
  );
  for (const { process, marked } of byMarker) if (marked) found.set(process.pid, process);

  const { leader } = job;
  const leaderAlive =
    leader !== null &&
    leader.startTime !== null &&
    all.some((process) => process.pid === leader.pid && process.startTime === leader.startTime);
  if (leader !== null && leaderAlive) {
    for (const process of all) if (process.groupId === leader.pid) found.set(process.pid, process);
  }
  // Children of members, to the last generation: they may have changed both group and environment.
  for (let grown = true; grown; ) {
    const children = all.filter(({ pid, parentPid }) => found.has(parentPid) && !found.has(pid));
    for (const child of children) found.set(child.pid, child);
    grown = children.length > 0;
  }
  found.delete(process.pid);
  return [...found.values()];
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
    await Promise.all(job.groups.map(killGroup));
    found = await signalJob(job, 'SIGKILL', found);
    if (found.length === 0) return true;
    if (performance.now() > deadline) return false;
    await delay(5);
  }
}
