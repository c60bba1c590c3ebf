/**
 * What is running, on disk: so that the jobs of an Interlock that was killed do not outlive it unseen.
 *
 * One directory holds, per job, `<marker>.json` and the working directory `<marker>/`. The record is written
 * before the program starts and gone when everything of it is. `sweepOrphans`, at start and then every few seconds
 * (orphan-watch.ts), ends what is left over, verified by control group, marker, or pid and start time, never by name; jobs of another Interlock that is alive are not
 * touched. The directory belongs to one machine: from another, or from another container, no pid can be verified.
 * A damaged record still has its marker in its name, and only what carries that marker, or is in a group that does,
 * is ended.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { isGroupOf, removeGroups } from '../subprocess/cgroups.ts';
import { processStat } from '../subprocess/process-stat.ts';
import { killJob } from '../subprocess/process-tree.ts';
import type { Containment } from './containment.ts';

const ProcessSchema = z.strictObject({ pid: z.int().min(2), startTime: z.string().nullable() });
const RecordSchema = z.strictObject({
  marker: z.string().regex(/^[0-9a-f]{32}$/),
  bootId: z.string().nullable(),
  owner: ProcessSchema,
  leader: ProcessSchema.nullable(),
  /** Control groups, named before they are made. */
  groups: z.array(z.string()).default([]),
  /** Whose checkpoint it evaluates: the red button ends the jobs of a run, and knows them by this alone. */
  runId: z.string().nullable().default(null),
});
type JobRecord = z.infer<typeof RecordSchema>;

export interface Job {
  marker: string;
  /** Fresh, mode 0700. */
  directory: string;
  groups: readonly string[];
  started(pid: number): Promise<{ pid: number; startTime: string | null }>;
  /** Removes groups, directory and record. `left`: something could not be killed, so the record stays for the next sweep. */
  finished(options?: { left: boolean }): Promise<void>;
}

export async function openJob(
  jobsDirectory: string,
  { groupsOf }: Pick<Containment, 'groupsOf'>,
  runId: string | null = null,
): Promise<Job> {
  await mkdir(jobsDirectory, { recursive: true, mode: 0o700 });
  const marker = randomBytes(16).toString('hex');
  const directory = path.join(jobsDirectory, marker);
  const owner = { pid: process.pid, startTime: processStat(process.pid)?.startTime ?? null };
  const groups = groupsOf(marker);
  const record: JobRecord = { marker, bootId: bootId(), owner, leader: null, groups, runId };
  await writeRecord(jobsDirectory, record);
  await mkdir(directory, { mode: 0o700 });
  return {
    marker,
    directory,
    groups,
    async started(pid) {
      const leader = { pid, startTime: processStat(pid)?.startTime ?? null };
      await writeRecord(jobsDirectory, { ...record, leader });
      return leader;
    },
    async finished({ left } = { left: false }) {
      const emptied = await removeGroups(groups);
      await removeTree(directory);
      if (!left && emptied) await rm(recordFile(jobsDirectory, marker), { force: true });
    },
  };
}

/**
 * Ends the jobs of a run, or of all, whoever owns them; answers how many there were. For the red button: it needs
 * nobody who started them to be alive, and their owner, if it is, sees them end by a signal.
 */
export async function killRunJobs(jobsDirectory: string, runId: string | null): Promise<number> {
  const names = await readdir(jobsDirectory).catch((): string[] => []);
  const markers = names.flatMap((name) => /^([0-9a-f]{32})\.json$/.exec(name)?.[1] ?? []);
  const killed = await Promise.all(
    markers.map(async (marker) => {
      const record = await readRecord(recordFile(jobsDirectory, marker), marker);
      if (record === null || (runId !== null && record.runId !== runId)) return 0;
      const leader = record.bootId === bootId() ? record.leader : null;
      await killJob({ marker, leader, groups: record.groups.filter((group) => isGroupOf(group, marker)) });
      return 1;
    }),
  );
  return killed.reduce((sum: number, each) => sum + each, 0);
}

export interface Sweep {
  /** Jobs of an Interlock that is gone. */
  orphans: number;
  /** Of these, jobs of which something is still alive after all rounds. */
  survived: number;
}

export async function sweepOrphans(
  jobsDirectory: string,
  containment: Pick<Containment, 'groupsOf'>,
): Promise<Sweep> {
  const names = await readdir(jobsDirectory).catch((): string[] => []);
  const sweep: Sweep = { orphans: 0, survived: 0 };
  const markers = names.map((name) => /^([0-9a-f]{32})\.json(?:\.new)?$/.exec(name)?.[1]);
  for (const marker of new Set(markers.filter((found) => found !== undefined))) {
    const file = recordFile(jobsDirectory, marker);
    // Only `.new`: its Interlock was killed before the first rename, hence before anything ran, or is about to rename.
    const record = await readRecord(names.includes(path.basename(file)) ? file : newFile(file), marker);
    if (record !== null && isAlive(record.owner)) continue;
    // Damaged, then; one that is gone by now belonged to a job that has just ended.
    if (record === null && !existsSync(file)) continue;
    sweep.orphans += 1;
    // Pids and start times are of one boot only; the marker is random and holds for ever.
    const leader = record !== null && record.bootId === bootId() ? record.leader : null;
    const groups = record?.groups.filter((group) => isGroupOf(group, marker)) ?? containment.groupsOf(marker);
    if (!(await killJob({ marker, leader, groups })) || !(await removeGroups(groups))) {
      sweep.survived += 1;
      continue;
    }
    await removeTree(path.join(jobsDirectory, marker));
    await rm(newFile(file), { force: true });
    await rm(file, { force: true });
  }
  return sweep;
}

function isAlive({ pid, startTime }: { pid: number; startTime: string | null }): boolean {
  if (startTime !== null) return processStat(pid)?.startTime === startTime;
  // Without /proc the pid alone must do: at worst an orphan is left for its own timeout to end.
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

const recordFile = (jobsDirectory: string, marker: string) => path.join(jobsDirectory, `${marker}.json`);
const newFile = (file: string) => `${file}.new`;

async function writeRecord(jobsDirectory: string, record: JobRecord): Promise<void> {
  const file = recordFile(jobsDirectory, record.marker);
  await writeFile(newFile(file), JSON.stringify(record), { mode: 0o600 });
  await rename(newFile(file), file);
}

async function readRecord(file: string, marker: string): Promise<JobRecord | null> {
  try {
    const record = RecordSchema.parse(JSON.parse(await readFile(file, 'utf8')));
    return record.marker === marker ? record : null;
  } catch {
    return null;
  }
}

function bootId(): string | null {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return null;
  }
}

/** Best effort: a program may leave what its own user cannot remove, and a result must not be lost to that. */
async function removeTree(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true, maxRetries: 2 }).catch(() => undefined);
}
