/** Events of a checkpoint's evaluations: which of them are needed, their attempts, and what came of them. */
import { z } from 'zod';
import { ComputeSchema } from '../compute.ts';
import { ReadingSchema } from './reading-documents.ts';

const at = z.iso.datetime();
const id = z.string();
const int = z.int().min(0);

/** Where the policy gives the evaluation a budget: what the attempt used of it, and which part of it is used up with it. */
const budgeted = {
  spentMs: int.optional(),
  exhausted: z.enum(['attempts', 'wallTime', 'samples']).optional(),
};

export const EVALUATION_EVENTS = {
  /** The tripwires, or a finding that stops the run, speak against clearing it alone: what waited for them is queued. */
  EvaluationsReleased: z.object({
    checkpointId: id,
    evaluationIds: z.array(id).min(1),
    reason: z.enum([
      'tripwire-not-below',
      'tripwire-inconclusive',
      'tripwire-late',
      'tripwire-jump',
      'finding',
    ]),
    at,
  }),
  /** All conclusive, and `upper`, the highest of any category, is below the level: what waited for them is not needed. */
  TripwireCleared: z.object({
    checkpointId: id,
    evaluationIds: z.array(id).min(1),
    upper: z.number(),
    belowLevel: z.number(),
    belowCompute: ComputeSchema.optional(),
    reference: z.string(),
    at,
  }),
  /** Its tripwires alone were asked for, and one has risen by more than the policy lets pass. */
  CheckpointMadeDue: z.object({
    checkpointId: id,
    reason: z.literal('tripwire-jump'),
    evaluationIds: z.array(id).min(1),
    evaluation: z.string(),
    observed: z.number(),
    threshold: z.number(),
    since: id,
    deadlineAt: at,
    at,
  }),
  /** They wait for labels that no worker had for a while. */
  EvaluationsUnstaffed: z.object({
    checkpointId: id,
    evaluationIds: z.array(id).min(1),
    labels: z.array(z.string()).min(1),
    at,
  }),
  EvaluationStarted: z.object({
    evaluationId: id,
    attempt: int,
    instance: z.string(),
    deadlineAt: at,
    /** Which of the replicas carries it out, from 1; left out: the executor itself. */
    replica: int.optional(),
    at,
  }),
  EvaluationDispatched: z.object({ evaluationId: id, attempt: int, at }),
  EvaluationReturned: z.object({
    evaluationId: id,
    attempt: int,
    reason: z.enum(['shutdown', 'instance-lost']),
    /** What the attempt in its place is for, where it was asked for by people, a resume or closing in; left out: automatic. */
    purpose: z.enum(['retry', 'top-up', 'resume']).optional(),
    ...budgeted,
    at,
  }),
  EvaluationReported: z.object({
    evaluationId: id,
    attempt: int,
    reading: ReadingSchema,
    resultDigest: z.string(),
    model: z.string().nullable(),
    transcriptUri: z.string().nullable(),
    late: z.boolean(),
    nextAttemptAt: at.nullable(),
    ...budgeted,
    by: z.string(),
    at,
  }),
  EvaluationAttemptFailed: z.object({
    evaluationId: id,
    attempt: int,
    reason: z.string(),
    detail: z.string().nullable(),
    reading: ReadingSchema.nullable(),
    nextAttemptAt: at.nullable(),
    ...budgeted,
    /** It is ended, and whoever carries it out elsewhere has to be told. */
    callOff: z.literal(true).optional(),
    at,
  }),
  EvaluationRequeued: z.object({
    evaluationId: id,
    attempt: int,
    purpose: z.enum(['retry', 'top-up', 'resume']),
    by: z.string(),
    /** Where it does not begin at once. */
    notBefore: at.optional(),
    at,
  }),
  EvaluationsCancelled: z.object({
    evaluationIds: z.array(id).min(1),
    /** Of these, somebody else has to be told. */
    callOff: z.array(id).optional(),
    /** Of those that ran and whose wall time the policy counts: what each had used of it. */
    spentMs: z.record(id, int).optional(),
    reason: z.string(),
    at,
  }),
  /** An evaluation begins to be run beside the one whose protocol it changes, here and on the checkpoint last cleared. */
  SuccessionBegun: z.object({
    evaluation: z.string(),
    succeeds: z.string(),
    checkpointId: id,
    /** null where none is in the state. */
    lastCleared: z
      .object({
        checkpointId: id,
        evaluations: z.array(z.object({ evaluationId: id, evaluation: z.string(), variant: z.string() })),
      })
      .nullable(),
    at,
  }),
  /** Both were conclusive on these: the one that is succeeded is run no more. */
  SuccessionEnded: z.object({ evaluation: z.string(), succeeds: z.string(), checkpoints: z.array(id), at }),
  /** Whoever carries it out elsewhere was told, or could not be. `nextAt`: null once they took it. */
  EvaluationCalledOff: z.object({
    evaluationId: id,
    attempt: int,
    call: int,
    outcome: z.enum(['accepted', 'retry', 'rejected']),
    detail: z.string(),
    nextAt: at.nullable(),
    at,
  }),
  /** A result for a checkpoint that is no longer in the state: kept, and able to trip on its own. */
  ArchivedResultReported: z.object({
    checkpointId: id,
    evaluationId: id,
    evaluation: z.string(),
    variant: z.string(),
    attempt: int,
    reading: ReadingSchema,
    resultDigest: z.string(),
    estimate: z.number().nullable(),
    upper: z.number().nullable(),
    by: z.string(),
    at,
  }),
} as const;
