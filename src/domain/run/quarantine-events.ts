/** What a run's stream says of its quarantine, and of work that is let go on beside a halt (events.ts). */
import { z } from 'zod';
import { ScopedTermsSchema } from './proposal-documents.ts';
import { BEGUN_BECAUSE, RevertSchema } from './quarantine-documents.ts';

const at = z.iso.datetime();
const id = z.string();
const int = z.int().min(0);

export const quarantineEvents = {
  /** `isolateAt`: from then on the call-outs do not wait for the stop. */
  QuarantineBegun: z.object({
    haltId: id,
    revert: RevertSchema.nullable(),
    steps: z.array(z.object({ step: z.string(), kind: z.string(), withinMs: int })),
    isolateAt: at,
    at,
  }),
  IsolationStepBegun: z.object({
    haltId: id,
    step: z.string(),
    because: z.enum(BEGUN_BECAUSE),
    dueAt: at,
    at,
  }),
  IsolationStepTaken: z.object({
    haltId: id,
    step: z.string(),
    attempt: int,
    outcome: z.enum(['accepted', 'retry', 'rejected']),
    detail: z.string(),
    nextAt: at,
    at,
  }),
  IsolationStepOverdue: z.object({ haltId: id, step: z.string(), at }),
  /** `by`: `call-out` where what was called says that it is done, else whose word it is. */
  IsolationStepConfirmed: z.object({ haltId: id, step: z.string(), by: z.string(), detail: z.string(), at }),
  /** The halt stands; from here on it can be resumed. */
  QuarantineReleased: z.object({ haltId: id, proposalId: id, at }),
  /** Evaluation and alignment work may go on; the halt stands. */
  ScopedWorkGranted: z.object({ haltId: id, proposalId: id, terms: ScopedTermsSchema, at }),
  ScopedWorkEnded: z.object({ haltId: id, reason: z.enum(['expired', 'veto']), at }),
} as const;
