/**
 * What if: where another policy would have held or halted a run, and why.
 *
 * The run's recorded evidence is judged again, checkpoint by checkpoint, under the other policy's rules, levels,
 * deadlines and cadence (what-if-fold.ts), and laid beside what the record says came of it (what-if-recorded.ts).
 * It answers what this evidence would have led to, not what would have happened: a run that is stopped makes no further
 * evidence, and evaluations that were never run say nothing. Both are told with the answer, never smoothed over.
 */
import { z } from 'zod';
import { ComputeSchema } from '../compute.ts';
import type { Policy } from '../policy/schema.ts';
import type { RunEvent } from './events.ts';
import type { Finding, FindingSchema } from './finding-documents.ts';
import type { Digest } from './ids.ts';
import { type Missing, nameOf } from './what-if-evidence.ts';
import { type Fold, type Folded, foldUnder, type OtherPolicy } from './what-if-fold.ts';
import { nothingYet, type Outcome, OutcomeSchema, outcomeOf, StopSchema } from './what-if-outcome.ts';
import { type Recorded, recorded } from './what-if-recorded.ts';

const PolicyNameSchema = z.strictObject({ name: z.string(), digest: z.string() });

export const WhatIfSchema = z.strictObject({
  runId: z.string(),
  recordedPolicy: PolicyNameSchema,
  policy: PolicyNameSchema,
  samePolicy: z.boolean(),
  events: z.int(),
  /** The record ends here; deadlines after it have not passed. */
  until: z.string(),
  stop: z.strictObject({
    recorded: StopSchema.nullable(),
    /** Null: this evidence would not have stopped the run. */
    whatIf: StopSchema.nullable(),
    /** As if the other policy knew only the evaluations that were run; null where that changes nothing. */
    apartFromMissing: z.strictObject({ stop: StopSchema.nullable() }).nullable(),
  }),
  /** The first checkpoint at which the two verdicts differ. */
  partsAt: z.string().nullable(),
  checkpoints: z.array(
    z.strictObject({
      checkpointId: z.string(),
      effectiveCompute: ComputeSchema,
      reportedAt: z.string(),
      /** `not-due`: the policy would not have evaluated it; its findings are what the evidence says all the same. */
      asked: z.enum(['due', 'requested', 'not-due', 'recorded', 'unevaluated']),
      /** Behind the point at which the run would have been stopped: did not happen under this policy. */
      afterStop: z.boolean(),
      recorded: OutcomeSchema,
      whatIf: OutcomeSchema,
      differs: z.boolean(),
      missing: z.array(z.string()),
      ignored: z.array(z.string()),
    }),
  ),
  notComparable: z.array(
    z.strictObject({
      evaluation: z.string(),
      why: z.enum(['never-run', 'other-metric', 'unknown-to-policy']),
      required: z.boolean(),
      checkpoints: z.int(),
      explanation: z.string(),
    }),
  ),
  limits: z.array(z.string()),
});
export type WhatIf = z.infer<typeof WhatIfSchema>;
type Row = WhatIf['checkpoints'][number];

export interface WhatIfQuestion {
  readonly pinned: Policy;
  readonly policy: Policy;
  readonly policyDigest: string;
  readonly digest: Digest;
}

export function whatIf(events: readonly RunEvent[], question: WhatIfQuestion): WhatIf {
  const [first] = events;
  if (first?.kind !== 'RunRegistered') throw new RangeError('a run begins with RunRegistered');
  const { policy, policyDigest } = question;
  const isSame = policyDigest === first.data.policy;
  const other: OtherPolicy = { ...question, isSame, missing: 'hold' };
  const fold = foldUnder(events, other);
  const record = recorded(events);
  const rows = [...fold.checkpoints.values()].map((folded) => rowOf(folded, record)).filter(saysSomething);
  const isAnyMissing = rows.some(({ missing }) => missing.length > 0);
  const apart = isAnyMissing ? foldUnder(events, { ...other, missing: 'pass-over' }).stop : null;
  const until = events.map(({ data }) => data.at).reduce(laterOf);
  return {
    runId: first.data.runId,
    recordedPolicy: { name: first.data.policyName, digest: first.data.policy },
    policy: { name: policy.policy, digest: policyDigest },
    samePolicy: isSame,
    events: events.length,
    until,
    stop: {
      recorded: record.stop,
      whatIf: fold.stop,
      apartFromMissing: isAnyMissing ? { stop: apart } : null,
    },
    partsAt: rows.find(({ differs }) => differs)?.checkpointId ?? null,
    checkpoints: rows,
    notComparable: notComparable(fold),
    limits: limitsOf(fold, record, { isSame, until, isRiskLimited: policy.cadence.risk !== undefined }),
  };
}

function laterOf(a: string, b: string): string {
  return Date.parse(b) > Date.parse(a) ? b : a;
}

function rowOf(folded: Folded, { standings }: Recorded): Row {
  const { reported, asked, afterStop, carried } = folded;
  const standing = standings.get(reported.checkpointId) ?? nothingYet();
  const would = outcomeOf(folded);
  const was = outcomeOf(standing);
  // A stopped run passes no ceiling: behind the stop only what the evidence says can agree or differ.
  const compared = afterStop ? outcomeOf({ ...standing, runWide: [] }) : was;
  const isUnasked = asked === 'not-due';
  const isEvaluated = asked !== 'unevaluated';
  return {
    checkpointId: reported.checkpointId,
    effectiveCompute: reported.effectiveCompute,
    reportedAt: reported.at,
    asked,
    afterStop,
    recorded: was,
    whatIf: would,
    // What a policy does not look at stops nothing, whatever it would have seen.
    differs: isUnasked ? stops(was) : compared.verdict !== would.verdict,
    missing: isEvaluated ? carried.missing.map(nameOf) : [],
    ignored: isEvaluated ? carried.ignored.map(nameOf) : [],
  };
}

const stops = ({ verdict }: Outcome): boolean => verdict === 'hold' || verdict === 'halt';

/** A checkpoint that neither policy evaluated, and at which nothing was found, is no row. */
function saysSomething({ asked, recorded: was, whatIf: would }: Row): boolean {
  return asked !== 'unevaluated' || was.verdict !== null || would.verdict !== null;
}

// --- what cannot be compared -----------------------------------------------------------------------------

function notComparable({ checkpoints }: Fold): WhatIf['notComparable'] {
  const found = new Map<string, WhatIf['notComparable'][number]>();
  const count = (
    evaluation: string,
    why: WhatIf['notComparable'][number]['why'],
    required: boolean,
    explanation: string,
  ): void => {
    const key = `${why} ${evaluation}`;
    const known = found.get(key) ?? { evaluation, why, required, checkpoints: 0, explanation };
    found.set(key, { ...known, checkpoints: known.checkpoints + 1 });
  };
  for (const { asked, carried } of checkpoints.values()) {
    if (asked === 'unevaluated') continue;
    for (const missing of carried.missing) {
      count(nameOf(missing), missing.why, missing.required, explainMissing(missing));
    }
    for (const ignored of carried.ignored) {
      const explanation = 'was run and is unknown to this policy: ignored';
      count(nameOf(ignored), 'unknown-to-policy', false, explanation);
    }
  }
  return [...found.values()];
}

function explainMissing({ why, required }: Missing): string {
  const what =
    why === 'never-run'
      ? 'was never run'
      : 'was run for another metric, which says nothing of the one asked for';
  return required ? `${what}: missing is not safe, so it holds` : `${what}: not required, so people are told`;
}

// --- limits ----------------------------------------------------------------------------------------------

function limitsOf(
  { stop, methods }: Fold,
  { stop: recordedStop, methods: sealed, wasResumed, hasPools, shadowUntil }: Recorded,
  {
    isSame,
    until,
    isRiskLimited,
  }: { readonly isSame: boolean; readonly until: string; readonly isRiskLimited: boolean },
): string[] {
  const made = [...methods].sort().join(', ');
  const was = [...sealed].sort().join(', ');
  const limits = [
    'An evaluation is known by its name and variant: the same name is taken for the same test.',
    'Attempts, retries and top-ups are those that were run; this policy might have asked for others.',
    'Compute between checkpoints is known only where a crossing was recorded: between two of them a ceiling may have been passed unseen.',
    `The record ends at ${until}: deadlines after that have not passed.`,
  ];
  if (made !== '') {
    const differs = was !== '' && was !== made ? `; those that decided then were sealed by ${was}` : '';
    limits.push(`Forecasts are made anew from the recorded scores, by ${made}${differs}.`);
  }
  if (isRiskLimited) {
    limits.push(
      "The permit's risk is judged anew as well: where it gives shorter steps than the run took, the run would have been asked for checkpoints that were never made. An overrun or overdue there says that the steps were longer, and nothing of danger.",
    );
  }
  if (!isSame && hasPools) {
    limits.push(
      "Experts were asked about levels as the run's own policy has them; their answers are taken as given.",
    );
  }
  if (!isSame && wasResumed) {
    limits.push("Resumes were granted under the run's own policy: what they waived is not waived here.");
  }
  if (stop !== null) {
    const place = stop.checkpointId ?? 'the start';
    limits.push(
      `From ${place} on the run would have been stopped: what follows did not happen under this policy, and is what the evidence says. Cadence is not judged there.`,
    );
  }
  if (shadowUntil !== null) {
    limits.push(
      `The recorded run was in shadow, at most until ${shadowUntil}: "stopped" says then what its policy decided, and nothing was done.`,
    );
  }
  if (recordedStop !== null && shadowUntil === null) {
    limits.push(
      `The recorded run was stopped at ${recordedStop.checkpointId ?? 'the start'}; how it would have gone on without that is not in the ledger.`,
    );
  }
  return limits;
}

/** Findings that say why, the gravest consequences first. */
export function stoppingFindings(findings: readonly Finding[]): Finding[] {
  const rank = ({ then, waived }: z.infer<typeof FindingSchema>): number => {
    if (waived) return 3;
    if (then.includes('halt') || then.includes('quarantine')) return 0;
    return then.includes('hold') ? 1 : 2;
  };
  return [...findings].sort((a, b) => rank(a) - rank(b)).filter((finding) => rank(finding) < 2);
}
