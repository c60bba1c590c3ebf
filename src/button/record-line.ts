/**
 * One record, one line, checked by itself: `<32 hex of its SHA-256> <JSON>\n`.
 *
 * All files of the red button are made of these. A line that was torn by a crash, by a full disk or by a reader that
 * came in the middle of a write is not a record; what stands before it is. Zero bytes are space that was set aside.
 */
import { createHash } from 'node:crypto';

const CHECK_LENGTH = 32;
const NEWLINE = 0x0a;

export function recordLine(record: object): Buffer {
  const json = JSON.stringify(record);
  return Buffer.from(`${checkOf(json)} ${json}\n`);
}

function checkOf(json: string): string {
  return createHash('sha256').update(json).digest('hex').slice(0, CHECK_LENGTH);
}

export interface RecordLines {
  /** Parsed JSON, not yet checked against a schema. */
  readonly records: unknown[];
  /** Bytes up to which everything was understood or given up. */
  readonly consumed: number;
  /** Whole lines that were no records. */
  readonly damaged: number;
}

/** Reads whole lines from the beginning of `bytes`; what is unfinished stays for the next time. */
export function readRecordLines(bytes: Buffer): RecordLines {
  const records: unknown[] = [];
  let damaged = 0;
  let at = 0;
  while (at < bytes.length && bytes[at] !== 0) {
    const end = bytes.indexOf(NEWLINE, at);
    if (end === -1) break;
    const record = parseLine(bytes.toString('utf8', at, end));
    if (record === undefined) damaged += 1;
    else records.push(record);
    at = end + 1;
  }
  return { records, consumed: at, damaged };
}

function parseLine(line: string): unknown {
  const json = line.slice(CHECK_LENGTH + 1);
  if (line[CHECK_LENGTH] !== ' ' || line.slice(0, CHECK_LENGTH) !== checkOf(json)) return undefined;
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
