/**
 * Reading processes from Linux's /proc, with enough identity to tell a process from the next owner of its pid.
 *
 * `startTime` is boot id and clock ticks since boot: ticks alone repeat after a reboot, when a service that
 * starts at boot may well get the same pid at the same tick.
 */
import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface ProcessEntry {
  pid: number;
  groupId: number;
  startTime: string;
  /** Has ended and only waits for its parent to notice. */
  zombie: boolean;
}

export interface Proc {
  /** False where there is no /proc to read, as on macOS. */
  available(): boolean;
  /** Synchronous, so that nothing comes between reading a process and signalling it. */
  read(pid: number): ProcessEntry | null;
  /** Everything in a process group that has not ended. */
  liveGroup(groupId: number): Promise<ProcessEntry[]>;
  bootId(): string;
}

export function openProc(root = '/proc'): Proc {
  const bootId = (): string => {
    try {
      return readFileSync(join(root, 'sys/kernel/random/boot_id'), 'latin1').trim();
    } catch {
      return 'boot'; // hidden in some sandboxes: ticks alone must do
    }
  };
  const read = (pid: number): ProcessEntry | null => {
    try {
      return parseStat(pid, readFileSync(join(root, String(pid), 'stat'), 'latin1'), bootId());
    } catch {
      return null; // no such process, or not ours to see
    }
  };

  return {
    bootId,
    read,
    available: () => read(process.pid) !== null,
    async liveGroup(groupId) {
      const boot = bootId();
      const names = await readdir(root).catch(() => []);
      const entries = await Promise.all(
        names
          .filter((name) => /^[1-9]\d*$/.test(name))
          .map(async (name) => {
            const text = await readFile(join(root, name, 'stat'), 'latin1').catch(() => null);
            return text === null ? null : parseStat(Number(name), text, boot);
          }),
      );
      return entries
        .filter((entry) => entry !== null)
        .filter((entry) => entry.groupId === groupId && !entry.zombie);
    },
  };
}

export function parseStat(pid: number, text: string, bootId: string): ProcessEntry | null {
  // The name in parentheses may hold spaces and parentheses: the fields begin after the last one.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, , groupId] = fields;
  const ticks = fields[19];
  if (state === undefined || groupId === undefined || ticks === undefined || !/^\d+$/.test(ticks))
    return null;
  return {
    pid,
    groupId: Number(groupId),
    startTime: `${bootId}:${ticks}`,
    zombie: state === 'Z' || state === 'X',
  };
}
