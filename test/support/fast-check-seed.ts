/**
 * In CI every property draws the same cases at each run, so that a red run is about the change under test; elsewhere
 * each run draws new ones, and fast-check prints the seed of what fails.
 */
import fc from 'fast-check';

if ((process.env['CI'] ?? '') !== '') fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: 20_261_123 });
