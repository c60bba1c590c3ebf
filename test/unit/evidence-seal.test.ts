/** Sealing: what goes in comes out for the key that it was sealed for, and whatever was done to it is found. */
import { createPublicKey } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { generateSealingKeys, readPrivateKey, readPublicKey, seal, unseal } from '../../src/evidence/seal.ts';
import '../support/fast-check-seed.ts';

const keys = generateSealingKeys();
const recipient = readPublicKey(keys.publicKey);
const privateKey = readPrivateKey(keys.privateKey);

async function* streamed(bytes: Uint8Array, size = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
async function all(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part);
  return Buffer.concat(parts);
}
const sealed = (bytes: Uint8Array) => all(seal(streamed(bytes), recipient));
const opened = (bytes: Uint8Array, size = 777) => all(unseal(streamed(bytes, size), privateKey));
const damaged = { code: 'evidence.damaged' };

describe('sealed evidence', () => {
  it('opens to what was sealed, whatever its length and however it arrives', async () => {
    for (const length of [0, 1, 65_535, 65_536, 65_537, 131_072, 200_001]) {
      const plain = Buffer.alloc(length, 'evidence');
      expect((await opened(await sealed(plain), 1 + (length % 5000))).equals(plain)).toBe(true);
    }
  });

  it('shows nothing of the text, and is another one each time', async () => {
    const plain = Buffer.from('how to make the dangerous thing '.repeat(100));
    const [one, two] = [await sealed(plain), await sealed(plain)];
    expect(one.includes('dangerous')).toBe(false);
    expect(one.subarray(80).equals(two.subarray(80))).toBe(false);
  });

  it('is refused where one bit differs, at any place', async () => {
    const whole = await sealed(Buffer.alloc(70_000, 'x'));
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: whole.length - 1 }),
        fc.integer({ min: 0, max: 7 }),
        async (at, bit) => {
          const changed = Buffer.from(whole);
          changed.writeUInt8(changed.readUInt8(at) ^ (1 << bit), at);
          await expect(opened(changed)).rejects.toMatchObject(damaged);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('has its file closed where it is refused half-way', async () => {
    const whole = await sealed(Buffer.alloc(200_000, 'x'));
    whole.writeUInt8(whole.readUInt8(1_000) ^ 1, 1_000);
    for (const bytes of [whole, Buffer.alloc(500), whole.subarray(0, 10)]) {
      let isClosed = false;
      async function* file(): AsyncGenerator<Uint8Array> {
        try {
          yield* streamed(bytes);
        } finally {
          isClosed = true;
        }
      }
      await expect(all(unseal(file(), privateKey))).rejects.toMatchObject(damaged);
      expect(isClosed).toBe(true);
    }
  });

  it('is refused where it ends early, goes on, or has its parts in another order', async () => {
    const whole = await sealed(Buffer.alloc(3 * 65_536, 'x'));
    const head = whole.length - 3 * (65_536 + 16);
    const part = (i: number) => whole.subarray(head + i * 65_552, head + (i + 1) * 65_552);
    const start = whole.subarray(0, head);
    for (const changed of [
      Buffer.concat([start, part(0)]),
      Buffer.concat([start, part(0), part(1)]),
      Buffer.concat([start, part(1), part(0), part(2)]),
      Buffer.concat([whole, part(2)]),
      start,
      start.subarray(0, 20),
      Buffer.alloc(0),
    ]) {
      await expect(opened(changed)).rejects.toMatchObject(damaged);
    }
  });

  it('opens for no other key', async () => {
    const other = readPrivateKey(generateSealingKeys().privateKey);
    const whole = await sealed(Buffer.from('secret'));
    await expect(all(unseal(streamed(whole), other))).rejects.toMatchObject(damaged);
  });
});

describe('sealing keys', () => {
  it('are read back as they were made', () => {
    const x = createPublicKey(privateKey).export({ format: 'jwk' })['x'];
    expect(`ilsp_${x}`).toBe(keys.publicKey);
  });

  it.each([['ilsp_short'], [keys.privateKey], ['']])('are not taken for what they are not: %#', (text) => {
    expect(() => readPublicKey(text)).toThrow(expect.objectContaining({ code: 'evidence.key' }));
    try {
      readPublicKey(keys.privateKey);
    } catch (error) {
      expect(String(error)).not.toContain(keys.privateKey.slice(5));
    }
  });
});
