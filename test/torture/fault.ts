/** What a fault is. */
import type { Grade } from '../support/campaign/stores.ts';
import type { Judge } from './judge.ts';
import type { Stage } from './stage.ts';

export type FaultClass = 'kill' | 'database' | 'queue' | 'power' | 'other';

export interface Struck {
  /** From here on nothing is in the way any more. */
  readonly overAtMs: number;
  /** How much later work was begun that the queue had forgotten. */
  readonly extraDelayMs?: number;
}

export interface Fault {
  readonly name: string;
  readonly of: FaultClass;
  readonly grades: readonly Grade[];
  readonly needsDisk?: boolean;
  /** The service was killed on purpose; everything else it has to survive. */
  readonly kills?: boolean;
  strike(stage: Stage, judge: Judge): Promise<Struck>;
}

export const over = (extra: Omit<Struck, 'overAtMs'> = {}): Struck => ({
  overAtMs: performance.now(),
  ...extra,
});
