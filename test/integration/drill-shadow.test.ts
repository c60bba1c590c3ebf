/** `drill: true`: a shadow is halted for real through the whole service, and no real run is ever touched by one. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { isAlive } from '../support/alive.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { drive, expectSoundLedger, runName, soon } from '../support/run-driver.ts';

let interlock: TestInterlock;
let site: string;
const children: ChildProcess[] = [];

beforeAll(async () => {
  site = mkdtempSync(join(tmpdir(), 'interlock-drill-'));
  writeFileSync(join(site, 'status'), '#!/bin/sh\necho \'{"state":"running"}\'\n', { mode: 0o755 });
  writeFileSync(join(site, 'stop'), '#!/bin/sh\nexit 0\n', { mode: 0o755 });
  interlock = await startTestInterlock({
    policies: { one: oneEvaluationPolicy({ halt: { confirmWithin: '1s' } }) },
    settings: {
      orchestrators: {
        process: { enabled: true },
        command: {
          enabled: true,
          commands: { deaf: { stop: [join(site, 'stop')], status: [join(site, 'status')] } },
        },
      },
    },
  });
});
afterAll(async () => {
  await interlock?.close();
  rmSync(site, { recursive: true });
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

async function sleeper(): Promise<number> {
  const child = spawn('sleep', ['600'], { stdio: 'ignore' });
  children.push(child);
  await once(child, 'spawn');
  return child.pid ?? 0;
}
const holds = (targets: object[], as = 'operator', more: object = {}) =>
  interlock.call('POST', '/v1/runs', { as, body: { runId: runName(), drill: true, targets, ...more } });
const Registered = z.object({ run: z.looseObject({ runId: z.string() }) });

it('stops its shadow for real, says how long each step took, and is over', async () => {
  const pid = await sleeper();
  const sent = await holds([{ kind: 'process', pid }]);
  expect(sent.status, sent.text).toBe(201);
  expect(sent.body).toMatchObject({ permit: null, run: { drill: true } });
  const { runId } = Registered.parse(sent.body).run;
  const run = drive(interlock, null, runId);
  await run.event('RunFinished');
  expect(await isAlive(pid)).toBe(false);
  const { openHalt, status } = await run.show();
  expect(status).toBe('finished');
  expect(openHalt?.confirmedAt).not.toBeNull();
  expect(openHalt?.timeline.map(({ what }) => what)).toEqual(
    expect.arrayContaining(['ordered', 'step-accepted', 'seen-stopped', 'confirmed']),
  );
  const page = await interlock.call('GET', '/');
  expect(page.text).not.toContain(runId);
});

it('has failed where its shadow goes on, and ends all the same', async () => {
  const sent = await holds([{ kind: 'command', command: 'deaf', run: 'shadow/1' }]);
  const run = drive(interlock, null, Registered.parse(sent.body).run.runId);
  await run.event('RunFinished');
  expect((await run.show()).openHalt?.confirmedAt).toBeNull();
});

it('is refused on a target of a run that is none, and holds once that is finished', async () => {
  const pid = await sleeper();
  const real = drive(interlock, { kind: 'process', pid });
  expect((await real.register()).status).toBe(201);
  const refused = await holds([{ kind: 'process', pid, ladder: [{ step: 'sigkill' }] }]);
  expect(refused.status).toBe(422);
  expect(refused.body).toMatchObject({ errors: [{ path: 'targets.0' }] });
  expect(refused.text).toContain(real.runId);
  expect(await isAlive(pid)).toBe(true);
  await interlock.call('POST', `/v1/runs/${real.runId}/finish`, { as: 'trainer', body: {} });
  await soon(async () => expect((await holds([{ kind: 'process', pid }])).status).toBe(201));
});

it('is refused to whoever is no operator', async () => {
  const pid = await sleeper();
  const sent = await holds([{ kind: 'process', pid }], 'trainer');
  expect(sent.status).toBe(403);
  expect(await isAlive(pid)).toBe(true);
});

it('leaves a ledger that verifies and replays', () => expectSoundLedger(interlock));
