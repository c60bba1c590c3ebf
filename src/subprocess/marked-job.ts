/** A program that ends with the call that started it: no sweep need find it again, and all that it started is found by its mark. */
import { randomBytes } from 'node:crypto';
import { processStat } from './process-stat.ts';
import { MARKER_VARIABLE } from './process-tree.ts';
import type { ProgramJob } from './run-program.ts';

export function markedJob(): { readonly job: ProgramJob; readonly env: Readonly<Record<string, string>> } {
  const marker = randomBytes(16).toString('hex');
  return {
    job: {
      marker,
      groups: [],
      started: (pid) => ({ pid, startTime: processStat(pid)?.startTime ?? null }),
    },
    env: { [MARKER_VARIABLE]: marker },
  };
}
