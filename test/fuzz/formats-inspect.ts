/**
 * Fuzz target: logs of Inspect, .json and .eval.
 *
 * The oracle is another reader made of other parts: yauzl for the directory, zlib and fzstd for the members, JSON.parse for the documents. What
 * it cannot open, the reader must not have read as a success.
 */
import { inflateRawSync } from 'node:zlib';
import { decompress } from 'fzstd';
import { type Entry, fromBufferPromise, type ZipFile } from 'yauzl';
import { z } from 'zod';
import type { HarnessLog } from '../../src/domain/harness-log.ts';
import type { Random } from '../../src/domain/statistics/random.ts';
import { inspectFormat } from '../../src/evaluators/formats/inspect.ts';
import { type InspectLogSpec, inspectEval, inspectJson } from '../support/inspect-log.ts';
import { type ZipEntry, type ZipMethod, zipOf } from '../support/zip-writer.ts';
import { damageJson, type JsonNode, nodeOf, plainJson } from './damage.ts';
import type { FuzzSeed, FuzzTarget } from './engine.ts';

const SPECS: readonly InspectLogSpec[] = [
  {},
  { status: 'error', scores: null, error: 'broke', samples: [{ id: 1, error: 'broke' }, { id: 2 }] },
  {
    epochs: 2,
    samples: [1, 2].flatMap((id) => [1, 2].map((epoch) => ({ id, epoch, scores: { g: { a: 1, b: 'N' } } }))),
    scores: [
      {
        name: 'a',
        scorer: 'g',
        reducer: 'mean',
        scoredSamples: 2,
        metrics: { mean: 1, x_acc: 0.5, x_stderr: 0.1 },
      },
    ],
  },
  { scores: [{ name: 'match', metrics: { accuracy: Number.NaN, stderr: 0 } }], config: { limit: [0, 10] } },
];

export const SYNTHETIC: readonly FuzzSeed[] = [
  ...SPECS.map((spec, i) => ({ fileName: `synthetic-${i}.json`, bytes: inspectJson(spec) })),
  ...SPECS.flatMap((spec, i) =>
    (['deflate', 'zstd', 'stored'] as const).map((method) => ({
      fileName: `synthetic-${i}-${method}.eval`,
      bytes: inspectEval(spec, { method }),
    })),
  ),
  { fileName: 'synthetic-unfinished.eval', bytes: inspectEval({}, { unfinished: true }) },
];

export function inspectTarget(seeds: readonly FuzzSeed[]): FuzzTarget {
  const documents = new Map<FuzzSeed, JsonNode | Member[] | null>();
  return {
    format: inspectFormat,
    seeds,
    damage: (seed, random) => {
      const known = documents.get(seed);
      const document = known === undefined ? documentOf(seed.bytes) : known;
      documents.set(seed, document);
      if (document === null) return null;
      return Array.isArray(document)
        ? damageArchive(document, random)
        : Buffer.from(damageJson(document, random));
    },
    unsupported,
  };
}

interface Member {
  readonly name: string;
  readonly bytes: Buffer;
  readonly node: JsonNode | null;
}

function documentOf(bytes: Buffer): JsonNode | Member[] | null {
  if (bytes.subarray(0, 2).toString() !== 'PK') return jsonNode(bytes);
  const members = openArchive(bytes);
  return members?.map(({ name, content }) => ({ name, bytes: content, node: jsonNode(content) })) ?? null;
}

function jsonNode(bytes: Buffer): JsonNode | null {
  try {
    return nodeOf(plainJson(bytes.toString()));
  } catch {
    return null;
  }
}

const METHODS: readonly ZipMethod[] = ['stored', 'deflate', 'zstd'];

function damageArchive(members: readonly Member[], random: Random): Buffer {
  const method = random.pick(METHODS);
  const entries: ZipEntry[] = members.map(({ name, bytes }) => ({ name, content: bytes, method }));
  for (let times = 1 + random.below(2); times > 0; times -= 1) {
    // The header more often than its share.
    const wanted = random.chance(0.4) ? members.findIndex(({ name }) => name === 'header.json') : -1;
    const at = wanted >= 0 ? wanted : random.below(members.length);
    const member = members[at];
    const entry = entries[at];
    if (member === undefined || entry === undefined) continue;
    const content = member.node === null ? member.bytes : damageJson(member.node, random);
    switch (random.below(8)) {
      case 0:
        entries.splice(at, 1);
        break;
      case 1:
        entries.push({ ...entry, content });
        break;
      case 2:
        entries.unshift({ ...entry, content });
        break;
      case 3:
        entries[at] = { ...entry, name: random.pick(members).name };
        break;
      case 4:
        entries[at] = { ...entry, lies: lie(random) };
        break;
      default:
        entries[at] = { ...entry, content };
    }
  }
  return zipOf(entries);
}

function lie(random: Random): NonNullable<ZipEntry['lies']> {
  const size = random.pick([0, 1, 100, 65_536, 0x7fffffff, 0xfffffffe, 0xffffffff]);
  return random.pick([
    { method: random.pick([0, 8, 9, 14, 93, 95]) },
    { flags: random.pick([1, 8, 0x40, 0x800, 0x2000]) },
    { crc: size },
    { compressedBytes: size },
    { expandedBytes: size },
    { offset: size },
    { localName: 'header.json' },
    { madeBy: 3, externalAttributes: 0xa1ff0000 },
    { data: Buffer.alloc(random.below(100), random.below(256)) },
    { extra: Buffer.alloc(random.below(40), random.below(3)) },
  ]);
}

// The oracle.

/** Members that can be opened, in the directory's order; null where the archive cannot be. Sizes were checked by nobody. */
function openArchive(bytes: Buffer): { name: string; content: Buffer }[] | null {
  const end = bytes.lastIndexOf(Buffer.from('504b0506', 'hex'));
  if (end < 0 || end + 22 > bytes.length) return null;
  const found: { name: string; content: Buffer }[] = [];
  for (let at = bytes.readUInt32LE(end + 16); at < end && bytes.readUInt32LE(at) === 0x02014b50; ) {
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((field) => bytes.readUInt16LE(at + field));
    const name = bytes.toString('latin1', at + 46, at + 46 + (nameBytes ?? 0));
    const local = bytes.readUInt32LE(at + 42);
    const from = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    const data = bytes.subarray(from, from + bytes.readUInt32LE(at + 20));
    found.push({ name, content: unpacked(bytes.readUInt16LE(at + 10), data) });
    at += 46 + (nameBytes ?? 0) + (extraBytes ?? 0) + (commentBytes ?? 0);
  }
  return found;
}

function unpacked(method: number, data: Buffer): Buffer {
  if (method === 0) return data;
  return method === 8 ? inflateRawSync(data) : Buffer.from(decompress(data));
}

async function membersByYauzl(bytes: Buffer): Promise<Map<string, Buffer>> {
  const last = new Map<string, Entry>();
  const archive: ZipFile = await fromBufferPromise(bytes, {
    decodeStrings: false,
    validateEntrySizes: false,
  });
  for await (const entry of archive.eachEntry()) last.set(nameOf(entry), entry);
  const members = new Map<string, Buffer>();
  for (const [name, entry] of last) {
    // Beside a header and summaries, journal and reductions are not read: what is damaged there takes nothing away.
    if (/^(?:header\.json$|samples\/)/.test(name)) members.set(name, await contentOf(archive, entry));
  }
  return members;
}

/** Types of yauzl do not know that names come as bytes here. */
const nameOf = (entry: Entry): string => entry.fileNameRaw.toString('latin1');

async function contentOf(archive: ZipFile, entry: Entry): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of await archive.openReadStreamPromise(entry, { decodeFileData: false }))
    parts.push(z.instanceof(Buffer).parse(part));
  return unpacked(entry.compressionMethod, Buffer.concat(parts));
}

const DocumentSchema = z.looseObject({
  status: z.string(),
  // A bare Infinity reads as that word, wherever it stands.
  eval: z.looseObject({ task: z.coerce.string(), model: z.coerce.string() }),
  results: z
    .looseObject({
      total_samples: z.number(),
      completed_samples: z.number(),
      scores: z.array(
        z.looseObject({
          name: z.string(),
          reducer: z.string().nullish(),
          metrics: z.record(z.string(), z.looseObject({ value: z.unknown() })),
        }),
      ),
    })
    .nullish(),
  // What is no list holds no sample.
  samples: z.array(z.looseObject({})).nullish().catch(null),
});

async function unsupported(bytes: Buffer, log: HarnessLog): Promise<string | null> {
  if (log.status === null) return null;
  try {
    const isArchive = log.format === 'inspect-eval-zip';
    const members = isArchive ? await membersByYauzl(bytes) : null;
    const header = isArchive ? members?.get('header.json') : bytes;
    if (header === undefined)
      return log.status === 'started' && log.metrics.length === 0
        ? null
        : 'more than a start without a header';
    const samples =
      members === null
        ? null
        : [...members].flatMap(([name, content]) =>
            name.startsWith('samples/') && name.endsWith('.json') ? [plainJson(content.toString())] : [],
          );
    return differs(DocumentSchema.parse(plainJson(header.toString())), samples, log);
  } catch (error) {
    return `read as ${log.status} what another reader cannot open: ${String(error).slice(0, 200)}`;
  }
}

function differs(
  document: z.infer<typeof DocumentSchema>,
  members: readonly unknown[] | null,
  log: HarnessLog,
): string | null {
  const { results } = document;
  if (document.status !== log.status) return `status ${log.status}, in the file ${document.status}`;
  if (document.eval.task !== log.task || document.eval.model !== log.model) return 'another task or model';
  if (results !== null && results !== undefined) {
    if (log.samples.total !== results.total_samples) return 'another total';
    if (log.samples.completed !== results.completed_samples) return 'another number of completed samples';
  } else if (log.metrics.length > 0) return 'metrics without results';
  for (const metric of log.metrics) {
    const stands = results?.scores.some(
      (score) => score.name === metric.scorer && sameNumber(score.metrics[metric.name]?.value, metric.value),
    );
    if (stands !== true) return `a value of ${metric.scorer}/${metric.name} that is not in the file`;
  }
  const logged = distinct(members ?? document.samples ?? []);
  // Summaries may tell of more samples, which is named; of fewer they cannot.
  const disagreements = JSON.stringify(log.facts['disagreements'] ?? []);
  const more = disagreements.includes('summaries-of-other-samples');
  if (more ? (log.samples.logged ?? 0) < logged : log.samples.logged !== logged)
    return `${log.samples.logged} samples, in the file ${logged}`;
  return null;
}

/** Numbers that no double holds are what Python reads: infinite. */
function sameNumber(inFile: unknown, read: unknown): boolean {
  if (typeof inFile === 'number' && !Number.isFinite(inFile)) return read === String(inFile);
  return Object.is(inFile, read);
}

function distinct(samples: readonly unknown[]): number {
  const keys = samples.map((sample) => {
    const { id, epoch } = z.looseObject({ id: z.unknown(), epoch: z.unknown() }).parse(sample);
    return JSON.stringify([id, epoch]);
  });
  return new Set(keys).size;
}
