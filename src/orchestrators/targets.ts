/**
 * Where a run's halts go: the configuration of one target, as the API takes it and the ledger keeps it.
 * Pure zod, so that the wire schemas and the adapters share one definition.
 */
import { z } from 'zod';
import { SystemName } from '../config/system-names.ts';
import { DurationSchema } from '../domain/duration.ts';
import { LadderSchema } from '../domain/policy/ladder.ts';

const webhookUrl = z
  .url({ protocol: /^https?$/ })
  .max(2048)
  .refine((text) => {
    if (!URL.canParse(text)) return false;
    const { username, password, hash } = new URL(text);
    return username === '' && password === '' && hash === '';
  }, 'must carry neither credentials nor a fragment');

const ladder = LadderSchema.optional().meta({
  description: "Steps of a halt of this target, in place of the policy's and of its kind's",
});

/** A later rung of the whole halt: this target's first step waits, and is not needed if the run has stopped by then. */
const after = DurationSchema.optional().meta({
  description: "How long after a halt order this target's first step is due; default: at once",
});

export const webhookTargetSchema = z
  .strictObject({
    kind: z.literal('webhook'),
    after,
    ladder,
    url: webhookUrl,
    secret: z
      .string()
      .regex(/^env:[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'must be "env:" and the name of an environment variable')
      .optional(),
  })
  .meta({ id: 'WebhookTarget', description: 'A URL to which halts are posted, signed (Standard Webhooks)' });
export type WebhookTarget = z.infer<typeof webhookTargetSchema>;

export const processTargetSchema = z
  .strictObject({
    kind: z.literal('process'),
    after,
    ladder,
    pid: z.int().min(2).max(4_194_304),
    startTime: z
      .string()
      .regex(/^[A-Za-z0-9-]{1,64}:\d{1,20}$/)
      .optional()
      .meta({ description: 'Which process of that pid is meant; recorded by Interlock at registration' }),
  })
  .meta({ id: 'ProcessTarget', description: 'A local process that is signalled' });
export type ProcessTarget = z.infer<typeof processTargetSchema>;

const submissionId = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$/, 'must be letters, digits, ".", "_", ":", "@" or "-"');

export const rayTargetSchema = z
  .strictObject({
    kind: z.literal('ray'),
    after,
    ladder,
    cluster: SystemName.meta({ description: 'A cluster of interlock.yaml' }),
    submissionId,
    submissionPrefix: submissionId.min(4).optional().meta({
      description: 'Every submission whose id begins so is this run too; a beginning of submissionId',
    }),
    run: z
      .string()
      .regex(/^[\x20-\x7e]{1,128}$/, 'must be printable ASCII, at most 128')
      .optional()
      .meta({
        description:
          "interlock_run in the submission's metadata: every submission that has the same is this run too",
      }),
  })
  .meta({ id: 'RayTarget', description: "A submission of Ray's Jobs API" });
export type RayTarget = z.infer<typeof rayTargetSchema>;

export const commandTargetSchema = z
  .strictObject({
    kind: z.literal('command'),
    after,
    ladder,
    command: SystemName.meta({ description: 'A command of interlock.yaml' }),
    run: z
      .string()
      .regex(
        /^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,255}$/,
        'must be letters, digits, ".", "_", ":", "/", "@" or "-", at most 256',
      )
      .meta({ description: 'What the run is called there' }),
    parameters: z
      .record(
        z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,63}$/, 'must be letters, digits, "_" or "-", at most 64'),
        z.string().regex(/^[\x20-\x7e]{0,256}$/, 'must be printable ASCII, at most 256'),
      )
      .refine((stated) => Object.keys(stated).length <= 16, 'must be at most 16')
      .optional(),
  })
  .meta({ id: 'CommandTarget', description: "A run that the site's own command stops" });
export type CommandTarget = z.infer<typeof commandTargetSchema>;
const recorded = (max: number, what: string) =>
  z
    .string()
    .max(max)
    .regex(/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/)
    .optional()
    .meta({ description: `${what}; recorded by Interlock at registration` });

export const kubernetesTargetSchema = z
  .strictObject({
    kind: z.literal('kubernetes'),
    after,
    ladder,
    cluster: SystemName.meta({ description: 'A cluster of interlock.yaml' }),
    namespace: z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'must be the name of a namespace'),
    resource: z.enum([
      'job',
      'jobset',
      'pytorchjob',
      'trainjob',
      'rayjob',
      'deployment',
      'statefulset',
      'pod',
    ]),
    name: z
      .string()
      .max(253)
      .regex(
        /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/,
        'must be the name of a Kubernetes object',
      ),
    queue: z
      .literal('kueue')
      .optional()
      .meta({ description: 'Kueue decides when the workload runs; found out by Interlock where left out' }),
    uid: recorded(64, 'Which object of that name is meant'),
    namespaceUid: recorded(64, 'Which namespace of that name, and so which cluster, is meant'),
    selector: recorded(2048, 'The labels of its pods, where they do not follow from its name'),
  })
  .meta({
    id: 'KubernetesTarget',
    description: 'A workload in a Kubernetes cluster, suspended where it stands',
  });
export type KubernetesTarget = z.infer<typeof kubernetesTargetSchema>;

export const slurmTargetSchema = z
  .strictObject({
    kind: z.literal('slurm'),
    after,
    ladder,
    cluster: SystemName.meta({ description: 'A cluster of interlock.yaml' }),
    jobId: z
      .int()
      .min(1)
      .max(4_294_967_293)
      .meta({ description: 'A job, a whole array by its id, or a heterogeneous job by its leader' }),
    jobName: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'must be letters, digits, ".", "_" or "-", at most 128')
      .optional()
      .meta({
        description:
          "Every other job of the same user with this name counts as the run too; must be the job's own name",
      }),
    user: z
      .string()
      .regex(/^[A-Za-z0-9_][A-Za-z0-9._@-]{0,127}$/)
      .optional()
      .meta({ description: 'Whose job is meant; recorded by Interlock at registration' }),
    submittedAtS: z.int().min(1).optional().meta({
      description:
        'Which job of that id is meant (seconds since 1970); recorded by Interlock at registration',
    }),
    restarts: z
      .int()
      .min(0)
      .optional()
      .meta({ description: 'How often it had been requeued; recorded by Interlock at registration' }),
  })
  .meta({ id: 'SlurmTarget', description: 'A Slurm job that is signalled and cancelled' });
export type SlurmTarget = z.infer<typeof slurmTargetSchema>;

export const targetSchema = z.discriminatedUnion('kind', [
  webhookTargetSchema,
  processTargetSchema,
  rayTargetSchema,
  commandTargetSchema,
  kubernetesTargetSchema,
  slurmTargetSchema,
]);
export type Target = z.infer<typeof targetSchema>;
