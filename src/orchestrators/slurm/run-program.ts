/**
 * One of Slurm's programs: absolute path, arguments as they are (no shell), nothing of Interlock's environment, no
 * standard input, a time limit, capped output; whatever way it ends, its process group has ended.
 */
import { spawn } from 'node:child_process';

export type Ran =
  | {
      readonly kind: 'exited';
      readonly code: number | null;
      readonly stdout: string;
      readonly stderr: string;
    }
  | { readonly kind: 'failed'; readonly why: string };

export interface ProgramLimits {
  readonly timeoutMs: number;
  readonly outputBytes: number;
}

/** From the program's end until its pipes are let go, whoever still holds them. */
const DRAIN_MS = 200;

export function runProgram(
  file: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  { timeoutMs, outputBytes }: ProgramLimits,
  signal: AbortSignal,
): Promise<Ran> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve({ kind: 'failed', why: 'was given up before it began' });
    const child = spawn(file, [...args], {
      env: { ...env },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    let bytes = 0;
    let isSettled = false;

    const killGroup = (): void => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // it has ended
      }
    };
    const settle = (ran: Ran): void => {
      if (isSettled) return;
      isSettled = true;
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      killGroup();
      child.stdout.destroy();
      child.stderr.destroy();
      resolve(ran);
    };
    const onAbort = (): void => settle({ kind: 'failed', why: 'was given up' });
    const timer = setTimeout(
      () => settle({ kind: 'failed', why: `had not ended after ${timeoutMs} ms` }),
      timeoutMs,
    );
    const keep = (chunks: Buffer[]) => (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > outputBytes) settle({ kind: 'failed', why: `wrote more than ${outputBytes} bytes` });
      else chunks.push(chunk);
    };
    const exited = (code: number | null): void =>
      settle({
        kind: 'exited',
        code,
        stdout: Buffer.concat(out).toString('latin1'),
        stderr: Buffer.concat(err).toString('latin1'),
      });

    signal.addEventListener('abort', onAbort, { once: true });
    child.stdout.on('data', keep(out));
    child.stderr.on('data', keep(err));
    child.on('error', () => settle({ kind: 'failed', why: 'could not be started' }));
    child.on('close', exited);
    child.on('exit', (code) => setTimeout(() => exited(code), DRAIN_MS).unref());
  });
}
