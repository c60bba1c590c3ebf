/**
 * The same cases on a real API server, with exactly the rights of examples/kubernetes/rbac.yaml, and the time of each step.
 * `npm run test:kubernetes` starts one where it can; or set KUBERNETES_URL, KUBERNETES_CA_FILE, and
 * KUBERNETES_{ADMIN,WATCHDOG,STRANGER}_TOKEN to one whose users watchdog and stranger have no right. It gets namespaces,
 * a node and definitions of custom resources: use none that matters.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { admitKubernetesRun } from '../../src/orchestrators/kubernetes/admission.ts';
import { createKubernetesOrchestrator } from '../../src/orchestrators/kubernetes/kubernetes.ts';
import { KINDS } from '../../src/orchestrators/kubernetes/resources.ts';
import { type Admin, adminOf, depsFor, objectPath, WORKLOADS } from '../support/kubernetes-world.ts';
import { describeKubernetes } from './describe-kubernetes.ts';
import { describeOrchestrator, haltMessage, live } from './describe-orchestrator.ts';
import { type FixtureWorld, kubernetesFixture } from './kubernetes-fixture.ts';

const settings = z
  .object({
    KUBERNETES_URL: z.string(),
    KUBERNETES_CA_FILE: z.string(),
    KUBERNETES_ADMIN_TOKEN: z.string(),
    KUBERNETES_WATCHDOG_TOKEN: z.string(),
    KUBERNETES_STRANGER_TOKEN: z.string(),
  })
  .safeParse(process.env);
const why = settings.success ? false : 'no KUBERNETES_URL; npm run test:kubernetes starts an API server';

const roleSchema = z.object({ kind: z.literal('Role'), rules: z.array(z.unknown()) });
function rulesOf(file: string): unknown[] {
  const text = readFileSync(new URL(`../../examples/kubernetes/${file}`, import.meta.url), 'utf8');
  const role = parseAllDocuments(text)
    .map((document) => roleSchema.safeParse(document.toJS()))
    .find(({ success }) => success);
  if (role?.data === undefined) throw new Error(`${file} has no Role`);
  return role.data.rules;
}

const RBAC = 'rbac.authorization.k8s.io';
const RIGHTS = `/apis/${RBAC}/v1`;

async function bind(admin: Admin, namespace: string, file: string): Promise<void> {
  const path = `${RIGHTS}/namespaces/${namespace}`;
  const metadata = { name: 'interlock-halt' };
  await admin.create(`${path}/roles`, { metadata, rules: rulesOf(file) });
  await admin.create(`${path}/rolebindings`, {
    metadata,
    roleRef: { apiGroup: RBAC, kind: 'Role', name: 'interlock-halt' },
    subjects: [{ kind: 'User', apiGroup: RBAC, name: 'watchdog' }],
  });
}

/** As loose as a definition can be: it is the API that is tried here, not what an operator makes of it. */
async function define(
  admin: Admin,
  group: string,
  version: string,
  plural: string,
  kind: string,
): Promise<void> {
  const open = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  const definition = {
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { plural, singular: kind.toLowerCase(), kind, listKind: `${kind}List` },
      versions: [{ name: version, served: true, storage: true, schema: { openAPIV3Schema: open } }],
    },
  };
  const path = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
  const { status } = await admin.ask('POST', path, definition);
  if (status !== 201 && status !== 409) throw new Error(`${plural}.${group} could not be defined: ${status}`);
}

async function world(): Promise<FixtureWorld> {
  if (!settings.success) throw new Error('skipped');
  const { data } = settings;
  const bare: Omit<FixtureWorld, 'knowsSuspend'> = {
    url: data.KUBERNETES_URL,
    ca: readFileSync(data.KUBERNETES_CA_FILE, 'utf8'),
    tokens: {
      admin: data.KUBERNETES_ADMIN_TOKEN,
      watchdog: data.KUBERNETES_WATCHDOG_TOKEN,
      stranger: data.KUBERNETES_STRANGER_TOKEN,
    },
    grant: (admin, namespace) => bind(admin, namespace, 'rbac.yaml'),
    async readOnly(admin, namespace) {
      const rules = [{ apiGroups: ['*'], resources: ['*'], verbs: ['get', 'list'] }];
      await admin.patch(`${RIGHTS}/namespaces/${namespace}/roles/interlock-halt`, { rules });
    },
    async place(admin, namespace, pod) {
      const target = { apiVersion: 'v1', kind: 'Node', name: 'node-1' };
      await admin.ask('POST', `/api/v1/namespaces/${namespace}/pods/${pod}/binding`, {
        apiVersion: 'v1',
        kind: 'Binding',
        metadata: { name: pod },
        target,
      });
    },
    async close() {},
  };
  const admin = adminOf(bare);
  // Without it the pods that are bound to it would be collected.
  await admin.ask('POST', '/api/v1/nodes', { metadata: { name: 'node-1' } });
  for (const resource of ['jobset', 'pytorchjob', 'trainjob', 'rayjob'] as const) {
    const { group, version, plural, title } = KINDS[resource];
    await define(admin, group, version, plural, title);
  }
  await define(admin, 'kueue.x-k8s.io', 'v1beta1', 'workloads', 'Workload');
  const { body } = await admin.ask('GET', '/version');
  const { minor } = z.object({ minor: z.string() }).parse(body);
  return { ...bare, knowsSuspend: Number.parseInt(minor, 10) >= 22 };
}

const times = new Map<string, number[]>();
const report = (step: string, ms: number): void => {
  times.set(step, [...(times.get(step) ?? []), ms]);
};

describe.skipIf(why)(`a real Kubernetes API server${why ? ` (skipped: ${why})` : ''}`, () => {
  describeKubernetes('a halt on Kubernetes', world, report);

  describeOrchestrator('the kubernetes orchestrator', async () => kubernetesFixture(await world()));

  afterAll(() => {
    for (const [step, list] of times) {
      const sorted = [...list].sort((a, b) => a - b);
      const at = (share: number): string => (sorted[Math.floor((sorted.length - 1) * share)] ?? 0).toFixed(1);
      console.log(`${step}: median ${at(0.5)} ms, worst ${at(1)} ms, of ${sorted.length}`);
    }
  });

  test('a credential for one run halts it, and no other', async () => {
    const opened = await world();
    const admin = adminOf(opened);
    const directory = mkdtempSync(join(tmpdir(), 'interlock-kubernetes-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const deps = depsFor(opened, directory);
    const namespace = `one-${Date.now().toString(36)}`;
    await admin.create('/api/v1/namespaces', { metadata: { name: namespace } });
    await bind(admin, namespace, 'rbac-one-run.yaml');
    const { apiVersion, spec } = WORKLOADS.job;
    for (const name of ['run-1', 'run-2']) {
      await admin.create(objectPath('job', namespace), { apiVersion, kind: 'Job', metadata: { name }, spec });
    }
    const stated = { kind: 'kubernetes', cluster: 'training', namespace, resource: 'job' } as const;
    const own = await admitKubernetesRun({ ...stated, name: 'run-1' }, deps, live());
    expect(own).toMatchObject({ ok: true });
    const other = await admitKubernetesRun({ ...stated, name: 'run-2' }, deps, live());
    expect(other).toMatchObject({ ok: false, field: 'namespace' });
    const outcome = (name: string) =>
      createKubernetesOrchestrator({ ...stated, name }, deps).take('suspend', haltMessage(), live());
    expect(await outcome('run-1')).toMatchObject({ kind: 'accepted' });
    expect(await outcome('run-2')).toMatchObject({ kind: 'retry' });
  });
});
