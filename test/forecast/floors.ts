/** Floors: figures below (or above) which a change is refused. A figure that cannot be computed breaks its floor. */
import { z } from 'zod';
import type { Figures } from './evaluate.ts';

const FIGURES = {
  pinball95: ({ all }) => all.pinball95,
  pinball99: ({ all }) => all.pinball99,
  coverage95: ({ all }) => all.coverage95,
  coverage99: ({ all }) => all.coverage99,
  coverage99WorstSource: ({ bySource }) =>
    Math.min(...[...bySource.values()].map(({ coverage99 }) => coverage99)),
  announcedRises99: ({ rises }) => rises.announced.covered99,
  silentRises99: ({ rises }) => rises.silent.covered99,
  announcedCrossings: ({ crossings }) => crossings.announced.warned,
  allCrossings: ({ crossings }) => crossings.all.warned,
  bagTripsEarly: ({ bagsEarly }) => bagsEarly,
  bagTripsLate: ({ bagsLate }) => bagsLate,
  /** Beside the best baseline of each source, the worst source. */
  pinball95Ratio: (own, baselines) => worstRatio('pinball95', own, baselines),
  pinball99Ratio: (own, baselines) => worstRatio('pinball99', own, baselines),
} satisfies Record<string, (own: Figures, baselines: readonly Figures[]) => number>;

type FigureName = keyof typeof FIGURES;

function worstRatio(measure: 'pinball95' | 'pinball99', own: Figures, baselines: readonly Figures[]): number {
  return Math.max(
    ...[...own.bySource].map(([source, figures]) => {
      const best = Math.min(
        ...baselines.map(({ bySource }) => bySource.get(source)?.[measure] ?? Number.NaN),
      );
      return figures[measure] / best;
    }),
  );
}

const BoundSchema = z
  .strictObject({ min: z.number().optional(), max: z.number().optional() })
  .refine(({ min, max }) => min !== undefined || max !== undefined, { message: 'needs min or max' });
const nameSchema = z.literal(Object.keys(FIGURES).filter((name): name is FigureName => name in FIGURES));
export const FloorsSchema = z.partialRecord(nameSchema, BoundSchema);
export type Floors = z.infer<typeof FloorsSchema>;

export function brokenFloors(floors: Floors, own: Figures, baselines: readonly Figures[]): string[] {
  return Object.entries(floors).flatMap(([name, bound]) => {
    if (bound === undefined) return [];
    const figure = Object.entries(FIGURES).find(([known]) => known === name)?.[1];
    const value = figure?.(own, baselines) ?? Number.NaN;
    const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY } = bound;
    return value >= min && value <= max ? [] : [`${name} is ${value.toFixed(4)}, wanted ${min} to ${max}`];
  });
}
