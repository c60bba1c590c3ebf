import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createKeyringFile, loadKeyring, publicJwksSchema } from '../../src/signing/keyring.ts';
import { createTokenSigner, createTokenVerifier } from '../../src/signing/tokens.ts';

describe('keyring', () => {
  let directory: string;
  let path: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'interlock-keyring-'));
    path = join(directory, 'keys.json');
  });
  afterEach(() => rm(directory, { recursive: true }));

  test('is created readable by its owner only, and never over an existing file', async () => {
    const { kid } = await createKeyringFile(path);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const before = await readFile(path, 'utf8');
    await expect(createKeyringFile(path)).rejects.toMatchObject({ code: 'signing.keyring-not-written' });
    expect(await readFile(path, 'utf8')).toBe(before);
    expect((await loadKeyring(path)).active().kid).toBe(kid);
  });

  test('publishes public keys only', async () => {
    await createKeyringFile(path);
    const keyring = await loadKeyring(path);
    await keyring.rotate();
    const published = JSON.stringify(keyring.jwks());
    expect(published).not.toContain('"d"');
    expect(publicJwksSchema.parse(JSON.parse(published))).toEqual(keyring.jwks());
  });

  test.each([0o640, 0o604, 0o660, 0o644])('refuses a file of mode %o', async (mode) => {
    await createKeyringFile(path);
    await chmod(path, mode);
    await expect(loadKeyring(path)).rejects.toMatchObject({ code: 'signing.keyring-exposed' });
  });

  test('a missing file is named', async () => {
    await expect(loadKeyring(path)).rejects.toMatchObject({
      code: 'signing.keyring-missing',
      message: expect.stringContaining(path),
    });
  });

  test('refuses a damaged file without quoting it', async () => {
    await createKeyringFile(path);
    const good = JSON.parse(await readFile(path, 'utf8'));
    const other = join(directory, 'other.json');
    await createKeyringFile(other);
    const stranger = JSON.parse(await readFile(other, 'utf8'));
    const damaged: unknown[] = [
      { ...good, extra: true },
      { ...good, format: 'interlock-keyring/2' },
      { ...good, active: { ...good.active, kid: stranger.active.kid } },
      { ...good, active: { ...good.active, d: stranger.active.d } },
      { ...good, active: { ...good.active, d: 'short' } },
      { ...good, retired: [{ ...good.active, retiredAt: good.active.createdAt }] },
      [],
    ];
    for (const content of damaged) {
      await writeFile(path, JSON.stringify(content));
      const error: Error = await loadKeyring(path).then(
        () => new Error('it was accepted'),
        (refusal) => refusal,
      );
      expect(error).toMatchObject({ code: 'signing.keyring-invalid' });
      expect(error.message).not.toContain(good.active.d);
      expect(error.message).not.toContain(stranger.active.d);
      expect(error.cause).toBeUndefined();
    }
    await writeFile(path, '{"active": ');
    await expect(loadKeyring(path)).rejects.toMatchObject({ code: 'signing.keyring-invalid' });
  });

  test('rotation keeps old tokens verifiable, signs with the new key, and destroys the old private key', async () => {
    const { kid: firstKid } = await createKeyringFile(path);
    const firstSecret = JSON.parse(await readFile(path, 'utf8')).active.d;
    const keyring = await loadKeyring(path);
    const signer = createTokenSigner({ keyring, issuer: 'https://interlock.test' });
    const verifier = createTokenVerifier({ jwks: () => keyring.jwks(), issuer: 'https://interlock.test' });
    const order = { sub: 'run-1', iat: 1_800_000_000, haltId: 'halt_a', action: 'halt', epoch: 1 } as const;
    const before = await signer.signHaltOrder(order);

    const { kid, retiredKid } = await keyring.rotate();

    expect(retiredKid).toBe(firstKid);
    const after = await signer.signHaltOrder(order);
    expect(await verifier.verifyHaltOrder(before)).toMatchObject({ ok: true, kid: firstKid });
    expect(await verifier.verifyHaltOrder(after)).toMatchObject({ ok: true, kid });
    expect(await readFile(path, 'utf8')).not.toContain(firstSecret);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const reloaded = await loadKeyring(path);
    expect(reloaded.jwks()).toEqual(keyring.jwks());
    expect(await readdir(directory)).toEqual(['keys.json']);
  });

  test('a rotation by another process is kept, and two at once cannot both win', async () => {
    await createKeyringFile(path);
    const [here, there] = [await loadKeyring(path), await loadKeyring(path)];
    const theirs = await there.rotate();
    await here.rotate();
    expect(here.jwks().keys.map((key) => key.kid)).toContain(theirs.kid);

    const both = await Promise.allSettled([here.rotate(), there.rotate()]);
    const lost = both.filter((one) => one.status === 'rejected');
    const onDisk = await loadKeyring(path);
    // Whoever succeeded signs with a key that the file knows.
    for (const [keyring, outcome] of [
      [here, both[0]],
      [there, both[1]],
    ] as const) {
      if (outcome.status === 'fulfilled') {
        expect(onDisk.jwks().keys.map((key) => key.kid)).toContain(keyring.active().kid);
      }
    }
    expect(lost.length).toBeLessThan(2);
  });
});

describe('a rotation with an overlap', () => {
  let directory: string;
  let path: string;
  const clock = { ms: Date.now() };
  const now = () => new Date(clock.ms);
  beforeEach(async () => {
    clock.ms = Date.now();
    directory = await mkdtemp(join(tmpdir(), 'interlock-keyring-'));
    path = join(directory, 'keys.json');
    await createKeyringFile(path);
  });
  afterEach(() => rm(directory, { recursive: true }));

  const permitNow = () => ({
    sub: 'run-1',
    iat: Math.floor(clock.ms / 1000),
    exp: Math.floor(clock.ms / 1000) + 60,
    epoch: 1,
    seq: 1,
    ceiling: '1',
    nonce: null,
    clearedHalts: [],
  });

  test('publishes the next key at once, signs with it from its time on, and then forgets the private half of the old', async () => {
    const keyring = await loadKeyring(path, { now });
    const first = keyring.active().kid;
    const { kid, activeFrom } = await keyring.rotate({ overlapMs: 600_000 });
    expect(keyring.active().kid).toBe(first);
    expect(keyring.jwks().keys.map((key) => key.kid)).toEqual([first, kid]);
    expect(keyring.status()).toMatchObject([
      { kid: first, state: 'active', notAfter: activeFrom },
      { kid, state: 'next', notBefore: activeFrom, notAfter: null },
    ]);
    await expect(keyring.rotate()).rejects.toMatchObject({ code: 'signing.rotation-under-way' });

    clock.ms += 600_000;
    expect(keyring.active().kid).toBe(kid);
    expect(keyring.status()).toMatchObject([
      { kid, state: 'active' },
      { kid: first, state: 'retired', notAfter: activeFrom },
    ]);
    const secret = JSON.parse(await readFile(path, 'utf8')).active.d;
    clock.ms += 61_000;
    await keyring.refresh();
    expect(await readFile(path, 'utf8')).not.toContain(secret);
    expect((await loadKeyring(path, { now })).active().kid).toBe(kid);
  });

  test('reaches another process that has the keyring open', async () => {
    const [here, there] = [await loadKeyring(path, { now }), await loadKeyring(path, { now })];
    expect(await there.refresh()).toBe(false);
    const before = there.keySet();
    const { kid } = await here.rotate();
    expect(await there.refresh()).toBe(true);
    expect(there.active().kid).toBe(kid);
    expect(there.keySet()).toBe(here.keySet());
    expect(there.keySet()).not.toBe(before);
  });

  test('that another process broke is said, and the keys in memory go on', async () => {
    const keyring = await loadKeyring(path, { now });
    const { kid } = keyring.active();
    await writeFile(path, '{"format":');
    await expect(keyring.refresh()).rejects.toMatchObject({ code: 'signing.keyring-invalid' });
    expect(keyring.active().kid).toBe(kid);
  });

  test("a permit is believed only inside its key's window, a halt order always", async () => {
    const keyring = await loadKeyring(path, { now });
    const signer = createTokenSigner({ keyring, issuer: 'i' });
    const verifier = createTokenVerifier({ jwks: () => keyring.jwks(), issuer: 'i', now });
    const stolen = await loadKeyring(path, { now });
    const thief = createTokenSigner({ keyring: stolen, issuer: 'i' });
    await keyring.rotate();
    expect(await verifier.verifyPermit(await signer.signPermit(permitNow()))).toMatchObject({ ok: true });
    clock.ms += 120_000;
    expect(await verifier.verifyPermit(await thief.signPermit(permitNow()))).toEqual({
      ok: false,
      reason: 'key-window',
    });
    const order = { sub: 'run-1', iat: 1_800_000_000, haltId: 'h', action: 'halt', epoch: 1 } as const;
    expect(await verifier.verifyHaltOrder(await thief.signHaltOrder(order))).toMatchObject({ ok: true });
  });

  test('a revoked key signs no permit and no later head; what it signed before still verifies; its halts say so', async () => {
    const keyring = await loadKeyring(path, { now });
    const stolen = await loadKeyring(path, { now });
    const thief = createTokenSigner({ keyring: stolen, issuer: 'i' });
    const verifier = createTokenVerifier({ jwks: () => keyring.jwks(), issuer: 'i', now });
    const root = '0'.repeat(64);
    const head = () => ({ iat: Math.floor(clock.ms / 1000), size: 1, root, hash: root });
    const before = await thief.signHead(head());
    clock.ms += 10_000;
    const { kid } = keyring.active();

    const { activeKid } = await keyring.revoke(kid, 'stolen');

    expect(activeKid).not.toBe(kid);
    expect(keyring.active().kid).toBe(activeKid);
    expect(keyring.status()[1]).toMatchObject({ kid, state: 'revoked', revokedBecause: 'stolen' });
    expect(await verifier.verifyHead(before)).toMatchObject({ ok: true });
    clock.ms += 61_000;
    expect(await verifier.verifyHead(await thief.signHead(head()))).toEqual({
      ok: false,
      reason: 'revoked-key',
    });
    expect(await verifier.verifyPermit(await thief.signPermit(permitNow()))).toEqual({
      ok: false,
      reason: 'revoked-key',
    });
    const order = { sub: 'run-1', iat: 1_800_000_000, haltId: 'h', action: 'halt', epoch: 1 } as const;
    expect(await verifier.verifyHaltOrder(await thief.signHaltOrder(order))).toMatchObject({
      ok: true,
      revokedKey: true,
    });
    await expect(keyring.revoke('x'.repeat(43), 'no such')).rejects.toMatchObject({
      code: 'signing.unknown-key',
    });
  });

  test('revoking the next key keeps the active one; revoking the active one brings the next one at once', async () => {
    const keyring = await loadKeyring(path, { now });
    const first = keyring.active().kid;
    const spoiled = await keyring.rotate({ overlapMs: 600_000 });
    expect(await keyring.revoke(spoiled.kid, 'spoiled')).toEqual({ activeKid: first });
    const next = await keyring.rotate({ overlapMs: 600_000 });
    expect(await keyring.revoke(first, 'stolen')).toEqual({ activeKid: next.kid });
    expect(keyring.active().kid).toBe(next.kid);
  });
});
