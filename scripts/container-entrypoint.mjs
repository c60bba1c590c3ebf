/**
 * The container's first process: `serve` on a volume that holds no configuration yet writes one, then the command
 * line runs in this very process, so that signals reach it.
 *
 * What `interlock init` writes is for one machine; in a container the service listens on every address (the
 * container's own; publish it on loopback or behind a proxy), keeps its data in /data, and signals no process.
 * INTERLOCK_INIT_OUTBOUND_ALLOW (a list with commas) opens destinations from the start; later, edit interlock.yaml.
 * Tokens and secrets are in credentials.json beside it, once and readable by its owner alone: take them and delete it.
 *
 * interlock.yaml is moved into place last: a start that was cut off begins again.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseDocument } from 'yaml';

const bin = fileURLToPath(new URL('../bin/interlock.mjs', import.meta.url));
const configFile = process.env.INTERLOCK_CONFIG ?? '/config/interlock.yaml';

function initialise() {
  const directory = dirname(configFile);
  const draft = join(directory, '.first-start');
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true, mode: 0o700 });

  const { tokens, webhookSecrets } = JSON.parse(
    execFileSync(process.execPath, [bin, 'init', '--dir', draft, '--json'], { encoding: 'utf8' }),
  );
  const credentials = JSON.stringify({ tokens, webhookSecrets }, null, 2);
  writeFileSync(join(draft, 'credentials.json'), `${credentials}\n`, { mode: 0o600 });

  const file = join(draft, 'interlock.yaml');
  const config = parseDocument(readFileSync(file, 'utf8'));
  config.setIn(['server', 'host'], '0.0.0.0');
  config.set('dataDir', '/data');
  config.setIn(['orchestrators', 'process', 'enabled'], false);
  const allow = (process.env.INTERLOCK_INIT_OUTBOUND_ALLOW ?? '').split(',').filter((entry) => entry !== '');
  config.setIn(['outbound', 'allow'], allow);
  writeFileSync(file, config.toString({ lineWidth: 0 }), { mode: 0o600 });

  const names = readdirSync(draft).filter((name) => name !== 'interlock.yaml');
  for (const name of [...names, 'interlock.yaml']) {
    rmSync(join(directory, name), { recursive: true, force: true });
    renameSync(join(draft, name), join(directory, name));
  }
  rmSync(draft, { recursive: true });
  process.stderr.write(
    `first start: wrote ${directory}; tokens are in ${join(directory, 'credentials.json')}\n`,
  );
}

if (process.argv[2] === 'serve' && !existsSync(configFile)) initialise();
await import(bin);
