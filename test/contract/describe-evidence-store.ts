/** What every evidence store promises, held to the same tests. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BlobName, EvidenceStore } from '../../src/evidence/evidence-store.ts';

const signal = () => AbortSignal.timeout(20_000);

export async function allOf(source: AsyncIterable<Uint8Array> | null): Promise<Buffer | null> {
  if (source === null) return null;
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part);
  return Buffer.concat(parts);
}

export function describeEvidenceStore(name: string, store: () => EvidenceStore): void {
  describe(`evidence store: ${name}`, () => {
    let directory: string;
    beforeAll(async () => {
      directory = await mkdtemp(join(tmpdir(), 'interlock-evidence-'));
    });
    afterAll(() => rm(directory, { recursive: true, force: true }));

    async function blob(
      bytes: Buffer,
      kind: BlobName['kind'] = 'sha256',
    ): Promise<{ name: BlobName; file: string }> {
      const hex = createHash('sha256').update(bytes).digest('hex');
      const file = join(directory, randomBytes(6).toString('hex'));
      await writeFile(file, bytes);
      return { name: { kind, hex }, file };
    }

    it.each([0, 1, 1000, 70_000, 200_000])('gives back %d bytes as they were written', async (length) => {
      const bytes = randomBytes(length);
      const { name: at, file } = await blob(bytes);
      expect(await store().has(at)).toBe(false);
      await store().write(at, file, signal());
      expect(await store().has(at)).toBe(true);
      expect((await allOf(await store().read(at, signal())))?.equals(bytes)).toBe(true);
    });

    it('takes the same again, also from two at once', async () => {
      const { name: at, file } = await blob(Buffer.from('twice'));
      await Promise.all([store().write(at, file, signal()), store().write(at, file, signal())]);
      await store().write(at, file, signal());
      expect((await allOf(await store().read(at, signal())))?.toString()).toBe('twice');
    });

    it('keeps sealed and plain bytes of one digest apart', async () => {
      const { name: plain, file } = await blob(Buffer.from('plain'));
      await store().write({ ...plain, kind: 'sealed' }, file, signal());
      expect(await store().has(plain)).toBe(false);
    });

    it('removes one, and nothing where there is none', async () => {
      const { name: at, file } = await blob(Buffer.from('to be removed'));
      const sealed: BlobName = { ...at, kind: 'sealed' };
      await store().write(at, file, signal());
      await store().write(sealed, file, signal());
      await store().remove(at, signal());
      await store().remove(at, signal());
      expect([await store().has(at), await store().has(sealed)]).toEqual([false, true]);
    });

    it('says of what is not there that it is not', async () => {
      const at: BlobName = { kind: 'sha256', hex: 'f'.repeat(64) };
      expect(await store().has(at)).toBe(false);
      expect(await store().read(at, signal())).toBeNull();
    });

    it('takes no name that is not a digest', async () => {
      await expect(store().has({ kind: 'sha256', hex: '../../../etc/passwd' })).rejects.toThrow(TypeError);
    });
  });
}
