/** Variables of the environment that are Interlock's own: no policy can have one given to a program or a job. */
import type { InterlockConfiguration } from './configuration.ts';

const STORES = ['DATABASE_URL', 'DATABASE_DIRECT_URL', 'REDIS_URL'];

export function ownSecrets({ evidence }: Pick<InterlockConfiguration, 'evidence'>): ReadonlySet<string> {
  const s3 = evidence?.s3;
  const keys = s3 === undefined ? [] : [s3.accessKey, s3.secretKey];
  return new Set([...STORES, ...keys.map((reference) => reference.slice('env:'.length))]);
}
