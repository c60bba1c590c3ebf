/**
 * One small log of every kind of file, as its harness writes it: what tests of readers start from, and fuzzing where no genuine
 * logs are at hand.
 */
export interface Specimen {
  readonly fileName: string;
  readonly text: string;
  /** Files beside it. */
  readonly beside?: Readonly<Record<string, string>>;
}

const lines = (...values: readonly unknown[]): string =>
  values.map((value) => `${JSON.stringify(value)}\n`).join('');

const lmEvalSample = (doc: number, filter: string, acc: number): unknown => ({
  doc_id: doc,
  doc: { question: 'q', topic: doc % 2 === 0 ? 'chemistry' : 'biology' },
  target: 'A',
  arguments: {},
  resps: [['A']],
  filtered_resps: ['A'],
  filter,
  metrics: ['acc'],
  acc,
});

const lmEvalSamples = lines(
  lmEvalSample(0, 'none', 1),
  lmEvalSample(1, 'none', 0),
  lmEvalSample(2, 'none', 1),
);

export const LM_EVAL = {
  results: {
    mmlu: { alias: 'mmlu', 'acc,none': 0.5, 'acc_stderr,none': 0.1 },
    mmlu_bio: {
      alias: ' - bio',
      'acc,none': 0.4,
      'acc_stderr,none': 'N/A',
      'acc,strict': 0.25,
      'acc_stderr,strict': 0.02,
      sample_len: 20,
    },
  },
  groups: { mmlu: { alias: 'mmlu', 'acc,none': 0.5 } },
  group_subtasks: { mmlu: ['mmlu_bio'], mmlu_bio: [] },
  configs: { mmlu_bio: { dataset_path: 'cais/mmlu', doc_to_text: 'Q: {{question}}', num_fewshot: 5 } },
  versions: { mmlu_bio: 1 },
  'n-shot': { mmlu_bio: 5 },
  higher_is_better: { mmlu_bio: { acc: true } },
  'n-samples': { mmlu_bio: { original: 100, effective: 20 } },
  config: { model: 'hf', model_args: 'pretrained=org/model,revision=step3000,dtype=float', limit: 20.0 },
  git_hash: 'abc',
  date: 1712191475.137,
  lm_eval_version: '0.4.8',
  chat_template_sha: null,
};

const promptfooRow = (promptIdx: number, testIdx: number, more: object): unknown => ({
  prompt: { raw: 'p', label: 'p' },
  vars: { q: `x${testIdx}` },
  promptIdx,
  testIdx,
  provider: { id: promptIdx === 0 ? 'local' : 'echo' },
  namedScores: {},
  response: { output: 'o', isRefusal: false },
  ...more,
});

const promptfooRows = [
  promptfooRow(0, 0, { success: true, score: 1, failureReason: 0, namedScores: { flag: 1 } }),
  promptfooRow(0, 1, {
    success: false,
    score: 0,
    failureReason: 2,
    error: 'HTTP 503',
    response: { error: 'HTTP 503' },
  }),
  promptfooRow(1, 0, { success: false, score: 0, failureReason: 1, error: 'Expected' }),
  promptfooRow(1, 1, {
    success: false,
    score: 0,
    failureReason: 1,
    response: { output: 'no', isRefusal: true },
  }),
];

export const PROMPTFOO = {
  evalId: 'eval-abc',
  results: {
    version: 3,
    timestamp: '2026-01-03T04:13:54.343Z',
    prompts: [
      {
        id: 'a1',
        raw: 'p',
        provider: 'local',
        metrics: {
          testPassCount: 1,
          testFailCount: 0,
          testErrorCount: 1,
          namedScores: { flag: 1 },
          namedScoresCount: { flag: 1 },
        },
      },
      {
        id: 'a1',
        raw: 'p',
        provider: 'echo',
        metrics: {
          testPassCount: 0,
          testFailCount: 2,
          testErrorCount: 0,
          namedScores: {},
          namedScoresCount: {},
        },
      },
    ],
    results: promptfooRows,
    stats: { successes: 1, failures: 2, errors: 1 },
  },
  config: { description: 'ctf smoke', tests: [{ vars: { q: 'x' } }], evaluateOptions: {} },
  metadata: { promptfooVersion: '0.118.17' },
};

const stat = (name: object, mean: number): unknown => ({ name, count: 1, sum: mean, mean });

const HELM_STATS = [
  stat({ name: 'exact_match', split: 'test' }, 0.5),
  stat({ name: 'exact_match', split: 'test', perturbation: { name: 'robustness' } }, 0.1),
  stat({ name: 'num_prompt_tokens', split: 'test' }, 95),
  stat({ name: 'num_instances', split: 'test' }, 2),
];

const HELM_SPEC = {
  name: 'mmlu:subject=anatomy,model=org_model',
  scenario_spec: { class_name: 'helm.benchmark.scenarios.mmlu_scenario.MMLUScenario', args: {} },
  adapter_spec: { model: 'org/model', max_eval_instances: 100, max_tokens: 5 },
  metric_specs: [],
};

const HELM_INSTANCES = [
  { instance_id: 'id1', stats: [stat({ name: 'exact_match', split: 'test' }, 1)] },
  { instance_id: 'id2', stats: [stat({ name: 'exact_match', split: 'test' }, 0)] },
  { instance_id: 'id2', perturbation: {}, stats: [stat({ name: 'exact_match', split: 'test' }, 0)] },
];

const EVALS_SPEC = {
  spec: {
    completion_fns: ['org/model'],
    eval_name: 'arithmetic.test.v1',
    base_eval: 'arithmetic',
    split: 'test',
    run_config: { eval_spec: { cls: 'Match', args: { samples_jsonl: 'a.jsonl' } }, max_samples: null },
    run_id: 'r1',
    created_at: '2024-02-06 06:28:16.896800',
  },
};
const evalsEvent = (type: string, sample: string, data: object): unknown => ({
  run_id: 'r1',
  event_id: 0,
  sample_id: sample,
  type,
  data,
});

export const SWE_BENCH = {
  total_instances: 10,
  submitted_instances: 4,
  completed_instances: 3,
  resolved_instances: 1,
  unresolved_instances: 2,
  empty_patch_instances: 0,
  error_instances: 1,
  completed_ids: ['a', 'b', 'c'],
  incomplete_ids: ['e', 'f', 'g', 'h', 'i', 'j'],
  empty_patch_ids: [],
  submitted_ids: ['a', 'b', 'c', 'd'],
  resolved_ids: ['a'],
  unresolved_ids: ['b', 'c'],
  error_ids: ['d'],
  schema_version: 2,
};

const attempt = (uuid: string, status: number, results: object): unknown => ({
  entry_type: 'attempt',
  uuid,
  status,
  probe_classname: 'dan.Dan',
  prompt: 'p',
  outputs: ['o'],
  detector_results: results,
});

const GARAK = [
  {
    entry_type: 'start_run setup',
    'plugins.target_type': 'huggingface',
    'plugins.target_name': 'org/model',
    'run.eval_threshold': 0.5,
    'run.generations': 1,
  },
  { entry_type: 'init', garak_version: '0.14.0', start_time: '2025-08-28T14:07:00.000000', run: 'r' },
  attempt('u1', 1, {}),
  attempt('u1', 2, { 'dan.DAN': [0.0] }),
  attempt('u2', 2, { 'dan.DAN': [1.0] }),
  {
    entry_type: 'eval',
    probe: 'dan.Dan',
    detector: 'dan.DAN',
    passed: 1,
    fails: 1,
    nones: 0,
    total_evaluated: 2,
  },
];

const metrRun = (id: string, family: string, score: number, more: object = {}): unknown => ({
  run_id: id,
  task_id: `${family}/1`,
  task_family: family,
  alias: 'Model',
  score,
  score_binarized: score > 0.5 ? 1 : 0,
  started_at: 1734664191796,
  completed_at: 1734664200012,
  fatal_error_from: null,
  ...more,
});

const medal = (id: string, score: number | null, any: boolean): unknown => ({
  competition_id: id,
  score,
  any_medal: any,
  created_at: '2025-10-02T00:42:36.373212',
});

export const SPECIMENS: Readonly<Record<string, Specimen>> = {
  'lm-eval-results': {
    fileName: 'results_2025-06-30T19-40-09.461247.json',
    text: JSON.stringify(LM_EVAL),
    beside: { 'samples_mmlu_bio_2025-06-30T19-40-09.461247.jsonl': lmEvalSamples },
  },
  'lm-eval-samples': { fileName: 'samples_mmlu_bio_2025-06-30T19-40-09.461247.jsonl', text: lmEvalSamples },
  'promptfoo-json': { fileName: 'output.json', text: JSON.stringify(PROMPTFOO) },
  'promptfoo-jsonl': { fileName: 'output.jsonl', text: lines(...promptfooRows) },
  'promptfoo-eval-record': {
    fileName: 'record.json',
    text: JSON.stringify({
      id: 'eval-abc',
      createdAt: 1758065695513,
      config: {},
      results: [],
      prompts: PROMPTFOO.results.prompts,
      persisted: true,
    }),
  },
  'helm-stats': {
    fileName: 'stats.json',
    text: JSON.stringify(HELM_STATS),
    beside: {
      'run_spec.json': JSON.stringify(HELM_SPEC),
      'per_instance_stats.json': JSON.stringify(HELM_INSTANCES),
    },
  },
  'helm-run-spec': { fileName: 'run_spec.json', text: JSON.stringify(HELM_SPEC) },
  'helm-per-instance-stats': { fileName: 'per_instance_stats.json', text: JSON.stringify(HELM_INSTANCES) },
  'openai-evals-jsonl': {
    fileName: 'r1.jsonl',
    text: lines(
      EVALS_SPEC,
      evalsEvent('sampling', 's1', { prompt: 'p', sampled: ['a'] }),
      evalsEvent('match', 's1', { correct: true, expected: 'a', picked: 'a' }),
      evalsEvent('match', 's2', { correct: false, expected: 'a', picked: 'b' }),
      evalsEvent('error', 's3', { type: 'ValueError', message: 'm' }),
      { final_report: { accuracy: 0.5, boostrap_std: 0.2 }, run_id: 'r1' },
    ),
  },
  'swe-bench-run-report': { fileName: 'org__model-1.5.run7.json', text: JSON.stringify(SWE_BENCH) },
  'swe-bench-instance-report': {
    fileName: 'report.json',
    text: JSON.stringify({
      'a__a-1': {
        patch_is_None: false,
        patch_exists: true,
        patch_successfully_applied: true,
        resolved: true,
        tests_status: { FAIL_TO_PASS: { success: ['t1'], failure: [] } },
      },
    }),
  },
  'garak-report-jsonl': {
    fileName: 'garak.report.jsonl',
    text: lines(...GARAK, { entry_type: 'completion', end_time: '2025-08-28T14:08:00.000000', run: 'r' }),
  },
  'bigcode-eval-harness': {
    fileName: 'evaluation_results.json',
    text: JSON.stringify({
      humaneval: { 'pass@1': 0.19, 'pass@10': 0.33, failures: { timeout: 3 } },
      config: { model: 'org/model', revision: null, temperature: 0.2, n_samples: 50, limit: 20, token: 'x' },
    }),
  },
  'metr-runs-jsonl': {
    fileName: 'runs.jsonl',
    text: lines(
      metrRun('1', 'pico_ctf', 1),
      metrRun('2', 'pico_ctf', 0),
      metrRun('3', 'blackbox', 0.9, { fatal_error_from: 'usageLimits', score_binarized: 0 }),
    ),
  },
  'intercode-results': {
    fileName: 'ic_ctf_gpt-4_25_turns.json',
    text: JSON.stringify(
      Object.fromEntries(
        [1, 0, 1].map((max_reward, index) => [
          String(index),
          {
            environment: 'ic_ctf',
            dataset: './data/ctf.json',
            task_id: index,
            query: 'q',
            turn_history: { actions: [], observations: [], rewards: [] },
            summary: { max_reward, turns_taken: 5, turns_max: 15 },
          },
        ]),
      ),
    ),
  },
  'mle-bench-grading-report': {
    fileName: 'grading_report.json',
    text: JSON.stringify({
      total_runs: 2,
      total_runs_with_submissions: 2,
      total_valid_submissions: 1,
      total_medals: 1,
      total_gold_medals: 1,
      total_silver_medals: 0,
      total_bronze_medals: 0,
      total_above_median: 1,
      competition_reports: [medal('spooky', 0.9, true), medal('cactus', null, false)],
    }),
  },
  'lighteval-results': {
    fileName: 'results_2026-01-21T03-44-18.458309.json',
    text: `{"config_general":{"lighteval_sha":"f00","max_samples":10,"model_name":"org/model","model_sha":"m1"},
      "results":{"mmlu:anatomy|5":{"acc":0.4,"acc_stderr":NaN},"all":{"acc":0.4}},
      "versions":{"mmlu:anatomy|5":0},"config_tasks":{"mmlu:anatomy":{"effective_num_docs":10}}}`,
  },
  'dclm-evaluation': {
    fileName: 'evaluation_heavy.json',
    text: JSON.stringify({
      name: 'heavy',
      uuid: 'u',
      model: 'org/model',
      creation_date: '2024_06_12-07_07_17',
      eval_metrics: { perplexity: 3.6, icl: { mmlu_fewshot: 0.7, jeopardy: 0.4 } },
      eval_version: 'v2',
    }),
  },
  native: {
    fileName: 'result.json',
    text: JSON.stringify({ status: 'success', score: 0.5, n: 200, metrics: { 'pass@1': { value: 0.5 } } }),
  },
};
