/** Outside evaluators through the service: what they see, what they may say, and that anybody can tell who said it. */
import { createHash, createPublicKey, verify } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { generateSealingKeys } from '../../src/evidence/seal.ts';
import { ACCESS } from '../../src/http/access.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { answered, drive, expectSoundLedger, type RunDriver } from '../support/run-driver.ts';

const policy = oneEvaluationPolicy({
  categories: [{ id: 'cyber', title: 'Cyber', hazardous: true }],
  evaluation: { executor: { kind: 'outside', party: 'institute', timeout: '1h' } },
  rules: [
    { id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] },
    { id: 'outside', kind: 'outside-finding', atLeast: 'medium', then: ['hold'] },
  ],
});
const WORDS = 'it hides what it can do when it is watched';

let interlock: TestInterlock;
let run: RunDriver;
let other: RunDriver;

beforeAll(async () => {
  interlock = await startTestInterlock({
    policies: { one: policy },
    settings: {
      evidence: { directory: 'evidence', sealing: { publicKey: generateSealingKeys().publicKey } },
    },
    identities: [
      { id: 'institute', roles: ['outside-evaluator'] },
      { id: 'rival', roles: ['outside-evaluator'] },
    ],
  });
  run = await registered();
  other = await registered();
  const grant = { identity: 'institute', endpoint: 'https://gate.example/c' };
  const sent = await interlock.call('POST', path('outside-evaluators'), { as: 'operator', body: grant });
  expect(sent.status, sent.text).toBe(201);
  await interlock.call('POST', path('outside-evaluators'), { as: 'board', body: { identity: 'rival' } });
});
afterAll(() => interlock?.close());

async function registered(): Promise<RunDriver> {
  const driver = drive(interlock, { kind: 'webhook', url: 'http://127.0.0.1:9/halt' });
  const sent = await driver.register();
  expect(sent.status, sent.text).toBe(201);
  await driver.report('c1', '1e19', 's3://bucket/secret-place/c1');
  await driver.event('EvaluationDispatched');
  return driver;
}
const path = (rest: string, of = run) => `/v1/runs/${of.runId}/${rest}`;
const View = z.object({
  checkpoints: z.array(
    z.object({
      model: z.string(),
      effectiveCompute: z.string().nullable(),
      evaluations: z.array(z.object({ evaluationId: z.string(), attempt: z.number(), status: z.string() })),
    }),
  ),
  submissions: z.array(z.object({ kind: z.string(), bodyDigest: z.string() })),
});
const view = async (as: string) => answered(await interlock.call('GET', path('outside'), { as }), 200, View);
const finding = (findingId: string, more: object = {}) => ({
  runId: run.runId,
  findingId,
  severity: 'low',
  title: 'a finding',
  text: WORDS,
  ...more,
});

describe('an outside evaluator', () => {
  it('sees the model where it was told to, its own evaluations, and no compute', async () => {
    const [checkpoint] = (await view('institute')).checkpoints;
    expect(checkpoint).toMatchObject({ model: 'https://gate.example/c', effectiveCompute: null });
    expect(checkpoint?.evaluations).toMatchObject([{ attempt: 1, status: 'awaiting-callback' }]);
    expect((await view('rival')).checkpoints[0]?.evaluations).toEqual([]);
  });

  it('sees nothing of a run that it has no grant for, and nothing of the rest of the service', async () => {
    const hidden = await interlock.call('GET', path('outside', other), { as: 'institute' });
    const none = await interlock.call('GET', '/v1/runs/no-such-run/outside', { as: 'institute' });
    expect([hidden.status, none.status]).toEqual([404, 404]);
    for (const [route, { who }] of Object.entries(ACCESS)) {
      const [method = '', at = ''] = route.split(' ');
      if (who === 'everyone' || who.includes('outside-evaluator')) continue;
      const body = method === 'GET' ? {} : { body: {} };
      const sent = await interlock.call(method, at.replace(':run', run.runId).replace(/:\w+/g, 'x'), {
        as: 'institute',
        ...body,
      });
      // A route for people takes no signature: there a token without the role is refused the same.
      expect(sent.status, `${route} ${sent.text}`).toBe(403);
    }
  });

  it('is heard only under its own signature', async () => {
    const body = finding('f0');
    const byToken = await interlock.call('POST', path('outside-findings'), { as: 'institute', body });
    expect(byToken.status).toBe(403);
    expect((await interlock.signed(path('outside-findings'), body)).status).toBe(403);
    expect((await interlock.signed(path('outside-findings', other), body, { by: 'institute' })).status).toBe(
      404,
    );
  });

  it('is told of no place with a password in it: the ledger would keep that', async () => {
    const grant = { identity: 'rival', endpoint: 'https://user:secret@gate.example/c' };
    const sent = await interlock.call('POST', path('outside-evaluators'), { as: 'operator', body: grant });
    expect([sent.status, sent.text]).toEqual([422, expect.stringContaining('must not hold credentials')]);
  });

  it('leaves nothing behind of what it may not say: no evidence, and nothing in the stream of the run', async () => {
    const before = (await run.events()).length;
    const [own] = (await view('institute')).checkpoints[0]?.evaluations ?? [];
    const result = { status: 'success', score: 0.1, n: 400 };
    const foreign = { evaluationId: own?.evaluationId, attempt: 1, result };
    const refused = [
      ['rival', 'outside-results', foreign, 403],
      ['institute', 'outside-results', { ...foreign, evaluationId: 'ev_of_nobody' }, 403],
      ['rival', 'outside-findings', finding('f0', { category: 'none-such' }), 422],
      ['rival', 'outside-findings', finding('f0', { checkpointId: 'none-such' }), 409],
      // Signed for one run, and sent to another one.
      ['rival', 'outside-findings', finding('f0', { runId: other.runId }), 422],
    ] as const;
    for (const [by, at, body, status] of refused) {
      const sent = await interlock.signed(path(at), body, { by });
      expect(sent.status, sent.text).toBe(status);
    }
    expect((await run.events()).length).toBe(before);
  });

  it('reports a result, which counts, and which nobody else reports', async () => {
    const [evaluation] = (await view('institute')).checkpoints[0]?.evaluations ?? [];
    const evaluationId = evaluation?.evaluationId ?? '';
    const result = { status: 'success', score: 0.1, n: 400 };
    const foreign = await run.result(evaluationId, 1, result);
    expect(foreign.status, foreign.text).toBe(403);
    const body = { evaluationId, attempt: 1, result };
    expect((await interlock.signed(path('outside-results'), body, { by: 'rival' })).status).toBe(403);
    const sent = await interlock.signed(path('outside-results'), body, { by: 'institute', id: 'msg_r1' });
    expect(sent.status, sent.text).toBe(201);
    expect((await run.event('CheckpointAssessed')).data).toMatchObject({ verdict: 'proceed' });
    const again = await interlock.signed(path('outside-results'), body, { by: 'institute', id: 'msg_r1' });
    expect(again.status, again.text).toBe(200);
    const reused = { ...body, result: { ...result, score: 0.05 } };
    const before = (await run.events()).length;
    for (const id of ['msg_r1', 'msg_r2'])
      expect((await interlock.signed(path('outside-results'), reused, { by: 'institute', id })).status).toBe(
        409,
      );
    const none = { ...body, attempt: 9 };
    expect((await interlock.signed(path('outside-results'), none, { by: 'institute' })).status).toBe(404);
    expect((await run.events()).length).toBe(before);
  });

  it('reports findings, which count as the policy says and can be shown to be its own', async () => {
    const body = JSON.stringify(finding('f1', { severity: 'medium' }));
    const sent = await interlock.signed(path('outside-findings'), body, { by: 'institute' });
    expect(sent.status, sent.text).toBe(201);
    const { data } = await run.event('OutsideFindingReported');
    expect(JSON.stringify(data)).not.toContain(WORDS);
    expect((await run.beat('1e19')).directive.action).toBe('pause');

    const Signed = z.object({
      messageId: z.string(),
      timestamp: z.string(),
      signature: z.string(),
      publicKeys: z.array(z.string()),
      bodyDigest: z.string(),
    });
    const { messageId, timestamp, signature, publicKeys, bodyDigest } = Signed.parse(data['signed']);
    const evidence = await interlock.call('GET', `/v1/evidence/${bodyDigest}`, { as: 'auditor' });
    expect(evidence.text).toBe(body);
    // With the ledger, the evidence and nothing else.
    expect(createHash('sha256').update(evidence.text).digest('hex')).toBe(bodyDigest);
    const point = Buffer.from((publicKeys[0] ?? '').slice('whpk_'.length), 'base64').toString('base64url');
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: point }, format: 'jwk' });
    const content = Buffer.from(`${messageId}.${timestamp}.${evidence.text}`);
    expect(verify(null, content, key, Buffer.from(signature.slice('v1a,'.length), 'base64'))).toBe(true);
  });

  it('has its hazardous words sealed, and sees its own submissions alone', async () => {
    const body = finding('f2', { hazardous: true, title: 'the title gives it away' });
    const sent = await interlock.signed(path('outside-findings'), body, { by: 'institute' });
    const { bodyDigest } = answered(sent, 201, z.object({ bodyDigest: z.string() }));
    expect((await interlock.call('GET', `/v1/evidence/${bodyDigest}`, { as: 'auditor' })).status).toBe(403);
    expect(JSON.stringify(await run.events())).not.toContain('gives it away');
    expect((await view('institute')).submissions.map(({ kind }) => kind).sort()).toEqual([
      'finding',
      'finding',
      'result',
    ]);
    expect((await view('rival')).submissions).toEqual([]);
    const ofHazard = finding('f3', { category: 'cyber', title: 'this one would, too' });
    const sealed = await interlock.signed(path('outside-findings'), ofHazard, { by: 'institute' });
    expect(sealed.status, sealed.text).toBe(201);
    expect(JSON.stringify(await run.events())).not.toContain('would, too');
  });

  it('is no longer heard once its grant has ended', async () => {
    const ended = { identity: 'rival', expires: '2026-01-01T00:00:00Z' };
    await interlock.call('POST', path('outside-evaluators'), { as: 'operator', body: ended });
    expect((await interlock.call('GET', path('outside'), { as: 'rival' })).status).toBe(404);
    expect((await interlock.signed(path('outside-findings'), finding('f9'), { by: 'rival' })).status).toBe(
      404,
    );
  });

  it('leaves a ledger that folds and judges the same again', () => expectSoundLedger(interlock));
});
