import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ExecutorSchema } from '../../src/domain/executor.ts';
import { replacePlaceholders } from '../../src/domain/executor-fields.ts';
import { buildArguments } from '../../src/evaluators/program-inputs.ts';
import { lastJsonLine } from '../../src/evaluators/result-text.ts';
import { OutputTail } from '../../src/subprocess/output-tail.ts';

const command = { kind: 'command', command: ['node', 'evaluate.mjs', '{modelUri}'], timeout: '2h' };
const http = {
  kind: 'http',
  url: 'https://evals.example/run',
  mode: 'sync',
  secret: 'env:EVAL_SECRET',
  timeout: '2h',
};

describe('an executor is refused by the policy check where', () => {
  const rows: [string, object, string][] = [
    ['a placeholder is unknown', { ...command, command: ['node', '{model}'] }, 'command.1'],
    ['an event would choose the program', { ...command, command: ['{modelUri}'] }, 'command.0'],
    ['the command is empty', { ...command, command: [] }, 'command'],
    ['an argument holds NUL', { ...command, command: ['node', 'a\0b'] }, 'command.1'],
    ['the timeout is zero', { ...command, timeout: '0s' }, 'timeout'],
    ['the timeout is no duration', { ...command, timeout: 'soon' }, 'timeout'],
    ['the timeout is longer than a timer holds', { ...command, timeout: '25d' }, 'timeout'],
    ['there are no attempts', { ...command, attempts: 0 }, 'attempts'],
    [
      'a variable is one of Interlock',
      { ...command, env: { INTERLOCK_RUN_ID: 'x' } },
      'env.INTERLOCK_RUN_ID',
    ],
    ['a key is unknown', { ...command, shell: true }, ''],
    ['a secret is written out', { ...http, secret: 'whsec_AAAA' }, 'secret'],
    ['a request would go out unsigned', { ...http, secret: undefined }, 'secret'],
    ['there is nobody to ask for an answer', { ...http, url: undefined }, 'url'],
    ['a URL holds credentials', { ...http, url: 'https://me:secret@evals.example/' }, 'url'],
    ['a URL has a fragment', { ...http, url: 'https://evals.example/#x' }, 'url'],
    ['a host only looks like another', { ...http, url: 'https://\u0435vals.example/' }, 'url'],
    ['a URL is of another scheme', { ...http, url: 'file:///etc/passwd' }, 'url'],
    ['the kind is unknown', { ...http, kind: 'grpc' }, 'kind'],
  ];
  test.each(rows)('%s', (_, executor, where) => {
    const outcome = ExecutorSchema.safeParse(executor);
    expect(outcome.error?.issues.map((issue) => issue.path.join('.'))).toContain(where);
  });

  test('otherwise it is accepted, with its defaults', () => {
    expect(ExecutorSchema.parse(command)).toMatchObject({ format: 'native', attempts: 2, env: {} });
    expect(ExecutorSchema.parse(http)).toMatchObject({ mode: 'sync', attempts: 2 });
    expect(ExecutorSchema.safeParse({ ...command, command: ['node', '{"a":1}', '{}'] }).success).toBe(true);
  });
});

const values = {
  runId: 'run-1',
  checkpointId: 'ck-1',
  modelUri: '/models/ck-1',
  endpoint: undefined,
  effectiveCompute: '1e22',
  evaluation: 'ctf',
  variant: 'default',
  resultFile: '/tmp/x/result.json',
  logDirectory: undefined,
};

describe('arguments', () => {
  test('are replaced inside, several times, and only once', () => {
    const built = buildArguments(['node', '--m={modelUri}:{runId}', '{runId}'], {
      ...values,
      runId: '{variant}$&',
    });
    expect(built).toEqual({
      ok: true,
      program: 'node',
      args: ['--m=/models/ck-1:{variant}$&', '{variant}$&'],
    });
  });

  test.each([
    ['--config=x', ['node', '{modelUri}'], 'a value begins with a dash'],
    ['-', ['node', '{modelUri}/weights'], 'a value begins with a dash'],
    ['a\0b', ['node', 'x{modelUri}'], 'a value holds NUL'],
    ['/m', ['node', '{endpoint}'], '{endpoint} was not reported'],
  ])('refuse %j in %j', (modelUri, template, detail) => {
    expect(buildArguments(template, { ...values, modelUri })).toEqual({
      ok: false,
      failure: { kind: 'failed', reason: 'argument-refused', detail },
    });
  });

  test('may take a value of an axis, and refuse where the variant has none', () => {
    const template = ['node', '--tokens={tokenBudget}'];
    expect(buildArguments(template, { ...values, tokenBudget: '9' })).toMatchObject({ args: ['--tokens=9'] });
    expect(buildArguments(template, values)).toMatchObject({
      failure: { detail: '{tokenBudget} was not reported' },
    });
  });

  test('may hold a dash behind what the policy wrote', () => {
    expect(buildArguments(['node', '--model={modelUri}'], { ...values, modelUri: '-x' })).toMatchObject({
      args: ['--model=-x'],
    });
  });

  test('text without placeholders stays as it is', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        fc.pre(!/\{[A-Za-z_]/.test(text));
        expect(replacePlaceholders(text, () => 'x')).toBe(text);
      }),
    );
  });
});

describe('the last JSON line', () => {
  const nested = (depth: number): unknown[] => (depth === 1 ? [] : [nested(depth - 1)]);
  const rows: [string, string | Buffer, string, object | null][] = [
    ['nothing', '', 'none', null],
    ['no JSON', 'loading\ndone\n', 'none', null],
    ['ten objects', Array.from({ length: 10 }, (_, i) => `{"i":${i}}\n`).join(''), 'found', { i: 9 }],
    ['JSON then text', '{"i":1}\nall done\n\n', 'found', { i: 1 }],
    ['no newline at the end', 'text\n{"i":1}', 'found', { i: 1 }],
    ['carriage returns and indentation', '\r\n  {"i":1}\r\n', 'found', { i: 1 }],
    ['cut off', '{"i":1}\n{"i":', 'unreadable', null],
    ['a NaN token', '{"i":1}\n{"i":NaN}\n', 'unreadable', null],
    ['pretty-printed', '{\n  "i": 1\n}\n', 'unreadable', null],
    ['two on a line', '{"i":1}{"i":2}\n', 'unreadable', null],
    ['as deep as it may be', `{"a":${'['.repeat(31)}${']'.repeat(31)}}\n`, 'found', { a: nested(31) }],
    ['deeper', `{"a":${'['.repeat(32)}${']'.repeat(32)}}\n`, 'unreadable', null],
    [
      'deep enough to use up the stack',
      `{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}\n`,
      'unreadable',
      null,
    ],
    ['a list', '[1]\n"x"\n3\n', 'none', null],
    [
      'not UTF-8',
      Buffer.concat([Buffer.from('{"i":"'), Buffer.from([0xff]), Buffer.from('"}\n')]),
      'unreadable',
      null,
    ],
    [
      'binary around it',
      Buffer.concat([Buffer.from([0xff, 0, 0x0a]), Buffer.from('{"i":1}\n'), Buffer.from([0xfe, 0])]),
      'found',
      { i: 1 },
    ],
  ];
  test.each(rows)('%s', (_, output, kind, result) => {
    expect(lastJsonLine(Buffer.from(output))).toEqual(result === null ? { kind } : { kind, result });
  });
});

describe('the kept end of an output', () => {
  test('is whole lines, whatever the chunks', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.string({ maxLength: 30 }).map((text) => text.replaceAll('\n', ' ')),
          { maxLength: 60 },
        ),
        fc.integer({ min: 1, max: 7 }),
        fc.integer({ min: 8, max: 200 }),
        (lines, chunk, keptBytes) => {
          const all = Buffer.from(lines.map((line) => `${line}\n`).join(''));
          const tail = new OutputTail(keptBytes);
          for (let at = 0; at < all.length; at += chunk) tail.push(all.subarray(at, at + chunk));
          const kept = tail.lines();
          expect(kept.length).toBeLessThanOrEqual(keptBytes);
          expect(all.subarray(all.length - kept.length).equals(kept)).toBe(true);
          const before = all[all.length - kept.length - 1];
          expect(kept.length === all.length || before === 0x0a).toBe(true);
          expect(tail.totalBytes).toBe(all.length);
        },
      ),
    );
  });

  test('never begins in the middle of a line', () => {
    const tail = new OutputTail(16);
    tail.push(Buffer.from(`${'x'.repeat(100)}{"score":1}\n{"i":2}\n`));
    expect(tail.lines().toString()).toBe('{"i":2}\n');
  });
});
