import { createHmac } from 'node:crypto';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { WebhookHeaders, WebhookVerdict } from '../../src/signing/standard-webhooks.ts';
import {
  generateWebhookKeyPair,
  generateWebhookSecret,
  parseWebhookPrivateKey,
  parseWebhookPublicKey,
  signWebhook,
  verifyWebhook,
  WebhookSecret,
} from '../../src/signing/standard-webhooks.ts';

const secret = WebhookSecret.parse('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
const other = WebhookSecret.parse(generateWebhookSecret());
const at = new Date('2026-03-01T12:00:00Z');
const body = Buffer.from('{"type":"training.checkpoint","note":"\u{fffd} ё"}');
const id = 'msg_p5jXN8AQM9LWM0D4loKWxJek';

const raw = (headers: WebhookHeaders): string[] => Object.entries(headers).flat();
const signed = (more: Partial<Parameters<typeof signWebhook>[0]> = {}): WebhookHeaders =>
  signWebhook({ id, timestamp: at, body, secrets: [secret], ...more });
const verify = (
  rawHeaders: string[],
  more: Partial<Parameters<typeof verifyWebhook>[0]> = {},
): WebhookVerdict => verifyWebhook({ rawHeaders, body, secrets: [secret], now: at, ...more });
const seconds = (by: number): Date => new Date(at.getTime() + by * 1000);

describe('Standard Webhooks', () => {
  test('agrees with the vector of the specification', () => {
    const headers = signWebhook({
      id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      timestamp: new Date(1_614_265_330_000),
      body: Buffer.from('{"test": 2432232314}'),
      secrets: [secret],
    });
    expect(headers['webhook-signature']).toBe('v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=');
  });

  test('accepts what it signed, under any letter case of the names', () => {
    expect(verify(raw(signed()))).toEqual({ ok: true, id, timestamp: at });
    const upper = raw(signed()).map((text, n) => (n % 2 === 0 ? text.toUpperCase() : text));
    expect(verify(upper).ok).toBe(true);
  });

  test.each<[number, string]>([
    [0, 'ok'],
    [300, 'ok'],
    [-300, 'ok'],
    [301, 'too-old'],
    [300.001, 'too-old'],
    [-301, 'in-future'],
    [-300.001, 'in-future'],
    [86_400, 'too-old'],
    [Number.NaN, 'too-old'],
  ])('a message received %d s after it was signed: %s', (age, expected) => {
    const verdict = verify(raw(signed()), { now: seconds(age) });
    expect(verdict.ok ? 'ok' : verdict.reason).toBe(expected);
  });

  test.each(['webhook-id', 'webhook-timestamp', 'webhook-signature'])(
    '%s: missing, empty, repeated',
    (name) => {
      const headers = raw(signed());
      const where = headers.indexOf(name);
      const without = headers.filter((_, n) => n !== where && n !== where + 1);
      const value = headers[where + 1] ?? '';
      expect(verify(without)).toEqual({ ok: false, reason: 'headers' });
      expect(verify([...without, name, '']).ok).toBe(false);
      expect(verify([...headers, name, value])).toEqual({ ok: false, reason: 'headers' });
      expect(verify([...headers, name.toUpperCase(), 'x'])).toEqual({ ok: false, reason: 'headers' });
    },
  );

  /** A sender with the right secret that signs an id or a timestamp of its own making. */
  const hand = (handId: string, timestamp: string): string[] => {
    const key = Buffer.from('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64');
    const mac = createHmac('sha256', key).update(`${handId}.${timestamp}.`).update(body).digest('base64');
    return ['webhook-id', handId, 'webhook-timestamp', timestamp, 'webhook-signature', `v1,${mac}`];
  };
  const now = String(at.getTime() / 1000);

  test.each(['a.b', 'a:b', 'a\0', 'a'.repeat(129), 'mѕg', 'a b', 'a\n', ''])('refuses the id %j', (badId) => {
    expect(verify(hand(badId, now))).toEqual({ ok: false, reason: 'id' });
  });

  test.each([`${now} `, `${now}abc`, `0${now}`, `+${now}`, '1e9', '999999999', `${now}.0`, `${now}\n`, ''])(
    'refuses the timestamp %j',
    (timestamp) => {
      expect(verify(hand('msg_1', timestamp))).toEqual({ ok: false, reason: 'timestamp' });
    },
  );

  test('refuses other bytes that read as the same text or the same JSON', () => {
    const headers = raw(signed());
    const damaged = Buffer.from(body);
    const mark = damaged.indexOf(Buffer.from('\u{fffd}'));
    const withInvalidByte = Buffer.concat([
      damaged.subarray(0, mark),
      Buffer.from([0xff]),
      damaged.subarray(mark + 3),
    ]);
    expect(withInvalidByte.toString('utf8')).toBe(body.toString('utf8'));
    const reserialised = Buffer.from(JSON.stringify(JSON.parse(body.toString()), null, 1));
    for (const changed of [
      withInvalidByte,
      reserialised,
      Buffer.concat([body, Buffer.from('\n')]),
      Buffer.alloc(0),
    ]) {
      expect(verify(headers, { body: changed })).toEqual({ ok: false, reason: 'signature' });
    }
  });

  test('finds the right signature and the right secret among several', () => {
    const both = raw(signed({ secrets: [other, secret] }));
    expect(verify(both).ok).toBe(true);
    expect(verify(both, { secrets: [other] }).ok).toBe(true);
    expect(verify(raw(signed()), { secrets: [other, secret] }).ok).toBe(true);
    expect(verify(raw(signed()), { secrets: [other] })).toEqual({ ok: false, reason: 'signature' });
    expect(verify(raw(signed()), { secrets: [] })).toEqual({ ok: false, reason: 'signature' });
  });

  test('refuses signatures in any other notation', () => {
    const headers = signed();
    const mac = headers['webhook-signature'].slice(3);
    const variants = [
      `v1a,${mac}`,
      `v2,${mac}`,
      `V1,${mac}`,
      mac,
      `v1,${mac.replace('=', '')}`,
      `v1,${mac}=`,
      `v1, ${mac}`,
      `v1,${mac.slice(0, 10)}\t${mac.slice(10)}`,
      `v1,${Buffer.from(mac, 'base64').toString('hex')}`,
      'v1,',
      'v1',
      '',
      ' ',
    ];
    // The url alphabet, wherever the two differ; and bits after the end that decode to the same bytes.
    if (/[+/]/.test(mac)) variants.push(`v1,${mac.replaceAll('+', '-').replaceAll('/', '_')}`);
    const last = mac.at(-2) ?? '';
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
    variants.push(`v1,${mac.slice(0, -2)}${alphabet[alphabet.indexOf(last) ^ 1]}=`);
    for (const variant of variants) {
      expect(verify(raw({ ...headers, 'webhook-signature': variant })).ok, JSON.stringify(variant)).toBe(
        false,
      );
    }
    expect(
      verify(raw({ ...headers, 'webhook-signature': `v2,abc ${headers['webhook-signature']}` })).ok,
    ).toBe(true);
  });

  test('caps the list of signatures by number and by length', () => {
    const headers = signed();
    const good = headers['webhook-signature'];
    const list = (...entries: string[]): string[] =>
      raw({ ...headers, 'webhook-signature': entries.join(' ') });
    expect(verify(list(...Array(7).fill('v2,x'), good)).ok).toBe(true);
    expect(verify(list(...Array(8).fill('v2,x'), good))).toEqual({ ok: false, reason: 'headers' });
    expect(verify(list(good, 'x'.repeat(1024)))).toEqual({ ok: false, reason: 'headers' });
    expect(verify(list(...Array(10_000).fill(good)))).toEqual({ ok: false, reason: 'headers' });
  });

  test('v1a: signed beside v1, verified with the public key, never interchangeable', () => {
    const pair = generateWebhookKeyPair();
    const headers = signed({ ed25519Keys: [parseWebhookPrivateKey(pair.privateKey)] });
    const publicKey = parseWebhookPublicKey(pair.publicKey);
    const stranger = parseWebhookPublicKey(generateWebhookKeyPair().publicKey);
    expect(headers['webhook-signature']).toMatch(/^v1,\S{44} v1a,\S{88}$/);
    expect(verify(raw(headers), { secrets: [], ed25519Keys: [publicKey] }).ok).toBe(true);
    expect(verify(raw(headers), { secrets: [], ed25519Keys: [stranger] }).ok).toBe(false);
    expect(verify(raw(headers), { secrets: [], ed25519Keys: [publicKey], body: Buffer.from('x') }).ok).toBe(
      false,
    );
    const swapped = headers['webhook-signature'].replace('v1a,', 'v1,').replace(/^v1,\S+ /, '');
    expect(verify(raw({ ...headers, 'webhook-signature': swapped }), { ed25519Keys: [publicKey] }).ok).toBe(
      false,
    );
  });

  test('a changed byte anywhere in the body is found', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 200 }),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (bytes, n, by) => {
          const original = Buffer.from(bytes);
          const changed = Buffer.from(bytes);
          const where = n % changed.length;
          changed[where] = (changed[where] ?? 0) ^ by;
          const headers = raw(signed({ body: original }));
          expect(verify(headers, { body: original }).ok).toBe(true);
          expect(verify(headers, { body: changed }).ok).toBe(false);
        },
      ),
      { numRuns: 100 },
    );
  });

  test.each([
    'whsec_',
    'whsec_c2hvcnQ=',
    `whsec_${Buffer.alloc(23).toString('base64')}`,
    `whsec_${Buffer.alloc(65).toString('base64')}`,
    `whsec_${Buffer.alloc(32).toString('base64').replace('=', '')}`,
    `whsec_${Buffer.alloc(32).toString('base64')} `,
    `WHSEC_${Buffer.alloc(32).toString('base64')}`,
    Buffer.alloc(32).toString('base64'),
    'hunter2hunter2hunter2hunter2hunter2',
  ])('refuses the secret %j without quoting it', (text) => {
    let message = '';
    try {
      WebhookSecret.parse(text);
    } catch (error) {
      message = String(error);
    }
    expect(message).toContain('webhook secret is refused');
    const body = text.replace(/^whsec_/, '');
    if (body !== '') expect(message).not.toContain(body);
    expect(() => parseWebhookPrivateKey(text)).toThrow(/refused/);
    expect(() => parseWebhookPublicKey(text)).toThrow(/refused/);
  });

  test('a signing key whose halves do not belong together is refused', () => {
    const [one, two] = [generateWebhookKeyPair(), generateWebhookKeyPair()].map((pair) =>
      Buffer.from(pair.privateKey.slice(5), 'base64'),
    );
    const mixed = Buffer.concat([
      one?.subarray(0, 32) ?? Buffer.alloc(0),
      two?.subarray(32) ?? Buffer.alloc(0),
    ]);
    expect(() => parseWebhookPrivateKey(`whsk_${mixed.toString('base64')}`)).toThrow(
      /do not belong together/,
    );
    expect(parseWebhookPrivateKey(`whsk_${one?.subarray(0, 32).toString('base64')}`).type).toBe('private');
  });

  test('a secret does not print', () => {
    const shown = `${JSON.stringify({ secret })}${inspect(secret, { showHidden: true, depth: 9 })}${String(secret)}`;
    expect(shown).not.toContain('MfKQ9r8');
    expect(shown).not.toContain('31f290f6');
    expect(shown).not.toMatch(/<Buffer|31 f2/);
  });

  test('refuses to sign nothing, under no key, or too many', () => {
    expect(() => signed({ secrets: [] })).toThrow(/1 to 8 signatures/);
    expect(() => signed({ secrets: Array(9).fill(secret) })).toThrow(/1 to 8 signatures/);
    expect(() => signed({ id: 'a.b' })).toThrow(/not in the form/);
    expect(() => signed({ timestamp: new Date(Number.NaN) })).toThrow(/not in the form/);
  });
});
