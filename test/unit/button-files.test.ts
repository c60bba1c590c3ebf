/** The red button's files: what is torn, damaged, replaced or full, and what is never lost over it. */
import {
  appendFileSync,
  closeSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type BookEntry, BookReader, openBookWriter } from '../../src/button/book.ts';
import { FollowedFile } from '../../src/button/followed-file.ts';
import { compactMarks, MarkReader, writeMarks } from '../../src/button/marks.ts';
import { byTime, newPressId, type Press } from '../../src/button/press.ts';
import { readRecordLines, recordLine } from '../../src/button/record-line.ts';
import { openSpool, SpoolReader } from '../../src/button/spool.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'interlock-button-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const AT = '2026-11-23T12:00:00.000Z';

function press(seq: number, more: Partial<Press> = {}): Press {
  const pressId = newPressId();
  return {
    pressId,
    rootId: pressId,
    rootAt: AT,
    scope: { kind: 'all' },
    action: 'halt',
    reason: 'doubt',
    by: 'ann',
    group: 'board',
    via: 'bearer',
    codeId: null,
    pressedAt: AT,
    seq,
    ...more,
  };
}

describe('a record line', () => {
  it('is read back as it was written, whatever text is in it', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ text: fc.string({ unit: 'binary' }), n: fc.integer() })),
        (records) => {
          const bytes = Buffer.concat(records.map(recordLine));
          expect(readRecordLines(bytes)).toEqual({ records, consumed: bytes.length, damaged: 0 });
        },
      ),
    );
  });

  it('is no record if it is torn anywhere, and takes none before it with it', () => {
    const bytes = Buffer.concat([recordLine({ n: 1 }), recordLine({ n: 2 })]);
    const first = recordLine({ n: 1 }).length;
    for (let end = first; end < bytes.length; end += 1) {
      expect(readRecordLines(bytes.subarray(0, end))).toEqual({
        records: [{ n: 1 }],
        consumed: first,
        damaged: 0,
      });
    }
  });

  it('is no record if one of its bytes is another', () => {
    const line = recordLine({ reason: 'doubt' });
    for (let at = 0; at < line.length - 1; at += 1) {
      const changed = Buffer.from(line);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(readRecordLines(changed).records, `byte ${at}`).toEqual([]);
    }
  });

  it('ends where space was only set aside', () => {
    const bytes = Buffer.concat([recordLine({ n: 1 }), Buffer.alloc(64)]);
    expect(readRecordLines(bytes).records).toEqual([{ n: 1 }]);
  });
});

describe('a followed file', () => {
  it('gives each record once as the file grows, and all of it again when it is replaced', () => {
    const path = join(directory, 'file');
    const file = new FollowedFile(path);
    expect(file.read()).toBeNull();
    writeFileSync(path, recordLine({ n: 1 }));
    expect(file.read()).toMatchObject({ records: [{ n: 1 }], isWhole: true });
    const second = recordLine({ n: 2 });
    appendFileSync(path, second.subarray(0, 20));
    expect(file.read()).toMatchObject({ records: [], isWhole: false });
    appendFileSync(path, second.subarray(20));
    expect(file.read()).toMatchObject({ records: [{ n: 2 }], isWhole: false });
    truncateSync(path, 0);
    appendFileSync(path, recordLine({ n: 3 }));
    expect(file.read()).toMatchObject({ records: [{ n: 3 }], isWhole: true });
  });
});

/** Of this process, by what it is open on. */
function handleOf(name: string): number {
  const handle = readdirSync('/proc/self/fd').find((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).endsWith(name);
    } catch {
      return false;
    }
  });
  if (handle === undefined) throw new Error(`nobody has ${name} open`);
  return Number(handle);
}

describe('the spool', () => {
  it('has every press that it called durable, also for whoever reads it after a kill', async () => {
    const spool = openSpool(directory, 'button-1-a');
    const presses = Array.from({ length: 200 }, (_, i) => press(i));
    const answers = await Promise.all(presses.map((each) => spool.append(each)));
    expect(answers.every(Boolean)).toBe(true);
    // Not closed: as a process leaves it that is killed.
    const found = [...new SpoolReader(directory).read().values()].sort(byTime);
    expect(found).toEqual(presses);
    await spool.close();
  });

  it('sets its space aside, and keeps its files to their owner', async () => {
    const spool = openSpool(directory, 'button-1-a');
    const { size, mode, blocks } = statSync(join(directory, 'button-1-a-1.spool'));
    expect(size).toBeGreaterThanOrEqual(512 * 1024);
    expect(blocks * 512).toBeGreaterThanOrEqual(size);
    expect(mode & 0o777).toBe(0o600);
    await spool.close();
  });

  it('keeps what stood before a torn tail', async () => {
    const spool = openSpool(directory, 'button-1-a', { reservedBytes: 0 });
    const first = press(1);
    await spool.append(first);
    await spool.append(press(2));
    const path = join(directory, 'button-1-a-1.spool');
    truncateSync(path, readFileSync(path).length - 5);
    expect([...new SpoolReader(directory).read().keys()]).toEqual([first.pressId]);
    await spool.close();
  });

  it('says what is not durable, and makes it durable when it can', async () => {
    const away = join(directory, 'away');
    const spool = openSpool(away, 'button-1-a');
    const lost = press(1);
    expect(await spool.append(lost)).toBe(false);
    expect(spool.undurable).toEqual([lost]);
    const { mkdirSync } = await import('node:fs');
    mkdirSync(away);
    await vi.waitFor(() => expect([...new SpoolReader(away).read().keys()]).toEqual([lost.pressId]), {
      timeout: 5_000,
    });
    await vi.waitFor(() => expect(spool.undurable).toEqual([]));
    await spool.close();
  });

  it.skipIf(process.platform !== 'linux')(
    'goes on in a file of its own where the one it writes to fails, and carries over what stood in it',
    async () => {
      const spool = openSpool(directory, 'button-1-a');
      const [before, after] = [press(1), press(2)];
      expect(await spool.append(before)).toBe(true);
      // As where a disk has no room for one more block of this file: nothing can be written to it.
      closeSync(handleOf('button-1-a-1.spool'));
      expect(await spool.append(after)).toBe(true);
      expect(spool.undurable).toEqual([]);
      const second = readRecordLines(readFileSync(join(directory, 'button-1-a-2.spool')));
      expect(second.records).toHaveLength(2);
      await spool.close();
    },
  );

  it('begins anew when what it holds is in the ledger, and carries over what is not', async () => {
    const spool = openSpool(directory, 'button-1-a');
    const reason = 'x'.repeat(2_000);
    const presses = Array.from({ length: 200 }, (_, i) => press(i, { reason }));
    for (const each of presses) await spool.append(each);
    spool.entered(new Set(presses.map(({ pressId }) => pressId)));
    const last = press(1_000);
    await spool.append(last);
    expect([...new SpoolReader(directory).read().keys()]).toEqual([last.pressId]);
    await spool.close();
    expect([...new SpoolReader(directory).read().keys()]).toEqual([last.pressId]);
  });
});

describe('marks', () => {
  it('are seen by a reader as they come, and after they were compacted', () => {
    const path = join(directory, 'marks');
    const reader = new MarkReader(path);
    expect([...reader.read()]).toEqual([]);
    writeMarks(path, ['press_a', 'press_b'], new Date(AT));
    expect([...reader.read()]).toEqual(['press_a', 'press_b']);
    compactMarks(path, ['press_b'], new Date(AT));
    expect([...reader.read()]).toEqual(['press_b']);
    writeMarks(path, ['press_c'], new Date(AT));
    expect([...reader.read()]).toEqual(['press_b', 'press_c']);
  });
});

const entry = (runId: string, version: number, more: Partial<BookEntry> = {}): BookEntry => ({
  runId,
  version,
  epoch: 0,
  title: null,
  by: 'trainer',
  registeredAt: AT,
  finished: false,
  halt: null,
  targets: [],
  ...more,
});

describe('the target book', () => {
  const home = { instance: 'a', home: 'pid 1' };

  it('is read by version, whoever wrote it and in whatever order', async () => {
    const [a, b] = await Promise.all(
      ['a', 'b'].map((instance) =>
        openBookWriter(join(directory, `${instance}.book`), { ...home, instance }),
      ),
    );
    if (a === undefined || b === undefined) throw new Error('no writers');
    await a.put([entry('r1', 1), entry('r2', 5, { epoch: 2 })]);
    await b.put([entry('r2', 4, { epoch: 1 }), entry('r1', 2, { epoch: 1 })]);
    const { runs } = new BookReader(directory).read();
    expect([runs.get('r1')?.epoch, runs.get('r2')?.epoch]).toEqual([1, 2]);
    await Promise.all([a.close(), b.close()]);
  });

  it('says when it was last compared with the ledger', async () => {
    const writer = await openBookWriter(join(directory, 'a.book'), home);
    const reader = new BookReader(directory);
    await writer.confirm(new Date(AT));
    expect(reader.read().asOf?.toISOString()).toBe(AT);
    await writer.close();
  });

  it('works from the last good copy where lines are damaged or the file is gone', async () => {
    const path = join(directory, 'a.book');
    const writer = await openBookWriter(path, home);
    await writer.put([entry('r1', 1), entry('r2', 1)]);
    const bytes = readFileSync(path);
    bytes[bytes.length - 10] = (bytes[bytes.length - 10] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    const reader = new BookReader(directory);
    expect([...reader.read().runs.keys()]).toEqual(['r1']);
    expect(reader.read().damaged).toBe(1);
    rmSync(path);
    expect([...reader.read().runs.keys()]).toEqual(['r1']);
    await writer.close();
  });

  it('stays bounded over ten thousand runs that change, and loses none', async () => {
    const path = join(directory, 'a.book');
    const writer = await openBookWriter(path, home);
    for (let version = 1; version <= 5; version += 1) {
      await writer.put(Array.from({ length: 10_000 }, (_, i) => entry(`run-${i}`, version)));
    }
    const { runs } = new BookReader(directory).read();
    expect(runs.size).toBe(10_000);
    expect([...runs.values()].every(({ version }) => version === 5)).toBe(true);
    const lineBytes = recordLine(entry('run-1234', 5)).length;
    expect(statSync(path).size).toBeLessThan(3.5 * 10_000 * lineBytes);
    await writer.close();
  });
});
