/**
 * What makes a checkpoint due beside the doubling of the run's compute: a change of the training stage, the doubling of that
 * stage's own compute, a declared breakthrough, a jump in a tripwire.
 *
 * Reinforcement learning and fine-tuning use little of a run's compute and may change most of what it can do: counted with
 * the whole, their first doubling would never come.
 * Nothing here has to be stated: what a policy leaves out is read by the functions below, so that its digest stays.
 */
import { z } from 'zod';
import { type Compute, ComputeSchema, timesCompute } from '../compute.ts';
import { DurationSchema, durationMs } from '../duration.ts';
import { NameSchema } from './evaluation-schema.ts';

const TrainingStageSchema = z.strictObject({
  ratio: z.number().gt(1).max(16).optional().meta({
    description: "Due at ratio x the stage's own compute last cleared; default: `cadence.ratio`",
  }),
  firstCheckpointBy: ComputeSchema.optional().meta({
    description:
      "Own compute up to which the checkpoint of the stage's change speaks for it; default: 1 % of the compute before it",
  }),
  maxInterval: DurationSchema.optional().meta({
    description: 'In this stage also due after this long, where it is shorter than `cadence.maxInterval`',
  }),
});

/** By the name under which the trainer states the stage: `rl`, `fine-tuning`. */
export const TrainingStagesSchema = z
  .record(NameSchema, TrainingStageSchema)
  .refine((stages) => Object.keys(stages).length <= 32, 'must be at most 32 training stages');

export const TriggersSchema = z.strictObject({
  checkpointWithin: DurationSchema.optional().meta({
    description:
      'How long a due checkpoint may take after a declared breakthrough, or after a heartbeat told of another training stage; default 24h',
  }),
  tripwireJump: z.number().gt(0).max(4).optional().meta({
    description:
      'Rise of a category in levels, by the tripwires of a checkpoint that was not due, over which the full suite is due at once; default 0.5',
  }),
});

interface Cadence {
  readonly ratio: number;
  readonly maxInterval: string;
  readonly trainingStages?: z.infer<typeof TrainingStagesSchema> | undefined;
  readonly triggers?: z.infer<typeof TriggersSchema> | undefined;
}

const CHECKPOINT_WITHIN = '24h';
const TRIPWIRE_JUMP = 0.5;
/** Of the compute before it: a judgement, so that a stage is looked at early and not at its first step. */
const FIRST_SHARE = 0.01;

export const checkpointWithinMs = ({ triggers }: Cadence): number =>
  durationMs(triggers?.checkpointWithin ?? CHECKPOINT_WITHIN);

export const tripwireJump = ({ triggers }: Cadence): number => triggers?.tripwireJump ?? TRIPWIRE_JUMP;

/** `before`: the run's compute as the stage began; null where it began with it. */
export function stageCadence(cadence: Cadence, name: string, before: Compute | null) {
  const { trainingStages: stages = {} } = cadence;
  const stated = Object.hasOwn(stages, name) ? stages[name] : undefined;
  return {
    ratio: stated?.ratio ?? cadence.ratio,
    first: stated?.firstCheckpointBy ?? (before === null ? null : timesCompute(before, FIRST_SHARE)),
    maxInterval: stated?.maxInterval ?? null,
  };
}
