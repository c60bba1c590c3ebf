/** The page for whoever is woken at night: the most urgent first, nothing hidden, nothing executed. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { score, testPolicy, writeEvaluator, writeModel } from '../support/evaluation-policy.ts';
import { type Receiver, startReceiver } from '../support/evaluation-service.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { answered, drive, type RunDriver, soon } from '../support/run-driver.ts';

const Round = z.object({ roundId: z.string() });

let interlock: TestInterlock;
let trainer: Receiver;

beforeAll(async () => {
  trainer = await startReceiver(() => interlock.webhookSecrets['trainer'] ?? '');
  interlock = await startTestInterlock({ policies: { main: testPolicy() } });
  await writeEvaluator(interlock.directory);
});

afterAll(async () => {
  await interlock?.close();
  await trainer?.close();
});

async function registered(body: Record<string, unknown> = {}): Promise<RunDriver> {
  const run = drive(interlock, { kind: 'webhook', url: `${trainer.url}/halt` });
  const sent = await run.register(body);
  expect(sent.status, sent.text).toBe(201);
  return run;
}

const look = async (): Promise<string> => {
  const sent = await interlock.call('GET', '/');
  expect(sent.status, sent.text).toBe(200);
  expect(sent.headers.get('content-security-policy')).toContain("default-src 'none'");
  expect(sent.text).not.toMatch(/<script|javascript:|\son\w+=/i);
  return sent.text;
};

it('says what tripped, by how much, whether it has stopped, and what to do next', async () => {
  expect(await look()).toContain('No run is registered yet');
  const run = await registered({ title: '<script>alert("x")</script>' });
  expect(await look()).toContain('No run is halted or on hold');
  await run.report('c1', '1e21', await writeModel(interlock.models, run.runId, { result: score(0.5) }));
  const halted = await run.event('HaltOrdered');
  const open = await look();
  expect(open).toContain('NOT known to have stopped');
  expect(open).toMatch(/3\.14\b/);
  expect(open).toContain('make sure the run stops');
  expect(open).toContain('&lt;script&gt;');

  const ack = `/v1/halts/${String(halted.data['haltId'])}/ack`;
  expect((await interlock.call('POST', ack, { as: 'trainer', body: { state: 'stopped' } })).status).toBe(200);
  await soon(async () => expect(await look()).toContain('It has stopped'));
  expect(await look()).toContain('propose a resume');
});

it('shows an open halt however many newer runs there are', async () => {
  const old = await registered();
  await Promise.all(Array.from({ length: 60 }, () => registered()));
  await old.press();
  const page = await look();
  expect(page).toContain(`id="${old.runId}"`);
  expect(page).toContain('1 run has been ordered to halt and is not known to have stopped');
  expect(page).toMatch(/\d+ more runs, none more urgent/);
});

it('shows what is forecast, what experts say beside it, and what either has been worth', async () => {
  const run = await registered();
  const model = async (id: string, value: number): Promise<string> =>
    writeModel(interlock.models, `${run.runId}-${id}`, { result: score(value) });
  await run.report('c1', '1e21', await model('c1', 0.1));
  await run.event('CheckpointAssessed');
  const card = async (): Promise<string> =>
    (await look()).split('<article').find((part) => part.includes(`id="${run.runId}"`)) ?? '';
  expect(await card()).toContain('Before the next checkpoint, within 2.2x the compute of c1 (2.2e21 FLOP)');
  expect(await card()).toContain('mostly prior: too few points');
  expect(await card()).toContain('No forecast of this run has been scored yet.');

  const opened = await interlock.call('POST', `/v1/runs/${run.runId}/estimate-rounds`, {
    as: 'board',
    body: { category: 'cybersecurity', level: 'critical' },
  });
  const { roundId } = answered(opened, 201, Round);
  const given = await interlock.call('POST', `/v1/runs/${run.runId}/estimates`, {
    as: 'board',
    body: { roundId, probability: 0.0123, rationale: 'a reason of its own' },
  });
  expect(given.status, given.text).toBe(201);
  expect(await card()).toContain('a round is open, 1 answered');
  expect(await card()).not.toMatch(/1\.2 %|a reason of its own/);
  const close = `/v1/runs/${run.runId}/estimate-rounds/${roundId}/close`;
  expect((await interlock.call('POST', close, { as: 'board', body: {} })).status).toBe(200);
  expect(await card()).toContain('1 expert: 1.2 %');

  await run.report('c2', '2e21', await model('c2', 0.11));
  await run.event('CheckpointAssessed', 2);
  expect(await card()).toContain(
    '1 of 1 scored forecast of this run came at or below the 95 % bound, 0 above the 99 % bound: too few to say.',
  );
});
