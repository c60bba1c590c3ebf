/**
 * What multi-process forecasting believes before a run has shown anything. docs/forecasting.md says where it comes from.
 *
 * Standard deviations are in skill, per square root of a doubling; probabilities per doubling. Found on development
 * curves (language models of three families, models of several sizes, small networks that grok) by the pinball loss of
 * the 0.95 and 0.99 quantiles, every source counting the same, then rounded. It is a prior and is treated as one: fitted
 * closer to four of the sources, it did worse on the fifth.
 */
import type { MultiProcessParameters } from './multi-process.ts';

export const PARAMETERS: MultiProcessParameters = {
  setting: {
    samplingShare: 0.7261,
    restlessness: 0.006282,
    unstatedError: 0.01592,
    edge: 0.0446,
    damping: 0.8818,
  },
  memory: 0.8808,
  kinds: [
    {
      name: 'stays where it is',
      prior: 0.4692,
      degreesOfFreedom: 6,
      levelDrift: 0.02237,
      slopeDrift: 0.01398,
      initialSlope: 0.36,
      initialSlopeSpread: 0.08127,
      leap: 0.002678,
      collapse: 0.006369,
      leapShape: {
        a: 1.0,
        b: 1.699,
      },
    },
    {
      name: 'rises',
      prior: 0.3582,
      degreesOfFreedom: 3,
      levelDrift: 0.03916,
      slopeDrift: 0.03652,
      initialSlope: 0.41,
      initialSlopeSpread: 0.2276,
      leap: 0.006306,
      collapse: 0.006827,
      leapShape: {
        a: 0.9048,
        b: 1.822,
      },
    },
    {
      name: 'leaps',
      prior: 0.1726,
      degreesOfFreedom: 2,
      levelDrift: 0.08804,
      slopeDrift: 0.2209,
      initialSlope: 0.29,
      initialSlopeSpread: 0.4025,
      leap: 0.1824,
      collapse: 0.03805,
      leapShape: {
        a: 1.0,
        b: 1.0,
      },
    },
  ],
};
