/** Which process wrote something, so that a pid that changed hands is not taken for it. */
import { openProc } from '../orchestrators/proc.ts';

const proc = openProc();

export interface ProcessIdentity {
  readonly pid: number;
  /** Boot and clock ticks since then; null where there is no /proc. */
  readonly startTime: string | null;
}

export function thisProcess(): ProcessIdentity {
  return { pid: process.pid, startTime: proc.read(process.pid)?.startTime ?? null };
}

/** Whether that process lives. Where start times cannot be seen, whether anything has its pid. */
export function isSameProcess({ pid, startTime }: ProcessIdentity): boolean {
  if (startTime !== null) {
    const found = proc.read(pid);
    return found?.startTime === startTime && !found.zombie;
  }
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
