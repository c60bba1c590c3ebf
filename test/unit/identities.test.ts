import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { generateCode } from '../../src/button/break-glass.ts';
import { generateSharedSecret, generateToken, hashToken } from '../../src/config/credentials.ts';
import { parseIdentities } from '../../src/config/identities.ts';
import { createAuthenticator } from '../../src/http/authentication.ts';
import { Refusal } from '../../src/http/refusal.ts';
import {
  generateWebhookKeyPair,
  parseWebhookPrivateKey,
  signWebhook,
  WebhookSecret,
} from '../../src/signing/standard-webhooks.ts';

const secret = generateSharedSecret();
const outsideKey = generateWebhookKeyPair().publicKey;
const hash = hashToken(generateToken());

function parse(
  entries: unknown,
  { isSharedFile = false, env = {} }: { isSharedFile?: boolean; env?: Record<string, string> } = {},
) {
  return parseIdentities({ value: { identities: entries }, isSharedFile, env });
}

describe('identities', () => {
  it.each<[string, unknown[], object, RegExp]>([
    [
      'an inline secret in a file that others can read',
      [{ id: 'a', name: 'A', webhookSecrets: [secret] }],
      { isSharedFile: true },
      /chmod 600/,
    ],
    [
      'a secret that is not in the environment',
      [{ id: 'a', name: 'A', webhookSecrets: ['env:NONE'] }],
      {},
      /NONE is not set/,
    ],
    [
      'an 8-byte secret',
      [{ id: 'a', name: 'A', webhookSecrets: [`whsec_${Buffer.alloc(8).toString('base64')}`] }],
      {},
      /24 to 64/,
    ],
    [
      'a secret without its prefix',
      [{ id: 'a', name: 'A', webhookSecrets: [Buffer.alloc(32).toString('base64')] }],
      {},
      /whsec_/,
    ],
    ['a token in place of its hash', [{ id: 'a', name: 'A', tokenHashes: [generateToken()] }], {}, /sha256:/],
    [
      'the role governance written down',
      [{ id: 'a', name: 'A', roles: ['governance'] }],
      {},
      /must be one of/,
    ],
    [
      'an outside evaluator that is somebody else as well',
      [{ id: 'a', name: 'A', roles: ['outside-evaluator', 'auditor'], publicKeys: [outsideKey] }],
      {},
      /no other role/,
    ],
    [
      'an outside evaluator of a group',
      [{ id: 'a', name: 'A', roles: ['outside-evaluator'], groups: ['board'], publicKeys: [outsideKey] }],
      {},
      /no group/,
    ],
    [
      'an outside evaluator without a key',
      [{ id: 'a', name: 'A', roles: ['outside-evaluator'] }],
      {},
      /needs one/,
    ],
    [
      'an outside evaluator with a shared secret',
      [
        {
          id: 'a',
          name: 'A',
          roles: ['outside-evaluator'],
          publicKeys: [outsideKey],
          webhookSecrets: [secret],
        },
      ],
      {},
      /prove nothing/,
    ],
    [
      'one id twice',
      [
        { id: 'a', name: 'A' },
        { id: 'a', name: 'B' },
      ],
      {},
      /another identity/,
    ],
    [
      'one token for two people',
      [
        { id: 'a', name: 'A', tokenHashes: [hash] },
        { id: 'b', name: 'B', tokenHashes: [hash] },
      ],
      {},
      /one identity/,
    ],
    [
      'one secret for two sources',
      [
        { id: 'a', name: 'A', webhookSecrets: [secret] },
        { id: 'b', name: 'B', webhookSecrets: ['env:S'] },
      ],
      { env: { S: secret } },
      /one identity/,
    ],
    ['an id with a slash', [{ id: '../a', name: 'A' }], {}, /letters, digits/],
    ['nobody', [], {}, /must not be empty/],
  ])('refuses %s', (_, entries, options, message) => {
    const result = parse(entries, options);
    expect(result.ok ? '' : result.problems.map((p) => p.message).join()).toMatch(message);
    expect(JSON.stringify(result)).not.toContain(secret);
  });

  it('takes secrets from the environment even in a shared file, and does not print them', () => {
    const result = parse([{ id: 'a', name: 'A', webhookSecrets: ['env:S'] }], {
      isSharedFile: true,
      env: { S: secret },
    });
    if (!result.ok) throw new Error('refused');
    expect(result.identities[0]?.webhookSecrets[0]?.reveal()).toBe(secret);
    expect(
      JSON.stringify(result) +
        inspect(result, { depth: 9, showHidden: true }) +
        String(result.identities[0]?.webhookSecrets),
    ).not.toContain(secret);
  });
});

describe('authentication', () => {
  const token = generateToken();
  const keys = generateWebhookKeyPair();
  const failures: string[] = [];
  const now = new Date('2026-03-01T00:00:00Z');
  const parsed = parse([
    { id: 'a', name: 'A', roles: ['trainer'], tokenHashes: [hashToken(token)], webhookSecrets: [secret] },
    { id: 'b', name: 'B', groups: ['board'], publicKeys: [keys.publicKey] },
  ]);
  if (!parsed.ok) throw new Error('refused');
  const auth = createAuthenticator({
    identities: parsed.identities,
    now: () => now,
    onFailure: (method, reason) => failures.push(`${method}: ${reason}`),
  });
  const body = Buffer.from('{}');
  const headers = (record: Record<string, string>) => Object.entries(record).flat();

  it('knows a bearer by its token, and gives no secret away with the identity', () => {
    const { identity } = auth.bearer(token, ['bearer']);
    expect(identity).toEqual({
      id: 'a',
      name: 'A',
      groups: [],
      roles: ['trainer'],
      evaluations: null,
      via: 'bearer',
    });
  });

  it('knows a sender by an Ed25519 key', () => {
    const signed = signWebhook({
      id: 'm1',
      timestamp: now,
      body,
      secrets: [],
      ed25519Keys: [parseWebhookPrivateKey(keys.privateKey)],
    });
    const { identity, webhook } = auth.webhook(headers(signed), body, ['webhook']);
    expect(identity).toMatchObject({ id: 'b', roles: ['governance'], via: 'webhook' });
    expect(webhook).toEqual({ id: 'm1', timestampS: now.getTime() / 1000 });
  });

  it.each([
    [300, true],
    [301, false],
    [-300, true],
    [-301, false],
  ])('takes a signature %d s old: %s', (ageS, isTaken) => {
    const timestamp = new Date(now.getTime() - ageS * 1000);
    const signed = signWebhook({ id: 'm1', timestamp, body, secrets: [WebhookSecret.parse(secret)] });
    const attempt = () => auth.webhook(headers(signed), body, ['webhook']);
    if (isTaken) expect(attempt().identity.id).toBe('a');
    else expect(attempt).toThrow(Refusal);
  });

  it.each<[string, () => unknown, string, string]>([
    [
      'no header',
      () => auth.present([], ['bearer', 'webhook']),
      'Bearer, Standard-Webhooks',
      'bearer: absent',
    ],
    [
      'a second Authorization',
      () => auth.present(['Authorization', `Bearer ${token}`, 'authorization', 'Bearer x'], ['bearer']),
      'Bearer',
      'bearer: malformed',
    ],
    [
      'a token with a trailing byte',
      () => auth.bearer(`${token}x`, ['bearer']),
      'Bearer',
      'bearer: malformed',
    ],
    ['another token', () => auth.bearer(generateToken(), ['bearer']), 'Bearer', 'bearer: unknown-token'],
    [
      'a token where only webhooks are taken',
      () => auth.present(['authorization', `Bearer ${token}`], ['webhook']),
      'Standard-Webhooks',
      'bearer: method-not-taken',
    ],
  ])('refuses %s with the scheme alone, and counts why', (_, attempt, challenge, reason) => {
    failures.length = 0;
    let refusal: unknown;
    try {
      attempt();
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toMatchObject({
      status: 401,
      detail: undefined,
      errors: [],
      headers: { 'www-authenticate': challenge },
    });
    expect(failures).toEqual([reason]);
  });

  it.each([
    ['as it is printed', (code: string) => code],
    ['in small letters and with spaces', (code: string) => code.toLowerCase().replaceAll('-', ' ')],
  ])('tells whoever shows a printed code %s where it presses, and not the code', (_, typed) => {
    failures.length = 0;
    const code = generateCode();
    const door = createAuthenticator({
      identities: parsed.identities,
      codesPressAt: 'port 8112',
      onFailure: (method, reason) => failures.push(`${method}: ${reason}`),
    });
    const show = (text: string) => () => door.present(['authorization', `Bearer ${text}`], ['bearer']);
    let refusal: unknown;
    try {
      show(typed(code))();
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toMatchObject({
      status: 401,
      code: 'unauthenticated',
      detail: expect.stringContaining('presses the red button at port 8112'),
      headers: { 'www-authenticate': 'Bearer' },
    });
    expect(JSON.stringify(refusal)).not.toContain(code.slice(0, 9));
    expect(failures).toEqual(['bearer: printed-code']);
    // A slip of the pen, and every other credential, hears of the scheme alone.
    const slip = `${code.slice(0, -1)}${code.endsWith('A') ? 'B' : 'A'}`;
    expect(show(slip)()).toEqual({ kind: 'bearer', token: slip });
    expect(() => door.bearer(slip, ['bearer'])).toThrow(
      expect.objectContaining({ status: 401, detail: undefined }),
    );
    expect(show(token)()).toEqual({ kind: 'bearer', token });
  });
});
