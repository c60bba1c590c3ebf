/**
 * Signed and bearer messages as an attacker, or a confused sender, would make them, to a whole service. A refusal is a
 * problem document that names the field, is counted, and moves nothing: states, deadlines, latch, permits, receipts
 * and events are read from the database before and after. What is taken is taken as what it says.
 */
import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { postmasterPid } from '../support/data-directories.ts';
import { fieldsOf, type HostileScene, refusedWith, startHostileScene } from '../support/hostile-scene.ts';
import type { Sent } from '../support/interlock.ts';
import { drive, expectSoundLedger, soon } from '../support/run-driver.ts';

let scene: HostileScene;
beforeAll(async () => {
  scene = await startHostileScene();
});
afterAll(() => scene?.close());

const report = (more: Record<string, unknown> = {}) => ({
  runId: scene.quiet.runId,
  checkpointId: 'never',
  effectiveCompute: '1.1e21',
  modelUri: 's3://b/c',
  ...more,
});
const post = (body: unknown, more: { as?: string; path?: string; headers?: Record<string, string> } = {}) =>
  scene.interlock.call('POST', more.path ?? '/v1/checkpoints', {
    as: more.as ?? 'trainer',
    ...(typeof body === 'string' || Buffer.isBuffer(body) ? { raw: body } : { body }),
    ...(more.headers === undefined ? {} : { headers: more.headers }),
  });
/** Refused with this status, in these fields, and nothing moved. */
async function refuses(
  status: number,
  fields: readonly string[] | null,
  act: () => Promise<Sent>,
): Promise<void> {
  const sent = await scene.unmoved(1, act);
  const problem = refusedWith(sent, status);
  if (fields !== null) expect([...new Set(fieldsOf(problem))]).toEqual(fields);
}

// --- B ---------------------------------------------------------------------------------------------------

/** By hand: the service's own signer would not sign most of this. */
function signedBy(
  by: string,
  raw: Buffer,
  {
    id = `msg_${Math.random().toString(36).slice(2)}`,
    at = Date.now(),
    secret,
  }: { id?: string; at?: number; secret?: string } = {},
) {
  const timestamp = String(Math.floor(at / 1000));
  const key = Buffer.from(
    (secret ?? scene.interlock.webhookSecrets[by] ?? '').slice('whsec_'.length),
    'base64',
  );
  const mac = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(raw).digest('base64');
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${mac}` };
}
type Signed = ReturnType<typeof signedBy>;
const deliver = (raw: Buffer, headers: Record<string, string>) =>
  scene.interlock.call('POST', '/v1/checkpoints', { raw, headers });
const body = (): Buffer => Buffer.from(JSON.stringify(report()));
const second = 1_000;

describe('signatures', () => {
  const without = (name: keyof Signed) => (good: Signed) => {
    const { [name]: _, ...rest } = good;
    return rest;
  };
  it.each<[string, (good: Signed, raw: Buffer) => Record<string, string>, ((raw: Buffer) => Buffer)?]>([
    ['B01 no id', without('webhook-id')],
    ['B01 no timestamp', without('webhook-timestamp')],
    ['B01 no signature', without('webhook-signature')],
    ['B01 an empty id', (good) => ({ ...good, 'webhook-id': '' })],
    ['B01 an empty signature', (good) => ({ ...good, 'webhook-signature': '' })],
    [
      'B01 a repeated timestamp',
      (good) => ({
        ...good,
        'webhook-timestamp': `${good['webhook-timestamp']}, ${good['webhook-timestamp']}`,
      }),
    ],
    [
      'B02 a secret that was rotated out',
      (_good, raw) => signedBy('trainer', raw, { secret: `whsec_${Buffer.alloc(32, 7).toString('base64')}` }),
    ],
    ['B03 301 seconds old', (_good, raw) => signedBy('trainer', raw, { at: Date.now() - 302 * second })],
    ['B03 301 seconds ahead', (_good, raw) => signedBy('trainer', raw, { at: Date.now() + 303 * second })],
    [
      'B03 a timestamp with a tail',
      (good) => ({ ...good, 'webhook-timestamp': `${good['webhook-timestamp']}x` }),
    ],
    [
      'B03 a timestamp in milliseconds',
      (good) => ({ ...good, 'webhook-timestamp': `${good['webhook-timestamp']}000` }),
    ],
    [
      'B03 a timestamp with a fraction',
      (good) => ({ ...good, 'webhook-timestamp': `${good['webhook-timestamp']}.0` }),
    ],
    ['B04 an id with a dot', (_good, raw) => signedBy('trainer', raw, { id: 'msg.1' })],
    ['B04 an id with a colon', (_good, raw) => signedBy('trainer', raw, { id: 'msg:1' })],
    ['B04 an id of 129 characters', (_good, raw) => signedBy('trainer', raw, { id: 'm'.repeat(129) })],
    ['B04 an id with a look-alike', (_good, raw) => signedBy('trainer', raw, { id: 'm\u00e9sg' })],
    [
      'B05 the same JSON in other bytes',
      (good) => good,
      (raw) => Buffer.from(raw.toString().replace('{', '{ ')),
    ],
    [
      'B05 the same JSON in another order',
      (good) => good,
      (raw) =>
        Buffer.from(JSON.stringify(Object.fromEntries(Object.entries(JSON.parse(raw.toString())).reverse()))),
    ],
    [
      'B06 an invalid byte for a replacement character',
      (_good, raw) => signedBy('trainer', Buffer.from(raw.toString().replace('s3://b/c', 's3://b/\ufffd'))),
      (raw) => Buffer.from(raw.toString('latin1').replace('s3://b/c', 's3://b/\u00ff'), 'latin1'),
    ],
    [
      'B07 nine signatures, the last one right',
      (good) => ({ ...good, 'webhook-signature': `${'v1,AAAA '.repeat(8)}${good['webhook-signature']}` }),
    ],
    [
      'B07 six hundred signatures',
      (good) => ({ ...good, 'webhook-signature': `${'v1,AAAA '.repeat(600)}${good['webhook-signature']}` }),
    ],
    [
      'B08 v1 offered as v1a',
      (good) => ({ ...good, 'webhook-signature': good['webhook-signature'].replace('v1,', 'v1a,') }),
    ],
    ['B08 v2', (good) => ({ ...good, 'webhook-signature': good['webhook-signature'].replace('v1,', 'v2,') })],
    [
      'B08 no version',
      (good) => ({ ...good, 'webhook-signature': good['webhook-signature'].replace('v1,', '') }),
    ],
    [
      'B08 without padding',
      (good) => ({ ...good, 'webhook-signature': good['webhook-signature'].replace(/=+$/, '') }),
    ],
    [
      'B08 the alphabet of URLs',
      (good) => ({
        ...good,
        'webhook-signature': `v1,${Buffer.from(good['webhook-signature'].slice(3), 'base64').toString('base64url')}`,
      }),
    ],
    [
      'B08 white space inside',
      (good) => ({
        ...good,
        'webhook-signature': `${good['webhook-signature'].slice(0, 9)}\t${good['webhook-signature'].slice(9)}`,
      }),
    ],
    [
      'B09 a source that nobody knows',
      (_good, raw) =>
        signedBy('nobody-at-all', raw, { secret: `whsec_${Buffer.alloc(48, 9).toString('base64')}` }),
    ],
    [
      'B14 a key of its own',
      (good) => ({
        ...good,
        'webhook-signature': 'v1,AAAA',
        jwk: '{"kty":"oct","k":"AA"}',
        'webhook-key': 'https://keys.example/k',
        'x-key-url': 'https://keys.example/k',
      }),
    ],
  ])('%s is a 401 that says nothing more', async (_what, headers, sent) => {
    const raw = body();
    const answer = await scene.unmoved(1, () =>
      deliver(sent === undefined ? raw : sent(raw), headers(signedBy('trainer', raw), raw)),
    );
    const problem = refusedWith(answer, 401);
    expect([problem.detail, problem.errors]).toEqual([undefined, undefined]);
  });

  it('B03 exactly at the tolerance is taken', async () => {
    const run = await scene.registered();
    const raw = Buffer.from(JSON.stringify(report({ runId: run.runId })));
    const at = (Math.floor(Date.now() / 1000) - 298) * 1000;
    const answer = await deliver(raw, signedBy('trainer', raw, { at }));
    expect([200, 202], answer.text).toContain(answer.status);
  });

  it('B07 costs the same whatever stands in the list', async () => {
    const raw = body();
    const good = signedBy('trainer', raw);
    const from = process.cpuUsage();
    for (let i = 0; i < 50; i += 1) {
      refusedWith(await deliver(raw, { ...good, 'webhook-signature': 'v1,'.repeat(340) }), 401);
    }
    expect(process.cpuUsage(from).user / 1000 / 50).toBeLessThan(50);
  });

  it('B10 the valid signature of another source is a 403 in the security stream, whatever it says', async () => {
    const run = await scene.registered({ sources: ['trainer'] });
    const messages: [string, unknown][] = [
      ['/v1/checkpoints', report({ runId: run.runId })],
      [`/v1/runs/${run.runId}/heartbeat`, { effectiveCompute: '9e21' }],
      [`/v1/runs/${run.runId}/finish`, {}],
    ];
    const before = (await scene.securityEvents()).length;
    for (const [path, message] of messages) {
      const problem = refusedWith(
        await scene.unmoved(1, () => scene.interlock.signed(path, message, { by: 'stranger' })),
        403,
        path,
      );
      expect(fieldsOf(problem), path).toEqual([path === '/v1/checkpoints' ? 'runId' : 'path.run']);
    }
    await soon(async () => expect((await scene.securityEvents()).length).toBe(before + messages.length));
  });

  it('B11 B12 a replay is answered as before; a day later it is too old; with another body it is a 409', async () => {
    const run = await scene.registered();
    const message = report({ runId: run.runId, checkpointId: 'c1' });
    const id = `once_${run.runId}`;
    const first = await scene.interlock.signed('/v1/checkpoints', message, { id });
    expect(first.status, first.text).toBe(202);
    const again = await scene.unmoved(0, () => scene.interlock.signed('/v1/checkpoints', message, { id }));
    expect([again.status, again.body]).toEqual([200, first.body]);
    await refuses(401, null, () =>
      scene.interlock.signed('/v1/checkpoints', message, { id, at: new Date(Date.now() - 86_400_000) }),
    );
    await refuses(409, ['header.webhook-id'], () =>
      scene.interlock.signed('/v1/checkpoints', { ...message, checkpointId: 'c2' }, { id }),
    );
    await soon(async () => expect((await scene.securityEvents()).at(-1)).toContain('webhook-id-reused'));
  });

  it('B13 two credentials are one too many', async () => {
    const raw = body();
    await refuses(400, null, () =>
      scene.interlock.call('POST', '/v1/checkpoints', {
        raw,
        as: 'trainer',
        headers: signedBy('trainer', raw),
      }),
    );
  });
});

// --- C ---------------------------------------------------------------------------------------------------

const literal = (member: string): string => `${JSON.stringify(report()).slice(0, -1)},${member}}`;
const replaced = (name: string, text: string): string =>
  JSON.stringify(report({ [name]: 'HERE' })).replace('"HERE"', text);

describe('checkpoints', () => {
  it.each<[string, number, readonly string[] | null, () => unknown]>([
    ['C01 compute stated twice', 400, ['effectiveCompute'], () => literal('"effectiveCompute":"1e25"')],
    [
      'C01 compute stated twice in another spelling',
      400,
      ['effectiveCompute'],
      () => literal('"\\u0065ffectiveCompute":"1e25"'),
    ],
    ['C01 a key twice, deep inside', 400, ['metadata.a.b'], () => literal('"metadata":{"a":{"b":1,"b":1}}')],
    ['C02 a prototype', 400, ['__proto__'], () => literal('"__proto__":{"runId":"x"}')],
    ['C02 a prototype in another spelling', 400, null, () => literal('"\\u005f_proto__":{}')],
    [
      'C02 the prototype of a constructor',
      400,
      null,
      () => literal('"metadata":{"constructor":{"prototype":{"a":1}}}'),
    ],
    ['C03 infinite compute', 422, ['effectiveCompute'], () => replaced('effectiveCompute', '1e999')],
    ['C03 minus infinite compute', 422, ['effectiveCompute'], () => replaced('effectiveCompute', '-1e999')],
    ['C03 infinite metadata', 422, ['metadata.a'], () => literal('"metadata":{"a":1e999}')],
    ...[
      '0',
      '-0',
      '-1',
      '1e41',
      '"1e400"',
      '"0x10"',
      '" 1e25 "',
      `"${'9'.repeat(401)}"`,
      '"1e25\\u0000"',
      '"\\uff11e25"',
      '1E400',
      '0.1e-400',
      '-0.0',
      '1e-7',
      'true',
      '[]',
      '{}',
      'null',
      '""',
    ].map((text): [string, number, readonly string[] | null, () => unknown] => [
      `C04 C27 compute of ${text.slice(0, 12)}`,
      422,
      ['effectiveCompute'],
      () => replaced('effectiveCompute', text),
    ]),
    [
      'C05 compute that a double rounds',
      422,
      ['effectiveCompute'],
      () => replaced('effectiveCompute', '9007199254740993'),
    ],
    [
      'C05 compute of too many digits',
      422,
      ['effectiveCompute'],
      () => replaced('effectiveCompute', '1.000000000000000000001e21'),
    ],
    ['C06 forms that disagree', 422, ['parameters'], () => report({ parameters: '1e9', tokens: '1e9' })],
    ['C06 half a form', 422, ['tokens'], () => report({ effectiveCompute: undefined, parameters: '1e9' })],
    ['C06 no form', 422, ['effectiveCompute'], () => report({ effectiveCompute: undefined })],
    ['C07 half a step', 422, ['step'], () => report({ step: 1.5 })],
    ['C07 a step back', 422, ['step'], () => report({ step: -1 })],
    ['C07 a step beyond whole numbers', 422, ['step'], () => literal('"step":9007199254740992')],
    ['C07 a step in words', 422, ['step'], () => report({ step: '7' })],
    [
      'C16 thirty thousand arrays',
      400,
      null,
      () => literal(`"metadata":${'['.repeat(30_000)}${']'.repeat(30_000)}`),
    ],
    [
      'C16 thirty-two objects',
      400,
      null,
      () => literal(`"metadata":${'{"a":'.repeat(32)}1${'}'.repeat(32)}`),
    ],
    [
      'C16 six thousand keys',
      400,
      null,
      () => literal(`"metadata":{${Array.from({ length: 6_000 }, (_, i) => `"k${i}":1`).join(',')}}`),
    ],
    ['C16 six thousand elements', 400, null, () => literal(`"metadata":{"a":[${'1,'.repeat(6_000)}1]}`)],
    ['C17 an unknown field', 422, ['treshold'], () => report({ treshold: 1 })],
    ['C17 a field that differs in its case', 422, ['RunId'], () => report({ RunId: 'x' })],
    ...[
      'file:///etc/passwd',
      '/etc/passwd',
      'file://evil.example/x',
      'javascript:alert(1)',
      'data:text/plain,x',
      'http://169.254.169.254/',
      'http://0xa9fea9fe/',
      'http://[::ffff:a9fe:a9fe]/',
      'http://[64:ff9b::a9fe:a9fe]/x',
      'http://metadata.google.internal/',
      'https://metadata/',
      's3://../x',
      's3://b/../../c',
      's3://b/%2e%2e/c',
      's3://b\\\\..\\\\c',
      '--config=x',
      '-x',
      `s3://${'x'.repeat(10_240)}`,
      'https://u:p@host/x',
      's3:b',
      '//host/x',
      'S3',
      's3://b/a b',
      's3://b/\u202e',
      'file:///proc/self/environ',
      '',
    ].map((uri): [string, number, readonly string[] | null, () => unknown] => [
      `C18 a model at ${uri.slice(0, 30)}`,
      422,
      ['modelUri'],
      () => report({ modelUri: uri }),
    ]),
    ...[
      'http://169.254.169.254/',
      'http://2852039166/',
      'http://[fe80::1]/',
      'ftp://host/',
      'https://u:p@host/',
      'javascript:1',
      'http://',
      'http://metadata.google.internal/x',
    ].map((uri): [string, number, readonly string[] | null, () => unknown] => [
      `C19 an endpoint at ${uri}`,
      422,
      ['endpoint'],
      () => report({ endpoint: uri }),
    ]),
    ...[
      '../x',
      ';rm -rf',
      '$(x)',
      'a\nb',
      'a\u202eb',
      'a:b',
      'a/b',
      '.',
      '..',
      '-rf',
      '_x',
      ' a',
      'a ',
      '\u0430',
      '',
      'x'.repeat(129),
      'a\u0000',
      '*',
      '%2e%2e',
      'a%00',
      '__proto__',
    ].map((id): [string, number, readonly string[] | null, () => unknown] => [
      `C20 a checkpoint called ${JSON.stringify(id).slice(0, 20)}`,
      422,
      ['checkpointId'],
      () => report({ checkpointId: id }),
    ]),
    ['C21 NUL in metadata', 422, ['metadata.a'], () => literal('"metadata":{"a":"\\u0000"}')],
    ['C21 NUL in a key', 422, null, () => literal('"metadata":{"\\u0000":1}')],
    ['C21 a lone surrogate', 422, ['metadata.a'], () => literal('"metadata":{"a":"\\ud800"}')],
    ['C21 the wrong half of a pair', 422, ['metadata.a'], () => literal('"metadata":{"a":"\\udc00\\ud800"}')],
    [
      'C22 five kilobytes of metadata',
      422,
      ['metadata'],
      () => report({ metadata: { a: 'x'.repeat(5_000) } }),
    ],
    [
      'C22 metadata in the place of an id',
      422,
      ['checkpointId'],
      () => report({ checkpointId: 'sk-live/secret' }),
    ],
    ['C24 null', 400, ['body'], () => 'null'],
    ['C24 a list', 400, ['body'], () => '[]'],
    ['C24 a list of reports', 400, ['body'], () => `[${JSON.stringify(report())}]`],
    ['C24 a text', 400, ['body'], () => '"x"'],
    ['C24 a number', 400, ['body'], () => '7'],
    ['C24 nothing', 400, null, () => ''],
    ['C24 two objects', 400, null, () => `${JSON.stringify(report())}{}`],
    ['C24 a byte order mark', 400, null, () => `\ufeff${JSON.stringify(report())}`],
    ['C24 UTF-16', 400, null, () => Buffer.from(JSON.stringify(report()), 'utf16le')],
    ['C24 comments', 400, null, () => `/* a */${JSON.stringify(report())}`],
    ['C24 a trailing comma', 400, null, () => JSON.stringify(report()).replace('}', ',}')],
    ['C12 an unknown run', 404, ['runId'], () => report({ runId: 'no-such-run' })],
  ])('%s is refused', async (_what, status, fields, make) => {
    await refuses(status, fields, () => post(make()));
  });

  it('C11 a used id with another compute is a 409 that names it, also when the number only looks equal', async () => {
    const used = report({ checkpointId: 'c1' });
    for (const change of [
      { effectiveCompute: '1.2e21' },
      { effectiveCompute: '1e21', modelUri: 's3://b/other' },
    ]) {
      await refuses(409, ['checkpointId'], () => post({ ...used, ...change }));
    }
  });

  it('C12 a finished run takes no checkpoint, and a halted one no permit', async () => {
    const run = await scene.registered();
    expect((await post(report({ runId: run.runId, checkpointId: 'f1' }))).status).toBe(202);
    await scene.interlock.call('POST', `/v1/runs/${run.runId}/finish`, { as: 'trainer', body: {} });
    await refuses(409, ['runId'], () =>
      post(report({ runId: run.runId, checkpointId: 'f2', effectiveCompute: '1e21' })),
    );
    const halted = await scene.registered();
    await halted.press();
    expect((await halted.beat('1e21')).permit).toBeNull();
    expect((await post(report({ runId: halted.runId, checkpointId: 'h1' }))).status).toBe(202);
    expect((await halted.beat('1.1e21')).permit).toBeNull();
    expect((await halted.show()).status).toBe('halted');
  });

  it('C14 an instant that no calendar has is refused; one that it has is a claim and no clock', async () => {
    const ack = (at: string) =>
      scene.interlock.call('POST', `/v1/halts/${scene.haltId}/ack`, {
        as: 'trainer',
        body: { state: 'received', at },
      });
    for (const at of [
      '2026-02-30T00:00:00Z',
      '2026-01-01T00:00:00',
      '2026-06-30T23:59:60Z',
      'yesterday',
      '1767225600',
      '2026-13-01T00:00:00Z',
      '2026-01-01',
      '+010000-01-01T00:00:00Z',
    ]) {
      await refuses(422, ['at'], () => ack(at));
    }
    const before = Date.now();
    for (const at of ['2099-01-01T00:00:00Z', '1970-01-01T00:00:00Z']) {
      const sent = await ack(at);
      expect(sent.status, sent.text).toBe(200);
    }
    const { receivedAt } = (await scene.halted.show()).openHalt?.acknowledged ?? {};
    expect(Math.abs(Date.parse(receivedAt ?? '') - before)).toBeLessThan(60_000);
  });

  it('C15 C23 an event is stated in one form, of our type and version; a batch is not an event', async () => {
    const event = { specversion: '1.0', type: 'training.checkpoint', id: 'e1', source: '/t', data: report() };
    const structured = { 'content-type': 'application/cloudevents+json' };
    const binary = {
      'ce-specversion': '1.0',
      'ce-type': 'training.checkpoint',
      'ce-id': 'e',
      'ce-source': '/t',
    };
    const rows: [string, number, unknown, Record<string, string>][] = [
      ['C15 a batch', 415, [event], { 'content-type': 'application/cloudevents-batch+json' }],
      ['C15 a batch in the place of one', 400, JSON.stringify([event]), structured],
      ['C23 both forms', 400, event, { ...structured, ...binary }],
      ['C23 another type', 400, { ...event, type: 'other' }, structured],
      ['C23 another version', 400, { ...event, specversion: '0.3' }, structured],
      ['C23 another type in a header', 400, report(), { ...binary, 'ce-type': 'other' }],
      ['C23 no id', 400, { ...event, id: undefined }, structured],
      ['C23 data in base64', 400, { ...event, data: undefined, data_base64: 'e30=' }, structured],
      ['C23 data that is text', 400, { ...event, data: '{}' }, structured],
      [
        'C23 a thousand attributes of no name',
        400,
        { ...event, ...Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`A-${i}`, 1])) },
        structured,
      ],
    ];
    for (const [what, status, message, headers] of rows) {
      refusedWith(await scene.unmoved(1, () => post(message, { headers })), status, what);
    }
  });

  it('C22 metadata is kept as a digest and found nowhere else', async () => {
    const run = await scene.registered();
    const canary = 'sk-live-CANARY-of-metadata';
    const sent = await post(report({ runId: run.runId, checkpointId: 'm1', metadata: { key: canary } }));
    expect(sent.status, sent.text).toBe(202);
    const everything = [
      sent.text,
      JSON.stringify(await run.events()),
      JSON.stringify(await scene.facts()),
      scene.interlock.logs.join('\n'),
      (await scene.interlock.call('GET', '/metrics')).text,
      (await scene.interlock.call('GET', '/')).text,
    ].join('\n');
    expect(everything).not.toContain('CANARY');
  });

  it('C25 evaluate: false on a due checkpoint: it is evaluated, and the event says what was asked', async () => {
    const run = await scene.registered();
    const sent = await post(report({ runId: run.runId, checkpointId: 'd1', evaluate: false }));
    expect(sent.body).toMatchObject({ disposition: 'evaluate' });
    expect((await run.event('CheckpointReported')).data).toMatchObject({ due: true, declined: true });
  });
});

// --- D and E ---------------------------------------------------------------------------------------------

describe('results', () => {
  const result = (evaluation: string, attempt: string, content: unknown, as = 'evaluator') =>
    post(content, { as, path: `/v1/evaluations/${evaluation}/result?attempt=${attempt}` });
  const fine = { status: 'success', score: 0.1, n: 400 };

  it('D05 D06 D18 a result of another evaluation, or of an attempt that was never made, is a 404 or a 409', async () => {
    await refuses(404, ['path.evaluation'], () => result('ev_of_nobody', '1', fine));
    await refuses(404, ['query.attempt'], () => result(scene.evaluationId, '7', fine));
    await refuses(422, ['query.attempt'], () => result(scene.evaluationId, '0', fine));
    await refuses(422, ['query.attempt'], () => result(scene.evaluationId, '1e1x', fine));
    const run = await scene.registered();
    const ids = await run.report('c1', '1e21', await scene.weights());
    await run.event('EvaluationReported');
    // The program's own result is in: another one for the same attempt changes nothing.
    await refuses(409, ['query.attempt'], () => result(ids['probe'] ?? '', '1', { ...fine, score: 0.11 }));
    // A signed result of one evaluation, sent once more for another: the id is used.
    const id = `result_${run.runId}`;
    const signed = (evaluation: string) =>
      scene.interlock.signed(`/v1/evaluations/${evaluation}/result?attempt=1`, fine, { by: 'harness', id });
    expect((await signed(ids['debate'] ?? '')).status).toBe(200);
    const replayed = await scene.unmoved(null, () => signed(scene.evaluationId));
    expect(JSON.stringify(replayed.body)).not.toContain('"completed"');
  });

  it('D09 nobody but an evaluator reports a result', async () => {
    for (const as of ['trainer', 'auditor', 'leadership', 'nobody', 'operator']) {
      await refuses(403, null, () => result(scene.evaluationId, '1', fine, as));
    }
  });

  it.each<[string, number, unknown, string]>([
    ['D01 a status of nobody', 422, { status: 'passed', score: 0.1 }, 'status'],
    ['D01 no status', 422, { score: 0.1 }, 'status'],
    [
      'D02 a count in the place of a metric',
      422,
      { ...fine, metrics: { accuracy: 0.1 } },
      'metrics.accuracy',
    ],
    ['D15 a field that differs in its case', 422, { ...fine, Score: 0.9 }, 'Score'],
    ['D17 an instant without its zone', 422, { ...fine, startedAt: '2026-01-01T00:00:00' }, 'startedAt'],
    ['D19 a transcript of three megabytes', 413, { ...fine, error: 'x'.repeat(3_000_000) }, ''],
  ])('%s is refused and named', async (_what, status, content, field) => {
    await refuses(status, field === '' ? null : [field], () => result(scene.evaluationId, '1', content));
  });

  it('D01 a number that overflows is refused before anything reads it', async () => {
    await refuses(422, ['score'], () =>
      result(scene.evaluationId, '1', '{"status":"success","score":1e999,"n":400}'),
    );
  });

  it('D19 what a model said is in no sink', async () => {
    const run = await scene.registered();
    const ids = await run.report('c1', '1e21', await scene.weights());
    const canary = 'CANARY-of-a-model';
    const sent = await result(ids['debate'] ?? '', '1', {
      ...fine,
      error: canary,
      model: canary,
      transcriptUri: `s3://t/1?${canary}`,
      metrics: { [`x ${canary}`]: { value: 1 }, accuracy: { value: 0.1 } },
    });
    expect(sent.status, sent.text).toBe(200);
    const everything = [
      sent.text,
      JSON.stringify(await run.events()),
      JSON.stringify(await scene.facts()),
      scene.interlock.logs.join('\n'),
      (await scene.interlock.call('GET', '/')).text,
      (await scene.interlock.call('GET', '/metrics')).text,
      JSON.stringify(await run.scorecard()),
    ].join('\n');
    expect(everything).not.toContain('CANARY');
    await refuses(422, null, () => result(scene.evaluationId, '1', { ...fine, [canary]: 1 }));
    expect(scene.interlock.logs.join('\n')).not.toContain('CANARY');
  });
});

describe('registrations', () => {
  const register = (content: Record<string, unknown>, as = 'trainer') =>
    post({ runId: 'never-registered', targets: [scene.target()], ...content }, { as, path: '/v1/runs' });

  it.each<[string, number, string, Record<string, unknown>]>([
    [
      'E06 a target that is not allowed',
      422,
      'targets[0].url',
      { targets: [{ kind: 'webhook', url: 'https://not-allowed.example/halt' }] },
    ],
    [
      'E06 a target at the metadata address',
      422,
      'targets[0].url',
      { targets: [{ kind: 'webhook', url: 'http://169.254.169.254/' }] },
    ],
    [
      'E06 a target in an odd spelling',
      422,
      'targets[0].url',
      { targets: [{ kind: 'webhook', url: 'http://0xa9fea9fe/' }] },
    ],
    [
      'E06 a target with credentials',
      422,
      'targets[0].url',
      { targets: [{ kind: 'webhook', url: 'http://u:p@127.0.0.1/' }] },
    ],
    [
      'E06 a target with a fragment',
      422,
      'targets[0].url',
      { targets: [{ kind: 'webhook', url: 'http://127.0.0.1/#x' }] },
    ],
    [
      'E06 a target that is no web address',
      422,
      'targets[0].url',
      { targets: [{ kind: 'webhook', url: 'file:///etc/passwd' }] },
    ],
    ['E07 a policy of its own choice', 403, 'policy', { policy: 'main' }],
    [
      'E11 a secret in the open',
      422,
      'targets[0].secret',
      { targets: [{ kind: 'webhook', url: 'http://127.0.0.1/', secret: 'whsec_AAAA' }] },
    ],
  ])('%s is refused', async (_what, status, field, content) => {
    await refuses(status, [field], () => register(content));
  });
});

// --- X ---------------------------------------------------------------------------------------------------

describe('what the list misses', () => {
  it('X13 ids that differ only in case, or that every object has, are ids like any other and stay apart', async () => {
    const odd = [
      'constructor',
      'toString',
      'hasOwnProperty',
      '0',
      '123',
      '1e3',
      'Run-A',
      'run-a',
      'null',
      'CON',
      'a.b',
      'a-b',
    ];
    for (const name of odd) {
      const run = drive(scene.interlock, scene.target(), name);
      const sent = await run.register({ title: name });
      expect(sent.status, `${name}: ${sent.text}`).toBe(201);
      expect(
        (await run.checkpoint({ checkpointId: name, effectiveCompute: '1e21', modelUri: 's3://b/c' })).status,
      ).toBe(202);
      expect((await run.show()).title).toBe(name);
      expect((await run.beat('1e21')).directive.action).toBe('continue');
      expect((await run.scorecard(name)).checkpointId).toBe(name);
    }
    await drive(scene.interlock, null, 'Run-A').press();
    expect((await drive(scene.interlock, null, 'run-a').show()).status).toBe('training');
    const labels = { constructor: 'toString', valueOf: 'x' };
    const labelled = await post(
      { runId: 'labelled', targets: [scene.target()], labels },
      { path: '/v1/runs' },
    );
    expect(labelled.status, labelled.text).toBe(201);
  });

  it('X14 a cursor that nobody was given names itself, or is an empty page', async () => {
    const get = (path: string) => scene.interlock.call('GET', path, { as: 'auditor' });
    const lists = [
      '/v1/runs',
      `/v1/runs/${scene.quiet.runId}/events`,
      `/v1/runs/${scene.quiet.runId}/halts`,
      `/v1/runs/${scene.quiet.runId}/proposals`,
    ];
    for (const list of lists) {
      for (const cursor of ['x', '-1', '1.5', '9'.repeat(16), "1'--", '0x1', '%00', '', '1&cursor=2', ' 1']) {
        await refuses(422, ['query.cursor'], () => get(`${list}?cursor=${cursor}`));
      }
      for (const cursor of ['0', '999999999999999', '000000000000001']) {
        expect((await get(`${list}?cursor=${cursor}`)).status, `${list} ${cursor}`).toBe(200);
      }
      for (const limit of ['0', '201', 'x', '1.5', '-1', '', 'Infinity', '1e309', '0x10&limit=5']) {
        const sent = await scene.unmoved(null, () => get(`${list}?limit=${limit}`));
        refusedWith(sent, 422, `${list} limit ${limit}`);
      }
    }
    await refuses(422, ['query.after'], () => get('/v1/ledger?after=-1'));
    await refuses(422, ['query.after'], () => get('/v1/ledger?after=1e999'));
  });

  it('X15 ranges and conditions change no answer', async () => {
    const path = `/v1/runs/${scene.quiet.runId}`;
    const plain = await scene.interlock.call('GET', path, { as: 'auditor' });
    for (const headers of [
      { range: 'bytes=0-1' },
      { range: `bytes=${'0-1,'.repeat(500)}0-1` },
      { 'if-none-match': '*' },
      { 'if-modified-since': new Date(Date.now() + 1e9).toUTCString() },
      { 'if-match': '"x"' },
      { accept: 'application/xml' },
      { 'accept-encoding': 'gzip, br', te: 'trailers' },
      { 'x-forwarded-for': '127.0.0.1', 'x-forwarded-host': 'evil.example', forwarded: 'for=127.0.0.1' },
    ]) {
      const sent = await scene.interlock.call('GET', path, { as: 'auditor', headers });
      expect([sent.status, sent.text], JSON.stringify(headers).slice(0, 60)).toEqual([200, plain.text]);
      expect(sent.headers.get('content-encoding')).toBeNull();
    }
  });

  it('X16 an event id that the ledger has not reached, or that is none, is refused and not waited for', async () => {
    const head = await scene.interlock.call('GET', '/v1/ledger/head', { as: 'auditor' });
    const size = Number(Object.values(Object(head.body))[0]);
    for (const path of ['/v1/stream', `/v1/runs/${scene.quiet.runId}/stream`]) {
      for (const id of [
        'x',
        '1.5',
        '-1',
        '9'.repeat(19),
        'a b',
        '1\u00e9',
        '0x1',
        String(size + 1_000_000),
        '999999999999999',
        '1'.repeat(1_000),
      ]) {
        await refuses(400, ['header.last-event-id'], () =>
          scene.interlock.call('GET', path, { as: 'auditor', headers: { 'last-event-id': id } }),
        );
      }
      const huge = await scene.interlock
        .call('GET', path, { as: 'auditor', headers: { 'last-event-id': '1'.repeat(100_000) } })
        .catch(() => null);
      if (huge !== null) expect(huge.status).toBe(431);
    }
  });

  it('X17 a reason is text and nothing else: no markup, no script, no turned letters on the page', async () => {
    const run = await scene.registered({ title: '<img src=x onerror=alert(1)>' });
    const reason = `<script>alert(1)</script>"'&\u202egnp.exe\u2066\u200f\u2028\ufeff${'long '.repeat(300)}`;
    const pressed = await post({ reason }, { as: 'leadership', path: `/v1/runs/${run.runId}/halt` });
    expect(pressed.status, pressed.text).toBe(202);
    const page = await scene.interlock.call('GET', '/');
    expect(page.status).toBe(200);
    expect(page.text).not.toMatch(/<script|<img|onerror=alert\(1\)>/);
    expect(page.text).not.toMatch(/[\u202a-\u202e\u2066-\u2069\u200e\u200f\u2028\u2029\ufeff]/);
    expect(page.text).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
    expect(page.headers.get('content-security-policy')).toMatch(/default-src 'none'/);
    for (const control of ['\u0007', '\u001b[31m', '\u007f', '\r', '\u0000']) {
      await refuses(422, ['reason'], () =>
        post({ reason: `a${control}b` }, { as: 'leadership', path: `/v1/runs/${run.runId}/halt` }),
      );
    }
    await refuses(422, ['reason'], () =>
      post({ reason: 'x'.repeat(2_001) }, { as: 'leadership', path: `/v1/runs/${run.runId}/halt` }),
    );
    await refuses(422, ['reason'], () =>
      post({ reason: 'x'.repeat(60_000) }, { as: 'leadership', path: `/v1/runs/${run.runId}/halt` }),
    );
  });

  it('X19 thousands of wrong keys are refused without blocking: the first twenty are named', async () => {
    const keys = Object.fromEntries(Array.from({ length: 4_000 }, (_, i) => [`effectiveCmpute${i}`, 1]));
    const long = Object.fromEntries(
      Array.from({ length: 3_500 }, (_, i) => [`${'effectiveCompute'.repeat(3)}${i}`, 1]),
    );
    for (const [path, as, content] of [
      [
        '/v1/checkpoints',
        'trainer',
        { a: keys.effectiveCmpute0, ...Object.fromEntries(Object.entries(keys).slice(0, 2_500)) },
      ],
      [`/v1/evaluations/${scene.evaluationId}/result?attempt=1`, 'evaluator', long],
    ] as const) {
      const from = process.cpuUsage();
      const problem = refusedWith(await scene.unmoved(1, () => post(content, { as, path })), 422);
      expect(problem.errors?.length).toBeLessThanOrEqual(20);
      // Of this whole process, test included.
      expect(process.cpuUsage(from).user / 1000).toBeLessThan(1_000);
    }
  });

  it('C26 with its database killed the service says so and when to come again, and nothing is half there', async () => {
    const run = await scene.registered();
    const message = report({ runId: run.runId, checkpointId: 'meanwhile' });
    const seen: Sent[] = [];
    const isRefused = ({ status }: Sent): boolean => status !== 200 && status !== 202;
    await soon(
      async () => {
        // Up again within what an append is tried for, it was never away as far as a sender can tell: killed once more.
        if (!seen.some(isRefused)) {
          process.kill(await postmasterPid(scene.interlock.config.dataDir), 'SIGKILL');
        }
        const sent = await post(message);
        seen.push(sent);
        expect(seen.filter(isRefused).length).toBeGreaterThan(0);
        expect([200, 202], sent.text).toContain(sent.status);
      },
      { timeout: 60_000, interval: 20 },
    );
    for (const sent of seen.filter(isRefused)) {
      refusedWith(sent, 503);
      expect(sent.headers.get('retry-after')).toMatch(/^[1-9]\d*$/);
    }
    const events = await soon(() => run.events());
    expect(events.filter(({ kind }) => kind === 'CheckpointReported')).toHaveLength(1);
  });

  it('leaves a ledger that verifies and replays', () => expectSoundLedger(scene.interlock));
});
