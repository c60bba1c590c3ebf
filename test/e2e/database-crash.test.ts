/**
 * kill -9 of the embedded PostgreSQL itself, several times under load: meanwhile the service says 503 and when to come
 * back, it starts the database again, loses nothing acknowledged, and a halt that is ordered meanwhile goes out.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { createRandom } from '../simulation/random.ts';
import { conclude } from '../support/campaign/campaign.ts';
import { type Installation, installBuild } from '../support/campaign/installation.ts';
import { openScene, type Scene } from '../support/campaign/scene.ts';
import { postmasterPid } from '../support/data-directories.ts';

const SEED = 5;
const CRASHES = 5;
const BACK_WITHIN_MS = 20_000;

const HaltsSchema = z.object({ halts: z.array(z.object({ haltId: z.string() })).length(1) });

let installation: Installation;
beforeAll(async () => {
  installation = await installBuild();
});
afterAll(() => installation.remove());

describe('the embedded PostgreSQL killed under the service', () => {
  let scene: Scene;
  let failed = true;
  beforeEach(async () => {
    scene = await openScene({ bin: installation.bin, grade: 'embedded', seed: SEED });
  });
  afterEach(() => scene.close({ keep: failed }));

  it('is started again; nothing acknowledged is lost and a halt ordered meanwhile goes out', async () => {
    const { api, journal, outside, place } = scene;
    const random = createRandom(SEED);
    const service = scene.start();
    api.use(await service.ready);
    for (let i = 0; i < 5; i += 1) scene.addRun();
    scene.addPeople();
    await vi.waitUntil(() => journal.checkpoints.length > 3, { timeout: 30_000, interval: 100 });

    const outagesMs: number[] = [];
    for (let crash = 1; crash <= CRASHES; crash += 1) {
      // The load goes on for a while: a crash at a random moment of it.
      await delay(random.between(300, 1_500));
      const runId = await registered(`crash-${crash}`);
      const crashedAtMs = performance.now();
      process.kill(await postmasterPid(place.dataDir), 'SIGKILL');
      const haltId = await press(runId);
      outagesMs.push(Math.round(performance.now() - crashedAtMs));
      await vi.waitUntil(() => outside.halts.some((each) => each.haltId === haltId), {
        timeout: 20_000,
        interval: 50,
      });
      const acked = await api.persist({
        path: `/v1/halts/${haltId}/ack`,
        body: { state: 'stopped' },
        as: 'trainer',
      });
      expect(acked?.status).toBe(200);
    }
    expect(service.isGone()).toBe(false);
    expect(Math.max(...outagesMs)).toBeLessThan(BACK_WITHIN_MS);
    // Each of them with Retry-After, or it would be a violation.
    expect(journal.answers.get('503') ?? 0).toBeGreaterThan(0);

    const { violations, figures } = await conclude(scene, service);
    console.log(`database crashes: ${JSON.stringify({ crashes: CRASHES, outagesMs, ...figures })}`);
    expect(violations).toEqual([]);
    failed = false;
  });

  async function registered(runId: string): Promise<string> {
    const targets = [{ kind: 'webhook', url: `${scene.outside.url}/halt` }];
    const answer = await scene.api.persist({ path: '/v1/runs', body: { runId, targets }, as: 'trainer' });
    expect(answer?.status).toBe(201);
    scene.journal.registered.add(runId);
    return runId;
  }

  async function press(runId: string): Promise<string> {
    const reason = `the database of ${runId} is down`;
    const answer = await scene.api.persist({ path: `/v1/runs/${runId}/halt`, body: { reason }, as: 'board' });
    expect(answer?.status).toBe(202);
    const haltId = HaltsSchema.parse(answer?.body).halts[0]?.haltId ?? '';
    scene.journal.knowHalt(haltId);
    scene.journal.presses.push({ runId, haltId, reason });
    return haltId;
  }
});
