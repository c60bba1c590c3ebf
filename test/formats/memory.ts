/**
 * What a reader needs of memory: `npm run formats:memory -- [--mib 1024] [--method deflate|zstd|stored]`.
 *
 * Writes a .eval log of about this size, reads it in a process of its own with a heap of 64 MiB, and prints the process's peak beside the
 * file's size. Exits 1 where the log is not read as what it is, or the peak is over MOST_MIB, whatever the size.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { z } from 'zod';
import { inspectFormat } from '../../src/evaluators/formats/inspect.ts';
import { openLog } from '../../src/evaluators/formats/log-source.ts';
import { inspectEntries } from '../support/inspect-log.ts';
import { type ZipEntry, type ZipMethod, zipParts } from '../support/zip-writer.ts';

export const MOST_MIB = 256;
const MEBIBYTE = 1024 * 1024;
const EVENTS_BYTES = 8 * MEBIBYTE;

const FoundSchema = z.strictObject({
  status: z.string(),
  logged: z.number(),
  accuracy: z.unknown(),
  expandedMib: z.number(),
  peakMib: z.number(),
  seconds: z.number(),
});
export type Found = z.infer<typeof FoundSchema> & { fileMib: number };

/** A log of about so many mebibytes, read in a process of its own. */
export async function measure(mib: number, method: ZipMethod): Promise<Found> {
  const directory = mkdtempSync(path.join(tmpdir(), 'interlock-memory-'));
  try {
    const file = path.join(directory, 'large.eval');
    const expandedMib = write(file, mib * MEBIBYTE, method);
    const { stdout } = await promisify(execFile)(process.execPath, [
      '--max-old-space-size=64',
      ...['--import', 'tsx', fileURLToPath(import.meta.url), '--read', file],
    ]);
    const found = FoundSchema.parse({ ...z.looseObject({}).parse(JSON.parse(stdout)), expandedMib });
    return { ...found, fileMib: Math.round(statSync(file).size / MEBIBYTE) };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** Samples whose events are noise in hexadecimal, until the file is as large as it should be. Returns what it expands to, in MiB. */
function write(file: string, bytes: number, method: ZipMethod): number {
  let written = 0;
  let expanded = 0;
  const handle = openSync(file, 'w');
  const count = Math.max(1, Math.ceil(bytes / (method === 'deflate' ? EVENTS_BYTES / 1.75 : EVENTS_BYTES)));
  const samples = Array.from({ length: count }, (_, id) => ({
    id,
    scores: { match: id % 4 === 0 ? 'I' : 'C' },
  }));
  const noise = randomBytes(EVENTS_BYTES / 2).toString('hex');
  function* entries(): Generator<ZipEntry> {
    for (const entry of inspectEntries({ samples }, { method })) {
      const content = String(entry.content);
      const filled = entry.name.startsWith('samples/')
        ? content.replace('"events":[]', `"events":["${noise}"]`)
        : content;
      expanded += filled.length;
      yield { ...entry, content: filled };
    }
  }
  for (const part of zipParts(entries())) written += writeSync(handle, part);
  closeSync(handle);
  if (written < bytes / 2) throw new Error(`wrote ${written} bytes instead of ${bytes}`);
  return Math.round(expanded / MEBIBYTE);
}

async function readHere(file: string): Promise<void> {
  const source = await openLog(file);
  if (source === null) throw new Error(`${file}: cannot be opened`);
  const began = performance.now();
  const result = await inspectFormat.read(source, { scores: {} });
  await source.close();
  if (!result.ok) throw new Error(`${result.problem}: ${result.detail}`);
  const { log } = result;
  console.log(
    JSON.stringify({
      status: log.status,
      logged: log.samples.logged,
      accuracy: log.metrics[0]?.value,
      peakMib: Math.round(process.resourceUsage().maxRSS / 1024),
      seconds: Math.round((performance.now() - began) / 100) / 10,
    }),
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      mib: { type: 'string', default: '1024' },
      method: { type: 'string', default: 'deflate' },
      read: { type: 'string' },
    },
  });
  if (values.read !== undefined) return readHere(values.read);
  const found = await measure(Number(values.mib), z.enum(['stored', 'deflate', 'zstd']).parse(values.method));
  console.log(
    `${values.method}: file ${found.fileMib} MiB, expanded ${found.expandedMib} MiB, ${found.logged} samples, ` +
      `${found.seconds} s, peak ${found.peakMib} MiB with a heap of 64 MiB (bound ${MOST_MIB} MiB)`,
  );
  process.exitCode = found.status === 'success' && found.peakMib <= MOST_MIB ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
