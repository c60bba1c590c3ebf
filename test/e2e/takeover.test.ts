/**
 * Two Interlocks on one database: one is lost with work in its hands, the other carries it on.
 *
 * Killed beside the other it is known to be gone at once; suspended, it is alive and only silent, so its lease has to
 * run out, and what it says when it wakes must not count twice.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { conclude } from '../support/campaign/campaign.ts';
import { type Installation, installBuild } from '../support/campaign/installation.ts';
import { evaluationProcesses, orphansOf } from '../support/campaign/orphans.ts';
import { openScene, type Scene } from '../support/campaign/scene.ts';
import type { ServiceProcess } from '../support/campaign/service-process.ts';

const EventsSchema = z.object({
  items: z.array(z.object({ kind: z.string(), data: z.record(z.string(), z.unknown()) })),
});
const HaltsSchema = z.object({ halts: z.array(z.object({ haltId: z.string() })).length(1) });

let installation: Installation;
beforeAll(async () => {
  installation = await installBuild();
});
afterAll(() => installation.remove());

describe('two Interlocks on one database', () => {
  let scene: Scene;
  let failed = true;
  beforeEach(async () => {
    failed = true;
    scene = await openScene({ bin: installation.bin, grade: 'server', seed: 1 });
  });
  afterEach(() => scene.close({ keep: failed }));

  it('takes over the evaluations and the halt of one that was killed', async () => {
    const { victim, survivor, haltId } = await loseOne();
    const killedAtMs = performance.now();
    await victim.kill9();
    await carriedOn(haltId);
    console.log(`taken over ${Math.round(performance.now() - killedAtMs)} ms after the kill`);
    expect(await attempts()).toContainEqual(expect.objectContaining({ kind: 'EvaluationReturned' }));

    // The one that lives on ends the evaluator of the dead one as well: nobody may be there to start another.
    await vi.waitFor(async () => expect(await orphansOf(survivor.pid, scene.place.dataDir)).toEqual([]), {
      timeout: 20_000,
      interval: 200,
    });
    await concludes(survivor);
  });

  it('takes over from one that hangs when its lease is out, and counts nothing twice when it wakes', async () => {
    const { victim, survivor, haltId } = await loseOne();
    const suspendedAtMs = performance.now();
    victim.suspend(true);
    await carriedOn(haltId);
    console.log(`taken over ${Math.round(performance.now() - suspendedAtMs)} ms after the suspension`);
    victim.suspend(false);
    // It answers again, and has given up what is no longer its own.
    await vi.waitFor(async () => expect(await evaluationProcesses(scene.place.dataDir)).toEqual([]), {
      timeout: 20_000,
      interval: 200,
    });
    expect(await victim.stop()).toBe(0);
    await concludes(survivor);
  });

  /** One of two services has an evaluation running that would take two minutes, and a halt that nobody takes. */
  async function loseOne(): Promise<{ victim: ServiceProcess; survivor: ServiceProcess; haltId: string }> {
    const { api, outside, journal } = scene;
    const [a, b] = [scene.start(), scene.start()];
    const [urlA, urlB] = await Promise.all([a.ready, b.ready]);
    api.use(urlA);
    for (const runId of ['evaluated', 'halted']) {
      const targets = [{ kind: 'webhook', url: `${outside.url}/halt` }];
      const answer = await api.persist({ path: '/v1/runs', body: { runId, targets }, as: 'trainer' });
      expect(answer?.status).toBe(201);
    }
    const accepted = await api.persist({
      path: '/v1/checkpoints',
      webhookId: 'checkpoint-1',
      body: {
        runId: 'evaluated',
        checkpointId: 'ck-1',
        effectiveCompute: 5e19,
        modelUri: 's3://campaign/ck-1?score=0.1&win=0.1&ms=10&firstMs=120000',
      },
    });
    expect(accepted?.status).toBe(202);
    const owner = await vi.waitUntil(ownerOfCommand, { timeout: 20_000, interval: 100 });
    const [victim, survivor] = owner === a.pid ? [a, b] : [b, a];
    const [victimUrl, survivorUrl] = owner === a.pid ? [urlA, urlB] : [urlB, urlA];

    outside.refuseHalts(true);
    api.use(victimUrl);
    const pressed = await api.persist({
      path: '/v1/runs/halted/halt',
      body: { reason: 'before it dies' },
      as: 'board',
    });
    expect(pressed?.status).toBe(202);
    const haltId = HaltsSchema.parse(pressed?.body).halts[0]?.haltId ?? '';
    journal.presses.push({ runId: 'halted', haltId, reason: 'before it dies' });
    await vi.waitUntil(() => outside.refusals() > 0, { timeout: 10_000, interval: 50 });
    api.use(survivorUrl);
    return { victim, survivor, haltId };
  }

  /** The pid of the service whose evaluation process is running. */
  async function ownerOfCommand(): Promise<number | undefined> {
    const started = (await attempts()).filter(({ kind }) => kind === 'EvaluationStarted');
    const [process] = await evaluationProcesses(scene.place.dataDir);
    if (started.length < 2 || process === undefined) return undefined;
    return process.parentPid;
  }

  async function attempts(): Promise<z.infer<typeof EventsSchema>['items']> {
    const answer = await scene.api.persist({ path: '/v1/runs/evaluated/events?limit=200', as: 'auditor' });
    return EventsSchema.parse(answer?.body).items;
  }

  async function carriedOn(haltId: string): Promise<void> {
    const { outside } = scene;
    outside.refuseHalts(false);
    await vi.waitUntil(() => outside.halts.some((each) => each.haltId === haltId), {
      timeout: 30_000,
      interval: 100,
    });
    await vi.waitUntil(
      async () =>
        (await attempts()).some(
          ({ kind, data }) => kind === 'CheckpointAssessed' && data['verdict'] === 'proceed',
        ),
      { timeout: 60_000, interval: 200 },
    );
    const acked = await scene.api.persist({
      path: `/v1/halts/${haltId}/ack`,
      body: { state: 'stopped' },
      as: 'trainer',
    });
    expect(acked?.status).toBe(200);
  }

  async function concludes(survivor: ServiceProcess): Promise<void> {
    const { violations } = await conclude(scene, survivor);
    expect(violations).toEqual([]);
    failed = false;
  }
});
