/**
 * A directory that a harness wrote into: its logs, and which of them is the one.
 *
 * A log's companions (a manifest, the samples of a results file) lie beside it and are not its rivals. Whatever else claims to be a
 * log and cannot be read still is one: a damaged log beside a good one leaves nobody the choice. Links are not followed.
 */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { type Reading, type ReadRequest, readLog } from './detect.ts';
import { refusal } from './harness-values.ts';
import { openLog } from './log-source.ts';

const FILES = 10_000;
const DEPTH = 8;

export interface FoundLog {
  /** Relative to the directory. */
  readonly file: string;
  readonly reading: Reading;
}

/** Every file that some reader claims, sorted by name. Null: more files than are looked at. */
export async function logsIn(directory: string, request: ReadRequest = {}): Promise<FoundLog[] | null> {
  const files = await filesBelow(directory);
  if (files === null) return null;
  const found: FoundLog[] = [];
  for (const file of files) {
    const source = await openLog(path.join(directory, file));
    if (source === null) continue;
    const reading = await readLog(source, request).finally(() => source.close());
    if (isLog(reading)) found.push({ file, reading });
  }
  return found;
}

/** The one log of a run's directory. `log-missing`, `log-ambiguous`, or what is wrong with it. */
export async function logOfDirectory(directory: string, request: ReadRequest = {}): Promise<Reading> {
  const logs = await logsIn(directory, request);
  if (logs === null) return { ...refusal('log-too-large', `has over ${FILES} files`), kind: null };
  const kinds = new Set(logs.map(({ reading }) => kindOf(reading)));
  const mains = logs.filter(({ reading }) => {
    if (reading.ok && reading.log.status === null) return false;
    const leader = LEADERS.get(kindOf(reading) ?? '');
    return leader === undefined || !kinds.has(leader);
  });
  const [only, ...others] = mains;
  if (only === undefined) return { ...refusal('log-missing', 'has no log'), kind: null };
  if (others.length > 0) return { ...refusal('log-ambiguous', `has ${mains.length} logs`), kind: null };
  return only.reading;
}

/** What is written beside another file about the same run. */
const LEADERS: ReadonlyMap<string, string> = new Map([
  ['lm-eval-samples', 'lm-eval-results'],
  ['swe-bench-instance-report', 'swe-bench-run-report'],
  ['promptfoo-jsonl', 'promptfoo-json'],
]);

const kindOf = (reading: Reading): string | null => (reading.ok ? reading.log.format : reading.kind);

/** A file of another format is none of the named one; one that nobody claims is none. */
function isLog(reading: Reading): boolean {
  return reading.ok || !['format-unknown', 'format-disagrees', 'log-empty'].includes(reading.problem);
}

async function filesBelow(directory: string): Promise<string[] | null> {
  const files: string[] = [];
  const open = [{ folder: '', depth: 0 }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const entry of await readdir(path.join(directory, next.folder), { withFileTypes: true })) {
      const name = path.join(next.folder, entry.name);
      if (entry.isFile()) files.push(name);
      else if (entry.isDirectory() && next.depth < DEPTH) open.push({ folder: name, depth: next.depth + 1 });
      if (files.length + open.length > FILES) return null;
    }
  }
  return files.sort();
}
