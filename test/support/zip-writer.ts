/**
 * Archives for tests, honest or not: every field of a member can be overridden, for what a hostile writer would put there.
 *
 * zstd members are frames of raw and repeated blocks, which need no compressor; genuine ones are in the development set.
 */
import { crc32, deflateRawSync } from 'node:zlib';

export type ZipMethod = 'stored' | 'deflate' | 'zstd';

export interface ZipEntry {
  readonly name: string;
  readonly content: Uint8Array | string;
  readonly method?: ZipMethod;
  /** What the archive says instead of the truth. */
  readonly lies?: Partial<{
    method: number;
    flags: number;
    crc: number;
    compressedBytes: number;
    expandedBytes: number;
    offset: number;
    madeBy: number;
    externalAttributes: number;
    localName: string;
    data: Uint8Array;
    extra: Uint8Array;
  }>;
}

const METHODS = { stored: 0, deflate: 8, zstd: 93 } as const;

export const zipOf = (entries: readonly ZipEntry[], comment = ''): Buffer =>
  Buffer.concat([...zipParts(entries, comment)]);

/** The same piece by piece, for archives that are larger than memory. */
export function* zipParts(entries: Iterable<ZipEntry>, comment = ''): Generator<Buffer> {
  const directory: Buffer[] = [];
  let at = 0;
  for (const { name, content, method = 'deflate', lies = {} } of entries) {
    const bytes = Buffer.from(content);
    const data = Buffer.from(lies.data ?? compress(bytes, method));
    const field = {
      flags: lies.flags ?? 0,
      method: lies.method ?? METHODS[method],
      crc: lies.crc ?? crc32(bytes),
      compressed: lies.compressedBytes ?? data.length,
      expanded: lies.expandedBytes ?? bytes.length,
    };
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(field.flags, 2);
    common.writeUInt16LE(field.method, 4);
    common.writeUInt32LE(field.crc, 10);
    common.writeUInt32LE(field.compressed, 14);
    common.writeUInt32LE(field.expanded, 18);
    const localName = Buffer.from(lies.localName ?? name);
    const local = Buffer.concat([signature(0x04034b50), common, localName]);
    local.writeUInt16LE(localName.length, 26);
    const extra = Buffer.from(lies.extra ?? []);
    const central = Buffer.concat([
      signature(0x02014b50),
      Buffer.from([20, lies.madeBy ?? 0]),
      common,
      Buffer.alloc(14),
      Buffer.from(name),
      extra,
    ]);
    central.writeUInt16LE(Buffer.byteLength(name), 28);
    central.writeUInt16LE(extra.length, 30);
    central.writeUInt32LE(lies.externalAttributes ?? 0, 38);
    central.writeUInt32LE(lies.offset ?? at, 42);
    yield local;
    yield data;
    directory.push(central);
    at += local.length + data.length;
  }
  const directoryBytes = Buffer.concat(directory);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(directory.length, 4);
  end.writeUInt16LE(directory.length, 6);
  end.writeUInt32LE(directoryBytes.length, 8);
  end.writeUInt32LE(at, 12);
  end.writeUInt16LE(comment.length, 16);
  yield directoryBytes;
  yield signature(0x06054b50);
  yield end;
  yield Buffer.from(comment, 'latin1');
}

function signature(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function compress(bytes: Buffer, method: ZipMethod): Buffer {
  switch (method) {
    case 'stored':
      return bytes;
    case 'deflate':
      return deflateRawSync(bytes);
    case 'zstd':
      return zstdFrames(bytes);
  }
}

/** A window of 128 KiB, so that a block may have that much. */
const FRAME_HEADER = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, (17 - 10) << 3]);
const BLOCK_BYTES = 128 * 1024;

/** One frame for every `frameBytes` of content, of raw blocks; runs of one byte become repeated blocks. */
export function zstdFrames(content: Uint8Array, frameBytes = 1024 * 1024): Buffer {
  const parts: Buffer[] = [];
  for (let from = 0; from === 0 || from < content.length; from += frameBytes) {
    parts.push(FRAME_HEADER);
    const frame = content.subarray(from, from + frameBytes);
    for (let at = 0; at === 0 || at < frame.length; at += BLOCK_BYTES) {
      const block = frame.subarray(at, at + BLOCK_BYTES);
      const isRun = block.length > 1 && block.every((byte) => byte === block[0]);
      const last = at + BLOCK_BYTES >= frame.length;
      parts.push(zstdBlock(isRun ? 1 : 0, block.length, isRun ? block.subarray(0, 1) : block, last));
    }
  }
  return Buffer.concat(parts);
}

export function zstdBlock(type: number, size: number, body: Uint8Array, last: boolean): Buffer {
  const header = Buffer.alloc(3);
  header.writeUIntLE((size << 3) | (type << 1) | (last ? 1 : 0), 0, 3);
  return Buffer.concat([header, body]);
}
