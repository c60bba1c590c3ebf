/**
 * The offline verifier: no database, no network, one public key (behind `verifyHeadJws`) and, at best, one old
 * head that was anchored where the operator cannot reach it.
 *
 * Input is an export: one line per event, exactly the bytes that were hashed, and lines `{"signedHead": JWS}` in
 * rising order, each somewhere after the events it covers. The verifier names the first bad entry and tells a
 * changed entry from a removed, moved or repeated one as far as the evidence goes: a chain alone shows that
 * something is wrong between two entries, the versions of the streams and the signed heads show what.
 *
 * What it cannot see: events after the newest signed head may have been rewritten along with the chain
 * (`unsignedEvents` counts them), and a tail cut together with every head that covers it looks like an older
 * export; `trustedHead` closes that gap.
 * Fails towards "not ok": what cannot be read or checked is a problem, and so is a ledger without a signed head.
 * Memory grows with the number of streams, not of events.
 */
import { isUtf8 } from 'node:buffer';
import type { Json } from '../domain/canonical-json.ts';
import type { ScannedBlock } from './block-scanners.ts';
import { type EventPlace, scanEnvelope } from './canonical-scan.ts';
import {
  type Envelope,
  eventId,
  GENESIS_HASH,
  isJsonObject,
  parseCanonical,
  readEnvelope,
} from './envelope.ts';
import { LeafWindow, stateOf, type TreeState } from './leaf-window.ts';
import { linesIn } from './lines.ts';
import { CompactRange, HASH_BYTES, leafHash } from './merkle.ts';
import type { Problem, ProblemCode, Verification, VerifyHeadJws, VerifyOptions } from './verification.ts';
import type { EventSpan } from './verify-block.ts';

export const PROBLEMS_MAX = 100;

/** A place where an entry does not name the entry before it. What it means shows later. */
interface Break {
  seq: number;
  line: number | null;
  wanted: string;
  explanation: 'moved' | 'repeated' | 'removed' | null;
}

interface Unread {
  code: 'unreadable' | 'not-canonical';
  message: string;
  value?: Json;
}

const BREAKS_MAX = 100;
const RECENT_MAX = 4_096;

export class LedgerVerifier {
  readonly #verifyHeadJws: VerifyHeadJws;
  readonly #requireSignedHead: boolean;
  #trusted: TreeState | null = null;
  #trustedMatches = false;

  readonly #tree = new CompactRange();
  readonly #window = new LeafWindow();
  readonly #streams = new Map<string, { version: number; seq: number }>();
  readonly #breaks: Break[] = [];
  #hash = GENESIS_HASH;
  #previousUnread = false;
  #recordedAt = '';

  #headSize = -1;
  #headsSeen = 0;
  #headsVerified = 0;
  #headsUnchecked = 0;
  #signedSize = 0;
  #mismatchTold = false;
  #beyond: { size: number; line: number | null; what: string } | null = null;

  readonly #problems: Problem[] = [];
  #problemsTotal = 0;

  private constructor({ verifyHeadJws, requireSignedHead = true }: VerifyOptions) {
    this.#verifyHeadJws = verifyHeadJws;
    this.#requireSignedHead = requireSignedHead;
  }

  static async create(options: VerifyOptions): Promise<LedgerVerifier> {
    const verifier = new LedgerVerifier(options);
    if (options.trustedHead !== undefined) await verifier.#trust(options.trustedHead);
    return verifier;
  }

  get events(): number {
    return this.#tree.size;
  }

  get streams(): ReadonlyMap<string, { version: number; seq: number }> {
    return this.#streams;
  }

  get head(): TreeState {
    return stateOf(this.#tree, this.#hash);
  }

  report(code: ProblemCode, seq: number | null, line: number | null, message: string): void {
    this.#problemsTotal += 1;
    if (this.#problems.length >= PROBLEMS_MAX) return;
    const where = seq === null ? (line === null ? '' : `line ${line} `) : `entry ${seq} `;
    this.#problems.push({ code, seq, line, message: `${where}${message}` });
  }

  /** Returns the number of the last line in it. */
  async block({ block, parts }: ScannedBlock, lineBefore: number): Promise<number> {
    let line = lineBefore;
    for (const part of parts) {
      if (part.kind === 'events' && this.#continues(part)) {
        this.#span(part);
        line += part.count;
        continue;
      }
      const lines =
        part.kind === 'line'
          ? [block.subarray(part.start, part.end)]
          : linesIn(block.subarray(part.start, part.end));
      for (const bytes of lines) {
        line += 1;
        const pending = this.line(bytes, line);
        if (pending !== undefined) await pending;
      }
    }
    return line;
  }

  /** Whether events that are sound among themselves are so as the next ones, and nothing has to be told of any. */
  #continues({ count, firstPrevHash, firstRecordedAt, streams }: EventSpan): boolean {
    const trustedAt = (this.#trusted?.size ?? 0) - this.events;
    return (
      firstPrevHash === this.#hash &&
      !this.#previousUnread &&
      // Each entry may be the one that an open break waits for.
      this.#breaks.length === 0 &&
      firstRecordedAt >= this.#recordedAt &&
      !(trustedAt >= 1 && trustedAt <= count) &&
      streams.every(
        ({ stream, firstVersion }) => firstVersion === (this.#streams.get(stream)?.version ?? 0) + 1,
      )
    );
  }

  #span({ leaves, lastRecordedAt, streams }: EventSpan): void {
    const before = this.events;
    for (const { stream, lastVersion, lastIndex } of streams) {
      this.#streams.set(stream, { version: lastVersion, seq: before + lastIndex + 1 });
    }
    for (let at = 0; at < leaves.length; at += HASH_BYTES) {
      // A copy of each: the tree keeps what it is given.
      const leaf = Buffer.from(leaves.subarray(at, at + HASH_BYTES));
      this.#tree.append(leaf);
      this.#window.push(leaf);
      if (at + HASH_BYTES === leaves.length) this.#hash = leaf.toString('hex');
    }
    this.#recordedAt = lastRecordedAt;
  }

  /** Something to wait for only where the line is a signed head. */
  line(content: string | Uint8Array, line: number): Promise<void> | undefined {
    const place = typeof content === 'string' ? null : scanEnvelope(content);
    if (place !== null) {
      this.#event(place, leafHash(content), line);
      return undefined;
    }
    const text = typeof content === 'string' ? content : decode(content);
    if (text === null) {
      this.#unreadEvent(content, line, { code: 'unreadable', message: 'is not UTF-8' });
      return undefined;
    }
    const parsed = parseCanonical(text);
    if (!parsed.ok) {
      // What was a head is told as a head, so that the count of entries stays right.
      if (text.startsWith('{"signedHead"')) this.report('head-unreadable', null, line, parsed.message);
      else this.#unreadEvent(content, line, parsed);
      return undefined;
    }
    const { value } = parsed;
    if (isJsonObject(value) && Object.hasOwn(value, 'signedHead')) {
      const jws = value['signedHead'];
      if (Object.keys(value).length === 1 && typeof jws === 'string') return this.signedHead(jws, line);
      this.report('head-unreadable', null, line, 'is not a signed head and nothing else');
      return undefined;
    }
    const read = readEnvelope(value);
    if (read.ok) this.#event(read.envelope, leafHash(content), line);
    else this.#unreadEvent(content, line, read);
    return undefined;
  }

  /** For a reader that knows an event when it sees one. Returns the envelope where it can be read. */
  event(text: string): Envelope | null {
    const parsed = parseCanonical(text);
    const read = parsed.ok ? readEnvelope(parsed.value) : parsed;
    if (!read.ok) {
      this.#unreadEvent(text, null, parsed.ok ? read : parsed);
      return null;
    }
    this.#event(read.envelope, leafHash(text), null);
    return read.envelope;
  }

  #unreadEvent(content: string | Uint8Array, line: number | null, { code, message, value }: Unread): void {
    const seq = this.events + 1;
    this.report(code, seq, line, message);
    // What can be understood although it is not written as it must be still has its place in its stream.
    const read = value === undefined ? null : readEnvelope(value);
    if (read?.ok) this.#event(read.envelope, leafHash(content), line);
    else {
      const leaf = leafHash(content);
      this.#add(leaf, leaf.toString('hex'));
    }
    // The next entry cannot name these bytes. It is not at fault.
    this.#previousUnread = true;
  }

  #event(envelope: EventPlace, leaf: Buffer, line: number | null): void {
    const seq = this.events + 1;
    const hash = leaf.toString('hex');
    this.#checkLink(envelope, hash, seq, line);
    this.#checkVersion(envelope, seq, line);
    if (envelope.id !== eventId(envelope.stream, envelope.version)) {
      this.report('id-mismatch', seq, line, 'has an id that is not that of its stream and version');
    }
    // Text compares as time does: one format, one zone.
    if (envelope.recordedAt < this.#recordedAt) {
      this.report('time-backwards', seq, line, `is recorded before the entry ahead of it`);
    }
    this.#recordedAt = envelope.recordedAt;
    this.#add(leaf, hash);
  }

  #checkLink({ prevHash }: EventPlace, hash: string, seq: number, line: number | null): void {
    const unread = this.#previousUnread;
    this.#previousUnread = false;
    if (prevHash === this.#hash || unread || this.#breaks.length >= BREAKS_MAX) return;
    const explanation = this.#isRecent(hash) ? 'repeated' : this.#isRecent(prevHash) ? 'moved' : null;
    this.#breaks.push({ seq, line, wanted: prevHash, explanation });
  }

  /** Of the latest entries: tells a moved entry from a changed one. */
  #isRecent(hash: string): boolean {
    return hash === GENESIS_HASH || this.#window.isAmongLast(RECENT_MAX, Buffer.from(hash, 'hex'));
  }

  #checkVersion({ stream, version }: EventPlace, seq: number, line: number | null): void {
    const last = this.#streams.get(stream) ?? { version: 0, seq: 0 };
    if (version > last.version + 1) {
      const missing = version - last.version - 1;
      this.report('version-gap', seq, line, `follows a gap: ${missing} earlier of its stream are missing`);
      for (const gap of this.#breaks) {
        if (gap.seq > last.seq && gap.seq <= seq) gap.explanation ??= 'removed';
      }
    } else if (version <= last.version) {
      this.report('version-repeated', seq, line, `has version ${version}, which its stream has had`);
    }
    if (version > last.version) this.#streams.set(stream, { version, seq });
  }

  #add(leaf: Buffer, hash: string): void {
    this.#hash = hash;
    this.#tree.append(leaf);
    this.#window.push(leaf);
    for (const gap of this.#breaks) if (gap.wanted === this.#hash) gap.explanation ??= 'moved';
    if (this.#trusted?.size === this.events) this.#checkTrusted(this.#trusted);
  }

  async signedHead(jws: string, line: number | null): Promise<void> {
    this.#headsSeen += 1;
    const claims = await this.#readHead(jws, line);
    if (claims === null) return;
    if (claims.size <= this.#headSize) {
      this.report(
        'head-order',
        null,
        line,
        `is a signed head of ${claims.size} entries after one of ${this.#headSize}`,
      );
      return;
    }
    this.#headSize = claims.size;
    if (claims.size > this.events) {
      this.#beyond = { size: claims.size, line, what: 'a signed head' };
      return;
    }
    const found = claims.size === this.events ? this.head : this.#window.stateAt(claims.size);
    if (found === null) {
      this.#headsUnchecked += 1;
    } else if (found.root === claims.root && found.hash === claims.hash) {
      this.#headsVerified += 1;
      this.#signedSize = claims.size;
    } else if (!this.#mismatchTold) {
      this.#mismatchTold = true;
      this.report('head-mismatch', claims.size === 0 ? null : claims.size, line, this.#mismatch(claims));
    }
  }

  #mismatch({ size }: TreeState): string {
    const since = this.#signedSize > 0 ? `after entry ${this.#signedSize}, where a signed head agrees, ` : '';
    return `is where a signed head disagrees: ${since}up to entry ${size} the ledger is not the one that was signed`;
  }

  async #readHead(jws: string, line: number | null): Promise<TreeState | null> {
    // A decoder that overlooks stray bits would let two different files pass as one.
    const parts = jws.split('.');
    if (
      parts.length !== 3 ||
      parts.some((part) => part === '' || Buffer.from(part, 'base64url').toString('base64url') !== part)
    ) {
      this.report('head-unreadable', null, line, 'holds no compact JWS');
      return null;
    }
    try {
      return await this.#verifyHeadJws(jws);
    } catch {
      this.report('head-signature', null, line, 'holds a head that none of the given keys has signed');
      return null;
    }
  }

  async #trust(jws: string): Promise<void> {
    try {
      this.#trusted = await this.#verifyHeadJws(jws);
    } catch {
      this.report('trusted-head-unreadable', null, null, 'the trusted head is not signed by a known key');
      return;
    }
    if (this.#trusted.size === 0) this.#checkTrusted(this.#trusted);
  }

  #checkTrusted({ size, root, hash }: TreeState): void {
    const found = this.head;
    this.#trustedMatches = found.root === root && found.hash === hash;
    if (this.#trustedMatches) {
      this.#signedSize = Math.max(this.#signedSize, size);
    } else {
      this.report(
        'trusted-head-mismatch',
        size,
        null,
        'is where the trusted head disagrees: history before it was rewritten',
      );
    }
  }

  finish(): Verification {
    if (this.#trusted !== null && this.#trusted.size > this.events) {
      const { size } = this.#trusted;
      if (size > (this.#beyond?.size ?? 0)) this.#beyond = { size, line: null, what: 'the trusted head' };
    }
    if (this.#beyond !== null) this.#reportMissing(this.#beyond);
    for (const gap of this.#breaks) this.#reportBreak(gap);
    const signed = this.#headsVerified > 0 || this.#trustedMatches;
    // A head that disagrees has been told already, and is worse.
    if (this.#requireSignedHead && !signed && !this.#mismatchTold) {
      const why = this.#headsSeen === 0 ? 'there is none' : 'none of them could be verified';
      this.report('no-signed-head', null, null, `no signed head covers this ledger: ${why}`);
    }
    return {
      ok: this.#problemsTotal === 0,
      events: this.events,
      head: this.head,
      headsVerified: this.#headsVerified,
      headsUnchecked: this.#headsUnchecked,
      unsignedEvents: this.events - this.#signedSize,
      problems: this.#problems.toSorted((a, b) => place(a) - place(b)),
      problemsTotal: this.#problemsTotal,
    };
  }

  #reportMissing({ size, line, what }: { size: number; line: number | null; what: string }): void {
    const missing = size - this.events;
    if (missing <= 0) {
      this.report('head-order', null, line, `is ${what} that stands before entries it covers`);
      return;
    }
    this.report(
      'entries-missing',
      null,
      line,
      `${what} covers ${size} entries, of which ${missing} are not here`,
    );
    // Only as many holes as can hold what is missing; for the rest a change is the smaller claim.
    let unexplained = missing;
    for (const gap of this.#breaks) {
      if (gap.explanation === null && unexplained > 0) {
        gap.explanation = 'removed';
        unexplained -= 1;
      }
    }
  }

  /** In a live database the entry itself may have shown it. */
  #reportOnce(code: ProblemCode, seq: number, line: number | null, message: string): void {
    const told = this.#problems.some((problem) => problem.code === code && problem.seq === seq);
    if (!told) this.report(code, seq, line, message);
  }

  #reportBreak({ seq, line, explanation }: Break): void {
    if (explanation === 'repeated') {
      this.report('entry-repeated', seq, line, 'stands here a second time');
    } else if (explanation === 'moved') {
      this.report(
        'entry-moved',
        seq,
        line,
        'does not stand behind the entry it follows: entries changed places',
      );
    } else if (explanation === 'removed' || seq === 1) {
      const before = seq === 1 ? 'at the beginning' : `between entries ${seq - 1} and ${seq}`;
      this.#reportOnce(
        'entry-removed',
        seq,
        line,
        `does not follow the one before it: entries ${before} were removed`,
      );
    } else {
      const previousLine = line === null ? null : line - 1;
      this.#reportOnce(
        'entry-changed',
        seq - 1,
        previousLine,
        `is not what entry ${seq} follows: it was changed or replaced`,
      );
    }
  }
}

/** A byte order mark stays where it is, and is found. */
function decode(bytes: Uint8Array): string | null {
  if (!isUtf8(bytes)) return null;
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}

/** What concerns the whole ledger comes last. */
const place = ({ line, seq }: Problem): number => line ?? seq ?? Number.POSITIVE_INFINITY;
