/** What a run's events say of targets and halts: where a halt goes, by which steps, why it was ordered. */
import { z } from 'zod';
import { LadderUntilSchema } from '../policy/ladder.ts';
import { FindingSchema } from './finding-documents.ts';

const id = z.string();
const int = z.int().min(0);
const JsonObjectSchema = z.record(z.string(), z.json());

export const HaltActionSchema = z.enum(['halt', 'quarantine']);
export type HaltAction = z.infer<typeof HaltActionSchema>;

/** One rung of a target's ladder: when it is due after the order, and its waits between attempts. */
export const LadderStepSchema = z.object({
  step: z.string(),
  afterMs: int,
  retryMs: z.array(int).min(1),
  resendMs: z.array(int),
  /** Which effect it has so long to have (ladder-due.ts). */
  until: LadderUntilSchema.optional(),
  withinMs: int.optional(),
});
export type LadderStep = z.infer<typeof LadderStepSchema>;

export const RunTargetSchema = z.object({
  targetId: id,
  kind: z.string(),
  config: JsonObjectSchema,
  ladder: z.array(LadderStepSchema).min(1),
  /** `observed`: the orchestrator's own state; `acknowledged`: the trainer's `stopped` and no progress since. */
  confirmation: z.enum(['observed', 'acknowledged']),
  /** Of a webhook whose listener interlock.yaml names as the operator's own, at the time of the registration. */
  receiver: z.literal('operator').optional(),
});
export type RunTarget = z.infer<typeof RunTargetSchema>;

/** What spoke for a stop when it was confirmed. */
export const StopEvidenceSchema = z
  .object({
    kind: z.enum([
      'seen-stopped',
      'trainer-received',
      'trainer-stopped',
      'heartbeats-ceased',
      'compute-frozen',
    ]),
    targetId: id.optional(),
    /** Of the last heartbeat, or of the last that stated more compute, where it tells of silence. */
    at: z.string(),
  })
  .meta({ id: 'StopEvidence' });
export type StopEvidence = z.infer<typeof StopEvidenceSchema>;

export const HaltMomentSchema = z
  .object({
    what: z.enum([
      'ordered',
      'halted-again',
      'directive-given',
      'step-taken',
      'step-accepted',
      'received',
      'said-stopped',
      'seen-stopped',
      'confirmed',
    ]),
    targetId: id.nullable(),
    step: z.string().nullable(),
    at: z.string(),
    afterMs: z.int().meta({ description: 'Since the order' }),
  })
  .meta({ id: 'HaltMoment', description: 'One moment of a halt' });
export type HaltMoment = z.infer<typeof HaltMomentSchema>;

export const DrillResultSchema = z
  .object({
    targetId: id,
    kind: z.string(),
    step: z.string(),
    /** `not-rehearsed`: the kind cannot; that proves nothing either way. */
    outcome: z.enum(['passed', 'failed', 'not-rehearsed']),
    detail: z.string(),
    tookMs: int,
  })
  .meta({ id: 'DrillResult', description: 'One step of one target, rehearsed' });
export type DrillResult = z.infer<typeof DrillResultSchema>;

export const HaltCauseSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('rule'),
    checkpointId: z.string().nullable(),
    findings: z.array(FindingSchema).min(1),
  }),
  z.object({
    kind: z.literal('person'),
    by: z.string(),
    group: z.string(),
    reason: z.string(),
    /** Of a press that the button wrote down before the ledger could. */
    pressId: z.string().optional(),
  }),
  /** A halt of a run that this one descends from, or of a sibling: one that began with weights of `through` too. */
  z.object({
    kind: z.literal('lineage'),
    runId: id,
    haltId: id,
    reason: z.string(),
    through: z.string().optional(),
  }),
]);
export type HaltCause = z.infer<typeof HaltCauseSchema>;
