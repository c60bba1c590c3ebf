/** What /proc says of processes; nothing where there is no /proc. */
import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';

export interface ProcessStat {
  pid: number;
  parentPid: number;
  groupId: number;
  /** In clock ticks since boot, as text: compared for equality only. */
  startTime: string;
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

export async function liveProcesses(): Promise<ProcessStat[]> {
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
