/** SHA-256, the one digest of the project, as the domain wants it handed in. */
import { hash } from 'node:crypto';
import { canonicalJson, type Json } from '../domain/canonical-json.ts';

export function sha256(text: string | Buffer): string {
  return hash('sha256', text, 'hex');
}

/** Digest of a value, by its canonical JSON. */
export function digestOf(value: Json): string {
  return sha256(canonicalJson(value));
}
