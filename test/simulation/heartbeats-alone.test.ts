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
const MINUTE_MS = 60_000;

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
      evaluators: () => ({ run: () => Promise.reject(new Error('nothing runs here')) }),
      orchestratorOf: () => {
        throw new Error('nothing is stopped here');
      },
      channels: new Map(),
      isWorker: false,
      isScheduler: false,
      reconcileIntervalMs: 10_000,
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
    const beat = (effectiveCompute: string, nonce: string) =>
      settled(
        interlock.heartbeat({
          runId: 'r1',
          effectiveCompute: compute(effectiveCompute),
          step: null,
          nonce,
          repeated: false,
          by: 'trainer',
        }),
      );
    return { scheduler, store, interlock, settled, beat };
  }

  async function registered() {
    const world = alone();
    const registration = {
      runId: 'r1',
      title: null,
      policy: null,
      initialCompute: null,
      parents: [],
      sources: null,
      targets: [{ kind: 'webhook' as const, url: 'http://trainer/' }],
      labels: {},
    };
    const answer = await world.settled(world.interlock.register(registration, TRAINER));
    expect(answer.status).toBe(201);
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
});
