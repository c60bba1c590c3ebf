/** What is recorded of evidence that is kept outside of the ledger, and of its releases. */
import { z } from 'zod';

const at = z.string();
const id = z.string();
const digest = z.string();

export const EvidenceReleaseSchema = z
  .object({
    releaseId: id,
    digest,
    askedBy: z.string(),
    askedAt: at,
    /** Of the request while it is unanswered, then of the release. */
    endsAt: at,
    released: z.object({ by: z.string(), at }).nullable(),
  })
  .meta({ id: 'EvidenceRelease', description: 'Sealed evidence is read under a release of two people' });
export type EvidenceRelease = z.infer<typeof EvidenceReleaseSchema>;

const signed = {
  releaseId: id,
  digest,
  group: z.string(),
  justification: z.string(),
  by: z.string(),
  endsAt: at,
  at,
};

export const EVIDENCE_EVENTS = {
  /** A log is kept under its digest, in a folder or a bucket. */
  EvidenceKept: z.object({
    digest,
    bytes: z.number(),
    sealed: z.boolean(),
    evaluationId: id.nullable(),
    attempt: z.int().nullable(),
    by: z.string(),
    at,
  }),
  EvidenceReleaseAsked: z.object(signed),
  /** By another person than the one who asked: until `endsAt` it may be read. */
  EvidenceReleased: z.object(signed),
  EvidenceRead: z.object({ releaseId: id, digest, by: z.string(), at }),
} as const;
