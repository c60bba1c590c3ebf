/**
 * What a block of an export shows by itself: a part of verification that needs nothing of what stands before it, so
 * that several blocks can be looked at side by side (block-scanners.ts).
 *
 * It only ever says yes: events in canonical form that follow one another, each with its own id, in order of time and
 * of the versions of their streams. Every other line is handed on as it is, for the verifier to look at properly.
 */
import { type EventPlace, scanEnvelope } from './canonical-scan.ts';
import { eventId } from './envelope.ts';
import { linesIn } from './lines.ts';
import { HASH_BYTES, leafHash } from './merkle.ts';

/** Sound among themselves; `start` and `end` are their bytes in the block, the last line feed among them. */
export interface EventSpan {
  readonly kind: 'events';
  readonly start: number;
  readonly end: number;
  readonly count: number;
  /** The hash of each, one behind the other. */
  readonly leaves: Uint8Array;
  readonly firstPrevHash: string;
  readonly firstRecordedAt: string;
  readonly lastRecordedAt: string;
  readonly streams: readonly StreamSpan[];
}

export interface StreamSpan {
  readonly stream: string;
  readonly firstVersion: number;
  readonly lastVersion: number;
  /** Which of the span, from 0, its last one is. */
  readonly lastIndex: number;
}

/** Without its line feed. */
export interface LineSpan {
  readonly kind: 'line';
  readonly start: number;
  readonly end: number;
}

export type BlockPart = EventSpan | LineSpan;

/** Whole lines, each with its line feed. */
export function scanBlock(block: Uint8Array): BlockPart[] {
  const parts: BlockPart[] = [];
  let open: OpenSpan | null = null;
  const close = (end: number): void => {
    if (open !== null) parts.push(open.closed(end));
    open = null;
  };
  let start = 0;
  for (const line of linesIn(block)) {
    const end = start + line.length;
    const place = scanEnvelope(line);
    if (place === null || place.id !== eventId(place.stream, place.version)) {
      close(start);
      parts.push({ kind: 'line', start, end });
    } else {
      const leaf = leafHash(line);
      if (open === null || !open.takes(place)) {
        close(start);
        open = new OpenSpan(start, place);
      }
      open.add(place, leaf);
    }
    start = end + 1;
  }
  close(start);
  return parts;
}

class OpenSpan {
  readonly #start: number;
  readonly #first: EventPlace;
  readonly #leaves: Buffer[] = [];
  readonly #streams = new Map<string, { firstVersion: number; lastVersion: number; lastIndex: number }>();
  #hash: string;
  #recordedAt: string;

  constructor(start: number, first: EventPlace) {
    this.#start = start;
    this.#first = first;
    this.#hash = first.prevHash;
    this.#recordedAt = first.recordedAt;
  }

  takes({ prevHash, recordedAt, stream, version }: EventPlace): boolean {
    const last = this.#streams.get(stream);
    return (
      prevHash === this.#hash &&
      // Text compares as time does: one format, one zone.
      recordedAt >= this.#recordedAt &&
      (last === undefined || version === last.lastVersion + 1)
    );
  }

  add({ recordedAt, stream, version }: EventPlace, leaf: Buffer): void {
    const lastIndex = this.#leaves.length;
    const known = this.#streams.get(stream);
    if (known === undefined)
      this.#streams.set(stream, { firstVersion: version, lastVersion: version, lastIndex });
    else {
      known.lastVersion = version;
      known.lastIndex = lastIndex;
    }
    this.#leaves.push(leaf);
    this.#hash = leaf.toString('hex');
    this.#recordedAt = recordedAt;
  }

  closed(end: number): EventSpan {
    const leaves = new Uint8Array(this.#leaves.length * HASH_BYTES);
    for (const [index, leaf] of this.#leaves.entries()) leaves.set(leaf, index * HASH_BYTES);
    return {
      kind: 'events',
      start: this.#start,
      end,
      count: this.#leaves.length,
      leaves,
      firstPrevHash: this.#first.prevHash,
      firstRecordedAt: this.#first.recordedAt,
      lastRecordedAt: this.#recordedAt,
      streams: [...this.#streams].map(([stream, span]) => ({ stream, ...span })),
    };
  }
}
