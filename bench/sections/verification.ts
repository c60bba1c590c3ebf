/**
 * Events per second of the offline verifier: one strict pass over an export (canonical form, chain, versions, times,
 * Merkle tree, signed head). The baseline reads the same lines, parses and hashes each, and checks nothing.
 *
 * The events are real ones, of runs that went through checkpoint, evaluations and verdict under the shipped policy,
 * sealed again and again under other run names until the file is long enough.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { canonicalJson } from '../../src/domain/canonical-json.ts';
import { eventId, GENESIS_HASH, sealEnvelope } from '../../src/ledger/envelope.ts';
import { splitLines } from '../../src/ledger/lines.ts';
import { CompactRange } from '../../src/ledger/merkle.ts';
import { type Figure, perSecond, type Section, type SectionContext } from '../figure.ts';
import type { Service } from '../stand.ts';
import { median, spread } from '../statistics.ts';

const TARGET = 100_000;
const SAMPLE_RUNS = 4;
const Reported = z.object({ evaluations: z.array(z.object({ evaluationId: z.string() })) });
const Page = z.object({
  items: z.array(
    z.object({
      stream: z.string(),
      kind: z.string(),
      actor: z.string(),
      recordedAt: z.string(),
      data: z.record(z.string(), z.json()),
    }),
  ),
  nextCursor: z.string().nullable(),
});
type Sample = z.infer<typeof Page>['items'];

async function run({ stand, quick, note }: SectionContext): Promise<Figure[]> {
  const [events, rounds] = quick ? [20_000, 2] : [400_000, 3];
  const service = await stand.service();
  const sample = await realEvents(service).finally(service.stop);
  const directory = await mkdtemp(join(tmpdir(), 'interlock-bench-'));
  try {
    note(`${events} events`);
    const file = join(directory, 'ledger.jsonl');
    const head = await writeExport(file, sample, events);
    const { size: bytes } = await stat(file);
    // As it is shipped: from the sources each of its threads would first have to learn TypeScript.
    const { verifyExportFile }: typeof import('../../src/ledger/verify-export.ts') = await import(
      await stand.builtModule('ledger/verify-export')
    );
    const seen: { ours: number; bare: number }[] = [];
    for (let round = 0; round <= rounds; round += 1) {
      const bare = await rate(events, () => readOnly(file));
      const ours = await rate(events, async () => {
        const { ok, problems } = await verifyExportFile(file, {
          verifyHeadJws: async () => head,
        });
        if (!ok) throw new Error(`the export does not verify: ${JSON.stringify(problems[0])}`);
      });
      if (round > 0) seen.push({ ours, bare });
    }
    const ours = median(seen.map((each) => each.ours));
    return [
      {
        name: `ledger verification, events of ${Math.round(bytes / events)} bytes / parse and hash alone`,
        measured: perSecond(ours),
        baseline: perSecond(median(seen.map((each) => each.bare))),
        ratio: spread(seen.map((each) => each.ours / each.bare)),
        target: `>= ${TARGET} /s`,
        met: ours >= TARGET,
        details: { seen, bytes },
      },
    ];
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function rate(events: number, pass: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await pass();
  return events / ((performance.now() - startedMs) / 1000);
}

async function readOnly(file: string): Promise<void> {
  for await (const line of splitLines(createReadStream(file))) {
    if (line.kind === 'too-long') continue;
    createHash('sha256').update(line.bytes).digest();
    JSON.parse(Buffer.from(line.bytes).toString('utf8'));
  }
}

async function realEvents(service: Service): Promise<Sample> {
  for (let i = 0; i < SAMPLE_RUNS; i += 1) {
    const runId = `sample-${i}`;
    const targets = [{ kind: 'webhook', url: 'http://127.0.0.1:9/halt' }];
    await service.post('/v1/runs', 'trainer', { runId, targets });
    for (const [checkpointId, effectiveCompute] of [
      ['c1', '1e21'],
      ['c2', '2e21'],
      ['c3', '4e21'],
    ]) {
      const checkpoint = { runId, checkpointId, effectiveCompute, modelUri: `s3://weights/${checkpointId}` };
      const { evaluations } = Reported.parse(await service.post('/v1/checkpoints', 'trainer', checkpoint));
      for (const { evaluationId } of evaluations) {
        const result = { status: 'success', score: 0.05, n: 400 };
        await service.post(`/v1/evaluations/${evaluationId}/result?attempt=1`, 'evaluator', result);
      }
    }
  }
  const all: Sample = [];
  for (let cursor = ''; ; ) {
    const page = Page.parse(await service.get(`/v1/ledger?limit=200${cursor}`, 'auditor'));
    all.push(...page.items);
    if (page.nextCursor === null) return all.filter(({ stream }) => stream.startsWith('run-'));
    cursor = `&after=${page.nextCursor}`;
  }
}

/** Returns what a signed head of it would say. */
async function writeExport(
  path: string,
  sample: Sample,
  events: number,
): Promise<{ size: number; root: string; hash: string }> {
  const file = await open(path, 'w', 0o600);
  const tree = new CompactRange();
  const versions = new Map<string, number>();
  const prepared = sample.map((each) => ({ ...each, dataJson: canonicalJson(each.data) }));
  let prevHash = GENESIS_HASH;
  let lines: string[] = [];
  for (let i = 0; i < events; i += 1) {
    const from = prepared[i % prepared.length];
    if (from === undefined) throw new Error('the sample is empty');
    const stream = `${from.stream}-${Math.floor(i / prepared.length)}`;
    const version = (versions.get(stream) ?? 0) + 1;
    versions.set(stream, version);
    const { text, leaf } = sealEnvelope({
      actor: from.actor,
      dataJson: from.dataJson,
      id: eventId(stream, version),
      kind: from.kind,
      prevHash,
      recordedAt: '2026-11-01T00:00:00.000Z',
      stream,
      version,
    });
    tree.append(leaf);
    prevHash = leaf.toString('hex');
    lines.push(text);
    if (lines.length < 1_000) continue;
    await file.write(`${lines.join('\n')}\n`);
    lines = [];
  }
  lines.push('{"signedHead":"aGVhZA.aGVhZA.aGVhZA"}');
  await file.write(`${lines.join('\n')}\n`);
  await file.close();
  return { size: tree.size, root: tree.root().toString('hex'), hash: prevHash };
}

export const verification: Section = { name: 'verification', title: 'Ledger verification, offline', run };
