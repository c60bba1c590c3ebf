/** The embedded PostgreSQL is killed with -9 under load: nothing acknowledged is lost, and a halt ordered meanwhile goes out. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { isAlive } from '../support/alive.ts';
import { postmasterPid } from '../support/data-directories.ts';
import { score, testPolicy, writeEvaluator, writeModel } from '../support/evaluation-policy.ts';
import { type Receiver, startReceiver } from '../support/evaluation-service.ts';
import { type Sent, startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { drive, expectSoundLedger, type RunDriver, soon } from '../support/run-driver.ts';

let interlock: TestInterlock;
let trainer: Receiver;

beforeAll(async () => {
  trainer = await startReceiver(() => interlock.webhookSecrets['trainer'] ?? '');
  interlock = await startTestInterlock({
    policies: { main: testPolicy() },
    settings: { evaluators: { concurrency: 2 } },
  });
  await writeEvaluator(interlock.directory);
});

afterAll(async () => {
  await interlock?.close();
  await trainer?.close();
});

const ROUNDS = 3;
const PATIENT = { timeout: 60_000, interval: 200 };
const target = () => ({ kind: 'webhook', url: `${trainer.url}/halt` });

/** As a sender should: the same message again after a 503, until it is taken. */
async function insist(send: () => Promise<Sent>, refusals: Sent[] = []): Promise<Sent> {
  return soon(async () => {
    const sent = await send();
    if (sent.status === 503) {
      refusals.push(sent);
      throw new Error(sent.text);
    }
    return sent;
  }, PATIENT);
}

/** A commit outwaits a short outage; a server that is killed whenever it comes back is away for longer than that. */
async function killUntilRefused(refusals: readonly Sent[]): Promise<void> {
  await soon(
    async () => {
      const pid = await postmasterPid(interlock.config.dataDir);
      if (await isAlive(pid)) process.kill(pid, 'SIGKILL');
      expect(refusals.length, 'commits were refused').toBeGreaterThan(0);
    },
    { ...PATIENT, interval: 50 },
  );
}

it('survives kill -9 of its database under load, three times over', async () => {
  const weights = await writeModel(interlock.models, 'harmless', { result: score(0.1) });
  const acknowledged: { run: RunDriver; checkpointId: string }[] = [];
  const refusals: Sent[] = [];
  const order: { halted: RunDriver | null } = { halted: null };

  for (let round = 0; round < ROUNDS; round += 1) {
    const run = drive(interlock, target());
    const victim = drive(interlock, target());
    for (const each of [run, victim]) {
      expect((await insist(() => each.register())).status).toBe(201);
    }
    let going = true;
    const senders = Array.from({ length: 4 }, async (_, sender) => {
      for (let n = 0; going; n += 1) {
        const checkpointId = `c${sender}-${n}`;
        const body = { checkpointId, effectiveCompute: '1e21', modelUri: weights };
        const options = { id: `${run.runId}_${checkpointId}` };
        const sent = await insist(() => run.checkpoint(body, options), refusals);
        expect([200, 202], sent.text).toContain(sent.status);
        acknowledged.push({ run, checkpointId });
      }
    });
    await soon(
      () => expect(acknowledged.filter((each) => each.run === run).length).toBeGreaterThan(20),
      PATIENT,
    );
    const pid = await postmasterPid(interlock.config.dataDir);
    process.kill(pid, 'SIGKILL');
    const press = () =>
      interlock.call('POST', `/v1/runs/${victim.runId}/halt`, { as: 'board', body: { reason: 'meanwhile' } });
    expect((await insist(press, refusals)).status).toBe(202);
    if (round === ROUNDS - 1) await killUntilRefused(refusals);
    const before = acknowledged.length;
    await soon(() => expect(acknowledged.length).toBeGreaterThan(before + 8), PATIENT);
    going = false;
    await Promise.all(senders);
    expect(await postmasterPid(interlock.config.dataDir)).not.toBe(pid);
    await soon(
      () =>
        expect(trainer.received.some(({ body, verified }) => verified && body.includes(victim.runId))).toBe(
          true,
        ),
      PATIENT,
    );
    expect((await victim.kinds()).filter((kind) => kind === 'HaltOrdered')).toHaveLength(1);
    order.halted = victim;
  }

  for (const { headers, text } of refusals) {
    expect(Number(headers.get('retry-after')), text).toBeGreaterThan(0);
    expect(headers.get('content-type')).toContain('application/problem+json');
  }
  const known = new Map<RunDriver, Map<string, number>>();
  for (const { run } of acknowledged) {
    if (known.has(run)) continue;
    const counts = new Map<string, number>();
    for (const { kind, data } of await run.events()) {
      if (kind !== 'CheckpointReported') continue;
      const id = String(data['checkpointId']);
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    known.set(run, counts);
  }
  expect(acknowledged.filter(({ run, checkpointId }) => known.get(run)?.get(checkpointId) !== 1)).toEqual([]);
  expect((await order.halted?.beat('1e20'))?.directive.action).toBe('halt');
  await soon(async () => expect((await interlock.call('GET', '/readyz')).status).toBe(200), PATIENT);
  await expectSoundLedger(interlock);
});
