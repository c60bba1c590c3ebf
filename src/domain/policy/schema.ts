/**
 * The policy: what is evaluated, when, where the levels begin, what follows, and who may resume.
 *
 * Pure data, strict (unknown keys are refused), complete after parsing (defaults filled in), and
 * stable: parsing a parsed policy gives the same policy, so its canonical JSON names it for good.
 * Cross-checks over the whole policy are in `check.ts`.
 */
import { z } from 'zod';
import { ComputeSchema } from '../compute.ts';
import { DurationSchema } from '../duration.ts';
import { EvaluationSchema, NameSchema } from './evaluation-schema.ts';
import { LadderSchema, TARGET_KINDS } from './ladder.ts';
import { QuarantineSchema } from './quarantine.ts';
import { LevelReferenceSchema, RuleSchema } from './rule-schema.ts';
import { TiersSchema } from './tier-schema.ts';
import { TrainingStagesSchema, TriggersSchema } from './trigger-schema.ts';

export {
  type Evaluation,
  isControl,
  type Leads,
  levelMarks,
  NameSchema,
  STAGES,
  type Stage,
  StageSchema,
  type Variant,
} from './evaluation-schema.ts';
export * from './rule-schema.ts';
export { variantsOf } from './variants.ts';

const probability = z.number().gt(0).lt(1);

const CategorySchema = z.strictObject({
  id: NameSchema,
  title: z.string().min(1).max(120),
  confidence: z
    .number()
    .min(0.5)
    .max(0.9999)
    .default(0.95)
    .meta({ description: 'Two-sided, shared over evaluations' }),
  // Without a default: a policy that says nothing of it must keep the digest that runs have pinned.
  hazardous: z.boolean().optional().meta({
    description: 'Logs of its evaluations are dangerous to read: sealed where they are kept',
  }),
});

/** What stands in for a run's own history while there is next to none: people's word, reviewed with the policy. */
const ReferenceRunSchema = z.strictObject({
  evidence: z
    .string()
    .min(1)
    .max(300)
    .meta({ description: 'The run or report that it rests on, for those who review the policy' }),
  approvedBy: z
    .array(NameSchema)
    .min(1)
    .meta({ description: 'Governance groups; all of `governance.resume.approvals` among them' }),
  upTo: ComputeSchema,
});

/** The interval as actuator: before mitigation alone, where the levels are that halt. */
const CadenceRiskSchema = z.strictObject({
  level: LevelReferenceSchema.default('critical'),
  probability: probability.meta({
    description: 'Most that a permit may risk: P(any category reaches the level by its ceiling)',
  }),
  minRatio: z.number().gt(1).max(16).default(1.19).meta({
    description: 'The shortest step: a ceiling is never nearer than minRatio x the compute cleared',
  }),
  whenMostlyPrior: z.enum(['ignore', 'alert', 'hold', 'halt']).default('alert').meta({
    description: 'What follows where even the shortest step is over the limit, by the prior alone',
  }),
  reference: ReferenceRunSchema.optional(),
});
export type CadenceRisk = z.infer<typeof CadenceRiskSchema>;

const CadenceSchema = z.strictObject({
  ratio: z.number().gt(1).max(16).default(2),
  grace: z.number().min(0).max(4).default(0.1).meta({ description: 'A permit reaches ratio x (1 + grace)' }),
  firstCheckpointBy: ComputeSchema,
  maxInterval: DurationSchema.default('90d'),
  scorecardDeadline: DurationSchema.default('48h'),
  holdDeadline: DurationSchema.default('72h'),
  // Without a default, as `forecast` below.
  risk: CadenceRiskSchema.optional(),
  trainingStages: TrainingStagesSchema.optional().meta({
    description:
      "Where a training stage's own compute has another cadence, by the name that the trainer states",
  }),
  triggers: TriggersSchema.optional(),
});

const EXPERTS_CHOICES = ['graver', 'pool', 'ignore'] as const;
export type ExpertsChoice = (typeof EXPERTS_CHOICES)[number];

const ForecastSettingsSchema = z.strictObject({
  experts: z.enum(EXPERTS_CHOICES).default('graver').meta({
    description:
      "What a forecast rule reads where experts were asked: the greater of the model's and the experts' probability, the geometric mean of the two odds, or the model's alone",
  }),
  quorum: z
    .int()
    .min(1)
    .max(50)
    .default(2)
    .meta({ description: "Experts it takes, under `pool`, to lower the model's probability" }),
});
export type ForecastSettings = z.infer<typeof ForecastSettingsSchema>;

const AcceleratorSchema = z.strictObject({
  id: NameSchema,
  peakFlops: z.number().gte(1e9).max(1e20).meta({
    description: 'FLOP/s of one accelerator at the precision that it trains in, without sparsity',
  }),
  perNode: z.int().min(1).max(1024).optional().meta({
    description: 'Accelerators of a node, for systems that account nodes alone',
  }),
});

/** What stated compute is held against where an orchestrator accounts nodes and hours by itself. */
const AccountingSchema = z.strictObject({
  accelerators: z.array(AcceleratorSchema).min(1).max(32),
  utilisation: z.number().gt(0).max(1).default(0.3).meta({
    description: 'Share of the peak that a run which trains is expected to reach',
  }),
  atLeast: z.number().gt(0).max(1).default(0.5).meta({
    description:
      'Stated work below this share of accelerator-hours x peak x utilisation is a finding that holds',
  }),
  minAcceleratorHours: z.number().gt(0).max(1e6).default(8).meta({
    description: 'Below this nothing is said: starting up takes time and does no work',
  }),
});
export type Accounting = z.infer<typeof AccountingSchema>;

const PermitSchema = z.strictObject({
  ttl: DurationSchema.default('30m').meta({
    description: 'Longest time a run trains without Interlock; at most 1h',
  }),
  heartbeatInterval: DurationSchema.default('30s').meta({
    description:
      'No progress for this long after the trainer says it stopped confirms the stop of a webhook target',
  }),
});

const HaltSchema = z.strictObject({
  confirmWithin: DurationSchema.default('2m').meta({
    description: 'A halt whose stop is not confirmed by then pages, and again each time this passes',
  }),
  // Without a default: a policy that says nothing of it must keep the digest that runs have pinned.
  ladders: z
    .partialRecord(z.enum(TARGET_KINDS), LadderSchema)
    .optional()
    .meta({ description: 'By kind of target, in place of its default steps' }),
  quarantine: QuarantineSchema.optional().meta({ description: 'What isolates a run that is quarantined' }),
  evaluations: z.enum(['continue', 'stop']).optional().meta({
    description:
      "What becomes of the run's evaluation jobs when a rule halts it; default: continue. A quarantine and a person's halt always stop them",
  }),
  // Without a default, as above; left out it is `warn`.
  independentTarget: z.enum(['require', 'warn']).optional().meta({
    description:
      'Whether a run must have a target that is reached with credentials its trainer does not hold; `warn` unless set',
  }),
});

const ObligationSchema = z.strictObject({
  id: NameSchema,
  title: z.string().min(1).max(200),
  owner: NameSchema,
  due: DurationSchema,
});

const SignersSchema = z.strictObject({
  approvals: z.array(NameSchema).min(1),
  vetoes: z.array(NameSchema).default([]),
});

const GovernanceSchema = z.strictObject({
  groups: z.array(NameSchema).min(1).max(20),
  resume: SignersSchema,
  // Without defaults: a policy that says nothing of them must keep the digest that runs have pinned.
  release: SignersSchema.optional().meta({
    description: 'Who lets a run out of quarantine, before anybody can resume it; default: those of resume',
  }),
  scopedResume: SignersSchema.optional().meta({
    description:
      'Who lets evaluation and alignment work go on while the run stays halted; default: those of resume',
  }),
  evidence: z
    .strictObject({
      groups: z.array(NameSchema).min(1).max(20).optional(),
      validFor: DurationSchema.optional(),
    })
    .optional()
    .meta({
      description:
        'Of which groups two people release sealed evidence (default: every group), and for how long (default: 24h)',
    }),
});

/** Whose approvals a kind of proposal takes, and who may block it. */
export function signersOf(
  { governance }: { readonly governance: z.infer<typeof GovernanceSchema> },
  kind: 'resume' | 'release' | 'scoped-resume',
): z.infer<typeof SignersSchema> {
  const { resume, release = resume, scopedResume = resume } = governance;
  return { resume, release, 'scoped-resume': scopedResume }[kind];
}

/** Who may let sealed evidence be read, and for how long. */
export function releaseTermsOf({ governance }: Pick<Policy, 'governance'>): {
  readonly groups: readonly string[];
  readonly validFor: string;
} {
  return {
    groups: governance.evidence?.groups ?? governance.groups,
    validFor: governance.evidence?.validFor ?? '24h',
  };
}

/** Whether what an evaluation leaves behind is dangerous by itself: it is sealed where it is kept. */
export function isHazardous(
  { categories }: Pick<Policy, 'categories'>,
  evaluation: { readonly category: string; readonly hazardous?: boolean | undefined },
): boolean {
  const category = categories.find(({ id }) => id === evaluation.category);
  return evaluation.hazardous ?? category?.hazardous ?? false;
}

export const PolicySchema = z
  .strictObject({
    policy: NameSchema,
    title: z.string().min(1).max(200),
    provenance: z.string().min(1).max(500).optional(),
    cadence: CadenceSchema,
    permit: PermitSchema.default({ ttl: '30m', heartbeatInterval: '30s' }),
    halt: HaltSchema.default({ confirmWithin: '2m' }),
    categories: z.array(CategorySchema).min(1).max(32),
    evaluations: z.array(EvaluationSchema).min(1).max(200),
    rules: z.array(RuleSchema).min(1).max(100),
    obligations: z.array(ObligationSchema).max(50).default([]),
    governance: GovernanceSchema,
    alerts: z.array(NameSchema).max(20).default([]),
    // Without a default: a policy that says nothing of it must keep the digest that runs have pinned.
    forecast: ForecastSettingsSchema.optional(),
    accounting: AccountingSchema.optional(),
    tiers: TiersSchema.optional(),
    riskBudget: probability.optional().meta({
      description: 'Most that all permits of a run may risk together, in the terms of `cadence.risk`',
    }),
  })
  .meta({ id: 'Policy' });

export type Policy = z.infer<typeof PolicySchema>;

const FORECAST_SETTINGS = ForecastSettingsSchema.parse({});

export function forecastSettings({ forecast }: Pick<Policy, 'forecast'>): ForecastSettings {
  return forecast ?? FORECAST_SETTINGS;
}

export type Category = Policy['categories'][number];
