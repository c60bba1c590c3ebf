/**
 * A halt by Ray and by a site's own command, through the whole service: registered over the API, ordered by the red
 * button, confirmed by what the systems themselves say.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { DrillAnswer } from '../../src/http/routes/drills.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { type RayJobsServer, startRayJobsServer } from '../support/ray-jobs-server.ts';

const TOKEN = 'RAYTOKENRAYTOKENRAYTOKEN';

const Halts = z.object({
  items: z.array(
    z.looseObject({
      confirmedAt: z.string().nullable(),
      deliveries: z.array(
        z.looseObject({
          kind: z.string(),
          stoppedAt: z.string().nullable(),
          steps: z.array(z.looseObject({ step: z.string(), acceptedAt: z.string().nullable() })),
        }),
      ),
    }),
  ),
});

const Events = z.object({
  items: z.array(z.object({ kind: z.string(), data: z.record(z.string(), z.unknown()) })),
});

let ray: RayJobsServer;
let site: string;
let interlock: TestInterlock;

beforeAll(async () => {
  ray = await startRayJobsServer();
  ray.requireToken(TOKEN);
  site = mkdtempSync(join(tmpdir(), 'interlock-site-'));
  const script = (name: string, text: string): string => {
    writeFileSync(join(site, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    return join(site, name);
  };
  interlock = await startTestInterlock({
    policies: { one: oneEvaluationPolicy() },
    env: { RAY_TOKEN: TOKEN },
    settings: {
      orchestrators: {
        ray: { enabled: true, clusters: { blue: { url: ray.url, token: 'env:RAY_TOKEN' } } },
        command: {
          enabled: true,
          commands: {
            lab: {
              stop: [script('stop', `cat > "${site}/message"; echo stopped > "${site}/run"`)],
              status: [script('status', `echo "{\\"state\\":\\"$(cat "${site}/run")\\"}"`)],
            },
          },
        },
      },
    },
  });
});
afterAll(async () => {
  await interlock.close();
  await ray.close();
  rmSync(site, { recursive: true });
});
beforeEach(() => writeFileSync(join(site, 'run'), 'running'));

const register = (runId: string, targets: object[]) =>
  interlock.call('POST', '/v1/runs', { as: 'trainer', body: { runId, targets } });

it('rehearses a halt on both, which stops nothing, and stands in the ledger', async () => {
  ray.submit('drilled-1', { metadata: { interlock_run: 'drilled' } });
  const registered = await register('drilled', [
    { kind: 'ray', cluster: 'blue', submissionId: 'drilled-1' },
    { kind: 'command', command: 'lab', run: 'drilled/1' },
    { kind: 'webhook', url: 'http://127.0.0.1:9/halt' },
  ]);
  expect(registered.status).toBe(201);
  const drilled = await interlock.call('POST', '/v1/runs/drilled/drill', { as: 'oncall', body: {} });
  expect(drilled.status).toBe(200);
  const { passed, results } = DrillAnswer.parse(drilled.body);
  expect(results.map(({ targetId, kind, step, outcome }) => [targetId, kind, step, outcome])).toEqual([
    ['t1', 'ray', 'stop', 'passed'],
    ['t2', 'command', 'stop', 'passed'],
    ['t2', 'command', 'kill', 'passed'],
    ['t3', 'webhook', 'webhook', 'failed'],
  ]);
  expect(passed).toBe(false);
  expect(ray.status('drilled-1')).toBe('RUNNING');
  expect(readFileSync(join(site, 'run'), 'utf8')).toContain('running');
  const { body } = await interlock.call('GET', '/v1/runs/drilled/events?limit=200', { as: 'auditor' });
  const kinds = Events.parse(body).items.map(({ kind }) => kind);
  expect(kinds).toContain('DrillHeld');
  expect(kinds).not.toContain('HaltOrdered');
  // Whoever may not is refused before anything is asked.
  expect((await interlock.call('POST', '/v1/runs/drilled/drill', { as: 'trainer', body: {} })).status).toBe(
    403,
  );
});

it('stops a run on both, and is confirmed by what they say of it', async () => {
  ray.submit('gpt-next-7', { metadata: { interlock_run: 'gpt-next' } });
  ray.submit('gpt-next-7-eval', { metadata: { interlock_run: 'gpt-next' }, status: 'PENDING' });
  const registered = await register('gpt-next', [
    { kind: 'ray', cluster: 'blue', submissionId: 'gpt-next-7' },
    { kind: 'command', command: 'lab', run: 'gpt-next/7', parameters: { region: 'north' } },
  ]);
  expect(registered.status).toBe(201);

  const press = await interlock.call('POST', '/v1/runs/gpt-next/halt', {
    as: 'board',
    body: { reason: 'now' },
  });
  expect(press.status).toBe(202);
  const halt = await vi.waitFor(
    async () => {
      const { body } = await interlock.call('GET', '/v1/runs/gpt-next/halts', { as: 'auditor' });
      const [first] = Halts.parse(body).items;
      expect(first?.confirmedAt).toEqual(expect.any(String));
      return first;
    },
    { timeout: 20_000, interval: 50 },
  );
  expect(halt?.deliveries.map(({ kind, stoppedAt }) => [kind, typeof stoppedAt])).toEqual([
    ['ray', 'string'],
    ['command', 'string'],
  ]);
  expect(ray.status('gpt-next-7')).toBe('STOPPED');
  expect(ray.status('gpt-next-7-eval')).toBe('STOPPED');
  expect(JSON.parse(readFileSync(join(site, 'message'), 'utf8'))).toMatchObject({
    step: 'stop',
    runId: 'gpt-next',
    action: 'halt',
    run: 'gpt-next/7',
    parameters: { region: 'north' },
    order: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/),
  });
  expect(interlock.logs.join('\n')).not.toContain(TOKEN);
});

it('stops a run that is started again under another name, pages, and says what it saw', async () => {
  // The run of the test before stands halted, and confirmed.
  ray.submit('gpt-next-8', { metadata: { interlock_run: 'gpt-next' } });
  const reopened = await vi.waitFor(
    async () => {
      const { body } = await interlock.call('GET', '/v1/runs/gpt-next/events?limit=200', { as: 'auditor' });
      const found = Events.parse(body).items.find(({ kind }) => kind === 'HaltReopened');
      expect(found).toBeDefined();
      return found;
    },
    { timeout: 60_000, interval: 200 },
  );
  expect(reopened?.data).toMatchObject({ reason: 'relaunched', targetId: 't1', round: 2 });
  await vi.waitFor(() => expect(ray.status('gpt-next-8')).toBe('STOPPED'), { timeout: 20_000, interval: 50 });
  await vi.waitFor(
    async () => {
      const { body } = await interlock.call('GET', '/v1/runs/gpt-next/halts', { as: 'auditor' });
      expect(Halts.parse(body).items[0]?.confirmedAt).toEqual(expect.any(String));
    },
    { timeout: 20_000, interval: 100 },
  );
  const page = await interlock.call('GET', '/', { as: 'auditor' });
  expect(page.text).toMatch(/It showed life at .* and was halted again: t1: /);
});

it.each<[string, object, string, RegExp]>([
  [
    'a cluster that interlock.yaml does not have',
    { kind: 'ray', cluster: 'red', submissionId: 'x' },
    'targets[0].cluster',
    /there is blue/,
  ],
  [
    'a submission that the cluster does not know',
    { kind: 'ray', cluster: 'blue', submissionId: 'x' },
    'targets[0].submissionId',
    /knows no submission x/,
  ],
  [
    'a command that interlock.yaml does not have',
    { kind: 'command', command: 'yard', run: 'x' },
    'targets[0].command',
    /there is lab/,
  ],
])('refuses a run whose target names %s', async (_name, target, field, reason) => {
  const { status, body } = await register('refused', [target]);
  expect([400, 422]).toContain(status);
  expect(JSON.stringify(body)).toContain(field);
  expect(JSON.stringify(body)).toMatch(reason);
});
