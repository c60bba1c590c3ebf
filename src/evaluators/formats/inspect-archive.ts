/**
 * A .eval log: an archive with one member per sample, their summaries, and a header that is written last.
 *
 * Without `header.json` the run has not come to its end: what `_journal/start.json` says, status `started`, whatever else is there.
 * Samples are read whole although their summaries say nearly all of it: whether a model refused stands only there, and what
 * has not been read to its CRC-32 supports nothing. Memory is bounded by the largest single value that is held, not by the log.
 */
import type { ReadLimits, ReadOptions } from './format.ts';
import { HeaderCollector, type InspectHeader } from './inspect-header.ts';
import { SampleCollector } from './inspect-samples.ts';
import { type Selection, selectJson } from './json-select.ts';
import { LogFault } from './log-fault.ts';
import type { LogSource } from './log-source.ts';
import { openZipMember, readZipDirectory, ZIP_METHODS, type ZipMember } from './zip.ts';

export interface ArchiveParts {
  readonly header: InspectHeader;
  readonly samples: SampleCollector;
  readonly facts: Record<string, string | boolean>;
}

const HEADER = 'header.json';
const START = '_journal/start.json';
const SUMMARIES = 'summaries.json';
const JOURNAL = /^_journal\/summaries\/[0-9]+\.json$/;
const SAMPLE = /^samples\/.*_epoch_[^/]*\.json$/s;
const PART_OF_SAMPLE = /^samples\/.*_epoch_[0-9]+\/./s;
/** Of samples that are written in parts: this one has everything but events, messages and metadata. */
const SAMPLE_IN_PARTS = /^samples\/.*_epoch_[0-9]+\/sample\.json$/s;

export async function readArchive(
  source: LogSource,
  options: ReadOptions,
  limits: ReadLimits,
): Promise<ArchiveParts> {
  const members = await readZipDirectory(source, limits);
  const select = async (member: ZipMember, selections: Selection[], valueBytes: number): Promise<void> => {
    try {
      await selectJson(openZipMember(source, member), selections, { valueBytes });
    } catch (error) {
      // The archive is whole: a member that ends in the middle was never right.
      if (error instanceof LogFault && (error.problem === 'log-truncated' || error.problem === 'log-empty'))
        throw new LogFault('log-unreadable', `a member: ${error.detail}`);
      throw error;
    }
  };
  const header = await readHeader(members, (member, selections) =>
    select(member, selections, limits.documentBytes),
  );
  const samples = new SampleCollector(limits, options.scores);
  await readSamples(members, samples, (member, selections) => select(member, selections, limits.lineBytes));
  const method = members.get(HEADER)?.method ?? members.get(START)?.method;
  return {
    header,
    samples,
    facts: {
      zip_compression: (method === undefined ? undefined : ZIP_METHODS.get(method)) ?? 'unknown',
      ...(members.has(HEADER) ? {} : { header_missing: true }),
    },
  };
}

type Select = (member: ZipMember, selections: Selection[]) => Promise<void>;

async function readHeader(members: ReadonlyMap<string, ZipMember>, select: Select): Promise<InspectHeader> {
  const headerMember = members.get(HEADER);
  const startMember = members.get(START);
  const header = new HeaderCollector();
  if (headerMember !== undefined) await select(headerMember, header.selections());
  if (startMember === undefined) {
    if (headerMember === undefined)
      throw new LogFault('log-unreadable', `an archive with neither ${HEADER} nor ${START}`);
    return header.header();
  }
  const start = new HeaderCollector();
  await select(startMember, start.selections());
  const started = start.start();
  if (headerMember === undefined) return started;
  const finished = header.header();
  const [before, after] = [started.eval, finished.eval];
  if (
    before.task !== after.task ||
    before.model !== after.model ||
    (before.run_id ?? '') !== (after.run_id ?? '')
  )
    throw new LogFault('log-unreadable', `${HEADER} and ${START} are of different runs`);
  return finished;
}

async function readSamples(
  members: ReadonlyMap<string, ZipMember>,
  samples: SampleCollector,
  select: Select,
): Promise<void> {
  for (const member of members.values()) {
    if (!SAMPLE.test(member.name) && !SAMPLE_IN_PARTS.test(member.name)) {
      // Passed over, it would be a sample that nobody counts.
      if (member.name.startsWith('samples/') && !PART_OF_SAMPLE.test(member.name))
        throw new LogFault('log-unreadable', 'a member among the samples that is none');
      continue;
    }
    const metadata = members.get(member.name.replace(/\/sample\.json$/, '/metadata.json'));
    if (metadata !== undefined && metadata !== member) await select(metadata, samples.metadataSelections());
    await select(member, samples.selections([]));
  }
  const summaries = members.get(SUMMARIES);
  const journal = [...members.values()].filter(({ name }) => JOURNAL.test(name));
  const read = summaries === undefined ? journal : [summaries];
  if (read.length === 0) return;
  samples.beginSummaries();
  for (const member of read) await select(member, samples.listSelections([]));
}
