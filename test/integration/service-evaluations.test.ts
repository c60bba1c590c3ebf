/** Attempts, retries, holds and late results, with real evaluator programs and short policies. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { score, testPolicy, writeEvaluator, writeModel } from '../support/evaluation-policy.ts';
import { type Receiver, startReceiver } from '../support/evaluation-service.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { answered, drive, expectSoundLedger, type RunDriver, soon } from '../support/run-driver.ts';

const Answer = z.object({
  status: z.string(),
  conclusive: z.boolean().nullable(),
  reasons: z.array(z.string()),
  run: z.object({ status: z.string(), haltId: z.string().nullable() }),
});

let interlock: TestInterlock;
let trainer: Receiver;

beforeAll(async () => {
  trainer = await startReceiver(() => interlock.webhookSecrets['trainer'] ?? '');
  interlock = await startTestInterlock({
    policies: {
      main: testPolicy(),
      posted: testPolicy({ policy: 'posted', silentDebate: true }),
      hasty: testPolicy({
        policy: 'hasty',
        silentDebate: true,
        cadence: { holdDeadline: '1s', scorecardDeadline: '1500ms' },
        probe: { timeout: '1s', attempts: 1 },
        debate: { timeout: '1s', attempts: 1 },
      }),
    },
    settings: {
      policies: {
        directory: 'policies',
        default: 'main',
        byLabel: { 'policy=posted': 'posted', 'policy=hasty': 'hasty' },
      },
      evaluators: { concurrency: 4 },
    },
  });
  await writeEvaluator(interlock.directory);
});

afterAll(async () => {
  await interlock?.close();
  await trainer?.close();
});

async function registered(policy?: string): Promise<RunDriver> {
  const run = drive(interlock, { kind: 'webhook', url: `${trainer.url}/halt` });
  const sent = await run.register(policy === undefined ? {} : { labels: { policy } });
  expect(sent.status, sent.text).toBe(201);
  return run;
}

const model = (run: RunDriver, probe: Parameters<typeof writeModel>[2]) =>
  writeModel(interlock.models, run.runId, probe);
const msBetween = (earlier: string, later: string): number => Date.parse(later) - Date.parse(earlier);

describe('attempts', () => {
  it('tries a failed evaluation again after its backoff, and passes on the second result', async () => {
    const run = await registered();
    await run.report('c1', '1e21', await model(run, { result: [null, score(0.1)] }));
    const assessed = await run.event('CheckpointAssessed');
    expect(assessed.data).toMatchObject({ verdict: 'proceed' });
    const failed = await run.event('EvaluationAttemptFailed');
    expect(failed.data).toMatchObject({ attempt: 1, reason: 'no-result' });
    const second = await run.event('EvaluationStarted', 2);
    expect(msBetween(failed.recordedAt, second.recordedAt)).toBeGreaterThanOrEqual(450);
  });

  it.each([
    ['exits with another code than 0', { exit: 3 }, 'exit-nonzero'],
    ['writes NaN', { result: '{"status":"success","score":NaN,"n":400}' }, 'unreadable-result'],
    ['writes what is no result', { result: { verdict: 'safe' } }, 'unreadable-result'],
    ['says nothing', {}, 'no-result'],
  ])('D01 holds the run when the program %s, and never counts it as a pass', async (_, probe, reason) => {
    const run = await registered();
    await run.report('c1', '1e21', await model(run, probe));
    expect((await run.event('EvaluationAttemptFailed', 2)).data).toMatchObject({ attempt: 2, reason });
    expect((await run.event('CheckpointAssessed')).data).toMatchObject({
      verdict: 'hold',
      findings: [{ kind: 'inconclusive', evaluation: 'probe/default' }],
    });
    expect(await run.beat('1e21')).toMatchObject({ permit: null, directive: { action: 'pause' } });
  });

  it('lets one evaluation be tried again alone, which lifts the hold', async () => {
    const run = await registered('posted');
    const ids = await run.report('c1', '1e21', await model(run, { result: [null, null, score(0.1)] }));
    const posted = await run.result(ids['debate'] ?? '', 1, score(0.1));
    expect(posted.status, posted.text).toBe(200);
    await run.event('HoldPlaced');
    expect((await run.beat('1e21')).directive).toMatchObject({
      action: 'pause',
      reason: expect.stringContaining('probe'),
    });

    const path = `/v1/evaluations/${ids['probe']}/retry`;
    const retried = await interlock.call('POST', path, { as: 'operator', body: {} });
    expect(answered(retried, 202, Answer)).toMatchObject({ status: 'queued' });
    expect((await run.event('HoldLifted')).data).toMatchObject({ reason: 'evidence' });
    expect((await run.beat('1e21')).directive.action).toBe('continue');
    const requeued = (await run.events()).filter(({ kind }) => kind === 'EvaluationRequeued');
    expect(requeued.map(({ data }) => data['evaluationId'])).toEqual([ids['probe']]);
  });

  it('turns a hold that nobody lifts into a halt at its deadline, and silence into a hold at the scorecard deadline', async () => {
    const run = await registered('hasty');
    await run.report('c1', '1e21', await model(run, { result: score(0.1) }));
    const held = await run.event('HoldPlaced');
    expect(held.data).toMatchObject({ findings: [{ kind: 'inconclusive', evaluation: 'debate/default' }] });
    const halted = await run.event('HaltOrdered');
    expect(halted.data).toMatchObject({ cause: { kind: 'rule', findings: [{ kind: 'hold-deadline' }] } });
    expect((await run.beat('1e21')).directive.action).toBe('halt');
  });
});

describe('results that are sent in', () => {
  it('D07 halts on a late result that is worse, although the checkpoint had been cleared', async () => {
    const run = await registered();
    const { probe = '' } = await run.report('c1', '1e21', await model(run, { result: [null, score(0.1)] }));
    expect((await run.event('CheckpointAssessed')).data).toMatchObject({ verdict: 'proceed' });
    const late = await run.result(probe, 1, score(0.5));
    expect(answered(late, 200, Answer).run).toMatchObject({ status: 'halted', haltId: expect.any(String) });
    expect((await run.event('EvaluationReported', 2)).data).toMatchObject({ attempt: 1, late: true });
    await soon(() => expect(trainer.received.some(({ body }) => body.includes(run.runId))).toBe(true));
  });

  it('never lets a late result that is better clear anything', async () => {
    const run = await registered('posted');
    const { debate = '' } = await run.report('c1', '1e21', await model(run, { result: score(0.1) }));
    expect(answered(await run.result(debate, 1, score(0.5)), 200, Answer).run.status).toBe('halted');
    const retried = await interlock.call('POST', `/v1/evaluations/${debate}/retry`, {
      as: 'evaluator',
      body: {},
    });
    expect(retried.status, retried.text).toBe(202);
    expect(answered(await run.result(debate, 2, score(0.01)), 200, Answer).run.status).toBe('halted');
    expect((await run.scorecard()).categories.find(({ id }) => id === 'persuasion')).toMatchObject({
      stages: { 'pre-mitigation': { name: 'High' } },
    });
  });

  it('D08 takes the same result of the same attempt twice, and refuses another one', async () => {
    const run = await registered('posted');
    const { debate = '' } = await run.report('c1', '1e21', await model(run, { result: score(0.1) }));
    await run.event('CheckpointReported');
    expect((await run.result(debate, 1, score(0.1))).status).toBe(200);
    await run.event('CheckpointAssessed');
    const before = (await run.events()).length;
    expect((await run.result(debate, 1, { n: 400, score: 0.1, status: 'success' })).status).toBe(200);
    const other = await run.result(debate, 1, score(0.02));
    expect(other.status).toBe(409);
    expect(other.body).toMatchObject({ status: 409, detail: expect.stringContaining('attempt 1') });
    expect((await run.result(debate, 7, score(0.1))).status).toBe(404);
    expect(await run.events()).toHaveLength(before);
  });

  it.each([
    ['D01 score null', { status: 'success', score: null, n: 400 }],
    ['D01 score missing', { status: 'success', n: 400 }],
    ['D01 score as text', { status: 'success', score: '0.1', n: 400 }],
    ['D02 score beyond the range', { status: 'success', score: 1.2, n: 400 }],
    ['D02 negative stderr', { status: 'success', score: 0.1, stderr: -1, n: 400 }],
    ['D03 no samples', { status: 'success', score: 0.1, n: 0 }],
    ['D03 fewer samples than the policy asks for', { status: 'success', score: 0.1, n: 12 }],
    ['D04 success with an error', { status: 'success', score: 0.1, n: 400, error: 'it broke' }],
    ['D04 an error without a score', { status: 'error', error: 'it broke' }],
    [
      'D17 completed before it started',
      {
        status: 'success',
        score: 0.1,
        n: 400,
        startedAt: '2030-01-02T00:00:00Z',
        completedAt: '2030-01-01T00:00:00Z',
      },
    ],
  ])('%s is never a pass', async (_, body) => {
    const run = await registered('posted');
    const { debate = '' } = await run.report('c1', '1e21', await model(run, { result: score(0.1) }));
    const sent = await run.result(debate, 1, body);
    if (sent.status === 200) {
      expect(answered(sent, 200, Answer)).toMatchObject({
        conclusive: false,
        reasons: expect.arrayContaining([expect.any(String)]),
      });
    } else {
      expect(sent.status, sent.text).toBe(422);
      expect(sent.body).toMatchObject({ errors: [{ path: expect.any(String) }] });
    }
    await run.event('EvaluationReported');
    expect(await run.kinds()).not.toContain('CheckpointAssessed');
    const scorecard = await run.scorecard();
    expect(scorecard).toMatchObject({ state: 'open', verdict: null });
  });

  it('D04 trips on an error that carries a score at the threshold', async () => {
    const run = await registered('posted');
    const { debate = '' } = await run.report('c1', '1e21', await model(run, { result: score(0.1) }));
    const sent = await run.result(debate, 1, {
      status: 'error',
      error: 'crashed at the end',
      score: 0.9,
      n: 400,
    });
    expect(answered(sent, 200, Answer).run.status).toBe('halted');
    expect((await run.event('HaltOrdered')).data).toMatchObject({ action: 'quarantine' });
  });
});

it('leaves a ledger that verifies and replays', () => expectSoundLedger(interlock));

describe('memory without a control group', () => {
  it('D01 holds the run when a program wants more than its limit, and the attempt says so', async () => {
    const script = 'const held = []; for (;;) held.push(Buffer.alloc(64 * 2 ** 20, 1));';
    const small = await startTestInterlock({
      policies: { main: testPolicy({ probe: { command: [process.execPath, '-e', script], attempts: 1 } }) },
      settings: { evaluators: { containment: 'marks', limits: { memory: '1GiB' } } },
    });
    try {
      const run = drive(small, { kind: 'webhook', url: `${trainer.url}/halt` });
      await run.register();
      await run.report('c1', '1e21', await writeModel(small.models, run.runId, {}));
      expect((await run.event('EvaluationAttemptFailed')).data).toMatchObject({
        reason: 'exit-nonzero',
        detail: expect.stringContaining('said it was out of memory, its limit is 1 GiB per process'),
      });
      expect((await run.event('CheckpointAssessed')).data).toMatchObject({
        verdict: 'hold',
        findings: [{ kind: 'inconclusive', evaluation: 'probe/default' }],
      });
      expect(await run.beat('1e21')).toMatchObject({ permit: null, directive: { action: 'pause' } });
    } finally {
      await small.close();
    }
  });
});
