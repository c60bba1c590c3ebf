/** When a trainer that gets no permit is told to ask again. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { drive, pressed } from '../support/run-driver.ts';

let interlock: TestInterlock;
const policy = (name: string, ttl: string) =>
  oneEvaluationPolicy({
    policy: name,
    cadence: { firstCheckpointBy: '1e22' },
    permit: { ttl, heartbeatInterval: '1s' },
  });

beforeAll(async () => {
  interlock = await startTestInterlock({
    policies: { short: policy('short', '3s'), long: policy('long', '10m') },
  });
});
afterAll(() => interlock.close());

async function registered(policyName: 'short' | 'long') {
  const run = drive(interlock, { kind: 'webhook', url: 'http://127.0.0.1:9/halt' });
  expect((await run.register({ policy: policyName }, 'operator')).status).toBe(201);
  return run;
}

const beat = async (runId: string, instance: string, more: object = {}) => {
  const body = { effectiveCompute: '1', nonce: 'n', instance, ...more };
  const {
    status,
    headers,
    body: answer,
  } = await interlock.call('POST', `/v1/runs/${runId}/heartbeat`, {
    as: 'trainer',
    body,
  });
  expect(status).toBe(200);
  return { answer, retryAfter: headers.get('retry-after') };
};

describe('Retry-After of a heartbeat', () => {
  it('is not there beside a permit', async () => {
    const { runId } = await registered('long');
    expect(await beat(runId, 'first')).toMatchObject({
      answer: { permit: expect.any(String) },
      retryAfter: null,
    });
  });

  it('is five seconds at most where another process has the permit, and gone when that one leaves', async () => {
    const { runId } = await registered('long');
    await beat(runId, 'first');
    const second = await beat(runId, 'second');
    expect(second).toMatchObject({
      answer: { permit: null, directive: { action: 'pause' } },
      retryAfter: '5',
    });
    expect(await beat(runId, 'first', { leaving: true })).toMatchObject({ retryAfter: null });
    expect(await beat(runId, 'second')).toMatchObject({
      answer: { permit: expect.any(String) },
      retryAfter: null,
    });
  });

  it("is no longer than the other's permit lives", async () => {
    const { runId } = await registered('short');
    await beat(runId, 'first');
    const { retryAfter } = await beat(runId, 'second');
    expect(Number(retryAfter)).toBeGreaterThanOrEqual(1);
    expect(Number(retryAfter)).toBeLessThanOrEqual(3);
  });

  it('is not there under a halt, whose end nobody knows', async () => {
    const run = await registered('long');
    await beat(run.runId, 'first');
    await pressed(run);
    expect(await beat(run.runId, 'second')).toMatchObject({
      answer: { directive: { action: 'halt' } },
      retryAfter: null,
    });
  });
});
