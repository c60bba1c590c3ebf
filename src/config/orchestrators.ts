/** What interlock.yaml says of orchestrators: which kinds are enabled, and the systems that targets may name. */
import { z } from 'zod';

export const OrchestratorsConfigSchema = z
  .strictObject({
    webhook: z.strictObject({ enabled: z.boolean().default(true) }).prefault({}),
    process: z.strictObject({ enabled: z.boolean().default(false) }).prefault({}),
  })
  .prefault({});
export type OrchestratorsConfig = z.output<typeof OrchestratorsConfigSchema>;
