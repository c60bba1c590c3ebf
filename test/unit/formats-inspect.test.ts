import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type HarnessLog, HarnessLogSchema } from '../../src/domain/harness-log.ts';
import { READ_LIMITS, type ReadOptions } from '../../src/evaluators/formats/format.ts';
import { inspectFormat, inspectFormatWithin } from '../../src/evaluators/formats/inspect.ts';
import { scoreToNumber } from '../../src/evaluators/formats/inspect-samples.ts';
import { logOfBytes, openLog } from '../../src/evaluators/formats/log-source.ts';
import {
  FOUR_SAMPLES,
  type InspectLogSpec,
  inspectEntries,
  inspectEval,
  inspectJson,
  pythonJson,
} from '../support/inspect-log.ts';
import { zipOf } from '../support/zip-writer.ts';

async function read(bytes: Uint8Array, options: ReadOptions = {}): Promise<HarnessLog> {
  const result = await inspectFormat.read(logOfBytes(bytes, 'a.eval'), options);
  if (!result.ok) throw new Error(`${result.problem}: ${result.detail}`);
  return HarnessLogSchema.parse(result.log);
}

async function problem(bytes: Uint8Array, limits = READ_LIMITS): Promise<string> {
  const result = await inspectFormatWithin(limits).read(logOfBytes(bytes, 'a.eval'), {});
  return result.ok ? `read as ${result.log.status}` : `${result.problem}: ${result.detail}`;
}

/** Both forms of the same log. */
const forms = (spec: InspectLogSpec): [string, Buffer][] => [
  ['.json', inspectJson(spec)],
  ['.eval with deflate', inspectEval(spec)],
  ['.eval with zstd', inspectEval(spec, { method: 'zstd' })],
  ['.eval, stored', inspectEval(spec, { method: 'stored' })],
];

describe('a log of Inspect', () => {
  it.each(forms({ epochs: 1 }))('is read from %s', async (_form, bytes) => {
    const log = await read(bytes, { scores: {} });
    expect(log).toMatchObject({
      harness: 'inspect_ai',
      harnessVersion: '0.3.210',
      status: 'success',
      task: 'popularity',
      taskVersion: '0',
      model: 'openai/gpt-4o-mini',
      revision: 'abc1234',
      dataset: 'questions',
      samples: { total: 4, completed: 4, scored: 4, errored: 0, refused: 0, logged: 4 },
      metrics: [{ scorer: 'match', name: 'accuracy', value: 0.75, stderr: 0.25, n: 4 }],
      error: null,
    });
    expect(log.sampleScores).toEqual([
      {
        scorer: 'match',
        name: null,
        scores: [1, 1, 0, 1].map((value, sample) => ({ value, sample, epoch: 1 })),
      },
    ]);
    expect(log.facts['disagreements']).toBeUndefined();
  });

  it('without its format version, which people cut out, is read: Inspect itself reads it', async () => {
    const { version, ...rest } = JSON.parse(inspectJson({ epochs: 1 }).toString());
    expect(version).toBe(2);
    const log = await read(Buffer.from(JSON.stringify(rest)), { scores: {} });
    expect(log).toMatchObject({
      status: 'success',
      facts: { log_version: null },
      metrics: [{ value: 0.75 }],
    });
    expect(await problem(Buffer.from(JSON.stringify({ version: null, ...rest })))).toMatch(/version: /);
  });

  it('is of the same protocol in either form, at another time, by another model, and not with other settings', async () => {
    const spec: InspectLogSpec = { config: { message_limit: 30 } };
    const protocol = async (bytes: Buffer) => JSON.stringify((await read(bytes)).protocol);
    const one = await protocol(inspectJson(spec));
    expect(await protocol(inspectEval({ ...spec, model: 'other', created: '2026-12-01', runId: 'r2' }))).toBe(
      one,
    );
    expect(await protocol(inspectEval({ ...spec, config: { message_limit: 31 } }))).not.toBe(one);
    expect(await protocol(inspectEval({ ...spec, epochs: 5 }))).not.toBe(one);
    expect(await protocol(inspectEval({ ...spec, taskVersion: 1 }))).not.toBe(one);
    expect(await protocol(inspectEval({ ...spec, inspectVersion: '0.3.211' }))).not.toBe(one);
  });

  it.each(
    forms({
      samples: [
        { id: 1, scores: { a: Number.NaN } },
        { id: 2, scores: { a: null } },
        { id: 3, scores: { a: undefined } },
        { id: 4, scores: { a: 0.5 } },
        { id: 5 },
      ],
      scores: [{ name: 'a', metrics: { mean: Number.NaN, stderr: Number.POSITIVE_INFINITY, weird: null } }],
    }),
  )('keeps NaN, Infinity and null what they are, and counts what has no score: %s', async (_form, bytes) => {
    const log = await read(bytes, { scores: {} });
    expect(log.metrics.map(({ name, value, stderr }) => [name, value, stderr])).toEqual([
      ['mean', 'NaN', 'Infinity'],
      ['weird', null, null],
    ]);
    expect(log.samples).toMatchObject({ total: 5, completed: 5, scored: 1 });
    expect(log.sampleScores[0]?.scores.map(({ value }) => value)).toEqual([null, null, null, 0.5, null]);
  });

  it.each(
    forms({
      samples: [
        { id: 'a', scores: { m: 'C' }, error: 'broke' },
        { id: 'b', scores: { m: 'C' }, refused: true },
        { id: 'c', scores: { m: 'C' }, limit: 'token' },
      ],
    }),
  )(
    'counts errors, refusals and limits of samples, and says that a success has errors: %s',
    async (_form, bytes) => {
      const log = await read(bytes);
      expect(log.samples).toEqual({ total: 3, completed: 2, scored: 2, errored: 1, refused: 1, logged: 3 });
      expect(log.facts).toMatchObject({
        sample_errors: 1,
        sample_limits: 1,
        disagreements: ['success-with-sample-errors'],
      });
    },
  );

  it('has one value per sample, epoch, scorer and key, with clusters numbered as they appear', async () => {
    const samples = ['x', 'y'].flatMap((id) =>
      [1, 2].map((epoch) => ({
        id,
        epoch,
        scores: { graded: { left: epoch - 1, right: id === 'x' ? true : 'no' }, plain: 'P' },
        metadata: { 'group.of': id === 'x' ? 'secret label' : 7 },
      })),
    );
    const log = await read(inspectEval({ samples, epochs: 2 }), { scores: { cluster: 'group.of' } });
    expect(
      log.sampleScores.map(({ scorer, name, scores }) => [scorer, name, scores.map(({ value }) => value)]),
    ).toEqual([
      ['graded', 'left', [0, 1, 0, 1]],
      ['graded', 'right', [1, 1, 0, 0]],
      ['plain', null, [0.5, 0.5, 0.5, 0.5]],
    ]);
    expect(log.sampleScores[0]?.scores.map(({ sample, epoch, cluster }) => [sample, epoch, cluster])).toEqual(
      [
        [0, 1, 0],
        [0, 2, 0],
        [1, 1, 1],
        [1, 2, 1],
      ],
    );
    expect(JSON.stringify(log)).not.toContain('secret label');
  });

  it('attaches a standard error to what it is of, and nothing else', async () => {
    const metrics = {
      mean: 1,
      accuracy: 0.5,
      stderr: 0.1,
      f1: 0.2,
      f1_stderr: 0.3,
      strict_acc: 0.4,
      strict_stderr: 0.6,
      lone_stderr: 0.7,
      std: 0.8,
    };
    const log = await read(inspectJson({ scores: [{ name: 's', metrics }] }));
    expect(log.metrics.map(({ name, value, stderr }) => [name, value, stderr])).toEqual([
      ['mean', 1, null],
      ['accuracy', 0.5, 0.1],
      ['f1', 0.2, 0.3],
      ['strict_acc', 0.4, 0.6],
      ['lone_stderr', 0.7, null],
      ['std', 0.8, null],
    ]);
  });

  it.each<[string, InspectLogSpec, string[]]>([
    ['says 79 and holds 4', { total: 79, completed: 79 }, ['fewer-samples-logged-than-completed']],
    ['completed none and has a score', { completed: 0 }, ['metrics-without-completed-samples']],
    ['broke off and has a score', { status: 'cancelled' }, ['results-without-success']],
    ['succeeded without results', { scores: null }, ['success-without-results']],
    ['succeeded with an error', { error: 'out of memory' }, ['success-with-an-error']],
    [
      'holds more than was planned',
      { total: 2, completed: 2, scores: [] },
      ['more-samples-logged-than-planned'],
    ],
  ])('that %s is read as it is, with what disagrees named', async (_what, spec, expected) => {
    for (const [, bytes] of forms(spec)) {
      const log = await read(bytes);
      expect(log.status).toBe(spec.status ?? 'success');
      expect(log.facts['disagreements']).toEqual(expected);
    }
  });

  it('does not count as scored or not refused what is not in the file', async () => {
    const spec = { total: 79, completed: 79, scores: [{ name: 'match', metrics: { accuracy: 1 } }] };
    expect((await read(inspectJson(spec))).samples).toMatchObject({ scored: null, refused: null, logged: 4 });
  });

  it('counts a sample once that occurs twice', async () => {
    const samples = [...FOUR_SAMPLES, ...FOUR_SAMPLES];
    const log = await read(inspectJson({ samples, total: 4, completed: 4 }), { scores: {} });
    expect(log.samples.logged).toBe(4);
    expect(log.sampleScores[0]?.scores).toHaveLength(4);
    expect(log.facts['disagreements']).toContain('samples-under-one-id');
  });
});

describe('an unfinished log of Inspect', () => {
  it.each(['deflate', 'zstd'] as const)('has no header and is read as started (%s)', async (method) => {
    const log = await read(inspectEval({}, { method, unfinished: true }));
    expect(log).toMatchObject({
      status: 'started',
      metrics: [],
      samples: { total: 4, completed: 4, scored: 4, logged: 4 },
      facts: { header_missing: true, zip_compression: method },
    });
  });

  it('is no success wherever it is cut off', async () => {
    for (const [form, bytes] of forms({})) {
      for (let cut = 0; cut < bytes.length; cut += 1 + Math.floor(bytes.length / 97)) {
        expect([form, cut, await problem(bytes.subarray(0, cut))]).not.toEqual([
          form,
          cut,
          'read as success',
        ]);
      }
    }
  });
});

describe('an archive', () => {
  const header = (changes: Record<string, unknown>): string => {
    const entry = inspectEntries().find(({ name }) => name === 'header.json');
    return pythonJson({ ...z.looseObject({}).parse(JSON.parse(String(entry?.content))), ...changes });
  };

  it('may have a name twice: the last one counts', async () => {
    const also = [{ name: 'header.json', content: header({ status: 'error' }) }];
    expect((await read(inspectEval({}, { also }))).status).toBe('error');
  });

  it('of another run than its journal is refused', async () => {
    const entries = inspectEntries({ runId: 'other' }).slice(0, 1);
    expect(await problem(inspectEval({}, { also: entries }))).toMatch(/^log-unreadable: .*different runs/);
  });

  it.each([
    ['a sample', 'samples/2_epoch_1.json'],
    ['every sample', 'samples/'],
  ])('says so when it lacks %s that its summaries tell of', async (_, prefix) => {
    const entries = inspectEntries({}).filter(({ name }) => !name.startsWith(prefix));
    const log = await read(zipOf(entries));
    expect(log.facts['disagreements']).toContain('summaries-of-other-samples');
  });

  it('of an epoch beyond all counting is refused', async () => {
    const samples = [{ id: 1, epoch: 1e300, scores: { match: 'C' } }];
    expect(await problem(inspectEval({ samples }))).toMatch(/^log-unreadable: .*epoch/);
  });

  it('says so when summaries are of other samples than it holds', async () => {
    const also = [{ name: 'summaries.json', content: '[{"id":9,"epoch":1,"error":"x"}]' }];
    const log = await read(inspectEval({}, { also }));
    expect(log.facts['disagreements']).toContain('summaries-of-other-samples');
    expect(log.samples).toMatchObject({ refused: null, errored: 1 });
  });

  it('may have samples in parts, with metadata apart', async () => {
    const entries = inspectEntries({ samples: [{ id: 'a/b', scores: { match: 'C' } }] }).map((entry) =>
      entry.name === 'samples/a/b_epoch_1.json'
        ? { ...entry, name: 'samples/a/b_epoch_1/sample.json' }
        : entry,
    );
    entries.push(
      { name: 'samples/a/b_epoch_1/metadata.json', content: '{"topic":"t"}' },
      { name: 'samples/a/b_epoch_1/events/0.json', content: '[]' },
    );
    const log = await read(zipOf(entries), { scores: { cluster: 'topic' } });
    expect(log.samples).toMatchObject({ logged: 1, scored: 1, refused: 0 });
    expect(log.sampleScores[0]?.scores).toEqual([{ value: 1, sample: 0, epoch: 1, cluster: 0 }]);
  });

  it.each([
    [
      'without header and journal',
      [{ name: 'samples/1_epoch_1.json', content: '{}' }],
      /neither header.json nor/,
    ],
    [
      'whose header is cut off',
      [{ name: 'header.json', content: '{"version":2,"sta' }],
      /ends in the middle/,
    ],
    ['of an unknown version', [{ name: 'header.json', content: header({ version: 4 }) }], /format version 4/],
    ['of an unknown status', [{ name: 'header.json', content: header({ status: 'fine' }) }], /status: /],
    [
      'whose score is text',
      [
        {
          name: 'header.json',
          content: header({ results: { total_samples: 1, completed_samples: 1, scores: 'C' } }),
        },
      ],
      /results: /,
    ],
  ])('%s is refused', async (_what, entries, expected) => {
    expect(await problem(zipOf(entries))).toMatch(expected);
  });

  it('of more samples than the bound is refused', async () => {
    expect(await problem(inspectEval(), { ...READ_LIMITS, samples: 3 })).toMatch(
      /^log-too-large: over 3 samples/,
    );
  });
});

describe('a log of the wrong shape', () => {
  const changed = (changes: Record<string, unknown>): Buffer =>
    Buffer.from(pythonJson({ ...z.looseObject({}).parse(JSON.parse(inspectJson().toString())), ...changes }));

  it.each([
    ['samples that are no list', changed({ samples: { a: { id: 1, epoch: 1 } } }), /samples: not a list/],
    ['samples that are text', changed({ samples: 'x' }), /samples: not a list/],
    ['a sample that is none', changed({ samples: [1] }), /a sample: not an object/],
    [
      'scores that are no object',
      changed({ samples: [{ id: 1, epoch: 1, scores: [{ value: 'C' }] }] }),
      /scores of a sample: not an object/,
    ],
    [
      'a task that is no text',
      Buffer.from(inspectJson().toString().replace('"popularity"', 'NaN')),
      /eval: /,
    ],
    [
      'a member among its samples that is none',
      inspectEval({}, { also: [{ name: 'samples/1_\npoch_1.json', content: '{}' }] }),
      /among the samples/,
    ],
    [
      'summaries that are no list',
      inspectEval({}, { also: [{ name: 'summaries.json', content: '{"a":{"id":1,"epoch":1}}' }] }),
      /samples: not a list/,
    ],
  ])('with %s is refused', async (_what, bytes, expected) => {
    expect(await problem(bytes)).toMatch(expected);
  });
});

describe('what a score is worth', () => {
  it.each([
    ['C', 1],
    ['P', 0.5],
    ['I', 0],
    ['N', 0],
    ['Yes', 1],
    ['FALSE', 0],
    ['0.25', 0.25],
    [' 1e2 ', 100],
    [true, 1],
    [-3.5, -3.5],
    ['c', null],
    ['NaN', null],
    ['0x10', null],
    ['', null],
    ['perhaps', null],
    [[1, 2], null],
    [null, null],
  ])('%j is %j', (value, expected) => {
    expect(scoreToNumber(value)).toBe(expected);
  });
});

const DATA = process.env['INTERLOCK_EVAL_LOGS'] ?? '../shared/data/eval-logs';
const hasData = existsSync(path.join(DATA, 'expected.json'));
const ExpectedSchema = z.record(
  z.string(),
  z.looseObject({ format: z.string(), metrics: z.array(z.looseObject({})).default([]) }),
);
const expected = hasData
  ? ExpectedSchema.parse(JSON.parse(readFileSync(path.join(DATA, 'expected.json'), 'utf8')))
  : {};
const genuine = Object.entries(expected).filter(([file]) => file.startsWith('inspect/'));

describe.skipIf(!hasData)(
  'genuine logs (skipped without the development set: INTERLOCK_EVAL_LOGS names its directory)',
  () => {
    it.each(genuine)('%s gives every fact', async (file, facts) => {
      const source = await openLog(path.join(DATA, file));
      if (source === null) throw new Error(`${file}: not there`);
      const result = await inspectFormat.read(source, { scores: {} });
      await source.close();
      if (facts['status'] === 'unreadable' || facts.format === 'not-an-eval-log') {
        expect(result).toMatchObject({ ok: false });
        return;
      }
      if (!result.ok) throw new Error(`${result.problem}: ${result.detail}`);
      const log = HarnessLogSchema.parse(result.log);
      const {
        format,
        metrics,
        samples_total,
        samples_completed,
        source: _source,
        status,
        task,
        model,
        created,
        error,
        ...extras
      } = facts;
      expect(log).toMatchObject({ format, status, task, model, created, error });
      expect(log.samples).toMatchObject({ total: samples_total, completed: samples_completed });
      expect(
        log.metrics.map(({ facts: own, scorer, name, value, stderr }) => ({
          ...own,
          scorer,
          name,
          value,
          stderr,
        })),
      ).toEqual(metrics.map((metric) => expect.objectContaining(metric)));
      expect(log.facts).toMatchObject(extras);
    });
  },
);
