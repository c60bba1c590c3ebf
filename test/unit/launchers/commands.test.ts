/** The command lines, as text: one row per case. What is said here is what the harness is told, and nothing more. */
import { describe, expect, test } from 'vitest';
import { ExecutorSchema } from '../../../src/domain/executor.ts';
import { type HarnessExecutor, isHarnessExecutor } from '../../../src/domain/harness-executors.ts';
import { HARNESS_FORMATS } from '../../../src/domain/log-pattern.ts';
import { FORMAT_NAMES } from '../../../src/evaluators/formats/registry.ts';
import { launchOf } from '../../../src/evaluators/launchers/harness.ts';
import type { LaunchContext } from '../../../src/evaluators/launchers/launch.ts';
import type { PlaceholderValues } from '../../../src/evaluators/program-inputs.ts';

const values: PlaceholderValues = {
  runId: 'run-1',
  checkpointId: 'ck-7',
  modelUri: '/models/ck-7',
  endpoint: 'https://inference.example/ck-7/v1/',
  effectiveCompute: '4e22',
  evaluation: 'ctf',
  variant: 'tools',
  resultFile: '/job/result.json',
  logDirectory: undefined,
};
const context: LaunchContext = {
  values,
  logDirectory: '/log',
  cacheDirectory: '/cache',
  previousLog: null,
  baseDirectory: '/etc/interlock',
};

function executorOf(stated: object): HarnessExecutor {
  const executor = ExecutorSchema.parse({ timeout: '2h', ...stated });
  if (!isHarnessExecutor(executor)) throw new Error('not a harness');
  return executor;
}
const launch = (stated: object, over: Partial<LaunchContext> = {}) =>
  launchOf(executorOf(stated), { ...context, ...over });
const lineOf = (stated: object, over?: Partial<LaunchContext>): string => {
  const launched = launch(stated, over);
  return launched.ok ? [launched.program, ...launched.args].join(' ') : `refused: ${launched.failure.detail}`;
};

const inspect = { kind: 'inspect', task: 'inspect_evals/gpqa_diamond' };
const INSPECT_TAIL = '--log-dir /log --display plain --log-format eval';
const lmEval = { kind: 'lm-eval', tasks: ['wmdp'] };
const LM_EVAL_TAIL = '--output_path /log --log_samples --use_cache /cache/answers';
const promptfoo = { kind: 'promptfoo', config: 'evals/injection.yaml' };
const PROMPTFOO_HEAD =
  'promptfoo eval --config /etc/interlock/evals/injection.yaml --providers openai:chat:ck-7';
const PROMPTFOO_TAIL = '--output /log/out.json /log/rows.jsonl --no-table --no-share --no-progress-bar';

describe('the command line of', () => {
  const rows: [string, object, string][] = [
    [
      'inspect: a task at the checkpoint',
      inspect,
      `inspect eval inspect_evals/gpqa_diamond --model openai-api/checkpoint/ck-7 --model-base-url https://inference.example/ck-7/v1 ${INSPECT_TAIL}`,
    ],
    [
      'inspect: bounds, arguments of task and model, further options',
      {
        ...inspect,
        program: '/opt/venv/bin/inspect',
        model: 'vllm/{checkpointId}',
        endpoint: '{endpoint}/openai',
        limit: 100,
        epochs: 4,
        messageLimit: 30,
        tokenLimit: 500000,
        timeLimit: '90m',
        taskArgs: { max_attempts: 3, sandbox: 'docker' },
        modelArgs: { responses_api: false, tag: '{variant}' },
        args: ['--max-connections', '20'],
      },
      `/opt/venv/bin/inspect eval inspect_evals/gpqa_diamond --model vllm/ck-7 --model-base-url https://inference.example/ck-7/v1/openai --limit 100 --epochs 4 --message-limit 30 --token-limit 500000 --time-limit 5400 -T max_attempts=3 -T sandbox=docker -M responses_api=false -M tag=tools ${INSPECT_TAIL} --max-connections 20`,
    ],
    [
      'inspect: weights that it loads itself have no base URL',
      { ...inspect, model: 'hf/local', modelArgs: { model_path: '{modelUri}' } },
      `inspect eval inspect_evals/gpqa_diamond --model hf/local -M model_path=/models/ck-7 ${INSPECT_TAIL}`,
    ],
    [
      'inspect: a file of the configuration, by its whole path',
      { ...inspect, task: 'evals/ctf.py@ctf', cwd: 'suite' },
      `inspect eval /etc/interlock/suite/evals/ctf.py@ctf --model openai-api/checkpoint/ck-7 --model-base-url https://inference.example/ck-7/v1 ${INSPECT_TAIL}`,
    ],
    [
      'lm-eval: a task at the checkpoint',
      lmEval,
      `lm_eval --model local-chat-completions --model_args model=ck-7,base_url=https://inference.example/ck-7/v1/chat/completions --tasks wmdp --apply_chat_template ${LM_EVAL_TAIL}`,
    ],
    [
      'lm-eval: weights, from a hub',
      {
        ...lmEval,
        tasks: ['wmdp_bio', 'wmdp_cyber'],
        backend: 'hf',
        model: 'lab/model',
        revision: '{checkpointId}',
        modelArgs: { dtype: 'bfloat16', parallelize: true },
        limit: 200,
        fewshot: 0,
        batchSize: 'auto:4',
        args: ['--seed', '7'],
      },
      `lm_eval --model hf --model_args pretrained=lab/model,revision=ck-7,dtype=bfloat16,parallelize=true --tasks wmdp_bio,wmdp_cyber --limit 200 --num_fewshot 0 --batch_size auto:4 ${LM_EVAL_TAIL} --seed 7`,
    ],
    [
      'lm-eval: weights of the checkpoint itself',
      { ...lmEval, backend: 'vllm' },
      `lm_eval --model vllm --model_args pretrained=/models/ck-7 --tasks wmdp ${LM_EVAL_TAIL}`,
    ],
    [
      'lm-eval: a server that completes',
      { ...lmEval, backend: 'local-completions' },
      `lm_eval --model local-completions --model_args model=ck-7,base_url=https://inference.example/ck-7/v1/completions --tasks wmdp ${LM_EVAL_TAIL}`,
    ],
    ['promptfoo: a file of the configuration', promptfoo, `${PROMPTFOO_HEAD} ${PROMPTFOO_TAIL}`],
    [
      'promptfoo: bounds and further options',
      { ...promptfoo, limit: 10, repeat: 3, concurrency: 2, args: ['--grader', 'openai:gpt-4o'] },
      `${PROMPTFOO_HEAD} ${PROMPTFOO_TAIL} --filter-first-n 10 --repeat 3 --max-concurrency 2 --grader openai:gpt-4o`,
    ],
  ];
  test.each(rows)('%s', (_, stated, line) => {
    expect(lineOf(stated)).toBe(line);
  });

  test('inspect, where an attempt left a log: a retry of that log, into the new directory', () => {
    const line = lineOf(
      { ...inspect, limit: 5, args: ['--max-connections', '20'] },
      { previousLog: '/before/a.eval' },
    );
    expect(line).toBe('inspect eval-retry /before/a.eval --log-dir /log --display plain');
  });
});

describe('what cannot be said safely is refused before anything runs', () => {
  const at = (over: Partial<PlaceholderValues>) => ({ values: { ...values, ...over } });
  const rows: [string, object, Partial<LaunchContext>, string][] = [
    [
      'an endpoint that was not reported',
      inspect,
      at({ endpoint: undefined }),
      '{endpoint} was not reported',
    ],
    [
      'a comma in a model argument',
      { ...lmEval, backend: 'hf' },
      at({ modelUri: '/m,trust_remote_code=True' }),
      'a comma in model',
    ],
    ['a comma in an endpoint', lmEval, at({ endpoint: 'https://x/v1,model=other' }), 'a comma in endpoint'],
    [
      "a model's name that Python reads as a number",
      lmEval,
      at({ checkpointId: '1000' }),
      "the model's name reads as a number",
    ],
    [
      "a model's name that Python reads as a word",
      lmEval,
      at({ checkpointId: 'None' }),
      "the model's name reads as a number",
    ],
    [
      'a value that would be an option',
      { ...inspect, task: '{variant}' },
      at({ variant: '--help' }),
      'a value begins with a dash',
    ],
  ];
  test.each(rows)('%s', (_, stated, over, detail) => {
    expect(lineOf(stated, over)).toContain(`refused: ${detail}`);
  });
});

describe('a policy that would take the launch out of our hands is refused', () => {
  const rows: [string, object, string][] = [
    ['another log directory', { ...inspect, args: ['--log-dir=/tmp'] }, 'args.0'],
    ['an abbreviation of it', { ...lmEval, args: ['--output', '/tmp'] }, 'args.0'],
    ['another model', { ...inspect, args: ['--max-connections', '3', '--model', 'openai/gpt-5'] }, 'args.2'],
    ['another model, by a short option', { ...lmEval, args: ['-Mhf'] }, 'args.0'],
    ['another model, by the short option of older versions', { ...lmEval, args: ['-m', 'hf'] }, 'args.0'],
    ['another model, behind an option without a value', { ...lmEval, args: ['-wm', 'hf'] }, 'args.0'],
    ['an option that an event names', { ...inspect, args: ['--{variant}', '/tmp'] }, 'args.0'],
    ['a resumed evaluation', { ...promptfoo, args: ['--resume'] }, 'args.0'],
    ['a task that is an option', { ...inspect, task: '--help' }, 'task'],
    ['two tasks in one', { ...lmEval, tasks: ['a,b'] }, 'tasks.0'],
    ['a program chosen by an event', { ...inspect, program: '{modelUri}' }, 'program'],
    ['a key written out', { ...inspect, apiKey: 'sk-1' }, 'apiKey'],
    ['no samples', { ...inspect, limit: 0 }, 'limit'],
    ['a batch size that is none', { ...lmEval, batchSize: 'large' }, 'batchSize'],
    ['an unknown placeholder', { ...promptfoo, config: '{where}.yaml' }, 'config'],
    ['where the log goes', { ...inspect, args: [], task: '{logDirectory}' }, 'task'],
    ['a log of a native result', { kind: 'command', command: ['x'], log: '*.json' }, 'log'],
    ['a log of a native result of a job', { kind: 'slurm', command: ['x'], log: '*.json' }, 'log'],
    ['where a job has no log', { kind: 'slurm', command: ['x', '{logDirectory}'] }, 'command.1'],
    ['a log above its directory', { kind: 'command', command: ['x'], format: 'auto', log: '../x' }, 'log'],
    ['an unknown format', { kind: 'command', command: ['x'], format: 'csv' }, 'format'],
  ];
  test.each(rows)('%s', (_, stated, where) => {
    const parsed = ExecutorSchema.safeParse({ timeout: '2h', ...stated });
    expect(parsed.error?.issues.map(({ path }) => path.join('.'))).toContain(where);
  });
});

test('keys are named for the provider, and never written into the command line', () => {
  const stated = { ...inspect, apiKey: 'env:MODEL_KEY' };
  const keyed = (model: string) => {
    const launched = launch({ ...stated, model });
    return launched.ok ? Object.entries(launched.env).filter(([, value]) => value === 'env:MODEL_KEY') : [];
  };
  expect(keyed('openai-api/my-lab/ck')).toEqual([['MY_LAB_API_KEY', 'env:MODEL_KEY']]);
  expect(keyed('vllm/ck')).toEqual([['VLLM_API_KEY', 'env:MODEL_KEY']]);
  expect(lineOf(stated)).not.toContain('MODEL_KEY');
});

test('what the log should say goes along, where the command line says it', () => {
  const expects = (stated: object) => {
    const launched = launch(stated);
    return launched.ok ? launched.expects : null;
  };
  expect(expects(inspect)).toEqual({
    model: 'openai-api/checkpoint/ck-7',
    task: 'inspect_evals/gpqa_diamond',
  });
  expect(expects({ ...inspect, task: 'a.py@ctf' })).toMatchObject({ task: 'ctf' });
  expect(expects({ ...inspect, task: 'a.py' })).not.toHaveProperty('task');
  expect(expects({ ...lmEval, backend: 'hf', revision: 'main' })).toEqual({
    model: '/models/ck-7',
    revision: 'main',
  });
  expect(expects(promptfoo)).toEqual({ model: 'openai:ck-7' });
});

test('every format that a policy may name has a reader, and every reader a name in policies', () => {
  expect([...HARNESS_FORMATS, 'native'].sort()).toEqual([...FORMAT_NAMES].sort());
});
