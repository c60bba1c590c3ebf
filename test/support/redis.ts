/**
 * A real Redis for a test suite: on a free port, in a directory of its own, as a deployment should run it
 * (`noeviction`, AOF) unless asked otherwise. Killed with the test process.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface TestRedis {
  readonly url: string;
  readonly port: number;
  /** Starts it again on the same port and directory; the AOF is replayed. */
  restart(): Promise<void>;
  /** Dies at once, as on a crash; `restart` brings it back. */
  kill9(): Promise<void>;
  /** Ends it and removes its directory. */
  stop(): Promise<void>;
}

export const NO_REDIS = 'no redis-server binary on this machine';

let available: boolean | undefined;

export function redisAvailable(): boolean {
  available ??= spawnSync('redis-server', ['--version'], { stdio: 'ignore' }).status === 0;
  return available;
}

export async function startRedis(options: { maxmemoryPolicy?: string } = {}): Promise<TestRedis> {
  const directory = await mkdtemp(join(tmpdir(), 'interlock-redis-'));
  const port = await freePort();
  let server = await launch(port, directory, options.maxmemoryPolicy ?? 'noeviction');

  const end = async (signal: NodeJS.Signals) => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const exited = once(server, 'exit');
    server.kill(signal);
    await exited;
  };
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    async restart() {
      await end('SIGTERM');
      server = await launch(port, directory, options.maxmemoryPolicy ?? 'noeviction');
    },
    kill9: () => end('SIGKILL'),
    async stop() {
      await end('SIGTERM');
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function launch(port: number, directory: string, policy: string): Promise<ChildProcess> {
  const server = spawn(
    'redis-server',
    [
      ...['--port', String(port), '--bind', '127.0.0.1', '--dir', directory],
      ...['--appendonly', 'yes', '--save', '', '--maxmemory-policy', policy],
    ],
    { stdio: ['ignore', 'pipe', 'ignore'] },
  );
  const killWithUs = () => server.kill('SIGKILL');
  process.once('exit', killWithUs);
  server.once('exit', () => process.off('exit', killWithUs));
  const lines = createInterface({ input: server.stdout });
  const said: string[] = [];
  for await (const line of lines) {
    said.push(line);
    if (line.includes('Ready to accept connections')) {
      server.stdout.resume();
      return server;
    }
  }
  throw new Error(`redis-server did not start: ${said.slice(-3).join(' | ')}`);
}

async function freePort(): Promise<number> {
  const probe = createServer();
  probe.listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address();
  probe.close();
  await once(probe, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
