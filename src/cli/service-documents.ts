/** The service's documents, as far as commands show them. Loose: unknown members are no fault. */
import { z } from 'zod';
import { BudgetBestSchema } from '../domain/run/budgets.ts';
import { EvidenceSchema } from '../domain/run/scorecard-documents.ts';

const instant = z.string();

export const Finding = z.object({
  rule: z.string(),
  category: z.string().nullable(),
  stage: z.string().nullable(),
  then: z.array(z.string()),
  explanation: z.string(),
  waived: z.boolean(),
});
export type Finding = z.infer<typeof Finding>;

const Cause = z.union([
  z.object({ kind: z.literal('rule'), checkpointId: z.string().nullable(), findings: z.array(Finding) }),
  z.object({ kind: z.literal('person'), by: z.string(), group: z.string(), reason: z.string() }),
  z.object({
    kind: z.literal('lineage'),
    runId: z.string(),
    haltId: z.string(),
    reason: z.string(),
    through: z.string().optional(),
  }),
]);

export const Halt = z.object({
  haltId: z.string(),
  runId: z.string(),
  action: z.string(),
  orderedAt: instant,
  causes: z.array(Cause),
  state: z.string(),
  acknowledged: z.object({ receivedAt: instant.nullable(), stoppedAt: instant.nullable() }),
  confirmedAt: instant.nullable(),
  escalations: z.number(),
  life: z.object({ shown: z.string(), at: instant }).nullable().default(null),
  quarantine: z
    .object({
      revert: z
        .object({ checkpointId: z.string(), modelUri: z.string(), weightsDigest: z.string().nullable() })
        .nullable(),
      isolateAt: instant,
      steps: z.array(
        z.object({
          step: z.string(),
          kind: z.string(),
          begunAt: instant.nullable(),
          attempts: z.number(),
          acceptedAt: instant.nullable(),
          overdueAt: instant.nullable(),
          confirmedAt: instant.nullable(),
          confirmedBy: z.string().nullable(),
          lastDetail: z.string().nullable(),
        }),
      ),
      released: z.object({ proposalId: z.string(), at: instant }).optional(),
    })
    .nullable()
    .default(null),
  scoped: z.object({ proposalId: z.string(), expires: instant }).nullable().default(null),
  timeline: z
    .array(
      z.object({
        what: z.string(),
        targetId: z.string().nullable(),
        step: z.string().nullable(),
        at: instant,
        afterMs: z.number(),
      }),
    )
    .default([]),
  deliveries: z.array(
    z.object({
      targetId: z.string(),
      kind: z.string(),
      stoppedAt: instant.nullable(),
      stopDetail: z.string().nullable(),
      steps: z.array(
        z.object({
          step: z.string(),
          attempts: z.number(),
          acceptedAt: instant.nullable(),
          nextAt: instant.nullable(),
          detail: z.string().nullable(),
        }),
      ),
    }),
  ),
});
export type Halt = z.infer<typeof Halt>;

export const Terms = z.object({
  ceiling: z.string(),
  levels: z.record(z.string(), z.number()),
  forecasts: z.record(z.string(), z.number()),
  waives: z.array(z.string()),
  expires: instant,
});

/** Evaluation and alignment work alone. */
export const ScopedTerms = z.object({ scope: z.literal('evaluation'), expires: instant });

export const Proposal = z.object({
  proposalId: z.string(),
  runId: z.string(),
  kind: z.string(),
  digest: z.string(),
  status: z.string(),
  haltId: z.string().nullable(),
  checkpointId: z.string().nullable(),
  scorecardDigest: z.string().nullable(),
  /** None in a release. */
  terms: z.union([Terms, ScopedTerms]).optional(),
  approvalsNeeded: z.array(z.string()),
  signOffs: z.array(
    z.object({ decision: z.string(), group: z.string(), by: z.string(), justification: z.string() }),
  ),
  rationale: z.string(),
  by: z.string(),
});
export type Proposal = z.infer<typeof Proposal>;

export const RunSummary = z.object({
  runId: z.string(),
  title: z.string().nullable(),
  status: z.string(),
  policy: z.object({ name: z.string(), digest: z.string() }),
  level: z.object({ estimate: z.number(), name: z.string() }).nullable(),
  effectiveCompute: z.string().nullable(),
  ceiling: z.string().nullable(),
  halt: z
    .object({ haltId: z.string(), action: z.string(), orderedAt: instant, stopped: z.boolean() })
    .nullable(),
  holds: z.array(z.object({ key: z.string(), deadlineAt: instant })),
  /** Not there: a service from before there were shadows. */
  shadow: z
    .object({
      until: instant,
      endedAt: instant.nullable(),
      wouldHaveHalted: z.number(),
      wouldHaveHeld: z.number(),
      first: z
        .object({
          action: z.string(),
          checkpointId: z.string().nullable(),
          explanation: z.string(),
          at: instant,
        })
        .nullable(),
    })
    .nullable()
    .optional(),
  registeredAt: instant,
  finishedAt: instant.nullable().default(null),
});
export type RunSummary = z.infer<typeof RunSummary>;

export const Run = RunSummary.extend({
  labels: z.record(z.string(), z.string()),
  permit: z.object({ granted: z.boolean(), reason: z.string().nullable() }),
  nextCheckpointAt: z.string(),
  nextCheckpointBy: instant,
  heartbeatAt: instant.nullable(),
  openHolds: z.array(
    z.object({
      holdId: z.string(),
      key: z.string(),
      deadlineAt: instant,
      findings: z.array(Finding),
      closingIn: z.object({ until: instant }).optional(),
    }),
  ),
  openHalt: Halt.nullable(),
  proposals: z.array(Proposal),
  waiver: Terms.nullable(),
  /** Not there: a service from before there were any. */
  warnings: z.array(z.object({ path: z.string(), message: z.string() })).default([]),
  /** Not there: a service from before there were limits of risk. */
  risk: z
    .object({
      level: z.number(),
      probability: z.number(),
      spent: z.number(),
      budget: z.number().nullable(),
      permit: z
        .object({
          p: z.number(),
          compute: z.string(),
          choice: z.object({ basis: z.string() }),
        })
        .nullable(),
    })
    .nullable()
    .optional(),
});
export type Run = z.infer<typeof Run>;

const StageLevels = z.object({
  estimate: z.number().nullable(),
  upper: z.number().nullable(),
  name: z.string(),
  worst: z.object({ evaluation: z.string(), variant: z.string() }).optional(),
  evidence: z.array(
    z.object({
      evaluationId: z.string(),
      evaluation: z.string(),
      variant: z.string(),
      status: z.string(),
      reasons: z.array(z.string()),
      score: z.number().nullable().default(null),
      n: z.number().nullable().default(null),
      ...EvidenceSchema.pick({
        total: true,
        scored: true,
        errored: true,
        refused: true,
        lost: true,
        source: true,
      }).shape,
    }),
  ),
});

export const Scorecard = z.object({
  checkpointId: z.string(),
  effectiveCompute: z.string(),
  state: z.string(),
  verdict: z.string().nullable(),
  findings: z.array(Finding),
  categories: z.array(
    z.object({ id: z.string(), title: z.string(), stages: z.record(z.string(), StageLevels) }),
  ),
  budgets: z.array(BudgetBestSchema).optional(),
  running: z
    .array(
      z.object({
        name: z.string(),
        attempt: z.number(),
        status: z.string(),
        progress: z
          .object({
            done: z.number(),
            total: z.number().nullable(),
            unit: z.string(),
            errored: z.number().nullable(),
          })
          .nullable(),
      }),
    )
    .optional(),
});
export type Scorecard = z.infer<typeof Scorecard>;

export const EstimateRound = z.object({
  roundId: z.string(),
  runId: z.string(),
  round: z.number(),
  state: z.string(),
  checkpointId: z.string(),
  category: z.string(),
  stage: z.string(),
  level: z.number(),
  horizonCompute: z.string(),
  closesAt: instant,
  closedAt: instant.nullable(),
  closedBecause: z.string().nullable(),
  given: z.number(),
  pool: z
    .object({
      p: z.number(),
      geometricMean: z.number(),
      exponent: z.number(),
      n: z.number(),
      median: z.number(),
      lowerQuartile: z.number(),
      upperQuartile: z.number(),
    })
    .nullable(),
  readBy: z.array(z.string()),
});
export type EstimateRound = z.infer<typeof EstimateRound>;

export const EstimateRoundWithFeedback = EstimateRound.extend({
  feedback: z
    .object({
      rationales: z.array(z.string()),
      quantiles: z.array(z.object({ p: z.number(), level: z.number(), n: z.number() })),
    })
    .nullable(),
  mine: z.object({ probability: z.number(), rationale: z.string() }).nullable(),
});
export type EstimateRoundWithFeedback = z.infer<typeof EstimateRoundWithFeedback>;

const Coverage = z.object({
  covered: z.number(),
  share: z.number().nullable(),
  lower: z.number().nullable(),
  upper: z.number().nullable(),
});
export const ForecastFigures = z.object({
  forecasts: z.number(),
  runs: z.number(),
  isTooFew: z.boolean(),
  coverage95: Coverage,
  coverage99: Coverage,
  pinball50: z.number().nullable(),
  pinball95: z.number().nullable(),
  pinball99: z.number().nullable(),
  pit: z.array(z.number()),
  levels: z.array(
    z.object({
      level: z.number(),
      forecasts: z.number(),
      stated: z.number(),
      came: z.number(),
      brier: z.number(),
    }),
  ),
  brier: z.number().nullable(),
  misses: z.number(),
  doublingsShort: z.number().nullable(),
});
export type ForecastFigures = z.infer<typeof ForecastFigures>;

export const ForecastRecord = z.object({
  run: z.string().nullable(),
  total: ForecastFigures,
  groups: z.array(
    ForecastFigures.extend({
      method: z.string(),
      basis: z.string(),
      category: z.string(),
      stage: z.string(),
      checkpoints: z.number(),
    }),
  ),
  worstMisses: z.array(
    z.object({
      runId: z.string(),
      checkpointId: z.string(),
      scoredBy: z.string(),
      category: z.string(),
      stage: z.string(),
      observed: z.number(),
      q99: z.number(),
    }),
  ),
  excluded: z.object({ sealedLate: z.number(), beyondHorizon: z.number(), partial: z.number() }),
  isTruncated: z.boolean(),
});
export type ForecastRecord = z.infer<typeof ForecastRecord>;

export const page = <T extends z.ZodType>(item: T) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable() });
