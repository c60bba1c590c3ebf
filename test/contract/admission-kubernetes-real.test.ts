/**
 * examples/kubernetes/admission in front of a real API server and of a real Interlock: what it keeps out, what it lets by,
 * and that nobody gets in where either of them is away. Run by `npm run test:kubernetes` (see orchestrators-kubernetes-real).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { createKubernetesOrchestrator } from '../../src/orchestrators/kubernetes/kubernetes.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import {
  type Admin,
  adminOf,
  depsFor,
  objectPath,
  podsPath,
  WORKLOADS,
} from '../support/kubernetes-world.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { drive, type RunDriver, soon } from '../support/run-driver.ts';
import { selfSigned } from '../support/self-signed.ts';
import { haltMessage, live } from './describe-orchestrator.ts';

const settings = z
  .object({ KUBERNETES_URL: z.string(), KUBERNETES_CA_FILE: z.string(), KUBERNETES_ADMIN_TOKEN: z.string() })
  .safeParse(process.env);
const why = settings.success ? false : 'no KUBERNETES_URL; npm run test:kubernetes starts an API server';

const example = (name: string): string =>
  fileURLToPath(new URL(`../../examples/kubernetes/admission/${name}`, import.meta.url));
const configurationSchema = z.looseObject({
  webhooks: z.tuple([z.looseObject({ failurePolicy: z.literal('Fail'), clientConfig: z.unknown() })]),
});
const CONFIGURATIONS = '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations';
const LABEL = 'interlock/run';

describe.skipIf(why)(`the admission webhook at a real API server${why ? ` (skipped: ${why})` : ''}`, () => {
  const namespace = `gate-${randomBytes(3).toString('hex')}`;
  const configuration = `interlock-may-start-${namespace}`;
  let interlock: TestInterlock;
  let admin: Admin;
  let webhook: ChildProcess;
  let directory: string;
  let count = 0;

  beforeAll(async () => {
    if (!settings.success) return;
    const { KUBERNETES_URL: url, KUBERNETES_CA_FILE: caFile, KUBERNETES_ADMIN_TOKEN: token } = settings.data;
    const ca = readFileSync(caFile, 'utf8');
    directory = mkdtempSync(join(tmpdir(), 'interlock-admission-'));
    admin = adminOf({ url, ca, tokens: { admin: token, watchdog: token, stranger: '' } });
    interlock = await startTestInterlock({ policies: { one: oneEvaluationPolicy() } });
    await admin.create('/api/v1/namespaces', { metadata: { name: namespace } });
    const port = await startWebhook();
    const stated = configurationSchema.parse(parse(readFileSync(example('webhook.yaml'), 'utf8')));
    const [only] = stated.webhooks;
    const caBundle = readFileSync(join(directory, 'tls.crt')).toString('base64');
    await admin.create(CONFIGURATIONS, {
      ...stated,
      metadata: { name: configuration },
      webhooks: [{ ...only, clientConfig: { url: `https://127.0.0.1:${port}/`, caBundle } }],
    });
    // Known to the server a moment later: until then what should be kept out is let in.
    await soon(async () => expect((await create('never-heard-of')).status).toBe(403));
  });
  afterAll(async () => {
    if (!settings.success) return;
    await admin.ask('DELETE', `${CONFIGURATIONS}/${configuration}`);
    await admin.ask('DELETE', `/api/v1/namespaces/${namespace}`);
    await stopWebhook();
    await interlock.close();
    rmSync(directory, { recursive: true });
  });

  async function startWebhook(): Promise<number> {
    const at = (name: string): string => join(directory, name);
    const { key, cert } = selfSigned({ notAfter: new Date(Date.now() + 3_600_000) });
    writeFileSync(at('tls.crt'), cert);
    writeFileSync(at('tls.key'), key);
    writeFileSync(at('token'), `${interlock.tokens['trainer'] ?? ''}\n`);
    const options = {
      url: interlock.url,
      'token-file': at('token'),
      cert: at('tls.crt'),
      key: at('tls.key'),
    };
    const args = Object.entries({ ...options, port: '0', host: '127.0.0.1' });
    webhook = spawn(process.execPath, [
      example('server.mjs'),
      ...args.flatMap(([name, value]) => [`--${name}`, value]),
    ]);
    const [line] = await once(webhook.stdout ?? process.stdin, 'data');
    webhook.stdout?.resume();
    return z.object({ listening: z.number() }).parse(JSON.parse(String(line))).listening;
  }

  async function stopWebhook(): Promise<void> {
    if (webhook.exitCode !== null || webhook.signalCode !== null) return;
    webhook.kill('SIGKILL');
    await once(webhook, 'exit');
  }

  const jobs = objectPath('job', namespace);
  const { apiVersion, spec } = WORKLOADS.job;
  const bare = (name: string, labels: object) => ({ metadata: { name, namespace, labels } });

  function nextName(): string {
    count += 1;
    return `job-${count}`;
  }

  /** A Job of this run; the label is on its pods too, as webhook.yaml asks for. */
  async function create(run: string | null, name = nextName()) {
    const labels = run === null ? {} : { [LABEL]: run };
    const { template, ...rest } = z.looseObject({ template: z.looseObject({}) }).parse(spec);
    const labelled = { ...rest, template: { ...template, metadata: { labels } } };
    const { status, body } = await admin.ask('POST', jobs, {
      apiVersion,
      kind: 'Job',
      ...bare(name, labels),
      spec: labelled,
    });
    return { name, status, text: JSON.stringify(body) };
  }
  const registered = async (): Promise<RunDriver> => {
    const run = drive(interlock, { kind: 'webhook', url: 'http://127.0.0.1:9/' });
    expect((await run.register()).status).toBe(201);
    return run;
  };
  const podsOf = async (name: string) =>
    (await admin.list(podsPath(namespace))).filter(({ metadata }) => metadata.labels?.['job-name'] === name);

  test('lets in a Job, and its pods, whose run may start', async () => {
    const { status, name } = await create((await registered()).runId);
    expect(status).toBe(201);
    await soon(async () => expect(await podsOf(name)).toHaveLength(2));
  });

  test('keeps out a Job and a Pod of a halted run, with the halt in the refusal', async () => {
    const run = await registered();
    const { haltId } = await run.press();
    const job = await create(run.runId);
    expect(job.status).toBe(403);
    expect(job.text).toContain('may-start.interlock.example');
    expect(job.text).toContain(haltId);
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      ...bare('alone', { [LABEL]: run.runId }),
      spec: WORKLOADS.pod.spec,
    };
    expect((await admin.ask('POST', podsPath(namespace), pod)).status).toBe(403);
    expect((await create(null)).status).toBe(201);
  });

  test('a halted run is scaled down and not up, under its own name, another or none', async () => {
    const [run, other] = [await registered(), await registered()];
    const { name } = await create(run.runId);
    await run.press();
    const patch = async (body: object) => (await admin.ask('PATCH', `${jobs}/${name}`, body)).status;
    const up = { parallelism: 3 };
    expect(await patch({ spec: up })).toBe(403);
    expect(await patch({ spec: up, metadata: { labels: { [LABEL]: null } } })).toBe(403);
    expect(await patch({ spec: up, metadata: { labels: { [LABEL]: other.runId } } })).toBe(403);
    expect(await patch({ spec: { parallelism: 0 } })).toBe(200);
  });

  test('is not in the way of a halt of the run that it guards', async () => {
    const run = await registered();
    const { name } = await create(run.runId);
    await soon(async () => expect(await podsOf(name)).toHaveLength(2));
    await run.press();
    if (!settings.success) return;
    const { KUBERNETES_URL: url, KUBERNETES_CA_FILE: caFile, KUBERNETES_ADMIN_TOKEN: token } = settings.data;
    const world = {
      url,
      ca: readFileSync(caFile, 'utf8'),
      tokens: { admin: token, watchdog: token, stranger: '' },
    };
    const target = { kind: 'kubernetes', cluster: 'training', namespace, resource: 'job', name } as const;
    const orchestrator = createKubernetesOrchestrator(target, depsFor(world, directory));
    expect(await orchestrator.take('suspend', haltMessage(), live())).toMatchObject({ kind: 'accepted' });
    await soon(async () => expect(await orchestrator.observe(live())).toMatchObject({ state: 'stopped' }));
  });

  test('a Job of a halted run can be deleted, also where somebody waits for its parts first', async () => {
    const run = await registered();
    const { name } = await create(run.runId);
    await run.press();
    await admin.ask('DELETE', `${jobs}/${name}?propagationPolicy=Foreground`);
    await soon(async () => expect((await admin.ask('GET', `${jobs}/${name}`)).status).toBe(404));
  });

  test('nothing of any run gets in while Interlock is away, and what is of none does', async () => {
    const run = await registered();
    await interlock.stop();
    try {
      const { status, text } = await create(run.runId);
      expect(status).toBe(403);
      expect(text).toContain('cannot be asked');
      expect((await create(null)).status).toBe(201);
    } finally {
      await interlock.start();
    }
    expect((await create(run.runId)).status).toBe(201);
  });

  // The last one: it is not started again.
  test('nothing of any run gets in while the webhook is away, and what is of none does', async () => {
    const run = await registered();
    await stopWebhook();
    const { status, text } = await create(run.runId);
    expect(status).toBe(500);
    expect(text).toContain('failed calling webhook');
    expect((await create(null)).status).toBe(201);
  });
});
