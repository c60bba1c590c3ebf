/** The risk of permits over HTTP: a run under a limit and a budget sees short steps, its figures, and a hold in the end. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { drive, expectSoundLedger, type RunDriver } from '../support/run-driver.ts';

let interlock: TestInterlock;
let run: RunDriver;

beforeAll(async () => {
  const risk = { probability: 0.003, whenMostlyPrior: 'hold' };
  interlock = await startTestInterlock({
    policies: {
      one: oneEvaluationPolicy({ cadence: { firstCheckpointBy: '1e20', risk }, riskBudget: 0.005 }),
    },
  });
  run = drive(interlock, { kind: 'webhook', url: 'http://127.0.0.1:9/' });
  await run.register();
});
afterAll(() => interlock?.close());

async function pass(checkpointId: string, compute: string, score: number): Promise<void> {
  const { ctf = '' } = await run.report(checkpointId, compute, `s3://b/${checkpointId}`);
  const result = { status: 'success', score, n: 400 };
  expect((await run.result(ctf, 1, result)).status).toBe(200);
}

describe('a run under a limit of risk', () => {
  it('shows the limit and its budget before it has earned anything', async () => {
    const { risk } = await run.show();
    expect(risk).toEqual({
      level: 4,
      probability: 0.003,
      spent: 0,
      budget: 0.005,
      budgetLeft: 0.005,
      permit: null,
    });
  });

  it('is told to report after a short step, and what its permit risks', async () => {
    await pass('c1', '1e20', 0.05);
    const { risk, ceiling, nextCheckpointAt } = await run.show();
    const { directive, nextCheckpointAt: told } = await run.beat('1e20');
    expect(directive.action).toBe('continue');
    expect(told).toBe(nextCheckpointAt);
    expect(Number(nextCheckpointAt)).toBeGreaterThan(1e20);
    expect(Number(nextCheckpointAt)).toBeLessThan(2e20);
    expect(risk?.permit?.choice.chosen.compute).toBe(ceiling);
    expect(risk?.permit?.p).toBeLessThanOrEqual(0.003);
    expect(risk?.spent).toBe(risk?.permit?.p);
    expect((await run.scorecard()).risk).toEqual(risk?.permit?.choice);
    const page = await interlock.call('GET', '/', { as: 'auditor' });
    expect(page.text).toMatch(/a permit may take 0\.30 % · spent 0\.\d\d % of 0\.50 %/);
    const { data } = await run.event('PermitRiskSealed');
    expect(data['risk']).toEqual(risk?.permit?.choice);
  });

  it('is held when its budget is spent, and goes on by sign-off, overdrawn', async () => {
    for (let i = 2; i < 12 && (await run.show()).status === 'training'; i += 1) {
      const { nextCheckpointAt } = await run.show();
      await pass(`c${i}`, nextCheckpointAt, 0.05 + 0.02 * i);
    }
    const held = await run.show();
    expect(held.openHolds[0]?.findings).toMatchObject([{ rule: 'risk-budget', kind: 'risk-budget' }]);
    expect(held.risk?.spent).toBeLessThanOrEqual(0.005);
    const { status } = await run.resume(null, ['board']);
    expect(status).toBe('executed');
    const resumed = await run.show();
    expect(resumed.status).toBe('training');
    expect(resumed.risk?.spent).toBeGreaterThan(0.005);
    expect(resumed.risk?.budgetLeft).toBe(0);
  });

  it('leaves a ledger that verifies and replays', async () => {
    await expectSoundLedger(interlock);
  });
});
