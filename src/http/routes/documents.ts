/**
 * The documents people and machines read: designed once, and the same wherever they appear.
 *
 * Built from the run's state (what is open) and from views (what is closed). Nothing here judges.
 */

import { z } from 'zod';
import { TargetUsageSchema } from '../../domain/run/ancestry-documents.ts';
import { assess } from '../../domain/run/assess.ts';
import { BudgetBestSchema, bestAtBudgets } from '../../domain/run/budgets.ts';
import { highestCompute, nextCheckpointAt, nextDueAt } from '../../domain/run/cadence.ts';
import { statusOf } from '../../domain/run/evaluation.ts';
import { FindingSchema, VerdictSchema } from '../../domain/run/finding-documents.ts';
import { ForecastSchema } from '../../domain/run/forecast-documents.ts';
import { approvalsNeeded } from '../../domain/run/governance.ts';
import { HaltActionSchema, HaltCauseSchema, HaltMomentSchema } from '../../domain/run/halt-documents.ts';
import { haltDoc } from '../../domain/run/halt-views.ts';
import { dependenceOf, runWarnings } from '../../domain/run/independence.ts';
import { permitTerms } from '../../domain/run/permit.ts';
import { runRisk } from '../../domain/run/permit-risk.ts';
import {
  type Proposal,
  proposalStanding,
  proposalWith,
  TermsSchema,
} from '../../domain/run/proposal-documents.ts';
import { QuarantineStateSchema } from '../../domain/run/quarantine-documents.ts';
import { PermitRiskSchema } from '../../domain/run/risk-documents.ts';
import { ScorecardSchema } from '../../domain/run/scorecard-documents.ts';
import type { Halt, RunState } from '../../domain/run/state.ts';
import { stageDue } from '../../domain/run/training-stage.ts';
import { runSummary } from '../../domain/run/views.ts';
import type { Progress } from '../../ledger/progress.ts';
import { type LoadedRun, seenProgress } from '../../service/run-service.ts';
import { ComputeOut } from './common.ts';
import { ProgressDocument, RunningEvaluationDocument } from './progress-part.ts';

const RunShadow = z
  .object({
    until: z.string(),
    endedAt: z.string().nullable().meta({ description: 'null while the run is in shadow' }),
    endedBecause: z.enum(['time', 'armed', 'press']).nullable(),
    wouldHaveHalted: z.int(),
    wouldHaveHeld: z.int(),
    first: z
      .object({
        action: z.enum(['halt', 'quarantine', 'hold']),
        checkpointId: z.string().nullable(),
        explanation: z.string(),
        at: z.string(),
      })
      .nullable()
      .meta({ description: 'What would have stopped it first' }),
  })
  .meta({
    id: 'RunShadow',
    description:
      'Everything is decided and recorded, and nothing but a press of the red button stops the run',
  });

const ClosingIn = z.object({ until: z.string() }).meta({
  description: 'Further samples may decide it: people are woken when there are none left, at the latest then',
});

export const RunSummary = z
  .object({
    runId: z.string(),
    title: z.string().nullable(),
    drill: z
      .boolean()
      .default(false)
      .meta({ description: 'Its targets are shadows: halted as it was registered' }),
    status: z.enum(['training', 'on-hold', 'halted', 'finished']),
    policy: z.object({ name: z.string(), digest: z.string() }),
    level: z.object({ estimate: z.number(), name: z.string() }).nullable(),
    effectiveCompute: ComputeOut.nullable(),
    ceiling: ComputeOut.nullable(),
    lastCleared: z
      .object({ checkpointId: z.string(), effectiveCompute: ComputeOut, at: z.string() })
      .nullable(),
    halt: z
      .object({ haltId: z.string(), action: HaltActionSchema, orderedAt: z.string(), stopped: z.boolean() })
      .nullable(),
    holds: z.array(
      z.object({
        holdId: z.string(),
        key: z.string(),
        deadlineAt: z.string(),
        closingIn: ClosingIn.nullable().default(null),
      }),
    ),
    shadow: RunShadow.nullable().default(null),
    registeredAt: z.string(),
    finishedAt: z.string().nullable(),
  })
  .meta({ id: 'RunSummary' });

export const HaltDocument = z
  .object({
    haltId: z.string(),
    runId: z.string(),
    action: HaltActionSchema,
    epoch: z.number(),
    orderedAt: z.string(),
    causes: z.array(HaltCauseSchema),
    state: z.enum(['open', 'stopped', 'cleared']),
    acknowledged: z.object({ receivedAt: z.string().nullable(), stoppedAt: z.string().nullable() }),
    confirmedAt: z.string().nullable(),
    clearedAt: z.string().nullable(),
    round: z.number(),
    escalations: z.number(),
    quarantine: QuarantineStateSchema.nullable().default(null).meta({
      description: 'Of a quarantine: what isolates the run, how far that is, and what to go back to',
    }),
    scoped: z
      .object({ proposalId: z.string(), expires: z.string(), at: z.string() })
      .nullable()
      .default(null)
      .meta({ description: 'Leave for evaluation and alignment work while the halt stands' }),
    life: z.object({ shown: z.string(), at: z.string() }).nullable().default(null).meta({
      description: 'When the run last showed life after the halt and was halted again, and what showed it',
    }),
    timeline: z.array(HaltMomentSchema).default([]).meta({
      description: 'What happened when, since the order: the current round, in order',
    }),
    deliveries: z.array(
      z.object({
        targetId: z.string(),
        kind: z.string(),
        stoppedAt: z.string().nullable(),
        stopDetail: z.string().nullable(),
        steps: z.array(
          z.object({
            step: z.string(),
            attempts: z.number(),
            acceptedAt: z.string().nullable(),
            nextAt: z.string().nullable(),
            detail: z.string().nullable(),
          }),
        ),
      }),
    ),
  })
  .meta({
    id: 'Halt',
    description: 'Open until the stop is confirmed; accepted, acknowledged and stopped differ',
  });

export const ProposalDocument = proposalWith({
  ...proposalStanding,
  runId: z.string(),
  approvalsNeeded: z.array(z.string()),
}).meta({ id: 'Proposal', description: 'A sign-off binds to its digest' });

export function haltDocument(halt: Halt, state: RunState): z.input<typeof HaltDocument> {
  return HaltDocument.parse(haltDoc(halt, state, null));
}

export function proposalDocument(
  proposal: Proposal,
  { state, policy }: LoadedRun,
): z.input<typeof ProposalDocument> {
  return {
    ...proposal,
    runId: state.runId,
    approvalsNeeded: proposal.status === 'open' ? approvalsNeeded(proposal, policy) : [],
  };
}

const Gate = z.object({
  blocked: z.boolean(),
  reasons: z.array(z.string()),
  findings: z.array(FindingSchema),
});
export const GatesDocument = z
  .object({ runId: z.string(), checkpointId: z.string().nullable(), development: Gate, deployment: Gate })
  .meta({ id: 'Gates', description: 'Blocked unless evidence says otherwise' });

const RunRisk = z
  .object({
    level: z.number(),
    probability: z.number().meta({ description: 'Most that one permit may risk' }),
    spent: z.number().meta({ description: 'Sealed probabilities of the permits issued, together' }),
    budget: z.number().nullable().meta({ description: 'Most that they may risk together; null: no budget' }),
    budgetLeft: z.number().nullable(),
    permit: z
      .object({ p: z.number(), compute: ComputeOut, choice: PermitRiskSchema })
      .nullable()
      .meta({ description: 'Of the checkpoint last cleared' }),
  })
  .meta({ id: 'RunRisk', description: 'Where the policy limits the risk of permits' });

const RunLineage = z
  .object({
    parents: z.array(z.string()).meta({ description: 'Runs whose weights are in it' }),
    unknown: z.array(
      z.object({
        stated: z.string(),
        checkpointId: z.string().nullable(),
        accepted: z.boolean().meta({ description: 'People resumed the run all the same' }),
      }),
    ),
    vouched: z.string().nullable().meta({ description: 'Why an operator answers for unknown weights' }),
    start: ComputeOut.nullable().meta({ description: 'Compute from which its own work counts' }),
    floor: ComputeOut.nullable().meta({ description: 'What its ancestors did: it may not state less' }),
  })
  .meta({ id: 'RunLineage' });

const RunUsage = z
  .object({
    checkpointId: z.string().nullable(),
    effectiveCompute: ComputeOut.nullable().meta({ description: 'What the run had stated by then' }),
    targets: z.array(TargetUsageSchema),
  })
  .meta({ id: 'RunUsage', description: 'What the orchestrators last accounted to the run' });

function runLineage({ lineage }: RunState): z.input<typeof RunLineage> | null {
  if (lineage === undefined) return null;
  const { parents, unknown, vouched, start, floor } = lineage;
  return {
    parents,
    unknown: unknown.map(({ accepted, ...each }) => ({ ...each, accepted: accepted === true })),
    vouched: vouched ?? null,
    start,
    floor,
  };
}

function runUsage({ usage }: RunState): z.input<typeof RunUsage> | null {
  if (usage === undefined) return null;
  const { checkpointId, effectiveCompute, targets } = usage;
  return { checkpointId, effectiveCompute, targets };
}

export const RunWarning = z
  .object({ path: z.string(), message: z.string() })
  .meta({ id: 'RunWarning', description: 'Of the registration: what people should mend' });

export const RunDocument = RunSummary.extend({
  registeredBy: z.string(),
  labels: z.record(z.string(), z.string()),
  epoch: z.number(),
  permit: z.object({ granted: z.boolean(), reason: z.string().nullable() }),
  trainingStage: z
    .object({
      name: z.string(),
      enteredAt: z.string(),
      dueAt: ComputeOut.nullable().meta({
        description:
          "The stage's own compute at which its next checkpoint is due; null: with the whole run's",
      }),
      clearedAt: ComputeOut.nullable().meta({ description: 'Its own compute last cleared' }),
    })
    .nullable()
    .default(null),
  nextCheckpointAt: ComputeOut,
  nextCheckpointBy: z.string(),
  heartbeatAt: z.string().nullable(),
  targets: z.array(
    z.object({
      targetId: z.string(),
      kind: z.string(),
      confirmation: z.enum(['observed', 'acknowledged']),
      independent: z.boolean().meta({
        description:
          "Stops the run against its trainer's will: by credentials that the trainer does not hold",
      }),
    }),
  ),
  warnings: z.array(RunWarning),
  openHolds: z.array(
    z.object({
      holdId: z.string(),
      key: z.string(),
      placedAt: z.string(),
      deadlineAt: z.string(),
      findings: z.array(FindingSchema),
      closingIn: ClosingIn.optional(),
    }),
  ),
  openHalt: HaltDocument.nullable(),
  proposals: z.array(ProposalDocument),
  waiver: TermsSchema.nullable(),
  risk: RunRisk.nullable(),
  lineage: RunLineage.nullable(),
  usage: RunUsage.nullable(),
  gates: GatesDocument,
}).meta({ id: 'Run' });

function trainingStageOf({ trainingStage: stage }: RunState, policy: LoadedRun['policy']) {
  if (stage === undefined) return null;
  const { name, enteredAt, cleared } = stage;
  return { name, enteredAt, dueAt: stageDue(stage, { policy }), clearedAt: cleared?.compute ?? null };
}

export function runDocument(loaded: LoadedRun, progress: Progress, now: Date): z.input<typeof RunDocument> {
  const { state, policy } = loaded;
  const terms = permitTerms(state);
  const high = highestCompute(state, { progress: seenProgress(progress) });
  return {
    ...runSummary(state),
    effectiveCompute: high,
    registeredBy: state.by,
    labels: state.labels,
    epoch: state.epoch,
    permit: { granted: terms.granted, reason: terms.granted ? null : terms.reason },
    trainingStage: trainingStageOf(state, policy),
    nextCheckpointAt: nextCheckpointAt(state, { policy, now }, high),
    nextCheckpointBy: nextDueAt(state, { policy }),
    heartbeatAt: progress.heartbeatAt?.toISOString() ?? null,
    targets: state.targets.map((target) => ({
      targetId: target.targetId,
      kind: target.kind,
      confirmation: target.confirmation,
      independent: dependenceOf(target) === null,
    })),
    warnings: runWarnings(state),
    openHolds: state.holds,
    openHalt: state.halt === null ? null : haltDocument(state.halt, state),
    proposals: state.proposals
      .filter(({ status }) => status === 'open')
      .map((each) => proposalDocument(each, loaded)),
    waiver: state.waiver,
    risk: runRisk(state, policy),
    lineage: runLineage(state),
    usage: runUsage(state),
    gates: gatesDocument(state),
  };
}

/** Absence is not a pass: no closed scorecard, or an incomplete one, blocks. */
export function gatesDocument(state: RunState): z.input<typeof GatesDocument> {
  const newest = state.checkpoints.findLast(({ closed }) => closed !== null);
  const findings = newest?.closed?.findings ?? [];
  const gate = (consequence: 'block-development' | 'block-deployment', others: string[]) => {
    // A resume is for training: what blocks deployment or development stays blocked under its waiver.
    const blocking = findings.filter(({ then }) => then.includes(consequence));
    const reasons = [...others, ...blocking.map(({ explanation }) => explanation)];
    return { blocked: reasons.length > 0, reasons, findings: blocking };
  };
  const none = newest === undefined ? ['no scorecard is closed yet: not enough information'] : [];
  const missing = findings
    .filter(({ kind }) => kind === 'inconclusive')
    .map(({ explanation }) => explanation);
  const notNeeded = (newest?.evaluations ?? []).some(
    (each) => statusOf(each) === 'not-needed' || statusOf(each) === 'deferred',
  )
    ? ['the full suite was not run: its tripwires cleared the checkpoint for training alone']
    : [];
  const halted = state.halt === null ? [] : [`the run is halted (${state.halt.haltId})`];
  return {
    runId: state.runId,
    checkpointId: newest?.checkpointId ?? null,
    development: gate('block-development', [...none, ...halted]),
    deployment: gate('block-deployment', [...none, ...missing, ...notNeeded, ...halted]),
  };
}

export const ScorecardDocument = z
  .object({
    runId: z.string(),
    checkpointId: z.string(),
    effectiveCompute: ComputeOut,
    state: z.enum(['open', 'closed']),
    verdict: VerdictSchema.nullable().meta({
      description: 'While open: hold or halt as soon as it is certain, else null',
    }),
    findings: z.array(FindingSchema),
    categories: ScorecardSchema.shape.categories,
    overall: ScorecardSchema.shape.overall,
    budgets: z.array(BudgetBestSchema).optional().meta({
      description: 'The best of each evaluation at each token budget; not there where no variant states one',
    }),
    forecasts: z.array(ForecastSchema),
    risk: PermitRiskSchema.optional(),
    digest: z.string().nullable(),
    reportedAt: z.string(),
    assessedAt: z.string().nullable(),
    running: z.array(RunningEvaluationDocument).optional().meta({
      description: 'While open: evaluations that are still to report, and how far they are',
    }),
  })
  .meta({ id: 'Scorecard' });

/** The scorecard of a checkpoint that the state still holds, as it stands now. */
export function openScorecard(
  { state, policy }: LoadedRun,
  checkpointId: string,
  now: Date,
): z.input<typeof ScorecardDocument> | null {
  const checkpoint = state.checkpoints.find((each) => each.checkpointId === checkpointId);
  if (checkpoint === undefined) return null;
  const { scorecard, findings, verdict } = assess(state, checkpoint, policy, now);
  const { closed } = checkpoint;
  const budgets = bestAtBudgets(scorecard, state.series);
  return {
    runId: state.runId,
    checkpointId,
    effectiveCompute: checkpoint.effectiveCompute,
    state: closed === null ? 'open' : 'closed',
    verdict: closed?.verdict ?? (verdict === 'proceed' ? null : verdict),
    findings: closed?.findings ?? [...findings],
    categories: scorecard.categories,
    overall: scorecard.overall,
    ...(budgets.length === 0 ? {} : { budgets }),
    forecasts: checkpoint.forecasts,
    ...(checkpoint.risk === undefined ? {} : { risk: checkpoint.risk }),
    digest: closed?.scorecardDigest ?? null,
    reportedAt: checkpoint.reportedAt,
    assessedAt: closed?.at ?? null,
  };
}

export const CheckpointDocument = z
  .object({
    runId: z.string(),
    checkpointId: z.string(),
    effectiveCompute: ComputeOut,
    disposition: z.enum(['evaluate', 'recorded']),
    due: z.boolean(),
    modelUri: z.string(),
    reportedAt: z.string(),
    deadlineAt: z.string().nullable(),
    verdict: VerdictSchema.nullable(),
    evaluations: z.array(
      z.object({
        evaluationId: z.string(),
        name: z.string(),
        status: z.string(),
        attempt: z.number(),
        progress: ProgressDocument.optional(),
      }),
    ),
  })
  .meta({ id: 'Checkpoint' });
