/** Programs as files: found by name, and whether they can be run at all. */
import { accessSync, constants, statSync } from 'node:fs';
import path from 'node:path';

/** The first executable file of that name; null where there is none. */
export function findProgram(name: string, directories: readonly string[]): string | null {
  for (const directory of directories) {
    if (!path.isAbsolute(directory)) continue;
    const file = path.join(directory, name);
    if (programFault(file) === null) return file;
  }
  return null;
}

/** Why a file cannot be run, as the system would say it; null where it can. */
export function programFault(file: string): 'ENOENT' | 'EACCES' | null {
  try {
    accessSync(file, constants.F_OK);
  } catch {
    return 'ENOENT';
  }
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile() ? null : 'EACCES';
  } catch {
    return 'EACCES';
  }
}
