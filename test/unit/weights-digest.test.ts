/** Digests of weights: what sha256sum would say, and refusals where nothing can be vouched for. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { digestWeights, inventory } from '../../src/evaluators/weights/digest.ts';
import { createDigester } from '../../src/evaluators/weights/digester.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), 'interlock-weights-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function put(name: string, content: string | Uint8Array): string {
  const file = path.join(root, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, content);
  return file;
}
const sha = (content: string | Uint8Array) => `sha256:${createHash('sha256').update(content).digest('hex')}`;
const problem = { name: 'WeightsError' };

describe('the digest of weights', () => {
  it('is that of the bytes where they are one file, whatever it is called', async () => {
    const file = put('model.safetensors', 'weights');
    expect(await digestWeights(file)).toMatchObject({ digest: sha('weights'), files: 1, bytes: 7 });
  });

  it('is what sha256sum makes of a directory', async () => {
    put('m/b.bin', new Uint8Array(9_000_000).fill(7));
    put('m/a/z.bin', 'z');
    put('m/a-1.bin', 'sorts between, by bytes');
    put('m/ä.bin', 'not ASCII');
    const said = execFileSync(
      'sh',
      ['-c', "find -L . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"],
      { cwd: path.join(root, 'm'), encoding: 'utf8' },
    );
    const { digest, files } = await digestWeights(path.join(root, 'm'));
    expect(digest).toBe(`sha256:${said.slice(0, 64)}`);
    expect(files).toBe(4);
  });

  it('tells a file apart that only moved or was renamed', async () => {
    put('m/a', '1');
    put('m/b', '2');
    const before = await digestWeights(path.join(root, 'm'));
    put('m/a', '2');
    put('m/b', '1');
    expect((await digestWeights(path.join(root, 'm'))).digest).not.toBe(before.digest);
  });

  const bare = () => {
    mkdirSync(path.join(root, 'm'));
    return path.join(root, 'm');
  };
  const holding = (name: string, linkTo?: string) => {
    if (linkTo === undefined) put(`m/${name}`, '1');
    else {
      put('m/a', '1');
      symlinkSync(linkTo, path.join(root, 'm', name));
    }
    return path.join(root, 'm');
  };

  it.each([
    ['nothing lies there', () => path.join(root, 'none'), 'weights-gone'],
    ['a directory is empty', bare, 'weights-gone'],
    ['a link in them leads nowhere', () => holding('b', 'x'), 'weights-unreadable'],
    ['a name could be read as two lines', () => holding('a\nb'), 'weights-unreadable'],
    ['a link leads back', () => holding('b', '.'), 'weights-unreadable'],
    ['they are no file', () => '/dev/null', 'weights-unreadable'],
  ])('is refused where %s', async (_, make, code) => {
    await expect(digestWeights(make())).rejects.toMatchObject({ ...problem, problem: code });
  });

  it('follows links, and not out of the roots', async () => {
    const outside = put('elsewhere/blob', 'blob');
    mkdirSync(path.join(root, 'm'));
    symlinkSync(outside, path.join(root, 'm/model.bin'));
    const found = await digestWeights(path.join(root, 'm'), { roots: [root] });
    expect(found.bytes).toBe(4);
    await expect(
      digestWeights(path.join(root, 'm'), { roots: [path.join(root, 'm')] }),
    ).rejects.toMatchObject({
      problem: 'weights-unreadable',
    });
  });

  it('is refused of what is written to while it is read', async () => {
    const file = put('model', new Uint8Array(9_000_000));
    let written = false;
    const onProgress = (): void => {
      if (!written) appendFileSync(file, 'more');
      written = true;
    };
    await expect(digestWeights(file, { onProgress })).rejects.toMatchObject({ problem: 'weights-unstable' });
  });
});

describe('the fingerprint', () => {
  it('is refused at once of a file that grows as it is read', async () => {
    const file = put('grows', 'weights');
    const grow = () => appendFileSync(file, 'more!!!');
    grow();
    const digest = digestWeights(file, { onProgress: grow });
    await expect(digest).rejects.toMatchObject({ ...problem, problem: 'weights-unstable' });
  });

  it('is refused of directories that are linked to each other without end', async () => {
    for (let depth = 0; depth < 40; depth += 1) {
      mkdirSync(path.join(root, `d${depth}`));
      for (const name of ['a', 'b']) symlinkSync(`../d${depth + 1}`, path.join(root, `d${depth}`, name));
    }
    put('d40/weights', 'x');
    const digest = digestWeights(path.join(root, 'd0'), { entriesMax: 500 });
    await expect(digest).rejects.toMatchObject({ ...problem, problem: 'weights-unreadable' });
  });

  it('changes with the content even where size and time of change are put back', async () => {
    const file = put('model', 'one');
    const at = new Date(1_700_000_000_000);
    utimesSync(file, at, at);
    const { fingerprint } = await inventory(file);
    expect((await inventory(file)).fingerprint).toBe(fingerprint);
    writeFileSync(file, 'two');
    utimesSync(file, at, at);
    expect((await inventory(file)).fingerprint).not.toBe(fingerprint);
  });
});

describe('the digester', () => {
  it('works in a thread, tells how far it is, and answers all who ask for the same', async () => {
    const file = put('model', new Uint8Array(20_000_000).fill(1));
    const digester = createDigester([root]);
    const heard: [asked: number, bytesDone: number, bytesTotal: number][] = [];
    const digest = (asked: number) => digester.digest(file, (...bytes) => heard.push([asked, ...bytes]));
    const [one, two] = await Promise.all([digest(1), digest(2)]);
    expect(one).toBe(two);
    expect(heard).toEqual([
      [1, 20_000_000, 20_000_000],
      [2, 20_000_000, 20_000_000],
    ]);
    expect(one).toMatchObject({ ok: true, found: { digest: (await digestWeights(file)).digest } });
    await digester.close();
  });

  it.runIf(process.platform === 'linux')(
    'goes on with the next after one that the disk does not give',
    async () => {
      const digester = createDigester([root, '/proc']);
      // A regular file that opens, and whose bytes cannot be read: as of a disk that is broken.
      expect(await digester.digest('/proc/self/mem').catch(String)).toMatchObject({
        ok: false,
        problem: 'weights-unreadable',
      });
      expect(await digester.digest(put('m/a', '1'))).toMatchObject({ ok: true });
      await digester.close();
    },
  );

  it('says no once it is closed, and to what lies outside of its roots', async () => {
    const file = put('model', '1');
    const elsewhere = createDigester([path.join(root, 'm')]);
    expect(await elsewhere.digest(file)).toMatchObject({ ok: false, problem: 'weights-unreadable' });
    await elsewhere.close();
    expect(await elsewhere.digest(file)).toMatchObject({ ok: false });
  });
});
