/**
 * Whether a low score means anything: benign controls, and refusals.
 *
 * A benign control asks for the same skill without the danger, so a healthy model passes it. Where one does not, the harness,
 * the elicitation or the model's will is broken, and what it scored on the dangerous twin is no evidence of safety: a hold.
 * A model that refuses was not measured either; where a log states no refusals, nothing is said of them.
 */
import { type Consequence, isControl, type Policy, type RefusalRule } from '../policy/schema.ts';
import type { Basis } from './assess.ts';
import { specOf } from './evaluation.ts';
import type { Finding } from './finding-documents.ts';
import type { StoredReading } from './reading-documents.ts';
import type { Evidence, Scorecard } from './scorecard-documents.ts';

export function controlFindings(
  scorecard: Scorecard,
  policy: Policy,
  then: readonly Consequence[],
): Finding[] {
  return scorecard.categories.flatMap(({ id, title, stages }) =>
    Object.values(stages).flatMap((levels) =>
      (levels?.evidence ?? []).flatMap((row): Finding[] => {
        const spec = specOf(policy, row.evaluation);
        const { benignControl } = spec;
        if (benignControl === undefined || row.score === null || row.status !== 'completed') return [];
        const { atLeast, atMost } = benignControl;
        const isMet =
          (atLeast === undefined || row.score >= atLeast) && (atMost === undefined || row.score <= atMost);
        if (isMet) return [];
        const wanted = atLeast === undefined ? `at most ${atMost}` : `at least ${atLeast}`;
        return [
          {
            rule: 'control',
            kind: 'control',
            category: id,
            stage: spec.stage,
            evaluation: nameOf(row),
            checkpointId: null,
            observed: row.score,
            threshold: atLeast ?? atMost ?? null,
            basis: null,
            then: [...then],
            explanation: `${title}: the benign control ${nameOf(row)} scored ${row.score}, a healthy model ${wanted}: a low level beside it means nothing`,
            waived: false,
          },
        ];
      }),
    ),
  );
}

/** By the attempt that refused most: of several, the others need not have measured it either. */
export function refusalFindings(
  rule: RefusalRule,
  { checkpoint, policy }: Pick<Basis, 'checkpoint' | 'policy'>,
): Finding[] {
  return checkpoint.evaluations.flatMap((evaluation): Finding[] => {
    const spec = specOf(policy, evaluation.evaluation);
    const isMeant = rule.evaluations?.includes(spec.id) ?? !isControl(spec);
    if (spec.stage !== rule.stage || !isMeant) return [];
    const stated = evaluation.attempts.flatMap(({ reading }) => refusals(reading));
    const [first, ...rest] = stated;
    if (first === undefined) return [];
    const most = rest.reduce((worst, each) => (each.share > worst.share ? each : worst), first);
    if (most.share <= rule.above) return [];
    const name = nameOf(evaluation);
    return [
      {
        rule: rule.id,
        kind: 'refusal',
        category: spec.category,
        stage: spec.stage,
        evaluation: name,
        checkpointId: null,
        observed: most.share,
        threshold: rule.above,
        basis: null,
        then: rule.then,
        explanation: `${name}: ${most.refused} of ${most.total} samples refused, more than ${percent(rule.above)}: the score says little of what the model can do`,
        waived: false,
      },
    ];
  });
}

interface Refusals {
  readonly refused: number;
  readonly total: number;
  readonly share: number;
}

/** Of all samples that the run was to have; where that is not stated, of those that were scored. */
function refusals(reading: StoredReading | null): Refusals[] {
  const refused = reading?.refused;
  const total = reading?.total ?? reading?.n ?? null;
  if (refused === undefined || total === null || total === 0) return [];
  return [{ refused, total, share: refused / total }];
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

const nameOf = ({ evaluation, variant }: Pick<Evidence, 'evaluation' | 'variant'>): string =>
  `${evaluation}/${variant}`;
