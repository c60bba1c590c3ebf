/**
 * The real service as a child process: started, killed with -9 at any moment, stopped, and listened to.
 *
 * Its log goes to a file, so that a failed campaign can be read afterwards. Nothing here restarts by itself.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { createInterface } from 'node:readline';

export interface ServiceOptions {
  readonly bin: string;
  readonly configFile: string;
  readonly logFile: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface ServiceProcess {
  readonly pid: number;
  /** The URL once it answers; rejects when it ends before. */
  readonly ready: Promise<string>;
  readonly isGone: () => boolean;
  /** Settles when it has ended, in whatever way. */
  readonly ended: Promise<void>;
  kill9(): Promise<void>;
  /** Suspends it, as a machine that hangs; or wakes it again. */
  suspend(suspended: boolean): void;
  /** SIGTERM; answers the exit code, or the signal it died of. */
  stop(): Promise<number | string | null>;
}

export function startService({ bin, configFile, logFile, env = {} }: ServiceOptions): ServiceProcess {
  const log = openSync(logFile, 'a');
  const child = spawn(process.execPath, [bin, 'serve', '--config', configFile, '--port', '0'], {
    env: { ...withoutStores(process.env), ...env },
    stdio: ['ignore', 'pipe', log],
  });
  closeSync(log);
  const killWithUs = () => child.kill('SIGKILL');
  process.once('exit', killWithUs);
  child.once('exit', () => process.off('exit', killWithUs));
  const ended = once(child, 'exit').then(() => undefined);
  const ready = heardUrl(child);
  // Whoever kills it during its start does not wait for this.
  ready.catch(() => undefined);
  const end = async (signal: NodeJS.Signals) => {
    if (gone(child)) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
  };
  return {
    pid: child.pid ?? -1,
    ready,
    isGone: () => gone(child),
    ended,
    kill9: () => end('SIGKILL'),
    suspend: (suspended) => void child.kill(suspended ? 'SIGSTOP' : 'SIGCONT'),
    stop: async () => {
      await end('SIGTERM');
      return child.signalCode ?? child.exitCode;
    },
  };
}

const gone = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null;

function heardUrl(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    if (child.stdout === null) throw new TypeError('no standard output');
    createInterface({ input: child.stdout }).on('line', (line) => {
      const url = /^listening on (\S+)$/.exec(line)?.[1];
      if (url !== undefined) resolve(url);
    });
    child.once('error', reject);
    child.once('exit', (code, signal) =>
      reject(new Error(`the service ended with ${signal ?? code} before it was ready`)),
    );
  });
}

export function withoutStores(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { DATABASE_URL: _url, DATABASE_DIRECT_URL: _direct, REDIS_URL: _redis, ...rest } = env;
  return rest;
}

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** One `interlock` command, to its end. */
export async function interlock(
  bin: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<CommandResult> {
  const child = spawn(process.execPath, [bin, ...args], {
    env: { ...withoutStores(process.env), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const [code] = await once(child, 'close');
  return { code: typeof code === 'number' ? code : null, stdout, stderr };
}
