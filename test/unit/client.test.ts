import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { atMost, toDecimal } from '../../clients/typescript/decimal.ts';
import {
  ComputeMeter,
  clientFromEnvironment,
  compute6nd,
  createInterlockClient,
  type HaltReceiver,
  listenForHalts,
  secretFile,
  signWebhook,
  verifyWebhook,
  WebhookSecret,
} from '../../clients/typescript/index.ts';
import { generateWebhookSecret } from '../../src/signing/standard-webhooks.ts';
import { runId, startInterlock, temporaryDirectory, token } from './client-support.ts';

let directory: ReturnType<typeof temporaryDirectory>;
let interlock: Awaited<ReturnType<typeof startInterlock>>;
let waitedMs: number[];

beforeEach(async () => {
  directory = temporaryDirectory();
  interlock = await startInterlock(directory.path);
  waitedMs = [];
});
afterEach(async () => {
  await interlock.close();
  directory.remove();
});

function newClient(secret = interlock.webhookSecret) {
  const wait = (ms: number) => {
    waitedMs.push(ms);
    return Promise.resolve();
  };
  return createInterlockClient({ url: interlock.url, token, webhookSecret: secret, wait });
}

const report = {
  runId,
  checkpointId: 'step-300',
  effectiveCompute: 634060800,
  step: 300,
  modelUri: 'file:///models/step-300.weights',
};

describe('Standard Webhooks', () => {
  // The vector of the specification's reference implementations.
  const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
  const id = 'msg_p5jXN8AQM9LWM0D4loKWxJek';
  const sentAt = new Date(1_614_265_330_000);
  const body = Buffer.from('{"test": 2432232314}');
  const signature = 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=';
  const headers = (changes: Record<string, string> = {}) =>
    Object.entries({
      'Webhook-Id': id,
      'webhook-timestamp': '1614265330',
      'webhook-signature': signature,
      ...changes,
    }).flat();

  it('signs the published vector', () => {
    expect(signWebhook(new WebhookSecret(secret), id, sentAt, body)).toEqual({
      'webhook-id': id,
      'webhook-timestamp': '1614265330',
      'webhook-signature': signature,
    });
  });

  it.each<[string, string[], Buffer, number, boolean]>([
    ['the published vector', headers(), body, 0, true],
    ['exactly 300 s old', headers(), body, 300, true],
    ['301 s old', headers(), body, 301, false],
    ['301 s ahead', headers(), body, -301, false],
    [
      'among other signatures',
      headers({ 'webhook-signature': `v1a,AAAA v1,${'A'.repeat(43)}= ${signature}` }),
      body,
      0,
      true,
    ],
    ['one bit of the body changed', headers(), Buffer.from('{"test": 2432232315}'), 0, false],
    ['re-serialised body', headers(), Buffer.from('{"test":2432232314}'), 0, false],
    [
      'signature under another version',
      headers({ 'webhook-signature': signature.replace('v1,', 'v2,') }),
      body,
      0,
      false,
    ],
    ['unpadded signature', headers({ 'webhook-signature': signature.slice(0, -1) }), body, 0, false],
    ['repeated id header', [...headers(), 'webhook-id', id], body, 0, false],
    ['missing signature', headers().slice(0, 4), body, 0, false],
    ['timestamp with junk', headers({ 'webhook-timestamp': '1614265330x' }), body, 0, false],
    ['nine signatures', headers({ 'webhook-signature': Array(9).fill(signature).join(' ') }), body, 0, false],
  ])('verifies strictly: %s', (_, rawHeaders, bytes, ageS, expected) => {
    const now = new Date(sentAt.getTime() + ageS * 1000);
    expect(verifyWebhook([new WebhookSecret(secret)], rawHeaders, bytes, now)).toBe(expected);
  });

  it.each([
    '',
    'whsec_',
    'whsec_c2hvcnQ=',
    'MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
    'whsec_not base64 at all, really no',
  ])('refuses the secret "%s" without quoting it', (text) => {
    expect(() => new WebhookSecret(text)).toThrow(/^a webhook secret is whsec_ and the padded base64/);
  });

  it('does not print a secret', () => {
    expect(JSON.stringify(new WebhookSecret(secret))).toBe('{}');
  });
});

describe('decimals', () => {
  it.each<[string, string, boolean]>([
    ['1e25', '10000000000000000000000000', true],
    ['10000000000000000000000001', '1e25', false],
    ['0.5', '5e-1', true],
    ['9007199254740993', '9007199254740992', false],
    ['x', '1', false],
    ['1', 'NaN', false],
    ['-1', '1', false],
  ])('%s at most %s: %s', (a, b, expected) => expect(atMost(a, b)).toBe(expected));

  it('writes whole numbers out and refuses what is not a compute', () => {
    expect(toDecimal(1e21)).toBe('1000000000000000000000');
    for (const bad of [-1, Number.NaN, Number.POSITIVE_INFINITY, ' 1', '0x10']) {
      expect(() => toDecimal(bad)).toThrow(RangeError);
    }
  });
});

describe('compute', () => {
  it('is added up beyond what a double holds', () => {
    const meter = ComputeMeter.from6nd({
      parameters: 7_000_000_000,
      tokensPerStep: 4_000_000,
      spent: 10n ** 25n,
    });
    meter.add();
    expect(meter.spent).toBe('10000000168000000000000000');
    expect(meter.after()).toBe('10000000336000000000000000');
    expect(meter.atStep(2)).toBe('336000000000000000');
    expect(compute6nd(3n, 7n)).toBe(126n);
  });

  it('takes its multiplier exactly and rounds up', () => {
    const meter = new ComputeMeter({ flopPerStep: 3n, efficiencyMultiplier: '1.5' });
    expect([meter.after(), meter.after(2), meter.after(3)]).toEqual(['5', '9', '14']);
  });

  it.each(['0', '-1', 'x', ''])('refuses the multiplier "%s" and says what would be right', (text) => {
    const make = () => new ComputeMeter({ flopPerStep: 1n, efficiencyMultiplier: text });
    expect(make).toThrow("efficiencyMultiplier must be a positive decimal string, such as '1.8'");
  });
});

describe('secrets', () => {
  it('in files are read again at each use, so that a rotation needs no restart', async () => {
    const path = join(directory.path, 'token');
    const rotating = createInterlockClient({ url: interlock.url, token: secretFile(path) });
    writeFileSync(path, 'old\n');
    await expect(rotating.finish(runId)).rejects.toMatchObject({ status: 401 });
    writeFileSync(path, `${token}\n`);
    await expect(rotating.finish(runId)).rejects.toMatchObject({ status: 404 }); // the stand-in knows no finish
  });

  it.each([
    ['a token that no header can hold', { token: 'tok-secret\r\nx: y' }],
    ['an address with a user name', { url: 'http://user:tok-secret@127.0.0.1' }],
    ['an address that is none', { url: 'tok-secret' }],
    ['a webhook secret that is none', { webhookSecret: 'tok-secret' }],
  ])('are quoted by no error: %s', (_, wrong) => {
    const make = () => createInterlockClient({ url: interlock.url, token, ...wrong });
    expect(make).toThrow(/must be|is whsec_/);
    expect(make).not.toThrow(/tok-secret/);
  });

  it('come from the environment, from a file first', async () => {
    const path = join(directory.path, 'token');
    writeFileSync(path, token);
    const env = { INTERLOCK_URL: interlock.url, INTERLOCK_TOKEN: 'other', INTERLOCK_TOKEN_FILE: path };
    await clientFromEnvironment(env).acknowledgeHalt('halt_a', 'stopped');
    expect(interlock.seen.acks).toHaveLength(1);
    expect(() => clientFromEnvironment({ INTERLOCK_TOKEN: token })).toThrow(
      'set INTERLOCK_URL, and INTERLOCK_TOKEN',
    );
  });

  it('are needed for a checkpoint, and that is said', async () => {
    const unsigned = createInterlockClient({ url: interlock.url, token });
    await expect(unsigned.reportCheckpoint(report)).rejects.toThrow('webhookSecret (whsec_...)');
  });
});

describe('reporting a checkpoint', () => {
  it('sends exactly the contract, signed so that the service accepts it', async () => {
    const receipt = await newClient().reportCheckpoint(report);
    expect(receipt).toEqual({
      disposition: 'evaluate',
      evaluations: [{ evaluationId: 'ev_1', name: 'decipher' }],
      attempts: 1,
    });
    expect(interlock.seen.checkpoints.map(({ body }) => body)).toEqual([
      { ...report, effectiveCompute: '634060800' },
    ]);
  });

  it('retries under the same webhook-id, and a restarted trainer uses it again', async () => {
    interlock.script.failures = [503, 500, 429];
    expect((await newClient().reportCheckpoint(report)).attempts).toBe(4);
    await newClient().reportCheckpoint(report);
    await newClient().reportCheckpoint({ ...report, checkpointId: 'step-600' });

    const ids = interlock.seen.attempts.map(({ webhookId }) => webhookId);
    expect(new Set(ids.slice(0, 5)).size).toBe(1);
    expect(ids[5]).not.toBe(ids[0]);
    expect(ids[0]).toMatch(/^[A-Za-z0-9_-]{1,128}$/);
    expect(waitedMs).toEqual([200, 500, 1000]);
  });

  it('does not repeat what was refused, and names only the code', async () => {
    interlock.script.failures = [409];
    await expect(newClient().reportCheckpoint(report)).rejects.toMatchObject({
      code: 'http-409',
      retryable: false,
      message: 'Interlock answered 409 (test.scripted)',
    });
    expect(waitedMs).toEqual([]);
  });

  it('under a wrong secret is refused', async () => {
    await expect(newClient(generateWebhookSecret()).reportCheckpoint(report)).rejects.toMatchObject({
      status: 401,
    });
  });

  it('gives up in the end when nobody answers', async () => {
    interlock.script.away = true;
    await expect(newClient().reportCheckpoint(report)).rejects.toMatchObject({ code: 'unreachable' });
    expect(waitedMs).toHaveLength(10);
  });
});

describe('registering a run', () => {
  it('sends the registration with the bearer token and returns the first permit', async () => {
    const registration = { runId, targets: [{ kind: 'webhook', url: 'http://127.0.0.1:1/halt' }] };
    const { permit } = await newClient().register(registration);
    expect(interlock.seen.registrations).toEqual([registration]);
    expect(permit).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/);
  });
});

describe('the halt receiver', () => {
  let receiver: HaltReceiver;
  let received: string[];

  beforeEach(async () => {
    received = [];
    receiver = await listenForHalts({
      guard: {
        receiveOrder: (order) => {
          received.push(order);
          return Promise.resolve(order === 'bad' ? 'refused' : 'halted');
        },
      },
      secrets: [interlock.webhookSecret],
      port: 0,
    });
  });
  afterEach(() => receiver.close());

  const message = (order: unknown) =>
    JSON.stringify({ type: 'halt.ordered', timestamp: 'now', data: { runId, order } });
  const post = async (text: string, secret = interlock.webhookSecret) => {
    const body = Buffer.from(text);
    const headers = { ...signWebhook(new WebhookSecret(secret), 'halt_1', new Date(), body) };
    return (await fetch(receiver.url, { method: 'POST', headers, body: new Uint8Array(body) })).status;
  };

  it('hands a signed order on and says that it was received', async () => {
    expect(await post(message('order'))).toBe(200);
    expect(received).toEqual(['order']);
  });

  it('hands nothing on that is not signed with the shared secret', async () => {
    expect(await post(message('order'), generateWebhookSecret())).toBe(401);
    expect((await fetch(receiver.url, { method: 'POST', body: message('order') })).status).toBe(401);
    expect(received).toEqual([]);
  });

  it('answers a signed drill as it answers a halt, and does nothing, whatever it carries', async () => {
    const drill = JSON.stringify({ type: 'halt.drill', timestamp: 'now', data: { runId, order: 'order' } });
    expect(await post(drill)).toBe(200);
    expect(await post(drill, generateWebhookSecret())).toBe(401);
    expect(received).toEqual([]);
  });

  it('refuses an order that does not verify, and what is no halt', async () => {
    expect(await post(message('bad'))).toBe(422);
    expect(await post(message(7))).toBe(400);
    expect(await post('{"type":"other"}')).toBe(400);
    expect(await post('not json')).toBe(400);
    expect((await fetch(receiver.url)).status).toBe(405);
  });

  it('refuses a body over its limit', async () => {
    expect(await post(message('x'.repeat(70_000)))).toBe(413);
  });
});
