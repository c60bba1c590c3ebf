/**
 * PostgreSQL and Redis in containers, as a server deployment runs them, for suites that want the real thing with its
 * packaging: own accounts, passwords, TCP, and a server that is killed and started again by somebody else.
 *
 * The daemon is the one of DOCKER_HOST, or the usual socket. `NO_DOCKER` is the reason to skip, or false.
 */
import { once } from 'node:events';
import { request } from 'node:http';
import { createServer } from 'node:net';
import type { StartedTestContainer } from 'testcontainers';

const PING_TIMEOUT_MS = 3_000;

async function daemonAnswers(): Promise<boolean> {
  const host = new URL(process.env['DOCKER_HOST'] || 'unix:///var/run/docker.sock');
  const where =
    host.protocol === 'unix:'
      ? { socketPath: host.pathname }
      : { host: host.hostname, port: host.port === '' ? 2375 : Number(host.port) };
  const ping = request({ ...where, path: '/_ping', signal: AbortSignal.timeout(PING_TIMEOUT_MS) });
  ping.end();
  try {
    const [response] = await once(ping, 'response');
    response.resume();
    return response.statusCode === 200;
  } catch {
    return false;
  }
}

export const NO_DOCKER: string | false = (await daemonAnswers()) ? false : 'no Docker daemon answers';

export interface ServerContainer {
  readonly url: string;
  readonly port: number;
  /** The server dies at once, as on a crash, and is started again on the same port with what it had on disk. */
  crash(): Promise<void>;
  stop(): Promise<void>;
}

/** Takes seconds to load, which a machine without Docker need not spend. */
const testcontainers = () => import('testcontainers');

const PASSWORD = 'only-for-this-test';

export async function startPostgresContainer(): Promise<ServerContainer> {
  const { GenericContainer, Wait } = await testcontainers();
  const port = await freePort();
  const container = await new GenericContainer('postgres:15-bookworm')
    .withEnvironment({ POSTGRES_USER: 'interlock', POSTGRES_PASSWORD: PASSWORD, POSTGRES_DB: 'interlock' })
    .withExposedPorts({ container: 5432, host: port })

    // Over TCP: while it is being set up, the server listens on its socket alone.
    .withWaitStrategy(Wait.forSuccessfulCommand('pg_isready --host=127.0.0.1 --username=interlock'))
    .start();
  return server(container, `postgres://interlock:${PASSWORD}@127.0.0.1:${port}/interlock`, port);
}

export async function startRedisContainer(): Promise<ServerContainer> {
  const { GenericContainer, Wait } = await testcontainers();
  const port = await freePort();
  const container = await new GenericContainer('redis:7-bookworm')
    .withCommand(['redis-server', '--maxmemory-policy', 'noeviction', '--appendonly', 'yes'])
    .withExposedPorts({ container: 6379, host: port })
    // Asked, not read from its log: of a container just started, engines sometimes stream the log from after that line.
    .withWaitStrategy(Wait.forSuccessfulCommand('redis-cli ping'))
    .start();
  return server(container, `redis://127.0.0.1:${port}`, port);
}

function server(container: StartedTestContainer, url: string, port: number): ServerContainer {
  return {
    url,
    port,
    crash: () => container.restart({ timeout: 0 }),
    stop: async () => void (await container.stop({ timeout: 0, remove: true, removeVolumes: true })),
  };
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
