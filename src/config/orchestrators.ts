/** What interlock.yaml says of orchestrators: which kinds are enabled, and the systems that targets may name. */
import { z } from 'zod';
import { CommandConfigSchema } from './orchestrators-command.ts';
import { KubernetesConfigSchema } from './orchestrators-kubernetes.ts';
import { RayConfigSchema } from './orchestrators-ray.ts';
import { SlurmConfigSchema } from './orchestrators-slurm.ts';
import { WebhookConfigSchema } from './orchestrators-webhook.ts';

export const OrchestratorsConfigSchema = z
  .strictObject({
    webhook: WebhookConfigSchema,
    process: z.strictObject({ enabled: z.boolean().default(false) }).prefault({}),
    ray: RayConfigSchema,
    command: CommandConfigSchema,
    kubernetes: KubernetesConfigSchema,
    slurm: SlurmConfigSchema,
  })
  .prefault({});
export type OrchestratorsConfig = z.output<typeof OrchestratorsConfigSchema>;
