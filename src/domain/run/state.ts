/**
 * The state of one run: the fold of its events, stored with the stream's head.
 *
 * Bounded: open checkpoints, the last few closed ones, a compact series per evaluation, pending alerts.
 * Closed scorecards and delivered alerts live in views, which replay can rebuild.
 */
import { z } from 'zod';
import { ComputeSchema } from '../compute.ts';
import { StageSchema } from '../policy/schema.ts';
import { ContributionSchema, TargetUsageSchema } from './ancestry-documents.ts';
import { EvidenceReleaseSchema } from './evidence-documents.ts';
import { FindingSchema, VerdictSchema } from './finding-documents.ts';
import { ExpertPoolSchema, ForecastSchema } from './forecast-documents.ts';
import { HaltActionSchema, HaltCauseSchema, RunTargetSchema } from './halt-documents.ts';
import { OutsideFindingSchema, OutsideGrantSchema } from './outside-documents.ts';
import { ProposalSchema, TermsSchema } from './proposal-documents.ts';
import { QuarantineStateSchema, RevertSchema } from './quarantine-documents.ts';
import { LeadSchema, ReadingSchema } from './reading-documents.ts';
import { PermitRiskSchema, RiskTakenSchema } from './risk-documents.ts';

const at = z.string();
const id = z.string();
const int = z.int();

export const AttemptSchema = z.object({
  attempt: int,
  purpose: z.enum(['first', 'automatic', 'retry', 'top-up', 'resume']),
  state: z.enum([
    'queued',
    'running',
    'awaiting-callback',
    'reported',
    'failed',
    'cancelled',
    'deferred',
    'not-needed',
  ]),
  notBefore: at,
  instance: z.string().nullable(),
  startedAt: at.nullable(),
  deadlineAt: at.nullable(),
  reading: ReadingSchema.nullable(),
  resultDigest: z.string().nullable(),
  reason: z.string().nullable(),
  /** Which of the replicas carries it out, from 1. */
  replica: int.optional(),
  /** Of the evaluation's budget, and the part of it that is used up with this attempt. */
  spentMs: int.optional(),
  exhausted: z.enum(['attempts', 'wallTime', 'samples']).optional(),
  /** Who carries it out elsewhere has to be told that it is cancelled; `nextAt` is null once they were. */
  callOff: z.object({ calls: int, nextAt: at.nullable(), lastDetail: z.string().nullable() }).optional(),
});
export type Attempt = z.infer<typeof AttemptSchema>;

export const EvaluationStateSchema = z.object({
  evaluationId: id,
  evaluation: z.string(),
  variant: z.string(),
  attempts: z.array(AttemptSchema).min(1),
  /** Asked of a checkpoint that was cleared without it: it can worsen a level, and is required for nothing. */
  beside: z.literal(true).optional(),
});
export type EvaluationState = z.infer<typeof EvaluationStateSchema>;

/** What experts were asked at a checkpoint. Their words are in the views alone: this goes with every append. */
export const EstimateQuestionSchema = z.object({
  questionId: id,
  category: z.string(),
  stage: StageSchema,
  level: z.number(),
  horizonCompute: ComputeSchema,
  rounds: z
    .array(
      z.object({
        roundId: id,
        by: z.string(),
        openedAt: at,
        closesAt: at,
        closed: z.object({ reason: z.enum(['by-hand', 'deadline', 'overtaken']), at }).nullable(),
        pool: ExpertPoolSchema.nullable(),
        estimateIds: z.array(id),
        /** The latest of each expert. */
        estimates: z.array(
          z.object({
            estimateId: id,
            by: z.string(),
            probability: z.number(),
            contentDigest: z.string(),
            /** How many this expert has given in this round. */
            given: int,
          }),
        ),
      }),
    )
    .min(1)
    .max(2),
});
export type EstimateQuestion = z.infer<typeof EstimateQuestionSchema>;
export type EstimateRound = EstimateQuestion['rounds'][number];

export const CheckpointStateSchema = z.object({
  checkpointId: id,
  effectiveCompute: ComputeSchema,
  modelUri: z.string(),
  weightsDigest: z.string().optional(),
  /** As Interlock read them; nothing but `digest` where they were found to be others at the first look. */
  weights: z
    .object({
      digest: z.string(),
      files: int.nullable(),
      bytes: z.number().nullable(),
      fingerprint: z.string().nullable(),
      digestedAt: at.nullable(),
      changed: z.object({ expected: z.string(), found: z.string(), at }).optional(),
    })
    .optional(),
  endpoint: z.string().nullable(),
  due: z.boolean(),
  /** Due, and sent with the wish not to be evaluated. */
  declined: z.literal(true).optional(),
  reportedAt: at,
  deadlineAt: at,
  contentDigest: z.string(),
  correlationId: z.string(),
  evaluations: z.array(EvaluationStateSchema),
  forecasts: z.array(ForecastSchema),
  /** The training stage that it is of, and which entry into it. */
  trainingStage: z.object({ name: z.string(), enteredAt: at, compute: ComputeSchema.optional() }).optional(),
  risk: PermitRiskSchema.optional(),
  /** Labels that its evaluations waited for and no worker had: people know. */
  unstaffed: z.array(z.string()).optional(),
  /** Of the run's risk budget, by the permits that it earned. */
  riskPaid: z.number().optional(),
  questions: z.array(EstimateQuestionSchema).optional(),
  /** What outside evaluators found in it, beside any evaluation. */
  outside: z.array(OutsideFindingSchema).optional(),
  closed: z
    .object({
      revision: int,
      verdict: VerdictSchema,
      scorecardDigest: z.string(),
      findings: z.array(FindingSchema),
      at,
    })
    .nullable(),
});
export type CheckpointState = z.infer<typeof CheckpointStateSchema>;

export const HoldSchema = z.object({
  holdId: id,
  key: z.string(),
  findings: z.array(FindingSchema).min(1),
  placedAt: at,
  deadlineAt: at,
  /** Further samples may decide it; people are woken once this is gone. */
  closingIn: z.object({ until: at }).optional(),
});
export type Hold = z.infer<typeof HoldSchema>;

export const HaltTargetSchema = z.object({
  targetId: id,
  steps: z.array(
    z.object({
      step: z.string(),
      attempts: int,
      acceptances: int,
      firstAt: at.nullable(),
      acceptedAt: at.nullable(),
      /** When the next attempt is due; null when this rung has nothing more to do. */
      nextAt: at.nullable(),
      lastDetail: z.string().nullable(),
    }),
  ),
  stoppedAt: at.nullable(),
  stopDetail: z.string().nullable(),
});

export const HaltSchema = z.object({
  haltId: id,
  action: HaltActionSchema,
  epoch: int,
  orderedAt: at,
  /** What is signed into the order, where it went out before it was recorded. */
  issuedAt: at.optional(),
  /** Other ids under which presses sent orders for this halt: cleared with it. */
  orders: z.array(id).optional(),
  causes: z.array(HaltCauseSchema).min(1),
  round: int,
  roundAt: at,
  targets: z.array(HaltTargetSchema),
  receivedAt: at.nullable(),
  stoppedAckAt: at.nullable(),
  /** Highest compute known when the trainer said it stopped, or the stop was confirmed. */
  computeAtStop: ComputeSchema.nullable(),
  /** When it last showed life after the halt, and what did. */
  life: z.object({ shown: z.string(), at }).optional(),
  /** The furthest checkpoint that was reported since the order. */
  reported: ComputeSchema.optional(),
  /** Of a quarantine; not there in one from before its steps were recorded, until it is next decided about. */
  quarantine: QuarantineStateSchema.optional(),
  /** Evaluation and alignment work that people let go on. */
  scoped: z.object({ proposalId: id, expires: at, at }).optional(),
  confirmedAt: at.nullable(),
  /** The first heartbeat of this round that was answered with it. */
  directive: z.object({ at, by: z.string() }).optional(),
  /** When a heartbeat last stated more compute in this round: where a step's rule reads it, or it may have come late. */
  progressAt: at.optional(),
  /** When life last contradicted what the orchestrators said: from then on their word needs silence after it. */
  doubtedAt: at.optional(),
  escalations: int,
  escalateAt: at,
});
export type Halt = z.infer<typeof HaltSchema>;

export const AlertStateSchema = z.object({
  alertId: id,
  kind: z.enum(['halt-ordered', 'halt-unconfirmed', 'halt-confirmed', 'hold', 'inconclusive', 'notice']),
  severity: z.enum(['critical', 'error', 'warning', 'info']),
  dedupKey: z.string(),
  summary: z.string(),
  details: z.record(z.string(), z.string()),
  raisedAt: at,
  channels: z.array(z.object({ channel: z.string(), attempts: int, nextAt: at.nullable() })),
});
export type AlertState = z.infer<typeof AlertStateSchema>;

export const SeriesSchema = z.object({
  evaluation: z.string(),
  variant: z.string(),
  points: z.array(
    z.object({
      checkpointId: id,
      effectiveCompute: ComputeSchema,
      score: z.number(),
      stderr: z.number().nullable(),
      n: z.number().nullable(),
      lead: LeadSchema.optional(),
      protocol: z.string().optional(),
    }),
  ),
});
export type Series = z.infer<typeof SeriesSchema>;

/** A sealed forecast until it is scored, and then while the evidence that it was scored by may still change. */
export const TrackedForecastSchema = z.object({
  checkpointId: id,
  effectiveCompute: ComputeSchema,
  due: z.boolean(),
  category: z.string(),
  stage: StageSchema,
  checkpoints: int,
  method: z.string(),
  basis: ForecastSchema.shape.basis,
  horizonCompute: ComputeSchema,
  quantiles: ForecastSchema.shape.quantiles,
  exceedance: ForecastSchema.shape.exceedance,
  /** Due checkpoints beyond, in the order they were reported; the last of `checkpoints` is what it is about. */
  dueBeyond: z.array(id),
  late: z.boolean(),
  /** How many times what lies above the median counts in it. */
  tails: z.number().optional(),
  scored: z
    .object({
      revision: int,
      observed: z.number(),
      complete: z.boolean(),
      /** Whether it is in the record of bounds. */
      counts: z.boolean().optional(),
      passed: z.boolean().optional(),
    })
    .nullable(),
});
export type TrackedForecast = z.infer<typeof TrackedForecastSchema>;

export const LineageSchema = z.object({
  /** Runs whose weights are in it, by whatever name it gave them. */
  parents: z.array(id),
  /** Names that no weights are known by, and the checkpoint that gave them (null: the registration). */
  unknown: z.array(
    z.object({
      stated: z.string(),
      checkpointId: id.nullable(),
      /** People resumed the run all the same. */
      accepted: z.literal(true).optional(),
    }),
  ),
  /** It starts from weights and names no parent at all. */
  unnamed: z.boolean(),
  vouched: z.string().optional(),
  /** What its ancestors did, each once. */
  work: z.array(ContributionSchema),
  /** Compute from which its own work counts. */
  start: ComputeSchema.nullable(),
  /** The least that it can be at, by what its ancestors did. */
  floor: ComputeSchema.nullable(),
  /** The latest compute that it stated: at registration, or with a checkpoint. */
  stated: z.object({ checkpointId: id.nullable(), effectiveCompute: ComputeSchema }).nullable(),
});
export type LineageState = z.infer<typeof LineageSchema>;

export const UsageStateSchema = z.object({
  checkpointId: id.nullable(),
  effectiveCompute: ComputeSchema.nullable(),
  targets: z.array(TargetUsageSchema),
  /** Where people signed for what was stated: from there on it is counted anew. */
  signed: z
    .object({ effectiveCompute: ComputeSchema.nullable(), targets: z.array(TargetUsageSchema) })
    .optional(),
});

export const ShadowSchema = z.object({
  until: at,
  ended: z.object({ reason: z.enum(['time', 'armed', 'press']), by: z.string().nullable(), at }).nullable(),
  /** How often the run would have been halted, and held. */
  halts: int,
  heldTimes: int,
  first: z
    .object({
      action: z.enum(['halt', 'quarantine', 'hold']),
      checkpointId: z.string().nullable(),
      explanation: z.string(),
      at,
    })
    .nullable(),
  /** Names of the findings that it would have been halted for: each is recorded once. */
  known: z.array(z.string()),
  /** Holds that would stand now. */
  holds: z.array(HoldSchema),
  /** Causes that nothing else in the state shows: halts of relatives, and evidence of checkpoints that have left it. */
  kept: z.array(z.object({ action: HaltActionSchema, cause: HaltCauseSchema })),
  /** The furthest due checkpoint: what comes next is due a ratio beyond it, whatever was found. */
  furthest: z.object({ effectiveCompute: ComputeSchema, at }).nullable(),
});
export type Shadow = z.infer<typeof ShadowSchema>;

export const TrainingStageSchema = z.object({
  name: z.string(),
  enteredAt: at,
  /** The run's compute as it began; null where the run began with it. */
  before: ComputeSchema.nullable(),
  /** The highest own compute that was stated. */
  compute: ComputeSchema.nullable(),
  /** A due checkpoint of it was reported; else it must be by `seenBy`. */
  seen: z.boolean(),
  seenBy: at.nullable(),
  cleared: z.object({ checkpointId: id, compute: ComputeSchema.nullable(), at }).nullable(),
});
export type TrainingStage = z.infer<typeof TrainingStageSchema>;

export const RunStateSchema = z.object({
  schema: z.literal(1),
  runId: id,
  title: z.string().nullable(),
  policy: z.string(),
  policyName: z.string(),
  by: z.string(),
  registeredAt: at,
  contentDigest: z.string(),
  labels: z.record(z.string(), z.string()),
  parents: z.array(z.string()),
  sources: z.array(z.string()).nullable(),
  initialCompute: ComputeSchema.nullable(),
  /** Halted as it was registered, to see whether a halt gets through to its targets. */
  drill: z.literal(true).optional(),
  targets: z.array(RunTargetSchema),
  epoch: int,
  ceiling: ComputeSchema,
  firstCeiling: ComputeSchema,
  lastCleared: z.object({ checkpointId: id, effectiveCompute: ComputeSchema, at }).nullable(),
  /** The newest that were cleared and needed no waiver, by compute: what a quarantined run may go back to. */
  cleared: z.array(RevertSchema).optional(),
  /** Of the checkpoint last cleared, under a policy that limits the risk of permits. */
  risk: RiskTakenSchema.omit({ spends: true }).extend({ sealed: PermitRiskSchema }).optional(),
  /** Highest compute in any event. The heartbeat high-water mark beside the ledger may be higher. */
  computeHigh: ComputeSchema.nullable(),
  checkpoints: z.array(CheckpointStateSchema),
  series: z.array(SeriesSchema),
  /** Category estimates at the last assessed checkpoints, oldest first: the reference for jumps. */
  history: z.array(
    z.object({
      checkpointId: id,
      effectiveCompute: ComputeSchema,
      levels: z.array(z.object({ category: z.string(), stage: StageSchema, estimate: z.number() })),
    }),
  ),
  /** Not there before the first forecast is sealed. */
  tracked: z.array(TrackedForecastSchema).optional(),
  /** How the 95 % bounds one checkpoint ahead have done; not there before the first is scored. */
  bounds: z
    .array(z.object({ category: z.string(), stage: StageSchema, forecasts: int, passed: int }))
    .optional(),
  /** Evaluations that run, or ran, beside the one whose protocol they change. */
  successions: z
    .array(
      z.object({
        evaluation: z.string(),
        succeeds: z.string(),
        lastCleared: id.nullable(),
        ended: z.boolean(),
      }),
    )
    .optional(),
  /** Who else may see the run and be heard about it. */
  outside: z.object({ grants: z.array(OutsideGrantSchema) }).optional(),
  /** Requests for sealed evidence, and releases of it, that have not ended. */
  evidence: z.object({ releases: z.array(EvidenceReleaseSchema) }).optional(),
  holds: z.array(HoldSchema),
  halt: HaltSchema.nullable(),
  /** Of a run that was registered in shadow; how it went stays after its end. */
  shadow: ShadowSchema.optional(),
  /** The newest; older ones are in the views of halts. */
  clearedHalts: z.array(id),
  /** Halts of the runs it descends from that have latched it. */
  inherited: z.array(id).optional(),
  /** Of a run that starts from weights, or that weights were merged into. */
  lineage: LineageSchema.optional(),
  accelerator: z.string().optional(),
  /** What the latest checkpoint that states one says, and the highest that people have not signed away. */
  efficiency: z.object({ checkpointId: id, latest: z.number(), highest: z.number() }).optional(),
  usage: UsageStateSchema.optional(),
  /** Processes that were refused because another one trains, and those of them that trained on. */
  duplicates: z
    .object({
      refused: z.array(z.object({ instance: z.string(), at })),
      training: z.array(z.object({ instance: z.string(), effectiveCompute: ComputeSchema, at })),
    })
    .optional(),
  /** Of a run that states one. */
  trainingStage: TrainingStageSchema.optional(),
  /** The newest that were declared; those without an answer await a due checkpoint. */
  breakthroughs: z
    .array(
      z.object({
        breakthroughId: id,
        contentDigest: z.string(),
        dueBy: at,
        at,
        answeredBy: id.nullable(),
      }),
    )
    .optional(),
  waiver: TermsSchema.nullable(),
  proposals: z.array(ProposalSchema),
  alerts: z.array(AlertStateSchema),
  counters: z.object({ holds: int, proposals: int, alerts: int }),
  finishedAt: at.nullable(),
});
export type RunState = z.infer<typeof RunStateSchema>;

/** Closed checkpoints kept in full beyond the open ones. */
export const CLOSED_CHECKPOINTS_KEPT = 4;
/** Closed checkpoints that stop the run, and that it trains on past while it is in shadow. */
export const SHADOW_CHECKPOINTS_KEPT = 16;
/** With so many open ones no further is evaluated on a mere wish: the state goes with every append. */
export const REQUESTED_OPEN_MAX = 32;
export const SERIES_POINTS_KEPT = 24;
export const HISTORY_KEPT = 4;
export const CLEARED_KEPT = 8;
/** Checkpoints whose forecasts are tracked: a run that asks to be evaluated all the time must not swell the state. */
export const TRACKED_CHECKPOINTS_MAX = 16;
export const PROPOSALS_KEPT = 6;
export const QUESTIONS_MAX = 32;
export const EXPERTS_MAX = 50;
/** Leaves room in a permit for those that a trainer asks about by name. */
export const CLEARED_HALTS_KEPT = 192;
