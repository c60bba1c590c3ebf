/** Every file of `clients/conformance`, from fixed keys and the service's own code: the same text at every run. */
import { createHash } from 'node:crypto';
import { signWebhook, WebhookSecret } from '../../src/signing/standard-webhooks.ts';
import { receiverVectors, retryVectors } from './delivery-vectors.ts';
import { forgeKey, nowS } from './forge.ts';
import { guardVectors } from './guard-vectors.ts';
import { haltVectors, keyVectors, permitVectors } from './token-vectors.ts';

/** File name to content. */
export async function vectorFiles(): Promise<Record<string, string>> {
  const [active, retired, revoked, stranger] = await Promise.all([1, 2, 3, 4].map(forgeKey));
  if (active === undefined || retired === undefined || revoked === undefined || stranger === undefined) {
    throw new Error('there are four keys');
  }
  const keys = { active, retired, revoked, stranger };
  const files: Record<string, object> = {
    'permits.json': await permitVectors(keys),
    'halts.json': await haltVectors(keys),
    'keys.json': keyVectors(keys),
    'guard.json': await guardVectors(keys),
    'webhooks.json': webhookVectors(),
    'reports.json': reportVectors(),
    'retries.json': await retryVectors(keys),
    'receiver.json': await receiverVectors(keys, `whsec_${Buffer.alloc(32, 7).toString('base64')}`),
    'compute.json': computeVectors(),
  };
  return Object.fromEntries(
    Object.entries(files).map(([name, content]) => [name, `${JSON.stringify(content, null, 1)}\n`]),
  );
}

function webhookVectors() {
  const texts = [5, 6].map((byte) => `whsec_${Buffer.alloc(32, byte).toString('base64')}`);
  const secrets = texts.map((text) => WebhookSecret.parse(text));
  const body = '{"type":"halt.ordered","data":{"runId":"run-1"}}';
  const id = 'msg_1';
  const signed = (by: readonly WebhookSecret[], content = body, atS = nowS, as = id) =>
    Object.entries(
      signWebhook({ id: as, timestamp: new Date(atS * 1000), body: Buffer.from(content), secrets: by }),
    );
  const good = signed(secrets);
  const changed = (name: string, value: string) =>
    good.map(([key, old]) => [key, key === name ? value : old]);
  const signature = good.find(([key]) => key === 'webhook-signature')?.[1] ?? '';
  const row = (name: string, headers: readonly (readonly string[])[], valid: boolean, content = body) => ({
    name,
    headers,
    body: content,
    valid,
  });
  return {
    secrets: texts,
    nowS,
    signatures: [
      { secret: texts[0], id, atS: nowS, body, headers: Object.fromEntries(signed(secrets.slice(0, 1))) },
      { secret: texts[1], id: 'a-Z_9', atS: 1, body: '', headers: null },
      {
        secret: texts[1],
        id: 'a-Z_9',
        atS: nowS,
        body: 'Zürich \u{1f512}',
        headers: Object.fromEntries(signed(secrets.slice(1), 'Zürich \u{1f512}', nowS, 'a-Z_9')),
      },
      { secret: texts[0], id: 'a.b', atS: nowS, body, headers: null },
    ],
    badSecrets: [
      '',
      'whsec_',
      'whsec_AAAA',
      texts[0]?.slice(6),
      `${texts[0]}=`,
      `${texts[0]}\n`,
      'whsec_\u00e9',
    ],
    cases: [
      row('as the service signs it', good, true),
      row('by the second secret alone', signed(secrets.slice(1)), true),
      row(
        'with names in capitals',
        good.map(([name, value]) => [name.toUpperCase(), value]),
        true,
      ),
      row('five minutes old', signed(secrets, body, nowS - 300), true),
      row('five minutes ahead', signed(secrets, body, nowS + 300), true),
      row('older than five minutes', signed(secrets, body, nowS - 301), false),
      row('more than five minutes ahead', signed(secrets, body, nowS + 301), false),
      row('with another body', good, false, `${body} `),
      row('with another id', changed('webhook-id', 'msg_2'), false),
      row('with another instant', changed('webhook-timestamp', String(nowS + 1)), false),
      row('with junk after the instant', changed('webhook-timestamp', `${nowS}x`), false),
      row('with an instant of other digits', changed('webhook-timestamp', '\u0661800000000'), false),
      row('with an instant and a fraction', changed('webhook-timestamp', `${nowS}.0`), false),
      row('with an id that has a dot', changed('webhook-id', 'msg.1'), false),
      row('with an empty id', changed('webhook-id', ''), false),
      row('without a signature', good.slice(0, 2), false),
      row('with its signature repeated', [...good, ['Webhook-Signature', signature]], false),
      row('with another scheme', changed('webhook-signature', signature.replaceAll('v1,', 'v1a,')), false),
      row(
        'with a good signature among bad ones',
        changed('webhook-signature', `v1,x v2,y ${signature}`),
        true,
      ),
      row(
        'with more signatures than are looked at',
        changed('webhook-signature', `${'v1,x '.repeat(8)}${signature}`),
        false,
      ),
      row(
        'with a signature too long',
        changed('webhook-signature', `${signature} v1,${'A'.repeat(1024)}`),
        false,
      ),
      row('with its padding gone', changed('webhook-signature', signature.replaceAll('=', '')), false),
      row('with two spaces', changed('webhook-signature', signature.replace(' ', '  ')), true),
    ],
  };
}

/** The bytes of a report and the id that they give: a repetition is the same message, from either client. */
function reportVectors() {
  const reports = [
    {
      runId: 'run-1',
      checkpointId: 'step-1',
      effectiveCompute: '1000',
      step: 1,
      modelUri: 'file:///models/1',
    },
    {
      runId: 'r',
      checkpointId: 'c',
      effectiveCompute: '1.5e24',
      step: 0,
      modelUri: 's3://b/\u00fc "\\\u2028\u0001',
    },
    {
      runId: 'r',
      checkpointId: 'merged',
      effectiveCompute: '1e25',
      modelUri: 'file:///models/merged',
      weightsDigest: `sha256:${'0a'.repeat(32)}`,
      parents: ['run-2', 'run-3/step-9'],
    },
    {
      runId: 'r',
      checkpointId: 'rl-1',
      effectiveCompute: '1.01e25',
      modelUri: 'file:///models/rl-1',
      trainingStage: { name: 'rl', compute: '2e23' },
    },
  ];
  return {
    reports: reports.map((report) => {
      const body = JSON.stringify(report);
      const id = `cp_${createHash('sha256').update(body).digest('base64url')}`;
      return { report, bodyBase64: Buffer.from(body).toString('base64'), id };
    }),
    /** Which answers are worth another attempt with the same bytes. */
    retryable: [408, 425, 429, 500, 502, 503, 504],
    final: [301, 307, 400, 401, 403, 404, 409, 413, 415, 422],
  };
}

function computeVectors() {
  const row = (a: string, b: string, atMost: boolean) => ({ a, b, atMost });
  return {
    compared: [
      row('1000', '1000', true),
      row('1e3', '1000', true),
      row('1000.0', '1E+3', true),
      row('1000.000000000000000000000000000001', '1000', false),
      row('10000000000000000000000000000000000000000', '1e40', true),
      row('10000000000000000000000000000000000000001', '1e40', false),
      row('9007199254740993', '9007199254740992', false),
      row('0', '1e-999', true),
      row('2e999', '1e999', false),
      row('', '1', false),
      row('1', '', false),
      row('-1', '1', false),
      row('NaN', '1', false),
      row('1', 'Infinity', false),
      row('1\n', '1', false),
      row('0x1', '1', false),
      row('1e1000', '1e9999', false),
      row('\u0661', '1', false),
    ],
    /** Numbers as a program holds them, and what goes on the wire; null: refused. */
    written: [
      { number: 1000, text: '1000' },
      { number: 1e21, text: '1000000000000000000000' },
      { number: 0.5, text: '0.5' },
      { number: 1e-7, text: '1e-7' },
      { number: -1, text: null },
    ],
  };
}
