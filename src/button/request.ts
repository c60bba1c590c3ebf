/** What a press may say, in JSON or in the page's form: the same for the button and for the service. */
import { z } from 'zod';
import { HaltActionSchema } from '../domain/run/halt-documents.ts';

const ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const id = z
  .string()
  .regex(
    ID,
    'must be 1 to 128 letters, digits, dots, dashes or underscores, beginning with a letter or digit',
  );

/** Free text for people: no control characters but tabs and line breaks. */
const reason = z
  .string()
  .min(1)
  .max(2000)
  .refine((value) => !/(?![\n\t])\p{Cc}/u.test(value), 'must not hold control characters');

/** A reason is asked for and not insisted on: there may be no time for one. */
export const NO_REASON = 'no reason given';

export const RedButton = z
  .strictObject({
    reason: reason.default(NO_REASON),
    action: HaltActionSchema.default('halt'),
    group: id.optional().meta({ description: 'For which of your groups; default: the first' }),
  })
  .meta({ id: 'RedButton' });
export type RedButton = z.output<typeof RedButton>;

export const RunIdSchema = id;

const blank = (text: unknown): unknown => (typeof text === 'string' && text.trim() === '' ? undefined : text);

/** Browsers send every field, and line breaks as CRLF. */
export const PressForm = z
  .strictObject({
    credential: z.string().trim().min(1, 'is needed: your token, or a printed code').max(4096),
    scope: z.enum(['all', 'run'], { error: 'choose all runs, or one' }),
    run: z.preprocess(blank, id.optional()),
    reason: z.preprocess(
      (text) => blank(typeof text === 'string' ? text.replaceAll('\r\n', '\n') : text),
      reason.default(NO_REASON),
    ),
    action: z.preprocess(blank, HaltActionSchema.default('halt')),
    group: z.preprocess(blank, id.optional()),
  })
  .refine(({ scope, run }) => scope === 'all' || run !== undefined, {
    path: ['run'],
    error: 'which run? Name it, or stop all',
  });
export type PressForm = z.output<typeof PressForm>;
