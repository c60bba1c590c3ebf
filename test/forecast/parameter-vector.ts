/**
 * What a fit may move of the parameters of multi-process forecasting, as a vector: logarithms of what is positive, log odds of
 * what is a probability.
 *
 * It moves how calm and rising runs move, and what slows them. How likely leaps and collapses are, how far they go, and the
 * kind of run that leaps, are not in it: sources differ in that by a factor of a hundred, so the sources that one has say
 * nothing of the next. Fitted, they forgot what only the source left out would have told them. Nor are the sizes of the
 * scatter and the share of the stated error: they followed one forecast of a source that has fifty. Nor is the memory: a fit
 * lengthens it, and a method that forgets slowly is slow to see that a run has begun to move. All these are a choice, and
 * docs/forecasting.md shows what it costs. Nor are whole degrees of freedom, and what siblings lend.
 */
import { z } from 'zod';
import type { MultiProcessParameters, RunKind } from '../../src/domain/forecast/multi-process.ts';

const positive = z.number().positive();
const probability = z.number().gt(0).lt(1);

export const ParametersSchema = z.strictObject({
  setting: z.strictObject({ edge: positive, damping: probability }),
  samplingShare: positive,
  scatters: z
    .array(z.strictObject({ size: positive, prior: positive }))
    .min(1)
    .readonly(),
  memory: probability,
  siblings: z.strictObject({ share: positive, evidenceMax: positive }),
  kinds: z
    .array(
      z.strictObject({
        name: z.string(),
        prior: positive,
        degreesOfFreedom: z.number().int().positive(),
        levelDrift: positive,
        slopeDrift: positive,
        initialSlope: positive,
        initialSlopeSpread: positive,
        leap: probability,
        collapse: probability,
        leapShape: z.strictObject({ a: positive, b: positive }),
      }),
    )
    .min(1)
    .readonly(),
}) satisfies z.ZodType<MultiProcessParameters>;

/**
 * Where a fit starts, and what it leaves alone: round numbers, one kind about twice as restless as the one before. They owe
 * nothing to a search, but their author had seen all sources: the memory, the scatters, the kinds' shares and what is said of
 * leaps were chosen among a few such sets by what they cost (bags of benign series, announced rises, pinball loss).
 */
export const START: MultiProcessParameters = {
  setting: { edge: 0.05, damping: 0.9 },
  samplingShare: 0.7,
  scatters: [
    { size: 0.003, prior: 0.55 },
    { size: 0.02, prior: 0.3 },
    { size: 0.06, prior: 0.15 },
  ],
  memory: 0.9,
  siblings: { share: 0.5, evidenceMax: 1.5 },
  kinds: [
    kind('stays where it is', 0.42, 6, 0.03, 0.01, 0.1, 0.003, 0.006, 1.7),
    kind('rises', 0.35, 3, 0.06, 0.03, 0.2, 0.006, 0.007, 1.7),
    kind('leaps', 0.23, 2, 0.1, 0.2, 0.4, 0.2, 0.04, 1),
  ],
};

function kind(
  name: string,
  prior: number,
  degreesOfFreedom: number,
  levelDrift: number,
  slopeDrift: number,
  initialSlopeSpread: number,
  leap: number,
  collapse: number,
  b: number,
): RunKind {
  const shared = { prior, initialSlope: 0.3, leapShape: { a: 1, b } };
  return {
    ...shared,
    name,
    degreesOfFreedom,
    levelDrift,
    slopeDrift,
    initialSlopeSpread,
    leap,
    collapse,
  };
}

const { log, exp } = Math;
const odds = (p: number): number => log(p / (1 - p));
const ofOdds = (x: number): number => 1 / (1 + exp(-x));

export function vectorOf({ setting, kinds }: MultiProcessParameters): number[] {
  return [
    log(setting.edge),
    odds(setting.damping),
    ...kinds
      .slice(0, -1)
      .flatMap((each) => [
        log(each.levelDrift),
        log(each.slopeDrift),
        log(each.initialSlope),
        log(each.initialSlopeSpread),
      ]),
  ];
}

/** `like` gives what is not in the vector. */
export function parametersOf(
  vector: readonly number[],
  like: MultiProcessParameters,
): MultiProcessParameters {
  let read = 0;
  const next = (): number => {
    const value = vector[read];
    if (value === undefined) throw new RangeError(`a vector of ${vector.length} is too short`);
    read += 1;
    return value;
  };
  const setting = { edge: exp(next()), damping: ofOdds(next()) };
  const kinds = like.kinds.map((each, i) =>
    i === like.kinds.length - 1
      ? each
      : {
          ...each,
          levelDrift: exp(next()),
          slopeDrift: exp(next()),
          initialSlope: exp(next()),
          initialSlopeSpread: exp(next()),
        },
  );
  if (read !== vector.length) throw new RangeError(`a vector of ${vector.length} is too long`);
  return { ...like, setting, kinds };
}

/** To what a reader can take in, and no further than the fit can tell. */
export function rounded(parameters: MultiProcessParameters): MultiProcessParameters {
  return ParametersSchema.parse(
    JSON.parse(JSON.stringify(parameters), (_, value: unknown) =>
      typeof value === 'number' ? Number(value.toPrecision(3)) : value,
    ),
  );
}
