import { describe, expect, it } from 'vitest';
import { assessServer, type ServerSettings } from '../../src/database/server-checks.ts';

const good: ServerSettings = {
  version: 140_000,
  fsync: 'on',
  synchronousCommit: 'on',
  fullPageWrites: 'on',
  encoding: 'UTF8',
  standbys: '',
  readOnly: false,
  lockTimeout: '2s',
};

describe('a database server', () => {
  const accepted: [string, Partial<ServerSettings>, string][] = [
    ['of the oldest version', {}, 'machine-crash'],
    ['of the newest version', { version: 180_004 }, 'machine-crash'],
    [
      'that flushes before it answers, standby or not',
      { synchronousCommit: 'local', standbys: '*' },
      'machine-crash',
    ],
    [
      'that only hands over to its standby',
      { synchronousCommit: 'remote_write', standbys: '*' },
      'machine-crash',
    ],
    ['that waits for its standby', { standbys: 'ANY 1 (a, b)' }, 'site'],
    [
      'that waits until the standby has applied',
      { synchronousCommit: 'remote_apply', standbys: 'a' },
      'site',
    ],
  ];
  it.each(accepted)('%s is accepted', (_, change, durability) => {
    expect(assessServer({ ...good, ...change })).toBe(durability);
  });

  const refused: [string, Partial<ServerSettings>, string][] = [
    ['too old', { version: 130_022 }, 'database.server-too-old'],
    ['a standby', { readOnly: true }, 'database.server-read-only'],
    ['in another encoding', { encoding: 'SQL_ASCII' }, 'database.server-encoding'],
    ['without fsync', { fsync: 'off' }, 'database.server-not-durable'],
    ['that answers before the flush', { synchronousCommit: 'off' }, 'database.server-not-durable'],
    ['that tears pages', { fullPageWrites: 'off' }, 'database.server-not-durable'],
  ];
  it.each(refused)('%s is refused', (_, change, code) => {
    expect(() => assessServer({ ...good, ...change })).toThrow(
      expect.objectContaining({ code, retryable: false }),
    );
  });
});
