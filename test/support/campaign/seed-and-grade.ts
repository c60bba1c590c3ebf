/** The two options that every campaign's command line has: what is drawn from, and on which storage. */
import { z } from 'zod';
import { GRADES } from './stores.ts';

/** For parseArgs. */
export const SEED_AND_GRADE = { seed: { type: 'string' }, grade: { type: 'string' } } as const;

/** For what parseArgs gives; without a seed one is drawn, and the caller prints it. */
export const SeedAndGrade = z.object({
  seed: z.coerce
    .number()
    .int()
    .min(0)
    .default(() => Math.floor(Math.random() * 1e6)),
  grade: z.enum(GRADES).optional(),
});
