/**
 * The one log that an attempt left below its directory, and what its reader makes of it.
 *
 * None and several are answers of their own: a log is never chosen for being the newest or the first. Links are not followed;
 * what the harness or a model put there is bounded in number and depth.
 */
import { lstat, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import type { HarnessLog, LogProblem } from '../../domain/harness-log.ts';
import { type HarnessFormatName, matchesLogPattern } from '../../domain/log-pattern.ts';
import type { ReadLog, ReadOptions } from '../formats/format.ts';
import { type LogSource, openLog } from '../formats/log-source.ts';

/** Reads by the reader of that name; without one, by the reader that claims the file. */
export type ReadHarnessLog = (
  source: LogSource,
  options: ReadOptions & { readonly format?: HarnessFormatName | undefined },
) => Promise<ReadLog>;

export interface LogWanted {
  /** Absolute. */
  readonly directory: string;
  /** As domain/log-pattern.ts has it. */
  readonly pattern: string;
  readonly format: 'auto' | HarnessFormatName;
}

export type FoundLog =
  | { readonly ok: true; readonly file: string; readonly log: HarnessLog; readonly modifiedAt: string }
  | { readonly ok: false; readonly problem: LogProblem; readonly detail: string };

/** Of a directory that no harness writes, rather than many logs. */
const ENTRIES_MAX = 10_000;
const DEPTH_MAX = 12;
/** So many are opened to tell logs from what lies beside them. */
const CANDIDATES_MAX = 32;

interface Meant {
  /** Absolute, in order of their names. */
  readonly files: readonly string[];
  /** False: there may be more, where nobody has looked. */
  readonly isWhole: boolean;
}

type Place = Pick<LogWanted, 'directory' | 'pattern'>;

/** Absolute paths below the directory that the pattern means, in order of their names; not more than are looked for. */
export const filesMeant = async (place: Place): Promise<readonly string[]> => (await lookFor(place)).files;

async function lookFor({ directory, pattern }: Place): Promise<Meant> {
  // A name without wildcards is one file, whatever else lies about.
  if (!pattern.includes('*')) return { files: await fileOf(directory, pattern.split('/')), isWhole: true };
  const files: string[] = [];
  const depthMax = pattern.split('/').includes('**') ? DEPTH_MAX : pattern.split('/').length - 1;
  let isWhole = true;
  let entries = 0;
  const walk = async (relative: string, depth: number): Promise<void> => {
    const inside = await readdir(path.join(directory, relative), { withFileTypes: true }).catch(() => null);
    if (inside === null) isWhole = false;
    for (const entry of (inside ?? []).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      entries += 1;
      if (entries > ENTRIES_MAX) {
        isWhole = false;
        return;
      }
      const below = relative === '' ? entry.name : `${relative}/${entry.name}`;
      if (entry.isFile() && matchesLogPattern(pattern, below)) files.push(path.join(directory, below));
      if (!entry.isDirectory()) continue;
      if (depth < depthMax) await walk(below, depth + 1);
      else if (depth >= DEPTH_MAX) isWhole = false;
    }
  };
  await walk('', 0);
  return { files, isWhole };
}

/** As walking there would find it: no part of the path is a link. */
async function fileOf(directory: string, [name = '', ...below]: readonly string[]): Promise<string[]> {
  const at = path.join(directory, name);
  const stats = await lstat(at).catch(() => null);
  if (below.length > 0) return stats?.isDirectory() === true ? fileOf(at, below) : [];
  return stats?.isFile() === true ? [at] : [];
}

export async function findLog(
  wanted: LogWanted,
  readLog: ReadHarnessLog,
  options: ReadOptions,
): Promise<FoundLog> {
  const { files, isWhole } = await lookFor(wanted);
  const [only, second] = files;
  if (only === undefined)
    return { ok: false, problem: 'log-missing', detail: `no file is ${wanted.pattern}` };
  // Another one may lie where nobody has looked, and the first is never taken for being the first.
  if (!isWhole) {
    const detail = 'the directory has too many files, or a part that cannot be read: name the log';
    return { ok: false, problem: 'log-ambiguous', detail };
  }
  if (second === undefined) return readOne(only, wanted, readLog, options);
  if (files.length > CANDIDATES_MAX) return ambiguous(files.length);

  // Read without single scores first: they may be many, and of one file alone they are wanted.
  const logs: string[] = [];
  let unread: FoundLog | null = null;
  for (const file of files) {
    const read = await readOne(file, wanted, readLog, {});
    if (read.ok && read.log.status !== null) logs.push(file);
    else if (!read.ok && !IS_ANOTHER_FILE.has(read.problem)) unread ??= read;
  }
  const [log, another] = logs;
  if (another !== undefined) return ambiguous(logs.length);
  // One that is broken may be the log: beside it another is not taken for it.
  if (unread !== null) return log === undefined ? unread : ambiguous(2);
  if (log === undefined) {
    return { ok: false, problem: 'log-missing', detail: `none of ${files.length} files is a log` };
  }
  return readOne(log, wanted, readLog, options);
}

const IS_ANOTHER_FILE: ReadonlySet<LogProblem> = new Set(['format-unknown', 'format-disagrees']);

const ambiguous = (count: number): FoundLog => ({
  ok: false,
  problem: 'log-ambiguous',
  detail: `${count} files could be the log`,
});

async function readOne(
  file: string,
  { format }: LogWanted,
  readLog: ReadHarnessLog,
  options: ReadOptions,
): Promise<FoundLog> {
  const source = await openLog(file);
  if (source === null) return { ok: false, problem: 'log-missing', detail: 'the file is gone, or is none' };
  try {
    const { mtimeMs } = await stat(file);
    const read = await readLog(source, format === 'auto' ? options : { ...options, format });
    if (!read.ok) return { ok: false, problem: read.problem, detail: read.detail };
    return { ok: true, file, log: read.log, modifiedAt: new Date(mtimeMs).toISOString() };
  } finally {
    await source.close();
  }
}
