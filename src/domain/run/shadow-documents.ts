/**
 * Shadow: what the events of a run say while everything about it is decided and recorded, and nothing is done.
 *
 * `WouldHave...` stand where `HaltOrdered`, `HoldPlaced` and `HoldLifted` would of a run that is armed.
 */
import { z } from 'zod';
import { FindingSchema } from './finding-documents.ts';
import { HaltActionSchema, HaltCauseSchema } from './halt-documents.ts';

const at = z.iso.datetime();

/** A first deployment is to end armed: longer than this is no trial. */
export const SHADOW_DAYS_MAX = 90;
export const SHADOW_MAX_MS = SHADOW_DAYS_MAX * 86_400_000;

export const ShadowTermsSchema = z.object({ until: at });

export const SHADOW_EVENTS = {
  WouldHaveHalted: z.object({ action: HaltActionSchema, cause: HaltCauseSchema, at }),
  WouldHaveHeld: z.object({
    holdId: z.string(),
    key: z.string(),
    findings: z.array(FindingSchema).min(1),
    /** When the hold, had nobody lifted it, would have become a halt. */
    deadlineAt: at,
    at,
  }),
  WouldHaveLifted: z.object({ holdId: z.string(), at }),
  /** From here on what stands against the run acts. `press`: people do not press to rehearse. */
  ShadowEnded: z.object({
    reason: z.enum(['time', 'armed', 'press']),
    by: z.string().nullable(),
    at,
  }),
} as const;
