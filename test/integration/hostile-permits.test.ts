/**
 * Section G of the table of hostile inputs, permits: forged, stale, raced, asked for in doubt, and asked for by two.
 * A real service, real guards; ids in names are the table's. G12 is in oidc.test.ts and access.test.ts.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CompactSign, importJWK } from 'jose';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  createInterlockClient,
  type GuardEvent,
  type HeartbeatReply,
  type InterlockClient,
  PermitGuard,
  type PermitGuardOptions,
} from '../../clients/typescript/index.ts';
import { type Interlock, startInterlock } from '../../src/main.ts';
import { createKeyringFile, loadKeyring } from '../../src/signing/keyring.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { testPolicy } from '../support/evaluation-policy.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { drive, expectSoundLedger, pressed, type RunDriver, soon } from '../support/run-driver.ts';

let interlock: TestInterlock;
let directory = '';
let open: PermitGuard[] = [];

beforeAll(async () => {
  interlock = await startTestInterlock({
    policies: {
      main: testPolicy({ silentDebate: true, heartbeatInterval: '1s', approvals: ['leadership'] }),
      short: {
        ...testPolicy({ policy: 'short', silentDebate: true }),
        permit: { ttl: '3s', heartbeatInterval: '1s' },
      },
    },
  });
});
afterAll(() => interlock?.close());
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'interlock-hostile-permits-'));
});
afterEach(async () => {
  await Promise.all(open.map((guard) => guard.close()));
  open = [];
  rmSync(directory, { recursive: true, force: true });
});

async function registered(body: Record<string, unknown> = {}): Promise<RunDriver> {
  const run = drive(interlock, { kind: 'webhook', url: 'http://127.0.0.1:9/halt' });
  const sent = await run.register(body);
  expect(sent.status, sent.text).toBe(201);
  return run;
}

function trainerOf(url = interlock.url): InterlockClient {
  const token = interlock.tokens['trainer'] ?? '';
  const webhookSecret = interlock.webhookSecrets['trainer'] ?? '';
  return createInterlockClient({ url, token, webhookSecret, wait: () => Promise.resolve() });
}

async function guardOf(run: RunDriver, options: Partial<PermitGuardOptions> = {}) {
  const events: GuardEvent[] = [];
  const guard = await PermitGuard.open({
    client: trainerOf(),
    runId: run.runId,
    stateDirectory: join(directory, options.instance ?? 'state'),
    onEvent: (event) => events.push(event),
    ...options,
  });
  open.push(guard);
  return { guard, events };
}

/** The service as it is, with somebody in between who changes its answers. */
function through(change: (reply: HeartbeatReply) => HeartbeatReply | Promise<HeartbeatReply>) {
  const real = trainerOf();
  const fetched = { jwks: 0 };
  const client: InterlockClient = {
    ...real,
    heartbeat: async (...beat) => change(await real.heartbeat(...beat)),
    jwks: (signal) => {
      fetched.jwks += 1;
      return real.jwks(signal);
    },
  };
  return { client, fetched };
}

const claimsSchema = z.looseObject({ epoch: z.number(), seq: z.number(), clearedHalts: z.array(z.string()) });
const partOf = (token: string, i: number): Record<string, unknown> =>
  z
    .record(z.string(), z.unknown())
    .parse(JSON.parse(Buffer.from(token.split('.')[i] ?? '', 'base64url').toString('utf8')));
const claimsOf = (permit: string) => claimsSchema.parse(partOf(permit, 1));
const encoded = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A permit made anew by whoever has the service's own key: what only its claims or header are wrong in. */
async function resigned(permit: string, header: object, claims: object): Promise<string> {
  const { readFile } = await import('node:fs/promises');
  const file = z
    .object({ active: z.object({ x: z.string(), d: z.string() }) })
    .parse(JSON.parse(await readFile(interlock.config.signingKey, 'utf8')));
  const key = await importJWK({ kty: 'OKP', crv: 'Ed25519', ...file.active }, 'EdDSA');
  const bytes = Buffer.from(JSON.stringify({ ...partOf(permit, 1), ...claims }));
  return new CompactSign(bytes)
    .setProtectedHeader({ alg: 'EdDSA', ...partOf(permit, 0), ...header })
    .sign(key, { crit: { critical: true } });
}

describe('permits that are not what they say', () => {
  const unsigned = (permit: string, header: object) =>
    `${encoded({ ...partOf(permit, 0), ...header })}.${permit.split('.')[1] ?? ''}.${permit.split('.')[2] ?? ''}`;

  it.each<[string, (permit: string) => string | Promise<string>, string]>([
    ['G01 alg none', (permit) => unsigned(permit, { alg: 'none' }), 'header'],
    ['G01 HS256', (permit) => unsigned(permit, { alg: 'HS256' }), 'header'],
    ['G01 typ of a halt order', (permit) => resigned(permit, { typ: 'halt+jwt' }, {}), 'header'],
    ['G01 typ JWT', (permit) => resigned(permit, { typ: 'JWT' }, {}), 'header'],
    ['G01 unknown crit', (permit) => resigned(permit, { crit: ['critical'], critical: true }, {}), 'header'],
    ['G02 no exp', (permit) => resigned(permit, {}, { exp: undefined }), 'claims'],
    ['G02 exp of 1e18', (permit) => resigned(permit, {}, { exp: 1e18 }), 'claims'],
    ['G02 exp as a string', (permit) => resigned(permit, {}, { exp: '9999999999' }), 'claims'],
    [
      'G02 a life over an hour',
      (permit) => resigned(permit, {}, { exp: Math.ceil(Date.now() / 1000) + 3700 }),
      'lifetime',
    ],
    [
      'G02 issued two minutes ahead',
      (permit) =>
        resigned(
          permit,
          {},
          { iat: Math.ceil(Date.now() / 1000) + 120, exp: Math.ceil(Date.now() / 1000) + 180 },
        ),
      'issued-ahead',
    ],
    ['G03 jku', (permit) => resigned(permit, { jku: 'http://127.0.0.1:9/keys' }, {}), 'header'],
    ['G03 x5u', (permit) => resigned(permit, { x5u: 'http://127.0.0.1:9/keys' }, {}), 'header'],
    [
      'G03 jwk',
      (permit) => resigned(permit, { jwk: { kty: 'OKP', crv: 'Ed25519', x: 'A'.repeat(43) } }, {}),
      'header',
    ],
    ['G03 unknown kid', (permit) => resigned(permit, { kid: 'x'.repeat(43) }, {}), 'unknown-key'],
    ['G03 kid with a path', (permit) => resigned(permit, { kid: '../../etc/passwd' }, {}), 'unknown-key'],
    ['G03 kid with SQL', (permit) => resigned(permit, { kid: "' OR 1=1 --" }, {}), 'unknown-key'],
    ['G10 a megabyte', () => 'A'.repeat(1_048_576), 'malformed'],
    ['G10 ten parts', (permit) => `${permit}.a.b.c.d.e.f.g`, 'malformed'],
    ['G10 not ASCII', (permit) => `${permit.slice(0, -1)}é`, 'malformed'],
  ])('%s: refused, and nothing is fetched', async (_, forge, reason) => {
    const run = await registered();
    const { client, fetched } = through(async (reply) => ({
      ...reply,
      permit: await forge(reply.permit ?? ''),
      keySet: null,
    }));
    const { guard, events } = await guardOf(run, { client });
    const before = fetched.jwks;
    await guard.beat();
    expect(events).toContainEqual({ kind: 'permit-refused', reason });
    expect(guard.mayTrain('1').verdict).toBe('pause');
    expect(fetched.jwks).toBe(before);
  });

  it('G10 refuses a megabyte at the price of a comparison', async () => {
    const { createTokenVerifier } = await import('../../clients/typescript/tokens.ts');
    const verifier = await createTokenVerifier({ runId: 'r', jwks: await trainerOf().jwks() });
    const huge = 'A'.repeat(1_048_576);
    await verifier.permit(huge, new Date());
    const startedAtMs = performance.now();
    for (let i = 0; i < 100; i += 1) await verifier.permit(huge, new Date());
    // Each under a millisecond, with a wide margin for a busy machine.
    expect(performance.now() - startedAtMs).toBeLessThan(1_000);
  });

  it('G05 an answer of an older sequence or epoch, replayed whole, is refused', async () => {
    const run = await registered();
    const kept: HeartbeatReply[] = [];
    const replay = { on: false };
    const { client } = through((reply) => {
      kept.push(reply);
      return replay.on ? (kept[0] ?? reply) : reply;
    });
    const { guard, events } = await guardOf(run, { client, nonce: () => 'always-the-same' });
    await guard.beat();
    await guard.beat();
    replay.on = true;
    await guard.beat();
    expect(events.at(-1)).toEqual({ kind: 'permit-refused', reason: 'older-seq' });
    replay.on = false;
    const { haltId } = await pressed(run);
    await guard.beat();
    await run.resume(haltId, ['leadership']);
    await guard.beat();
    expect(guard.mayTrain('1').verdict).toBe('go');
    replay.on = true;
    await guard.beat();
    expect(events.at(-1)).toEqual({ kind: 'permit-refused', reason: 'older-epoch' });
  });

  it("G06 a replayed permit gains nothing by the agent's clock set back", async () => {
    const run = await registered();
    const kept: HeartbeatReply[] = [];
    const { client } = through((reply) => {
      kept.push(reply);
      return kept[0] ?? reply;
    });
    const clocks = { monotonicMs: 0, wallMs: Date.now() };
    const { guard, events } = await guardOf(run, {
      client,
      monotonicMs: () => clocks.monotonicMs,
      wallClock: () => new Date(clocks.wallMs),
    });
    await guard.beat();
    expect(guard.mayTrain('1').verdict).toBe('go');
    clocks.monotonicMs += 1_800_000;
    clocks.wallMs -= 7_200_000;
    expect(guard.mayTrain('1').verdict, 'the monotonic clock ends it').toBe('pause');
    await guard.beat();
    expect(events.at(-1)).toMatchObject({ kind: 'permit-refused' });
    clocks.wallMs = Date.now();
    await guard.beat();
    expect(events.at(-1)).toEqual({ kind: 'permit-refused', reason: 'nonce' });
    expect(guard.mayTrain('1').verdict).toBe('pause');
  });

  it('G11 a bearer token in the query string is refused, and in no line of the log', async () => {
    const token = interlock.tokens['trainer'] ?? '';
    const sent = await interlock.call('GET', `/v1/runs?access_token=${token}`);
    expect(sent.status).toBe(400);
    expect(interlock.logs.join('\n')).not.toContain(token);
  });
});

describe('permits while something is in doubt', () => {
  it('G13 none while the ledger cannot advance, and they come again when it can', async () => {
    const run = await registered();
    expect((await run.beat('1e20')).permit).not.toBeNull();
    await interlock.withStore(async ({ database: { pool } }) => {
      const stuck = await pool.connect();
      try {
        await stuck.query('BEGIN');
        await stuck.query('SELECT seq FROM ledger_head WHERE id = 1 FOR UPDATE');
        await soon(async () => {
          const answer = await run.beat('1e20');
          expect(answer.permit).toBeNull();
          expect(answer.directive).toMatchObject({
            action: 'pause',
            reason: expect.stringContaining('ledger'),
          });
        });
      } finally {
        await stuck.query('ROLLBACK').finally(() => stuck.release());
      }
    });
    await soon(async () => expect((await run.beat('1e20')).permit).not.toBeNull());
  });

  it('G08 C3 none while latched: presses, resumes and renewals race through two Interlocks with clocks an hour apart', async () => {
    const hour = 3_600_000;
    const others: Interlock[] = [];
    for (const offsetMs of [-hour, hour]) {
      others.push(
        await startInterlock(interlock.config, {
          env: { PATH: process.env['PATH'], HOME: process.env['HOME'] },
          logger: createLogger({ level: 'silent' }),
          port: 0,
          clock: () => new Date(Date.now() + offsetMs),
        }),
      );
    }
    try {
      const run = await registered();
      const urls = [interlock.url, ...others.map(({ url }) => url)];
      const permits: string[] = [];
      const done = { is: false };
      const renewals = urls.map(async (url) => {
        const client = trainerOf(url);
        while (!done.is) {
          const reply = await client.heartbeat(run.runId, { effectiveCompute: '1e20', nonce: 'n' });
          if (reply.permit !== null) permits.push(reply.permit);
        }
      });
      try {
        for (let round = 1; round <= 6; round += 1) {
          const before = permits.length;
          await soon(() => expect(permits.length).toBeGreaterThan(before + 3));
          await pressed(run);
          // On a busy machine the button may have been faster than the ledger: its halt counts once it is there.
          await run.event('HaltOrdered', round);
          await run.resume(null, ['leadership']);
        }
      } finally {
        done.is = true;
        await Promise.all(renewals);
      }

      const claims = permits.map(claimsOf).sort((a, b) => a.seq - b.seq);
      const halted = new Set(
        (await run.events()).filter(({ kind }) => kind === 'HaltOrdered').map(({ data }) => data['epoch']),
      );
      expect(halted.size).toBe(6);
      // The epoch rises with the halt and again with the resume: one that a halt has is of a permit issued while latched.
      expect(claims.filter(({ epoch }) => halted.has(epoch))).toEqual([]);
      expect(new Set(claims.map(({ seq }) => seq)).size).toBe(claims.length);
      expect(claims.every(({ epoch }, i) => epoch >= (claims[i - 1]?.epoch ?? 0))).toBe(true);
    } finally {
      for (const other of others) await other.close();
    }
  });

  it('G08 the halt that raced a renewal sticks on the disk of the agent', async () => {
    for (let round = 0; round < 5; round += 1) {
      const run = await registered();
      const { guard } = await guardOf(run);
      await guard.beat();
      await Promise.all([guard.beat(), run.press(), guard.beat()]);
      await guard.beat();
      expect(guard.mayTrain('1').verdict).toBe('stop');
      await guard.close();
      const { guard: again } = await guardOf(run, {
        client: through(() => Promise.reject(new Error('away'))).client,
      });
      expect(again.mayTrain('1').verdict).toBe('stop');
      await again.close();
      rmSync(join(directory, 'state'), { recursive: true });
    }
  });
});

describe('cleared halts', () => {
  it('a replayed old order does not stop the resumed run, and a fresh press does, also while a resume is under way', async () => {
    const run = await registered();
    const { guard } = await guardOf(run);
    await guard.beat();
    const first = await pressed(run);
    await guard.beat();
    const old = guard.halts[0]?.order ?? '';
    await run.resume(first.haltId, ['leadership']);
    await guard.beat();
    expect(guard.mayTrain('1').verdict).toBe('go');
    expect(await guard.receiveOrder(old, 'webhook')).toBe('cleared');
    expect(guard.mayTrain('1').verdict).toBe('go');

    const second = await pressed(run);
    expect(second.haltId).not.toBe(first.haltId);
    await guard.beat();
    expect(guard.mayTrain('1').verdict).toBe('stop');
    // A press between the proposal and its last signature: what was signed for is not what is any more.
    const body = { kind: 'resume', haltId: second.haltId, rationale: 'r' };
    const proposed = await interlock.call('POST', `/v1/runs/${run.runId}/proposals`, {
      as: 'operator',
      body,
    });
    await run.press('board');
    await run.event('HaltCauseAdded');
    const { proposalId, digest } = z
      .object({ proposalId: z.string(), digest: z.string() })
      .parse(proposed.body);
    const signOff = { proposalId, digest, decision: 'approve', group: 'leadership', justification: 'j' };
    const signed = await interlock.call('POST', `/v1/runs/${run.runId}/sign-offs`, {
      as: 'leadership',
      body: signOff,
    });
    expect(signed.status).toBe(409);
    await guard.beat();
    expect(guard.mayTrain('1').verdict).toBe('stop');
  });

  it('a press and the last signature at the same instant: whichever is first, the run is halted in the end', async () => {
    for (let round = 0; round < 5; round += 1) {
      const run = await registered();
      const { haltId } = await pressed(run);
      const body = { kind: 'resume', haltId, rationale: 'r' };
      const proposed = await interlock.call('POST', `/v1/runs/${run.runId}/proposals`, {
        as: 'operator',
        body,
      });
      const { proposalId, digest } = z
        .object({ proposalId: z.string(), digest: z.string() })
        .parse(proposed.body);
      const signOff = { proposalId, digest, decision: 'approve', group: 'leadership', justification: 'j' };
      const sign = () =>
        interlock.call('POST', `/v1/runs/${run.runId}/sign-offs`, { as: 'leadership', body: signOff });
      await Promise.all(round % 2 === 0 ? [run.press('board'), sign()] : [sign(), run.press('board')]);
      expect((await run.beat('1e20')).directive.action).toBe('halt');
    }
  });

  it('one that the state no longer names is cleared for a trainer that asks, and one of nobody is told', async () => {
    const run = await registered();
    const { haltId } = await pressed(run);
    await run.resume(haltId, ['leadership']);
    const { wasCleared } = await import('../../src/service/cleared-halts.ts');
    expect(await wasCleared(interlock.ledger, run.runId, haltId)).toBe(true);
    expect(await wasCleared(interlock.ledger, 'another-run', haltId)).toBe(false);
    expect(await wasCleared(interlock.ledger, run.runId, 'halt_unknown')).toBe(false);
    const { haltId: standing } = await pressed(run);
    expect(await wasCleared(interlock.ledger, run.runId, standing)).toBe(false);

    const other = await registered();
    const body = { effectiveCompute: '1e20', nonce: 'n', halts: ['halt_unknown'] };
    const sent = await interlock.call('POST', `/v1/runs/${other.runId}/heartbeat`, { as: 'trainer', body });
    expect(claimsOf(z.object({ permit: z.string() }).parse(sent.body).permit).clearedHalts).toEqual([]);
    await soon(async () => {
      const events = await interlock.ledger.read({ after: 0, stream: 'security', limit: 1_000 });
      expect(events.map(({ data }) => data['code'])).toContain('unknown-halt');
    });
  });
});

describe('one live instance per permit', () => {
  const beat = async (run: RunDriver, body: Record<string, unknown>) => {
    const sent = await interlock.call('POST', `/v1/runs/${run.runId}/heartbeat`, {
      as: 'trainer',
      body: { effectiveCompute: '1e20', nonce: 'n', ...body },
    });
    expect(sent.status, sent.text).toBe(200);
    return z
      .object({
        permit: z.string().nullable(),
        directive: z.object({ action: z.string(), reason: z.string().optional() }),
      })
      .parse(sent.body);
  };

  it('a duplicated job is refused and told to pause, people hear of it, and the first trains on', async () => {
    const run = await registered();
    const first = await guardOf(run, { instance: 'job-a' });
    const second = await guardOf(run, { instance: 'job-b' });
    await first.guard.beat();
    await second.guard.beat();
    await second.guard.beat();
    expect(first.guard.mayTrain('1').verdict).toBe('go');
    expect(second.guard.mayTrain('1')).toMatchObject({
      verdict: 'pause',
      reason: expect.stringContaining('process job-a of this run has its permit'),
    });
    await first.guard.beat();
    expect(first.guard.mayTrain('1').verdict).toBe('go');
    const refused = (await run.events()).filter(({ kind }) => kind === 'InstanceRefused');
    expect(refused).toMatchObject([{ data: { instance: 'job-b', holder: 'job-a', by: 'trainer' } }]);
    expect((await run.show()).status).toBe('training');
  });

  it('takes over at once when the first has left', async () => {
    const run = await registered();
    const first = await guardOf(run, { instance: 'job-a' });
    await first.guard.beat();
    await first.guard.leave();
    expect(first.guard.mayTrain('1').verdict).toBe('pause');
    const second = await guardOf(run, { instance: 'job-b' });
    await second.guard.beat();
    expect(second.guard.mayTrain('1').verdict).toBe('go');
  });

  it('takes over when the permit of one that crashed has run out, and not before', async () => {
    const run = drive(interlock, { kind: 'webhook', url: 'http://127.0.0.1:9/halt' });
    expect((await run.register({ policy: 'short' }, 'operator')).status).toBe(201);
    const first = await guardOf(run, { instance: 'job-a' });
    const startedAtMs = performance.now();
    await first.guard.beat();
    expect(first.guard.mayTrain('1').verdict).toBe('go');
    await first.guard.close();
    const second = await guardOf(run, { instance: 'job-b' });
    await soon(async () => {
      await second.guard.beat();
      expect(second.guard.mayTrain('1').verdict).toBe('go');
    });
    expect(performance.now() - startedAtMs).toBeGreaterThan(3_000);
  });

  it('a restart on the same disk takes over at once, and the ledger has it; the one before it is refused from then on', async () => {
    const run = await registered();
    const first = await guardOf(run, { stateDirectory: join(directory, 'same') });
    await first.guard.beat();
    const second = await guardOf(run, { stateDirectory: join(directory, 'same') });
    await second.guard.beat();
    expect(second.guard.mayTrain('1').verdict).toBe('go');
    expect((await run.event('InstanceTookOver')).data).toMatchObject({
      instance: second.guard.instance,
      supersedes: first.guard.instance,
    });
    await first.guard.beat();
    expect(first.guard.mayTrain('1').verdict).toBe('pause');
  });

  it('one that computes on although it was refused holds the run until people sign', async () => {
    const run = await registered();
    await beat(run, { instance: 'job-a', effectiveCompute: '1e20' });
    await beat(run, { instance: 'job-b', effectiveCompute: '1e20' });
    const rogue = { compute: 2 };
    await soon(async () => {
      rogue.compute += 1;
      await beat(run, { instance: 'job-b', effectiveCompute: `${rogue.compute}e20` });
      expect((await run.show()).status).toBe('on-hold');
    });
    expect((await run.event('HoldPlaced')).data).toMatchObject({
      key: 'instance:job-b',
      findings: [{ kind: 'duplicate' }],
    });
    expect((await beat(run, { instance: 'job-a' })).permit).toBeNull();
    await run.resume(null, ['leadership']);
    expect((await beat(run, { instance: 'job-a' })).permit).not.toBeNull();
  });

  it('two processes that beat in turn are not taken for one that moves', async () => {
    const run = await registered();
    await beat(run, { instance: 'job-a', effectiveCompute: '5e20' });
    await beat(run, { instance: 'job-b', effectiveCompute: '1e20' });
    const { haltId } = await pressed(run);
    await interlock.call('POST', `/v1/halts/${haltId}/ack`, { as: 'trainer', body: { state: 'stopped' } });
    for (let i = 0; i < 3; i += 1) {
      await beat(run, { instance: 'job-b', effectiveCompute: '1e20' });
      await beat(run, { instance: 'job-a', effectiveCompute: '5e20' });
    }
    expect(await run.kinds()).not.toContain('HaltReopened');
  });

  it('a client that names no instance keeps working alone, and is refused beside one that does', async () => {
    const run = await registered();
    expect((await beat(run, {})).permit).not.toBeNull();
    expect((await beat(run, {})).permit).not.toBeNull();
    expect((await beat(run, { instance: 'job-a' })).permit).not.toBeNull();
    expect((await beat(run, {})).permit).toBeNull();
    expect((await beat(run, { instance: 'job-a', leaving: true })).permit).toBeNull();
    expect((await beat(run, {})).permit).not.toBeNull();
  });

  it('two that ask at the same instant: one is given a permit', async () => {
    for (let round = 0; round < 10; round += 1) {
      const run = await registered();
      const answers = await Promise.all(['a', 'b', 'c', 'd'].map((instance) => beat(run, { instance })));
      expect(answers.filter(({ permit }) => permit !== null)).toHaveLength(1);
    }
  });
});

describe('keys, without a restart', () => {
  it('a rotation and a revocation of the file reach the running service and its trainers; the ledger verifies on', async () => {
    const run = await registered();
    const { guard, events } = await guardOf(run);
    await guard.beat();
    const keyring = await loadKeyring(interlock.config.signingKey);
    const first = keyring.active().kid;
    await expectSoundLedger(interlock);
    const { kid } = await keyring.rotate();
    await soon(async () => {
      await guard.beat();
      expect(events).toContainEqual({ kind: 'keys-learned', added: [kid], revoked: [] });
    });
    expect(guard.mayTrain('1').verdict).toBe('go');
    await pressed(run);
    await expectSoundLedger(interlock);
    const { activeKid } = await keyring.revoke(kid, 'a drill');
    await soon(async () => {
      const sent = await interlock.call('GET', '/v1/ledger/head', { as: 'auditor' });
      const { jws } = z.object({ signed: z.object({ jws: z.string() }) }).parse(sent.body).signed;
      const halted = await run.beat('1e20');
      expect(partOf(halted.directive.order ?? '', 0)['kid']).toBe(activeKid);
      expect(jws).not.toBe('');
    });
    expect(first).not.toBe(activeKid);
    await expectSoundLedger(interlock);
  });

  it('a stolen key of another keyring opens nothing', async () => {
    const file = join(directory, 'other.json');
    await createKeyringFile(file);
    const other = await loadKeyring(file);
    const run = await registered();
    const { guard, events } = await guardOf(run, { jwks: other.jwks() });
    await guard.beat();
    expect(events).toContainEqual({ kind: 'permit-refused', reason: 'unknown-key' });
  });
});
