/**
 * States of streams as they were last read, so that a state which has not changed is not read and parsed again.
 *
 * Never believed without asking: every load asks the database for the stream's head, and the state alone is spared
 * where the head still carries the tag of the append that wrote what is kept here. A tag is drawn anew for every
 * transaction, so a ledger that was restored to an earlier time, or changed by another process, does not match.
 * What is kept is shared by all who load it: nobody may change it.
 */
import type { Pool } from 'pg';
import type { Json } from '../domain/canonical-json.ts';

export interface KeptState {
  readonly tag: string;
  readonly state: Json;
}

/** Of JSON text; the values parsed from it take several times as much. */
const CHARACTERS_MAX = 24 * 1024 * 1024;

export class StateCache {
  readonly #charactersMax: number;
  readonly #kept = new Map<string, KeptState & { readonly characters: number }>();
  #characters = 0;

  constructor(charactersMax = CHARACTERS_MAX) {
    this.#charactersMax = charactersMax;
  }

  get(stream: string): KeptState | undefined {
    const found = this.#kept.get(stream);
    if (found === undefined) return undefined;
    // The order of a Map is that of insertion: what was asked for last stands last.
    this.#kept.delete(stream);
    this.#kept.set(stream, found);
    return found;
  }

  set(stream: string, kept: KeptState, characters: number): void {
    this.#drop(stream);
    if (characters > this.#charactersMax) return;
    this.#kept.set(stream, { ...kept, characters });
    this.#characters += characters;
    for (const oldest of this.#kept.keys()) {
      if (this.#characters <= this.#charactersMax) return;
      this.#drop(oldest);
    }
  }

  #drop(stream: string): void {
    this.#characters -= this.#kept.get(stream)?.characters ?? 0;
    this.#kept.delete(stream);
  }
}

const byPool = new WeakMap<Pool, StateCache>();

/** One per database: what a load has read, a heartbeat need not read again. */
export function statesOf(pool: Pool): StateCache {
  const known = byPool.get(pool);
  if (known !== undefined) return known;
  const states = new StateCache();
  byPool.set(pool, states);
  return states;
}
