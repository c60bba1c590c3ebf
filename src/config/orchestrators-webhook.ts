/** `orchestrators.webhook` of interlock.yaml: whether halts are posted, and which listeners are the operator's own. */
import { z } from 'zod';

const origin = z
  .string()
  .max(2048)
  .refine((text) => {
    if (!URL.canParse(text)) return false;
    const { protocol, origin: own } = new URL(text);
    return (protocol === 'https:' || protocol === 'http:') && (text === own || text === `${own}/`);
  }, 'must be the beginning of a URL, as https://halts.example:8443, without a path')
  .transform((text) => new URL(text).origin);

export const WebhookConfigSchema = z
  .strictObject({
    enabled: z.boolean().default(true),
    /** Listeners that no trainer runs: a target there, with a secret of its own, counts as independent of the trainer. */
    independentReceivers: z.array(origin).max(64).default([]),
  })
  .prefault({});
