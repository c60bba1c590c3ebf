/**
 * Evaluations as teams run them, from webhook to verdict: one policy with an evaluation per harness, and every way in which one of
 * them can be broken. promptfoo is the real one; Inspect and lm-eval are stand-ins that write logs of the genuine shape.
 */
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generateSharedSecret } from '../../src/config/credentials.ts';
import { score, testPolicy } from '../support/evaluation-policy.ts';
import { type Receiver, startReceiver } from '../support/evaluation-service.ts';
import { followEvents } from '../support/harnesses/follow-events.ts';
import { type ModelServer, startModelServer } from '../support/harnesses/model-server.ts';
import {
  INSPECT_STAND_IN,
  LM_EVAL_STAND_IN,
  NO_PROMPTFOO,
  PROMPTFOO,
} from '../support/harnesses/programs.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { drive, expectSoundLedger, type RunDriver } from '../support/run-driver.ts';

const LIMITS = { timeout: '60s', attempts: 1 };
const EXECUTORS = {
  inspect: { kind: 'inspect', task: 'arithmetic', program: INSPECT_STAND_IN, ...LIMITS },
  'lm-eval': { kind: 'lm-eval', tasks: ['arithmetic'], program: LM_EVAL_STAND_IN, ...LIMITS },
  promptfoo: { kind: 'promptfoo', config: 'eval.yaml', program: PROMPTFOO ?? 'promptfoo', ...LIMITS },
} as const;
const METRICS = { inspect: 'accuracy', 'lm-eval': 'exact_match', promptfoo: 'pass_rate' } as const;
type Kind = keyof typeof EXECUTORS;

function evaluation(id: string, executor: object, metric: string, more: object = {}) {
  return {
    id,
    category: 'cybersecurity',
    stage: 'pre-mitigation',
    executor,
    score: { metric, kind: 'proportion', chance: 0, best: 1, minSamples: 5, ...more },
    levels: { medium: 0.5, high: 0.9, critical: 0.99 },
  };
}

const policy = (name: string, evaluations: object[]) => ({ ...testPolicy({ policy: name }), evaluations });

/** Stands for a server that answers 401, whose address is not known yet. */
const UNAUTHORIZED = 'http://unauthorized.invalid';

/** How it breaks, and the reason that must be given, whoever gives it: adapter, reader or domain. */
const BROKEN: readonly [Kind, string, object, RegExp][] = [
  ['inspect', 'exits-1', {}, /^exit-nonzero$/],
  ['inspect', 'killed', {}, /^exit-nonzero$/],
  ['inspect', 'hangs', { timeout: '3s' }, /^timed-out$/],
  ['inspect', 'writes-nothing', {}, /^log-missing$/],
  ['inspect', 'writes-garbage', {}, /^log-(unreadable|truncated)$/],
  ['inspect', 'is-cut-off', {}, /^log-truncated$/],
  ['inspect', 'writes-two-logs', {}, /^log-ambiguous$/],
  ['inspect', 'exits-3-after-success', {}, /^exit-nonzero$/],
  ['inspect', 'is-cancelled', {}, /status-cancelled/],
  ['inspect', 'measures-another-task', {}, /task-mismatch/],
  ['inspect', 'measures-another-model', {}, /model-mismatch/],
  ['inspect', 'is-stale', {}, /stale-log/],
  ['inspect', 'is-not-finite', {}, /score-not-finite/],
  ['inspect', 'is-in-percent', {}, /score-out-of-range/],
  ['inspect', 'has-no-metric', {}, /score-missing/],
  ['inspect', 'scores-nothing', {}, /score-missing/],
  ['inspect', 'has-no-samples', {}, /samples/],
  ['lm-eval', 'exits-1', {}, /^exit-nonzero$/],
  ['lm-eval', 'killed', {}, /^exit-nonzero$/],
  ['lm-eval', 'hangs', { timeout: '3s' }, /^timed-out$/],
  ['lm-eval', 'writes-nothing', {}, /^log-missing$/],
  ['lm-eval', 'writes-garbage', {}, /^(log-unreadable|format-unknown)$/],
  ['lm-eval', 'is-cut-off', {}, /^log-(truncated|unreadable)$/],
  ['lm-eval', 'writes-two-logs', {}, /^log-ambiguous$/],
  ['lm-eval', 'exits-3-after-success', {}, /^exit-nonzero$/],
  ['lm-eval', 'measures-another-model', {}, /model-mismatch/],
  ['lm-eval', 'is-stale', {}, /stale-log/],
  ['lm-eval', 'is-not-finite', {}, /score-not-finite/],
  ['lm-eval', 'is-in-percent', {}, /score-out-of-range/],
  ['lm-eval', 'has-no-metric', {}, /score-missing|log-unreadable|format/],
  ['lm-eval', 'has-no-samples', {}, /samples/],
  ['promptfoo', 'has-no-configuration', { config: 'not-there.yaml' }, /^exit-nonzero$/],
  ['promptfoo', 'hangs', { timeout: '100ms' }, /^timed-out$/],
  ['promptfoo', 'has-no-tests', { config: 'none.yaml' }, /samples|score-missing|log-/],
  ['promptfoo', 'cannot-ask-the-model', { endpoint: UNAUTHORIZED }, /samples|score/],
  ['promptfoo', 'knows-no-such-option', { args: ['--no-such-option'] }, /^exit-nonzero$/],
];
const nameOf = (kind: Kind, ending: string) => `broken-${kind}-${ending}`;

const EVAL_SECRET = generateSharedSecret();
let interlock: TestInterlock;
let service: Receiver;
let model: ModelServer;

beforeAll(async () => {
  model = await startModelServer({ rightBelow: 3 });
  service = await startReceiver(
    () => EVAL_SECRET,
    () => ({ status: 200, body: score(0.1) }),
  );
  const native = {
    kind: 'command',
    command: [
      process.execPath,
      '-e',
      `console.log(${JSON.stringify(JSON.stringify({ ...score(0.1), metrics: {} }))})`,
    ],
    ...LIMITS,
  };
  const rows = `require('fs').writeFileSync(process.argv[1] + '/rows.jsonl', ${JSON.stringify(ROWS)})`;
  const every = [
    evaluation('native', native, 'accuracy'),
    evaluation(
      'service',
      { kind: 'http', mode: 'sync', url: `${service.url}/quiz`, secret: 'env:EVAL_SECRET', ...LIMITS },
      'accuracy',
    ),
    evaluation('inspect', EXECUTORS.inspect, 'accuracy'),
    evaluation('lm-eval', EXECUTORS['lm-eval'], 'exact_match'),
    ...(PROMPTFOO === null
      ? []
      : [evaluation('promptfoo', { ...EXECUTORS.promptfoo, limit: 6 }, 'pass_rate')]),
    evaluation(
      'left',
      {
        kind: 'command',
        command: [process.execPath, '-e', rows, '{logDirectory}'],
        format: 'promptfoo',
        log: '*.jsonl',
        ...LIMITS,
      },
      'pass_rate',
    ),
    evaluation(
      'left-any',
      {
        kind: 'command',
        command: [process.execPath, '-e', rows, '{logDirectory}'],
        format: 'auto',
        ...LIMITS,
      },
      'pass_rate',
    ),
  ];
  const broken = Object.fromEntries(
    BROKEN.map(([kind, ending, more]) => {
      const name = nameOf(kind, ending);
      const stated = { ...EXECUTORS[kind], env: { STAND_IN: ending }, ...more };
      const executor = JSON.parse(JSON.stringify(stated).replace(UNAUTHORIZED, `${service.url}/v1`));
      return [name, policy(name, [evaluation('only', executor, METRICS[kind])])];
    }),
  );
  interlock = await startTestInterlock({
    env: { EVAL_SECRET },
    policies: { every: policy('every', every), ...broken },
    settings: {
      policies: {
        directory: 'policies',
        default: 'every',
        byLabel: Object.fromEntries(Object.keys(broken).map((name) => [`policy=${name}`, name])),
      },
      evaluators: { concurrency: 3 },
    },
  });
  const question = (a: number) =>
    `  - { vars: { a: ${a} }, assert: [{ type: contains, value: '${a + 1}' }] }\n`;
  const head = `prompts: ['What is {{a}} plus 1?']\nproviders: ['openai:chat:nobody']\n`;
  // 5 to 10 are wrong, and a 1 of the text is no 1 of the answer: contains is a rough scorer.
  const tests = [2, 20, 30, 40, 50, 60].map(question).join('');
  await writeFile(join(interlock.directory, 'eval.yaml'), `${head}tests:\n${tests}`);
  await writeFile(join(interlock.directory, 'none.yaml'), `${head}tests: []\n`);
}, 120_000);

const ROWS = [true, false, false, false, false, false]
  .map((passed, at) =>
    JSON.stringify({
      provider: { id: 'openai:ck' },
      prompt: { raw: 'x', label: 'x' },
      vars: {},
      success: passed,
      failureReason: passed ? 0 : 1,
      promptIdx: 0,
      testIdx: at,
      namedScores: {},
      testCase: {},
      response: { output: 'CANARY' },
    }),
  )
  .join('\n')
  .concat('\n');

afterAll(async () => {
  await interlock?.close();
  await service?.close();
  await model?.close();
});

async function registered(label?: string): Promise<RunDriver> {
  const run = drive(interlock, { kind: 'webhook', url: `${service.url}/halt` });
  const sent = await run.register(label === undefined ? {} : { labels: { policy: label } });
  expect(sent.status, sent.text).toBe(201);
  return run;
}
const report = (run: RunDriver) =>
  run.checkpoint({
    checkpointId: 'ck-7',
    effectiveCompute: '1e21',
    modelUri: 's3://models/ck-7',
    endpoint: model.url,
  });

describe('a policy with one evaluation per harness', () => {
  it('goes from webhook to verdict, tells its progress on the way, and leaves nothing behind', async () => {
    const seen = new AbortController();
    const held = once(seen.signal, 'abort');
    model.behaviour = {
      rightBelow: 3,
      // Some of every harness's questions; the others once somebody has seen how far they are.
      answersAfter: async (request) => {
        if (request > 30) await held;
      },
    };
    const run = await registered();
    const heard = followEvents(interlock, `/v1/runs/${run.runId}/stream`, 'progress');
    expect((await report(run)).status).toBe(202);
    await heard.until((each) => each.some(({ done, total }) => done > 0 && total === 20));
    const open = await run.scorecard();
    expect(open.running?.length).toBeGreaterThan(0);
    seen.abort();
    const assessed = await run.event('CheckpointAssessed');
    await heard.close();
    const scorecard = await run.scorecard();
    const evidence = scorecard.categories[0]?.stages['pre-mitigation']?.evidence ?? [];
    expect(
      assessed.data,
      JSON.stringify(evidence.map(({ evaluation: of, reasons }) => [of, reasons])),
    ).toMatchObject({ verdict: 'proceed' });
    expect(
      Object.fromEntries(evidence.map((each) => [each.evaluation, each.score?.toFixed(2)])),
    ).toMatchObject({
      native: '0.10',
      service: '0.10',
      inspect: '0.15',
      'lm-eval': '0.15',
      ...(PROMPTFOO === null ? {} : { promptfoo: '0.17' }),
      left: '0.17',
      'left-any': '0.17',
    });
    expect(scorecard.running).toBeUndefined();
    expect(JSON.stringify(await run.events())).not.toContain('CANARY');
    expect(interlock.logs.join('')).not.toContain('CANARY');
    for (const kept of ['attempts', 'jobs']) {
      await expect.poll(() => readdir(join(interlock.config.dataDir, kept))).toEqual([]);
    }
  });
});

describe('a broken evaluation holds the run, and never clears it:', () => {
  it.each(BROKEN)('%s that %s', async (kind, ending, _, reason) => {
    if (kind === 'promptfoo' && NO_PROMPTFOO !== null) return;
    const run = await registered(nameOf(kind, ending));
    expect((await report(run)).status).toBe(202);
    const assessed = await run.event('CheckpointAssessed');
    const events = await run.events();
    const failed = events
      .filter(({ kind: of }) => of === 'EvaluationAttemptFailed')
      .map(({ data }) => data['reason']);
    const scorecard = await run.scorecard();
    const reasons = scorecard.categories
      .flatMap(({ stages }) => stages['pre-mitigation']?.evidence ?? [])
      .flatMap((each) => each.reasons);
    const said = failed.length > 0 ? failed.map(String) : reasons.map(String);
    expect(
      said.some((each) => reason.test(each)),
      `said ${said.join(', ')}`,
    ).toBe(true);
    expect(assessed.data).toMatchObject({
      // A score at a threshold trips, however it came about: without tests promptfoo makes one up, and it passes.
      verdict: ending === 'has-no-tests' ? 'halt' : 'hold',
      findings: expect.arrayContaining([expect.objectContaining({ kind: 'inconclusive' })]),
    });
    expect((await run.beat('1e21')).permit).toBeNull();
    expect(JSON.stringify(events)).not.toContain('CANARY');
  });
});

it('the ledger of all of it verifies and replays', async () => {
  await expectSoundLedger(interlock);
});
