/** The red button's process: killed, killed in the middle, orphaned, pressed too often, pressed with a printed code, a form and a shell. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { createCodes } from '../../src/button/break-glass.ts';
import { runningButton } from '../../src/button/running.ts';
import type { FaultPoint } from '../../src/fault-points.ts';
import { isAlive } from '../support/alive.ts';
import { type ButtonScene, openButtonScene } from '../support/button-scene.ts';

const Pressed = z.object({
  pressId: z.string(),
  recordedIn: z.string(),
  halts: z.array(z.object({ runId: z.string(), haltId: z.string() })),
  failed: z.array(z.object({ runId: z.string(), reason: z.string() })),
});
const PATIENT = { timeout: 60_000, interval: 50 };

let scene: ButtonScene;
let runs = 0;
beforeAll(async () => {
  scene = await openButtonScene();
  await scene.start();
}, 120_000);
afterAll(() => scene?.close(), 60_000);

async function aRun(targets?: readonly object[]): Promise<string> {
  runs += 1;
  const runId = `run-${runs}`;
  await scene.register([runId], targets);
  await scene.known(runs);
  return runId;
}

/** Beside no service: nobody starts another when it dies. */
const aButton = (more: Readonly<Record<string, string>> = {}) =>
  spawn(
    process.execPath,
    [
      join(import.meta.dirname, '../../bin/interlock.mjs'),
      'serve',
      '--roles',
      'button',
      '--config',
      scene.configFile,
    ],
    { stdio: 'ignore', env: { ...process.env, ...scene.env, ...more } },
  );

const haltUrl = (runId: string): string => `${scene.button().url}/v1/runs/${runId}/halt`;
const eventsOf = async (runId: string) =>
  (await scene.ledger()).filter(({ stream }) => stream === `run-${runId}`);

async function expectEnteredOnce(runId: string): Promise<void> {
  await scene.drained();
  const kinds = (await eventsOf(runId)).map(({ kind }) => kind);
  expect(kinds.filter((kind) => kind === 'PressRecorded')).toHaveLength(1);
  expect(kinds.filter((kind) => kind === 'HaltOrdered')).toHaveLength(1);
}

describe('the red button process', () => {
  it('is started again at once when it is killed, on the same port, and outlives the service', async () => {
    const first = scene.button();
    scene.killButton();
    await vi.waitFor(() => expect(runningButton(scene.files)?.pid).not.toBe(first.pid), PATIENT);
    await vi.waitFor(() => scene.health(), PATIENT);
    const second = scene.button();
    expect(second.port).toBe(first.port);
    await scene.service.kill9();
    expect(await isAlive(second.pid)).toBe(true);
    await scene.start();
    expect(scene.button().pid).toBe(second.pid);
    const ready: unknown = await (await fetch(`${scene.serviceUrl}/readyz`)).json();
    await vi.waitFor(
      async () =>
        expect(JSON.stringify(await (await fetch(`${scene.serviceUrl}/readyz`)).json())).toContain(
          `process ${second.pid}`,
        ),
      PATIENT,
    );
    expect(ready).toMatchObject({ ready: true });
  });

  it('loses no press that it accepted when it is killed in the middle of them', async () => {
    const runId = await aRun();
    const accepted: string[] = [];
    let going = true;
    // Whoever presses knows its address; that of the next one is the same.
    const url = haltUrl(runId);
    const pressing = Array.from({ length: 4 }, async () => {
      while (going) {
        const answer = await scene
          .post(url, { as: 'board', body: { reason: 'again and again' } })
          .catch(() => null);
        if (answer?.status === 202) accepted.push(Pressed.parse(JSON.parse(answer.body)).pressId);
        // Nobody is there for a moment: as a person would, again.
        else await vi.waitFor(() => scene.health(), PATIENT);
      }
    });
    for (let round = 1; round <= 2; round += 1) {
      await vi.waitFor(() => scene.health(), PATIENT);
      const before = accepted.length;
      await vi.waitFor(() => expect(accepted.length).toBeGreaterThan(before + 10), PATIENT);
      scene.killButton();
    }
    going = false;
    await Promise.all(pressing);
    await scene.drained();
    const entered = (await eventsOf(runId)).filter(({ kind }) => kind === 'PressRecorded');
    const ids = entered.map(({ data }) => data['pressId']);
    expect(accepted.filter((pressId) => !ids.includes(pressId))).toEqual([]);
    expect(new Set(ids).size).toBe(ids.length);
    expect((await eventsOf(runId)).filter(({ kind }) => kind === 'HaltOrdered')).toHaveLength(1);
  });

  it.each(['press.written', 'press.sending'] as const)(
    'carries out once what is on its disk when it dies at %s, before it has answered',
    async (point) => {
      const runId = await aRun();
      await scene.service.kill9();
      scene.killButton();
      const armed = aButton({ INTERLOCK_FAULT: `${point}:kill` satisfies `${FaultPoint}:kill` });
      const ended = once(armed, 'exit');
      await vi.waitFor(async () => expect((await scene.health()).pid).toBe(armed.pid), PATIENT);
      const answer = scene.post(haltUrl(runId), { as: 'board', body: { reason: point } });
      await expect(answer).rejects.toThrow();
      expect(await ended).toEqual([null, 'SIGKILL']);
      const before = scene.received.filter((halt) => halt.runId === runId).length;
      if (point === 'press.written') expect(before).toBe(0);
      await scene.start();
      await vi.waitFor(
        () => expect(scene.received.filter((halt) => halt.runId === runId).length).toBeGreaterThan(before),
        PATIENT,
      );
      await expectEnteredOnce(runId);
    },
  );

  it('has a press in the ledger once when the service dies after the commit that entered it', async () => {
    const runId = await aRun();
    await scene.service.kill9();
    const answer = await scene.post(haltUrl(runId), { as: 'board', body: { reason: 'entered' } });
    expect(answer.status).toBe(202);
    await scene
      .start({ INTERLOCK_FAULT: 'press.entered:kill' satisfies `${FaultPoint}:kill` })
      .catch(() => null);
    await scene.service.ended;
    expect(scene.service.isGone()).toBe(true);
    await scene.start();
    await expectEnteredOnce(runId);
  });

  it('sends what it had accepted again after a kill -9, with nobody else alive', async () => {
    const runId = await aRun();
    await scene.service.kill9();
    const answer = await scene.post(haltUrl(runId), { as: 'board', body: { reason: 'alone' } });
    expect(answer.status).toBe(202);
    const before = scene.received.filter((halt) => halt.runId === runId).length;
    scene.killButton();
    const again = aButton();
    await vi.waitFor(
      () => expect(scene.received.filter((halt) => halt.runId === runId).length).toBeGreaterThan(before),
      PATIENT,
    );
    await vi.waitFor(() => scene.health(), PATIENT);
    await scene.start();
    expect(scene.button().pid).toBe(again.pid);
    await scene.drained();
    expect((await eventsOf(runId)).map(({ kind }) => kind)).toContain('PressRecorded');
  });

  // A thousand are pressed in test/unit/domain/run-press.test.ts, where they cost nothing.
  it('F12: however often it is pressed it is one halt, all attributed, and none is refused', async () => {
    const runId = await aRun();
    const people = ['board', 'leadership', 'preparedness', 'safety-advisory'];
    const statuses: number[] = [];
    await Promise.all(
      Array.from({ length: 20 }, async (_, worker) => {
        for (let n = 0; n < 10; n += 1) {
          const as = people[(worker + n) % people.length] ?? 'board';
          const { status } = await scene.post(haltUrl(runId), { as, body: { reason: `${worker}/${n}` } });
          statuses.push(status);
        }
      }),
    );
    expect(statuses.filter((status) => status !== 202)).toEqual([]);
    await scene.drained();
    const events = await eventsOf(runId);
    expect(events.filter(({ kind }) => kind === 'HaltOrdered')).toHaveLength(1);
    const pressed = events.filter(({ kind }) => kind === 'PressRecorded');
    expect(pressed).toHaveLength(200);
    for (const person of people) expect(pressed.filter(({ actor }) => actor === person)).toHaveLength(50);
    // One order for a burst, not one per press.
    const orders = new Set(pressed.map(({ data }) => data['orderId']));
    expect(orders.size).toBeLessThan(30);
  });

  it('refuses strangers, and whoever is in no governance group, and orders nothing for them', async () => {
    const runId = await aRun();
    const url = haltUrl(runId);
    const refused = [
      (await scene.post(url, { body: {} })).status,
      (await scene.post(url, { bearer: 'ilk_wrong', body: {} })).status,
      (await scene.post(url, { as: 'trainer', body: {} })).status,
      (await scene.post(url, { as: 'board', body: { group: 'leadership' } })).status,
      (await scene.post(url, { as: 'board', body: { reson: 'x' } })).status,
      (await scene.post(`${scene.button().url}/v1/nothing`, { as: 'board' })).status,
    ];
    expect(refused).toEqual([401, 401, 403, 422, 422, 404]);
    expect((await scene.health()).pendingPresses).toBe(0);
    expect(scene.received.filter((halt) => halt.runId === runId)).toEqual([]);
  });

  it('takes a press through a flood of connections that say nothing', async () => {
    const runId = await aRun();
    const { port } = scene.button();
    const flood = Array.from({ length: 1_500 }, () => createConnection({ port, host: '127.0.0.1' }));
    for (const socket of flood) socket.on('error', () => undefined);
    await once(flood.at(-1) ?? process, 'connect');
    const answer = await scene.post(haltUrl(runId), { as: 'board', body: { reason: 'through the flood' } });
    expect(answer.status).toBe(202);
    for (const socket of flood) socket.destroy();
    await scene.halted(runId, 0);
  });

  it('says of a run that it does not know that nothing was sent, and writes the press down all the same', async () => {
    const answer = await scene.post(haltUrl('nobody-knows-it'), { as: 'board', body: {} });
    expect(answer.status).toBe(202);
    expect(Pressed.parse(JSON.parse(answer.body))).toMatchObject({
      halts: [],
      failed: [{ runId: 'nobody-knows-it', reason: expect.stringContaining('nothing was sent') }],
    });
    await scene.drained();
  });

  it('ends the evaluation jobs of the run, and only its own', async () => {
    const runId = await aRun();
    const jobs = await Promise.all(
      [runId, 'another-run'].map(async (owner, n) => {
        const marker = `${n}`.repeat(32);
        const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], {
          detached: true,
          stdio: 'ignore',
          env: { INTERLOCK_JOB: marker },
        });
        const record = { marker, bootId: null, owner: { pid: process.pid, startTime: null }, leader: null };
        await writeFile(
          join(scene.files.jobs, `${marker}.json`),
          JSON.stringify({ ...record, runId: owner }),
        );
        return child;
      }),
    );
    const [own, other] = jobs;
    const ended = once(own ?? process, 'exit');
    expect((await scene.post(haltUrl(runId), { as: 'board' })).status).toBe(202);
    await ended;
    expect(await isAlive(other?.pid ?? -1)).toBe(true);
    other?.kill('SIGKILL');
    for (const n of [0, 1]) await rm(join(scene.files.jobs, `${String(n).repeat(32)}.json`), { force: true });
  });

  it('takes a printed code once, through the page, under the name of its identity', async () => {
    const runId = await aRun();
    const [code, second] = createCodes(scene.files, 'leadership', 2, new Date()).map((made) => made.code);
    const form = { credential: code ?? '', scope: 'run', run: runId, reason: 'the provider is down' };
    const page = await (await fetch(scene.button().url)).text();
    expect(page).toContain('<form method="post" action="/">');
    expect(page).not.toContain('<script');
    const wrong = await scene.post(scene.button().url, { form: { ...form, run: 'not a run id' } });
    expect([wrong.status, wrong.body.includes('NOT pressed')]).toEqual([422, true]);
    const answer = await scene.post(scene.button().url, { form });
    expect([answer.status, answer.body.includes('STOP ordered')]).toEqual([202, true]);
    await scene.halted(runId, 0);
    const again = await scene.post(scene.button().url, { form });
    expect([again.status, again.body.includes('each code presses once')]).toEqual([409, true]);
    // A code presses, and opens nothing.
    const seen = await fetch(`${scene.button().url}/v1/button`, {
      headers: { authorization: `Bearer ${second}` },
    });
    expect(seen.status).toBe(401);
    await scene.drained();
    const pressed = (await eventsOf(runId)).find(({ kind }) => kind === 'PressRecorded');
    expect(pressed).toMatchObject({ actor: 'leadership', data: { via: 'break-glass', group: 'leadership' } });
    const security = (await scene.ledger()).filter(({ kind }) => kind === 'BreakGlassUsed');
    expect(security).toMatchObject([{ stream: 'security', actor: 'leadership' }]);
    const log = JSON.stringify(await scene.ledger());
    expect(log).not.toContain(code);
  });

  it("sends whoever shows a printed code at the service's door to its own, where the code still presses", async () => {
    const runId = await aRun();
    const [code] = createCodes(scene.files, 'preparedness', 1, new Date()).map((made) => made.code);
    const press = (door: string, path: string) =>
      fetch(`${door}${path}`, { method: 'POST', headers: { authorization: `Bearer ${code}` } });
    for (const path of ['/v1/halt', `/v1/runs/${runId}/halt`]) {
      const answer = await press(scene.serviceUrl, path);
      const text = await answer.text();
      expect([answer.status, text.includes("presses the red button at the button's own port")]).toEqual([
        401,
        true,
      ]);
      expect(text).not.toContain(code);
    }
    expect((await eventsOf(runId)).filter(({ kind }) => kind === 'HaltOrdered')).toEqual([]);
    expect((await press(scene.button().url, `/v1/runs/${runId}/halt`)).status).toBe(202);
    await expectEnteredOnce(runId);
  });

  it('is acknowledged by the id that the trainer received, and cleared by the resume of the run', async () => {
    const runId = await aRun();
    // The service orders a halt of its own first: the button's order has another id.
    const first = await scene.post(`${scene.serviceUrl}/v1/runs/${runId}/halt`, {
      as: 'leadership',
      body: {},
    });
    expect(first.status).toBe(202);
    const answer = await scene.post(haltUrl(runId), { as: 'board', body: {} });
    const [order] = Pressed.parse(JSON.parse(answer.body)).halts;
    const acknowledge = (haltId: string) =>
      scene.post(`${scene.serviceUrl}/v1/halts/${haltId}/ack`, {
        as: 'trainer',
        body: { state: 'received' },
      });
    expect((await acknowledge(order?.haltId ?? '')).status).toBe(200);
    const proposed = await scene.post(`${scene.serviceUrl}/v1/runs/${runId}/proposals`, {
      as: 'operator',
      body: { kind: 'resume', rationale: 'looked at' },
    });
    const { proposalId, digest } = z
      .object({ proposalId: z.string(), digest: z.string() })
      .parse(JSON.parse(proposed.body));
    const signed = await scene.post(`${scene.serviceUrl}/v1/runs/${runId}/sign-offs`, {
      as: 'leadership',
      body: { proposalId, digest, decision: 'approve', group: 'leadership', justification: 'agreed' },
    });
    expect(signed.status, signed.body).toBe(200);
    const beat = await scene.post(`${scene.serviceUrl}/v1/runs/${runId}/heartbeat`, {
      as: 'trainer',
      body: { effectiveCompute: '1e18' },
    });
    const { permit } = z.object({ permit: z.string() }).parse(JSON.parse(beat.body));
    const claims: unknown = JSON.parse(Buffer.from(permit.split('.')[1] ?? '', 'base64url').toString());
    expect(claims).toMatchObject({ clearedHalts: expect.arrayContaining([order?.haltId]) });
    // A fresh press stops it again: never under an id that was cleared.
    const fresh = await scene.post(haltUrl(runId), { as: 'board', body: {} });
    const [newer] = Pressed.parse(JSON.parse(fresh.body)).halts;
    expect(claims).not.toMatchObject({ clearedHalts: expect.arrayContaining([newer?.haltId]) });
    await scene.drained();
    const events = await eventsOf(runId);
    expect(events.filter(({ kind }) => kind === 'HaltOrdered')).toHaveLength(2);
  });
});

describe('the red button in the service', () => {
  it('spools and sends while the database is away, answers 202, and enters it later', async () => {
    const runId = await aRun();
    await scene.databaseDown();
    const sentMs = performance.now();
    const answer = await scene.post(`${scene.serviceUrl}/v1/runs/${runId}/halt`, {
      as: 'board',
      body: { reason: 'away' },
    });
    expect(answer.status, answer.body).toBe(202);
    const pressed = Pressed.parse(JSON.parse(answer.body));
    expect(pressed.recordedIn).toBe('spool');
    expect((await scene.halted(runId, sentMs)).haltId).toBe(pressed.halts[0]?.haltId);
    const all = await scene.post(`${scene.serviceUrl}/v1/halt`, { as: 'leadership', body: {} });
    expect(all.status).toBe(202);
    expect(Pressed.parse(JSON.parse(all.body)).halts.length).toBeGreaterThanOrEqual(runs);
    await scene.databaseUp();
    await scene.drained();
    const events = await eventsOf(runId);
    expect(events.filter(({ kind }) => kind === 'HaltOrdered')).toHaveLength(1);
    expect(events.filter(({ kind }) => kind === 'PressRecorded').map(({ actor }) => actor)).toEqual([
      'board',
      'leadership',
    ]);
  });
});

describe('the red button from a shell', () => {
  const Codes = z.object({ codes: z.array(z.object({ codeId: z.string(), code: z.string() })) });

  it('is pressed beside a service that does not answer, by a token and by a printed code', async () => {
    const runId = await aRun();
    const args = ['halt', '--config', scene.configFile, '--run', runId, '--reason', 'by hand', '--json'];
    const pressed = await scene.cli(args, { INTERLOCK_TOKEN: scene.token('board') });
    expect(pressed.code, pressed.stderr).toBe(0);
    expect(pressed.stderr).toContain('pressing the red button itself');
    expect(Pressed.parse(JSON.parse(pressed.stdout)).recordedIn).toBe('spool');
    await scene.halted(runId, 0);
    const config = ['--config', scene.configFile, '--json'];
    const made = await scene.cli(['break-glass', 'create', '--identity', 'board', '--count', '2', ...config]);
    const [first] = Codes.parse(JSON.parse(made.stdout)).codes;
    const byCode = await scene.cli(args, { INTERLOCK_TOKEN: first?.code ?? '' });
    expect(byCode.code, byCode.stderr).toBe(0);
    const again = await scene.cli(args, { INTERLOCK_TOKEN: first?.code ?? '' });
    expect([again.code, again.stderr.includes('each code presses once')]).toEqual([1, true]);
    const listed = await scene.cli(['break-glass', 'list', '--identity', 'board', ...config]);
    expect(JSON.parse(listed.stdout)).toMatchObject({
      codes: [{ codeId: first?.codeId, usedAt: expect.any(String) }, { usedAt: null }],
    });
    const revoked = await scene.cli(['break-glass', 'revoke', '--identity', 'board', ...config]);
    expect(revoked.code).toBe(0);
  });

  it('sends by itself where neither service nor button lives, and the ledger has it afterwards', async () => {
    const runId = await aRun();
    await scene.service.kill9();
    scene.killButton();
    const sentMs = performance.now();
    const args = [
      'halt',
      '--config',
      scene.configFile,
      '--run',
      runId,
      '--reason',
      'nobody is there',
      '--json',
    ];
    const pressed = await scene.cli(args, { INTERLOCK_TOKEN: scene.token('board') });
    expect(pressed.code, pressed.stderr).toBe(0);
    const [halt] = Pressed.parse(JSON.parse(pressed.stdout)).halts;
    expect((await scene.halted(runId, sentMs)).haltId).toBe(halt?.haltId);
    const stranger = await scene.cli([...args, '--local'], { INTERLOCK_TOKEN: 'ilk_wrong' });
    expect(stranger.code).toBe(1);
    await scene.start();
    await scene.drained();
    const events = await eventsOf(runId);
    expect(events.find(({ kind }) => kind === 'HaltOrdered')?.data['haltId']).toBe(halt?.haltId);
    expect(events.filter(({ kind }) => kind === 'PressRecorded')).toHaveLength(1);
  });
});
