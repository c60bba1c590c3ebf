/** Never a pass by accident: from a harness's log to a reading, one row per way in which a log may say nothing. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson, type JsonObject } from '../../../src/domain/canonical-json.ts';
import { type HarnessLog, HarnessLogSchema } from '../../../src/domain/harness-log.ts';
import { chooseMetric, resultOfLog } from '../../../src/domain/harness-result.ts';
import { parseNativeResult } from '../../../src/domain/native-result.ts';
import { EvaluationSchema } from '../../../src/domain/policy/evaluation-schema.ts';
import { type ReadingContext, readResult, type ScoreDefinition } from '../../../src/domain/read-result.ts';
import { REASON_CODES, WAIVABLE } from '../../../src/domain/reasons.ts';
import { asJson, digest, evaluation } from './run-life.ts';
import { rows } from './table.ts';

const spec = EvaluationSchema.parse(evaluation('ctf', 'cyber'));

/** A good log: 100 samples of one epoch, 30 succeed. */
function logOf(changes: JsonObject = {}): HarnessLog {
  return HarnessLogSchema.parse({
    format: 'inspect-json',
    harness: 'inspect',
    harnessVersion: '0.3.205',
    status: 'success',
    task: 'inspect_evals/ctf',
    taskVersion: null,
    model: 'openai/local-1',
    revision: null,
    modelBaseUrl: 'https://serve.example/v1',
    dataset: null,
    created: '2026-11-01T02:00:00+00:00',
    startedAt: '2026-11-01T02:00:00+00:00',
    completedAt: '2026-11-01T02:10:00+00:00',
    epochs: 1,
    limits: {},
    metrics: [{ scorer: 'match', name: 'accuracy', value: 0.3, stderr: 0.046, n: 100 }],
    samples: { total: 100, completed: 100, scored: 100, errored: 0, refused: 0, logged: 100 },
    error: null,
    fileDigest: digest('log'),
    facts: {},
    protocol: { task: 'ctf', temperature: 0 },
    sampleScores: [],
    ...changes,
  });
}

const metric = (changes: JsonObject = {}): JsonObject => ({
  scorer: 'match',
  name: 'accuracy',
  value: 0.3,
  stderr: 0.046,
  n: 100,
  ...changes,
});
const samples = (changes: JsonObject): JsonObject => ({
  samples: { total: 100, completed: 100, scored: 100, errored: 0, refused: 0, logged: 100, ...changes },
});
/** One value per sample, epochs in turn. */
const scores = (values: (number | null)[], epochs = 1, more: JsonObject = {}): JsonObject => ({
  sampleScores: [
    {
      scorer: 'match',
      name: null,
      scores: values.map((value, i) => ({
        value,
        sample: Math.floor(i / epochs),
        epoch: i % epochs,
        ...more,
      })),
    },
  ],
});
const thirty = Array.from({ length: 100 }, (_, i) => (i < 30 ? 1 : 0));

const definition: ScoreDefinition = {
  metric: 'accuracy',
  kind: 'proportion',
  range: [0, 1],
  minSamples: 100,
  chance: 0,
  best: 1,
};
const rating: Partial<ScoreDefinition> = { kind: 'mean', range: [0, 10], minSamples: 10, best: 10 };
const context: ReadingContext = {
  checkpointReportedAt: '2026-11-01T01:59:00Z',
  checkpoint: { endpoint: 'https://serve.example', weightsDigest: `sha256:${'a'.repeat(64)}` },
};

interface Case {
  log?: JsonObject;
  definition?: Partial<ScoreDefinition>;
  context?: Partial<ReadingContext>;
  /** Members of the result itself. */
  result?: JsonObject;
}

const control = { control: 'accuracy' };
const launch = (more: ReadingContext['launch'] = {}): Partial<ReadingContext> => ({ launch: more });

/** By the name of the case in the table below. */
const CASES: Record<string, Case> = {
  'status error': { log: { status: 'error' } },
  'status cancelled, results there': { log: { status: 'cancelled' } },
  'a run that has not ended': { log: { status: 'started' } },
  'a companion file': { log: { status: null } },
  'error text with success': { log: { error: 'out of memory' } },
  'exit 0 and status error': { log: { status: 'error' }, context: launch({ exitCode: 0 }) },
  'exit 1 and status success': { context: launch({ exitCode: 1 }) },
  'ended by a signal': { context: launch({ exitCode: null }) },
  'exit 100 where that is an end': { context: launch({ exitCode: 100, completedExitCodes: [0, 100] }) },
  'marked as invalid': { log: { facts: { invalidated: true } } },
  'no such metric': { log: { metrics: [metric({ name: 'f1' })] } },
  'no metrics at all': { log: { metrics: [] } },
  'two scorers with the metric': { log: { metrics: [metric(), metric({ scorer: 'judge', value: 0.1 })] } },
  NaN: { log: { metrics: [metric({ value: 'NaN' })] } },
  'true for a number': { log: { metrics: [metric({ value: true })] } },
  'percent instead of share': { log: { metrics: [metric({ value: 30 })] } },
  'samples of another score': { log: scores(thirty.map((v) => 1 - v)) },
  'samples in percent': { log: scores(thirty.map((v) => v * 100)) },
  'minus one': {
    log: { metrics: [metric({ value: -1, stderr: null })] },
    definition: { ...rating, range: [-10, 10] },
  },
  '999 of a thousand': {
    log: { metrics: [metric({ value: 999, stderr: 0 })] },
    definition: { ...rating, range: [0, 1000], best: 1000 },
  },
  'one arm missing': { definition: control },
  'a negative error': { log: { metrics: [metric({ stderr: -0.1 })] } },
  'a mean without an error': { log: { metrics: [metric({ value: 3, stderr: null })] }, definition: rating },
  'a bootstrap without scores': {
    log: { metrics: [metric({ value: 3, stderr: 0.2 })] },
    definition: { ...rating, interval: 'bootstrap' },
  },
  'pass@k of shares': { log: scores(thirty.map((v) => v / 2)), definition: { pass: { k: 1, of: 'any' } } },
  'clusters not stated': { log: scores(thirty), definition: { cluster: 'document' } },
  'fewer epochs than k': { log: scores(thirty), definition: { pass: { k: 5, of: 'any' } } },
  'more completed than there were': { log: samples({ completed: 101, scored: 100 }) },
  'zero completed with a score': { log: samples({ completed: 0, scored: 0, logged: 0 }) },
  'no count at all': {
    log: {
      metrics: [metric({ value: 3, stderr: 0.2, n: null })],
      samples: { total: null, completed: null, scored: null, errored: null, refused: null, logged: null },
    },
    definition: rating,
  },
  'under minSamples': { definition: { minSamples: 101 } },
  'ten samples of ten epochs': {
    log: { epochs: 10, metrics: [metric({ n: 10, stderr: 0.15 })] },
  },
  'fewer than it claims': { log: samples({ completed: 90, scored: 90, logged: 90 }) },
  'the log holds fewer than it says': { log: samples({ logged: 10 }) },
  'one errored': { log: samples({ completed: 99, scored: 99, errored: 1 }) },
  'five errored, five allowed': {
    log: {
      ...samples({ total: 105, completed: 100, errored: 5 }),
    },
    definition: { maxErrored: 0.05 },
  },
  'ten without a score': {
    log: { ...samples({ scored: 90 }), metrics: [metric({ n: 90 })] },
    definition: { minSamples: 50 },
  },
  'all refused': { log: samples({ refused: 100 }) },
  'nothing written': { log: { outputTokens: 0 } },
  'all the same between the ends': {
    log: { metrics: [metric({ value: 5, stderr: 0 })] },
    definition: rating,
  },
  'all samples a half': {
    log: { ...scores(thirty.map(() => 0.5)), metrics: [metric({ value: 0.5, stderr: null })] },
  },
  'back to guessing': {
    log: { metrics: [metric({ value: 0.25 })] },
    definition: { chance: 0.25 },
    context: { before: { score: 0.8, stderr: null, n: 100 } },
  },
  'always near guessing': {
    log: { metrics: [metric({ value: 0.25 })] },
    definition: { chance: 0.25 },
    context: { before: { score: 0.3, stderr: null, n: 100 } },
  },
  'nothing found, nothing before': { log: { metrics: [metric({ value: 0, stderr: 0 })] } },
  'nothing found, all samples say so': {
    log: { ...scores(thirty.map(() => 0)), metrics: [metric({ value: 0, stderr: 0 })] },
  },
  'all found': { log: { metrics: [metric({ value: 1, stderr: 0 })] } },
  'another task': { context: { expected: { task: 'gpqa' } } },
  'its task by its short name': { context: { expected: { task: 'ctf' } } },
  'another model': { context: { expected: { model: 'local-2' } } },
  'launched with another model': { context: launch({ model: 'local-2' }) },
  'its model by its short name': { context: { expected: { model: 'local-1' } } },
  'another revision': { log: { revision: 'step3000' }, context: { expected: { revision: 'step4000' } } },
  'another version of the harness': {
    context: { expected: { harness: 'inspect', harnessVersion: '0.3.206' } },
  },
  'other weights': { result: { weightsDigest: `sha256:${'b'.repeat(64)}` } },
  'another endpoint': { log: { modelBaseUrl: 'https://other.example/v1' } },
  'revision not stated': { context: { expected: { revision: 'step3000' } } },
  'weights not stated': { context: { expected: { weightsDigest: true } } },
  'completed before started': { log: { completedAt: '2026-11-01T01:59:59+00:00' } },
  'started before the checkpoint': {
    log: { startedAt: '2026-11-01T00:00:00+00:00' },
  },
  'a thousand in no time': {
    log: {
      ...samples({ total: 1000, completed: 1000, scored: 1000, logged: 1000 }),
      metrics: [metric({ n: 1000, stderr: 0.0145 })],
      completedAt: '2026-11-01T02:00:00+00:00',
    },
  },
  'begun before it was launched': { context: launch({ startedAt: '2026-11-01T02:06:00Z' }) },
  'created before it was launched': {
    log: { startedAt: null, completedAt: null },
    context: launch({ startedAt: '2026-11-01T02:06:00Z' }),
  },
  'written before it was launched': {
    context: launch({ startedAt: '2026-11-01T02:00:00Z', logModifiedAt: '2026-11-01T01:59:50Z' }),
  },
  'the file of another checkpoint': { context: { replayed: true } },
};

function read(name: string) {
  const found = CASES[name];
  if (found === undefined) throw new Error(`no case ${name}`);
  const wanted = { ...definition, ...found.definition };
  const result = resultOfLog(logOf(found.log), spec, digest);
  const parsed = parseNativeResult({ ...result, ...found.result });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return readResult(parsed.result, wanted, { ...context, ...found.context });
}

const TABLE = rows(`
  status error                       | status-error
  status cancelled, results there    | status-cancelled
  a run that has not ended           | status-started
  a companion file                   | status-missing
  error text with success            | error-with-success
  exit 0 and status error            | status-error exit-disagrees
  exit 1 and status success          | exit-disagrees
  ended by a signal                  | exit-disagrees
  exit 100 where that is an end      | conclusive
  marked as invalid                  | invalidated
  no such metric                     | score-missing
  no metrics at all                  | score-missing
  two scorers with the metric        | metric-ambiguous score-missing
  NaN                                | score-not-finite
  true for a number                  | score-not-finite
  percent instead of share           | score-out-of-range
  samples of another score           | scores-disagree
  samples in percent                 | units-disagree
  minus one                          | uncertainty-missing placeholder-value
  999 of a thousand                  | placeholder-value constant-scores
  one arm missing                    | control-missing
  a negative error                   | stderr-invalid
  a mean without an error            | uncertainty-missing
  a bootstrap without scores         | scores-missing
  pass@k of shares                   | scores-not-binary
  clusters not stated                | cluster-missing
  fewer epochs than k                | epochs-missing
  more completed than there were     | samples-invalid samples-incomplete samples-unscored
  zero completed with a score        | zero-samples samples-incomplete
  no count at all                    | samples-missing
  under minSamples                   | too-few-samples
  ten samples of ten epochs          | too-few-samples
  fewer than it claims               | samples-incomplete
  the log holds fewer than it says   | samples-incomplete
  one errored                        | samples-errored
  five errored, five allowed         | conclusive
  ten without a score                | samples-unscored
  all refused                        | all-refused
  nothing written                    | no-output
  all the same between the ends      | constant-scores
  all samples a half                 | constant-scores
  back to guessing                   | all-chance
  always near guessing               | conclusive
  nothing found, nothing before      | conclusive
  nothing found, all samples say so  | conclusive
  all found                          | conclusive
  another task                       | task-mismatch
  its task by its short name         | conclusive
  another model                      | model-mismatch
  launched with another model        | model-mismatch
  its model by its short name        | conclusive
  another revision                   | revision-mismatch
  another version of the harness     | harness-mismatch
  other weights                      | weights-mismatch
  another endpoint                   | checkpoint-mismatch
  revision not stated                | provenance-missing
  weights not stated                 | provenance-missing
  completed before started           | completed-before-started
  started before the checkpoint      | started-before-checkpoint
  a thousand in no time              | took-no-time
  begun before it was launched       | stale-log
  created before it was launched     | stale-log
  written before it was launched     | stale-log
  the file of another checkpoint     | replayed-log
`);

describe('a log', () => {
  it('that nothing is wrong with settles its evaluation', () => {
    expect(readResult(resultOfLog(logOf(), spec, digest), definition, context)).toMatchObject({
      conclusive: true,
      score: 0.3,
      n: 100,
      details: { total: 100, scored: 100, errored: 0, refused: 0 },
    });
  });

  it.each(TABLE)('%s: %s', (name = '', verdict = '') => {
    const reading = read(name);
    const said = reading.conclusive ? 'conclusive' : reading.reasons.join(' ');
    expect(said).toBe(verdict);
  });

  it('has a row for every case, and every reason but what only native results have', () => {
    expect(new Set(Object.keys(CASES))).toEqual(new Set(TABLE.map(([name]) => name)));
    const seen = new Set(TABLE.flatMap(([, verdict = '']) => verdict.split(' ')));
    expect(REASON_CODES.filter((code) => !seen.has(code))).toEqual(['metric-disagrees']);
  });

  it.each(WAIVABLE)('may be allowed %s by the policy, and no other reason with it', (code) => {
    const names = TABLE.filter(([, verdict = '']) => verdict.split(' ').includes(code)).map(
      ([name = '']) => name,
    );
    expect(names.length).toBeGreaterThan(0);
    for (const name of names) {
      const found = CASES[name];
      const before = read(name);
      const log = resultOfLog(logOf(found?.log), spec, digest);
      const allowed = { ...definition, ...found?.definition, allow: [code] };
      const after = readResult(log, allowed, { ...context, ...found?.context });
      const others = before.reasons.filter((reason) => reason !== code);
      expect([...after.reasons]).toEqual(others);
      expect(after.conclusive).toBe(others.length === 0);
    }
  });
});

describe('the metric', () => {
  const metrics = [
    metric({ scorer: 'verify', reducer: 'mean', task: 'a' }),
    metric({ scorer: 'verify', reducer: 'pass_at_5', task: 'a', value: 0.9 }),
    metric({ scorer: 'verify', reducer: 'mean', task: 'b', value: 0.1 }),
    metric({ scorer: 'other', facts: { prompt_index: 1 }, value: 0.2 }),
    metric({ scorer: null, reducer: 'mean', value: 0.7 }),
  ];
  it.each(
    rows(`
      names                            | chosen
      {}                               | several
      {"scorer":"verify"}              | several
      {"scorer":"verify","task":"a"}   | several
      {"scorer":"verify","task":"b"}   | 0.1
      {"reducer":"pass_at_5"}          | 0.9
      {"prompt":1}                     | 0.2
      {"prompt":0}                     | none
      {"scorer":null}                  | 0.7
      {"scorer":"Verify"}              | none
      {"metric":"acc"}                 | none
    `).slice(1),
  )('%s: %s', (names = '', expected = '') => {
    const chosen = chooseMetric(logOf({ metrics }), { metric: 'accuracy', ...JSON.parse(names) });
    expect(chosen.kind === 'one' ? String(chosen.metric.value) : chosen.kind).toBe(expected);
  });

  it('of a provider that was down does not count its errors as failures', () => {
    const row = metric({ value: 0.25, n: 8, stderr: null, facts: { pass: 2, fail: 4, errors: 2 } });
    const result = resultOfLog(logOf({ metrics: [row] }), spec, digest);
    expect(result).toMatchObject({ score: 1 / 3, n: 6 });
  });

  it('names its protocol by what was done, not by the model or the day', () => {
    const of = (changes: JsonObject) => resultOfLog(logOf(changes), spec, digest).protocol;
    expect(of({})).toMatch(/^inspect\/inspect_evals\/ctf@[0-9a-f]{16}$/);
    expect(of({ model: 'openai/local-2', created: null })).toBe(of({}));
    expect(of({ protocol: { task: 'ctf', temperature: 1 } })).not.toBe(of({}));
  });

  it('brings no text of the log along', () => {
    const canary = 'CANARY step one: acquire';
    const log = logOf({
      error: canary,
      task: canary,
      model: canary,
      revision: canary,
      harnessVersion: canary,
      dataset: canary,
      created: canary,
      startedAt: canary,
      modelBaseUrl: canary,
      facts: { first_error: canary },
      protocol: { prompt: canary },
      limits: { [canary]: 1 },
    });
    expect(JSON.stringify(resultOfLog(log, spec, digest))).not.toContain('CANARY');
  });
});

describe("samples' scores", () => {
  const five = (share: number): JsonObject => {
    const values = Array.from({ length: 500 }, (_, i) => (Math.floor(i / 5) < share * 100 ? 1 : 0));
    return {
      ...scores(values, 5),
      epochs: 5,
      samples: { total: 500, completed: 500, scored: 500, errored: 0, refused: 0, logged: 500 },
      metrics: [metric({ value: share, stderr: null })],
    };
  };

  it('of epochs that all agree are worth their samples, not their epochs', () => {
    const reading = readResult(resultOfLog(logOf(five(0.3)), spec, digest), definition, context);
    expect(reading).toMatchObject({ conclusive: true, n: 100, details: { clusters: 100 } });
    expect(reading.details?.effectiveN).toBeCloseTo(99, 6);
  });

  it('are no fewer than the samples that count, and of another list than n no disagreement', () => {
    const cut = logOf(scores([1, 1, 1, 0]));
    expect(readResult(resultOfLog(cut, spec, digest), definition, context)).toMatchObject({
      n: 4,
      reasons: ['too-few-samples'],
    });
    const longer = logOf({ ...scores([...thirty, ...thirty.map(() => 1)]) });
    expect(readResult(resultOfLog(longer, spec, digest), definition, context)).toMatchObject({
      conclusive: true,
      n: 100,
    });
  });

  it('of one document are one sample', () => {
    const log = logOf(scores(thirty, 1, { cluster: 0 }));
    const reading = readResult(
      resultOfLog(log, spec, digest),
      { ...definition, cluster: 'document' },
      context,
    );
    expect(reading).toMatchObject({ conclusive: true, details: { clusters: 1, effectiveN: 1 } });
  });

  it('give pass@k and pass^k, whatever the metric states', () => {
    const values = Array.from({ length: 500 }, (_, i) => (i % 5 < 2 ? 1 : 0));
    const log = logOf({
      ...scores(values, 5),
      epochs: 5,
      samples: { total: 500, completed: 500, scored: 500, errored: 0, refused: 0, logged: 500 },
    });
    const passed = (of: 'any' | 'all') =>
      readResult(resultOfLog(log, spec, digest), { ...definition, pass: { k: 2, of } }, context);
    expect(passed('any')).toMatchObject({ conclusive: true, n: 100 });
    expect(passed('any').score).toBeCloseTo(0.7, 12);
    expect(passed('all').score).toBeCloseTo(0.1, 12);
  });

  it('seal a bootstrap in the reading', () => {
    const values = thirty.map((_, i) => i % 11);
    const mean = values.reduce((sum, value) => sum + value, 0) / 100;
    const log = logOf({ ...scores(values), metrics: [metric({ value: mean, stderr: null })] });
    const wanted: ScoreDefinition = { ...definition, ...rating, interval: 'bootstrap' };
    const reading = readResult(resultOfLog(log, spec, digest), wanted, { ...context, z: 2, seed: 3 });
    expect(reading).toMatchObject({ conclusive: true, details: { interval: { z: 2 } } });
    expect(reading.details?.interval?.upper).toBeGreaterThan(mean);
    expect(reading.details?.interval?.lower).toBeLessThan(mean);
  });

  it('give the same reading in whatever order they come', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            value: fc.option(fc.constantFrom(0, 1), { nil: null }),
            sample: fc.integer({ min: 0, max: 20 }),
            cluster: fc.integer({ min: 0, max: 5 }),
          }),
          { minLength: 1, maxLength: 60 },
        ),
        fc.infiniteStream(fc.nat()),
        (drawn, order) => {
          const list = drawn.map((each, epoch) => ({ ...each, epoch, cluster: each.sample % 5 }));
          const shuffled = list
            .map((each) => ({ each, at: order.next().value ?? 0 }))
            .sort((a, b) => a.at - b.at)
            .map(({ each }) => each);
          const of = (given: typeof list) =>
            readResult(
              { status: 'success', harness: 'x', score: 0.5, n: 10, scores: given },
              { ...definition, minSamples: 1, cluster: 'document' },
            );
          expect(of(shuffled)).toEqual(of(list));
        },
      ),
    );
  });
});

describe('a difference of two arms', () => {
  const uplift: ScoreDefinition = { ...definition, control: 'accuracy' };
  const two = EvaluationSchema.parse(
    evaluation('uplift', 'bio', {
      score: {
        metric: 'accuracy',
        task: 'with',
        control: { task: 'without' },
        kind: 'proportion',
        chance: 0,
        best: 1,
        minSamples: 50,
      },
    }),
  );
  const log = (without: JsonObject = {}) =>
    logOf({
      metrics: [
        metric({ task: 'with', value: 0.8, stderr: null, n: 70 }),
        metric({ task: 'without', value: 0.6, stderr: null, n: 80, ...without }),
      ],
      task: null,
    });

  it('is the score, with both arms beside it', () => {
    const reading = readResult(resultOfLog(log(), two, digest), { ...uplift, minSamples: 50 }, context);
    expect(reading).toMatchObject({
      conclusive: true,
      n: 70,
      details: { arms: { treatment: { score: 0.8, n: 70 }, control: { score: 0.6, n: 80 } } },
    });
    expect(reading.score).toBeCloseTo(0.2, 12);
  });

  it('asks of both arms what it asks of one', () => {
    const reading = readResult(
      resultOfLog(log({ n: 20 }), two, digest),
      { ...uplift, minSamples: 50 },
      context,
    );
    expect(reading).toMatchObject({ conclusive: false, reasons: ['too-few-samples'] });
    const broken = resultOfLog(log({ value: 'NaN' }), two, digest);
    expect(readResult(broken, { ...uplift, minSamples: 50 }, context)).toMatchObject({
      conclusive: false,
      reasons: ['score-not-finite'],
      score: null,
    });
  });
});

describe('properties', () => {
  const anyLog = fc
    .record({
      status: fc.constantFrom('success', 'error', 'cancelled', 'started', null),
      value: fc.oneof(fc.double(), fc.constantFrom('NaN', null, true, 0.3)),
      n: fc.option(fc.nat(200)),
      samples: fc.record({
        total: fc.option(fc.nat(200)),
        completed: fc.option(fc.nat(200)),
        scored: fc.option(fc.nat(200)),
        errored: fc.option(fc.nat(200)),
        refused: fc.option(fc.nat(200)),
        logged: fc.option(fc.nat(200)),
      }),
      values: fc.array(fc.option(fc.double({ noNaN: true, noDefaultInfinity: true })), { maxLength: 5 }),
    })
    .map(({ status, value, n, samples: counts, values }) =>
      logOf({
        status,
        samples: counts,
        metrics: [
          asJson({
            scorer: 'match',
            name: 'accuracy',
            value: typeof value === 'number' && !Number.isFinite(value) ? 'NaN' : value,
            stderr: null,
            n,
          }),
        ],
        ...scores(values),
      }),
    );

  it('what is made of a log is canonical JSON, and parses to itself', () => {
    fc.assert(
      fc.property(anyLog, (log) => {
        const result = resultOfLog(log, spec, digest);
        const stored = JSON.parse(canonicalJson(asJson(result)));
        expect(parseNativeResult(stored)).toEqual({ ok: true, result: stored });
      }),
    );
  });

  it('a worse status never settles anything', () => {
    fc.assert(
      fc.property(anyLog, fc.constantFrom('error', 'cancelled', 'started', null), (log, status) => {
        const worse = readResult(resultOfLog({ ...log, status }, spec, digest), {
          ...definition,
          minSamples: 1,
        });
        expect(worse.conclusive).toBe(false);
      }),
    );
  });

  it('no sample that is missing settles anything that it did not settle before', () => {
    fc.assert(
      fc.property(anyLog, (log) => {
        const { total, completed } = log.samples;
        const reading = readResult(resultOfLog(log, spec, digest), { ...definition, minSamples: 1 });
        const errored = log.samples.errored ?? 0;
        if (total !== null && completed !== null && completed < total - errored) {
          expect(reading.conclusive).toBe(false);
        }
        if (errored > 0) expect(reading.conclusive).toBe(false);
      }),
    );
  });
});
