/** The server grade on PostgreSQL 15 in a container: database, ledger and queue over TCP, with a password. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { migrate } from '../../src/database/migrate.ts';
import { type DatabaseHandle, openDatabase } from '../../src/database/open-database.ts';
import { createLedger, type Ledger } from '../../src/ledger/ledger.ts';
import { describeWorkQueue } from '../contract/work-queue-contract.ts';
import { postgresTarget } from '../contract/work-queue-targets.ts';
import { NO_DOCKER, type ServerContainer, startPostgresContainer } from '../support/docker.ts';
import { silentLogger } from '../support/embedded-database.ts';
import { appendTo } from './ledger-support.ts';

const WITHIN = { timeout: 30_000, interval: 50 };

let server: ServerContainer;
let database: DatabaseHandle;
let dataDir: string;

beforeAll(async () => {
  if (NO_DOCKER !== false) return;
  server = await startPostgresContainer();
  dataDir = await mkdtemp(join(tmpdir(), 'interlock-container-'));
  database = await openDatabase({ dataDir, databaseUrl: server.url, logger: silentLogger });
  await migrate(database.pool);
});
afterAll(async () => {
  if (NO_DOCKER !== false) return;
  await database?.close();
  await server?.stop();
  if (dataDir !== undefined) await rm(dataDir, { recursive: true, force: true });
});

const skipped = NO_DOCKER === false ? '' : ` (skipped: ${NO_DOCKER})`;
describe.skipIf(NO_DOCKER !== false)(`the ledger on a PostgreSQL container${skipped}`, () => {
  async function withLedger(use: (ledger: Ledger) => Promise<void>): Promise<void> {
    const ledger = createLedger({ pool: database.pool, logger: silentLogger });
    try {
      await use(ledger);
    } finally {
      await ledger.close();
    }
  }

  it('is the server grade, durable, and migrated once however often it is asked', async () => {
    expect(database.grade).toBe('server');
    expect(database.durability).toMatch(/crash|site/);
    await migrate(database.pool);
  });

  it('appends at the expected version, and loads what it appended', () =>
    withLedger(async (ledger) => {
      expect(await ledger.append(appendTo('run/first'))).toMatchObject({ outcome: 'appended', version: 1 });
      expect(await ledger.append(appendTo('run/first'))).toEqual({
        outcome: 'version-conflict',
        actualVersion: 1,
      });
      expect(await ledger.append(appendTo('run/first', 1))).toMatchObject({
        outcome: 'appended',
        version: 2,
      });
      expect(await ledger.load('run/first')).toMatchObject({ version: 2, state: { sum: 2 } });
      const events = await ledger.read({ after: 0, stream: 'run/first', limit: 10 });
      expect(events.map(({ version }) => version)).toEqual([1, 2]);
    }));

  it('loses nothing acknowledged when the server is killed and started again', () =>
    withLedger(async (ledger) => {
      const streams = Array.from({ length: 20 }, (_, n) => `run/crash-${n}`);
      await Promise.all(streams.map((stream) => ledger.append(appendTo(stream))));
      const before = await ledger.head();
      const wentDown = vi.fn();
      const ignore = database.onDown(wentDown);

      await server.crash();

      await vi.waitFor(async () => expect(await ledger.head()).toEqual(before), WITHIN);
      for (const stream of streams) expect(await ledger.load(stream)).toMatchObject({ version: 1 });
      await vi.waitFor(
        async () =>
          expect(await ledger.append(appendTo('run/after'))).toMatchObject({
            outcome: 'appended',
            version: 1,
          }),
        WITHIN,
      );
      ignore();
    }));
});

describeWorkQueue(
  'a PostgreSQL container',
  () => postgresTarget({ url: server.url, dataDir, pool: database.pool, close: async () => {} }),
  NO_DOCKER,
);
