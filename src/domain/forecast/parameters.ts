/**
 * What multi-process forecasting believes before a run has shown anything. docs/forecasting.md says where it comes from.
 *
 * Standard deviations are in skill, per square root of a doubling; probabilities per doubling. How scores scatter and how calm
 * and rising runs move is what `npm run forecast:fit` finds on development curves, every source counting the same,
 * rounded to two digits. The kind that leaps, and all of leaps and collapses, is not fitted but believed: sources differ in
 * it by a factor of a hundred.
 */
import type { MultiProcessParameters } from './multi-process.ts';

export const PARAMETERS: MultiProcessParameters = {
  setting: {
    edge: 0.059,
    damping: 0.88,
  },
  samplingShare: 1,
  memory: 0.9,
  scatters: [
    {
      size: 0.0029,
      prior: 0.59,
    },
    {
      size: 0.017,
      prior: 0.26,
    },
    {
      size: 0.041,
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
      levelDrift: 0.015,
      slopeDrift: 0.007,
      initialSlope: 0.14,
      initialSlopeSpread: 0.089,
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
      levelDrift: 0.023,
      slopeDrift: 0.041,
      initialSlope: 0.16,
      initialSlopeSpread: 0.055,
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
