/** Evidence around its store: what was dangerous once is so for good, and a service that stops waits for no store. */
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { EvidenceStore } from '../../../src/evidence/evidence-store.ts';
import { generateSealingKeys } from '../../../src/evidence/seal.ts';
import { createEvidence, type EvidenceDeps } from '../../../src/service/evidence.ts';
import { realTimers } from '../../../src/timers.ts';

const TEXT = 'the very recipe';
const HEX = createHash('sha256').update(TEXT).digest('hex');
const source = {
  async *stream() {
    yield Buffer.from(TEXT);
  },
};
const about = (hazardous: boolean, runId = 'run-1') => ({
  ...{ runId, evaluationId: null, attempt: null, by: 'interlock' },
  hazardous,
});

let scratch: string;
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'interlock-evidence-'));
});
afterEach(() => rm(scratch, { recursive: true, force: true }));

/** The views of the ledger as far as evidence has any, and a store in memory. */
function scene(over: Partial<EvidenceStore> = {}) {
  const rows = new Map<string, { runId: string; digest: string; bytes: number; sealed: boolean }>();
  const blobs = new Map<string, Buffer>();
  const warned: string[] = [];
  const store: EvidenceStore = {
    has: async ({ kind, hex }) => blobs.has(`${kind}/${hex}`),
    write: async ({ kind, hex }, file) => void blobs.set(`${kind}/${hex}`, await readFile(file)),
    read: async () => null,
    remove: async ({ kind, hex }) => void blobs.delete(`${kind}/${hex}`),
    expire: async () => 0,
    ...over,
  };
  const row = (doc: object | undefined) =>
    doc === undefined ? null : { kind: 'evidence', id: '', runId: '', ordinal: 0, doc: { ...doc } };
  const timers = { ...realTimers, set: vi.fn(realTimers.set) };
  const deps: EvidenceDeps = {
    store,
    runs: {
      load: async () => null,
      async execute(_runId, build) {
        const command = typeof build === 'function' ? await build(null) : build;
        if (command.type === 'NoteEvidence' && !command.known) {
          const { digest, bytes, sealed } = command;
          rows.set(`${digest}/${_runId}`, { runId: _runId, digest, bytes, sealed });
        }
        return { outcome: 'rejected', rejection: { code: 'not-found', message: '' } };
      },
    },
    ledger: {
      view: async (_kind, id) => row(rows.get(id)),
      views: async ({ runId: digest }) =>
        [...rows.values()].filter((each) => each.digest === digest).flatMap((each) => row(each) ?? []),
    },
    scratch,
    sealingKey: generateSealingKeys().publicKey,
    privateKeyFile: null,
    clock: () => new Date(),
    logger: { warn: (_fields, message) => warned.push(message) },
    timers,
  };
  return { evidence: createEvidence(deps), rows, blobs, warned, timers };
}

describe('a log that is dangerous', () => {
  test('takes a release although the run kept the same bytes as a plain one before', async () => {
    const { evidence, rows, blobs } = scene();
    await evidence.keep(source, about(false));
    expect(await evidence.keep(source, about(true))).toBe(HEX);
    expect([...blobs.keys()]).toEqual([`sealed/${HEX}`]);
    expect(rows.get(`${HEX}/run-1`)).toMatchObject({ sealed: true });
    expect(await evidence.read(HEX, 'auditor', { offset: 0, length: 100 })).toMatchObject({
      kind: 'refused',
    });
  });

  test('is not written plainly beside its sealed bytes, whichever run has it next', async () => {
    const { evidence, rows, blobs } = scene();
    await evidence.keep(source, about(true));
    expect(await evidence.keep(source, about(false, 'run-2'))).toBe(HEX);
    expect([...blobs.keys()]).toEqual([`sealed/${HEX}`]);
    expect(rows.get(`${HEX}/run-2`)).toMatchObject({ sealed: true });
  });

  test('is sealed where nobody knows of which evaluation it is', async () => {
    const { evidence, blobs } = scene();
    await evidence.keep(source, { runId: 'gone', evaluationId: 'ev_a', attempt: 1, by: 'interlock' });
    expect([...blobs.keys()]).toEqual([`sealed/${HEX}`]);
  });
});

test('a service that stops waits a moment for its store, and then gives the log up', async () => {
  const { evidence, warned, timers } = scene({
    write: (_name, _file, signal) =>
      new Promise((_resolve, reject) => {
        const giveUp = (): void => reject(new Error('aborted'));
        if (signal.aborted) giveUp();
        signal.addEventListener('abort', giveUp);
      }),
  });
  const kept = evidence.keep(source, about(false));
  const closed = evidence.close();
  timers.set.mock.calls[0]?.[0]();
  await closed;
  expect(await kept).toBeNull();
  expect(warned).toHaveLength(1);
  expect(timers.set.mock.calls[0]?.[1]).toBeLessThan(10_000);
});
