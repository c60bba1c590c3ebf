/**
 * The offline verifier over an export: a file, its bytes in pieces, or its lines.
 *
 * Blocks of whole lines are looked at side by side (block-scanners.ts) and put to the verifier in their order. What is
 * wrong with the file itself (cut, a line without end) is told with its line, as everything else is.
 */
import { createReadStream } from 'node:fs';
import { type BlockScanners, createBlockScanners, type ScannedBlock } from './block-scanners.ts';
import { type LineBlock, lineBlocks } from './lines.ts';
import type { Verification, VerifyOptions } from './verification.ts';
import { LedgerVerifier } from './verify.ts';

/** A block for a thread: much smaller ones would be handed about for longer than they are looked at. */
const READ_BYTES = 256 * 1024;

/** `lines` without their line feeds. Use `verifyExport` for a file: it also sees an unfinished last line. */
export async function verifyLedger(
  lines: AsyncIterable<string | Uint8Array>,
  options: VerifyOptions,
): Promise<Verification> {
  const verifier = await LedgerVerifier.create(options);
  let line = 0;
  for await (const content of lines) {
    line += 1;
    await verifier.line(content, line);
  }
  return verifier.finish();
}

export function verifyExportFile(path: string, options: VerifyOptions): Promise<Verification> {
  return verifyExport(createReadStream(path, { highWaterMark: READ_BYTES }), options);
}

/** `scanners` are closed at the end. */
export async function verifyExport(
  chunks: AsyncIterable<Uint8Array>,
  options: VerifyOptions,
  scanners: BlockScanners = createBlockScanners(),
): Promise<Verification> {
  try {
    return await verifyBlocks(lineBlocks(chunks), options, scanners);
  } finally {
    await scanners.close();
  }
}

async function verifyBlocks(
  blocks: AsyncIterable<LineBlock>,
  options: VerifyOptions,
  scanners: BlockScanners,
): Promise<Verification> {
  const verifier = await LedgerVerifier.create(options);
  const underWay: Promise<ScannedBlock>[] = [];
  let line = 0;
  const settle = async (left: number): Promise<void> => {
    while (underWay.length > left) {
      const next = await underWay.shift();
      if (next !== undefined) line = await verifier.block(next, line);
    }
  };
  for await (const block of blocks) {
    if (block.kind === 'lines') {
      const scanned = scanners.scan(block.bytes);
      // Heard by `settle`, when it comes to it.
      scanned.catch(() => undefined);
      underWay.push(scanned);
      await settle(scanners.underWayMax - 1);
      continue;
    }
    await settle(0);
    line += 1;
    if (block.kind === 'too-long') {
      verifier.report('unreadable', null, line, 'is too long to be an entry; nothing after it was read');
    } else {
      await verifier.line(block.bytes, line);
      verifier.report('unterminated', null, line, 'ends without a line feed: the file was cut');
    }
  }
  await settle(0);
  return verifier.finish();
}
