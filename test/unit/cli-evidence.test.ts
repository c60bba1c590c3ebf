/** `interlock evidence`: what opens, what is refused, and that nothing is left of what was refused. */
import { createHash } from 'node:crypto';
import { access, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readPublicKey, seal } from '../../src/evidence/seal.ts';
import { say } from './cli-terminal.ts';

const LOG = Buffer.alloc(100_000, 'what a model said');
const DIGEST = createHash('sha256').update(LOG).digest('hex');

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'interlock-cli-evidence-'));
  const { code, out } = await say(['evidence', 'keygen', '--out', at('key'), '--json'], {});
  expect(code).toBe(0);
  const { publicKey } = JSON.parse(out);
  async function* plain() {
    yield LOG;
  }
  const parts: Uint8Array[] = [];
  for await (const part of seal(plain(), readPublicKey(publicKey))) parts.push(part);
  await writeFile(at('log.sealed'), Buffer.concat(parts));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const at = (name: string) => join(directory, name);
const open = ({ file = 'log.sealed', key = 'key', digest = DIGEST, out = 'log' } = {}) =>
  say(['evidence', 'open', at(file), '--key', at(key), '--digest', digest, '--out', at(out)], {});
const isThere = (name: string) =>
  access(at(name)).then(
    () => true,
    () => false,
  );

describe('sealed evidence', () => {
  test('opens to the log, for its reader alone', async () => {
    const { code, err } = await open();
    expect(code, err).toBe(0);
    expect((await readFile(at('log'))).equals(LOG)).toBe(true);
    expect((await stat(at('log'))).mode & 0o777).toBe(0o600);
  });

  test('that is not of the digest leaves nothing behind', async () => {
    const { code, err } = await open({ digest: '0'.repeat(64) });
    expect([code, err]).toEqual([1, expect.stringContaining('not of this digest')]);
    expect(await isThere('log')).toBe(false);
  });

  test('for another key is refused', async () => {
    await say(['evidence', 'keygen', '--out', at('other')], {});
    const { code, err } = await open({ key: 'other' });
    expect([code, err]).toEqual([1, expect.stringContaining('sealed for another key')]);
    expect(await isThere('log')).toBe(false);
  });

  test.each([
    ['a file that is not there', { file: 'none' }, /none: no such file/],
    ['a directory', { file: 'folder' }, /it is a directory/],
    ['a place that is taken', { out: 'taken' }, /taken: the file exists/],
    ['a place that there is none of', { out: 'no/where' }, /no\/where: no such file/],
    ['a key that is none', { key: 'taken' }, /must be "ilsk_"/],
    ['a key that is not there', { key: 'none' }, /the key .*none cannot be read/],
    ['a digest that is none', { digest: 'abc' }, /64 hexadecimal digits/],
  ])('is not opened with %s, and says what is wrong', async (_, options, message) => {
    await mkdir(at('folder'));
    await writeFile(at('taken'), 'mine');
    const { code, out, err } = await open(options);
    expect([code, out]).toEqual([2, '']);
    expect(err).toMatch(message);
    expect(await readFile(at('taken'), 'utf8')).toBe('mine');
    expect(await isThere('log')).toBe(false);
  });
});

test('a key pair takes the place of no file', async () => {
  const { code, out, err } = await say(['evidence', 'keygen', '--out', at('key')], {});
  expect([code, out]).toEqual([2, '']);
  expect(err).toContain('nothing was made');
  expect((await stat(at('key'))).mode & 0o777).toBe(0o600);
});
