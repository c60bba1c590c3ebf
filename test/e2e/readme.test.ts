/**
 * The README cannot rot: its quick start with curl and openssl is run as it stands, and what it points at exists.
 *
 * Changed before it runs: the two port numbers, so that tests may run beside a service, and `npx`, which stands for
 * this checkout's `bin/interlock.mjs` and nothing else. It runs in an empty directory with a link to `bin`. Each ```text block must be what the block before it printed.
 * Not here: the first quick start, which is the demo's own test.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { styleFor } from '../../src/cli/output.ts';
import { createProgram } from '../../src/cli/program.ts';
import type { Terminal } from '../../src/cli/terminal.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const readme = readFileSync(join(root, 'README.md'), 'utf8');

interface Block {
  readonly language: string;
  readonly text: string;
}

const sectionOf = (title: string): string => {
  const [, section = ''] = readme.split(`\n## ${title}\n`);
  return section.split('\n## ')[0] ?? '';
};

/** The anchors of a page's headings, as the usual renderers make them. */
const headingsOf = (file: string): string[] =>
  [...readFileSync(file, 'utf8').matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );

const blocksOf = (markdown: string): Block[] =>
  [...markdown.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(([, language = '', text = '']) => ({
    language,
    text,
  }));

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => {
    const address = server.address();
    return address !== null && typeof address === 'object' ? address.port : 0;
  });
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}

/** `npx interlock ...` of this checkout, whatever npm would make of it; nothing else may be run through npx. */
const NPX = `#!/bin/sh
[ "$1" = interlock ] || { echo "not a command of this checkout: npx $1" >&2; exit 2; }
shift
exec "${process.execPath}" "${join(root, 'bin/interlock.mjs')}" "$@"
`;

/** Whatever the blocks leave behind, where they fail half way. */
const END_JOBS = `trap 'kill $(jobs -p) 2> /dev/null || true; wait' EXIT`;

describe('the quick start with curl and openssl, as pasted', () => {
  const blocks = blocksOf(sectionOf('Quick start: by hand, with curl and openssl'));
  const scripts = blocks.filter(({ language }) => language === 'bash');
  let directory = '';
  let shell: ChildProcess | undefined;
  let printed: string[] = [];
  let complaints = '';
  let status: unknown = null;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'interlock-readme-'));
    const commands = join(directory, 'commands');
    mkdirSync(commands);
    writeFileSync(join(commands, 'npx'), NPX);
    chmodSync(join(commands, 'npx'), 0o755);
    symlinkSync(join(root, 'bin'), join(directory, 'bin'));
    const [service, receiver] = await freePorts(2);
    const end = '\necho "=== end of block"\n';
    const script = scripts
      .map(({ text }) => text.replaceAll('8099', String(service)).replaceAll('8098', String(receiver)))
      .join(end);
    const { PATH = '', HOME = directory } = process.env;
    shell = spawn('bash', ['-euo', 'pipefail', '-c', `${END_JOBS}\n${script}`], {
      cwd: directory,
      env: { PATH: `${commands}:${PATH}`, HOME, TMPDIR: directory },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    shell.stdout?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    shell.stderr?.setEncoding('utf8').on('data', (text: string) => {
      complaints += text;
    });
    const deadline = setTimeout(stopAll, 90_000);
    [status] = await once(shell, 'close');
    clearTimeout(deadline);
    printed = output.split('=== end of block\n');
  });

  /** The shell's last act is then to end its jobs; the service stops its database. */
  function stopAll(): void {
    if (shell?.exitCode === null) shell.kill('SIGTERM');
  }

  afterAll(() => {
    stopAll();
    if (directory !== '') rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
  });

  it('runs to its end without a complaint', () => {
    expect({ status, complaints, printed: status === 0 ? '' : printed.join('') }).toEqual({
      status: 0,
      complaints: expect.stringMatching(/^wrote \S+\/ledger\.jsonl, \d+ bytes\n$/),
      printed: '',
    });
    expect(printed).toHaveLength(scripts.length);
  });

  const shown = blocks.flatMap((block, i) => {
    const before = blocks.slice(0, i + 1).filter(({ language }) => language === 'bash').length;
    return block.language === 'text' ? [[before - 1, block.text] as const] : [];
  });
  it.each(shown)('block %i prints what the page shows', (index, text) => {
    expect(printed[index]).toBe(text);
  });

  it('shows a signed order in the halt, and a ledger that verifies in place and offline', () => {
    const all = printed.join('');
    expect(all).toContain('acknowledged work survives a');
    expect(all.match(/^the ledger verifies$/gm)).toHaveLength(2);
    expect(all).toContain('the replay agrees');
  });

  it('answers with a permit only before the halt and after the sign-off', () => {
    expect(shown.map(([, text]) => text).join('')).toMatch(/continue,[\s\S]*permit null[\s\S]*permit issued/);
  });
});

/** README and every page below docs, by path from the root. */
const PAGES = [
  'README.md',
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
];

describe('what the pages point at', () => {
  it.each(PAGES)('exists: every file that %s links', (page) => {
    const text = readFileSync(join(root, page), 'utf8');
    const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link);
    const missing = links.filter((link) => {
      if (/^https?:/.test(link)) return false;
      const [path = '', heading] = link.split('#');
      const file = path === '' ? join(root, page) : join(root, dirname(page), path);
      return !existsSync(file) || (heading !== undefined && !headingsOf(file).includes(heading));
    });
    expect(missing).toEqual([]);
  });

  it.each(PAGES)('exists: every path in the repository that %s names', (page) => {
    const text = readFileSync(join(root, page), 'utf8');
    const paths = [
      ...text.matchAll(/`((?:src|test|config|clients|examples|bin|scripts)\/[A-Za-z0-9_./-]+)`/g),
    ].map(([, path = '']) => path);
    expect(paths.filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  it('exists: every npm script, and npm test is one', () => {
    const { scripts } = z
      .object({ scripts: z.record(z.string(), z.string()) })
      .parse(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')));
    const named = [...readme.matchAll(/\bnpm (?:run ([a-z:]+)|(test))\b/g)].map(
      ([, run, test]) => run ?? test ?? '',
    );
    expect(named).toContain('test');
    expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
  });

  it('exists: every command of the command line', () => {
    const terminal: Terminal = {
      env: {},
      style: styleFor({ isTty: false, env: {} }),
      width: 100,
      print: () => {},
      complain: () => {},
      write: async () => {},
    };
    const program = createProgram(terminal, async () => {});
    const known = program.commands.flatMap((command) =>
      command.commands.length === 0
        ? [command.name()]
        : command.commands.map((each) => `${command.name()} ${each.name()}`),
    );
    const groups = program.commands
      .filter(({ commands }) => commands.length > 0)
      .map((group) => group.name());
    const named = [
      ...readme.matchAll(new RegExp(`npx interlock ((?:(?:${groups.join('|')}) )?[a-z-]+)`, 'g')),
    ].map(([, command = '']) => command);
    expect(named.length).toBeGreaterThan(5);
    expect(named.filter((command) => !known.includes(command))).toEqual([]);
  });
});
