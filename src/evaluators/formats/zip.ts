/**
 * A zip archive as a log: its directory is checked as a whole before anything is expanded, members come as streams and are checked as they end.
 *
 * Refused, because no harness writes it and every trick needs it: members that overlap (one kernel of data expanded a million
 * times), members whose own header names something else, encryption, links, several disks, bytes between the directory and its end
 * record, a stated size that is out of all proportion, content that is not of the stated size and CRC-32.
 * A name may occur twice, the last one counts: a log is rewritten by appending. Names are labels here and no paths: nothing is written.
 * Libraries for this read past most of these (local headers, CRC-32, the directory's extent) and know no method 93, which is zstd.
 * Without a readable directory there is no log: writers write it with every flush, so that it lacks only in half a copy.
 */
import { crc32, createInflateRaw, inflateRawSync } from 'node:zlib';
import type { ReadLimits } from './format.ts';
import { LogFault } from './log-fault.ts';
import type { LogSource } from './log-source.ts';
import { decompressZstd } from './zstd.ts';

export interface ZipMember {
  readonly name: string;
  readonly method: number;
  readonly crc: number;
  readonly compressedBytes: number;
  readonly expandedBytes: number;
  /** Of its local header. */
  readonly offset: number;
}

export const ZIP_METHODS: ReadonlyMap<number, string> = new Map([
  [0, 'stored'],
  [8, 'deflate'],
  [93, 'zstd'],
]);

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const END_64 = 0x06064b50;
const LOCATOR_64 = 0x07064b50;
const END_BYTES = 22;
const END_64_BYTES = 56;
const LOCATOR_64_BYTES = 20;
const CENTRAL_BYTES = 46;
const LOCAL_BYTES = 30;
const COMMENT_MOST = 65_535;
const MEBIBYTE = 1024 * 1024;
const CHUNK_BYTES = 256 * 1024;
/** Expanded in one go: a stream per member would cost more than the member. */
const SMALL_BYTES = 64 * 1024;

const damaged = (what: string): LogFault => new LogFault('log-unreadable', `damaged archive: ${what}`);

/** Members by name, in the order of the directory. */
export async function readZipDirectory(
  source: LogSource,
  limits: ReadLimits,
): Promise<Map<string, ZipMember>> {
  const { offset, length, count } = await findDirectory(source);
  if (length > limits.documentBytes)
    throw new LogFault('log-too-large', `an archive directory of over ${limits.documentBytes} bytes`);
  if (count * CENTRAL_BYTES > length) throw damaged('more members than its directory has room for');
  const directory = view(await source.read(offset, length));
  const members = new Map<string, ZipMember>();
  const extents: [number, number][] = [];
  let at = 0;
  for (let read = 0; read < count; read += 1) {
    const { member, next, headerBytes } = readEntry(directory, at);
    at = next;
    extents.push([member.offset, member.offset + headerBytes + member.compressedBytes]);
    // Again at the end, where the last one of its name stands.
    members.delete(member.name);
    members.set(member.name, member);
  }
  if (at !== length) throw damaged('bytes in its directory that belong to no member');
  checkExtents(extents, offset);
  checkSizes(members, limits);
  return members;
}

interface Directory {
  readonly offset: number;
  readonly length: number;
  readonly count: number;
}

async function findDirectory(source: LogSource): Promise<Directory> {
  const tailBytes = Math.min(source.size, END_BYTES + COMMENT_MOST);
  const tailAt = source.size - tailBytes;
  const tail = view(await source.read(tailAt, tailBytes));
  for (let at = tail.byteLength - END_BYTES; at >= 0; at -= 1) {
    if (tail.getUint32(at, true) !== END) continue;
    // A comment that holds this mark, too, gives two readings of one file.
    if (tail.getUint16(at + 20, true) !== tail.byteLength - at - END_BYTES)
      throw damaged('bytes after its end');
    return directoryOf(source, tail, at, tailAt + at);
  }
  const head = view(await source.read(0, 4));
  if (head.byteLength === 4 && head.getUint32(0, true) === LOCAL)
    throw new LogFault('log-truncated', 'archive has no readable central directory (file truncated)');
  throw damaged('no archive');
}

async function directoryOf(source: LogSource, tail: DataView, at: number, endAt: number): Promise<Directory> {
  const disks = [tail.getUint16(at + 4, true), tail.getUint16(at + 6, true)];
  let count = tail.getUint16(at + 10, true);
  let length = tail.getUint32(at + 12, true);
  let offset = tail.getUint32(at + 16, true);
  let directoryEnd = endAt;
  const locatorAt = endAt - LOCATOR_64_BYTES;
  const locator = locatorAt < 0 ? null : view(await source.read(locatorAt, LOCATOR_64_BYTES));
  if (locator !== null && locator.getUint32(0, true) === LOCATOR_64) {
    const recordAt = big(locator, 8);
    if (recordAt + END_64_BYTES !== locatorAt) throw damaged('an end record at an odd place');
    const record = view(await source.read(recordAt, END_64_BYTES));
    if (record.getUint32(0, true) !== END_64) throw damaged('an end record at an odd place');
    disks.push(record.getUint32(16, true), record.getUint32(20, true));
    count = big(record, 32);
    length = big(record, 40);
    offset = big(record, 48);
    directoryEnd = recordAt;
  } else if (tail.getUint16(at + 8, true) !== count) throw damaged('several disks');
  if (disks.some((disk) => disk !== 0 && disk !== 0xffff)) throw damaged('several disks');
  if (offset + length !== directoryEnd) throw damaged('its directory is not where its end record says');
  return { offset, length, count };
}

function readEntry(
  directory: DataView,
  at: number,
): { member: ZipMember; next: number; headerBytes: number } {
  if (at + CENTRAL_BYTES > directory.byteLength || directory.getUint32(at, true) !== CENTRAL)
    throw damaged('its directory');
  const flags = directory.getUint16(at + 8, true);
  const nameBytes = directory.getUint16(at + 28, true);
  const extraBytes = directory.getUint16(at + 30, true);
  const next = at + CENTRAL_BYTES + nameBytes + extraBytes + directory.getUint16(at + 32, true);
  if (next > directory.byteLength) throw damaged('its directory');
  // Bits 0, 6 and 13: encrypted members, strongly encrypted ones, an encrypted directory.
  if ((flags & 0x2041) !== 0) throw damaged('an encrypted member');
  const isUnix = directory.getUint16(at + 4, true) >> 8 === 3;
  if (isUnix && ((directory.getUint32(at + 38, true) >>> 16) & 0xf000) === 0xa000)
    throw damaged('a link as a member');
  const name = text(directory, at + CENTRAL_BYTES, nameBytes);
  const large = zip64Of(directory, at + CENTRAL_BYTES + nameBytes, extraBytes);
  const sized = (where: number): number => {
    const value = directory.getUint32(where, true);
    return value === 0xffffffff ? large() : value;
  };
  const expandedBytes = sized(at + 24);
  const compressedBytes = sized(at + 20);
  const offset = sized(at + 42);
  return {
    member: {
      name,
      method: directory.getUint16(at + 10, true),
      crc: directory.getUint32(at + 16, true),
      compressedBytes,
      expandedBytes,
      offset,
    },
    next,
    headerBytes: LOCAL_BYTES + nameBytes,
  };
}

/** The 64-bit sizes of a member in the order in which they are needed. */
function zip64Of(directory: DataView, at: number, length: number): () => number {
  let from = -1;
  let end = -1;
  for (let field = at; field + 4 <= at + length; ) {
    const size = directory.getUint16(field + 2, true);
    if (field + 4 + size > at + length) throw damaged('an extra field');
    if (directory.getUint16(field, true) === 1 && from < 0) {
      from = field + 4;
      end = from + size;
    }
    field += 4 + size;
  }
  return () => {
    if (from < 0 || from + 8 > end) throw damaged('a size that is not stated');
    from += 8;
    return big(directory, from - 8);
  };
}

/** No byte belongs to two members, and none of the directory to one. */
function checkExtents(extents: [number, number][], directoryAt: number): void {
  extents.sort(([a], [b]) => a - b);
  let free = 0;
  for (const [from, to] of extents) {
    if (from < free) throw new LogFault('log-bomb', 'members that overlap');
    free = to;
  }
  if (free > directoryAt) throw damaged('a member that runs into its directory');
}

function checkSizes(members: ReadonlyMap<string, ZipMember>, limits: ReadLimits): void {
  let expanded = 0;
  for (const member of members.values()) {
    expanded += member.expandedBytes;
    if (member.expandedBytes > MEBIBYTE + member.compressedBytes * limits.expansion)
      throw new LogFault('log-bomb', `a member that expands over ${limits.expansion} times`);
  }
  if (expanded > limits.expandedBytes)
    throw new LogFault('log-too-large', `expands to over ${limits.expandedBytes} bytes`);
}

/** The member's content. Only when this has come to its end is it known to be what the archive states. */
export async function* openZipMember(source: LogSource, member: ZipMember): AsyncGenerator<Uint8Array> {
  let crc = 0;
  let length = 0;
  for await (const chunk of expanded(source, member, await dataOf(source, member))) {
    length += chunk.length;
    if (length > member.expandedBytes) throw damaged('more content than it states');
    crc = crc32(chunk, crc);
    yield chunk;
  }
  if (length !== member.expandedBytes) throw damaged('less content than it states');
  if (crc !== member.crc) throw damaged('content that does not have the stated CRC-32');
}

/** Where its data begins, behind a local header that says the same as the directory. */
async function dataOf(source: LogSource, member: ZipMember): Promise<number> {
  const header = view(await source.read(member.offset, LOCAL_BYTES));
  if (header.byteLength !== LOCAL_BYTES || header.getUint32(0, true) !== LOCAL)
    throw damaged('no member where its directory names one');
  const nameBytes = header.getUint16(26, true);
  const name = view(await source.read(member.offset + LOCAL_BYTES, nameBytes));
  if (text(name, 0, name.byteLength) !== member.name || header.getUint16(8, true) !== member.method)
    throw damaged('a member that says another thing than its directory');
  return member.offset + LOCAL_BYTES + nameBytes + header.getUint16(28, true);
}

async function* expanded(source: LogSource, member: ZipMember, at: number): AsyncGenerator<Uint8Array> {
  switch (member.method) {
    case 0:
      yield* raw(source, at, member.compressedBytes);
      return;
    case 8:
      yield* inflated(source, member, at);
      return;
    case 93:
      try {
        yield* decompressZstd(raw(source, at, member.compressedBytes));
      } catch (error) {
        // The archive is complete: what ends in the middle inside of it was damaged.
        if (error instanceof LogFault && error.problem === 'log-truncated') throw damaged(error.detail);
        throw error;
      }
      return;
    default:
      throw damaged('a compression method that no log has');
  }
}

async function* inflated(source: LogSource, member: ZipMember, at: number): AsyncGenerator<Uint8Array> {
  if (member.compressedBytes <= SMALL_BYTES && member.expandedBytes <= MEBIBYTE) {
    const bytes = await source.read(at, member.compressedBytes);
    const whole = inflateSmall(bytes, member.expandedBytes);
    if (whole.length > 0) yield whole;
    return;
  }
  const inflate = createInflateRaw({ chunkSize: CHUNK_BYTES });
  const fed = feed(inflate, raw(source, at, member.compressedBytes));
  try {
    for await (const chunk of inflate) yield chunk;
    await fed;
    if (inflate.bytesWritten !== member.compressedBytes) throw damaged('bytes after its content');
  } catch (error) {
    throw error instanceof LogFault ? error : damaged('broken deflate');
  } finally {
    inflate.destroy();
    await fed.catch(() => undefined);
  }
}

function inflateSmall(bytes: Uint8Array, expandedBytes: number): Uint8Array {
  let result: unknown;
  try {
    result = inflateRawSync(bytes, { maxOutputLength: expandedBytes + 1, info: true });
  } catch {
    throw damaged('broken deflate');
  }
  // `info` adds the engine, which its types do not know of.
  if (
    typeof result === 'object' &&
    result !== null &&
    'buffer' in result &&
    result.buffer instanceof Uint8Array &&
    'engine' in result &&
    typeof result.engine === 'object' &&
    result.engine !== null &&
    'bytesWritten' in result.engine &&
    result.engine.bytesWritten === bytes.length
  )
    return result.buffer;
  throw damaged('bytes after its content');
}

/** Writes everything into the stream as it takes it; a stream that is gone takes nothing any more. */
async function feed(
  inflate: ReturnType<typeof createInflateRaw>,
  chunks: AsyncIterable<Uint8Array>,
): Promise<void> {
  try {
    for await (const chunk of chunks) {
      if (inflate.destroyed) return;
      if (!inflate.write(chunk)) await drained(inflate);
    }
    inflate.end();
  } catch (error) {
    inflate.destroy(error instanceof Error ? error : new Error('not read'));
  }
}

function drained(inflate: ReturnType<typeof createInflateRaw>): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      inflate.off('drain', done);
      inflate.off('close', done);
      resolve();
    };
    inflate.on('drain', done);
    inflate.on('close', done);
  });
}

async function* raw(source: LogSource, at: number, length: number): AsyncGenerator<Uint8Array> {
  for (let from = at; from < at + length; ) {
    const chunk = await source.read(from, Math.min(CHUNK_BYTES, at + length - from));
    if (chunk.length === 0) throw damaged('a member beyond its end');
    from += chunk.length;
    yield chunk;
  }
}

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Names are UTF-8 or what older writers had; only ASCII ones mean anything to a reader, so that one decoding serves. */
const text = (bytes: DataView, at: number, length: number): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset + at, length).toString('latin1');

function big(bytes: DataView, at: number): number {
  const value = bytes.getBigUint64(at, true);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged('a size beyond all sizes');
  return Number(value);
}
