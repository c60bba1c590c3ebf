/**
 * What isolates a quarantined run, as a policy states it (`halt.quarantine`): call-outs to the site's own systems, in order.
 *
 * Revoking a network, moving or locking weights: Interlock asks for it and waits until it is told that it is done. What is
 * called by a program is named here and described in interlock.yaml; a policy never holds a path.
 */
import { z } from 'zod';
import { DurationSchema } from '../duration.ts';
import { EvaluatorUrlSchema } from '../executor.ts';
import { SecretReferenceSchema } from '../executor-fields.ts';

const step = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,31}$/, 'must be lower case letters, digits or "-", at most 32')
  .meta({ description: 'What it is called in the ledger, on the page and to whoever is called' });

const within = DurationSchema.default('5m').meta({
  description: 'Not known to be done by then: people are paged, and the next call-out begins all the same',
});

const CallOutSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    step,
    kind: z.literal('command'),
    command: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'must be letters, digits, ".", "_" or "-", at most 64')
      .meta({ description: 'A command of `isolation.commands` in interlock.yaml' }),
    within,
  }),
  z.strictObject({
    step,
    kind: z.literal('webhook'),
    url: EvaluatorUrlSchema,
    secret: SecretReferenceSchema,
    within,
  }),
]);
export type CallOut = z.infer<typeof CallOutSchema>;

export const QuarantineSchema = z
  .strictObject({
    isolate: z
      .array(CallOutSchema)
      .min(1)
      .max(16)
      .meta({ description: 'In this order, each once the one before it is known to be done' }),
    isolateAfter: DurationSchema.default('10m').meta({
      description:
        'A run that is not known to have stopped by then is isolated all the same; before, it may save a last checkpoint',
    }),
  })
  .meta({ id: 'Quarantine' });

export function callOutProblems(
  callOuts: readonly CallOut[] = [],
): { readonly index: number; readonly message: string }[] {
  return callOuts.flatMap((callOut, index) =>
    callOuts.findIndex((each) => each.step === callOut.step) === index
      ? []
      : [{ index, message: `${callOut.step} stands there twice` }],
  );
}
