/**
 * What Interlock knows of the run of a harness that it started itself, beside what the log says: to be held against it.
 *
 * Adapters fill it in; domain/read-result.ts judges. Times are of the machine that the harness ran on.
 */
import { z } from 'zod';

const instant = z.iso.datetime({ offset: true });

export const LaunchFactsSchema = z.strictObject({
  /** Null: ended by a signal. Left out: not known. */
  exitCode: z.int().nullable().optional(),
  /** By which the harness says that it ran to its end; [0] unless stated. promptfoo: 0, and 100 where assertions failed. */
  completedExitCodes: z.array(z.int()).optional(),
  /** When the attempt's program was started, RFC 3339. */
  startedAt: instant.optional(),
  /** When the log was last written, by its file, RFC 3339. */
  logModifiedAt: instant.optional(),
  /** What it was told to measure, by the names that its log should give. */
  task: z.string().optional(),
  model: z.string().optional(),
  revision: z.string().optional(),
});
export type LaunchFacts = z.infer<typeof LaunchFactsSchema>;
