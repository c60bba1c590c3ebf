/** What a postmaster writes about itself into its data directory. A claim: the process must still be identified. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fault, hasCode } from './faults.ts';
import type { Layout } from './layout.ts';

export interface PidFile {
  readonly pid: number;
  readonly socketDirectory: string;
  /** `starting`, `ready`, `stopping`; empty for a moment at first. */
  readonly status: string;
}

/** Null when there is none, or when only its beginning has been written. */
export async function readPidFile(layout: Layout): Promise<PidFile | null> {
  const text = await readFile(join(layout.cluster, 'postmaster.pid'), 'utf8').catch((error: unknown) => {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return '';
    throw fault('data-directory-unusable', `the data directory ${layout.cluster} cannot be read`, error);
  });
  const lines = text.split('\n');
  const pid = Number.parseInt(lines[0] ?? '', 10);
  const socketDirectory = lines[4] ?? '';
  if (!Number.isSafeInteger(pid) || pid <= 0 || socketDirectory === '') return null;
  return { pid, socketDirectory, status: lines[7]?.trim() ?? '' };
}
