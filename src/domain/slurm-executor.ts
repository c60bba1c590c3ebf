/**
 * An evaluation as a Slurm job, as the policy states it: the command, and what of the cluster it asks for.
 *
 * Where Slurm's programs and the shared directory are, interlock.yaml says (`evaluators.slurm`). What is asked for goes to sbatch as
 * single arguments: no text of a policy becomes an option of another name, or a line of a script.
 */
import { z } from 'zod';
import { DurationSchema } from './duration.ts';
import { attempts, backoff, EnvironmentSchema, programAndArguments, timeout } from './executor-fields.ts';
import { logFields, logProblems } from './log-fields.ts';

const name = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_.,:@=+-]{0,127}$/,
    'must be letters, digits and _.,:@=+-, beginning with a letter or digit',
  );

export const SlurmExecutorSchema = z
  .strictObject({
    kind: z.literal('slurm'),
    command: programAndArguments.meta({
      description:
        'Program and arguments of the job; it writes its result to {resultFile}, or its log below {logDirectory}, on the shared directory',
    }),
    ...logFields('as {resultFile}'),
    partition: name.optional(),
    account: name.optional(),
    qos: name.optional(),
    gres: name.optional().meta({ description: 'As sbatch --gres: gpu:8' }),
    constraint: name.optional(),
    nodes: z.int().min(1).max(100_000).optional(),
    cpusPerTask: z.int().min(1).max(100_000).optional(),
    memory: z
      .string()
      .regex(/^[1-9]\d{0,8}[KMGT]?$/, 'must be a number of megabytes, or one with K, M, G or T')
      .optional(),
    time: z
      .string()
      .regex(
        /^(\d{1,4}-)?\d{1,4}(:\d{2}){0,2}$/,
        'must be a time as sbatch takes it: minutes, 2:00:00 or 1-12:00:00',
      )
      .optional()
      .meta({ description: "The job's own limit; `timeout` counts its wait for resources too" }),
    poll: DurationSchema.optional().meta({ description: 'How often its state is asked for; 10s unless set' }),
    timeout,
    attempts,
    backoff,
    env: EnvironmentSchema.default({}),
  })
  .superRefine((executor, context) => {
    for (const issue of logProblems(executor)) context.addIssue({ code: 'custom', ...issue });
  });
export type SlurmExecutor = z.infer<typeof SlurmExecutorSchema>;

const POLL = '10s';
export const pollOf = ({ poll }: SlurmExecutor): string => poll ?? POLL;
