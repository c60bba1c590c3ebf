/**
 * Durations as people write them in a policy: `500ms 30s 10m 48h 90d`.
 *
 * The text is the value: a parsed policy keeps it, so that parsing a stored policy again gives the
 * same policy and the same digest. `durationMs` converts at use. Zero, negative, and 10 years or more
 * are refused.
 */
import { z } from 'zod';

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const TEXT = /^(\d{1,9})(ms|s|m|h|d)$/;
const TEN_YEARS_MS = 3650 * 86_400_000;

function read(text: string): number | null {
  const match = TEXT.exec(text);
  const unit = UNIT_MS[match?.[2] ?? ''];
  return match === null || unit === undefined ? null : Number(match[1]) * unit;
}

export const DurationSchema = z
  .string()
  .superRefine((text, context) => {
    const ms = read(text);
    if (ms === null) {
      context.addIssue({ code: 'custom', message: 'must be a duration such as 30s, 10m, 48h or 90d' });
    } else if (ms === 0 || ms >= TEN_YEARS_MS) {
      context.addIssue({ code: 'custom', message: 'must be longer than 0 and less than 3650d' });
    }
  })
  .meta({ description: 'A duration: a whole number and ms, s, m, h or d' });

/** Milliseconds of a duration that `DurationSchema` accepted. */
export function durationMs(text: string): number {
  const ms = read(text);
  if (ms === null) throw new RangeError(`not a duration: ${text}`);
  return ms;
}
