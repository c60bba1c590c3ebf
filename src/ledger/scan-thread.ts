/** A thread of block-scanners.ts: takes blocks, one after the other, and answers with what each of them shows. */
import { parentPort } from 'node:worker_threads';
import type { ScannedBlock } from './block-scanners.ts';
import { scanBlock } from './verify-block.ts';

parentPort?.on('message', (block: Uint8Array<ArrayBuffer>) => {
  const answer: ScannedBlock = { block, parts: scanBlock(block) };
  parentPort?.postMessage(answer, [block.buffer]);
});
