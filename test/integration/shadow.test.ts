/** Shadow through the service: everything is decided and recorded, nothing is sent, and it ends by itself armed. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { RunDocument } from '../../src/http/routes/documents.ts';
import { score, testPolicy, writeEvaluator, writeModel } from '../support/evaluation-policy.ts';
import { type HttpTarget, startHttpTarget } from '../support/http-target.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import {
  answered,
  drive,
  expectSoundLedger,
  offlineVerifier,
  pressed,
  type RunDriver,
  soon,
} from '../support/run-driver.ts';

const HOUR_MS = 3_600_000;
const UNTIL = new Date(Math.ceil(Date.now() / 1000) * 1000 + HOUR_MS).toISOString();
let interlock: TestInterlock;
let target: HttpTarget;
let dangerous: string;
let aheadMs = 0;

beforeAll(async () => {
  target = await startHttpTarget();
  interlock = await startTestInterlock({
    policies: { main: testPolicy() },
    settings: { mode: { kind: 'shadow', until: UNTIL } },
    clock: () => new Date(Date.now() + aheadMs),
  });
  await writeEvaluator(interlock.directory);
  dangerous = await writeModel(interlock.models, 'dangerous', { result: score(0.6) });
});
afterAll(async () => {
  await expectSoundLedger(interlock);
  await interlock?.close();
  await target?.close();
});

async function registered(body: Record<string, unknown> = {}): Promise<RunDriver> {
  const run = drive(interlock, { kind: 'webhook', url: `${target.url}/halt` });
  const sent = await run.register(body);
  expect(sent.status, sent.text).toBe(201);
  return run;
}

async function tripped(): Promise<RunDriver> {
  const run = await registered();
  await run.report('c1', '1e22', dangerous);
  await run.event('CheckpointAssessed');
  return run;
}

const arm = (run: RunDriver, as = 'operator') =>
  interlock.call('POST', `/v1/runs/${run.runId}/arm`, { as, body: {} });

describe('a run in shadow', () => {
  it('is told to continue, with permits that say until when nothing binds, whatever its evidence', async () => {
    const run = await tripped();
    expect((await run.event('WouldHaveHalted')).data).toMatchObject({ action: 'halt' });
    const verifier = await offlineVerifier(interlock);
    for (const at of ['1e22', '3e22', '9e25']) {
      const { directive, permit } = await run.beat(at);
      expect(directive.action).toBe('continue');
      const verified = await verifier.verifyPermit(permit ?? '');
      expect(verified).toMatchObject({
        ok: true,
        claims: { ceiling: '1e22', shadowUntil: Date.parse(UNTIL) / 1000 },
      });
    }
    const mayStart = await interlock.call('GET', `/v1/runs/${run.runId}/may-start`, { as: 'trainer' });
    expect(mayStart.status).toBe(200);
    expect(await run.kinds()).not.toContain('HaltOrdered');
    expect(target.received).toEqual([]);
  });

  it('gets permits for every process of it: none is refused', async () => {
    const run = await registered();
    for (const instance of ['a', 'b', 'a']) {
      const body = { effectiveCompute: '1e21', instance };
      const sent = await interlock.call('POST', `/v1/runs/${run.runId}/heartbeat`, { as: 'trainer', body });
      expect(sent.body).toMatchObject({ directive: { action: 'continue' }, permit: expect.any(String) });
    }
    expect(await run.kinds()).not.toContain('InstanceRefused');
  });

  it('is shown as such everywhere, loudly', async () => {
    const run = await tripped();
    const { shadow, status } = await run.show();
    expect(status).toBe('training');
    expect(shadow).toMatchObject({
      until: UNTIL,
      endedAt: null,
      wouldHaveHalted: 1,
      first: { action: 'halt', checkpointId: 'c1' },
    });
    const page = (await interlock.call('GET', '/')).text;
    expect(page).toContain('SHADOW MODE until');
    expect(page).toMatch(/Would have halted \d+, would have held \d+/);
    const list = await interlock.call('GET', '/v1/runs', { as: 'auditor' });
    expect(JSON.stringify(list.body)).toContain('"wouldHaveHalted":1');
    expect((await interlock.call('GET', '/readyz')).text).toContain('SHADOW MODE until');
    const metrics = (await interlock.call('GET', '/metrics')).text;
    expect(metrics).toMatch(/interlock_would_have_halted_total\{cause="rule"\} [1-9]/);
    expect(metrics).toMatch(/interlock_runs_in_shadow [1-9]/);
    expect(metrics).toContain(`interlock_shadow_until_timestamp_seconds ${Date.parse(UNTIL) / 1000}`);
    expect(interlock.logs.join('')).toContain('SHADOW MODE until');
  });

  it('cannot be put there, nor kept there, by who registers it', async () => {
    const run = drive(interlock, { kind: 'webhook', url: `${target.url}/halt` });
    expect((await run.register({ shadow: { until: UNTIL } })).status).toBe(422);
    expect((await run.register({})).status).toBe(201);
    expect((await arm(run, 'trainer')).status).toBe(403);
    expect((await run.show()).shadow?.endedAt).toBeNull();
  });
});

describe('its end', () => {
  it('by a press: the halt is real, and reaches the targets', async () => {
    const run = await tripped();
    const halt = await pressed(run);
    expect(halt.causes).toMatchObject([{ kind: 'person' }, { kind: 'rule' }]);
    expect(await run.show()).toMatchObject({ status: 'halted', shadow: { endedBecause: 'press' } });
    await soon(() => expect(target.received.length).toBeGreaterThan(0));
    expect((await run.beat('1e22')).directive).toMatchObject({ action: 'halt', order: expect.any(String) });
  });

  it("by an operator's word: what stands is halted in the same decision", async () => {
    const run = await tripped();
    const armed = answered(await arm(run), 200, RunDocument);
    expect(armed).toMatchObject({ status: 'halted', shadow: { endedBecause: 'armed' } });
    expect(answered(await arm(run), 200, RunDocument).status).toBe('halted');
    expect((await run.kinds()).filter((kind) => kind === 'ShadowEnded')).toHaveLength(1);
    expect((await arm(drive(interlock, null, 'nobody'))).status).toBe(404);
  });

  it('by itself at its time; and who registers from then on is armed', async () => {
    const [run, other] = [await tripped(), await registered()];
    aheadMs = HOUR_MS + 60_000;
    expect((await run.beat('1e22')).directive).toMatchObject({ action: 'halt' });
    const verifier = await offlineVerifier(interlock);
    const { permit } = await other.beat('1e21');
    const claims = z.object({ ok: z.boolean() }).parse(await verifier.verifyPermit(permit ?? ''));
    expect(claims).not.toMatchObject({ claims: { shadowUntil: expect.anything() } });
    expect((await other.show()).shadow).toMatchObject({ endedBecause: 'time' });
    expect((await (await registered()).show()).shadow).toBeNull();
    expect((await interlock.call('GET', '/readyz')).text).not.toContain('SHADOW MODE');
  });
});
