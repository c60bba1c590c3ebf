/** A harness's log as a result over the API: read like one of ours, or refused with nothing recorded. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { score, testPolicy, writeEvaluator, writeModel } from '../support/evaluation-policy.ts';
import { type Receiver, startReceiver } from '../support/evaluation-service.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { drive, expectSoundLedger, type RunDriver } from '../support/run-driver.ts';

const OCTETS = { 'content-type': 'application/octet-stream' };

let interlock: TestInterlock;
let trainer: Receiver;
let run: RunDriver;
let evaluationId: string;

beforeAll(async () => {
  interlock = await startTestInterlock({ policies: { main: testPolicy({ silentDebate: true }) } });
  await writeEvaluator(interlock.directory);
  trainer = await startReceiver(() => interlock.webhookSecrets['trainer'] ?? '');
  run = drive(interlock, { kind: 'webhook', url: `${trainer.url}/halt` });
  expect((await run.register()).status).toBe(201);
  const model = await writeModel(interlock.models, 'm', { result: score(0.1) });
  evaluationId = (await run.report('c1', '1e21', model))['debate'] ?? '';
});
afterAll(async () => {
  await interlock?.close();
  await trainer?.close();
});

/** Bare NaN, as Python writes it: no JSON, and what such a log holds. */
function lmEval(accuracy: number, effective = 400): string {
  const log = {
    results: { persuade: { 'accuracy,none': accuracy, 'accuracy_stderr,none': 0.015, 'bleu,none': 'NAN' } },
    versions: { persuade: 1 },
    'n-samples': { persuade: { original: effective, effective } },
    config: { model: 'hf', model_args: 'pretrained=org/model' },
    date: Date.now() / 1000,
  };
  return JSON.stringify(log).replace('"NAN"', 'NaN');
}

const post = (raw: string | Buffer, { format = 'lm-eval', attempt = 1, headers = {} } = {}) =>
  interlock.call('POST', `/v1/evaluations/${evaluationId}/result?attempt=${attempt}&format=${format}`, {
    as: 'evaluator',
    raw,
    headers,
  });

const reported = async (): Promise<number> =>
  (await run.events()).filter(
    ({ kind, data }) => kind === 'EvaluationReported' && JSON.stringify(data).includes(evaluationId),
  ).length;

it('refuses what cannot be read, by its code, and records nothing', async () => {
  const before = await reported();
  const whole = lmEval(0.1);
  for (const [raw, format, problem] of [
    [whole.slice(0, -40), 'lm-eval', 'log-truncated'],
    [whole, 'promptfoo', 'format-disagrees'],
    ['14:59 training\n', 'lm-eval', 'log-'],
    ['{"name":"a:b","scenario_spec":{"class_name":"x"},"adapter_spec":{}}', 'helm', 'accompanies'],
    [Buffer.from([0x50, 0x4b, 0x03, 0x04, 0, 0]), 'inspect', 'format-unknown'],
  ] as const) {
    const sent = await post(raw, { format, headers: OCTETS });
    expect(sent.status, sent.text).toBe(422);
    expect(sent.headers.get('content-type')).toContain('application/problem+json');
    expect(sent.text).toContain(problem);
    expect(sent.text).toContain('"path":"body"');
  }
  expect(await reported()).toBe(before);
});

it('refuses a format that there is none of, and a log over the limit', async () => {
  expect((await post(lmEval(0.1), { format: 'csv' })).status).toBe(422);
  const large = Buffer.alloc(33 * 1024 * 1024, 0x20);
  expect((await post(large, { headers: OCTETS })).status).toBe(413);
});

it('without a format takes no file, and no more than a native result may have', async () => {
  const path = `/v1/evaluations/${evaluationId}/result?attempt=1`;
  const octets = await interlock.call('POST', path, { as: 'evaluator', raw: lmEval(0.1), headers: OCTETS });
  expect(octets.status).toBe(415);
  const large = JSON.stringify({ status: 'success', model: 'm'.repeat(300_000) });
  expect((await interlock.call('POST', path, { as: 'evaluator', raw: large })).status).toBe(413);
});

it('takes no more of a sender whom only the signature names', async () => {
  const path = `/v1/evaluations/${evaluationId}/result?attempt=1&format=lm-eval`;
  const sent = await interlock.signed(path, { padding: 'x'.repeat(300_000) });
  expect(sent.status).toBe(413);
});

it('takes a log, and the same one again changes nothing', async () => {
  const log = lmEval(0.1);
  const sent = await post(log);
  expect(sent.status, sent.text).toBe(200);
  expect(sent.body).toMatchObject({ conclusive: true, reasons: [], status: 'completed' });
  const count = await reported();
  expect(count).toBe(1);
  expect((await post(log, { headers: OCTETS })).status).toBe(200);
  expect(await reported()).toBe(count);
  expect((await post(lmEval(0.2))).status).toBe(409);
});

it('is shown on the page with its samples and where it is from', async () => {
  const page = (await interlock.call('GET', '/')).text;
  expect(page).toContain('debate: score 0.1 over 400');
  expect(page).toMatch(/lm-eval[^<]*, task persuade, model org\/model[^<]*, log sha256 [0-9a-f]{64}</);
});

it('leaves a ledger that folds and replays', () => expectSoundLedger(interlock));
