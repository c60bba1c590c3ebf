/** What a section yields: rows of one table, each a figure with its baseline, its spread and, where set, a target. */
import type { Spread } from './statistics.ts';

export interface Figure {
  readonly name: string;
  /** As printed, unit included: `812 /s`. */
  readonly measured: string;
  readonly baseline: string | null;
  /** Measured over baseline, per round; null where there is no baseline. */
  readonly ratio: Spread | null;
  /** As printed: `>= 0.5x`. */
  readonly target: string | null;
  /** null where there is no target. */
  readonly met: boolean | null;
  /** For the JSON: everything that was seen. */
  readonly details: unknown;
}

export interface Section {
  readonly name: string;
  readonly title: string;
  run(context: SectionContext): Promise<Figure[]>;
}

export interface SectionContext {
  readonly stand: import('./stand.ts').Stand;
  readonly quick: boolean;
  /** Where CPU profiles of the service go, or undefined. */
  readonly profileTo: string | undefined;
  readonly note: (text: string) => void;
}

export const perSecond = (value: number): string => `${value.toFixed(0)} /s`;
export const ms = (value: number): string => `${value.toFixed(value < 10 ? 2 : 1)} ms`;
