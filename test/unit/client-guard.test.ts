import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CompactSign, exportJWK, generateKeyPair } from 'jose';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  createInterlockClient,
  type GuardEvent,
  type PermitGuardOptions,
} from '../../clients/typescript/index.ts';
import type { PermitClaims } from '../../src/signing/tokens.ts';
import { guardsIn, newSigner, runId, startInterlock, temporaryDirectory, token } from './client-support.ts';

let directory: ReturnType<typeof temporaryDirectory>;
let interlock: Awaited<ReturnType<typeof startInterlock>>;
let guards: ReturnType<typeof guardsIn>;

beforeEach(async () => {
  directory = temporaryDirectory();
  interlock = await startInterlock(directory.path);
  guards = guardsIn(directory.path);
});
afterEach(async () => {
  await guards.close();
  await interlock.close();
  directory.remove();
});

/** Clocks that stand still until a test moves them. */
function handClocks() {
  const clocks = { monotonicMs: 5_000, wallMs: Date.now() };
  return {
    clocks,
    options: { monotonicMs: () => clocks.monotonicMs, wallClock: () => new Date(clocks.wallMs) },
  };
}

const newGuard = (options: Partial<PermitGuardOptions> = {}) => {
  const { url, webhookSecret } = interlock;
  const client = createInterlockClient({ url, token, webhookSecret, wait: () => Promise.resolve() });
  return guards.open({ client, ...options });
};

const kinds = (events: readonly GuardEvent[]) => events.map(({ kind }) => kind);

describe('a permit', () => {
  it('is needed before the first step, and then covers exactly its ceiling', async () => {
    const { guard } = await newGuard();
    expect(guard.mayTrain('1')).toEqual({ verdict: 'pause', reason: 'no permit' });

    await guard.beat();
    expect(guard.mayTrain('1000')).toEqual({ verdict: 'go' });
    expect(guard.mayTrain('1000.0000000000000000000001')).toEqual({
      verdict: 'pause',
      reason: 'ceiling reached',
    });
  });

  it('compares compute beyond the precision of a double', async () => {
    interlock.script.permit = { ceiling: '10000000000000000000000000000000000000001' };
    const { guard } = await newGuard();
    await guard.beat();
    expect(guard.mayTrain('10000000000000000000000000000000000000001').verdict).toBe('go');
    expect(guard.mayTrain('10000000000000000000000000000000000000002').verdict).toBe('pause');
  });

  it('runs out on the monotonic clock, counted from when the nonce was sent, with the wall clock set back', async () => {
    const { clocks, options } = handClocks();
    const { guard } = await newGuard(options);
    await guard.beat();

    clocks.monotonicMs += 59_999;
    clocks.wallMs -= 3_600_000;
    expect(guard.mayTrain('1').verdict).toBe('go');
    clocks.monotonicMs += 1;
    expect(guard.mayTrain('1')).toEqual({ verdict: 'pause', reason: 'permit expired' });
  });

  it('loses the time that its own answer took: a reply that was held back is not fresh', async () => {
    const { clocks, options } = handClocks();
    const { url, webhookSecret } = interlock;
    const client = createInterlockClient({ url, token, webhookSecret });
    const { guard } = await newGuard({
      ...options,
      client: {
        ...client,
        heartbeat: async (...beat) => {
          const reply = await client.heartbeat(...beat);
          clocks.monotonicMs += 59_000;
          return reply;
        },
      },
    });
    await guard.beat();
    expect(guard.mayTrain('1').verdict).toBe('go');
    clocks.monotonicMs += 1_000;
    expect(guard.mayTrain('1').verdict).toBe('pause');
  });

  it('runs out early when the wall clock is set forward', async () => {
    const { clocks, options } = handClocks();
    const { guard } = await newGuard(options);
    await guard.beat();
    clocks.wallMs += 61_000;
    expect(guard.mayTrain('1')).toEqual({ verdict: 'pause', reason: 'permit expired' });
  });

  it.each<[string, Partial<PermitClaims>, string]>([
    ['of an older epoch', { epoch: 4 }, 'older-epoch'],
    ['of an older sequence in the same epoch', { epoch: 5, seq: 9 }, 'older-seq'],
    ['that answers another nonce', { nonce: 'someone-elses' }, 'nonce'],
    ['that answers no nonce', { nonce: null }, 'nonce'],
    ['of another run', { sub: 'run-2' }, 'wrong-run'],
    ['that has expired', { iat: 1_000_000_000, exp: 1_000_000_060 }, 'expired'],
    ['issued in the future', { iat: 4_000_000_000, exp: 4_000_000_060 }, 'issued-ahead'],
  ])('%s is refused and the one in hand stands', async (_, claims, reason) => {
    interlock.script.permit = { epoch: 5, seq: 10 };
    const { guard, events } = await newGuard();
    await guard.beat();
    interlock.script.permit = { epoch: 5, seq: 11, ceiling: '999999', ...claims };
    await guard.beat();

    expect(events.at(-1)).toEqual({ kind: 'permit-refused', reason });
    expect(guard.mayTrain('1000').verdict).toBe('go');
    expect(guard.mayTrain('1001').verdict).toBe('pause');
  });

  it('of a newer epoch is accepted whatever its sequence', async () => {
    interlock.script.permit = { epoch: 5, seq: 10 };
    const { guard } = await newGuard();
    await guard.beat();
    interlock.script.permit = { epoch: 6, seq: 1, ceiling: '2000' };
    await guard.beat();
    expect(guard.mayTrain('2000').verdict).toBe('go');
  });

  it('older than one seen before a restart is refused', async () => {
    interlock.script.permit = { epoch: 5, seq: 10 };
    const first = await newGuard();
    await first.guard.beat();
    await first.guard.close();

    interlock.script.permit = { epoch: 4, seq: 99 };
    const { guard, events } = await newGuard();
    await guard.beat();
    expect(events).toContainEqual({ kind: 'permit-refused', reason: 'older-epoch' });
    expect(guard.mayTrain('1').verdict).toBe('pause');
  });

  it('signed by keys that were not pinned is refused, and nothing is fetched for it', async () => {
    const stranger = await newSigner(directory.path, 'stranger.json');
    const { guard, events } = await newGuard({ jwks: stranger.jwks });
    await guard.beat();
    expect(events).toContainEqual({ kind: 'permit-refused', reason: 'unknown-key' });
    expect(interlock.seen.attempts.map(({ path }) => path)).not.toContain('/.well-known/jwks.json');
  });
});

describe('forged tokens', () => {
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

  async function verdictOn(forge: (claims: object, kid: string) => string | Promise<string>) {
    const nowS = Math.floor(Date.now() / 1000);
    const client = createInterlockClient({ ...interlock, token, wait: () => Promise.resolve() });
    const { guard, events } = await guards.open({
      client: {
        ...client,
        async heartbeat(_run, { nonce }) {
          const claims = {
            iss: 'http://interlock.test',
            aud: 'interlock/permit',
            sub: runId,
            iat: nowS,
            exp: nowS + 60,
            epoch: 1,
            seq: 1,
            ceiling: '1000',
            nonce,
            clearedHalts: [],
          };
          const permit = await forge(claims, interlock.signer.jwks.keys[0]?.kid ?? '');
          const directive = {
            action: 'continue',
            haltId: null,
            reason: null,
            resumeFrom: null,
            order: null,
          } as const;
          return { directive, permit, nextCheckpointAt: null, retain: [] };
        },
      },
      stateDirectory: join(directory.path, 'forged'),
    });
    await guard.beat();
    expect(guard.mayTrain('1').verdict).toBe('pause');
    const refusal = events.find((event) => event.kind === 'permit-refused');
    return refusal?.reason;
  }

  it('with alg none are refused', async () => {
    const header = (kid: string) => encode({ alg: 'none', typ: 'permit+jwt', kid });
    expect(await verdictOn((claims, kid) => `${header(kid)}.${encode(claims)}.`)).toBe('malformed');
    expect(await verdictOn((claims, kid) => `${header(kid)}.${encode(claims)}.${'A'.repeat(86)}`)).toBe(
      'header',
    );
  });

  it('signed by another key under the pinned kid are refused', async () => {
    const { privateKey } = await generateKeyPair('EdDSA', { crv: 'Ed25519' });
    const sign = (claims: object, kid: string) =>
      new CompactSign(Buffer.from(JSON.stringify(claims)))
        .setProtectedHeader({ alg: 'EdDSA', typ: 'permit+jwt', kid })
        .sign(privateKey);
    expect(await verdictOn(sign)).toBe('signature');
  });

  it('that bring their own key are refused', async () => {
    const { privateKey, publicKey } = await generateKeyPair('EdDSA', { crv: 'Ed25519', extractable: true });
    const jwk = await exportJWK(publicKey);
    const sign = (claims: object, kid: string) =>
      new CompactSign(Buffer.from(JSON.stringify(claims)))
        .setProtectedHeader({ alg: 'EdDSA', typ: 'permit+jwt', kid, jwk })
        .sign(privateKey);
    expect(await verdictOn(sign)).toBe('header');
  });

  it('that are halt orders in the place of a permit are refused', async () => {
    expect(await verdictOn(() => interlock.signer.halt())).toBe('header');
  });

  it('that are enormous or empty are refused', async () => {
    expect(await verdictOn(() => 'A'.repeat(1_000_000))).toBe('malformed');
    expect(await verdictOn(() => '')).toBe('malformed');
  });
});

describe('permits with claims a verifier must not accept', () => {
  it.each<[string, (claims: Record<string, unknown>) => Record<string, unknown>, string]>([
    ['no exp', ({ exp: _, ...rest }) => rest, 'claims'],
    ['exp as a string', (claims) => ({ ...claims, exp: String(claims['exp']) }), 'claims'],
    ['exp of 1e18', (claims) => ({ ...claims, exp: 1e18 }), 'claims'],
    ['a life over one hour', (claims) => ({ ...claims, exp: Number(claims['iat']) + 3601 }), 'lifetime'],
    ['another audience', (claims) => ({ ...claims, aud: 'interlock/halt' }), 'claims'],
    ['no ceiling', ({ ceiling: _, ...rest }) => rest, 'claims'],
    ['a ceiling that is no decimal', (claims) => ({ ...claims, ceiling: 'Infinity' }), 'claims'],
    ['no clearedHalts', ({ clearedHalts: _, ...rest }) => rest, 'claims'],
    ['another issuer', (claims) => ({ ...claims, iss: 'http://elsewhere.test' }), 'issuer'],
  ])('%s', async (_, change, reason) => {
    const { privateKey, publicKey } = await generateKeyPair('EdDSA', { crv: 'Ed25519', extractable: true });
    const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k1' }] };
    const { createTokenVerifier } = await import('../../clients/typescript/tokens.ts');
    const verifier = await createTokenVerifier({ runId, jwks, issuer: 'http://interlock.test' });
    const iat = Math.floor(Date.now() / 1000);
    const claims = {
      iss: 'http://interlock.test',
      aud: 'interlock/permit',
      sub: runId,
      iat,
      exp: iat + 60,
      epoch: 1,
      seq: 1,
      ceiling: '1',
      nonce: null,
      clearedHalts: [],
    };
    const sign = (content: Record<string, unknown>) =>
      new CompactSign(Buffer.from(JSON.stringify(content)))
        .setProtectedHeader({ alg: 'EdDSA', typ: 'permit+jwt', kid: 'k1' })
        .sign(privateKey);

    expect(await verifier.permit(await sign(claims), new Date())).toMatchObject({ ok: true });
    expect(await verifier.permit(await sign(change(claims)), new Date())).toEqual({ ok: false, reason });
  });
});

describe('a halt', () => {
  it('in a heartbeat stops the run, whatever permit is in hand, and is acknowledged', async () => {
    const { guard, events } = await newGuard();
    await guard.beat();
    interlock.script.directive = { action: 'halt', haltId: 'halt_a', order: await interlock.signer.halt() };
    await guard.beat();

    expect(guard.mayTrain('1')).toMatchObject({
      verdict: 'stop',
      halt: { haltId: 'halt_a', via: 'heartbeat' },
    });
    await guard.acknowledgeStopped();
    expect(interlock.seen.acks).toEqual([
      { haltId: 'halt_a', state: 'received' },
      { haltId: 'halt_a', state: 'stopped' },
    ]);
    expect(kinds(events)).toContain('halt-received');
  });

  it('hears the last compute before the word that training stopped, never after it', async () => {
    const { guard } = await newGuard({ heartbeatIntervalMs: 60_000 });
    await guard.beat();
    await guard.receiveOrder(await interlock.signer.halt(), 'webhook');
    guard.report('777', 7);
    await guard.acknowledgeStopped();

    const paths = interlock.seen.attempts.map(({ path }) => path);
    expect(interlock.seen.beats.at(-1)).toMatchObject({ effectiveCompute: '777' });
    expect(interlock.seen.acks.at(-1)).toEqual({ haltId: 'halt_a', state: 'stopped' });
    expect(paths.lastIndexOf('/v1/runs/run-1/heartbeat')).toBeLessThan(
      paths.lastIndexOf('/v1/halts/halt_a/ack'),
    );
  });

  it('is obeyed even when its epoch is older than the permit in hand', async () => {
    interlock.script.permit = { epoch: 9 };
    const { guard } = await newGuard();
    await guard.beat();
    expect(await guard.receiveOrder(await interlock.signer.halt({ epoch: 2 }), 'webhook')).toBe('halted');
    expect(guard.mayTrain('1').verdict).toBe('stop');
  });

  it('is on disk before it is acknowledged, and still stands after a restart, with Interlock away', async () => {
    const first = await newGuard();
    await first.guard.beat();
    await first.guard.receiveOrder(await interlock.signer.halt(), 'webhook');
    await first.guard.close();

    interlock.script.away = true;
    const { guard } = await newGuard({ jwks: interlock.signer.jwks });
    await guard.beat();
    expect(guard.mayTrain('1')).toMatchObject({ verdict: 'stop', halt: { haltId: 'halt_a' } });
  });

  it('that a renewal races with still wins', async () => {
    const { guard } = await newGuard();
    await Promise.all([
      guard.beat(),
      guard.receiveOrder(await interlock.signer.halt({ epoch: 1 }), 'webhook'),
    ]);
    await guard.beat();
    expect(guard.mayTrain('1').verdict).toBe('stop');
  });

  it('is lifted only by a newer permit that lists it as cleared', async () => {
    const { guard, events } = await newGuard();
    await guard.beat();
    await guard.receiveOrder(await interlock.signer.halt({ epoch: 2 }), 'webhook');
    interlock.script.permit = { epoch: 1, seq: 50, clearedHalts: ['halt_a'] };
    await guard.beat();
    expect(guard.mayTrain('1').verdict, 'cleared by an older epoch').toBe('stop');
    interlock.script.permit = { epoch: 3, clearedHalts: ['halt_other'] };
    await guard.beat();
    expect(guard.mayTrain('1').verdict, 'another halt cleared').toBe('stop');
    interlock.script.permit = { epoch: 3, clearedHalts: ['halt_a'] };
    await guard.beat();

    expect(guard.mayTrain('1').verdict).toBe('go');
    expect(kinds(events)).toContain('halt-cleared');
  });

  it('that was cleared does not stop the resumed run when its order is replayed, now or after a restart', async () => {
    const order = await interlock.signer.halt({ epoch: 2 });
    const first = await newGuard();
    await first.guard.receiveOrder(order, 'webhook');
    interlock.script.permit = { epoch: 3, clearedHalts: ['halt_a'] };
    await first.guard.beat();
    expect(await first.guard.receiveOrder(order, 'webhook')).toBe('cleared');
    expect(first.guard.mayTrain('1').verdict).toBe('go');
    await first.guard.close();

    const { guard } = await newGuard();
    expect(await guard.receiveOrder(order, 'webhook')).toBe('cleared');
    await guard.beat();
    expect(guard.mayTrain('1').verdict).toBe('go');
  });

  it('is received once, however often it is delivered', async () => {
    const { guard, events } = await newGuard();
    const order = await interlock.signer.halt();
    expect(await guard.receiveOrder(order, 'webhook')).toBe('halted');
    expect(await guard.receiveOrder(order, 'heartbeat')).toBe('known');
    expect(kinds(events).filter((kind) => kind === 'halt-received')).toHaveLength(1);
  });

  it('of another run or another signer does not stop this one', async () => {
    const stranger = await newSigner(directory.path, 'stranger.json');
    const { guard } = await newGuard();
    await guard.beat();
    expect(await guard.receiveOrder(await interlock.signer.halt({ sub: 'run-2' }), 'webhook')).toBe(
      'refused',
    );
    expect(await guard.receiveOrder(await stranger.halt(), 'webhook')).toBe('refused');
    expect(await guard.receiveOrder(await interlock.signer.permit(), 'webhook')).toBe('refused');
    expect(guard.mayTrain('1').verdict).toBe('go');
  });

  it('directive without a valid order pauses until Interlock says otherwise', async () => {
    const { guard } = await newGuard();
    await guard.beat();
    interlock.script.directive = { action: 'halt', haltId: 'halt_a', order: 'forged' };
    await guard.beat();
    expect(guard.mayTrain('1')).toEqual({ verdict: 'pause', reason: 'halt directive without a valid order' });
    interlock.script.directive = { action: 'continue' };
    await guard.beat();
    expect(guard.mayTrain('1').verdict).toBe('go');
  });

  it('stands in memory when the disk refuses it, says so, and is on disk once the disk takes it', async () => {
    const { guard, events } = await newGuard();
    await guard.beat();
    const state = join(directory.path, 'state');
    // Root may write anywhere, so the name that the guard writes to is taken by a directory instead.
    const { mkdirSync, readdirSync, rmdirSync } = await import('node:fs');
    const [file = ''] = readdirSync(state);
    const obstacle = join(state, `${file}.${process.pid}.partial`);
    mkdirSync(obstacle);
    const order = await interlock.signer.halt();
    expect(await guard.receiveOrder(order, 'webhook')).toBe('not-saved');
    expect(await guard.receiveOrder(order, 'webhook')).toBe('not-saved');
    expect(guard.mayTrain('1').verdict).toBe('stop');
    expect(kinds(events)).toContain('halt-not-saved');

    rmdirSync(obstacle);
    expect(await guard.receiveOrder(order, 'webhook')).toBe('known');
    expect(readFileSync(join(state, file), 'utf8')).toContain('halt_a');
  });

  it('raised to a quarantine under the same id is a quarantine from then on, and never a halt again', async () => {
    const { guard, events } = await newGuard();
    const halt = await interlock.signer.halt();
    expect(await guard.receiveOrder(halt, 'webhook')).toBe('halted');
    expect(await guard.receiveOrder(await interlock.signer.halt({ action: 'quarantine' }), 'webhook')).toBe(
      'raised',
    );
    expect(await guard.receiveOrder(halt, 'webhook')).toBe('known');
    expect(guard.mayTrain('1')).toMatchObject({ verdict: 'stop', halt: { action: 'quarantine' } });
    expect(guard.halts).toHaveLength(1);
    expect(kinds(events)).toContain('halt-raised');
  });

  it('is named in every heartbeat until a permit clears it, so that one beyond the newest list can be cleared', async () => {
    const { guard } = await newGuard();
    await guard.receiveOrder(await interlock.signer.halt(), 'webhook');
    await guard.beat();
    expect(interlock.seen.beats.at(-1)?.halts).toEqual(['halt_a']);
    interlock.script.permit = { epoch: 3, clearedHalts: ['halt_a'] };
    await guard.beat();
    await guard.beat();
    expect(interlock.seen.beats.at(-1)?.halts).toBeUndefined();
  });

  it('cleared once stays cleared when later permits list only newer ones', async () => {
    const { guard } = await newGuard();
    const order = await interlock.signer.halt();
    await guard.receiveOrder(order, 'webhook');
    interlock.script.permit = { epoch: 3, clearedHalts: ['halt_a'] };
    await guard.beat();
    interlock.script.permit = { epoch: 3, clearedHalts: ['halt_z'] };
    await guard.beat();
    expect(await guard.receiveOrder(order, 'webhook')).toBe('cleared');
  });
});

describe('the memory of halts', () => {
  it('that cannot be read refuses to start, because it may hold one', async () => {
    const { guard } = await newGuard();
    await guard.beat();
    const { readdirSync } = await import('node:fs');
    const [file = ''] = readdirSync(join(directory.path, 'state'));
    const path = join(directory.path, 'state', file);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ runId, epoch: 1 });
    writeFileSync(path, '{"runId":"run-1"');
    await expect(newGuard()).rejects.toThrow('may hold a halt');
    chmodSync(path, 0o600);
  });
});

describe('an outage', () => {
  it('shorter than the rest of the permit changes nothing; a longer one pauses; recovery goes on', async () => {
    const { clocks, options } = handClocks();
    const { guard, events } = await newGuard(options);
    await guard.beat();
    interlock.script.away = true;
    clocks.monotonicMs += 30_000;
    await guard.beat();
    expect(events.at(-1)).toEqual({ kind: 'heartbeat-failed', code: 'unreachable' });
    expect(guard.mayTrain('1').verdict).toBe('go');

    clocks.monotonicMs += 30_000;
    await guard.beat();
    expect(guard.mayTrain('1')).toEqual({ verdict: 'pause', reason: 'permit expired' });

    interlock.script.away = false;
    await guard.beat();
    expect(guard.mayTrain('1').verdict).toBe('go');
  });

  it.each([401, 404, 409, 429, 500, 503])(
    'answered with %i leaves the permit its remaining life and no more',
    async (status) => {
      const { clocks, options } = handClocks();
      const { guard, events } = await newGuard(options);
      await guard.beat();
      interlock.script.failures = [status];
      await guard.beat();
      expect(events.at(-1)).toEqual({ kind: 'heartbeat-failed', code: `http-${status}` });
      expect(guard.mayTrain('1').verdict).toBe('go');
      clocks.monotonicMs += 60_000;
      expect(guard.mayTrain('1').verdict).toBe('pause');
    },
  );
});

describe('waiting for a permit', () => {
  it('ends when the ceiling is raised, and says why it waited', async () => {
    const { guard } = await newGuard({ heartbeatIntervalMs: 20 });
    guard.start();
    const reasons: string[] = [];
    const step = guard.wait('1500', { onPause: (reason) => reasons.push(reason) });
    await vi.waitFor(() => expect(reasons).toContain('ceiling reached'));
    interlock.script.permit = { ceiling: '1500' };
    expect(await step).toEqual({ verdict: 'go' });
  });

  it('ends at once when a halt arrives', async () => {
    interlock.script.permit = null;
    const { guard } = await newGuard({ heartbeatIntervalMs: 60_000, impatientIntervalMs: 60_000 });
    const step = guard.wait('1');
    await guard.receiveOrder(await interlock.signer.halt(), 'webhook');
    expect(await step).toMatchObject({ verdict: 'stop' });
  });

  it('pauses at once on a hold, though the permit in hand has time left', async () => {
    const { guard } = await newGuard();
    await guard.beat();
    interlock.script.permit = null;
    interlock.script.directive = { action: 'pause', reason: 'High not ruled out' };
    await guard.beat();
    expect(guard.mayTrain('1')).toEqual({ verdict: 'pause', reason: 'High not ruled out' });
  });

  it('is given up when the caller aborts or the guard closes', async () => {
    const { guard } = await newGuard();
    const caller = new AbortController();
    const first = guard.wait('1', { signal: caller.signal });
    caller.abort();
    await expect(first).rejects.toMatchObject({ code: 'gave-up' });
    const second = guard.wait('1');
    await Promise.all([expect(second).rejects.toMatchObject({ code: 'gave-up' }), guard.close()]);
  });
});

describe('heartbeats', () => {
  it('carry the compute really spent and a fresh nonce each time', async () => {
    const { guard } = await newGuard();
    await guard.beat();
    guard.report(2n ** 70n, 7);
    await guard.beat();
    const [first, second] = interlock.seen.beats;
    expect(Number(first?.effectiveCompute)).toBeGreaterThan(0); // the contract takes no zero
    expect(second).toMatchObject({ effectiveCompute: '1180591620717411303424', step: 7 });
    expect(first?.nonce).not.toBe(second?.nonce);
  });

  it('repeat by themselves, and a listener that throws does not end them', async () => {
    const { guard } = await newGuard({
      heartbeatIntervalMs: 5,
      onEvent: () => {
        throw new Error('listener');
      },
    });
    guard.start();
    await vi.waitFor(() => expect(interlock.seen.beats.length).toBeGreaterThan(3));
    expect(guard.mayTrain('1').verdict).toBe('go');
  });
});
