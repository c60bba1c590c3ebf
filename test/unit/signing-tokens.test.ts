import { createHmac } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CompactSign } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Keyring } from '../../src/signing/keyring.ts';
import { createKeyringFile, loadKeyring } from '../../src/signing/keyring.ts';
import type { TokenSigner, TokenVerifier } from '../../src/signing/tokens.ts';
import { createTokenSigner, createTokenVerifier, peekHaltOrder } from '../../src/signing/tokens.ts';

const issuer = 'https://interlock.test';
const nowS = 1_800_000_000;
const permit = {
  sub: 'run-1',
  iat: nowS,
  exp: nowS + 1800,
  epoch: 3,
  seq: 41,
  ceiling: '2.2e25',
  nonce: 'bm9uY2U',
  clearedHalts: ['halt_a'],
};
const order = { sub: 'run-1', iat: nowS, haltId: 'halt_b', action: 'halt', epoch: 4 } as const;
const head = { iat: nowS, size: 12, root: 'a'.repeat(64), hash: 'b'.repeat(64) };

const payloadOf = (token: string): string =>
  Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8');

describe('permits, halt orders and heads', () => {
  let directory: string;
  let keyring: Keyring;
  let stranger: Keyring;
  let signer: TokenSigner;
  let verifier: TokenVerifier;

  const at = (s: number): TokenVerifier =>
    createTokenVerifier({ jwks: () => keyring.jwks(), issuer, now: () => new Date(s * 1000) });
  /** Signs anything at all with the real key, as only its holder could. */
  const forge = (header: object, claims: unknown, by: Keyring = keyring): Promise<string> => {
    const bytes = new TextEncoder().encode(typeof claims === 'string' ? claims : JSON.stringify(claims));
    const protectedHeader = { alg: 'EdDSA', typ: 'permit+jwt', kid: by.active().kid, ...header };
    return new CompactSign(bytes)
      .setProtectedHeader(protectedHeader)
      .sign(by.active().privateKey, { crit: { 'urn:unknown': false, b64: false } });
  };
  const wire = { ...permit, iss: issuer, aud: 'interlock/permit' };

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'interlock-tokens-'));
    await createKeyringFile(join(directory, 'keys.json'));
    await createKeyringFile(join(directory, 'stranger.json'));
    keyring = await loadKeyring(join(directory, 'keys.json'));
    stranger = await loadKeyring(join(directory, 'stranger.json'));
    signer = createTokenSigner({ keyring, issuer });
    verifier = at(nowS);
  });
  afterAll(() => rm(directory, { recursive: true }));

  test('a token is byte for byte what jose would have signed', async () => {
    const token = await signer.signPermit(permit);
    expect(token).toBe(await forge({}, payloadOf(token)));
    const odd = await signer.signPermit({ ...permit, nonce: 'é😀"\\' });
    expect(odd).toBe(await forge({}, payloadOf(odd)));
  });

  test('what was signed comes back', async () => {
    const kid = keyring.active().kid;
    expect(await verifier.verifyPermit(await signer.signPermit(permit))).toEqual({
      ok: true,
      claims: wire,
      kid,
    });
    expect(await verifier.verifyHaltOrder(await signer.signHaltOrder(order))).toEqual({
      ok: true,
      claims: { ...order, iss: issuer, aud: 'interlock/halt' },
      kid,
    });
    expect(await verifier.verifyHead(await signer.signHead(head))).toEqual({
      ok: true,
      claims: { ...head, iss: issuer, aud: 'interlock/head' },
      kid,
    });
    expect(peekHaltOrder(await signer.signHaltOrder(order))).toMatchObject(order);
    expect(peekHaltOrder('not a token')).toBeNull();
  });

  test('one kind never passes for another', async () => {
    const [p, o, h] = [
      await signer.signPermit(permit),
      await signer.signHaltOrder(order),
      await signer.signHead(head),
    ];
    expect(await verifier.verifyPermit(o)).toEqual({ ok: false, reason: 'header' });
    expect(await verifier.verifyPermit(h)).toEqual({ ok: false, reason: 'header' });
    expect(await verifier.verifyHaltOrder(p)).toEqual({ ok: false, reason: 'header' });
    expect(await verifier.verifyHead(o)).toEqual({ ok: false, reason: 'header' });
    // The right typ over the wrong audience is still refused.
    const mixed = await forge({}, { ...wire, aud: 'interlock/halt' });
    expect(await verifier.verifyPermit(mixed)).toEqual({ ok: false, reason: 'claims' });
  });

  test.each<[string, (claims: typeof wire) => unknown, string]>([
    ['no exp', ({ exp: _, ...rest }) => rest, 'claims'],
    ['no iat', ({ iat: _, ...rest }) => rest, 'claims'],
    ['no epoch', ({ epoch: _, ...rest }) => rest, 'claims'],
    ['no seq', ({ seq: _, ...rest }) => rest, 'claims'],
    ['no ceiling', ({ ceiling: _, ...rest }) => rest, 'claims'],
    ['no nonce', ({ nonce: _, ...rest }) => rest, 'claims'],
    ['no cleared halts', ({ clearedHalts: _, ...rest }) => rest, 'claims'],
    ['exp 1e18', (c) => ({ ...c, exp: 1e18 }), 'claims'],
    ['exp as text', (c) => ({ ...c, exp: String(c.exp) }), 'claims'],
    ['fractional epoch', (c) => ({ ...c, epoch: 1.5 }), 'claims'],
    ['negative seq', (c) => ({ ...c, seq: -1 }), 'claims'],
    ['ceiling as number', (c) => ({ ...c, ceiling: 1e25 }), 'claims'],
    ['ceiling in hex', (c) => ({ ...c, ceiling: '0x10' }), 'claims'],
    ['an audience list', (c) => ({ ...c, aud: ['interlock/permit'] }), 'claims'],
    ['an unknown claim', (c) => ({ ...c, until: 'further notice' }), 'claims'],
    ['another issuer', (c) => ({ ...c, iss: 'https://else.test' }), 'issuer'],
    ['a life over an hour', (c) => ({ ...c, exp: c.iat + 3601 }), 'lifetime'],
    ['exp before iat', (c) => ({ ...c, exp: c.iat }), 'lifetime'],
    ['issued 61 s ahead', (c) => ({ ...c, iat: nowS + 61, exp: nowS + 90 }), 'issued-ahead'],
    ['expired this second', (c) => ({ ...c, iat: nowS - 60, exp: nowS }), 'expired'],
    ['an array', () => [], 'claims'],
    ['not JSON', () => 'permit!', 'malformed'],
  ])('refuses a permit with %s', async (_name, change, reason) => {
    expect(await verifier.verifyPermit(await forge({}, change(wire)))).toEqual({ ok: false, reason });
  });

  test('the edges of a permit hold: a full hour, 60 s ahead, the last moment', async () => {
    const hour = await signer.signPermit({ ...permit, exp: nowS + 3600 });
    expect((await verifier.verifyPermit(hour)).ok).toBe(true);
    expect((await at(nowS - 60).verifyPermit(hour)).ok).toBe(true);
    expect((await at(nowS + 3599.999).verifyPermit(hour)).ok).toBe(true);
    expect((await at(nowS + 3600).verifyPermit(hour)).ok).toBe(false);
    expect((await at(Number.NaN).verifyPermit(hour)).ok).toBe(false);
  });

  test('a halt order stands whatever the clock says, and whatever a newer sender adds', async () => {
    const signed = await signer.signHaltOrder({ ...order, iat: nowS + 86_400 });
    expect((await verifier.verifyHaltOrder(signed)).ok).toBe(true);
    expect((await at(nowS + 1e9).verifyHaltOrder(signed)).ok).toBe(true);
    const newer = await forge(
      { typ: 'halt+jwt' },
      { ...order, iss: issuer, aud: 'interlock/halt', site: 'b' },
    );
    expect(await verifier.verifyHaltOrder(newer)).toMatchObject({ ok: true, claims: { haltId: 'halt_b' } });
    const other = await forge(
      { typ: 'halt+jwt' },
      { ...order, action: 'pause', iss: issuer, aud: 'interlock/halt' },
    );
    expect((await verifier.verifyHaltOrder(other)).ok).toBe(false);
  });

  test.each<[string, object, string]>([
    ['typ JWT', { typ: 'JWT' }, 'header'],
    ['typ with a prefix', { typ: 'application/permit+jwt' }, 'header'],
    ['a jwk', { jwk: { kty: 'OKP', crv: 'Ed25519', x: 'A'.repeat(43) } }, 'header'],
    ['a jku', { jku: 'https://evil.test/keys' }, 'header'],
    ['an x5u', { x5u: 'https://evil.test/cert' }, 'header'],
    ['an unknown crit', { crit: ['urn:unknown'], 'urn:unknown': 1 }, 'header'],
    ['an unknown kid', { kid: 'nobody' }, 'unknown-key'],
    ['a kid that is a path', { kid: '../../etc/passwd' }, 'unknown-key'],
    ['a kid that is SQL', { kid: "' or 1=1 --" }, 'unknown-key'],
    ['a kid of the prototype', { kid: '__proto__' }, 'unknown-key'],
  ])('refuses a header with %s', async (_name, header, reason) => {
    expect(await verifier.verifyPermit(await forge(header, wire))).toEqual({ ok: false, reason });
  });

  test('refuses alg none, and HS256 keyed with the public key', async () => {
    const [key] = keyring.jwks().keys;
    const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const none = `${encode({ alg: 'none', typ: 'permit+jwt', kid: key?.kid })}.${encode(wire)}.`;
    const content = `${encode({ alg: 'HS256', typ: 'permit+jwt', kid: key?.kid })}.${encode(wire)}`;
    const mac = createHmac('sha256', Buffer.from(key?.x ?? '', 'base64url'))
      .update(content)
      .digest('base64url');
    expect((await verifier.verifyPermit(none)).ok).toBe(false);
    expect((await verifier.verifyPermit(`${content}.${mac}`)).ok).toBe(false);
    expect((await verifier.verifyPermit(`${content}.${'A'.repeat(86)}`)).ok).toBe(false);
  });

  test('refuses the signature of a stranger under a known kid, and any changed character', async () => {
    const foreign = await forge({ kid: keyring.active().kid }, wire, stranger);
    expect(await verifier.verifyPermit(foreign)).toEqual({ ok: false, reason: 'signature' });
    const token = await signer.signPermit(permit);
    for (let at = 0; at < token.length - 1; at += 7) {
      const swapped = token[at] === 'A' ? 'B' : 'A';
      const changed = token.slice(0, at) + swapped + token.slice(at + 1);
      expect((await verifier.verifyPermit(changed)).ok, `character ${at}`).toBe(false);
    }
  });

  test.each<[string, string, string]>([
    ['a megabyte', 'a'.repeat(1_000_000), 'too-large'],
    ['ten parts', Array(10).fill('YQ').join('.'), 'malformed'],
    ['two parts', 'YQ.YQ', 'malformed'],
    ['non-ASCII text', `ё.${'ё'.repeat(10)}.ё`, 'malformed'],
    ['nothing', '', 'malformed'],
    ['padding', `YQ==.YQ.${'A'.repeat(86)}`, 'malformed'],
    ['a line break', `YQ.YQ.${'A'.repeat(86)}\n`, 'malformed'],
  ])('refuses %s by its form alone', async (_name, token, reason) => {
    expect(await verifier.verifyPermit(token)).toEqual({ ok: false, reason });
    expect(await verifier.verifyHaltOrder(token)).toEqual({ ok: false, reason });
  });

  test('does not sign what a verifier would refuse', async () => {
    const bad = { code: 'signing.bad-claims' };
    await expect(signer.signPermit({ ...permit, exp: nowS + 3601 })).rejects.toMatchObject(bad);
    await expect(signer.signPermit({ ...permit, ceiling: 'Infinity' })).rejects.toMatchObject(bad);
    await expect(signer.signPermit({ ...permit, epoch: Number.NaN })).rejects.toMatchObject(bad);
    await expect(signer.signPermit({ ...permit, sub: '../x' })).rejects.toMatchObject(bad);
    await expect(signer.signHead({ ...head, root: 'A'.repeat(64) })).rejects.toMatchObject(bad);
    const many = Array.from({ length: 200 }, (_, n) => `halt_${'a'.repeat(100)}${n}`);
    await expect(signer.signPermit({ ...permit, clearedHalts: many })).rejects.toMatchObject(bad);
  });
});
