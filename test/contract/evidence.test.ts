/** Evidence in a folder, and in a bucket whose server checks every signature by the published rules itself. */
import { chmod, mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createFolderStore } from '../../src/evidence/folder.ts';
import { createS3Store } from '../../src/evidence/s3.ts';
import { createOutbound } from '../../src/outbound/outbound.ts';
import { type BucketServer, signatureOf, startBucketServer } from '../support/bucket-server.ts';
import { describeEvidenceStore } from './describe-evidence-store.ts';

let directory: string;
let bucket: BucketServer;
const outbound = createOutbound({ allow: ['loopback'] });
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'interlock-store-'));
  bucket = await startBucketServer({
    accessKey: 'AKIATEST',
    secretKey: 'not/a+real/secret',
    region: 'eu-central-1',
  });
});
afterAll(async () => {
  await outbound.close();
  await bucket.close();
  await rm(directory, { recursive: true, force: true });
});

const s3 = (secretKey = 'not/a+real/secret') =>
  createS3Store({
    endpoint: bucket.url,
    bucket: 'evidence',
    region: 'eu-central-1',
    prefix: 'interlock/',
    accessKey: () => 'AKIATEST',
    secretKey: () => secretKey,
    outbound,
    clock: () => new Date(),
    partBytes: 65_536,
  });

describeEvidenceStore('folder', () => createFolderStore(directory));
describeEvidenceStore('S3', () => s3());

describe('a folder', () => {
  const at = { kind: 'sha256', hex: 'a'.repeat(64) } as const;

  it('is readable by its owner alone, and holds no parts', async () => {
    const file = join(directory, 'source');
    await writeFile(file, 'x');
    await chmod(file, 0o644);
    await createFolderStore(directory).write(at, file, AbortSignal.timeout(5_000));
    const folder = join(directory, 'sha256', 'aa');
    expect(await readdir(folder)).toEqual(['a'.repeat(62)]);
    expect((await stat(join(folder, 'a'.repeat(62)))).mode & 0o777).toBe(0o600);
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
  });

  it('keeps what was left again for its whole retention, from then on', async () => {
    const store = createFolderStore(directory);
    const again = { kind: 'sha256', hex: 'c'.repeat(64) } as const;
    const file = join(directory, 'again');
    await writeFile(file, 'y');
    await store.write(again, file, AbortSignal.timeout(5_000));
    const old = new Date(Date.now() - 10 * 86_400_000);
    await utimes(join(directory, 'sha256', 'cc', 'c'.repeat(62)), old, old);
    await store.write(again, file, AbortSignal.timeout(5_000));
    await store.expire(new Date(Date.now() - 86_400_000));
    expect(await store.has(again)).toBe(true);
  });

  it('removes what is older than its retention, and nothing else', async () => {
    const store = createFolderStore(directory);
    const old = new Date(Date.now() - 10 * 86_400_000);
    await utimes(join(directory, 'sha256', 'aa', 'a'.repeat(62)), old, old);
    const before = (await readdir(join(directory, 'sha256'))).length;
    expect(await store.expire(new Date(Date.now() - 86_400_000))).toBe(1);
    expect(await store.has(at)).toBe(false);
    expect((await readdir(join(directory, 'sha256'))).length).toBe(before);
  });
});

describe('a bucket', () => {
  it('that refuses the key says so without it', async () => {
    const failed = await s3('another')
      .has({ kind: 'sha256', hex: 'b'.repeat(64) })
      .catch((error: unknown) => error);
    expect(failed).toMatchObject({ code: 'evidence.unavailable', retryable: true });
    expect(String(failed)).not.toMatch(/another|AKIATEST|bbbb/);
  });

  it('is signed for as the published example is', () => {
    // Of "Authenticating Requests: Using the Authorization Header", GET Object.
    expect(
      signatureOf({
        secretKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
        region: 'us-east-1',
        amzDate: '20130524T000000Z',
        method: 'GET',
        path: '/test.txt',
        query: '',
        signed: [
          ['host', 'examplebucket.s3.amazonaws.com'],
          ['range', 'bytes=0-9'],
          ['x-amz-content-sha256', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
          ['x-amz-date', '20130524T000000Z'],
        ],
        bodyHash: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
      }),
    ).toBe('f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41');
  });
});
