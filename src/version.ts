/** The version of this build, from package.json: in the sources two folders up from dist, else one. */
import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';

const candidates = ['../package.json', '../../package.json'].map((path) => new URL(path, import.meta.url));
const file = candidates.find((url) => existsSync(url));

export const VERSION: string =
  file === undefined
    ? 'unknown'
    : z.object({ version: z.string() }).parse(JSON.parse(readFileSync(file, 'utf8'))).version;
