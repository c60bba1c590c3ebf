/** How far a call-out of a quarantine is, in the words that the terminal and the page share; each adds its own times. */
import type { IsolationStep } from './quarantine-documents.ts';

export type IsolationStanding = 'done' | 'waits' | 'open' | 'overdue';

export function isolationText({
  begunAt,
  acceptedAt,
  attempts,
  overdueAt,
  confirmedAt,
  confirmedBy,
  lastDetail,
}: Pick<
  IsolationStep,
  'begunAt' | 'acceptedAt' | 'attempts' | 'overdueAt' | 'confirmedAt' | 'confirmedBy' | 'lastDetail'
>): { readonly standing: IsolationStanding; readonly text: string } {
  const detail = lastDetail === null ? '' : ` (${lastDetail})`;
  if (confirmedAt !== null) {
    const by = confirmedBy === null || confirmedBy === 'call-out' ? '' : ` by the word of ${confirmedBy}`;
    return { standing: 'done', text: `done${by}${detail}` };
  }
  if (begunAt === null) return { standing: 'waits', text: 'begins in its turn, once the run has stopped' };
  const tried = acceptedAt === null ? `not taken in ${attempts} attempts` : 'taken, not known to be done';
  return overdueAt === null
    ? { standing: 'open', text: `${tried}${detail}` }
    : { standing: 'overdue', text: `${tried}${detail}; OVERDUE, do it by hand` };
}
