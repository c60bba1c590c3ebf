/** A whole Interlock before a cluster: a run is registered by name, halted by the red button, and confirmed by its pods. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { type KubernetesServer, startKubernetesServer } from '../support/kubernetes-server.ts';
import {
  type Admin,
  adminOf,
  kubeconfig,
  objectPath,
  podsPath,
  WORKLOADS,
} from '../support/kubernetes-world.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { drive, soon } from '../support/run-driver.ts';

const TOKENS = { admin: 'admin-token', watchdog: 'watchdog-token-9d41', stranger: '' };
let server: KubernetesServer;
let admin: Admin;
let interlock: TestInterlock;
let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'interlock-kubernetes-'));
  server = await startKubernetesServer();
  server.tokens.set(TOKENS.watchdog, 'watchdog');
  server.may = () => true;
  admin = adminOf({ url: server.url, ca: server.ca, tokens: TOKENS });
  const file = join(directory, 'kubeconfig');
  writeFileSync(file, kubeconfig(server, { token: TOKENS.watchdog }), { mode: 0o600 });
  interlock = await startTestInterlock({
    policies: { one: oneEvaluationPolicy() },
    settings: {
      orchestrators: {
        kubernetes: { enabled: true, clusters: { training: { kubeconfig: file, namespaces: ['team'] } } },
      },
    },
  });
  await admin.create('/api/v1/namespaces', { metadata: { name: 'team' } });
});
afterAll(async () => {
  await interlock?.close();
  await server?.close();
  rmSync(directory, { recursive: true, force: true });
});

const target = (name: string) => ({
  kind: 'kubernetes',
  cluster: 'training',
  namespace: 'team',
  resource: 'job',
  name,
});

it('refuses what the cluster does not know, by field', async () => {
  const refused = await drive(interlock, target('nowhere')).register();
  expect(refused.status).toBe(422);
  expect(refused.text).toContain('targets[0].name');
  expect(refused.text).toContain('Job team/nowhere: there is none');
  const outside = await drive(interlock, { ...target('run-1'), namespace: 'other' }).register();
  expect(outside.status).toBe(422);
  expect(outside.text).toContain('targets[0].namespace');
});

it('suspends the Job at once, and confirms the stop when its last pod is gone', async () => {
  await admin.create(objectPath('job', 'team'), { metadata: { name: 'run-1' }, spec: WORKLOADS.job.spec });
  const pods = (await admin.list(podsPath('team'))).map(({ metadata }) => metadata.name);
  for (const pod of pods) {
    await admin.patch(`${podsPath('team')}/${pod}`, {
      spec: { nodeName: 'node-1' },
      status: { phase: 'Running' },
    });
  }
  const run = drive(interlock, target('run-1'));
  expect((await run.register()).status).toBe(201);
  await run.press('board');
  await soon(async () => {
    expect((await admin.read(`${objectPath('job', 'team')}/run-1`)).spec).toMatchObject({ suspend: true });
  });
  expect(await run.event('HaltStepTaken')).toMatchObject({
    data: { step: 'suspend', outcome: 'accepted', detail: 'Job team/run-1 suspended' },
  });
  expect(await run.kinds()).not.toContain('TargetStopObserved');
  for (const pod of pods) await admin.ask('DELETE', `${podsPath('team')}/${pod}?gracePeriodSeconds=0`);
  expect(await run.event('TargetStopObserved')).toMatchObject({
    data: { detail: 'Job team/run-1 is suspended, and no pod of it is left' },
  });
  await run.event('HaltConfirmed');
  expect(interlock.logs.join('\n')).not.toContain(TOKENS.watchdog);
});
