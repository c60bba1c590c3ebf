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
    samplingShare: 0.73,
    restlessness: 0.0063,
    unstatedError: 0.016,
    edge: 0.045,
    damping: 0.88,
  },
  memory: 0.88,
  siblings: { share: 0.5, evidenceMax: 1.5 },
  kinds: [
    {
      name: 'stays where it is',
      prior: 0.47,
      degreesOfFreedom: 6,
      levelDrift: 0.022,
      slopeDrift: 0.014,
      initialSlope: 0.36,
      initialSlopeSpread: 0.08,
      leap: 0.0027,
      collapse: 0.0064,
      leapShape: { a: 1, b: 1.7 },
    },
    {
      name: 'rises',
      prior: 0.35,
      degreesOfFreedom: 3,
      levelDrift: 0.039,
      slopeDrift: 0.037,
      initialSlope: 0.41,
      initialSlopeSpread: 0.23,
      leap: 0.0063,
      collapse: 0.0068,
      leapShape: { a: 0.9, b: 1.8 },
    },
    {
      name: 'leaps',
      prior: 0.18,
      degreesOfFreedom: 2,
      levelDrift: 0.088,
      slopeDrift: 0.22,
      initialSlope: 0.29,
      initialSlopeSpread: 0.4,
      leap: 0.2,
      collapse: 0.038,
      leapShape: { a: 1, b: 1 },
    },
  ],
};
