/**
 * `interlock init`: a directory from which the service starts, with fresh identities, key and policies.
 *
 * Tokens are shown once, here; the files keep only their hashes.
 */
import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Initialised, initDirectory } from '../config/init.ts';
import { InterlockError } from '../errors.ts';
import { createKeyringFile } from '../signing/keyring.ts';
import { EXIT, type ExitCode } from './exit.ts';
import { json, type Style, table } from './output.ts';
import type { Terminal } from './terminal.ts';

const FIRST_POLICY = 'preparedness-beta';

export async function init(options: { dir: string; json?: true }, terminal: Terminal): Promise<ExitCode> {
  const written = await initDirectory(options.dir, { createKeyringFile, policies: await shippedPolicies() });
  terminal.print(options.json ? json(written) : welcome(written, terminal.style));
  return EXIT.ok;
}

function welcome({ configFile, tokens, webhookSecrets }: Initialised, style: Style): string {
  const credentials = [
    ...Object.entries(tokens).map(([id, token]) => [id, 'bearer token', token]),
    ...Object.entries(webhookSecrets).map(([id, secret]) => [id, 'webhook secret', secret]),
  ];
  return [
    `Wrote ${configFile}, with identities, a signing key and policies beside it.`,
    '',
    style.bold('Shown once; of the tokens only hashes are kept:'),
    table([{ title: 'identity' }, { title: 'kind' }, { title: 'value' }], credentials, style),
    '',
    'Start the service:',
    `  npx interlock serve --config ${shellWord(configFile)}`,
    'Then, as the operator, in another shell (paste the token, it stays out of the history):',
    '  read -rs INTERLOCK_TOKEN && export INTERLOCK_TOKEN',
    `  npx interlock status --config ${shellWord(configFile)}`,
  ].join('\n');
}

const shellWord = (text: string): string =>
  /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

/** Those of config/policies, wherever this file was built to; the default first. */
async function shippedPolicies(): Promise<{ name: string; text: string }[]> {
  const directory = await policiesDirectory(dirname(fileURLToPath(import.meta.url)));
  const files = (await readdir(directory)).filter((file) => extname(file) === '.yaml').sort();
  const policies = await Promise.all(
    files.map(async (file) => ({
      name: basename(file, '.yaml'),
      text: await readFile(join(directory, file), 'utf8'),
    })),
  );
  const isFirst = ({ name }: { name: string }): boolean => name === FIRST_POLICY;
  return [...policies.filter(isFirst), ...policies.filter((policy) => !isFirst(policy))];
}

async function policiesDirectory(from: string): Promise<string> {
  for (let directory = from; ; directory = dirname(directory)) {
    const candidate = join(directory, 'config', 'policies');
    const files = await readdir(candidate).catch((): string[] => []);
    if (files.includes(`${FIRST_POLICY}.yaml`)) return candidate;
    if (dirname(directory) === directory) {
      throw new InterlockError(
        'the policies that init begins with (config/policies) are not installed here',
        {
          code: 'cli.incomplete-installation',
        },
      );
    }
  }
}
