/**
 * A module loader hook: one file of the code under test is read with one passage replaced, in memory only.
 *
 * Loaded before tsx, so that it stands behind it: tsx asks it for the source, and transpiles what it is given.
 * INTERLOCK_MUTANT is JSON: { file, find, replace }. A passage that is not there exactly once is an error.
 */
import { readFile } from 'node:fs/promises';
import { register } from 'node:module';
import { pathToFileURL } from 'node:url';
import { isMainThread } from 'node:worker_threads';

const { file, find, replace } = JSON.parse(process.env['INTERLOCK_MUTANT'] ?? '{}');
const target = pathToFileURL(file ?? '').href;

if (isMainThread) register(import.meta.url);

export async function load(url, context, nextLoad) {
  if (url.split('?')[0] !== target) return nextLoad(url, context);
  const source = await readFile(new URL(target), 'utf8');
  if (source.split(find).length !== 2)
    throw new Error(`the passage to change is not exactly once in ${file}`);
  return { format: 'module', shortCircuit: true, source: source.replace(find, () => replace) };
}
