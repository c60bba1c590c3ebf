/** What showed that a halted run lives, in words for people. */
import { flopText } from '../compute.ts';
import type { RunEventData } from './events.ts';

export type Life = Pick<RunEventData<'HaltReopened'>, 'reason' | 'effectiveCompute' | 'targetId' | 'detail'>;

export function lifeText({ reason, effectiveCompute, targetId, detail }: Life): string {
  if (targetId !== undefined && detail !== undefined) return `${targetId}: ${detail}`;
  const said = effectiveCompute === null ? reason : flopText(effectiveCompute);
  return reason === 'checkpoint' ? `a checkpoint at ${said}` : said;
}
