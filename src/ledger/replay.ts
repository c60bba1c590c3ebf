/**
 * Replay: does folding the events give what is stored, and does every recorded judgement follow from what was
 * known when it was made?
 *
 * Only the mechanism is here. The caller brings a `Fold` per stream (the domain's `evolve`, and a `check` that
 * recomputes what an event claims from the state before it). A stream for which the caller has no fold is counted
 * and not judged; that is never silently a pass.
 * A stream whose fold throws is reported once and not folded further.
 * Memory holds one state per stream.
 */
import type { Pool } from 'pg';
import { canonicalJson, type Json } from '../domain/canonical-json.ts';
import { parseCanonical, readEnvelope } from './envelope.ts';
import type { RecordedEvent, ViewUpsert } from './ledger.ts';
import { leafHash } from './merkle.ts';
import { EVENT_COLUMNS, integer, recordedEvent, text } from './rows.ts';
import { inSnapshot, pages, type Read } from './snapshot.ts';

/** How one kind of stream is folded. `S` is the domain's state; null before the first event. */
export interface Fold<S> {
  evolve(state: S | null, event: RecordedEvent): S;
  /** As it is stored with the stream's head. */
  toJson(state: S): Json;
  /** What is wrong with the event given the state before it (a verdict that does not follow, ...), or null. */
  check?(before: S | null, event: RecordedEvent): string | null;
  /** The rows this event leads to; only rebuildViews asks. */
  project?(before: S | null, event: RecordedEvent, after: S): readonly ViewUpsert[];
}

/** null: this stream has no state to fold. */
export type FoldFor<S> = (stream: string) => Fold<S> | null;

export interface Mismatch {
  stream: string;
  version: number;
  seq: number | null;
  kind: 'event' | 'state' | 'fold-failed' | 'unreadable';
  message: string;
}

export interface Replay {
  ok: boolean;
  events: number;
  streams: number;
  /** Streams that nobody offered to fold. */
  streamsNotFolded: number;
  mismatches: Mismatch[];
}

interface Folded<S> {
  fold: Fold<S> | null;
  version: number;
  state: S | null;
  broken: boolean;
}

const MISMATCHES_MAX = 1_000;

export class Folder<S> {
  readonly #foldFor: FoldFor<S>;
  readonly streams = new Map<string, Folded<S>>();
  readonly mismatches: Mismatch[] = [];
  events = 0;

  constructor(foldFor: FoldFor<S>) {
    this.#foldFor = foldFor;
  }

  mismatch(mismatch: Mismatch): void {
    if (this.mismatches.length < MISMATCHES_MAX) this.mismatches.push(mismatch);
  }

  /** Returns the state before and after, or null where the stream is not folded. */
  apply(event: RecordedEvent): { fold: Fold<S>; before: S | null; after: S } | null {
    const { stream, version, seq } = event;
    this.events += 1;
    let folded = this.streams.get(stream);
    if (folded === undefined) {
      folded = { fold: this.#foldFor(stream), version: 0, state: null, broken: false };
      this.streams.set(stream, folded);
    }
    const { fold, state: before } = folded;
    const follows = version === folded.version + 1;
    folded.version = version;
    if (fold === null || folded.broken) return null;
    if (!follows) {
      folded.broken = true;
      this.mismatch({
        stream,
        version,
        seq,
        kind: 'event',
        message: 'does not follow the version before it',
      });
      return null;
    }
    try {
      const complaint = fold.check?.(before, event) ?? null;
      if (complaint !== null) this.mismatch({ stream, version, seq, kind: 'event', message: complaint });
      const after = fold.evolve(before, event);
      folded.state = after;
      return { fold, before, after };
    } catch (error) {
      folded.broken = true;
      const message = error instanceof Error ? error.message : 'the fold failed';
      this.mismatch({ stream, version, seq, kind: 'fold-failed', message });
      return null;
    }
  }

  result(): Replay {
    return {
      ok: this.mismatches.length === 0,
      events: this.events,
      streams: this.streams.size,
      streamsNotFolded: [...this.streams.values()].filter(({ fold }) => fold === null).length,
      mismatches: this.mismatches,
    };
  }
}

const EVENT_ROWS = `SELECT ${EVENT_COLUMNS} FROM ledger_event WHERE seq > $1 ORDER BY seq LIMIT $2`;
const STATE_ROWS =
  'SELECT stream, version, state FROM stream_head WHERE stream > $1 ORDER BY stream LIMIT $2';

/** Folds the live ledger (or one stream of it) and compares the outcome with what is stored. */
export async function replayLive<S>(
  pool: Pool,
  foldFor: FoldFor<S>,
  { stream }: { stream?: string } = {},
): Promise<Replay> {
  return inSnapshot(pool, async (read) => {
    const folder = new Folder(foldFor);
    for await (const event of events(read, stream)) folder.apply(event);
    await compareStates(folder, read, stream);
    return folder.result();
  });
}

async function* events(read: Read, stream: string | undefined): AsyncGenerator<RecordedEvent> {
  const only = stream === undefined ? '' : 'AND stream = $3';
  const sql = EVENT_ROWS.replace('ORDER BY', `${only} ORDER BY`);
  const rows = pages(
    (text, values = []) => read(text, stream === undefined ? values : [...values, stream]),
    sql,
    0,
    (row) => integer(row, 'seq'),
  );
  for await (const row of rows) yield recordedEvent(row);
}

async function compareStates<S>(folder: Folder<S>, read: Read, only: string | undefined): Promise<void> {
  const unseen = new Set(folder.streams.keys());
  for await (const row of pages(read, STATE_ROWS, '', (head) => text(head, 'stream'))) {
    const stream = text(row, 'stream');
    if (only !== undefined && stream !== only) continue;
    unseen.delete(stream);
    compareState(folder, stream, integer(row, 'version'), text(row, 'state'));
  }
  for (const stream of unseen) {
    const version = folder.streams.get(stream)?.version ?? 0;
    folder.mismatch({ stream, version, seq: null, kind: 'state', message: 'has events and no stored state' });
  }
}

function compareState<S>(folder: Folder<S>, stream: string, version: number, stored: string): void {
  const message = difference(folder.streams.get(stream), version, stored);
  if (message !== null) folder.mismatch({ stream, version, seq: null, kind: 'state', message });
}

function difference<S>(folded: Folded<S> | undefined, version: number, stored: string): string | null {
  if (folded === undefined) return 'has a stored state and no events';
  if (folded.version !== version) {
    return `is stored at version ${version} and has events up to ${folded.version}`;
  }
  // A broken fold has been reported; there is no state to compare.
  if (folded.fold === null || folded.broken || folded.state === null) return null;
  const same = canonicalJson(folded.fold.toJson(folded.state)) === stored;
  return same ? null : 'has a stored state that is not what its events lead to';
}

/**
 * Folds an export. It carries no states to compare, but every event can be checked against the state before it.
 * Not the verifier: run that first, this one believes the bytes.
 */
export async function replayLines<S>(lines: AsyncIterable<string>, foldFor: FoldFor<S>): Promise<Replay> {
  const folder = new Folder(foldFor);
  let line = 0;
  let seq = 0;
  for await (const content of lines) {
    line += 1;
    if (content.startsWith('{"signedHead"')) continue;
    seq += 1;
    const parsed = parseCanonical(content);
    const read = parsed.ok ? readEnvelope(parsed.value) : parsed;
    if (read.ok) {
      folder.apply({ seq, ...read.envelope, hash: leafHash(content).toString('hex') });
    } else {
      folder.mismatch({
        stream: '',
        version: 0,
        seq,
        kind: 'unreadable',
        message: `line ${line} ${read.message}`,
      });
    }
  }
  return folder.result();
}
