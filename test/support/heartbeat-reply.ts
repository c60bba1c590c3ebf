/** What a heartbeat is answered with. Without vitest, so that a worker of the simulation can read it too. */
import { z } from 'zod';

export const HeartbeatReply = z.object({
  directive: z.object({
    action: z.enum(['continue', 'pause', 'halt', 'quarantine']),
    haltId: z.string().optional(),
    reason: z.string().optional(),
    resumeFrom: z.string().optional(),
    order: z.string().optional(),
  }),
  permit: z.string().nullable(),
  nextCheckpointAt: z.string(),
  retain: z.array(z.string()),
  retainUntil: z.record(z.string(), z.string()),
});
