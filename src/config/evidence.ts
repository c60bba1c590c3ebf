/**
 * `evidence` in interlock.yaml: where logs of evaluations are kept, and how dangerous ones are sealed. Left out: nowhere.
 *
 * The service needs the public sealing key alone. Where the private one is not named either, it cannot read what it seals:
 * a release then gives out sealed bytes, and whoever holds the key opens them (`interlock evidence open`).
 */
import { z } from 'zod';
import { DurationSchema } from '../domain/duration.ts';

const path = z.string().min(1).max(4096);
const reference = z
  .string()
  .regex(/^env:[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'must name an environment variable, as in env:EVIDENCE_KEY');

const endpoint = z.string().refine((text) => {
  if (!URL.canParse(text)) return false;
  const url = new URL(text);
  const isPlain = url.username === '' && url.password === '' && url.hash === '' && url.search === '';
  return isPlain && url.pathname === '/' && /^https?:$/.test(url.protocol);
}, 'must be an http or https URL without path, credentials, query or fragment; its host must be in outbound.allow');

const S3Schema = z.strictObject({
  endpoint,
  bucket: z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'must be the name of a bucket'),
  region: z
    .string()
    .regex(/^[a-z0-9-]{1,40}$/, 'must be a region such as eu-central-1')
    .default('us-east-1'),
  prefix: z
    .string()
    .regex(/^(?:[A-Za-z0-9._-]+\/){0,8}$/, 'must be empty, or names that each end in a slash')
    // An address with dots in it leads to another place, and out of the bucket.
    .refine((text) => !text.split('/').some((part) => /^\.+$/.test(part)), 'must have no name of dots alone')
    .default(''),
  accessKey: reference,
  secretKey: reference,
});

const SealingSchema = z.strictObject({
  publicKey: z
    .string()
    .regex(/^ilsp_[A-Za-z0-9_-]{43}$/, 'must be a public key as `interlock evidence keygen` prints it'),
  /** Read when a release is read, and at no other time. */
  privateKeyFile: path.optional(),
});

export const EvidenceConfigSchema = z
  .strictObject({
    directory: path.optional(),
    s3: S3Schema.optional(),
    sealing: SealingSchema.optional(),
    retention: DurationSchema.optional(),
  })
  .superRefine(({ directory, s3, retention }, context) => {
    if ((directory === undefined) === (s3 === undefined)) {
      context.addIssue({ code: 'custom', message: 'must name either directory or s3' });
    }
    if (s3 !== undefined && retention !== undefined) {
      context.addIssue({
        code: 'custom',
        path: ['retention'],
        message: 'is of a directory; a bucket has its own lifecycle rules',
      });
    }
  })
  .optional();
export type EvidenceConfig = NonNullable<z.output<typeof EvidenceConfigSchema>>;
