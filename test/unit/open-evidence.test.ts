/** Evidence as the configuration states it: what cannot work is said at start, and not with each log that is lost. */
import { expect, it } from 'vitest';
import { openEvidence } from '../../src/composition/evidence.ts';
import { EvidenceConfigSchema } from '../../src/config/evidence.ts';
import { createOutbound } from '../../src/outbound/outbound.ts';

const s3 = {
  ...{ endpoint: 'http://127.0.0.1:9000', bucket: 'evidence' },
  ...{ accessKey: 'env:BUCKET_ACCESS', secretKey: 'env:BUCKET_SECRET' },
};
const keys = { BUCKET_ACCESS: 'a', BUCKET_SECRET: 's' };

const opened = (env: Record<string, string>, allow: string[]) =>
  openEvidence({
    config: { evidence: EvidenceConfigSchema.parse({ s3 }) ?? null, roles: [], dataDir: '/nowhere' },
    env,
    outbound: createOutbound({ allow }),
    runs: { load: async () => null, execute: () => Promise.reject(new Error('no run')) },
    ledger: { view: async () => null, views: async () => [] },
    clock: () => new Date(),
    logger: { info: () => undefined, warn: () => undefined },
    stops: [],
  });

it('opens where its keys are there and its host is allowed', () => {
  expect(opened(keys, ['loopback'])).not.toBeNull();
});

it.each([
  [
    'a key that is not set',
    { BUCKET_ACCESS: 'a' },
    ['loopback'],
    /evidence\.s3\.secretKey: .*BUCKET_SECRET is not set/,
  ],
  ['a host that is not allowed', keys, [], /evidence\.s3\.endpoint: .*outbound\.allow/],
])('does not start with %s', (_, env, allow, message) => {
  expect(() => opened(env, allow)).toThrow(message);
});
