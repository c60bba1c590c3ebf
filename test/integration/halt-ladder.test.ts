/**
 * A site's own command through the whole service, on a ladder with rules: told by heartbeat, hurried, not believed
 * while heartbeats belie it, and every step's time for people to read.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { PLAIN } from '../../src/cli/output.ts';
import { haltLines } from '../../src/cli/show-run.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { drive, expectSoundLedger, pressed } from '../support/run-driver.ts';

let site: string;
let interlock: TestInterlock;

beforeAll(async () => {
  site = mkdtempSync(join(tmpdir(), 'interlock-ladder-'));
  const script = (name: string, text: string): string => {
    writeFileSync(join(site, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    return join(site, name);
  };
  interlock = await startTestInterlock({
    policies: { one: oneEvaluationPolicy({ permit: { heartbeatInterval: '2s' } }) },
    settings: {
      orchestrators: {
        command: {
          enabled: true,
          commands: {
            lab: {
              stop: [script('stop', 'cat >/dev/null')],
              kill: [script('kill', `cat >/dev/null; echo stopped > "${site}/run"`)],
              steps: { cut: [script('cut', 'cat >/dev/null')] },
              status: [script('status', `echo "{\\"state\\":\\"$(cat "${site}/run")\\"}"`)],
            },
          },
        },
      },
    },
  });
});
afterAll(async () => {
  await interlock.close();
  rmSync(site, { recursive: true });
});
beforeEach(() => writeFileSync(join(site, 'run'), 'running'));

const target = {
  kind: 'command',
  command: 'lab',
  run: 'gpt',
  ladder: [
    { step: 'directive' },
    { step: 'stop', until: 'acknowledged', within: '2s' },
    { step: 'kill', after: '1h', until: 'observed', within: '30s' },
    { step: 'page', after: '1h' },
  ],
};

describe('a halt on a stated ladder', () => {
  it('hurries the step after one that has no effect, and tells when each came', async () => {
    const run = drive(interlock, target);
    expect((await run.register()).status).toBe(201);
    await run.beat('1e19');
    const { haltId } = await pressed(run);
    expect((await run.beat('1e19')).directive.action).toBe('halt');
    await run.beat('1e19');
    const confirmed = await run.event('HaltConfirmed');
    const events = await run.events();
    const told = events.filter(({ kind }) => kind === 'HaltDirectiveGiven');
    expect(told.map(({ data }) => data)).toMatchObject([{ haltId, round: 1, by: 'trainer' }]);
    const steps = events.filter(({ kind }) => kind === 'HaltStepTaken').map(({ data }) => data['step']);
    expect(steps).toEqual(['stop', 'kill']);
    const moments = ['ordered', 'step-accepted', 'directive-given', 'step-accepted', 'seen-stopped'];
    const { openHalt } = await run.show();
    expect(openHalt?.timeline.map(({ what }) => what).sort()).toEqual([...moments, 'confirmed'].sort());
    expect(confirmed.data['timeline']).toEqual(openHalt?.timeline);
    const kill = openHalt?.timeline.find(({ step }) => step === 'kill');
    expect(kill?.afterMs).toBeGreaterThanOrEqual(2_000);
    expect(kill?.afterMs).toBeLessThan(60_000);
    const page = await interlock.call('GET', '/', { as: 'auditor' });
    expect(page.text).toMatch(/Since the order: .* s told by heartbeat .* t1 kill accepted .* confirmed/);
    if (openHalt === null) throw new Error('no halt');
    expect(haltLines(openHalt, new Date(), PLAIN).join('\n')).toMatch(
      /since the order: .*told by heartbeat.*t1 kill accepted.*confirmed/,
    );
  });

  it('waits for a trainer that acknowledges it, for as long as the step has', async () => {
    const ladder = [
      { step: 'stop', until: 'acknowledged', within: '3s' },
      { step: 'cut', after: '1s' },
      { step: 'kill', after: '4s' },
    ];
    const run = drive(interlock, { ...target, ladder });
    expect((await run.register()).status).toBe(201);
    const { haltId } = await pressed(run);
    const ack = { as: 'trainer', body: { state: 'received' } };
    expect((await interlock.call('POST', `/v1/halts/${haltId}/ack`, ack)).status).toBe(200);
    await run.event('HaltConfirmed');
    const { timeline = [] } = (await run.show()).openHalt ?? {};
    const afterMs = (step: string) => timeline.find((moment) => moment.step === step)?.afterMs ?? 0;
    expect(afterMs('cut')).toBeGreaterThanOrEqual(3_000);
    expect(afterMs('kill')).toBeGreaterThanOrEqual(4_000);
    expect(timeline.map(({ what }) => what)).toContain('received');
  });

  it('that a status program takes for stopped is not believed while heartbeats state more compute', async () => {
    const run = drive(interlock, target);
    expect((await run.register()).status).toBe(201);
    await run.beat('1e19');
    writeFileSync(join(site, 'run'), 'stopped');
    await pressed(run);
    await run.event('HaltConfirmed');
    await run.beat('1.1e19');
    await run.beat('1.2e19');
    expect((await run.event('HaltReopened')).data).toMatchObject({ reason: 'progress', doubts: true });
    await run.event('TargetStopObserved', 2);
    await run.beat('1.3e19');
    await run.beat('1.4e19');
    expect((await run.event('StopWithdrawn')).data).toMatchObject({ targetIds: ['t1'], reason: 'progress' });
    expect((await run.show()).openHalt?.state).toBe('open');
    // Silence, at last.
    await run.event('HaltConfirmed', 2);
    await expectSoundLedger(interlock);
  });
});
