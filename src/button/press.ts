/** A press as it is written down, and as people and programs are told of it. */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { HaltActionSchema } from '../domain/run/halt-documents.ts';

const id = z.string().min(1).max(128);

export const PressSchema = z.object({
  pressId: id,
  /**
   * Presses of one burst send one order: this is the first of them. Their orders' ids are derived from it, so that
   * pressing a hundred times makes one id to be cleared and not a hundred.
   */
  rootId: id,
  rootAt: z.iso.datetime(),
  scope: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('all') }),
    z.object({ kind: z.literal('run'), runId: id }),
  ]),
  action: HaltActionSchema,
  reason: z.string().max(2000),
  by: id,
  group: id,
  via: z.enum(['bearer', 'webhook', 'oidc', 'break-glass']),
  /** Which printed code it was. */
  codeId: id.nullable(),
  pressedAt: z.iso.datetime(),
  /** Order of the presses that one process took in the same millisecond. */
  seq: z.int().min(0),
});
export type Press = z.infer<typeof PressSchema>;
export type Scope = Press['scope'];

/** 130 bits, lower-case base32, like every id of Interlock. */
export function newPressId(): string {
  const alphabet = 'abcdefghijklmnopqrstuvwxyz234567';
  return `press_${Array.from(randomBytes(26), (byte) => alphabet[byte & 31]).join('')}`;
}

export const scopeKey = ({ scope, action }: Pick<Press, 'scope' | 'action'>): string =>
  `${action} ${scope.kind === 'all' ? '*' : scope.runId}`;

/** The order in which people pressed, as far as one machine's clock can tell. */
export function byTime(a: Press, b: Press): number {
  return a.pressedAt < b.pressedAt ? -1 : a.pressedAt > b.pressedAt ? 1 : a.seq - b.seq;
}
