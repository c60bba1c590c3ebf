/**
 * Where a reader reads from: a regular file, or bytes that are in memory already. Random access and streams, never the whole.
 *
 * A harness wrote the file and a model may have had a hand in it: links are not followed and nothing but a regular file is opened.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import path from 'node:path';

export interface LogSource {
  readonly fileName: string;
  /** Bytes. */
  readonly size: number;
  /** Shorter only at the end. */
  read(offset: number, length: number): Promise<Uint8Array>;
  stream(from?: number): AsyncIterable<Uint8Array>;
  /** A file of the same directory, by its bare name; null where there is none. */
  sibling(fileName: string): Promise<LogSource | null>;
  close(): Promise<void>;
}

const CHUNK_BYTES = 256 * 1024;

/** Null: there is no such file, or it is none that may be read. */
export async function openLog(file: string): Promise<LogSource | null> {
  let handle: FileHandle;
  try {
    handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return null;
  }
  const stat = await handle.stat();
  if (!stat.isFile()) {
    await handle.close();
    return null;
  }
  const { size } = stat;
  async function read(offset: number, length: number): Promise<Uint8Array> {
    const buffer = Buffer.allocUnsafe(Math.max(0, Math.min(length, size - offset)));
    let filled = 0;
    while (filled < buffer.length) {
      const { bytesRead } = await handle.read(buffer, filled, buffer.length - filled, offset + filled);
      if (bytesRead === 0) break; // cut short since it was opened
      filled += bytesRead;
    }
    return buffer.subarray(0, filled);
  }
  return {
    fileName: path.basename(file),
    size,
    read,
    stream: (from = 0) => chunks({ size, read }, from),
    sibling: (fileName) =>
      path.basename(fileName) === fileName
        ? openLog(path.join(path.dirname(file), fileName))
        : Promise.resolve(null),
    close: () => handle.close(),
  };
}

export function logOfBytes(
  bytes: Uint8Array,
  fileName: string,
  siblings: ReadonlyMap<string, Uint8Array> = new Map(),
): LogSource {
  const { byteLength: size } = bytes;
  const read = (offset: number, length: number): Promise<Uint8Array> =>
    Promise.resolve(bytes.subarray(offset, Math.min(size, offset + length)));
  return {
    fileName,
    size,
    read,
    stream: (from = 0) => chunks({ size, read }, from),
    sibling: (name) => {
      const found = siblings.get(name);
      return Promise.resolve(found === undefined ? null : logOfBytes(found, name, siblings));
    },
    close: () => Promise.resolve(),
  };
}

async function* chunks(
  { size, read }: Pick<LogSource, 'size' | 'read'>,
  from: number,
): AsyncGenerator<Uint8Array> {
  for (let at = from; at < size; ) {
    const chunk = await read(at, CHUNK_BYTES);
    if (chunk.byteLength === 0) return;
    at += chunk.byteLength;
    yield chunk;
  }
}

/** sha256 of all bytes, hexadecimal. */
export async function digestOfLog(source: LogSource): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of source.stream()) hash.update(chunk);
  return hash.digest('hex');
}
