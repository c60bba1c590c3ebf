/** An evaluation and the one whose protocol it changes: while both are run, and after, they are one thing to whatever counts or names one. */
import type { Policy } from './schema.ts';

/** The one that was there first; whatever succeeds nothing is its own. */
export const rootOf = ({ evaluations }: Pick<Policy, 'evaluations'>, id: string): string =>
  evaluations.find((spec) => spec.id === id)?.succeeds?.evaluation ?? id;
