/**
 * The events of a run's stream: facts in the past tense, the only way a run's state moves.
 *
 * `at` is the time of the command that caused the event (the ledger adds its own recordedAt from the
 * database's clock). Compute is a decimal string. Changing the meaning of an event that is already
 * in somebody's ledger is not possible: add a kind.
 */
import { z } from 'zod';
import type { JsonObject } from '../canonical-json.ts';
import { ComputeSchema } from '../compute.ts';
import { StageSchema } from '../policy/schema.ts';
import { AncestrySchema, TargetUsageSchema } from './ancestry-documents.ts';
import { EVALUATION_EVENTS } from './evaluation-events.ts';
import { EVIDENCE_EVENTS } from './evidence-documents.ts';
import { FindingSchema, VerdictSchema } from './finding-documents.ts';
import {
  ExpertPoolSchema,
  ForecastSchema,
  ForecastScoreSchema,
  LevelQuantileSchema,
} from './forecast-documents.ts';
import {
  DrillResultSchema,
  HaltActionSchema,
  HaltCauseSchema,
  HaltMomentSchema,
  RunTargetSchema,
  StopEvidenceSchema,
} from './halt-documents.ts';
import { OUTSIDE_EVENTS } from './outside-documents.ts';
import { proposalWith, TermsSchema } from './proposal-documents.ts';
import { quarantineEvents } from './quarantine-events.ts';
import { PermitRiskSchema, RiskTakenSchema } from './risk-documents.ts';
import { ScorecardSchema } from './scorecard-documents.ts';
import { SHADOW_EVENTS, ShadowTermsSchema } from './shadow-documents.ts';

const at = z.iso.datetime();
const id = z.string();
const int = z.int().min(0);

/** As the trainer states it: the stage's name, and the compute of that stage alone. */
export const StatedStageSchema = z.object({ name: z.string(), compute: ComputeSchema.optional() });
export type StatedStage = z.infer<typeof StatedStageSchema>;

const events = {
  RunRegistered: z.object({
    runId: id,
    title: z.string().nullable(),
    policy: z.string(),
    policyName: z.string(),
    by: z.string(),
    initialCompute: ComputeSchema.nullable(),
    parents: z.array(z.string()),
    sources: z.array(z.string()).nullable(),
    targets: z.array(RunTargetSchema),
    labels: z.record(z.string(), z.string()),
    ceiling: ComputeSchema,
    contentDigest: z.string(),
    /** Of a run that starts from weights. Absent in registrations from before parents were looked up. */
    ancestry: AncestrySchema.optional(),
    /** Its targets are shadows, and it is halted as it is registered. */
    drill: z.literal(true).optional(),
    /** Why whoever registered the run answers for weights whose origin is not known here. */
    vouched: z.string().optional(),
    /** Which of the policy's accelerators it trains on. */
    accelerator: z.string().optional(),
    /** Of a run that is registered while the deployment is in shadow: put there by the service, never by the trainer. */
    shadow: ShadowTermsSchema.optional(),
    at,
  }),
  ...SHADOW_EVENTS,
  /** Weights that it named as a parent, and nobody knew, turned out to be those of a run. */
  ParentFound: z.object({ stated: z.string(), ancestry: AncestrySchema, at }),
  CheckpointReported: z.object({
    checkpointId: id,
    effectiveCompute: ComputeSchema,
    step: z.number().nullable(),
    modelUri: z.string(),
    endpoint: z.string().nullable(),
    due: z.boolean(),
    reason: z.enum([
      'first',
      'ratio',
      'interval',
      'stage',
      'stage-ratio',
      'breakthrough',
      'requested',
      'not-due',
    ]),
    evaluations: z.array(
      z.object({
        evaluationId: id,
        evaluation: z.string(),
        variant: z.string(),
        /** Waits for what the tripwires come to (tiers.ts). */
        deferred: z.literal(true).optional(),
      }),
    ),
    /** The sender asked that a due checkpoint be left unevaluated. It is evaluated all the same. */
    declined: z.literal(true).optional(),
    /** Where the sender states them. */
    weightsDigest: z.string().optional(),
    efficiencyMultiplier: z.number().optional(),
    /** Of weights that were merged into it since the checkpoint before. */
    ancestry: AncestrySchema.optional(),
    trainingStage: StatedStageSchema.optional(),
    deadlineAt: at.nullable(),
    contentDigest: z.string(),
    /** Follows one checkpoint through logs from its webhook to its halt. */
    correlationId: z.string(),
    by: z.string(),
    at,
  }),
  /** What lay where the checkpoint's weights are; again where their files were touched and hold the same. */
  WeightsDigested: z.object({
    checkpointId: id,
    digest: z.string(),
    files: int,
    bytes: z.number(),
    /** Of names, sizes, times and inodes: while it is the same, the bytes are. */
    fingerprint: z.string(),
    at,
  }),
  /** Other weights lie there than the checkpoint was reported with: from here on it cannot be scored. */
  WeightsChanged: z.object({ checkpointId: id, expected: z.string(), found: z.string(), at }),
  /** What the orchestrators account to the run, beside the compute that it stated by then. */
  UsageNoted: z.object({
    checkpointId: id.nullable(),
    effectiveCompute: ComputeSchema.nullable(),
    targets: z.array(TargetUsageSchema).min(1),
    at,
  }),
  /** Compute seen above the highest known, where that crosses a due point or a ceiling, or by a halted run. */
  ProgressNoted: z.object({
    effectiveCompute: ComputeSchema,
    source: z.enum(['heartbeat', 'checkpoint']),
    /** Of the halt that has to know when the run last computed. */
    haltId: id.optional(),
    at,
  }),
  /** A heartbeat told of another training stage, or of the stage's own compute past its due point. */
  TrainingStageNoted: z.object({
    stage: StatedStageSchema,
    effectiveCompute: ComputeSchema,
    /** When a due checkpoint of the stage must be in, where it is another one. */
    seenBy: at,
    by: z.string(),
    at,
  }),
  /** The next checkpoint is due whatever its compute. */
  BreakthroughDeclared: z.object({
    breakthroughId: id,
    reason: z.string(),
    efficiencyMultiplier: z.number().optional(),
    /** A due checkpoint must be in by then. */
    dueBy: at,
    contentDigest: z.string(),
    by: z.string(),
    at,
  }),
  /** A second process of the run asked for a permit while another's ran: none was issued. */
  InstanceRefused: z.object({ instance: id, holder: id, heldUntil: at, by: z.string(), at }),
  /** It said that the process it replaces is gone, whose permit had not run out. */
  InstanceTookOver: z.object({ instance: id, supersedes: id, by: z.string(), at }),
  InstanceTrained: z.object({ instance: id, effectiveCompute: ComputeSchema, by: z.string(), at }),
  ...EVALUATION_EVENTS,
  ForecastSealed: z.object({
    checkpointId: id,
    forecast: ForecastSchema,
    /**
     * Due checkpoints beyond this one whose evaluations were queued before. Where they are as many as it looks ahead,
     * it is sealed late. Absent before there was a track record: such a forecast is not scored.
     */
    dueBeyond: z.array(id).optional(),
    at,
  }),
  /** How far the permit may reach that clearing the checkpoint earns. Sealed: findings, ceiling and due point read it. */
  PermitRiskSealed: z.object({ checkpointId: id, risk: PermitRiskSchema, at }),
  /** A forecast beside what came. Another revision where evidence of the checkpoint that came has changed. */
  ForecastScored: ForecastScoreSchema.extend({ at }),
  /** Experts are asked for the probability that a level is reached before the checkpoint after this one. */
  EstimateRoundOpened: z.object({
    roundId: id,
    /** The first round's id: both rounds ask the same question. */
    questionId: id,
    round: z.union([z.literal(1), z.literal(2)]),
    checkpointId: id,
    category: z.string(),
    stage: StageSchema,
    level: z.number(),
    horizonCompute: ComputeSchema,
    by: z.string(),
    closesAt: at,
    at,
  }),
  /**
   * Withheld from readers until nothing about its question can be revised any more (service/disclosure.ts). Until
   * then the event's hash binds its author, and the salt keeps anybody from guessing what it is the hash of.
   */
  EstimateGiven: z.object({
    roundId: id,
    estimateId: id,
    by: z.string(),
    probability: z.number(),
    quantiles: z.array(LevelQuantileSchema),
    rationale: z.string(),
    contentDigest: z.string(),
    salt: z.string(),
    at,
  }),
  /** `overtaken`: the next checkpoint was assessed, or the run ended. Nothing is pooled then. */
  EstimateRoundClosed: z.object({
    roundId: id,
    reason: z.enum(['by-hand', 'deadline', 'overtaken']),
    by: z.string().nullable(),
    at,
  }),
  /** Each expert's latest estimate of both rounds. Sealed: verdicts read these figures. */
  EstimatesPooled: z.object({
    roundId: id,
    checkpointId: id,
    category: z.string(),
    stage: StageSchema,
    level: z.number(),
    pool: ExpertPoolSchema,
    estimateIds: z.array(id).min(1),
    at,
  }),
  CheckpointAssessed: z.object({
    checkpointId: id,
    revision: int,
    verdict: VerdictSchema,
    findings: z.array(FindingSchema),
    scorecard: ScorecardSchema,
    scorecardDigest: z.string(),
    ceiling: ComputeSchema.nullable(),
    /** Of a checkpoint whose tripwires alone were asked for: it clears nothing. */
    clears: z.literal(false).optional(),
    /** Where the policy limits the risk of a permit, and this verdict earns one. */
    risk: RiskTakenSchema.optional(),
    at,
  }),
  HoldPlaced: z.object({
    holdId: id,
    key: z.string(),
    findings: z.array(FindingSchema).min(1),
    deadlineAt: at,
    /** Further samples may decide it: people are not woken before `until`, or before there are none left. */
    closingIn: z.object({ until: at }).optional(),
    at,
  }),
  /** The hold stands: `undecided`, samples or budget are used up or something else holds it too; `time`, `until` has come. */
  ClosingInEnded: z.object({ holdId: id, reason: z.enum(['undecided', 'time']), at }),
  HoldLifted: z.object({ holdId: id, reason: z.enum(['evidence', 'sign-off']), at }),
  /** `escalateAt`: people are paged if the stop is not confirmed by then. */
  HaltOrdered: z.object({
    haltId: id,
    action: HaltActionSchema,
    cause: HaltCauseSchema,
    epoch: int,
    escalateAt: at,
    /** Where the order went out before this event: the instant signed into it. */
    issuedAt: at.optional(),
    at,
  }),
  /** A press that was carried out before the ledger knew; `orderId` is cleared together with the halt. */
  PressRecorded: z.object({
    pressId: id,
    haltId: id,
    orderId: id,
    action: HaltActionSchema,
    by: z.string(),
    group: z.string(),
    via: z.enum(['bearer', 'webhook', 'oidc', 'break-glass']),
    pressedAt: at,
    at,
  }),
  HaltCauseAdded: z.object({
    haltId: id,
    action: HaltActionSchema,
    cause: HaltCauseSchema,
    /** What this cause by itself asks for: a quarantine begins anew where it had been released. */
    asks: HaltActionSchema.optional(),
    at,
  }),
  HaltStepTaken: z.object({
    haltId: id,
    targetId: id,
    round: int,
    step: z.string(),
    attempt: int,
    outcome: z.enum(['accepted', 'retry', 'rejected']),
    detail: z.string(),
    nextAt: at.nullable(),
    at,
  }),
  HaltAcknowledged: z.object({
    haltId: id,
    state: z.enum(['received', 'stopped']),
    by: z.string(),
    claimedAt: z.string().nullable(),
    at,
  }),
  TargetStopObserved: z.object({ haltId: id, targetId: id, detail: z.string(), at }),
  /** Life of a run that was said to have stopped, before that was confirmed: the words that it belies count no more. */
  StopWithdrawn: z.object({
    haltId: id,
    round: int,
    targetIds: z.array(id),
    acknowledged: z.boolean(),
    reason: z.enum(['progress', 'checkpoint', 'relaunched']),
    effectiveCompute: ComputeSchema,
    at,
  }),
  /** The first heartbeat of a round that was answered with the halt. */
  HaltDirectiveGiven: z.object({ haltId: id, round: int, by: z.string(), instance: id.optional(), at }),
  HaltConfirmed: z.object({
    haltId: id,
    effectiveCompute: ComputeSchema.nullable(),
    evidence: z.array(StopEvidenceSchema).optional(),
    timeline: z.array(HaltMomentSchema).optional(),
    at,
  }),
  HaltEscalated: z.object({ haltId: id, count: int, nextAt: at, at }),
  HaltReopened: z.object({
    haltId: id,
    round: int,
    escalateAt: at,
    effectiveCompute: ComputeSchema.nullable(),
    reason: z.enum(['progress', 'still-running', 'ordered-again', 'relaunched', 'checkpoint']),
    /** Where an orchestrator shows the life. */
    targetId: id.optional(),
    detail: z.string().optional(),
    /** It belies what the orchestrators said. */
    doubts: z.literal(true).optional(),
    at,
  }),
  /** Not a halt: what a rehearsal of every step came to. */
  DrillHeld: z.object({
    drillId: id,
    by: z.string(),
    results: z.array(DrillResultSchema),
    at,
  }),
  ...quarantineEvents,
  ...EVIDENCE_EVENTS,
  ...OUTSIDE_EVENTS,
  ProposalOpened: proposalWith({ at }),
  ProposalVoided: z.object({
    proposalId: id,
    reason: z.enum(['scorecard-changed', 'superseded', 'halt-changed', 'terms-outdated']),
    at,
  }),
  SignOffRecorded: z.object({
    proposalId: id,
    digest: z.string(),
    decision: z.enum(['approve', 'veto', 'dissent']),
    group: z.string(),
    by: z.string(),
    justification: z.string(),
    at,
  }),
  RunResumed: z.object({
    proposalId: id,
    haltId: id.nullable(),
    holdIds: z.array(id),
    terms: TermsSchema,
    epoch: int,
    at,
  }),
  /** From here on no permit; `ceiling` is the compute it ended at, so that life beyond it is an overrun. */
  RunFinished: z.object({ by: z.string(), ceiling: ComputeSchema, at }),
  AlertRaised: z.object({
    alertId: id,
    kind: z.enum(['halt-ordered', 'halt-unconfirmed', 'halt-confirmed', 'hold', 'inconclusive', 'notice']),
    severity: z.enum(['critical', 'error', 'warning', 'info']),
    dedupKey: z.string(),
    summary: z.string(),
    details: z.record(z.string(), z.string()),
    channels: z.array(z.string()),
    at,
  }),
  AlertAttempted: z.object({
    alertId: id,
    channel: z.string(),
    attempt: int,
    outcome: z.enum(['delivered', 'retry', 'rejected', 'abandoned']),
    reason: z.string(),
    nextAt: at.nullable(),
    at,
  }),
} as const;

export type RunEventKind = keyof typeof events;
export type RunEventData<K extends RunEventKind> = z.infer<(typeof events)[K]>;
export type RunEvent = {
  [K in RunEventKind]: { readonly kind: K; readonly data: RunEventData<K> };
}[RunEventKind];

export const RUN_EVENT_KINDS: readonly string[] = Object.keys(events);

function isRunEventKind(kind: string): kind is RunEventKind {
  return Object.hasOwn(events, kind);
}

const RunEventSchema = z.custom<RunEvent>();

/** Reads an event back from the ledger. Throws on a kind or shape that this version does not know. */
export function parseRunEvent(kind: string, data: JsonObject): RunEvent {
  if (!isRunEventKind(kind)) throw new RangeError(`unknown event kind ${kind}`);
  return RunEventSchema.parse({ kind, data: events[kind].parse(data) });
}
