/** What a program leaves behind, where the policy states its whole command: a native result, or the log of a harness. */
import { z } from 'zod';
import { placeholdersIn } from './executor-fields.ts';
import { LogPatternSchema, RESULT_FORMATS, type ResultFormat } from './log-pattern.ts';

export const logFields = (native: string) => ({
  format: z
    .enum(RESULT_FORMATS)
    .default('native')
    .meta({
      description: `What it leaves behind: native, a result ${native}; else the log of a harness below {logDirectory}, auto where its format is to be told by its content`,
    }),
  log: LogPatternSchema.optional().meta({
    description:
      'Which file below {logDirectory} is the log; * within a name, ** over directories. By default the one file that is one',
  }),
});

interface Stated {
  readonly format: ResultFormat;
  readonly log?: string | undefined;
  readonly command: readonly string[];
}

/** Of an executor that speaks of a log, and does not say whose. */
export function logProblems({
  format,
  log,
  command,
}: Stated): { path: (string | number)[]; message: string }[] {
  if (format !== 'native') return [];
  const message = 'is for the log of a harness: say of which by format, or auto';
  return [
    ...(log === undefined ? [] : [{ path: ['log'], message }]),
    ...command.flatMap((text, index) =>
      placeholdersIn(text).includes('logDirectory')
        ? [{ path: ['command', index], message: `{logDirectory} ${message}` }]
        : [],
    ),
  ];
}
