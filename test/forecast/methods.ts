/**
 * What `npm run forecast:eval` judges, by name. A method with learned tables takes the ones that have not seen the
 * source; the others are the same for every source.
 */

import type { MethodFor } from '../../src/domain/forecast/backtest.ts';
import { type CategoryAtLeast, sumBound } from '../../src/domain/forecast/bags.ts';
import { BASELINES } from '../../src/domain/forecast/baselines.ts';
import { combine } from '../../src/domain/forecast/combine.ts';
import { type MultiProcessParameters, multiProcess } from '../../src/domain/forecast/multi-process.ts';
import { withOwnRecord } from '../../src/domain/forecast/own-record.ts';
import { PARAMETERS } from '../../src/domain/forecast/parameters.ts';
import { servedMethod } from '../../src/domain/forecast/served-method.ts';

export interface Contestant {
  readonly name: string;
  readonly methodFor: MethodFor;
  /** How forecasts of one category become its probability. */
  readonly categoryAtLeast: CategoryAtLeast;
}

/** The category as the service combines it, with what siblings lend. */
export const combined = (name: string, methodFor: MethodFor): Contestant => ({
  name,
  methodFor,
  categoryAtLeast: (members, skill) =>
    combine(
      members.map(({ source, history, horizonLog2Compute }, i) => {
        const siblings = members.filter((_, j) => j !== i).map((member) => member.history);
        return methodFor(source).forecast(history, horizonLog2Compute, siblings).atLeast(skill);
      }),
    ).p,
});

const served = withOwnRecord(servedMethod);

/** As the service makes it: calibrated by what it said of the same run before. */
export const JUDGED: Contestant = combined(served.method, () => served);

export const BASELINE_CONTESTANTS: readonly Contestant[] = BASELINES.map((baseline) => ({
  name: baseline.method,
  methodFor: () => baseline,
  categoryAtLeast: sumBound,
}));

const without = (what: string, parameters: MultiProcessParameters): Contestant => {
  const method = withOwnRecord(multiProcess(`without ${what}`, parameters));
  return combined(method.method, () => method);
};
const withoutKind = (name: string): Contestant =>
  without(`"${name}"`, { ...PARAMETERS, kinds: PARAMETERS.kinds.filter((kind) => kind.name !== name) });

/** The served method with one part taken out, and nothing learned anew. */
export const ABLATIONS: readonly Contestant[] = [
  ...PARAMETERS.kinds.map(({ name }) => withoutKind(name)),
  without('leaps and collapses', {
    ...PARAMETERS,
    kinds: PARAMETERS.kinds.map((kind) => ({ ...kind, leap: 0, collapse: 0 })),
  }),
  without('damping', { ...PARAMETERS, setting: { ...PARAMETERS.setting, damping: 1 - 1e-9 } }),
  combined('without its own record', () => servedMethod),
];
