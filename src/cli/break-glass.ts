/**
 * `interlock break-glass create|list|revoke`: printed codes that press the red button once each.
 *
 * Needs neither service nor database. Codes are shown once, by `create`; what is kept are hashes. They take effect, and
 * end, with the file: a running button looks it up at every use.
 */
import { createCodes, listCodes, revokeCodes } from '../button/break-glass.ts';
import { buttonFiles } from '../button/layout.ts';
import { loadConfig } from './configuration.ts';
import { EXIT, type ExitCode, UsageError } from './exit.ts';
import { json, plural, printable, table } from './output.ts';
import type { Terminal } from './terminal.ts';

export interface CodeOptions {
  readonly config?: string;
  readonly identity?: string;
  readonly json?: true;
}

const COUNT_MAX = 100;

export async function codesCreate(
  { identity, count, config, ...options }: CodeOptions & { identity: string; count: number },
  terminal: Terminal,
): Promise<ExitCode> {
  if (!Number.isSafeInteger(count) || count < 1 || count > COUNT_MAX) {
    throw new UsageError(`--count is a whole number from 1 to ${COUNT_MAX}`);
  }
  const loaded = await loadConfig(config, terminal);
  const holder = loaded.identities.find(({ id }) => id === identity);
  if (holder === undefined) throw new UsageError(`there is no identity ${printable(identity)}`);
  if (holder.groups.length === 0) {
    throw new UsageError(
      `${printable(identity)} is in no governance group, so its codes would press nothing`,
    );
  }
  const codes = createCodes(buttonFiles(loaded.dataDir), identity, count, new Date());
  terminal.print(
    options.json
      ? json({ identity, codes })
      : [
          ...codes.map(({ codeId, code }) => `${code}   ${codeId}`),
          '',
          `Shown once: ${plural(codes.length, 'code')} of ${identity}. Each presses the red button once, under this name, and opens nothing else. Print them, and lock the paper away.`,
        ].join('\n'),
  );
  return EXIT.ok;
}

export async function codesList(
  { identity, config, ...options }: CodeOptions,
  terminal: Terminal,
): Promise<ExitCode> {
  const { dataDir } = await loadConfig(config, terminal);
  const codes = listCodes(buttonFiles(dataDir)).filter(
    (each) => identity === undefined || each.identity === identity,
  );
  terminal.print(
    options.json
      ? json({ codes })
      : codes.length === 0
        ? 'there are no printed codes'
        : table(
            [{ title: 'code' }, { title: 'identity' }, { title: 'created' }, { title: 'used' }],
            codes.map((each) => [each.codeId, each.identity, each.createdAt, each.usedAt ?? '-']),
            terminal.style,
          ),
  );
  return EXIT.ok;
}

export async function codesRevoke(
  { identity, id, config, ...options }: CodeOptions & { id?: string },
  terminal: Terminal,
): Promise<ExitCode> {
  if (identity === undefined && id === undefined) throw new UsageError('name --identity, or a code by --id');
  const { dataDir } = await loadConfig(config, terminal);
  const revoked = revokeCodes(
    buttonFiles(dataDir),
    (code) =>
      (id === undefined || code.codeId === id) && (identity === undefined || code.identity === identity),
  );
  terminal.print(options.json ? json({ revoked }) : `${plural(revoked.length, 'code')} revoked`);
  return revoked.length === 0 ? EXIT.negative : EXIT.ok;
}
