/**
 * Interlock as it is shipped: built once, beside its committed entry and its presets, as in the container image.
 *
 * The campaign starts the service some sixty times; the build starts in half the time that the sources take, and it
 * stays the same while somebody edits them. Which of the two runs is bin/interlock.mjs's own choice.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, realpath, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const COPIED = ['bin', 'config', 'package.json'];

export interface Installation {
  readonly bin: string;
  remove(): Promise<void>;
}

export async function installBuild(): Promise<Installation> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'interlock-build-')));
  const remove = () => rm(directory, { recursive: true, force: true });
  try {
    await build(join(directory, 'dist'));
    for (const name of COPIED) await cp(join(ROOT, name), join(directory, name), { recursive: true });
    await symlink(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
  } catch (error) {
    await remove();
    throw error;
  }
  return { bin: join(directory, 'bin', 'interlock.mjs'), remove };
}

async function build(outDir: string): Promise<void> {
  const tsc = spawn(
    join(ROOT, 'node_modules', '.bin', 'tsc'),
    ['-p', 'tsconfig.build.json', '--outDir', outDir, '--sourceMap', 'false'],
    { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let said = '';
  tsc.stdout.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const [code] = await once(tsc, 'close');
  if (code !== 0) throw new Error(`the build ended with ${code}:\n${said.slice(0, 2_000)}`);
}
