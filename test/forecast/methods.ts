/**
 * What `npm run forecast:eval` judges, by name. A method with learned tables takes the ones that have not seen the
 * source; the others are the same for every source.
 */

import type { MethodFor } from '../../src/domain/forecast/backtest.ts';
import { type CategoryAtLeast, sumBound } from '../../src/domain/forecast/bags.ts';
import { BASELINES } from '../../src/domain/forecast/baselines.ts';
import { localLinear } from '../../src/domain/forecast/local-linear.ts';

export interface Contestant {
  readonly name: string;
  readonly methodFor: MethodFor;
  /** How forecasts of one category become its probability. */
  readonly categoryAtLeast: CategoryAtLeast;
}

export const JUDGED: Contestant = {
  name: localLinear.method,
  methodFor: () => localLinear,
  categoryAtLeast: sumBound,
};

export const BASELINE_CONTESTANTS: readonly Contestant[] = BASELINES.map((baseline) => ({
  name: baseline.method,
  methodFor: () => baseline,
  categoryAtLeast: sumBound,
}));
