/** A file that is there whole or not at all, and is on disk when the call returns: written beside, fsynced, renamed. */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

export function writeDurably(path: string, data: string | Uint8Array): void {
  const partial = `${path}.${process.pid}.partial`;
  const handle = openSync(partial, 'w', 0o600);
  try {
    try {
      writeFileSync(handle, data);
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
    renameSync(partial, path);
  } catch (error) {
    rmSync(partial, { force: true });
    throw error;
  }
  syncDirectory(dirname(path));
}

/** Makes the rename durable, where the platform lets a directory be opened. */
function syncDirectory(directory: string): void {
  if (process.platform === 'win32') return;
  const handle = openSync(directory, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
