/** What interlock.yaml says of Slurm: the clusters that targets may name, and how each is reached. */
import { z } from 'zod';
import { AbsolutePath, SystemName } from './system-names.ts';

const slurmUser = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9._@-]{0,127}$/, 'must be the name of a user');

/** Where a token stands; looked up again at every use, so that a file may be replaced while Interlock runs. */
const tokenReference = z
  .string()
  .max(4096)
  .regex(
    /^(env:[A-Za-z_][A-Za-z0-9_]{0,127}|\/[^\0]*)$/,
    'must be "env:" and the name of an environment variable, or the absolute path of a file; never the token itself',
  );

const SlurmClusterSchema = z
  .strictObject({
    /** slurmrestd; its address must be in outbound.allow. */
    rest: z
      .strictObject({
        url: z.url({ protocol: /^https?$/ }).refine((text) => {
          if (!URL.canParse(text)) return false;
          const { username, password, search, hash } = new URL(text);
          return username === '' && password === '' && search === '' && hash === '';
        }, 'must carry neither credentials, query nor fragment'),
        user: slurmUser,
        token: tokenReference,
        /** The user is SlurmUser, root or an operator, and may stop the jobs of others. */
        privileged: z.boolean().default(false),
        /** Jobs start their work with srun, which ends it at once when it gets a signal itself: it is spared. */
        srun: z.boolean().default(false),
      })
      .optional(),
    /** Slurm's own programs, where REST is not configured or not reachable. */
    commands: z
      .strictObject({ directory: AbsolutePath.default('/usr/bin'), conf: AbsolutePath.optional() })
      .optional(),
    /** What asks the job for a last checkpoint. */
    signal: z.enum(['TERM', 'INT', 'USR1', 'USR2']).default('TERM'),
  })
  .refine(
    ({ rest, commands }) => rest !== undefined || commands !== undefined,
    'must have rest, commands or both: there is no other way to reach the cluster',
  );
export type SlurmCluster = z.output<typeof SlurmClusterSchema>;

export const SlurmConfigSchema = z
  .strictObject({
    enabled: z.boolean().default(false),
    clusters: z.record(SystemName, SlurmClusterSchema).default({}),
  })
  .prefault({});
