/** A secret given as a function is read at each use, so that a rotation needs no restart. */
import { readFileSync } from 'node:fs';
import { badConfiguration } from './errors.ts';

export type Secret = string | (() => string);

export const secretValue = (secret: Secret): string => (typeof secret === 'string' ? secret : secret());

export function secretFile(path: string): () => string {
  return () => {
    try {
      return readFileSync(path, 'utf8').trim();
    } catch (cause) {
      throw badConfiguration(`the secret file ${path} cannot be read`, cause);
    }
  };
}
