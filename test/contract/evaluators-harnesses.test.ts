/**
 * The launchers held to the contract of every evaluator, and to what is theirs alone: one fresh log, going on where an attempt
 * stopped, progress, and the end of the whole tree.
 *
 * promptfoo is the real one, over a scripted server. Inspect and lm-eval are stand-ins (test/support/harnesses), because the real
 * ones cannot be installed here: what is shown of them is the command line, its refusals, and logs of the genuine shape.
 */
import { EventEmitter, once } from 'node:events';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ExecutorSchema } from '../../src/domain/executor.ts';
import { type HarnessExecutor, isHarnessExecutor } from '../../src/domain/harness-executors.ts';
import type { LogProblem } from '../../src/domain/harness-log.ts';
import type { EvaluationProgress, EvaluationRequest } from '../../src/evaluators/evaluator.ts';
import { createHarnessEvaluator } from '../../src/evaluators/launchers/harness.ts';
import {
  answersOnly,
  type ModelBehaviour,
  type ModelServer,
  startModelServer,
} from '../support/harnesses/model-server.ts';
import {
  INSPECT_STAND_IN,
  LM_EVAL_STAND_IN,
  NO_PROMPTFOO,
  PROMPTFOO,
} from '../support/harnesses/programs.ts';
import { type CommandFixture, commandFixture, processesOf } from './command-fixture.ts';
import {
  type Behaviour,
  describeEvaluator,
  exampleRequest,
  expectFailed,
  type MadeEvaluator,
} from './describe-evaluator.ts';

interface Harness {
  readonly kind: HarnessExecutor['kind'];
  readonly stated: object;
  /** What the real one prints or exits with when it breaks, told to the stand-in; a script in place of promptfoo. */
  broken(behaviour: Behaviour, fixture: CommandFixture): Promise<object>;
  readonly metric: string;
  /** What its reader calls a file of garbage under the log's name. */
  readonly nonsense: LogProblem;
}

const ENDINGS: Partial<Record<Behaviour, string>> = {
  fails: 'exits-1',
  'says-nothing': 'writes-nothing',
  'says-nonsense': 'writes-garbage',
  floods: 'floods',
  hangs: 'hangs',
  'hangs-for-long': 'hangs',
};
const standIn = async (behaviour: Behaviour): Promise<object> =>
  ENDINGS[behaviour] === undefined ? {} : { env: { STAND_IN: ENDINGS[behaviour] } };

const CONFIG = `prompts: ['What is {{a}} plus 1?']
providers: ['openai:chat:nobody']
tests:
${Array.from({ length: 6 }, (_, a) => `  - { vars: { a: ${a} }, assert: [{ type: contains, value: '${a + 1}' }] }`).join('\n')}
`;
const SCRIPTS: Partial<Record<Behaviour, string>> = {
  fails: 'echo CANARY-hazardous >&2; exit 1',
  'says-nothing': 'exit 0',
  'says-nonsense': 'while [ "$1" != --output ]; do shift; done; echo CANARY > "$2"',
  floods: 'yes CANARY',
};

const HARNESSES: readonly Harness[] = [
  {
    kind: 'inspect',
    stated: { task: 'arithmetic', program: INSPECT_STAND_IN },
    broken: standIn,
    metric: 'accuracy',
    nonsense: 'log-truncated',
  },
  {
    kind: 'lm-eval',
    stated: { tasks: ['arithmetic'], program: LM_EVAL_STAND_IN },
    broken: standIn,
    metric: 'exact_match',
    nonsense: 'log-unreadable',
  },
  {
    kind: 'promptfoo',
    stated: { config: 'eval.yaml', program: PROMPTFOO ?? 'promptfoo', concurrency: 1 },
    broken: async (behaviour, fixture) => {
      const script = SCRIPTS[behaviour];
      return script === undefined
        ? {}
        : { program: await fixture.program('broken', `#!/bin/sh\n${script}\n`) };
    },
    metric: 'pass_rate',
    nonsense: 'log-unreadable',
  },
];

const executorOf = (
  { kind, stated }: Pick<Harness, 'kind' | 'stated'>,
  more: object = {},
): HarnessExecutor => {
  const executor = ExecutorSchema.parse({ kind, timeout: '60s', ...stated, ...more });
  if (!isHarnessExecutor(executor)) throw new Error('not a harness');
  return executor;
};

async function make(harness: Harness, behaviour: Behaviour): Promise<MadeEvaluator> {
  const fixture = await commandFixture();
  const server = await startModelServer({
    rightBelow: 3,
    ...(behaviour.startsWith('hangs') ? { answersAfter: answersOnly(1) } : {}),
  });
  await writeFile(fixture.file('eval.yaml'), CONFIG);
  const broken =
    behaviour === 'is-absent' ? { program: './no-such-harness' } : await harness.broken(behaviour, fixture);
  const timeout = behaviour === 'hangs' ? '300ms' : behaviour === 'hangs-for-long' ? '1h' : '60s';
  const evaluator = createHarnessEvaluator(
    executorOf(harness, { timeout, endpoint: server.url, ...broken }),
    fixture.deps,
  );
  return {
    evaluator,
    begun: () => server.untilAsked(1),
    async close() {
      await server.close();
      expect(await fixture.leftOnDisk()).toEqual([]);
      await fixture.close();
    },
  };
}

for (const harness of HARNESSES) {
  const missing = harness.kind === 'promptfoo' ? NO_PROMPTFOO : null;
  describe.skipIf(missing !== null)(missing === null ? harness.kind : `${harness.kind} (${missing})`, () => {
    describeEvaluator(
      'the contract',
      (behaviour) => make(harness, behaviour),
      {
        fails: 'exit-nonzero',
        'says-nothing': 'log-missing',
        'says-nonsense': harness.nonsense,
        floods: 'output-too-large',
        'is-absent': 'spawn-failed',
      },
      { harnessLog: { format: expect.stringMatching(`^${harness.kind}`), status: 'success' } },
    );
  });
}

// --- what is theirs alone --------------------------------------------------------------------------------

let fixture: CommandFixture;
let server: ModelServer;
beforeEach(async () => {
  fixture = await commandFixture();
  server = await startModelServer({ rightBelow: 3 });
  await writeFile(fixture.file('eval.yaml'), CONFIG);
});
afterEach(async () => {
  await server.close();
  const left = await fixture.leftOnDisk();
  await fixture.close();
  expect(left).toEqual([]);
});

async function attempt(
  harness: Harness,
  {
    stated = {},
    request = {},
    signal,
    behaviour,
    onProgress,
  }: {
    stated?: object;
    request?: Partial<EvaluationRequest>;
    signal?: AbortSignal;
    behaviour?: ModelBehaviour;
    onProgress?: (progress: EvaluationProgress) => void;
  } = {},
) {
  if (behaviour !== undefined) server.behaviour = behaviour;
  const heard: EvaluationProgress[] = [];
  const evaluator = createHarnessEvaluator(executorOf(harness, { endpoint: '{endpoint}', ...stated }), {
    ...fixture.deps,
    progressEveryMs: 50,
  });
  const before = server.asked.length;
  const outcome = await evaluator.run(
    { ...exampleRequest, endpoint: server.url, ...request },
    signal ?? new AbortController().signal,
    {
      onProgress(progress) {
        heard.push(progress);
        onProgress?.(progress);
      },
    },
  );
  return { outcome, heard, asked: server.asked.length - before };
}

describe.each(HARNESSES.map((harness) => [harness.kind, harness] as const))('%s', (kind, harness) => {
  const missing = kind === 'promptfoo' ? NO_PROMPTFOO : null;
  const run = test.skipIf(missing !== null);

  run('measures the checkpoint, at its endpoint, and says so beside the log', async () => {
    const { outcome } = await attempt(harness);
    expect(new Set(server.asked)).toEqual(new Set(['ck-7']));
    expect(outcome).toMatchObject({
      kind: 'reported',
      result: {
        harnessLog: {
          format: expect.stringMatching(`^${kind}`),
          status: 'success',
          metrics: expect.arrayContaining([expect.objectContaining({ name: harness.metric })]),
        },
      },
      launch: { exitCode: kind === 'promptfoo' ? 100 : 0, model: expect.stringContaining('ck-7') },
    });
    const model = outcome.kind === 'reported' ? outcome.launch?.model : undefined;
    expect(outcome).toMatchObject({ result: { harnessLog: { model } } });
  });

  run('asks with the key that the policy names', async () => {
    await attempt(harness, { stated: { apiKey: 'env:EVAL_KEY' } });
    expect(new Set(server.keys)).toEqual(new Set(['Bearer key-of-the-evaluator']));
  });

  run('says how far it is, in figures', async () => {
    const total = kind === 'promptfoo' ? 6 : 20;
    const before = server.asked.length;
    const progressed = new EventEmitter().setMaxListeners(100);
    let furthest = 0;
    const { heard } = await attempt(harness, {
      behaviour: {
        rightBelow: 3,
        // The model is never further ahead than half of the whole: what it has answered must be told before it goes on.
        async answersAfter(request) {
          while (request - before > furthest + total / 2) await once(progressed, 'progress');
        },
      },
      onProgress({ done }) {
        furthest = done;
        progressed.emit('progress');
      },
    });
    expect(heard.length).toBeGreaterThan(2);
    expect(heard.some(({ done }) => done > 0 && done < total)).toBe(true);
    expect(heard.at(-1)?.total).toBe(total);
    expect(heard.map(({ done }) => done)).toEqual(heard.map(({ done }) => done).sort((a, b) => a - b));
    expect(JSON.stringify(heard)).not.toContain('CANARY');
  });

  run('a second attempt asks only for what the first one, stopped midway, had no answer to', async () => {
    const total = kind === 'promptfoo' ? 6 : 20;
    const stop = new AbortController();
    const before = server.asked.length;
    const first = attempt(harness, {
      behaviour: { rightBelow: 3, answersAfter: (request) => answersOnly(4)(request - before) },
      signal: stop.signal,
    });
    await server.untilAsked(before + 5);
    stop.abort();
    const stopped = await first;
    expectFailed(stopped.outcome, 'cancelled');
    expect(stopped.outcome).not.toHaveProperty('result');

    const second = await attempt(harness, { behaviour: { rightBelow: 3 } });
    expect(second.outcome).toMatchObject({
      kind: 'reported',
      result: { harnessLog: { samples: { total: kind === 'lm-eval' ? expect.anything() : total } } },
    });
    // Whatever was on its way when it was stopped may be asked for again.
    expect(second.asked).toBeLessThanOrEqual(total - 2);
    expect(second.asked).toBeGreaterThan(0);
  });

  run('another evaluation, and further samples of this one, begin from nothing', async () => {
    const { asked } = await attempt(harness);
    expect((await attempt(harness, { request: { topUp: 1 } })).asked).toBe(asked);
    expect((await attempt(harness, { request: { evaluationId: 'ev_b' } })).asked).toBe(asked);
  });

  run('a log that lies there from elsewhere is not its log', async () => {
    const { outcome } = await attempt(harness, { request: { evaluationId: 'ev_c' } });
    expect(outcome.kind).toBe('reported');
    const silent = await fixture.program('silent', '#!/bin/sh\nexit 0\n');
    const { outcome: second } = await attempt(harness, {
      stated: { program: silent },
      request: { evaluationId: 'ev_c' },
    });
    expectFailed(second, 'log-missing');
  });

  run('ends with everything that it started', async () => {
    const child = await fixture.program('child', '#!/bin/sh\nsleep 1000\n');
    const parent = await fixture.program('parent', `#!/bin/sh\n${child} &\n${child}\n`);
    const stop = new AbortController();
    const outcome = attempt(harness, { stated: { program: parent }, signal: stop.signal });
    await vi.waitFor(async () => expect(await processesOf(child)).toHaveLength(2), { timeout: 10_000 });
    stop.abort();
    expectFailed((await outcome).outcome, 'cancelled');
    expect(await processesOf(child)).toEqual([]);
  });
});

describe('inspect', () => {
  const [harness] = HARNESSES;
  if (harness === undefined) throw new Error('there is none');

  test('a task that failed is in the log, though the exit code says nothing', async () => {
    const { outcome } = await attempt(harness, {
      behaviour: { rightBelow: 3, refuses: (request) => request === 4 },
    });
    expect(outcome).toMatchObject({
      kind: 'reported',
      launch: { exitCode: 0 },
      result: { harnessLog: { status: 'error' } },
    });
    const { outcome: second, asked } = await attempt(harness, { behaviour: { rightBelow: 3 } });
    expect(second).toMatchObject({
      kind: 'reported',
      result: { harnessLog: { status: 'success', samples: { total: 20, completed: 20 } } },
    });
    expect(asked).toBe(17);
  });

  test.each([
    ['killed', 'exit-nonzero'],
    ['exits-3-after-success', 'exit-nonzero'],
    ['writes-two-logs', 'log-ambiguous'],
    ['is-cut-off', 'log-truncated'],
  ] as const)('that %s has failed: %s', async (ending, reason) => {
    const { outcome } = await attempt(harness, { stated: { env: { STAND_IN: ending } } });
    expectFailed(outcome, reason);
  });
});

describe('a command that leaves the log of a harness', () => {
  const leave = (script: string, more: object) =>
    fixture.run(['/bin/sh', '-c', script, 'x', '{logDirectory}'], { executor: more });
  const copy = (...pairs: [string, string][]) =>
    pairs.map(([from, to]) => `mkdir -p "$1/$(dirname ${to})"; cp ${from} "$1/${to}"`).join('; ');
  let log: string;
  beforeEach(async () => {
    await mkdir(fixture.file('made'), { recursive: true });
    log = fixture.file('made/log.jsonl');
    const row = (passed: boolean) =>
      JSON.stringify({
        prompt: { raw: 'x', label: 'x' },
        vars: {},
        success: passed,
        promptIdx: 0,
        testIdx: 0,
        namedScores: {},
        testCase: {},
        failureReason: passed ? 0 : 1,
        response: { output: 'CANARY' },
      });
    await writeFile(log, [true, false, true].map((passed) => `${row(passed)}\n`).join(''));
  });

  test('by its format, or by whatever it is', async () => {
    for (const format of ['promptfoo', 'auto']) {
      const outcome = await leave(copy([log, 'a/rows.jsonl']), { format, log: '**' });
      expect(outcome).toMatchObject({
        kind: 'reported',
        result: { harnessLog: { harness: 'promptfoo' } },
        launch: { exitCode: 0 },
      });
    }
  });

  test('where the policy says, and nowhere else', async () => {
    const both = copy([log, 'a.jsonl'], [log, 'b/b.jsonl']);
    expect(await leave(both, { format: 'promptfoo', log: 'b/*.jsonl' })).toMatchObject({ kind: 'reported' });
    expectFailed(await leave(both, { format: 'promptfoo', log: '**' }), 'log-ambiguous');
    expectFailed(await leave(both, { format: 'promptfoo', log: 'c/*' }), 'log-missing');
  });

  test('beside files that are none', async () => {
    const outcome = await leave(
      `${copy([log, 'a.jsonl'])}; echo CANARY > "$1/notes.txt"; ln -s /etc/passwd "$1/link.jsonl"`,
      { format: 'auto' },
    );
    expect(outcome).toMatchObject({ kind: 'reported', result: { harnessLog: { harness: 'promptfoo' } } });
  });

  test.each([
    ['none', 'true', {}, 'log-missing'],
    ['an empty one', ': > "$1/a.jsonl"', { log: '*.jsonl' }, 'log-empty'],
    ['one of another harness', 'cp $LOG "$1/a.json"', { format: 'lm-eval' }, 'format-disagrees'],
    ['something else', 'echo CANARY > "$1/a.txt"', { format: 'auto' }, 'format-unknown'],
    ['only a link', 'ln -s $LOG "$1/a.jsonl"', { format: 'auto' }, 'log-missing'],
  ] as const)('%s has failed', async (_, script, more, reason) => {
    expectFailed(await leave(`LOG=${log}; ${script}`, { format: 'promptfoo', ...more }), reason);
  });

  test('its progress is what it says on standard error', async () => {
    const heard: EvaluationProgress[] = [];
    const { createCommandEvaluator } = await import('../../src/evaluators/command.ts');
    const executor = fixture.executor([
      '/bin/sh',
      '-c',
      'for i in 1 2 3; do echo "interlock-progress: $i/3" >&2; done; echo "{}"',
    ]);
    await createCommandEvaluator(executor, fixture.deps).run(exampleRequest, new AbortController().signal, {
      onProgress: (each) => heard.push(each),
    });
    expect(heard.at(-1)).toEqual({ done: 3, total: 3, unit: 'samples' });
  });
});

test('attempt directories go when the evaluation is concluded, and no others do', async () => {
  const [, harness] = HARNESSES;
  if (harness === undefined) throw new Error('there is none');
  const { forgetAttempts } = await import('../../src/evaluators/launchers/attempt-directories.ts');
  await attempt(harness, { request: { evaluationId: 'ev_a' } });
  await attempt(harness, { request: { evaluationId: 'ev_a', topUp: 1 } });
  await attempt(harness, { request: { evaluationId: 'ev_ab' } });
  await forgetAttempts(fixture.deps.attemptsDirectory, 'ev_a');
  expect(await readdir(fixture.deps.attemptsDirectory)).toEqual(['ev_ab.0']);
  expect(path.isAbsolute(fixture.deps.attemptsDirectory)).toBe(true);
});
