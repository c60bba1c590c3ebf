/** Whether a process is there and not a zombie that only waits to be reaped. */
import { readFile } from 'node:fs/promises';

export async function isAlive(pid: number): Promise<boolean> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    return !/^\d+ \(.*\) [ZX]/s.test(stat);
  } catch {
    return false;
  }
}
