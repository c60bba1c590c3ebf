/** An instant as people type one: a span from now (or back from it), or the instant itself. */
import { DurationSchema, durationMs } from '../domain/duration.ts';
import { UsageError } from './exit.ts';

export const instantOf = (option: string, text: string, now: Date): string => instantAt(option, text, now, 1);
export const instantBefore = (option: string, text: string, now: Date): string =>
  instantAt(option, text, now, -1);

function instantAt(option: string, text: string, now: Date, direction: 1 | -1): string {
  if (DurationSchema.safeParse(text).success) {
    return new Date(now.getTime() + direction * durationMs(text)).toISOString();
  }
  const ms = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms)) {
    throw new UsageError(
      `${option} must be a span such as 48h or 14d, or an instant such as 2030-01-31T12:00:00Z`,
    );
  }
  return new Date(ms).toISOString();
}
