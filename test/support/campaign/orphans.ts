/** Processes of evaluations, by the marker that the service puts into their environment. Linux only: needs /proc. */
import { readdir, readFile } from 'node:fs/promises';
import { processStat } from '../../../src/subprocess/process-stat.ts';
import { MARKER_VARIABLE } from '../../../src/subprocess/process-tree.ts';

export interface EvaluationProcess {
  readonly pid: number;
  readonly parentPid: number;
  readonly marker: string;
}

export async function evaluationProcesses(dataDir: string): Promise<EvaluationProcess[]> {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
      const variables = new Map(
        environment.split('\0').map((each): [string, string] => {
          const at = each.indexOf('=');
          return [each.slice(0, at), each.slice(at + 1)];
        }),
      );
      const marker = variables.get(MARKER_VARIABLE);
      const ours = variables.get('INTERLOCK_RESULT_FILE')?.startsWith(dataDir) ?? false;
      const parentPid = processStat(Number(pid))?.parentPid;
      if (marker === undefined || parentPid === undefined || !ours) return [];
      return [{ pid: Number(pid), parentPid, marker }];
    }),
  );
  return found.flat();
}

/** Those that the service of this pid has not on record as its own: somebody else started them. */
export async function orphansOf(servicePid: number, dataDir: string): Promise<EvaluationProcess[]> {
  const unowned: EvaluationProcess[] = [];
  for (const process of await evaluationProcesses(dataDir)) {
    const record = await readFile(`${dataDir}/jobs/${process.marker}.json`, 'utf8').catch(() => '');
    if (!record.includes(`"owner":{"pid":${servicePid},`)) unowned.push(process);
  }
  // A job that ended between the two looks has no record any more, and no process either.
  const alive = new Set((await evaluationProcesses(dataDir)).map(({ pid }) => pid));
  return unowned.filter(({ pid }) => alive.has(pid));
}
