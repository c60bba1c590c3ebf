/**
 * Under which account PostgreSQL runs, because it refuses to be root.
 *
 * - `direct`: as we are, when we are an ordinary user.
 * - `user-namespace`: root, where the kernel allows it: outside the server is still root's process, so it works
 *   below directories of mode 0700 and its files stay root's; inside it believes to be somebody else. Also the way
 *   for an ordinary user without an entry in /etc/passwd (some container platforms), whom initdb turns away.
 * - `unprivileged-user`: root, where namespaces are forbidden or the files already belong to an account. Where that
 *   account cannot get through to the data directory, the server keeps the one capability of root (CAP_DAC_OVERRIDE)
 *   that lets it: it may then still read and write more than its own files, which as root's process it could too.
 *
 * A server runs as whoever owns its files; only for a new one there is a choice, and each way is tried with the
 * real program before it is taken.
 */
import { type ChildProcess, execFile, type SpawnOptions, spawn } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { type Binaries, privateCopy, program, withLinks } from './binaries.ts';
import { fault, hasCode } from './faults.ts';
import type { Account, Layout } from './layout.ts';

export interface Launcher {
  readonly kind: 'direct' | 'user-namespace' | 'unprivileged-user';
  /** Who owns the server's files, seen from here. */
  readonly account: Account;
  readonly binaries: Binaries;
  spawn(name: 'postgres' | 'initdb', args: readonly string[], options: SpawnOptions): ChildProcess;
}

type Way = Pick<Launcher, 'kind' | 'account'> & {
  command(file: string, args: readonly string[]): [string, readonly string[], SpawnOptions];
};

const probeTimeoutMs = 10_000;

export async function chooseLauncher(layout: Layout, binaries: Binaries): Promise<Launcher> {
  for (const way of await possibleWays(layout)) {
    if (!(await succeeds(way, '/bin/sh', ['-c', 'cd "$1"', 'sh', layout.directory]))) continue;
    const inPlace = await withLinks(binaries);
    if (inPlace !== null && (await runs(way, inPlace))) return launcher(way, inPlace);
    const copy = await privateCopy(binaries, layout.directory);
    if (await runs(way, copy)) return launcher(way, copy);
  }
  throw fault(
    'embedded-unsupported',
    process.geteuid?.() === 0
      ? 'PostgreSQL does not run as root and here it can run neither in a user namespace nor under another account'
      : 'the embedded PostgreSQL cannot be run here by this account',
  );
}

/** PostgreSQL gets nothing of our environment that could change what it does or that it should not know. */
export function cleanEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LANG: 'C', LC_ALL: 'C', TZ: 'UTC' };
}

async function possibleWays(layout: Layout): Promise<Way[]> {
  const me: Account = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
  const names = await accountNames();
  const owner = await ownerOf(layout.cluster);
  if (me.uid !== 0) {
    if (owner !== null && owner.uid !== me.uid) {
      throw fault(
        'data-directory-unusable',
        `the data directory ${layout.cluster} belongs to another account`,
      );
    }
    return names.has(me.uid) ? [direct(me)] : [...inNamespace(me, names), direct(me)];
  }
  if (owner !== null) return owner.uid === 0 ? inNamespace(me, names) : under(owner);
  // Somebody's own directory stays usable for them when root was first in it.
  const host = layout.owner.uid === 0 ? null : (names.get(layout.owner.uid) ?? null);
  const guest = names.get(names.uidOf('nobody') ?? -1) ?? null;
  return [
    ...(host === null ? [] : under(host)),
    ...inNamespace(me, names),
    ...(guest === null ? [] : under(guest)),
  ];
}

function direct(account: Account): Way {
  return { kind: 'direct', account, command: (file, args) => [file, args, {}] };
}

function inNamespace(account: Account, names: AccountNames): Way[] {
  const inside = names.firstOrdinary();
  if (inside === null) return [];
  const mapping = ['-U', `--map-user=${inside.uid}`, `--map-group=${inside.gid}`];
  return [
    {
      kind: 'user-namespace',
      account,
      command: (file, args) => ['unshare', [...mapping, file, ...args], {}],
    },
  ];
}

function under(account: Account): Way[] {
  const { uid, gid } = account;
  const identity = [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups'];
  const capability = [
    '--no-new-privs',
    '--inh-caps=-all,+dac_override',
    '--ambient-caps=-all,+dac_override',
    // Without it access(2), by which initdb examines its own program, does not count capabilities.
    '--securebits=+no_setuid_fixup',
  ];
  return [
    { kind: 'unprivileged-user', account, command: (file, args) => [file, args, { uid, gid }] },
    {
      kind: 'unprivileged-user',
      account,
      command: (file, args) => ['setpriv', [...identity, ...capability, '--', file, ...args], {}],
    },
  ];
}

function launcher(way: Way, binaries: Binaries): Launcher {
  return {
    kind: way.kind,
    account: way.account,
    binaries,
    spawn: (name, args, options) => {
      const [file, all, identity] = way.command(program(binaries, name), args);
      return spawn(file, all, { cwd: '/', env: cleanEnvironment(), ...options, ...identity });
    },
  };
}

async function runs(way: Way, binaries: Binaries): Promise<boolean> {
  const [postgres, initdb] = await Promise.all([
    succeeds(way, program(binaries, 'postgres'), ['--version']),
    succeeds(way, program(binaries, 'initdb'), ['--version']),
  ]);
  return postgres && initdb;
}

async function succeeds(way: Way, file: string, args: readonly string[]): Promise<boolean> {
  const [command, all, identity] = way.command(file, args);
  try {
    const { uid, gid } = identity;
    await promisify(execFile)(command, [...all], {
      cwd: '/',
      env: cleanEnvironment(),
      timeout: probeTimeoutMs,
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    });
    return true;
  } catch {
    // Whatever the reason, this way is not open; the caller says so when none is.
    return false;
  }
}

async function ownerOf(path: string): Promise<Account | null> {
  try {
    const { uid, gid } = await stat(path);
    return { uid, gid };
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null;
    throw error;
  }
}

interface AccountNames {
  has(uid: number): boolean;
  get(uid: number): Account | undefined;
  uidOf(name: string): number | null;
  firstOrdinary(): Account | null;
}

/** initdb looks up its own account's name, so only accounts that have one are of use. */
async function accountNames(): Promise<AccountNames> {
  const text = await readFile('/etc/passwd', 'utf8').catch(() => '');
  const entries = text.split('\n').flatMap((line) => {
    const [name, , uid, gid] = line.split(':');
    if (name === undefined || !/^\d+$/.test(uid ?? '') || !/^\d+$/.test(gid ?? '')) return [];
    return [{ name, uid: Number(uid), gid: Number(gid) }];
  });
  const byUid = new Map(entries.map((entry) => [entry.uid, { uid: entry.uid, gid: entry.gid }]));
  return {
    // macOS keeps its people elsewhere; there everybody has a name.
    has: (uid) => process.platform === 'darwin' || byUid.has(uid),
    get: (uid) => byUid.get(uid),
    uidOf: (name) => entries.find((entry) => entry.name === name)?.uid ?? null,
    firstOrdinary: () => byUid.get(1000) ?? entries.find((entry) => entry.uid !== 0) ?? null,
  };
}
