/** `interlock eval run`, from the command line to the verdict, over stand-ins and a scripted server. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { answersOnly, type ModelServer, startModelServer } from '../support/harnesses/model-server.ts';
import { INSPECT_STAND_IN, LM_EVAL_STAND_IN } from '../support/harnesses/programs.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { say } from '../unit/cli-terminal.ts';

let directory: string;
let model: ModelServer;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'interlock-eval-run-'));
  model = await startModelServer({ rightBelow: 3 });
  await writeFile(join(directory, 'ck 7'), 'weights');
  await writeFile(join(directory, 'policy.yaml'), JSON.stringify(policy()));
});
afterAll(async () => {
  await model.close();
  await rm(directory, { recursive: true, force: true });
});

function policy() {
  const evaluation = (id: string, executor: object, metric: string) => ({
    id,
    category: 'cyber',
    stage: 'pre-mitigation',
    executor: { timeout: '60s', attempts: 1, ...executor },
    score: { metric, kind: 'proportion', chance: 0, best: 1, minSamples: 10 },
    levels: { medium: 0.4, high: 0.8, critical: 0.95 },
  });
  return oneEvaluationPolicy({
    policy: 'laptop',
    title: 'Tried on a laptop',
    cadence: { firstCheckpointBy: '1e22' },
    evaluations: [
      evaluation('ctf', { kind: 'inspect', task: 'arithmetic', program: INSPECT_STAND_IN }, 'accuracy'),
      evaluation(
        'wmdp',
        { kind: 'lm-eval', tasks: ['arithmetic'], program: LM_EVAL_STAND_IN },
        'exact_match',
      ),
      evaluation('away', { kind: 'http', mode: 'callback' }, 'accuracy'),
      evaluation('panel', { kind: 'outside', party: 'institute' }, 'accuracy'),
      evaluation('broken', { kind: 'inspect', task: 'arithmetic', program: './not-there' }, 'accuracy'),
    ],
  });
}

const run = (...more: string[]) =>
  say(
    [
      'eval',
      'run',
      '--policy',
      join(directory, 'policy.yaml'),
      '--checkpoint',
      join(directory, 'ck 7'),
      '--endpoint',
      model.url,
      ...more,
    ],
    { PATH: process.env['PATH'] ?? '', HOME: directory },
  );
const Answer = z.object({
  checkpointId: z.string(),
  verdict: z.string(),
  notRun: z.array(z.string()),
  evaluations: z.array(z.object({ name: z.string(), status: z.string(), reason: z.string().nullable() })),
});

describe('a checkpoint', () => {
  test('that is below the thresholds proceeds, in words', async () => {
    const { code, out, err } = await run('--only', 'ctf', '--only', 'wmdp');
    expect(code, err).toBe(0);
    expect(out).toMatch(/verdict\s+proceed under laptop/);
    expect(out).toContain('not run: away, panel, broken; the verdict is of the others alone');
    expect(out).toContain('ctf: completed, score 0.15 of 20');
    expect(err).toContain('ctf: attempt 1 runs');
  });

  test('may be named by the URL of its file, from anywhere on this machine', async () => {
    const { code, err } = await run(
      '--checkpoint',
      pathToFileURL(join(directory, 'ck 7')).href,
      '--only',
      'wmdp',
    );
    expect(code, err).toBe(0);
    expect(err).not.toContain('model-uri-refused');
  });

  test('at a threshold halts, in JSON', async () => {
    model.behaviour = { rightBelow: 100 };
    const { code, out } = await run('--only', 'wmdp', '--json');
    model.behaviour = { rightBelow: 3 };
    expect(code).toBe(1);
    expect(Answer.parse(JSON.parse(out))).toMatchObject({
      checkpointId: 'ck-7',
      verdict: 'halt',
      notRun: ['ctf', 'away', 'panel', 'broken'],
    });
  });

  test.each([
    ['away', 'not-configured'],
    ['panel', 'not-configured'],
    ['broken', 'spawn-failed'],
  ])('whose evaluation %s cannot be carried out holds: %s', async (id, reason) => {
    const { code, out } = await run('--only', id, '--json');
    expect(code).toBe(1);
    const answer = Answer.parse(JSON.parse(out));
    expect(answer.verdict).toBe('hold');
    expect(answer.evaluations).toMatchObject([{ name: id, status: 'inconclusive' }]);
    expect(out).toContain(reason);
  });
});

test.each([
  [
    'an evaluation that the policy does not have',
    ['--only', 'nobody'],
    'it has ctf, wmdp, away, panel, broken',
  ],
  ['a compute that is none', ['--compute', 'much'], 'positive number of FLOP'],
  [
    'an endpoint that is no URL',
    ['--endpoint', 'localhost:8000'],
    '--endpoint: must be an http or https URL',
  ],
  ['an endpoint with a password', ['--endpoint', 'http://me:secret@localhost'], 'without credentials'],
  ['a checkpoint that is not there', ['--checkpoint', '/not/there'], 'no such file'],
  ['the file of another machine', ['--checkpoint', 'file://elsewhere/ck'], 'no file of this machine'],
])('%s is refused before anything runs', async (_, more, message) => {
  const before = model.asked.length;
  const { code, err } = await run(...more);
  expect(code).toBe(2);
  expect(err).toContain(message);
  expect(model.asked.length).toBe(before);
});

test('Ctrl-C ends what runs, and nothing is concluded', async () => {
  model.behaviour = { rightBelow: 3, answersAfter: answersOnly(0) };
  const before = model.asked.length;
  const running = run('--only', 'ctf');
  await model.untilAsked(before + 1);
  process.emit('SIGINT');
  const { code, out, err } = await running;
  model.behaviour = { rightBelow: 3 };
  expect(code).toBe(2);
  expect(out).toBe('');
  expect(err).toContain('stopped before the end');
});
