import { existsSync } from 'node:fs';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createCommandEvaluator } from '../../src/evaluators/command.ts';
import { type CommandFixture, commandFixture } from './command-fixture.ts';
import { CANARY, exampleRequest, expectFailed } from './describe-evaluator.ts';

const node = process.execPath;

let fixture: CommandFixture;
beforeEach(async () => {
  fixture = await commandFixture();
});
afterEach(async () => {
  const left = await fixture.leftOnDisk();
  await fixture.close();
  // Whatever a test did, the directory, the record and the slot are free again.
  expect(left).toEqual([]);
});

const sh = (script: string, options?: Parameters<CommandFixture['run']>[1]) =>
  fixture.run(['/bin/sh', '-c', script], options);
const js = (script: string, options?: Parameters<CommandFixture['run']>[1]) =>
  fixture.run([node, '-e', script], options);

describe('what a program is given', () => {
  test('arguments reach it as they are: no shell reads them', async () => {
    const echo = await fixture.program(
      'echo.cjs',
      'console.log(JSON.stringify({ args: process.argv.slice(2) }))',
    );
    const hostile = '$(touch pwned); `id` | & > x "\' * ~ \\ %PATH% !!\n{"x":1}';
    const outcome = await fixture.run(
      [node, echo, '{variant}', 'x={variant}', '$HOME', '{evaluation};{runId}'],
      {
        request: { variant: hostile },
      },
    );
    expect(outcome).toEqual({
      kind: 'reported',
      result: { args: [hostile, `x=${hostile}`, '$HOME', 'ctf;run-1'] },
    });
  });

  test('its environment is what is declared, and nothing else', async () => {
    vi.stubEnv('DATABASE_URL', `postgres://${CANARY}`);
    vi.stubEnv('NODE_OPTIONS', '--no-warnings');
    const outcome = await fixture.run(['/usr/bin/env', node, '-p', 'JSON.stringify({ ...process.env })'], {
      executor: { env: { TASK: 'ctf', SCAFFOLD: 'none', API_KEY: 'env:EVAL_KEY' } },
      request: { topUp: 50, axes: { tokenBudget: '100000', systemPrompt: 'v2' } },
    });
    vi.unstubAllEnvs();
    expect(outcome).toEqual({
      kind: 'reported',
      result: {
        PATH: process.env['PATH'],
        HOME: '/home/of-interlock',
        LANG: 'C.UTF-8',
        TASK: 'ctf',
        SCAFFOLD: 'tools', // the variant's word stands over the executor's
        API_KEY: 'key-of-the-evaluator',
        INTERLOCK_RUN_ID: 'run-1',
        INTERLOCK_CHECKPOINT_ID: 'ck-7',
        INTERLOCK_MODEL_URI: 's3://models/run-1/ck-7',
        INTERLOCK_ENDPOINT: 'https://inference.example/ck-7',
        INTERLOCK_EFFECTIVE_COMPUTE: '4e22',
        INTERLOCK_EVALUATION: 'ctf',
        INTERLOCK_VARIANT: 'tools',
        INTERLOCK_VARIANT_SYSTEM_PROMPT: 'v2',
        INTERLOCK_VARIANT_TOKEN_BUDGET: '100000',
        INTERLOCK_ATTEMPT: '2',
        INTERLOCK_TOP_UP: '50',
        INTERLOCK_RESULT_FILE: expect.stringMatching(/^\/.*\/result\.json$/),
        INTERLOCK_JOB: expect.stringMatching(/^[0-9a-f]{32}$/),
      },
    });
  });

  test('a variable that is not set stops it: it would measure something else', async () => {
    const outcome = await sh('echo "{}"', { executor: { env: { API_KEY: 'env:NOT_SET' } } });
    expect(outcome).toEqual({ kind: 'failed', reason: 'not-configured', detail: 'env:NOT_SET is not set' });
  });

  test('a fresh directory of its own, removed afterwards', async () => {
    const script = `const fs = require('fs');
      fs.writeFileSync('left-behind', 'x'); fs.mkdirSync('locked', { mode: 0o500 });
      const { mode } = fs.statSync('.');
      console.log(JSON.stringify({ cwd: process.cwd(), mode: (mode & 0o777).toString(8), files: fs.readdirSync('.').sort() }))`;
    const first = await js(script);
    const second = await js(script);
    expect(first).toMatchObject({ result: { mode: '700', files: ['left-behind', 'locked'] } });
    expect(second).toMatchObject({ result: { files: ['left-behind', 'locked'] } });
    expect(JSON.stringify(first)).not.toBe(JSON.stringify(second));
  });

  test('or the directory that the policy names, relative to the configuration', async () => {
    await mkdir(fixture.file('evals'));
    await fixture.program('evals/run.sh', '#!/bin/sh\necho "{\\"cwd\\":\\"$(pwd)\\"}"');
    const outcome = await fixture.run(['./evals/run.sh'], { executor: { cwd: 'evals' } });
    expect(outcome).toMatchObject({ kind: 'reported', result: { cwd: fixture.file('evals') } });
    expectFailed(await sh('echo "{}"', { executor: { cwd: 'elsewhere' } }), 'spawn-failed');
  });

  test('nothing on standard input: it does not wait for a person', async () => {
    expect(await sh('read line; echo "{\\"read\\":\\"$line\\"}"')).toMatchObject({ result: { read: '' } });
  });

  test.each([
    ['an argument beginning with a dash', ['{variant}'], { variant: '--config=x' }],
    ['NUL', ['x{variant}'], { variant: 'a\0b' }],
  ])('%s is refused before anything runs', async (_, args, request) => {
    const outcome = await fixture.run(
      [node, '-e', `require('fs').writeFileSync('${fixture.file('ran')}', '')`, ...args],
      { request },
    );
    expectFailed(outcome, 'argument-refused');
    expect(existsSync(fixture.file('ran'))).toBe(false);
  });

  test('an endpoint that was not reported is not an empty argument', async () => {
    const { endpoint: _, ...request } = exampleRequest;
    const evaluator = createCommandEvaluator(
      fixture.executor([node, '-p', '"{}"', '{endpoint}']),
      fixture.deps,
    );
    expectFailed(await evaluator.run(request, new AbortController().signal), 'argument-refused');
  });
});

describe('a model', () => {
  const echo = (modelUri: string, roots = fixture.deps.modelRoots) =>
    fixture.run([node, '-p', 'JSON.stringify({ model: process.argv[1] })', '{modelUri}'], {
      request: { modelUri },
      deps: { modelRoots: roots },
    });

  beforeEach(async () => {
    await writeFile(path.join(fixture.modelRoot, 'ck 7'), 'weights');
    await writeFile(fixture.file('secret'), 'not weights');
    await mkdir(fixture.file('models-of-others'));
    await writeFile(fixture.file('models-of-others/ck-1'), 'weights');
    await symlink(fixture.file('secret'), path.join(fixture.modelRoot, 'escape'));
    await symlink('ck 7', path.join(fixture.modelRoot, 'latest'));
    await symlink(fixture.modelRoot, fixture.file('linked-root'));
  });

  test('under a root is given with its links resolved', async () => {
    const weights = path.join(fixture.modelRoot, 'ck 7');
    expect(await echo(weights)).toMatchObject({ result: { model: weights } });
    expect(await echo(path.join(fixture.modelRoot, 'latest'))).toMatchObject({ result: { model: weights } });
    expect(await echo(pathToFileURL(weights).href)).toMatchObject({
      result: { model: pathToFileURL(weights).href },
    });
    expect(await echo(weights, ['/nowhere', fixture.file('linked-root')])).toMatchObject({
      result: { model: weights },
    });
  });

  test.each([
    ['outside', () => '/etc/passwd'],
    ['outside, as a URL', () => 'file:///etc/passwd'],
    ['outside, as an odd URL', () => 'FILE:/etc/passwd'],
    ['on another host', () => 'file://host/etc/passwd'],
    ['with an encoded slash', () => `file://${fixture.modelRoot}/..%2fsecret`],
    ['by the way of ..', () => `${fixture.modelRoot}/../secret`],
    ['by a link', () => `${fixture.modelRoot}/escape`],
    ['in a directory of a similar name', () => fixture.file('models-of-others/ck-1')],
    ['relative', () => 'models/ck 7'],
    ['not there', () => `${fixture.modelRoot}/ck-8`],
    ['an option', () => '--config=x'],
    ['empty', () => ''],
    ['with NUL', () => `${fixture.modelRoot}/ck 7\0`],
  ])('%s is refused', async (_, uri) => {
    expectFailed(await echo(uri()), 'model-uri-refused');
  });

  test('without roots no local one is accepted; one elsewhere is none of theirs', async () => {
    expectFailed(await echo(path.join(fixture.modelRoot, 'ck 7'), []), 'model-uri-refused');
    expect(await echo('s3://bucket/ck', [])).toMatchObject({ result: { model: 's3://bucket/ck' } });
  });
});

describe('the result', () => {
  test('is the file, where one is written, whatever standard output says', async () => {
    expect(
      await sh('echo \'{"from":"file"}\' > "$INTERLOCK_RESULT_FILE"; echo \'{"from":"output"}\''),
    ).toEqual({
      kind: 'reported',
      result: { from: 'file' },
    });
  });

  test('can be named in an argument', async () => {
    expect(
      await fixture.run([node, '-e', 'fs.writeFileSync(process.argv[1], `{"i":1}`)', '{resultFile}']),
    ).toMatchObject({ result: { i: 1 } });
  });

  test('is the last of ten JSON lines', async () => {
    expect(await sh('for i in 1 2 3 4 5 6 7 8 9 10; do echo "{\\"i\\":$i}"; done')).toMatchObject({
      result: { i: 10 },
    });
  });

  test('is found before text that follows, and behind much output', async () => {
    expect(
      await js('console.log("x".repeat(3e6)); console.log(`{"i":1}`); console.log("done")'),
    ).toMatchObject({
      result: { i: 1 },
    });
  });

  test.each([
    ['a NaN token', 'echo \'{"score":NaN}\' > "$INTERLOCK_RESULT_FILE"', 'unreadable-result'],
    ['NaN in output', 'echo \'{"score":NaN}\'', 'unreadable-result'],
    ['an empty file', ': > "$INTERLOCK_RESULT_FILE"; echo "{}"', 'unreadable-result'],
    ['bytes that are not UTF-8', 'printf \'{"a":"\\377"}\' > "$INTERLOCK_RESULT_FILE"', 'unreadable-result'],
    [
      'a link to another file',
      'echo "{}" > other; ln -s other "$INTERLOCK_RESULT_FILE"',
      'unreadable-result',
    ],
    ['a pipe that nobody feeds', 'mkfifo "$INTERLOCK_RESULT_FILE"', 'unreadable-result'],
    ['a directory', 'mkdir "$INTERLOCK_RESULT_FILE"', 'unreadable-result'],
    ['a file beyond the cap', 'head -c 1048577 /dev/zero > "$INTERLOCK_RESULT_FILE"', 'output-too-large'],
    ['binary output', 'head -c 100000 /dev/urandom | tr -d "{"', 'no-result'],
    ['text only', 'echo "accuracy: 0.9"', 'no-result'],
  ] as const)('%s is none', async (_, script, reason) => {
    expectFailed(await sh(script), reason);
  });

  test('of a run that failed is handed on beside the failure', async () => {
    const outcome = await sh('echo \'{"status":"success","score":0.9}\'; exit 3');
    expectFailed(outcome, 'exit-nonzero');
    expect(outcome).toMatchObject({
      detail: expect.stringMatching(/^exit code 3; /),
      result: { status: 'success', score: 0.9 },
    });
  });

  test('of a run that then hung, too', async () => {
    const outcome = await sh('echo \'{"score":0.9}\' > "$INTERLOCK_RESULT_FILE"; sleep 1000', {
      executor: { timeout: '1500ms' },
    });
    expectFailed(outcome, 'timed-out');
    expect(outcome).toMatchObject({ result: { score: 0.9 } });
  });

  test('a crash is not an exit code', async () => {
    const outcome = await sh('kill -SEGV $$');
    expect(outcome).toMatchObject({
      reason: 'exit-nonzero',
      detail: expect.stringMatching(/^ended by SIGSEGV; /),
    });
  });
});

describe('output is counted, not kept', () => {
  test('a flood is killed at the cap', async () => {
    const outcome = await sh('yes CANARY');
    expectFailed(outcome, 'output-too-large');
  });

  test('a flood of errors counts as well', async () => {
    expectFailed(await sh('yes CANARY >&2'), 'output-too-large');
  });

  test('one line of 200 MB is killed at the cap', async () => {
    expectFailed(await sh('head -c 200000000 /dev/zero'), 'output-too-large');
  });

  test('just under the cap is read', async () => {
    const script = 'head -c 10485000 /dev/zero; echo; echo "{\\"i\\":1}"';
    expect(await sh(script)).toMatchObject({ result: { i: 1 } });
  });

  test('whatever it says, nothing of it stands in the outcome', async () => {
    const outcome = await sh(`echo ${CANARY}; echo ${CANARY} >&2; exit 7`);
    expect(outcome).toEqual({
      kind: 'failed',
      reason: 'exit-nonzero',
      detail: `exit code 7; ${CANARY.length + 1} bytes of output, ${CANARY.length + 1} of errors`,
    });
  });
});

describe('a program that cannot be started', () => {
  test.each([
    ['not there', './no-such-program', 'ENOENT'],
    ['not executable', './plain.txt', 'EACCES'],
    ['a directory', './models', 'EACCES'],
  ])('%s', async (_, program, detail) => {
    await writeFile(fixture.file('plain.txt'), 'x');
    expect(await fixture.run([program])).toEqual({ kind: 'failed', reason: 'spawn-failed', detail });
  });
});
