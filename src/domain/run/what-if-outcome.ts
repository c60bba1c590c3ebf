/**
 * What came of each checkpoint, and where a run was stopped: the words that the record and the question "what if?"
 * share, so that the two can be laid side by side.
 */
import { z } from 'zod';
import { ComputeSchema } from '../compute.ts';
import { findingKey, verdictOf } from './assess.ts';
import { type Finding, FindingSchema, type Verdict, VerdictSchema } from './finding-documents.ts';

/** `verdict` is null while neither the evidence is complete nor anything has tripped. */
export const OutcomeSchema = z.strictObject({
  verdict: VerdictSchema.nullable(),
  findings: z.array(FindingSchema),
});
export type Outcome = z.infer<typeof OutcomeSchema>;

export const StopSchema = z.strictObject({
  verdict: z.enum(['hold', 'halt']),
  at: z.string(),
  /** The checkpoint it stands on, else the last one reported; null before the first. */
  checkpointId: z.string().nullable(),
  effectiveCompute: ComputeSchema.nullable(),
  findings: z.array(FindingSchema),
  explanation: z.string(),
});
export type Stop = z.infer<typeof StopSchema>;

/** What is known of a checkpoint so far. Findings that halted stay, whatever later evidence says: a halt is latched. */
export interface Standing {
  evidence: Outcome;
  halting: Finding[];
  /** Found at this checkpoint, and not by its evidence: overrun, overdue, a hold past its deadline. */
  runWide: Finding[];
}

export const nothingYet = (): Standing => ({
  evidence: { verdict: null, findings: [] },
  halting: [],
  runWide: [],
});

const GRAVITY: readonly (Verdict | null)[] = [null, 'proceed', 'hold', 'halt'];

const graver = (a: Verdict | null, b: Verdict | null): Verdict | null =>
  GRAVITY.indexOf(a) >= GRAVITY.indexOf(b) ? a : b;

/** As it halted, a finding stands before what later became of it. */
export function outcomeOf({ evidence, halting, runWide }: Standing): Outcome {
  const beside = [...halting, ...runWide];
  const verdict = beside.length === 0 ? evidence.verdict : graver(evidence.verdict, verdictOf(beside));
  return { verdict, findings: distinct([...beside, ...evidence.findings]) };
}

/** By what fired and where; the first of equals stays. */
export function distinct(findings: readonly Finding[]): Finding[] {
  const found = new Map<string, Finding>();
  for (const finding of findings) {
    const key = findingKey(finding);
    if (!found.has(key)) found.set(key, finding);
  }
  return [...found.values()];
}

export const isHalting = ({ waived, then }: Finding): boolean =>
  !waived && (then.includes('halt') || then.includes('quarantine'));
