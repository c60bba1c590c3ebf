/**
 * The seam of forecasting: history of one evaluation + horizon -> predictive distribution of its score.
 *
 * A method works on skill, u = (score - chance) / (best - chance), so that rising and falling metrics
 * look alike and "worse" is always up. It must be pure and deterministic; its name and version are
 * sealed with every forecast, and verdicts read the sealed figures, never the method.
 */

export interface SkillPoint {
  /** log2 of effective compute in FLOP. */
  readonly log2Compute: number;
  /** 0 at chance, 1 at the best possible score; may lie outside by noise. */
  readonly skill: number;
  /** Standard error of `skill`, where known. */
  readonly stderr: number | null;
}

/** Skill from which there is no headroom: such a score cannot show more, and its standing still says nothing. */
export const SATURATED = 0.97;

export type ForecastBasis = 'mostly-prior' | 'mixed' | 'data';

export interface SkillForecast {
  readonly basis: ForecastBasis;
  readonly points: number;
  readonly notes: readonly string[];
  /** P(skill >= x) at the horizon; falls from 1 to 0. */
  readonly atLeast: (skill: number) => number;
}

export interface ForecastMethod {
  /** Name and version, e.g. `multi-process/1`. */
  readonly method: string;
  /**
   * `history` ascends in compute; the horizon is in log2 FLOP and not before its last point. `siblings` are the histories
   * of other evaluations of the same category: they may raise the forecast, and never lower it.
   */
  readonly forecast: (
    history: readonly SkillPoint[],
    horizonLog2Compute: number,
    siblings?: readonly (readonly SkillPoint[])[],
  ) => SkillForecast;
}
