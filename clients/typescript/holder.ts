/**
 * Which process uses a run's memory: one at a time may, and the next one knows that the last is gone.
 *
 * A file says who; only the operating system says whether that process still runs. Where it cannot be asked (another
 * machine on a shared disk) nothing is claimed: the service's own rule, one live instance per permit, decides.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { InterlockClientError } from './errors.ts';
import type { Holder } from './guard-state.ts';

export function thisProcess(instance: string | undefined): Holder {
  return {
    instance: instance ?? `i-${randomBytes(12).toString('hex')}`,
    host: hostname(),
    pid: process.pid,
    startedAt: ownStart(),
  };
}

/** Of this process, which keeps it for life: every guard asks. */
let own: string | null = null;

function ownStart(): string | null {
  own ??= startOf(process.pid);
  return own;
}

/**
 * The instance that `next` takes over from, or null where it cannot be known that it is gone. Throws where it is
 * known to be alive: two processes with one memory would undo each other's halts.
 */
export function predecessorOf(last: Holder | undefined, next: Holder, path: string): string | null {
  if (last === undefined || last.instance === next.instance || last.host !== next.host) return null;
  // The same process: an earlier guard of it, which is closed or about to be.
  if (last.pid === next.pid && last.startedAt === next.startedAt) return last.instance;
  if (isAlive(last)) {
    throw new InterlockClientError(
      `${path} is in use by process ${last.pid}: one process trains a run at a time`,
      { code: 'bad-configuration', retryable: false },
    );
  }
  return last.instance;
}

function isAlive({ pid, startedAt }: Holder): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: there is one, and it is not ours to signal.
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return false;
  }
  const nowStarted = startOf(pid);
  return startedAt === null || nowStarted === null || nowStarted === startedAt;
}

/** Boot and clock ticks since boot, where /proc says so: the name of one life of a process number. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the command in parentheses, which may hold spaces and parentheses.
    const [state, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (state === 'Z' || state === 'X') return 'ended';
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${boot}/${rest[18] ?? ''}`;
  } catch {
    return null;
  }
}
