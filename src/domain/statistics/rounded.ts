/** Probabilities and shares as they are recorded: to six decimals, so that what is compared is what was recorded. */
export const roundedShare = (p: number): number => Math.round(p * 1e6) / 1e6;
