/**
 * Ladders as a policy (`halt.ladders`) or a target states them: which steps of its kind a halt takes, and when each is due
 * after the order. What a step does is the adapter's; how often it is tried again is its kind's (orchestrators/ladders.ts).
 */
import { z } from 'zod';
import { DurationSchema, durationMs } from '../duration.ts';

export const TARGET_KINDS = ['webhook', 'process', 'ray', 'command', 'kubernetes', 'slurm'] as const;
export type TargetKind = (typeof TARGET_KINDS)[number];

/** From the gentlest to the hardest. A command has besides these whatever steps the site gives it. */
export const LADDER_STEPS = {
  webhook: ['webhook'],
  process: ['sigterm', 'sigkill'],
  ray: ['stop'],
  command: ['stop', 'kill'],
  kubernetes: ['suspend', 'delete', 'kill'],
  slurm: ['signal', 'cancel', 'kill'],
} as const satisfies Readonly<Record<TargetKind, readonly string[]>>;

/** Longer, and nobody is waiting any more: whoever wants that wants no halt. */
const AFTER_MAX_MS = 3_600_000;

export const LadderSchema = z
  .array(
    z.strictObject({
      step: z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, 'must be the name of a step'),
      // Piped: what is no duration at all must not be compared.
      after: DurationSchema.pipe(
        z.string().refine((after) => durationMs(after) <= AFTER_MAX_MS, 'must be at most 1h'),
      )
        .optional()
        .meta({
          description:
            'After the order, default: at once; not taken any more if the stop is confirmed by then',
        }),
    }),
  )
  .min(1)
  .max(16)
  .meta({ id: 'Ladder', description: 'Steps of a halt, in order' });
export type Ladder = z.infer<typeof LadderSchema>;

export const afterMs = ({ after }: Pick<Ladder[number], 'after'>): number =>
  after === undefined ? 0 : durationMs(after);

export interface LadderProblem {
  /** Of the step in the list. */
  readonly index: number;
  readonly field: 'step' | 'after';
  readonly message: string;
}

export function ladderProblems(kind: TargetKind, ladder: Ladder): LadderProblem[] {
  const known: readonly string[] = LADDER_STEPS[kind];
  return ladder.flatMap(({ step, after }, index): LadderProblem[] => {
    const before = ladder[index - 1];
    const problems: LadderProblem[] = [];
    if (kind !== 'command' && !known.includes(step)) {
      problems.push({
        index,
        field: 'step',
        message: `is no step of ${kind}; there are ${known.join(', ')}`,
      });
    }
    if (ladder.findIndex((each) => each.step === step) !== index) {
      problems.push({ index, field: 'step', message: `${step} stands there twice` });
    }
    if (before?.after !== undefined && afterMs({ after }) < afterMs(before)) {
      const message = `must not be before the step above it (${before.after})`;
      problems.push({ index, field: 'after', message });
    }
    return problems;
  });
}

/** What a run that ignores the rest is stopped by, where the ladder leaves it out. */
export function missingLastStep(kind: TargetKind, ladder: Ladder): string | null {
  const last = LADDER_STEPS[kind].at(-1);
  return last === undefined || ladder.some(({ step }) => step === last) ? null : last;
}
