import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { inspect } from 'node:util';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type DatabaseHandle, openDatabase } from '../../src/database/open-database.ts';
import { startTestDatabase, type TestDatabase } from '../support/embedded-database.ts';

describe('a database server named by its address', () => {
  let database: TestDatabase;
  let gateway: Gateway;
  let handles: DatabaseHandle[] = [];
  beforeAll(async () => {
    database = await startTestDatabase();
    gateway = await openGateway(database.url);
  });
  afterEach(async () => {
    for (const handle of handles) await handle.close();
    handles = [];
    await database.pool.query(`ALTER DATABASE ${name()} RESET ALL`);
  });
  afterAll(async () => {
    await gateway.close();
    await database.close();
  });

  const name = () => new URL(database.url).pathname.slice(1);
  const logged: unknown[] = [];
  const log = (fields: object, message: string) => logged.push([fields, message]);
  const open = async (databaseUrl: string, directUrl?: string) => {
    const handle = await openDatabase({
      dataDir: '/nowhere',
      databaseUrl,
      directUrl,
      logger: { info: log, warn: log, error: log },
      firstContactTimeoutMs: 2_000,
    });
    handles.push(handle);
    return handle;
  };

  it('is used as it is, with the deadlines of the pool', async () => {
    const handle = await open(gateway.url, 'postgresql://direct.example/interlock');
    expect(handle).toMatchObject({
      grade: 'server',
      durability: 'machine-crash',
      url: gateway.url,
      directUrl: 'postgresql://direct.example/interlock',
    });
    const shown = await handle.pool.query(
      `SELECT current_setting('statement_timeout') AS statement, current_setting('lock_timeout') AS lock,
              current_setting('idle_in_transaction_session_timeout') AS idle`,
    );
    expect(shown.rows).toEqual([{ statement: '15s', lock: '2s', idle: '10s' }]);
  });

  it('is refused when it acknowledges before the commit is on disk', async () => {
    await database.pool.query(`ALTER DATABASE ${name()} SET synchronous_commit = off`);
    await expect(open(gateway.url)).rejects.toMatchObject({
      code: 'database.server-not-durable',
      message: expect.stringContaining('synchronous_commit = off'),
    });
  });

  it('is refused when it is read-only', async () => {
    await database.pool.query(`ALTER DATABASE ${name()} SET default_transaction_read_only = on`);
    await expect(open(gateway.url)).rejects.toMatchObject({ code: 'database.server-read-only' });
    // RESET needs a session that may write.
    await database.pool.query('SET default_transaction_read_only = off');
  });

  it('that does not know the database is named at once, without its address or password', async () => {
    const url = new URL(gateway.url);
    url.password = 'hunter2';
    url.pathname = '/no_such_database';
    const refused = open(url.href);
    await expect(refused).rejects.toMatchObject({ code: 'database.refused', retryable: false });
    await expect(refused).rejects.not.toMatchObject({ message: expect.stringMatching(/hunter2|no_such/) });
  });

  it('that does not answer is named after some patience, as worth another try', async () => {
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const port = portOf(closed);
    closed.close();
    await expect(open(`postgresql://nobody@127.0.0.1:${port}/none`)).rejects.toMatchObject({
      code: 'database.unreachable',
      retryable: true,
    });
  });

  it('that goes away is told, and told again when it is back; no lost connection ends the process', async () => {
    const url = new URL(gateway.url);
    url.password = 'hunter2';
    const handle = await open(url.href);
    const told: string[] = [];
    handle.onDown(() => told.push('down'));
    handle.onUp(() => told.push('up'));
    await Promise.all([handle.pool.query('SELECT pg_sleep(0.1)'), handle.pool.query('SELECT 1')]);
    const client = await handle.pool.connect();
    await gateway.cut();
    await vi.waitUntil(() => told.length === 1, { timeout: 10_000 });
    client.release(true);
    await expect(handle.pool.query('SELECT 1')).rejects.toThrow();
    gateway.mend();
    await vi.waitUntil(() => told.length === 2, { timeout: 10_000 });
    expect(told).toEqual(['down', 'up']);
    expect(inspect(logged)).toContain('a database connection was lost');
    expect(inspect(logged, { depth: 10, showHidden: true })).not.toContain('hunter2');
    expect((await handle.pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });

  it('behind a pooler that refuses settings at connect time is used without them', async () => {
    gateway.refuseSettings(true);
    const handle = await open(gateway.url);
    expect((await handle.pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    gateway.refuseSettings(false);
  });
});

interface Gateway {
  readonly url: string;
  cut(): Promise<void>;
  mend(): void;
  refuseSettings(refuse: boolean): void;
  close(): Promise<void>;
}

/** A way in over TCP, as to a server elsewhere, that can be cut, and that can be as strict as a pooler. */
async function openGateway(url: string): Promise<Gateway> {
  const target = new pg.Client({ connectionString: url });
  const way = target.host.startsWith('/')
    ? { path: `${target.host}/.s.PGSQL.${target.port}` }
    : { host: target.host, port: target.port };
  const sockets = new Set<Socket>();
  let open = true;
  let strict = false;
  const server = createServer((socket) => {
    if (!open) return void socket.destroy();
    const far = connect(way);
    for (const [end, other] of [
      [socket, far],
      [far, socket],
    ] as const) {
      sockets.add(end);
      end.on('error', () => other.destroy());
      end.on('close', () => {
        sockets.delete(end);
        other.destroy();
      });
    }
    far.pipe(socket);
    socket.once('data', (startup) => {
      if (strict && startup.includes('statement_timeout')) {
        socket.end(errorResponse('08P01', 'unsupported startup parameter: statement_timeout'));
        return;
      }
      far.write(startup);
      socket.pipe(far);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const inside = new URL(url);
  return {
    url: `postgresql://${inside.username}:${inside.password}@127.0.0.1:${portOf(server)}${inside.pathname}`,
    cut: async () => {
      open = false;
      for (const socket of sockets) socket.destroy();
    },
    mend: () => {
      open = true;
    },
    refuseSettings: (refuse) => {
      strict = refuse;
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

function errorResponse(code: string, message: string): Buffer {
  const fields = Buffer.from(`SFATAL\0C${code}\0M${message}\0\0`);
  const length = Buffer.alloc(4);
  length.writeInt32BE(fields.length + 4);
  return Buffer.concat([Buffer.from('E'), length, fields]);
}

function portOf(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  return address.port;
}
