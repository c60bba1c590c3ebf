/** What a trainer believes of keys: rotation, revocation, the cache on its disk, and what a stranger may try. */
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { InterlockClient, PermitGuardOptions } from '../../clients/typescript/index.ts';
import { TrustedKeys } from '../../clients/typescript/trusted-keys.ts';
import { createKeyringFile, type Keyring, loadKeyring } from '../../src/signing/keyring.ts';
import { createTokenSigner, type TokenSigner } from '../../src/signing/tokens.ts';
import { guardsIn, runId, temporaryDirectory } from './client-support.ts';

let directory: ReturnType<typeof temporaryDirectory>;
let keyring: Keyring;
let signer: TokenSigner;
let guards: ReturnType<typeof guardsIn>;
const state = { seq: 0, keySet: '', serve: (): unknown => null, asked: 0, away: false, order: '' };

beforeEach(async () => {
  directory = temporaryDirectory();
  const file = join(directory.path, 'keys.json');
  await createKeyringFile(file);
  keyring = await loadKeyring(file);
  signer = createTokenSigner({ keyring, issuer: 'interlock' });
  guards = guardsIn(directory.path);
  Object.assign(state, { seq: 0, keySet: keyring.keySet(), asked: 0, away: false, order: '' });
  state.serve = () => keyring.jwks();
});
afterEach(async () => {
  await guards.close();
  directory.remove();
});

const nowS = () => Math.floor(Date.now() / 1000);
const haltBy = (by: TokenSigner, haltId = 'halt_a') =>
  by.signHaltOrder({ sub: runId, iat: nowS(), haltId, action: 'halt', epoch: 1 });

/** An Interlock of three calls: what it signs with is swapped by the tests. */
function interlock(
  signs: () => TokenSigner = () => signer,
): Pick<InterlockClient, 'heartbeat' | 'acknowledgeHalt' | 'jwks'> {
  return {
    async heartbeat(_run, { nonce }) {
      if (state.away) throw new Error('away');
      state.seq += 1;
      const permit = await signs().signPermit({
        sub: runId,
        iat: nowS(),
        exp: nowS() + 60,
        epoch: 1,
        seq: state.seq,
        ceiling: '1000',
        nonce,
        clearedHalts: [],
      });
      const action = state.order === '' ? ('continue' as const) : ('halt' as const);
      const directive = { action, haltId: null, reason: null, resumeFrom: null, order: state.order };
      return { directive, permit, nextCheckpointAt: null, retain: [], keySet: state.keySet };
    },
    acknowledgeHalt: async () => undefined,
    jwks: async () => {
      state.asked += 1;
      if (state.away) throw new Error('away');
      return state.serve();
    },
  };
}

const newGuard = (options: Partial<PermitGuardOptions> = {}) =>
  guards.open({ client: interlock(), ...options });

describe('a rotation', () => {
  it('reaches a running trainer with the heartbeat that is signed by the new key', async () => {
    const { guard, events } = await newGuard();
    await guard.beat();
    const { kid } = await keyring.rotate();
    state.keySet = keyring.keySet();
    await guard.beat();
    expect(events).toContainEqual({ kind: 'keys-learned', added: [kid], revoked: [] });
    expect(events.at(-1)).toMatchObject({ kind: 'permit', seq: 2 });
    const { asked } = state;
    await guard.beat();
    expect(state.asked, 'an unchanged set is not asked for again').toBe(asked);
  });

  it('during its overlap is known before the first signature by the new key, so that no order is refused', async () => {
    const { guard } = await newGuard();
    const ahead = { ms: Date.now() };
    const other = await loadKeyring(join(directory.path, 'keys.json'), { now: () => new Date(ahead.ms) });
    await other.rotate({ overlapMs: 60_000 });
    await keyring.refresh();
    state.keySet = keyring.keySet();
    await guard.beat();
    ahead.ms += 60_000;
    const order = await haltBy(createTokenSigner({ keyring: other, issuer: 'interlock' }));
    expect(await guard.receiveOrder(order, 'webhook')).toBe('halted');
  });

  it('of several keys in turn reaches a trainer that was away, from the keys on its own disk', async () => {
    const first = await newGuard();
    await first.guard.beat();
    await first.guard.close();
    for (let i = 0; i < 5; i += 1) await keyring.rotate();
    state.keySet = keyring.keySet();
    const { asked } = state;
    const { guard, events } = await newGuard();
    expect(state.asked, 'the keys come from the disk').toBe(asked);
    await guard.beat();
    expect(events.find(({ kind }) => kind === 'keys-learned')).toMatchObject({ revoked: [] });
    expect(guard.mayTrain('1').verdict).toBe('go');
  });

  it('is learned by a trainer whose keys were brought by hand, as long as they sign for it', async () => {
    const { guard } = await newGuard({ jwks: keyring.jwks() });
    await keyring.rotate();
    state.keySet = keyring.keySet();
    await guard.beat();
    expect(guard.mayTrain('1').verdict).toBe('go');
  });

  it('lets a trainer start with Interlock away: the keys are on its disk', async () => {
    const first = await newGuard();
    await first.guard.beat();
    await first.guard.close();
    state.away = true;
    const { guard } = await newGuard();
    await guard.beat();
    expect(guard.mayTrain('1')).toEqual({ verdict: 'pause', reason: 'no permit' });
    expect(await guard.receiveOrder(await haltBy(signer), 'webhook')).toBe('halted');
  });
});

describe('whoever answers in the place of Interlock', () => {
  async function stranger() {
    const file = join(directory.path, 'stranger.json');
    await createKeyringFile(file);
    const keys = await loadKeyring(file);
    await keys.rotate(); // so that there are statements
    return { keys, signer: createTokenSigner({ keyring: keys, issuer: 'interlock' }) };
  }

  it.each(['its own keys alone', "its own statements beside Interlock's", 'a statement with a changed byte'])(
    'brings no key by %s',
    async (how) => {
      const enemy = await stranger();
      await keyring.rotate();
      const [genuine = ''] = keyring.jwks().statements ?? [];
      const at = genuine.indexOf('.') + 10;
      const changed = genuine.slice(0, at) + (genuine[at] === 'A' ? 'B' : 'A') + genuine.slice(at + 1);
      state.serve = () =>
        how === 'its own keys alone'
          ? enemy.keys.jwks()
          : {
              keys: [...keyring.jwks().keys, ...enemy.keys.jwks().keys],
              statements: how.startsWith('a statement')
                ? [changed]
                : [...(enemy.keys.jwks().statements ?? []), ...(keyring.jwks().statements ?? [])],
            };
      const { guard, events } = await newGuard({
        client: interlock(() => enemy.signer),
        jwks: { keys: [keyring.jwks().keys.at(-1)] },
      });
      state.keySet = 'another';
      await guard.beat();
      expect(events).toContainEqual({ kind: 'permit-refused', reason: 'unknown-key' });
      expect(await guard.receiveOrder(await haltBy(enemy.signer), 'webhook')).toBe('refused');
    },
  );

  it('cannot take a key away, nor bring a revoked one back', async () => {
    const { guard } = await newGuard();
    const { kid } = keyring.active();
    const old = createTokenSigner({
      keyring: await loadKeyring(join(directory.path, 'keys.json')),
      issuer: 'interlock',
    });
    await guard.beat();
    const early = keyring.jwks();
    await keyring.revoke(kid, 'stolen');
    state.keySet = keyring.keySet();
    await guard.beat();
    expect(guard.mayTrain('1').verdict).toBe('go');
    state.serve = () => early;
    state.keySet = 'again';
    await guard.beat();
    expect(guard.mayTrain('1').verdict, 'an older set changes nothing').toBe('go');
    expect(await guard.receiveOrder(await haltBy(old), 'webhook')).toBe('suspect');
    await guard.close();
    // Not by a restart either, and not by the keys that somebody brings by hand.
    const again = await newGuard({ client: interlock(() => old), jwks: early });
    await again.guard.beat();
    expect(again.events).toContainEqual({ kind: 'permit-refused', reason: 'revoked-key' });
  });
});

describe('a revoked key', () => {
  it('introduces no other key, once the trainer knows', async () => {
    const file = join(directory.path, 'keys.json');
    const copy = join(directory.path, 'stolen.json');
    copyFileSync(file, copy);
    const thief = await loadKeyring(copy);
    const { guard, events } = await newGuard({
      client: interlock(() => createTokenSigner({ keyring: thief, issuer: 'interlock' })),
    });
    await keyring.revoke(keyring.active().kid, 'stolen');
    state.keySet = keyring.keySet();
    await guard.beat();
    await thief.rotate();
    state.serve = () => thief.jwks();
    state.keySet = thief.keySet();
    await guard.beat();
    expect(events.at(-1)).toEqual({ kind: 'permit-refused', reason: 'unknown-key' });
    expect(guard.mayTrain('1').verdict).toBe('pause');
  });

  it('drops the permit in hand that it signed, and signs no other', async () => {
    const old = createTokenSigner({
      keyring: await loadKeyring(join(directory.path, 'keys.json')),
      issuer: 'interlock',
    });
    const { guard, events } = await newGuard({ client: interlock(() => old) });
    await guard.beat();
    expect(guard.mayTrain('1').verdict).toBe('go');
    await keyring.revoke(keyring.active().kid, 'stolen');
    state.keySet = keyring.keySet();
    await guard.beat();
    expect(events).toContainEqual({ kind: 'permit-dropped', reason: 'revoked-key' });
    expect(events.at(-1)).toEqual({ kind: 'permit-refused', reason: 'revoked-key' });
    expect(guard.mayTrain('1')).toEqual({ verdict: 'pause', reason: 'no permit' });
  });

  it('still stops the run by a halt order, until a permit asked for after it says otherwise', async () => {
    const old = createTokenSigner({
      keyring: await loadKeyring(join(directory.path, 'keys.json')),
      issuer: 'interlock',
    });
    const { guard, events } = await newGuard();
    await keyring.revoke(keyring.active().kid, 'stolen');
    state.keySet = keyring.keySet();
    await guard.beat();
    expect(guard.mayTrain('1').verdict).toBe('go');

    expect(await guard.receiveOrder(await haltBy(old, 'halt_forged'), 'webhook')).toBe('suspect');
    expect(guard.mayTrain('1').verdict).toBe('pause');
    expect(events).toContainEqual({ kind: 'halt-suspect', haltId: 'halt_forged' });
    state.away = true;
    await guard.beat();
    expect(guard.mayTrain('1').verdict, 'with Interlock away it stays stopped').toBe('pause');
    state.away = false;
    await guard.beat();
    expect(guard.mayTrain('1').verdict).toBe('go');
    expect(guard.halts, 'it does not stick').toEqual([]);
  });

  it('is no way around a halt: the same halt signed by a good key sticks', async () => {
    const old = createTokenSigner({
      keyring: await loadKeyring(join(directory.path, 'keys.json')),
      issuer: 'interlock',
    });
    const { guard } = await newGuard();
    await keyring.revoke(keyring.active().kid, 'stolen');
    state.keySet = keyring.keySet();
    await guard.beat();
    await guard.receiveOrder(await haltBy(old), 'webhook');
    state.order = await haltBy(signer);
    await guard.beat();
    expect(guard.mayTrain('1')).toMatchObject({ verdict: 'stop', halt: { haltId: 'halt_a' } });
  });
});

describe('statements', () => {
  it.each<[string, unknown]>([
    ['none', {}],
    ['no list', { statements: 'x' }],
    ['no strings', { statements: [1, null, {}] }],
    ['no tokens', { statements: ['', 'a.b.c', 'A'.repeat(200_000)] }],
    ['a thousand', { statements: Array.from({ length: 1_000 }, () => 'a.b.c') }],
    ['no document', null],
  ])('that are %s teach nothing and break nothing', async (_, document) => {
    const keys = await TrustedKeys.pin(keyring.jwks());
    expect(await keys.learn(document)).toEqual({ added: [], revoked: [] });
  });
});
