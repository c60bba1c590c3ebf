/**
 * `mode` of interlock.yaml: armed, or in shadow for a first time that ends.
 *
 * A time is required and at most 90 days ahead: a shadow that nobody has to think of again would be no watchdog. Once it
 * has passed the service is armed, whatever the file goes on saying. Runs carry it in their registration; changing the
 * file changes nothing for them (domain/run/shadow.ts).
 */
import { z } from 'zod';
import type { FieldProblem } from '../domain/field-errors.ts';
import { SHADOW_DAYS_MAX, SHADOW_MAX_MS } from '../domain/run/shadow-documents.ts';

const until = z.iso.datetime({
  offset: true,
  error: 'must be a time with a zone, RFC 3339, such as 2027-01-31T12:00:00Z',
});

export const ModeSchema = z
  .union([
    z.enum(['armed', 'shadow']),
    z.discriminatedUnion('kind', [
      z.strictObject({ kind: z.literal('armed') }),
      z.strictObject({ kind: z.literal('shadow'), until }),
    ]),
  ])
  .default('armed');

export const ShadowTimeSchema = z.strictObject({ until }).optional();

export type Mode = { readonly kind: 'armed' } | { readonly kind: 'shadow'; readonly until: string };

interface Stated {
  readonly mode: z.output<typeof ModeSchema>;
  readonly shadow?: z.output<typeof ShadowTimeSchema>;
}

/** In UTC, as it stands in the ledger. */
export function modeOf(stated: Stated): Mode {
  const time = timeOf(stated);
  return time === null ? { kind: 'armed' } : { kind: 'shadow', until: new Date(time.until).toISOString() };
}

/** Until when the service is in shadow, or null where it is armed by now. */
export function shadowUntil(mode: Mode, now: Date): string | null {
  return mode.kind === 'shadow' && now.getTime() < Date.parse(mode.until) ? mode.until : null;
}

function timeOf({ mode, shadow }: Stated): { until: string; parts: string[] } | null {
  if (typeof mode === 'object') {
    return mode.kind === 'shadow' ? { until: mode.until, parts: ['mode', 'until'] } : null;
  }
  if (mode === 'armed' || shadow === undefined) return null;
  return { until: shadow.until, parts: ['shadow', 'until'] };
}

export function modeProblems(stated: Stated, now: Date): FieldProblem[] {
  const { mode, shadow } = stated;
  if (mode === 'shadow' && shadow === undefined) {
    const message = `is missing: mode shadow needs a time at which it ends, at most ${SHADOW_DAYS_MAX} days ahead`;
    return [{ parts: ['shadow', 'until'], message }];
  }
  if (mode !== 'shadow' && shadow !== undefined) {
    const message = 'is read with "mode: shadow" alone; write that, or leave this out';
    return [{ parts: ['shadow'], message }];
  }
  const time = timeOf(stated);
  if (time === null || Date.parse(time.until) - now.getTime() <= SHADOW_MAX_MS) return [];
  const latest = new Date(now.getTime() + SHADOW_MAX_MS).toISOString();
  const message = `must be at most ${SHADOW_DAYS_MAX} days ahead, now ${latest}: a shadow ends`;
  return [{ parts: time.parts, message }];
}
