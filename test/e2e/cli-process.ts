/** `interlock` as people start it: a real process of bin/interlock.mjs, in an environment of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { vi } from 'vitest';

const bin = fileURLToPath(new URL('../../bin/interlock.mjs', import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export interface Started {
  readonly child: ChildProcess;
  readonly out: () => string;
  readonly err: () => string;
  readonly ended: Promise<Ended>;
}

export interface Where {
  readonly cwd: string;
  readonly env?: Record<string, string>;
}

export function start(argv: readonly string[], { cwd, env = {} }: Where): Started {
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(process.execPath, [bin, ...argv], {
    cwd,
    env: { PATH, HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { out: '', err: '' };
  child.stdout.on('data', (chunk: Buffer) => {
    said.out += chunk.toString('utf8');
  });
  child.stderr.on('data', (chunk: Buffer) => {
    said.err += chunk.toString('utf8');
  });
  const ended = once(child, 'close').then(([code]): Ended => ({ code: Number(code ?? -1), ...said }));
  return { child, out: () => said.out, err: () => said.err, ended };
}

export const interlock = (argv: readonly string[], where: Where): Promise<Ended> => start(argv, where).ended;

/** The address on the one line of standard output. */
export async function listening(started: Started): Promise<string> {
  await vi.waitUntil(() => started.out().includes('\n') || started.child.exitCode !== null, {
    timeout: 60_000,
    interval: 20,
  });
  const [, url] = /^listening on (http:\/\/\S+)\n$/.exec(started.out()) ?? [];
  if (url === undefined) throw new Error(`the service did not start: ${started.out()} ${started.err()}`);
  return url;
}
