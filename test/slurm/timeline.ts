/** A halt as the ledger has it: what happened when, in seconds from the order. Nothing here is measured by the test. */
import { z } from 'zod';
import { HaltCauseSchema } from '../../src/domain/run/halt-documents.ts';
import type { LedgerEvent } from '../support/run-driver.ts';

const Data = z.looseObject({
  checkpointId: z.string().nullish(),
  effectiveCompute: z.string().nullish(),
  verdict: z.string().optional(),
  /** Of a ladder, or of the training. */
  step: z.union([z.string(), z.number()]).nullish(),
  attempt: z.number().optional(),
  outcome: z.string().optional(),
  state: z.string().optional(),
  by: z.string().optional(),
  reason: z.string().optional(),
  detail: z.string().nullish(),
  cause: HaltCauseSchema.optional(),
});

export function timelineOf(title: string, events: readonly LedgerEvent[]): string {
  const order = events.find(({ kind }) => kind === 'HaltOrdered');
  if (order === undefined) return `${title}: no halt was ordered`;
  const rows = events.flatMap((event) => {
    const said = describe(event);
    return said === null ? [] : [`${secondsBetween(order, event).toFixed(2).padStart(8)}  ${said}`];
  });
  return [`${title}, seconds from the order, by the ledger:`, ...rows].join('\n');
}

export function secondsBetween(from: LedgerEvent, to: LedgerEvent): number {
  return (Date.parse(to.recordedAt) - Date.parse(from.recordedAt)) / 1_000;
}

/** Null for what is no part of it. */
function describe({ kind, data }: LedgerEvent): string | null {
  const {
    checkpointId,
    effectiveCompute,
    verdict,
    step,
    attempt,
    outcome,
    state,
    by,
    reason,
    detail,
    cause,
  } = Data.parse(data);
  switch (kind) {
    case 'RunRegistered':
      return 'run registered by its job';
    case 'CheckpointReported':
      return `checkpoint ${checkpointId} reported at ${effectiveCompute} FLOP`;
    case 'EvaluationReported':
      return 'evaluated by a subprocess';
    case 'CheckpointAssessed':
      return `checkpoint ${checkpointId}: ${verdict}`;
    case 'HaltOrdered':
      return `halt ordered: ${cause === undefined ? '' : whyOf(cause)}`;
    case 'HaltStepTaken':
      return `${step}, attempt ${attempt}: ${outcome}: ${detail}`;
    case 'HaltAcknowledged':
      return `${by} says: ${state}`;
    case 'TargetStopObserved':
      return `Slurm shows: ${detail}`;
    case 'HaltConfirmed':
      return 'stop confirmed';
    case 'HaltReopened':
      return `halted again: ${reason}: ${detail ?? effectiveCompute}`;
    default:
      return null;
  }
}

function whyOf(cause: z.infer<typeof HaltCauseSchema>): string {
  if (cause.kind === 'rule')
    return cause.findings.map(({ rule, explanation }) => `${rule}: ${explanation}`).join('; ');
  return cause.kind === 'person' ? `${cause.by}: ${cause.reason}` : cause.reason;
}
