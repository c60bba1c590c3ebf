/** One printed seed draws everything. */
export { createRandom, type Random } from '../../src/domain/statistics/random.ts';
