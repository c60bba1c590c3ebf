/** What readers take from logs and what they refuse: one specimen per kind, changed in one place. */
import { describe, expect, test } from 'vitest';
import type { HarnessLog } from '../../src/domain/harness-log.ts';
import { type Reading, readLog } from '../../src/evaluators/formats/detect.ts';
import { logOfBytes } from '../../src/evaluators/formats/log-source.ts';
import { LM_EVAL, PROMPTFOO, SPECIMENS, SWE_BENCH } from '../formats/specimens.ts';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

function read(
  kind: string,
  { text, fileName, scores }: { text?: string; fileName?: string; scores?: string } = {},
) {
  const specimen = SPECIMENS[kind];
  if (specimen === undefined) throw new TypeError(`no specimen of ${kind}`);
  const beside = Object.entries(specimen.beside ?? {}).map(
    ([name, content]) => [name, bytesOf(content)] as const,
  );
  const source = logOfBytes(bytesOf(text ?? specimen.text), fileName ?? specimen.fileName, new Map(beside));
  return readLog(
    source,
    scores === undefined ? {} : { scores: { cluster: scores === '' ? undefined : scores } },
  );
}

async function logOf(...request: Parameters<typeof read>): Promise<HarnessLog> {
  const reading = await read(...request);
  if (!reading.ok) throw new Error(`${reading.problem}: ${reading.detail}`);
  return reading.log;
}

const problemOf = (reading: Reading): string =>
  reading.ok ? `read as ${reading.log.status}` : reading.problem;
const metric = (log: HarnessLog, name: string, scorer?: string | null) =>
  log.metrics.find((each) => each.name === name && (scorer === undefined || each.scorer === scorer));
const values = (log: HarnessLog, sheet = 0) => log.sampleScores[sheet]?.scores.map(({ value }) => value);

const textOf = (kind: string): string => SPECIMENS[kind]?.text ?? '';
const linesOf = (kind: string): string[] => textOf(kind).trimEnd().split('\n');
const joined = (lines: readonly string[]): string => `${lines.join('\n')}\n`;

describe('lm-eval results', () => {
  const changed = (more: object): string => JSON.stringify({ ...LM_EVAL, ...more });

  test('keep filters apart, mark groups, and take "N/A" for no standard error', async () => {
    const log = await logOf('lm-eval-results');
    expect(log.task).toBe('mmlu');
    expect(log.metrics).toMatchObject([
      { task: 'mmlu', scorer: 'none', name: 'acc', value: 0.5, stderr: 0.1, group: true },
      { task: 'mmlu_bio', scorer: 'none', name: 'acc', value: 0.4, stderr: null, n: 20 },
      { task: 'mmlu_bio', scorer: 'strict', name: 'acc', value: 0.25, stderr: 0.02, n: 20 },
    ]);
    expect(log).toMatchObject({ model: 'org/model', revision: 'step3000', limits: { samples: 20 } });
    expect(log.samples).toMatchObject({ total: 20, completed: 20 });
  });

  test('keep what is not finite under its name', async () => {
    const text = changed({ results: { t: { 'mae,none': 'INF', 'mae_stderr,none': 'NAN' } }, groups: {} })
      .replace('"INF"', '-Infinity')
      .replace('"NAN"', 'NaN');
    const log = await logOf('lm-eval-results', { text });
    expect(metric(log, 'mae')).toMatchObject({ value: '-Infinity', stderr: 'NaN' });
    expect(log.facts['non_finite']).toEqual(['t/mae,none']);
  });

  test('without filters in their keys have none', async () => {
    const text = JSON.stringify({ results: { a: { acc: 0.3, acc_stderr: 0.01 } }, versions: { a: 0 } });
    const log = await logOf('lm-eval-results', { text });
    expect(log.metrics).toEqual([{ scorer: null, name: 'acc', value: 0.3, stderr: 0.01, task: 'a' }]);
    expect(log).toMatchObject({ model: null, created: null, samples: { total: null, completed: null } });
  });

  test('whose arguments are an object name the same model', async () => {
    const config = {
      model: 'hf',
      model_args: { pretrained: 'org/other', revision: 'r2', base_url: 'http://m' },
    };
    const log = await logOf('lm-eval-results', { text: changed({ config }) });
    expect(log).toMatchObject({ model: 'org/other', revision: 'r2', modelBaseUrl: 'http://m' });
  });

  test('a share of the samples as limit is no count', async () => {
    const config = { ...LM_EVAL.config, limit: 0.1 };
    expect((await logOf('lm-eval-results', { text: changed({ config }) })).limits).toEqual({
      sampleShare: 0.1,
    });
  });

  test('a value that is absent stays absent', async () => {
    const text = changed({ results: { t: { 'acc,none': null, 'acc_stderr,none': 0.1 } }, groups: {} });
    expect(metric(await logOf('lm-eval-results', { text }), 'acc')).toMatchObject({ value: null });
  });

  test.each([
    ['a count that is none', { 'n-samples': { mmlu_bio: { original: 1, effective: -1 } } }],
    ['rows that are no objects', { results: { a: { 'acc,none': 1 }, b: 3 } }],
  ])('with %s are not read', async (_what, more) => {
    expect(problemOf(await read('lm-eval-results', { text: changed(more) }))).toBe('log-unreadable');
  });

  test('a name twice in one row is not read: readers differ in which counts', async () => {
    const text = changed({}).replace('"acc,none":0.4', '"acc,none":0.4,"acc,none":0.9');
    expect(problemOf(await read('lm-eval-results', { text }))).toBe('log-unreadable');
  });

  test('the protocol is of how it was measured, not of the model or the day', async () => {
    const { protocol } = await logOf('lm-eval-results');
    const config = { ...LM_EVAL.config, model_args: 'pretrained=org/step4000' };
    const again = await logOf('lm-eval-results', {
      text: changed({ config, date: 1_800_000_000, git_hash: 'def' }),
    });
    expect(again.protocol).toEqual(protocol);
    const configs = { mmlu_bio: { ...LM_EVAL.configs.mmlu_bio, doc_to_text: 'Another prompt' } };
    expect((await logOf('lm-eval-results', { text: changed({ configs }) })).protocol).not.toEqual(protocol);
  });

  test('scores per sample come out of the file beside it, with the cluster that was asked for', async () => {
    const log = await logOf('lm-eval-results', { scores: 'topic' });
    expect(log.sampleScores).toMatchObject([{ scorer: 'none', name: 'acc', task: 'mmlu_bio' }]);
    expect(values(log)).toEqual([1, 0, 1]);
    expect(log.sampleScores[0]?.scores.map(({ cluster }) => cluster)).toEqual([0, 1, 0]);
  });
});

describe('lm-eval samples', () => {
  test('give plain means of their numbers and of nothing else', async () => {
    const log = await logOf('lm-eval-samples');
    expect(log).toMatchObject({ task: 'mmlu_bio', samples: { total: 3, completed: 3 } });
    expect(log.metrics).toMatchObject([{ scorer: 'none', name: 'acc', value: 2 / 3, n: 3 }]);
    const pairs = textOf('lm-eval-samples').replace('"acc":0}', '"acc":[["A"],["B"]]}');
    expect((await logOf('lm-eval-samples', { text: pairs })).metrics).toEqual([]);
  });

  test('that do not name their metrics have what stands beside their fixed members', async () => {
    const text = textOf('lm-eval-samples').replaceAll('"metrics":["acc"],', '');
    expect((await logOf('lm-eval-samples', { text })).metrics).toMatchObject([
      { name: 'acc', value: 2 / 3, n: 3 },
    ]);
  });

  test('as one list, too', async () => {
    const text = `[${linesOf('lm-eval-samples').join(',')}]`;
    expect(await logOf('lm-eval-samples', { text })).toMatchObject({
      facts: { encoding: 'json-array', rows: 3 },
    });
  });

  test('that break off are truncated', async () => {
    const text = textOf('lm-eval-samples').slice(0, -30);
    expect(problemOf(await read('lm-eval-samples', { text }))).toBe('log-truncated');
  });
});

describe('promptfoo', () => {
  const changed = (results: object): string =>
    JSON.stringify({ ...PROMPTFOO, results: { ...PROMPTFOO.results, ...results } });

  test('an error of the provider is no failure of the model', async () => {
    const log = await logOf('promptfoo-json');
    expect(log.metrics).toMatchObject([
      { scorer: 'local', name: 'pass_rate', value: 0.5, n: 2, facts: { pass: 1, fail: 0, errors: 1 } },
      { scorer: 'local', name: 'flag', value: 1, n: 1 },
      { scorer: 'echo', name: 'pass_rate', value: 0, n: 2 },
    ]);
    expect(log.samples).toEqual({ total: 4, completed: 3, scored: 3, errored: 1, refused: 1, logged: 4 });
    expect(log.facts['first_error']).toBe('HTTP 503');
  });

  test('the rate over no test is no rate', async () => {
    const [prompt] = PROMPTFOO.results.prompts;
    const metrics = {
      ...prompt?.metrics,
      testPassCount: 0,
      testErrorCount: 0,
      namedScoresCount: { flag: 0 },
    };
    const stats = { successes: 0, failures: 0, errors: 0 };
    const log = await logOf('promptfoo-json', {
      text: changed({ prompts: [{ ...prompt, metrics }], results: [], stats }),
    });
    expect(log.metrics.map(({ value }) => value)).toEqual([null, null]);
  });

  test('passes that its own rows deny are not read', async () => {
    const [first, second] = PROMPTFOO.results.prompts;
    const metrics = { ...second?.metrics, testPassCount: 2, testFailCount: 0 };
    const text = changed({ prompts: [first, { ...second, metrics }] });
    expect(problemOf(await read('promptfoo-json', { text }))).toBe('log-unreadable');
  });

  test('statistics that its rows deny are not read', async () => {
    const text = changed({ stats: { successes: 4, failures: 0, errors: 0 } });
    expect(problemOf(await read('promptfoo-json', { text }))).toBe('log-unreadable');
  });

  test('where a prompt keeps no counts, those of the rows are taken, over all prompts', async () => {
    const [first, second] = PROMPTFOO.results.prompts;
    const log = await logOf('promptfoo-json', {
      text: changed({ prompts: [first, { ...second, metrics: null }] }),
    });
    expect(log.metrics).toMatchObject([{ scorer: null, value: 0.25, n: 4 }]);
    expect(log.samples).toMatchObject({ total: 4, completed: 3, errored: 1 });
  });

  test('before version 3 a row without an output is an error', async () => {
    const rows = [
      { prompt: {}, vars: {}, success: false, error: 'API error', provider: { id: 'p' } },
      {
        prompt: {},
        vars: {},
        success: false,
        error: 'Expected',
        response: { output: 'x' },
        provider: { id: 'p' },
      },
    ];
    const results = { version: 2, results: rows, stats: { successes: 0, failures: 2 }, table: {} };
    const log = await logOf('promptfoo-json', { text: JSON.stringify({ results, config: {} }) });
    expect(log.samples).toMatchObject({ total: 2, completed: 1, errored: 1 });
    expect(log.metrics).toMatchObject([{ scorer: null, value: 0, n: 2 }]);
  });

  test('scores per sample: one sheet per provider and score, errors without a value', async () => {
    const log = await logOf('promptfoo-json', { scores: '' });
    expect(log.sampleScores.map(({ scorer, name }) => [scorer, name])).toEqual([
      ['local', 'pass_rate'],
      ['local', 'flag'],
      ['echo', 'pass_rate'],
    ]);
    expect(log.sampleScores[0]?.scores).toEqual([
      { value: 1, sample: 0, epoch: 0 },
      { value: null, sample: 1, epoch: 0, errored: true },
    ]);
  });
});

describe('HELM', () => {
  test('takes what is unperturbed and of answers, and the run from the file beside it', async () => {
    const log = await logOf('helm-stats', { scores: '' });
    expect(log.metrics).toMatchObject([{ scorer: 'test', name: 'exact_match', value: 0.5, stderr: null }]);
    expect(log).toMatchObject({ task: 'mmlu', model: 'org/model', samples: { total: 2, completed: 2 } });
    expect(values(log)).toEqual([1, 0]);
  });

  test('a statistic of nothing has no value', async () => {
    const text = textOf('helm-stats').replace('"count":1,"sum":0.5,"mean":0.5', '"count":0,"sum":0');
    expect(metric(await logOf('helm-stats', { text }), 'exact_match')?.value).toBeNull();
  });

  test.each(['helm-run-spec', 'helm-per-instance-stats'])('%s is a companion', async (kind) => {
    expect(await logOf(kind)).toMatchObject({ format: kind, status: null, metrics: [] });
  });
});

describe('OpenAI evals', () => {
  test('with its final report is done', async () => {
    const log = await logOf('openai-evals-jsonl', { scores: '' });
    expect(log).toMatchObject({ status: 'success', task: 'arithmetic.test.v1', model: 'org/model' });
    expect(log.samples).toMatchObject({ total: 3, completed: 2, errored: 1 });
    expect(metric(log, 'accuracy')).toMatchObject({ value: 0.5, stderr: null });
    expect(values(log)).toEqual([1, 0]);
  });

  test.each([
    ['without a final report', (text: string) => joined(text.trimEnd().split('\n').slice(0, -1))],
    [
      'that breaks off in a line',
      (text: string) => text.trimEnd().split('\n').slice(0, -1).join('\n').slice(0, -9),
    ],
  ])('%s goes on or died: started, and no metrics', async (_what, cut) => {
    const log = await logOf('openai-evals-jsonl', { text: cut(textOf('openai-evals-jsonl')) });
    expect(log).toMatchObject({ status: 'started', metrics: [], samples: { total: null } });
  });

  test('two runs in one file are ambiguous', async () => {
    const text = textOf('openai-evals-jsonl');
    expect(problemOf(await read('openai-evals-jsonl', { text: text + text }))).toBe('log-ambiguous');
  });

  test('a broken line in the middle is not read', async () => {
    const [first = '', second = '', ...rest] = linesOf('openai-evals-jsonl');
    const text = joined([first, second.slice(0, -5), ...rest]);
    expect(problemOf(await read('openai-evals-jsonl', { text }))).toMatch(/^log-(unreadable|truncated)$/);
  });
});

describe('SWE-bench', () => {
  test('counts over the whole data set, and takes the model from the name', async () => {
    const log = await logOf('swe-bench-run-report', { scores: '' });
    expect(log).toMatchObject({
      model: 'org__model-1.5',
      samples: { total: 10, completed: 3, scored: 3, errored: 1 },
    });
    expect(metric(log, 'resolved_of_total')).toMatchObject({ value: 0.1, n: 10 });
    expect(values(log)).toEqual([1, 0, 0, null, null, null, null, null, null, null]);
  });

  test.each([
    ['resolved instances that are not listed', { resolved_instances: 3 }],
    ['more judged than completed', { resolved_instances: 9, resolved_ids: undefined }],
    ['more completed than there are', { total_instances: 2 }],
  ])('%s are not read', async (_what, more) => {
    const text = JSON.stringify({ ...SWE_BENCH, ...more });
    expect(problemOf(await read('swe-bench-run-report', { text }))).toBe('log-unreadable');
  });
});

describe('garak', () => {
  test('one attempt is one sample, however often it is written', async () => {
    const log = await logOf('garak-report-jsonl', { scores: '' });
    expect(log).toMatchObject({ status: 'success', model: 'org/model', samples: { total: 2, completed: 2 } });
    expect(metric(log, 'pass_rate')).toMatchObject({ scorer: 'dan.DAN', task: 'dan.Dan', value: 0.5, n: 2 });
    expect(values(log)).toEqual([1, 0]);
  });

  test('without its completion line it goes on or died', async () => {
    const text = joined(linesOf('garak-report-jsonl').slice(0, -1));
    expect((await logOf('garak-report-jsonl', { text })).status).toBe('started');
  });

  test('of a release that wrote no completion line, an evaluation has to do', async () => {
    const text = joined(linesOf('garak-report-jsonl').slice(0, -1)).replace('"0.14.0"', '"0.9.0.9"');
    expect((await logOf('garak-report-jsonl', { text })).status).toBe('success');
  });

  test('more passes than outputs are not read', async () => {
    const text = textOf('garak-report-jsonl').replace('"passed":1', '"passed":7');
    expect(problemOf(await read('garak-report-jsonl', { text }))).toBe('log-unreadable');
  });
});

describe('the others', () => {
  test('bigcode: numbers of each task; tables and secrets of the command line stay out', async () => {
    const log = await logOf('bigcode-eval-harness');
    expect(log.metrics.map(({ scorer, name, value }) => [scorer, name, value])).toEqual([
      ['humaneval', 'pass@1', 0.19],
      ['humaneval', 'pass@10', 0.33],
    ]);
    expect(log).toMatchObject({ model: 'org/model', limits: { samples: 20 } });
    expect(JSON.stringify(log.protocol)).not.toContain('token');
  });

  test('bigcode: of an adapter and the model below it, the adapter was measured', async () => {
    const text = textOf('bigcode-eval-harness').replace(
      '"config":{',
      '"config":{"peft_model":"org/adapter",',
    );
    const found = await read('bigcode-eval-harness', { text });
    expect(found).toMatchObject({ ok: true, log: { model: 'org/adapter' } });
  });

  test('METR: a fatal error keeps its score and is not completed', async () => {
    const log = await logOf('metr-runs-jsonl', { scores: '' });
    expect(log.samples).toEqual({ total: 3, completed: 2, scored: 2, errored: 1, refused: null, logged: 3 });
    expect(log.metrics[0]).toMatchObject({ scorer: null, value: 1 / 3, n: 3 });
    expect(log.facts['fatal_errors']).toEqual({ usageLimits: 1 });
    expect(log.sampleScores[0]?.scores.map(({ sample, epoch, cluster }) => [sample, epoch, cluster])).toEqual(
      [
        [0, 0, 0],
        [0, 1, 0],
        [1, 0, 1],
      ],
    );
  });

  test('InterCode: the model is said to be of the file name, or is not said', async () => {
    expect(await logOf('intercode-results', { scores: '' })).toMatchObject({
      model: 'gpt-4 (file name)',
      metrics: [{ value: 2 / 3, n: 3 }],
      limits: { turns: 15 },
    });
    expect((await logOf('intercode-results', { fileName: 'x.json' })).model).toBeNull();
  });

  test('MLE-bench: a null score is a competition not won', async () => {
    const log = await logOf('mle-bench-grading-report', { scores: '' });
    expect(log).toMatchObject({ facts: { null_scores: 1 }, samples: { total: 2, errored: null } });
    expect(values(log)).toEqual([1, 0]);
    for (const [said, other] of [
      ['"total_medals":1', '"total_medals":2'],
      ['"total_runs_with_submissions":2', '"total_runs_with_submissions":3'],
    ] as const) {
      const text = textOf('mle-bench-grading-report').replace(said, other);
      expect(problemOf(await read('mle-bench-grading-report', { text }))).toBe('log-unreadable');
    }
  });

  test('lighteval: averages are groups, NaN keeps its name', async () => {
    const log = await logOf('lighteval-results');
    expect(log.metrics).toMatchObject([
      { task: 'mmlu:anatomy|5', value: 0.4, stderr: 'NaN', n: 10 },
      { task: 'all', value: 0.4, group: true },
    ]);
    expect(log).toMatchObject({
      task: 'mmlu:anatomy|5',
      revision: 'm1',
      created: null,
      limits: { samples: 10 },
    });
  });

  test('DCLM: tasks first, then the perplexity', async () => {
    const log = await logOf('dclm-evaluation');
    expect(log.metrics.map(({ scorer, name }) => [scorer, name])).toEqual([
      ['icl', 'mmlu_fewshot'],
      ['icl', 'jeopardy'],
      [null, 'perplexity'],
    ]);
  });

  test('native: error text is counted, never kept', async () => {
    const log = await logOf('native', { text: '{"status":"error","error":"mix A with B","score":0.4}' });
    expect(log).toMatchObject({ status: 'error', error: '12 characters of error text, not shown' });
    expect(JSON.stringify(log)).not.toContain('mix A');
  });
});
