/** Which process is the red button of a directory: it says so in `button.json`, and its start time proves it. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { ButtonFiles } from './layout.ts';
import { isSameProcess } from './process-identity.ts';

export const ButtonProcessSchema = z.object({
  pid: z.int(),
  startTime: z.string().nullable(),
  url: z.string(),
  port: z.int(),
  version: z.string(),
  /** Of interlock.yaml as this process read it: another content wants another process. */
  configDigest: z.string(),
  startedAt: z.string(),
});
export type ButtonProcess = z.infer<typeof ButtonProcessSchema>;

/** The process that holds the button of this directory, if it lives. */
export function runningButton(files: ButtonFiles): ButtonProcess | null {
  const found = lastButton(files);
  return found !== null && isSameProcess(found) ? found : null;
}

/** The last one that held it, alive or not. */
export function lastButton({ process: path }: ButtonFiles): ButtonProcess | null {
  try {
    return ButtonProcessSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return null;
  }
}
