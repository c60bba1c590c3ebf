/**
 * Where the red button keeps its files: a directory of its own below `dataDir`, for one machine.
 *
 *   books/<instance>.book   what the service knows of its runs, one file per service
 *   spool/<writer>.spool    presses, one file per process that takes them
 *   marks                   which of them are in the ledger
 *   codes.json, used/       printed codes (their hashes), and the record of their use
 *   button.json, button.log the process itself
 *
 * Readable by its owner alone: a book names every target of a halt.
 */
import { closeSync, fsyncSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';

export interface ButtonFiles {
  readonly directory: string;
  readonly books: string;
  readonly spool: string;
  readonly marks: string;
  readonly codes: string;
  readonly usedCodes: string;
  readonly process: string;
  readonly log: string;
  /** Records of running evaluation jobs, written by the evaluators. */
  readonly jobs: string;
}

export function buttonFiles(dataDir: string): ButtonFiles {
  const directory = join(dataDir, 'button');
  return {
    directory,
    books: join(directory, 'books'),
    spool: join(directory, 'spool'),
    marks: join(directory, 'marks'),
    codes: join(directory, 'codes.json'),
    usedCodes: join(directory, 'used'),
    process: join(directory, 'button.json'),
    log: join(directory, 'button.log'),
    jobs: join(dataDir, 'jobs'),
  };
}

export function makeButtonDirectories({ books, spool, usedCodes }: ButtonFiles): void {
  for (const directory of [books, spool, usedCodes]) mkdirSync(directory, { recursive: true, mode: 0o700 });
}

/** Makes a name that was created or replaced durable, where the platform lets a directory be opened. */
export function syncDirectory(directory: string): void {
  if (process.platform === 'win32') return;
  const handle = openSync(directory, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
