/**
 * What multi-process forecasting believes before a run has shown anything. docs/forecasting.md says where it comes from.
 *
 * Standard deviations are in skill, per square root of a doubling; probabilities per doubling. How calm and rising runs move,
 * and what slows them, is what `npm run forecast:fit` finds on development curves (language models of three families, models of
 * several sizes, small networks that grok), every source counting the same, rounded to two digits. The kind that leaps, all of
 * leaps and collapses, the scatters and the memory are not fitted but chosen: sources differ too much in them to say
 * anything of the next one.
 */
import type { MultiProcessParameters } from './multi-process.ts';

export const PARAMETERS: MultiProcessParameters = {
  setting: {
    edge: 0.064,
    damping: 0.86,
  },
  samplingShare: 0.7,
  memory: 0.9,
  scatters: [
    {
      size: 0.003,
      prior: 0.55,
    },
    {
      size: 0.02,
      prior: 0.3,
    },
    {
      size: 0.06,
      prior: 0.15,
    },
  ],
  siblings: {
    share: 0.5,
    evidenceMax: 1.5,
  },
  kinds: [
    {
      name: 'stays where it is',
      prior: 0.42,
      degreesOfFreedom: 6,
      levelDrift: 0.014,
      slopeDrift: 0.0072,
      initialSlope: 0.14,
      initialSlopeSpread: 0.093,
      leap: 0.003,
      collapse: 0.006,
      leapShape: {
        a: 1,
        b: 1.7,
      },
    },
    {
      name: 'rises',
      prior: 0.35,
      degreesOfFreedom: 3,
      levelDrift: 0.019,
      slopeDrift: 0.038,
      initialSlope: 0.14,
      initialSlopeSpread: 0.056,
      leap: 0.006,
      collapse: 0.007,
      leapShape: {
        a: 1,
        b: 1.7,
      },
    },
    {
      name: 'leaps',
      prior: 0.23,
      degreesOfFreedom: 2,
      levelDrift: 0.1,
      slopeDrift: 0.2,
      initialSlope: 0.3,
      initialSlopeSpread: 0.4,
      leap: 0.2,
      collapse: 0.04,
      leapShape: {
        a: 1,
        b: 1,
      },
    },
  ],
};
