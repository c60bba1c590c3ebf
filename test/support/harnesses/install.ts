/**
 * Installs promptfoo for the tests that run it: `npm run harnesses:install`.
 *
 * Apart from Interlock's own dependencies, because it brings some three hundred packages (250 MB) that nothing else needs: from a
 * lock file of its own, without install scripts, into a directory of the user's cache that is named after that lock file. Where it is
 * there already nothing is done. INTERLOCK_TEST_HARNESSES names another place. Prints the program's path.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const source = fileURLToPath(new URL('./promptfoo/', import.meta.url));

/** Where it is, or would be. */
export function promptfooProgram(): string {
  const lock = readFileSync(path.join(source, 'package-lock.json'));
  const name = `promptfoo-${createHash('sha256').update(lock).digest('hex').slice(0, 16)}`;
  const root = process.env['INTERLOCK_TEST_HARNESSES'] ?? path.join(homedir(), '.cache', 'interlock-test');
  return path.join(root, name, 'node_modules', '.bin', 'promptfoo');
}

function install(): string {
  const program = promptfooProgram();
  if (existsSync(program)) return program;
  const directory = path.dirname(path.dirname(path.dirname(program)));
  const making = `${directory}.${process.pid}`;
  mkdirSync(making, { recursive: true });
  try {
    for (const file of ['package.json', 'package-lock.json', '.npmrc'])
      cpSync(path.join(source, file), path.join(making, file));
    const npm = spawnSync(
      'npm',
      ['ci', '--ignore-scripts', '--omit=optional', '--omit=peer', '--no-audit', '--no-fund'],
      {
        cwd: making,
        stdio: ['ignore', 2, 2],
      },
    );
    if (npm.status !== 0) throw new Error(`npm ci in ${making} ended with ${npm.status ?? npm.signal}`);
    // At once, so that nobody ever finds half of it.
    if (!existsSync(directory)) renameSync(making, directory);
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
  return program;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) process.stdout.write(`${install()}\n`);
