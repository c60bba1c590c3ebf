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
