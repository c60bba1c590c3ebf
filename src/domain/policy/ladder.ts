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

/** Any kind may have these; Interlock takes them by itself (run/own-steps.ts), and no adapter hears of them. */
export const OWN_STEPS: ReadonlySet<string> = new Set(['directive', 'page']);

/**
 * The effect that satisfies a step: the other side took it; the trainer answered that it received the halt or stopped;
 * no heartbeat has stated more compute for one heartbeat interval; the orchestrator shows that the target is gone.
 */
export const LadderUntilSchema = z.enum(['accepted', 'acknowledged', 'quiet', 'observed']);
export type LadderUntil = z.infer<typeof LadderUntilSchema>;

/** Longer, and nobody is waiting any more: whoever wants that wants no halt. */
const AFTER_MAX_MS = 3_600_000;

// Piped: what is no duration at all must not be compared.
const UpToAnHour = DurationSchema.pipe(
  z.string().refine((stated) => durationMs(stated) <= AFTER_MAX_MS, 'must be at most 1h'),
);

export const LadderSchema = z
  .array(
    z.strictObject({
      step: z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, 'must be the name of a step'),
      after: UpToAnHour.optional().meta({
        description: 'After the order, default: at once; not taken any more if the stop is confirmed by then',
      }),
      until: LadderUntilSchema.optional().meta({
        description:
          'The effect that satisfies the step: while it stands, later steps but the hardest wait for `within`',
      }),
      within: UpToAnHour.optional().meta({
        description: 'How long the step has for its effect; without it by then, the next step is due at once',
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
  readonly field: 'step' | 'after' | 'until' | 'within';
  readonly message: string;
}

/** The last step that an adapter takes: no rule delays it beyond its own time. -1 where there is none. */
export function hardestIndex(ladder: readonly { readonly step: string }[]): number {
  return ladder.findLastIndex(({ step }) => !OWN_STEPS.has(step));
}

export function ladderProblems(kind: TargetKind, ladder: Ladder): LadderProblem[] {
  const known: readonly string[] = [...LADDER_STEPS[kind], ...OWN_STEPS];
  const stepProblems = ladder.flatMap(({ step, after }, index): LadderProblem[] => {
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
    return [...problems, ...ruleProblems(kind, ladder, index)];
  });
  if (ladder.length === 0 || hardestIndex(ladder) >= 0) return stepProblems;
  const message = `stops nothing; a ladder needs a step of ${kind}, such as ${LADDER_STEPS[kind].at(-1) ?? ''}`;
  return [...stepProblems, { index: ladder.length - 1, field: 'step', message }];
}

function ruleProblems(kind: TargetKind, ladder: Ladder, index: number): LadderProblem[] {
  const rung = ladder[index];
  if (rung === undefined || (rung.until === undefined && rung.within === undefined)) return [];
  const { until, within } = rung;
  if (until === undefined) {
    return [{ index, field: 'within', message: 'needs `until` beside it: the effect that it is time for' }];
  }
  if (within === undefined) {
    return [{ index, field: 'until', message: 'needs `within` beside it: how long the step has for it' }];
  }
  const problems: LadderProblem[] = [];
  if (until === 'observed' && kind === 'webhook') {
    const message = 'a webhook cannot be observed; use accepted, acknowledged or quiet';
    problems.push({ index, field: 'until', message });
  }
  if (index === ladder.length - 1) {
    problems.push({
      index,
      field: 'until',
      message: 'nothing comes after the last step; leave the rule out',
    });
  }
  const hardest = hardestIndex(ladder);
  const last = ladder[hardest];
  if (last !== undefined && index < hardest && afterMs(rung) + durationMs(within) > afterMs(last)) {
    const message = `must end by the time of ${last.step} (${last.after ?? '0s'}), which no rule delays`;
    problems.push({ index, field: 'within', message });
  }
  return problems;
}

/** What a run that ignores the rest is stopped by, where the ladder leaves it out. */
export function missingLastStep(kind: TargetKind, ladder: Ladder): string | null {
  const last = LADDER_STEPS[kind].at(-1);
  return last === undefined || ladder.some(({ step }) => step === last) ? null : last;
}
