/** H09: a database that was put back from an older backup gives no permit until people have decided. */
import { cp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { testPolicy } from '../support/evaluation-policy.ts';
import { type Receiver, startReceiver } from '../support/evaluation-service.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { drive, expectSoundLedger, soon } from '../support/run-driver.ts';

const Ready = z.object({
  ready: z.boolean(),
  cannot: z.array(z.string()),
  checks: z.array(z.object({ name: z.string(), ok: z.boolean(), detail: z.string() })),
});
const Beat = z.object({
  permit: z.string().nullable(),
  directive: z.object({ action: z.string(), reason: z.string().optional() }),
});

describe('a ledger that was put back from a backup', () => {
  let interlock: TestInterlock;
  let trainer: Receiver;
  let cluster: string;
  let backup: string;
  beforeAll(async () => {
    trainer = await startReceiver(() => interlock.webhookSecrets['trainer'] ?? '');
    interlock = await startTestInterlock({
      grade: 'embedded',
      policies: { main: testPolicy() },
      settings: { ledger: { anchors: 'anchors' } },
    });
    cluster = join(interlock.directory, 'data', 'postgres', 'cluster');
    backup = join(interlock.directory, 'backup');
  });
  afterAll(async () => {
    await interlock?.close();
    await trainer?.close();
  });

  const ready = async () => Ready.parse((await interlock.call('GET', '/readyz')).body);
  const continues = async () => (await ready()).checks.find(({ name }) => name === 'ledger-continues');
  const beat = async (runId: string) => {
    const body = { effectiveCompute: '1e19' };
    return Beat.parse(
      (await interlock.call('POST', `/v1/runs/${runId}/heartbeat`, { as: 'trainer', body })).body,
    );
  };
  const accept = (as: string) =>
    interlock.call('POST', '/v1/ledger/accept-restore', { as, body: { reason: 'the disk died' } });

  it('issues no permit, still halts, and goes on only when each run is resumed', async () => {
    const target = { kind: 'webhook', url: `${trainer.url}/halt` } as const;
    const [kept, later] = [drive(interlock, target), drive(interlock, target)];
    expect((await kept.register()).status).toBe(201);
    expect((await beat(kept.runId)).permit).not.toBeNull();
    expect((await continues())?.ok).toBe(true);
    expect((await accept('operator')).status).toBe(409);
    await interlock.stop();
    await cp(cluster, backup, { recursive: true });

    await interlock.start();
    await kept.press();
    expect((await beat(kept.runId)).permit).toBeNull();
    await interlock.stop();
    const anchors = await readdir(join(interlock.directory, 'anchors'));
    expect(anchors.length).toBeGreaterThan(0);

    await rm(cluster, { recursive: true });
    await cp(backup, cluster, { recursive: true });
    await interlock.start();
    expect(await continues()).toMatchObject({ ok: false, detail: expect.stringContaining('restored') });
    expect(await ready()).toMatchObject({ ready: true, cannot: expect.arrayContaining(['issue-permits']) });
    // The halt is not in this ledger; nothing but the anchored head stands against a permit.
    const refused = await beat(kept.runId);
    expect(refused).toMatchObject({ permit: null, directive: { action: 'pause' } });
    expect(refused.directive.reason).toContain('people have to decide');
    const registered = await later.register();
    expect(registered.status).toBe(201);
    expect(registered.body).toMatchObject({ permit: null });
    expect((await interlock.call('GET', '/v1/ledger/head', { as: 'auditor' })).status).toBe(503);
    await later.press();
    await soon(() => expect(trainer.received.some(({ body }) => body.includes(later.runId))).toBe(true));

    expect((await accept('leadership')).status).toBe(403);
    const accepted = await accept('operator');
    expect(accepted).toMatchObject({ status: 200, body: { runsHalted: 2 } });
    expect((await continues())?.ok).toBe(true);
    expect((await beat(kept.runId)).directive.action).toBe('halt');
    expect((await accept('operator')).status).toBe(409);

    await interlock.stop();
    await interlock.start();
    expect((await continues())?.ok).toBe(true);
    expect((await beat(kept.runId)).permit).toBeNull();
    await expectSoundLedger(interlock);
  });
});
