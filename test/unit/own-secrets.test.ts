import { expect, it } from 'vitest';
import { ownSecrets } from '../../src/composition/own-secrets.ts';
import { EvidenceConfigSchema } from '../../src/config/evidence.ts';

const s3 = {
  ...{ endpoint: 'https://s3.example', bucket: 'evidence' },
  ...{ accessKey: 'env:BUCKET_ACCESS', secretKey: 'env:BUCKET_SECRET' },
};

it('keys of the store of evidence are given to no evaluation, as those of the database are not', () => {
  const evidence = EvidenceConfigSchema.parse({ s3 }) ?? null;
  expect([...ownSecrets({ evidence })]).toEqual(
    expect.arrayContaining(['DATABASE_URL', 'REDIS_URL', 'BUCKET_ACCESS', 'BUCKET_SECRET']),
  );
  expect(ownSecrets({ evidence: null }).has('BUCKET_SECRET')).toBe(false);
});

it.each(['../', 'a/../../b/', './'])('no prefix leads out of the bucket: %s', (prefix) => {
  expect(EvidenceConfigSchema.safeParse({ s3: { ...s3, prefix } }).success).toBe(false);
});
