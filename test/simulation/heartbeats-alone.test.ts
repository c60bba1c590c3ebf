/**
 * An instance that serves the API alone, while no worker and no scheduler lives anywhere: what its heartbeats may say.
 * Found by simulation; kept as a story of its own.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compute } from '../../src/domain/compute.ts';
import { PolicySchema } from '../../src/domain/policy/schema.ts';
import { createTokenSigner } from '../../src/signing/tokens.ts';
import { Faults } from './faults.ts';
import { generatedPolicy } from './generated-policy.ts';
import { Interlock } from './instance.ts';
import { createRandom } from './random.ts';
import { SharedQueue } from './shared-queue.ts';
import { installSignatures, type Signatures } from './signatures.ts';
import { connect, Store } from './store.ts';
import { Scheduler, SimulatedProcess } from './virtual-time.ts';

const TRAINER = {
  id: 'trainer',
  name: 'trainer',
  groups: [],
  roles: ['trainer' as const],
  evaluations: null,
  via: 'bearer' as const,
};
const REGISTRATION = {
  runId: 'r1',
  title: null,
  policy: null,
  initialCompute: null,
  parents: [],
  sources: null,
  targets: [{ kind: 'webhook' as const, url: 'http://trainer/' }],
  labels: {},
};
const MINUTE_MS = 60_000;
const HALTED = { permit: null, directive: { action: 'halt' } };

describe('heartbeats without any worker', () => {
  let signatures: Signatures;
  beforeAll(async () => {
    signatures = await installSignatures();
  });
  afterAll(() => signatures.restore());

  function alone() {
    const scheduler = new Scheduler(Date.parse('2026-11-01T00:00:00.000Z'));
    const faults = new Faults(1, new Set());
    faults.healed = true;
    const witness = { committed: () => undefined, reserved: () => undefined, beaten: () => undefined };
    const store = new Store(scheduler, witness, true);
    const drawn = generatedPolicy(createRandom(3), 'generated');
    const policy = PolicySchema.parse({
      ...drawn,
      cadence: { ...drawn.cadence, firstCheckpointBy: '1e22', scorecardDeadline: '4m', maxInterval: '2d' },
      alerts: [],
    });
    const process = new SimulatedProcess(scheduler);
    const random = createRandom(1);
    const onCrash = (): void => undefined;
    const connection = connect({ store, scheduler, process, instance: 'i1', faults, random, onCrash });
    const interlock = new Interlock({
      id: 'i1',
      process,
      connection,
      queue: new SharedQueue(scheduler, faults).connect(process),
      policies: [policy],
      defaultPolicy: 'generated',
      signer: createTokenSigner({
        keyring: signatures.keyring,
        signature: signatures.signature,
        issuer: 'interlock',
      }),
      evaluators: () => ({
        run: () => Promise.reject(new Error('nothing runs here')),
        callOff: () => Promise.reject(new Error('nothing runs here')),
      }),
      isolatorOf: () => {
        throw new Error('no isolation');
      },
      orchestratorOf: () => {
        throw new Error('nothing is stopped here');
      },
      channels: new Map(),
      isWorker: false,
      isScheduler: false,
      reconcileIntervalMs: 10_000,
      hasRelatives: false,
      weightsOf: () => null,
      capacity: {},
      shadowUntil: null,
      lostAfterMs: 30_000,
      hasEnded: () => false,
      onError: () => undefined,
    });
    /** Runs virtual time until the answer is there. */
    const settled = async <T>(answer: Promise<T>): Promise<T> => {
      let done: { value: T } | null = null;
      const waited = answer.then((value) => {
        done = { value };
      });
      await scheduler.run(scheduler.nowMs + MINUTE_MS, () => done !== null);
      await waited;
      return answer;
    };
    const stated = (effectiveCompute: string, nonce: string, repeated: boolean) => ({
      runId: 'r1',
      effectiveCompute: compute(effectiveCompute),
      step: null,
      nonce,
      repeated,
      by: 'trainer',
    });
    const beat = (effectiveCompute: string, nonce: string) =>
      settled(interlock.heartbeat(stated(effectiveCompute, nonce, false)));
    const receive = (webhookId: string) =>
      interlock.runs.receive('r1', { source: 'trainer', webhookId, bodyDigest: webhookId });
    /** A signed message: a new one, or one whose receipt is there. */
    const signed = async (effectiveCompute: string, webhookId: string) => {
      const repeated = (await receive(webhookId)) === 'replayed';
      return interlock.heartbeat(stated(effectiveCompute, webhookId, repeated));
    };
    const registers = () => settled(interlock.register(REGISTRATION, TRAINER));
    return { scheduler, store, settled, interlock, beat, receive, signed, registers };
  }

  async function registered() {
    const world = alone();
    expect((await world.registers()).status).toBe(201);
    return world;
  }

  it('give no permit once a required evaluation is past its deadline', async () => {
    const { scheduler, interlock, settled, beat } = await registered();
    const report = {
      runId: 'r1',
      checkpointId: 'c1',
      effectiveCompute: compute('5e21'),
      step: null,
      modelUri: 's3://weights/x',
      endpoint: null,
      metadata: null,
      evaluate: false,
    };
    expect((await settled(interlock.checkpoint(report, TRAINER, undefined))).status).toBe(202);
    expect((await beat('5.1e21', 'n1')).body).toMatchObject({ directive: { action: 'continue' } });
    await scheduler.run(scheduler.nowMs + 5 * MINUTE_MS);
    expect((await beat('5.2e21', 'n2')).body).toMatchObject({ permit: null, directive: { action: 'pause' } });
  });

  it('halt for compute that an earlier heartbeat stated, whose effect was lost', async () => {
    const { scheduler, store, beat } = await registered();
    expect((await beat('5e21', 'n1')).body).toMatchObject({ directive: { action: 'continue' } });
    // The side column was written; the instance died before it could say what follows.
    store.beat('r1', compute('3e22'));
    await scheduler.run(scheduler.nowMs + MINUTE_MS);
    expect((await beat('5.1e21', 'n2')).body).toMatchObject({ permit: null, directive: { action: 'halt' } });
  });

  it('halt for a signed message sent again whose first died with nothing but its receipt', async () => {
    const { settled, beat, receive, signed } = await registered();
    expect((await beat('5e21', 'n1')).body).toMatchObject({ directive: { action: 'continue' } });
    expect(await settled(receive('m1'))).toBe('new');
    expect((await settled(signed('3e22', 'm1'))).body).toMatchObject(HALTED);
  });

  it('halt for a signed message sent again whose first wrote its compute and died', async () => {
    const { settled, store, beat, receive, signed } = await registered();
    expect((await beat('5e21', 'n1')).body).toMatchObject({ directive: { action: 'continue' } });
    expect(await settled(receive('m1'))).toBe('new');
    store.beat('r1', compute('3e22'));
    expect((await settled(signed('3e22', 'm1'))).body).toMatchObject(HALTED);
  });

  it('give no permit to a signed message that overtakes the first of its kind', async () => {
    const { settled, beat, signed } = await registered();
    expect((await beat('5e21', 'n1')).body).toMatchObject({ directive: { action: 'continue' } });
    const both = await settled(Promise.all([signed('3e22', 'm1'), signed('3e22', 'm1')]));
    for (const { body } of both) expect(body).toMatchObject(HALTED);
  });

  it('are answered and move nothing when a signed message that took effect comes again', async () => {
    const { scheduler, store, settled, beat, signed } = await registered();
    expect((await settled(signed('5e21', 'm1'))).body).toMatchObject({ directive: { action: 'continue' } });
    await beat('5.1e21', 'n2');
    const before = { ...store.readProgress('r1'), events: store.events.length };
    await scheduler.run(scheduler.nowMs + MINUTE_MS);
    expect((await settled(signed('5e21', 'm1'))).body).toMatchObject({ directive: { action: 'continue' } });
    expect({ ...store.readProgress('r1'), events: store.events.length }).toEqual(before);
  });

  it('are not needed to refuse a permit for registering again a run that stated more than its ceiling', async () => {
    const { store, beat, registers } = await registered();
    expect((await beat('5e21', 'n1')).body).toMatchObject({ directive: { action: 'continue' } });
    store.beat('r1', compute('3e22'));
    expect(await registers()).toEqual({ status: 200, body: { permit: null } });
  });
});
