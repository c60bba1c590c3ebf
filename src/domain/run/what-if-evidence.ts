/**
 * What of a run's recorded evidence another policy can read.
 *
 * An evaluation is known by its name and variant, and a score by its metric and kind: where these agree, the recorded
 * reading stands for what the other policy would have read; where not, it was never run as far as that policy knows.
 * Fails towards inconclusive: what the record does not show to be enough for the other policy is not enough.
 */
import { sameJson } from '../canonical-json.ts';
import { scoreRange } from '../policy/scale.ts';
import { type Evaluation, type Policy, variantsOf } from '../policy/schema.ts';
import type { RunEventData } from './events.ts';
import type { StoredReading } from './reading-documents.ts';
import { isReplaced } from './succession.ts';

type Reported = RunEventData<'CheckpointReported'>['evaluations'][number];

export interface Missing extends Reported {
  /** Also the reason of the attempt that stands for it. */
  readonly why: 'never-run' | 'other-metric';
  readonly required: boolean;
}

export interface CarriedOver {
  /** Of the other policy, in its order: those that were run, and those that are missing. */
  readonly evaluations: readonly Reported[];
  readonly missing: readonly Missing[];
  /** Run, and unknown to the other policy. */
  readonly ignored: readonly Reported[];
}

const isSame = (a: Reported, b: Pick<Reported, 'evaluation' | 'variant'>): boolean =>
  a.evaluation === b.evaluation && a.variant === b.variant;

export const nameOf = ({ evaluation, variant }: Pick<Reported, 'evaluation' | 'variant'>): string =>
  `${evaluation}/${variant}`;

export function carriedOver(
  {
    checkpointId,
    evaluations: run,
  }: Pick<RunEventData<'CheckpointReported'>, 'checkpointId' | 'evaluations'>,
  pinned: Policy,
  other: Policy,
): CarriedOver {
  const missing: Missing[] = [];
  const wanted = other.evaluations.flatMap((spec) =>
    variantsOf(spec).map(({ id: variant }) => ({ spec, evaluation: spec.id, variant })),
  );
  const evaluations = wanted.flatMap(({ spec, evaluation, variant }) => {
    const found = run.find((each) => isSame(each, { evaluation, variant }));
    if (found === undefined && isReplaced(spec, run, other)) return [];
    const own = pinned.evaluations.find(({ id }) => id === evaluation);
    if (found !== undefined && own !== undefined && measuresTheSame(own, spec)) return found;
    const absent: Missing = {
      evaluationId: `never-run:${checkpointId}:${evaluation}:${variant}`,
      evaluation,
      variant,
      why: found === undefined ? 'never-run' : 'other-metric',
      required: spec.required,
    };
    missing.push(absent);
    return { evaluationId: absent.evaluationId, evaluation, variant };
  });
  const ignored = run.filter((each) => !wanted.some((one) => isSame(each, one)));
  return { evaluations, missing, ignored };
}

function measuresTheSame({ score: a }: Evaluation, { score: b }: Evaluation): boolean {
  const names = ['metric', 'scorer', 'task', 'reducer', 'prompt', 'kind', 'cluster'] as const;
  return names.every((name) => a[name] === b[name]) && sameJson([a.pass, a.control], [b.pass, b.control]);
}

/** What the other policy makes of a reading that the run's own took: its samples and its scale, not its word. */
export function rejudged(taken: StoredReading, own: Evaluation, other: Evaluation): StoredReading {
  const { lead: _lead, ...withoutLead } = taken;
  const reading = own.leads?.metric === other.leads?.metric ? taken : withoutLead;
  const { score, n, reasons } = reading;
  const [low, high] = scoreRange(other);
  if (score !== null && (score < low || score > high)) {
    return { ...reading, conclusive: false, score: null, reasons: [...reasons, 'score-out-of-range'] };
  }
  const { minSamples } = other.score;
  const isEnough = n === null ? minSamples <= own.score.minSamples : n >= minSamples;
  if (reading.conclusive && !isEnough) {
    return { ...reading, conclusive: false, reasons: [n === null ? 'samples-missing' : 'too-few-samples'] };
  }
  const onlyTooFew =
    score !== null && reasons.length > 0 && reasons.every((each) => each === 'too-few-samples');
  if (!reading.conclusive && onlyTooFew && n !== null && isEnough) {
    return { ...reading, conclusive: true, reasons: [] };
  }
  return reading;
}
