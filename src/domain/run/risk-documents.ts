/** How far a permit may reach by its risk, as it is sealed, and what of it stands in an assessment. */
import { z } from 'zod';
import { ComputeSchema } from '../compute.ts';

const p = z.number();
const basis = z.enum(['mostly-prior', 'mixed', 'data']);

const RiskAtSchema = z.object({
  compute: ComputeSchema,
  p,
  /** `p` lies between the two, whatever depends on what. */
  greatest: p,
  sum: p,
});

export const PermitRiskSchema = z
  .object({
    level: z.number(),
    method: z.string(),
    /** Of the weakest category; of those alone that are over the limit, where they are by themselves. */
    basis,
    probability: p.meta({ description: 'Most that this permit may risk' }),
    budgetLeft: p.nullable().meta({ description: "Of the run's risk budget, before this permit" }),
    least: RiskAtSchema.meta({ description: 'At the shortest step' }),
    chosen: RiskAtSchema.meta({ description: 'At the ceiling that clearing this checkpoint earns' }),
    full: RiskAtSchema.meta({ description: 'At the longest step, ratio x (1 + grace)' }),
    dueCompute: ComputeSchema.meta({ description: 'From here on the next checkpoint is due' }),
    categories: z.array(
      z.object({ category: z.string(), basis, points: z.int().min(0), least: p, chosen: p, full: p }),
    ),
  })
  .meta({
    id: 'PermitRisk',
    description: 'How likely any category is to reach the level by the ceiling of the next permit',
  });
export type PermitRisk = z.infer<typeof PermitRiskSchema>;

/** Of a checkpoint that was cleared: what its permit takes. */
export const RiskTakenSchema = z
  .object({
    dueCompute: ComputeSchema,
    p: p.meta({ description: 'Sealed, of reaching the level by `compute`' }),
    compute: ComputeSchema.meta({
      description: 'The chosen ceiling; the longest step where what is in force goes beyond the chosen one',
    }),
    spends: p.meta({ description: 'What this adds to what the run has spent' }),
    spent: p.meta({ description: 'By all permits of the run, this one with them' }),
  })
  .meta({ id: 'RiskTaken' });
export type RiskTaken = z.infer<typeof RiskTakenSchema>;
