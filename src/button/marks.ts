/**
 * Marks: which presses the ledger has. Written by the service after the commit, read by whoever sends halts.
 *
 * A mark that is lost costs a repetition that changes nothing; one that were written too early would cost a press.
 * Several services may write: each line is one write to a file opened for appending.
 */
import { closeSync, fdatasyncSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { FollowedFile } from './followed-file.ts';
import { syncDirectory } from './layout.ts';
import { recordLine } from './record-line.ts';

const MarkSchema = z.object({ pressId: z.string(), at: z.string() });

export function writeMarks(path: string, pressIds: readonly string[], at: Date): void {
  const lines = pressIds.map((pressId) => recordLine({ pressId, at: at.toISOString() }));
  const handle = openSync(path, 'a', 0o600);
  try {
    for (const line of lines) writeSync(handle, line);
    fdatasyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/** Leaves the marks of presses that still stand in a spool. */
export function compactMarks(path: string, pressIds: readonly string[], at: Date): void {
  const beside = `${path}.${process.pid}.new`;
  const handle = openSync(beside, 'w', 0o600);
  try {
    writeSync(
      handle,
      Buffer.concat(pressIds.map((pressId) => recordLine({ pressId, at: at.toISOString() }))),
    );
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
  renameSync(beside, path);
  syncDirectory(dirname(path));
}

export class MarkReader {
  readonly #file: FollowedFile;
  readonly #entered = new Set<string>();

  constructor(path: string) {
    this.#file = new FollowedFile(path);
  }

  read(): ReadonlySet<string> {
    const followed = this.#file.read();
    if (followed?.isWhole === true) this.#entered.clear();
    for (const record of followed?.records ?? []) {
      const mark = MarkSchema.safeParse(record);
      if (mark.success) this.#entered.add(mark.data.pressId);
    }
    return this.#entered;
  }
}
