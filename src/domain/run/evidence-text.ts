/**
 * What an evaluation's score was made of, in words: how many samples, what became of them, and what the result says that it is of.
 *
 * The same on the page and in the terminal. What a result does not state is not there; it is never shown as none.
 */
import { evaluationName } from './checkpoint-views.ts';
import type { Source } from './reading-documents.ts';
import type { Evidence } from './scorecard-documents.ts';

export type EvidenceShown = Pick<
  Evidence,
  'evaluation' | 'variant' | 'score' | 'n' | 'total' | 'scored' | 'errored' | 'refused' | 'lost' | 'source'
>;

export interface EvidenceText {
  readonly name: string;
  readonly counts: string;
  /** Null: the result did not say. */
  readonly source: string | null;
}

/** Of those alone that have something to show. */
export function evidenceTexts(rows: readonly EvidenceShown[]): EvidenceText[] {
  return rows.flatMap((row) => {
    const counts = countsText(row);
    const source = row.source === undefined ? null : sourceText(row.source);
    if (counts === null && source === null) return [];
    return [{ name: evaluationName(row), counts: counts ?? 'no samples stated', source }];
  });
}

function countsText({ score, n, total, scored, errored, refused, lost }: EvidenceShown): string | null {
  const samples =
    total === undefined && scored === undefined
      ? []
      : [`${scored ?? 'an unknown number'} of ${total ?? 'an unknown number of'} samples scored`];
  const parts = [
    ...(score === null ? [] : [`score ${Number(score.toPrecision(4))}${n === null ? '' : ` over ${n}`}`]),
    ...samples,
    ...(errored === undefined ? [] : [`${errored} errored`]),
    ...(refused === undefined ? [] : [`${refused} refused`]),
    ...(lost === undefined || lost === 0 ? [] : [`${lost} counted as successes at most`]),
  ];
  return parts.length === 0 ? null : parts.join(', ');
}

function sourceText(source: Source): string | null {
  const { harness, harnessVersion, task, model, revision, dataset, weightsDigest, epochs, fileDigest } =
    source;
  const named: readonly (readonly [string, string | number | undefined])[] = [
    ['task', task],
    ['model', model],
    ['revision', revision],
    ['dataset', dataset],
    ['weights', weightsDigest],
    ['epochs', epochs],
    ['log sha256', fileDigest],
  ];
  const by = [harness, harnessVersion].filter((part) => part !== undefined).join(' ');
  const parts = [
    ...(by === '' ? [] : [by]),
    ...named.flatMap(([name, value]) => (value === undefined ? [] : [`${name} ${value}`])),
  ];
  return parts.length === 0 ? null : parts.join(', ');
}
