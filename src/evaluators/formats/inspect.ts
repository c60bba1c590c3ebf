/**
 * Logs of Inspect (the UK AI Security Institute's harness): .json and .eval, format versions 1 to 3, and the companions beside them.
 *
 * What the two forms hold is in inspect-header.ts and inspect-samples.ts; what a log becomes, in inspect-log.ts. Told apart by content.
 */
import { createHash } from 'node:crypto';
import {
  type HarnessFormat,
  READ_LIMITS,
  type ReadLimits,
  type ReadLog,
  type ReadOptions,
} from './format.ts';
import { readArchive } from './inspect-archive.ts';
import { readListing, readManifest } from './inspect-companions.ts';
import { HeaderCollector } from './inspect-header.ts';
import { toHarnessLog } from './inspect-log.ts';
import { SampleCollector } from './inspect-samples.ts';
import { ANY, JsonScanner, selectJson } from './json-select.ts';
import { parseHarnessJson } from './json-text.ts';
import { faultsAsProblems, LogFault } from './log-fault.ts';
import { digestOfLog, type LogSource } from './log-source.ts';

/** With other bounds, for tests. */
export function inspectFormatWithin(limits: ReadLimits): HarnessFormat {
  return {
    name: 'inspect',
    kinds: Object.values(KINDS),
    kind: ({ fileName, head }) => KINDS[kindOf(head, fileName) ?? 'log'],
    claims: ({ fileName, head }) => kindOf(head, fileName) !== null,
    read: (source, options) => faultsAsProblems(() => read(source, options, limits)),
  };
}

type Kind = 'archive' | 'log' | 'manifest' | 'listing';

/** As `format` of a log. */
const KINDS = {
  archive: 'inspect-eval-zip',
  log: 'inspect-json',
  manifest: 'inspect-eval-set-manifest',
  listing: 'inspect-logs-listing',
} as const satisfies Record<Kind, string>;

export const inspectFormat: HarnessFormat = inspectFormatWithin(READ_LIMITS);

const HEAD_BYTES = 65_536;

async function read(source: LogSource, options: ReadOptions, limits: ReadLimits): Promise<ReadLog> {
  if (source.size === 0) throw new LogFault('log-empty', 'no bytes');
  const head = await source.read(0, HEAD_BYTES);
  switch (kindOf(head, source.fileName)) {
    case 'archive':
      return readEval(source, options, limits);
    case 'log':
      return readJson(source, options, limits);
    case 'manifest':
      return { ok: true, log: readManifest(...(await whole(source, limits))) };
    case 'listing':
      return { ok: true, log: readListing(...(await whole(source, limits))) };
    case null:
      throw new LogFault('format-unknown', 'neither an Inspect log nor a companion of one');
  }
}

async function readEval(source: LogSource, options: ReadOptions, limits: ReadLimits): Promise<ReadLog> {
  const { header, samples, facts } = await readArchive(source, options, limits);
  const fileDigest = await digestOfLog(source);
  return logOf('inspect-eval-zip', header, samples, fileDigest, facts, options);
}

async function readJson(source: LogSource, options: ReadOptions, limits: ReadLimits): Promise<ReadLog> {
  const header = new HeaderCollector();
  const samples = new SampleCollector(limits, options.scores);
  const hash = createHash('sha256');
  async function* hashed(): AsyncGenerator<Uint8Array> {
    for await (const chunk of source.stream()) {
      hash.update(chunk);
      yield chunk;
    }
  }
  await selectJson(hashed(), [...header.selections(), ...samples.listSelections(['samples'])], {
    valueBytes: limits.documentBytes,
  });
  return logOf('inspect-json', header.header(), samples, hash.digest('hex'), {}, options);
}

function logOf(
  format: string,
  header: ReturnType<HeaderCollector['header']>,
  samples: SampleCollector,
  fileDigest: string,
  facts: Record<string, string | boolean>,
  options: ReadOptions,
): ReadLog {
  const only = header.results?.scores[0]?.name ?? null;
  return {
    ok: true,
    log: toHarnessLog({
      format,
      header,
      counts: samples.counts(),
      summariesAgree: samples.summariesAgree,
      sampleScores: options.scores === undefined ? [] : samples.sampleScores(only),
      fileDigest,
      facts,
    }),
  };
}

async function whole(
  source: LogSource,
  limits: ReadLimits,
): Promise<[document: ReturnType<typeof parseHarnessJson>, fileDigest: string]> {
  if (source.size > limits.documentBytes)
    throw new LogFault('log-too-large', `a document of over ${limits.documentBytes} bytes`);
  const bytes = await source.read(0, source.size);
  return [parseHarnessJson(bytes, limits.documentBytes), createHash('sha256').update(bytes).digest('hex')];
}

const MEMBERS = ['header.json', 'summaries.json', 'reductions.json', '_journal/', 'samples/'];
const LOG_NAMES = ['version', 'status', 'eval'];

function kindOf(head: Uint8Array, fileName: string): Kind | null {
  if (head[0] === 0x50 && head[1] === 0x4b) return isArchive(head, fileName) ? 'archive' : null;
  const outline = outlineOf(head);
  if (outline === null) return null;
  if (outline.has('eval') && (outline.has('version') || outline.has('status'))) return 'log';
  if (outline.has('eval_set_id') && outline.has('tasks')) return 'manifest';
  const [first] = outline.keys();
  const inside = first === undefined ? undefined : outline.get(first);
  const isListing = first !== undefined && /\.(?:eval|json)$/.test(first) && inside !== undefined;
  return isListing && LOG_NAMES.every((name) => inside.has(name)) ? 'listing' : null;
}

/** By the first member's own header; one that was put in front by somebody else leaves the file's name. */
function isArchive(head: Uint8Array, fileName: string): boolean {
  const name = Buffer.from(head.subarray(30, 30 + 64)).toString('latin1');
  return MEMBERS.some((member) => name.startsWith(member)) || fileName.endsWith('.eval');
}

/** Names of the two outer levels, as far as the head goes; null where it is no JSON object. */
function outlineOf(head: Uint8Array): Map<string, Set<string>> | null {
  const outline = new Map<string, Set<string>>();
  let isObject = false;
  const scanner = new JsonScanner(
    [
      { path: [], onStart: (kind) => (isObject = kind === 'object') },
      { path: [ANY], onStart: (_kind, [name]) => outline.set(String(name), new Set()) },
      { path: [ANY, ANY], onStart: (_kind, [name, inner]) => outline.get(String(name))?.add(String(inner)) },
    ],
    { valueBytes: 0 },
  );
  try {
    scanner.write(head);
  } catch (error) {
    // What comes before the fault is looked at all the same: reading the whole will tell what is wrong.
    if (!(error instanceof LogFault)) throw error;
  }
  return isObject ? outline : null;
}
