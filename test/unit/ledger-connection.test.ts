import { describe, expect, it } from 'vitest';
import { databaseFault, isOwnFault, sqlState } from '../../src/ledger/connection.ts';

const failure = (code: string) => Object.assign(new Error('a failure'), { code });

describe('a failure of the database', () => {
  // code            whose fault               what the caller is told
  const table = `
    EPIPE            the moment                ledger.unavailable
    EPERM            the moment                ledger.unavailable
    ECONNRESET       the moment                ledger.unavailable
    ENOENT           the moment                ledger.unavailable
    08006            the moment                ledger.unavailable
    40001            the moment                ledger.unavailable
    57P01            the moment                ledger.unavailable
    57P03            the moment                ledger.unavailable
    25006            the moment                ledger.unavailable
    XX000            the moment                ledger.unavailable
    23505            the statement             ledger.failed
    42P01            the statement             ledger.failed
    22P05            the statement             ledger.failed
    P0001            the statement             ledger.failed`;
  const rows = table
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/ {2,}/));

  it.each(rows)('%s is of %s: %s', (code = '', whose = '', told = '') => {
    expect(isOwnFault(failure(code))).toBe(whose === 'the statement');
    const fault = databaseFault(failure(code));
    expect(fault).toMatchObject({ code: told, retryable: told === 'ledger.unavailable' });
  });

  it('is of the moment where the server gave up, or where its disk turned read-only', () => {
    const told = (fields: object) => Object.assign(new Error('no'), { code: '42501', ...fields });
    expect(isOwnFault(told({ severity: 'ERROR', routine: 'aclcheck_error' }))).toBe(true);
    expect(isOwnFault(told({ severity: 'ERROR', routine: 'mdextend' }))).toBe(false);
    expect(isOwnFault(told({ severity: 'PANIC', routine: 'XLogWrite' }))).toBe(false);
    expect(isOwnFault(Object.assign(new Error('no'), { code: '22001', severity: 'FATAL' }))).toBe(false);
  });

  it('without a code is of the moment', () => {
    expect(sqlState(new Error('Connection terminated unexpectedly'))).toBeUndefined();
    expect(databaseFault(new Error('Connection terminated unexpectedly')).code).toBe('ledger.unavailable');
  });
});
