import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BookReader } from '../../src/button/book.ts';
import { createDesk, type PressRequest } from '../../src/button/desk.ts';
import { buttonFiles, makeButtonDirectories } from '../../src/button/layout.ts';
import { MarkReader } from '../../src/button/marks.ts';
import { newPressId } from '../../src/button/press.ts';
import { openSpool, type Spool, SpoolReader } from '../../src/button/spool.ts';

let directory: string;
const spools: Spool[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'interlock-desk-'));
});
afterEach(async () => {
  await Promise.all(spools.splice(0).map((spool) => spool.close()));
  rmSync(directory, { recursive: true, force: true });
});

const silent = { info: () => undefined, warn: () => undefined };

/** As a process has it: another one of the same directory sees what this one spooled. */
function openDesk(writer: string) {
  const files = buttonFiles(directory);
  makeButtonDirectories(files);
  const spool = openSpool(files.spool, writer);
  spools.push(spool);
  return createDesk({
    book: new BookReader(files.books),
    spool,
    spoolReader: new SpoolReader(files.spool),
    marks: new MarkReader(files.marks),
    sender: {
      send: () => undefined,
      release: () => undefined,
      deliveries: () => [],
      attempted: async () => undefined,
      size: 0,
      close: async () => undefined,
    },
    killJobs: async () => 0,
    clock: () => new Date('2026-11-28T12:00:00Z'),
    logger: silent,
  });
}

const request = (runId: string, pressId: string): PressRequest => ({
  action: 'halt',
  reason: 'doubt',
  by: 'ann',
  group: 'board',
  via: 'break-glass',
  scope: { kind: 'run', runId },
  pressId,
});

describe('a press that comes again under its name, to a process that did not take it', () => {
  it('is the same press where it asks for the same', async () => {
    const pressId = newPressId();
    await openDesk('button-1-a').press(request('r1', pressId));
    const { press } = await openDesk('button-2-b').press(request('r1', pressId));
    expect(press.pressId).toBe(pressId);
  });

  it('is another press where it asks for something else, or it would never enter the ledger', async () => {
    const pressId = newPressId();
    await openDesk('button-1-a').press(request('r1', pressId));
    const other = openDesk('button-2-b');
    const { press } = await other.press(request('r2', pressId));
    expect(press.pressId).not.toBe(pressId);
    expect(other.pending().map(({ scope }) => scope)).toEqual([
      { kind: 'run', runId: 'r1' },
      { kind: 'run', runId: 'r2' },
    ]);
  });
});
