/** What fits with one source left out have found: `forecast:fit --cross-validate --write` writes it, the evaluation reads it. */
import { z } from 'zod';
import { multiProcess } from '../../src/domain/forecast/multi-process.ts';
import { withOwnRecord } from '../../src/domain/forecast/own-record.ts';
import { type Contestant, combined, JUDGED } from './methods.ts';
import { ParametersSchema } from './parameter-vector.ts';

export const LeftOutSchema = z.array(
  z.strictObject({
    /** null: all were seen. */
    leftOut: z.string().nullable(),
    lossAtStart: z.number(),
    loss: z.number(),
    parameters: ParametersSchema,
  }),
);
export type LeftOut = z.infer<typeof LeftOutSchema>;

/** Judges each source by the parameters that were fitted without it. */
export function crossValidated(found: LeftOut): Contestant {
  const name = `${JUDGED.name}, each source left out`;
  const methods = new Map(
    found.map(({ leftOut, parameters }) => [leftOut, withOwnRecord(multiProcess(name, parameters))] as const),
  );
  return combined(name, (source) => {
    const method = methods.get(source ?? null);
    if (method === undefined) throw new Error(`no fit leaves ${source ?? 'series without a source'} out`);
    return method;
  });
}
