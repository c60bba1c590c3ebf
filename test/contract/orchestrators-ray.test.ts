import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { RayCluster } from '../../src/config/orchestrators-ray.ts';
import { createRayOrchestrator, describeRayRun, type RayDeps } from '../../src/orchestrators/ray.ts';
import type { RayTarget } from '../../src/orchestrators/targets.ts';
import { createOutbound, type Outbound } from '../../src/outbound/outbound.ts';
import { type RayFault, type RayJobsServer, startRayJobsServer } from '../support/ray-jobs-server.ts';
import { describeOrchestrator, does, haltMessage, live } from './describe-orchestrator.ts';

const TOKEN = 'RAYTOKENRAYTOKENRAYTOKEN';
const PROXY_KEY = 'PROXYKEYPROXYKEY';
const target: RayTarget = { kind: 'ray', cluster: 'blue', submissionId: 'gpt-next-7' };
const answer = (status: number, body: string, headers: Record<string, string> = {}): RayFault => ({
  kind: 'answer',
  status,
  body,
  headers,
});
const HTML = `<!doctype html><title>Sign in</title>gpt-next-7 STOPPED does not exist ${TOKEN}`;

describeOrchestrator('the ray orchestrator', async () => {
  const [ray, closed] = await Promise.all([startRayJobsServer(), startRayJobsServer()]);
  for (const one of [ray, closed]) {
    one.submit('gpt-next-7', { metadata: { interlock_run: 'gpt-next' } });
    one.requireToken(TOKEN);
  }
  closed.fail(answer(500, `Traceback <script> ${TOKEN}`));
  const outbound = createOutbound({ allow: ['loopback'] });
  let token = TOKEN;
  const depsOf = ({ url }: RayJobsServer): RayDeps => ({
    clusters: { blue: { url, token: 'env:RAY_TOKEN', headers: { 'x-proxy-key': 'env:PROXY_KEY' } } },
    outbound,
    variable: (reference) => (reference === 'env:RAY_TOKEN' ? token : PROXY_KEY),
  });
  const run = { ...target, run: 'gpt-next' };
  const hostile = (fault: RayFault) => does(() => ray.fail(fault));
  const job = (more: object) => JSON.stringify({ type: 'SUBMISSION', submission_id: 'gpt-next-7', ...more });
  return {
    orchestrator: createRayOrchestrator(run, depsOf(ray)),
    refused: createRayOrchestrator(run, depsOf(closed)),
    secrets: [TOKEN, PROXY_KEY, 'RAYJOBSECRET', 'Traceback'],
    reached: (n) => vi.waitUntil(() => ray.stops.length >= n).then(() => undefined),
    count: () => ray.stops.length,
    close: () => Promise.all([ray.close(), closed.close(), outbound.close()]).then(() => undefined),
    side: {
      end: does(() => ray.set('gpt-next-7', { status: 'SUCCEEDED' })),
      forget: does(() => ray.remove('gpt-next-7')),
      refuse: does(() => ray.readOnly(true)),
      hang: does(() => ray.fail({ kind: 'hang' })),
      lie: does(() => ray.set('gpt-next-7', { stubborn: true })),
      comeBack: does(() => ray.submit('gpt-next-7-again', { metadata: { interlock_run: 'gpt-next' } })),
      keepOne: does(() =>
        ray.submit('eval-side-car', { metadata: { interlock_run: 'gpt-next' }, stubborn: true }),
      ),
      othersGone: () => vi.waitUntil(() => ray.status('gpt-next-7') === 'STOPPED'),
      expire: does(() => ray.requireToken('ANEWTOKENANEWTOKEN')),
      renew: does(() => {
        token = 'ANEWTOKENANEWTOKEN';
      }),
      answers: {
        'a login page': hostile(answer(200, HTML, { 'content-type': 'text/html' })),
        'a login page that is not found': hostile(answer(404, HTML)),
        'a redirect to a login': hostile(answer(302, '', { location: `https://login.test/?t=${TOKEN}` })),
        'a 404 of something in between': hostile(answer(404, '404 page not found')),
        'a traceback': hostile(answer(500, `Traceback (most recent call last): ${TOKEN}`)),
        'an error inside a success': hostile(answer(200, '{"error": "no such cluster", "stopped": "true"}')),
        'an empty success': hostile(answer(200, '')),
        null: hostile(answer(200, 'null')),
        'a list of nulls': hostile(answer(200, '[null]')),
        'an empty list': hostile(answer(200, '[]')),
        'a status that Ray does not have': hostile(answer(200, job({ status: 'CANCELLED' }))),
        'a status in lower case': hostile(answer(200, job({ status: 'stopped' }))),
        'a status that is a number': hostile(answer(200, job({ status: 4 }))),
        'several statuses': hostile(answer(200, job({ status: ['STOPPED'] }))),
        'another job': hostile(answer(200, '{"type":"SUBMISSION","submission_id":"x","status":"STOPPED"}')),
        'the job of old versions': hostile(answer(200, '{"status":"STOPPED","message":"bye"}')),
        'deep JSON': hostile(answer(200, '['.repeat(100_000))),
        'bytes that are no text': hostile(answer(200, '\ud800{"status":"STOPPED"}')),
        'half an answer': hostile(answer(200, '{"stopped": true', { 'content-length': '4000' })),
        'too much': hostile(answer(200, `{"stopped": true, "x": "${'x'.repeat(17 * 2 ** 20)}"}`)),
        'a broken connection': hostile({ kind: 'reset' }),
      },
    },
  };
});

describe('a halt by Ray', () => {
  let ray: RayJobsServer;
  let outbound: Outbound;
  let directory: string;
  beforeEach(async () => {
    ray = await startRayJobsServer();
    outbound = createOutbound({ allow: ['loopback'] });
    directory = mkdtempSync(join(tmpdir(), 'interlock-ray-'));
  });
  afterEach(async () => {
    await Promise.all([ray.close(), outbound.close()]);
    rmSync(directory, { recursive: true });
  });

  const deps = (more: Partial<RayCluster> = {}, variables: Record<string, string> = {}): RayDeps => ({
    clusters: { blue: { url: ray.url, headers: {}, ...more } },
    outbound,
    variable: (reference) => variables[reference],
    requestTimeoutMs: 2_000,
  });
  const make = (more: Partial<RayTarget> = {}, its = deps()) =>
    createRayOrchestrator({ ...target, ...more }, its);
  const take = (more: Partial<RayTarget> = {}, its = deps()) =>
    make(more, its).take('stop', haltMessage(), live());
  const observe = (more: Partial<RayTarget> = {}, its = deps()) => make(more, its).observe(live());

  test('a stop that Ray takes of a job that has just ended brings nothing back, and is no stop of its own', async () => {
    ray.submit('gpt-next-7', { status: 'FAILED', lingering: true });
    expect(await make().take('stop', haltMessage(), live())).toMatchObject({ kind: 'accepted' });
    expect(await make().observe(live())).toMatchObject({
      state: 'stopped',
      detail: expect.stringContaining('is FAILED'),
    });
  });

  test.each([
    ['PENDING', 'running'],
    ['RUNNING', 'running'],
    ['STOPPED', 'stopped'],
    ['SUCCEEDED', 'stopped'],
    ['FAILED', 'stopped'],
  ] as const)('%s is %s', async (status, state) => {
    ray.submit('gpt-next-7', { status });
    expect((await observe()).state).toBe(state);
  });

  test('asks once while it runs, and leaves no connection behind', async () => {
    ray.submit('gpt-next-7');
    await observe();
    expect(ray.requests.map(({ method, path }) => `${method} ${path}`)).toEqual(['GET /api/jobs/gpt-next-7']);
    await vi.waitUntil(() => ray.openConnections() === 0);
  });

  test.each<[string, string, Partial<RayTarget>, Record<string, string> | null, boolean]>([
    ['the same interlock_run', 'other', { run: 'gpt-next' }, { interlock_run: 'gpt-next' }, true],
    ['another interlock_run', 'other', { run: 'gpt-next' }, { interlock_run: 'gpt-nex' }, false],
    ['the same run under another key', 'other', { run: 'gpt-next' }, { run: 'gpt-next' }, false],
    ['no metadata', 'other', { run: 'gpt-next' }, null, false],
    ['metadata where the target knows of none', 'other', {}, { interlock_run: 'gpt-next' }, false],
    ['the prefix', 'gpt-next-8', { submissionPrefix: 'gpt-next-' }, null, true],
    ['another prefix', 'gpt-nexus-8', { submissionPrefix: 'gpt-next-' }, null, false],
    ['an id that only begins like it', 'gpt-next-71', {}, null, false],
  ])('a submission with %s: the run is %5$s', async (_name, id, more, metadata, isRun) => {
    ray.submit('gpt-next-7', { status: 'STOPPED' });
    ray.submit(id, { metadata, status: 'PENDING' });
    expect((await observe(more)).state).toBe(isRun ? 'running' : 'stopped');
    expect(await take(more)).toMatchObject({ kind: 'accepted' });
    await vi.waitUntil(() => !isRun || ray.status(id) === 'STOPPED');
    expect(ray.stops).toEqual(isRun ? ['gpt-next-7', id] : ['gpt-next-7']);
    expect((await observe(more)).state).toBe('stopped');
  });

  test('a driver that nobody submitted is seen, and not called stopped or stoppable', async () => {
    ray.submit('gpt-next-7', { status: 'STOPPED' });
    ray.driver('03000000', { interlock_run: 'gpt-next' });
    expect((await observe({ run: 'gpt-next' })).state).toBe('running');
    expect(await take({ run: 'gpt-next' })).toEqual({
      kind: 'retry',
      detail: expect.stringContaining('stop it by hand'),
    });
  });

  test('a submission whose supervisor has not started takes no stop, and that is no acceptance', async () => {
    ray.submit('gpt-next-7', { status: 'PENDING', unsupervised: true });
    expect(await take()).toEqual({
      kind: 'retry',
      detail: 'submission gpt-next-7 is live, and took no stop',
    });
    ray.set('gpt-next-7', { unsupervised: false });
    expect(await take()).toMatchObject({ kind: 'accepted' });
  });

  test('where the list fails the named submission is stopped all the same, and it is tried again', async () => {
    ray.submit('gpt-next-7');
    ray.fail(answer(500, 'no agent'), /^GET \/api\/jobs\/$/);
    expect(await take()).toEqual({ kind: 'retry', detail: expect.stringContaining('HTTP 500') });
    await vi.waitUntil(() => ray.status('gpt-next-7') === 'STOPPED');
    // And what cannot be ruled out is not ruled out.
    expect(await observe()).toMatchObject({ state: 'unknown' });
  });

  test('a job that was deleted after its end, or lost with the head node, is unknown; submitted again it runs', async () => {
    ray.submit('gpt-next-7', { status: 'STOPPED' });
    expect((await observe()).state).toBe('stopped');
    ray.remove('gpt-next-7');
    expect(await observe()).toEqual({
      state: 'unknown',
      detail: 'the cluster does not know submission gpt-next-7 (any more)',
    });
    ray.submit('gpt-next-7', { status: 'PENDING' });
    expect((await observe()).state).toBe('running');
  });

  test('the state of another job is not that of this one', async () => {
    ray.submit('gpt-next-7', { status: 'STOPPED' });
    const other = '{"type":"SUBMISSION","submission_id":"gpt-next-8","status":"RUNNING"}';
    ray.fail(answer(200, other), /gpt-next-7$/);
    expect(await observe()).toEqual({ state: 'unknown', detail: 'the cluster answered for another job' });
  });

  test('a token in a file counts as it is now; without it nothing is asked and the file is named', async () => {
    ray.submit('gpt-next-7');
    ray.requireToken('first');
    const file = join(directory, 'token');
    const its = deps({ token: file });
    expect(await observe({}, its)).toEqual({
      state: 'unknown',
      detail: `cluster blue: the credential file ${file} cannot be read`,
    });
    expect(ray.requests).toHaveLength(0);
    writeFileSync(file, 'first\n');
    expect((await observe({}, its)).state).toBe('running');
    ray.requireToken('second');
    expect(await observe({}, its)).toMatchObject({
      state: 'unknown',
      detail: expect.stringContaining('403'),
    });
    writeFileSync(file, 'second\n');
    expect((await observe({}, its)).state).toBe('running');
    for (const content of ['', '  \n', 'two\nlines', 'n\u00f6n', 'x'.repeat(20_000)]) {
      writeFileSync(file, content);
      const { state, detail } = await observe({}, its);
      expect(state).toBe('unknown');
      expect(detail).toContain('the credential file');
    }
  });

  test('a variable that is not set is named', async () => {
    expect(await take({}, deps({ headers: { 'x-proxy-key': 'env:PROXY_KEY' } }))).toEqual({
      kind: 'retry',
      detail: 'cluster blue: env:PROXY_KEY is not set',
    });
  });

  test('a cluster that is not allowed is rejected, one that is gone from the configuration too', async () => {
    const strict = createOutbound({ allow: [] });
    expect(await take({}, { ...deps(), outbound: strict })).toEqual({
      kind: 'rejected',
      detail: expect.stringContaining('not in outbound.allow'),
    });
    for (const cluster of ['green', 'constructor']) {
      expect(await take({ cluster })).toMatchObject({ kind: 'rejected' });
      expect(await observe({ cluster })).toMatchObject({ state: 'unknown' });
    }
  });

  test('nobody listening is a retry, and unknown', async () => {
    await ray.close();
    expect(await take()).toEqual({ kind: 'retry', detail: expect.stringContaining('ECONNREFUSED') });
    expect((await observe()).state).toBe('unknown');
  });

  test('a cluster behind a path is asked below it', async () => {
    await observe({}, deps({ url: `${ray.url}/gateway/blue/` }));
    expect(ray.requests[0]?.path).toBe('/gateway/blue/api/jobs/gpt-next-7');
  });

  test('a rehearsal stops nothing, and needs the right to stop, not only to look', async () => {
    ray.submit('gpt-next-7');
    const rehearse = () => make().rehearse?.('stop', haltMessage(), live());
    expect(await rehearse()).toMatchObject({ kind: 'accepted' });
    expect(ray.stops).toEqual([]);
    expect(ray.requests.some(({ method }) => method === 'POST')).toBe(true);
    ray.readOnly(true);
    expect(await rehearse()).toMatchObject({ kind: 'retry', detail: expect.stringContaining('403') });
    ray.readOnly(false);
    ray.remove('gpt-next-7');
    expect(await rehearse()).toMatchObject({ kind: 'rejected' });
    ray.submit('gpt-next-7');
    // Neither what takes a stop of anything, nor what does not let it through, is a cluster that would take this one.
    for (const [status, body] of [
      [200, '{"stopped": true}'],
      [404, 'default backend'],
      [404, HTML],
    ] as const) {
      ray.fail(answer(status, body), /^POST/);
      expect(await rehearse()).toMatchObject({ kind: 'retry' });
    }
  });

  describe('at registration', () => {
    const admit = (more: Partial<RayTarget> = {}) => describeRayRun({ ...target, ...more }, deps());

    test('what the submission says of its run is recorded, and believed over what is stated', async () => {
      ray.submit('gpt-next-7', { metadata: { interlock_run: 'gpt-next' } });
      expect(await admit()).toEqual({ ok: true, target: { ...target, run: 'gpt-next' } });
      expect(await admit({ run: 'gpt-next' })).toMatchObject({ ok: true });
      expect(await admit({ run: 'other' })).toMatchObject({ ok: false, field: 'run' });
      ray.submit('gpt-next-7');
      expect(await admit()).toEqual({ ok: true, target });
    });

    test.each<[string, Partial<RayTarget>, () => void, string, RegExp]>([
      ['a cluster that is not there', { cluster: 'red' }, () => undefined, 'cluster', /there is blue$/],
      ['a submission that is not there', {}, () => undefined, 'submissionId', /knows no submission/],
      [
        'one that has ended',
        {},
        () => ray.submit('gpt-next-7', { status: 'FAILED' }),
        'submissionId',
        /FAILED/,
      ],
      [
        'a driver',
        { submissionId: '03000000' },
        () => ray.driver('03000000', {}),
        'submissionId',
        /by the Jobs API/,
      ],
      [
        "the id of its driver, under which Ray knows it too, and that only of the driver's last start",
        { submissionId: '01000000' },
        () => ray.submit('gpt-next-7'),
        'submissionId',
        /must be the submission id/,
      ],
      [
        'a prefix of another run',
        { submissionPrefix: 'other-' },
        () => ray.submit('gpt-next-7'),
        'submissionPrefix',
        /beginning of submissionId/,
      ],
      ['a cluster that is down', {}, () => ray.fail(answer(502, HTML)), 'cluster', /HTTP 502$/],
    ])('%s is refused', async (_name, more, arrange, field, reason) => {
      arrange();
      expect(await admit(more)).toEqual({ ok: false, field, reason: expect.stringMatching(reason) });
    });
  });
});
