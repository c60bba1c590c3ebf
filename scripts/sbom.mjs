/**
 * Prints the bill of materials of what runs in production, as CycloneDX JSON: `npm run --silent sbom > sbom.cdx.json`.
 *
 * By way of npm's own `npm sbom`, from the lock file alone. Not with `--omit dev`: npm then also leaves out what
 * both a development tool and the product use. It is given a copy without the development dependencies instead.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = new URL('../', import.meta.url);
const read = (name) => JSON.parse(readFileSync(new URL(name, root), 'utf8'));

const { devDependencies: _tools, ...manifest } = read('package.json');
const lock = read('package-lock.json');
delete lock.packages[''].devDependencies;
for (const [path, { dev }] of Object.entries(lock.packages)) if (dev) delete lock.packages[path];

const scratch = mkdtempSync(join(tmpdir(), 'interlock-sbom-'));
// npm takes the name of what it describes from the folder.
const directory = join(scratch, manifest.name);
let code = 1;
try {
  mkdirSync(directory);
  writeFileSync(join(directory, 'package.json'), JSON.stringify(manifest));
  writeFileSync(join(directory, 'package-lock.json'), JSON.stringify(lock));
  const args = ['sbom', '--package-lock-only', '--sbom-format', 'cyclonedx', '--sbom-type', 'application'];
  const { status, error } = spawnSync('npm', args, {
    cwd: directory,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (error !== undefined) console.error(`npm could not be run: ${error.message}`);
  code = status ?? 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
process.exit(code);
