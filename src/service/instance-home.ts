/**
 * Where an instance runs, and whether its process has ended as far as can be seen from here.
 *
 * A pid means something only on the same machine, in the same boot and in the same namespace of pids (containers of
 * one host share the boot), and only together with its start time. Where any of that is unknown or differs nothing
 * is concluded and the lease decides, so a wrong guess costs time, never a second run of work that is alive.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { z } from 'zod';
import { processStat } from '../subprocess/process-stat.ts';

const HomeSchema = z.strictObject({ machine: z.string(), pid: z.int().min(1), startTime: z.string() });

export function describeHome(pid: number = process.pid): string {
  const machine = thisMachine();
  const startTime = processStat(pid)?.startTime;
  return machine === null || startTime === undefined
    ? `pid ${pid}`
    : JSON.stringify({ machine, pid, startTime } satisfies z.infer<typeof HomeSchema>);
}

/** True only where it is certain. */
export function hasEnded(detail: string): boolean {
  const home = homeOf(detail);
  if (home === null || home.machine !== thisMachine()) return false;
  const seen = processStat(home.pid);
  return seen === null ? isFree(home.pid) : seen.startTime !== home.startTime;
}

function homeOf(detail: string): z.infer<typeof HomeSchema> | null {
  try {
    return HomeSchema.safeParse(JSON.parse(detail)).data ?? null;
  } catch {
    return null;
  }
}

/** /proc may hide the processes of other accounts; the kernel still answers for their pids. */
function isFree(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ESRCH';
  }
}

function thisMachine(): string | null {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return null;
  }
}
