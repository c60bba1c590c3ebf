/**
 * Two tiers of evaluations. A `tripwire` takes minutes and comes first at every due point; `full` is the whole suite.
 *
 * By itself a tripwire clears nothing. Where people have approved a reference that says how far a model may be from High while
 * its tripwires are this low, a policy lets them clear a checkpoint alone: below a compute, below a level, or both.
 * Read through the functions below, so that what a policy leaves out keeps its digest.
 */
import { z } from 'zod';
import { type Compute, ComputeSchema, compareCompute } from '../compute.ts';
import { DurationSchema, durationMs } from '../duration.ts';
import { NameSchema } from './evaluation-schema.ts';
import { LevelReferenceSchema, levelAt } from './rule-schema.ts';

const TripwireClearsSchema = z.strictObject({
  belowCompute: ComputeSchema.optional().meta({
    description: 'Checkpoints at or beyond it take the full suite; left out: at any compute',
  }),
  belowLevel: LevelReferenceSchema.optional().meta({
    description:
      'Above which the upper level of no category may be by its tripwires; Medium unless set. One of the two must be stated',
  }),
  within: DurationSchema.optional().meta({
    description: 'Tripwires that are not in after this long bring the full suite; 1h unless set',
  }),
  reference: z.strictObject({
    evidence: z.string().min(1).max(300).meta({
      description: 'The study or run that it rests on, for those who review the policy',
    }),
    approvedBy: z
      .array(NameSchema)
      .min(1)
      .meta({ description: 'Governance groups; all of `governance.resume.approvals` among them' }),
  }),
});
export type TripwireClears = z.infer<typeof TripwireClearsSchema>;

export const TiersSchema = z.strictObject({ tripwireClears: TripwireClearsSchema.optional() });

const BELOW_LEVEL = 'medium';
const WITHIN = '1h';

export const clearsBelow = ({ belowLevel }: TripwireClears): number => levelAt(belowLevel ?? BELOW_LEVEL);
export const clearsWithinMs = ({ within }: TripwireClears): number => durationMs(within ?? WITHIN);

/** Whether the tripwires of a checkpoint at this compute may clear it alone; null: they may not. */
export function tripwireClears(
  { tiers }: { readonly tiers?: z.infer<typeof TiersSchema> | undefined },
  effectiveCompute: Compute,
): TripwireClears | null {
  const clears = tiers?.tripwireClears;
  if (clears === undefined) return null;
  const { belowCompute } = clears;
  return belowCompute === undefined || compareCompute(effectiveCompute, belowCompute) < 0 ? clears : null;
}

/** Left out: the full suite. */
export const isTripwire = ({ tier }: { readonly tier?: 'tripwire' | 'full' | undefined }): boolean =>
  tier === 'tripwire';
