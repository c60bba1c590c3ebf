/**
 * Every route of the OpenAPI document against anything at all (X31): requests that would be taken, spoilt in a few
 * places, and JSON out of nothing, by callers with and without the role. Whatever is asked, the answer is one that the
 * contract knows and never a fault of ours; what is refused moves nothing; the service answers others meanwhile.
 * What may be taken as it stands (a free text, another compute) goes to runs of its own.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { Problem } from '../../src/http/problem.ts';
import { cases, evil, spoilt, textOf } from '../support/fuzz.ts';
import { type HostileScene, startHostileScene } from '../support/hostile-scene.ts';
import { drive, expectSoundLedger, type RunDriver } from '../support/run-driver.ts';

let scene: HostileScene;
/** What the fuzzing may really move. */
let toy: RunDriver;
let toyHalt = '';

beforeAll(async () => {
  scene = await startHostileScene();
  toy = await scene.registered();
  const halted = await scene.registered();
  toyHalt = (await halted.press()).haltId;
});
afterAll(() => scene?.close());

const BODIES: Readonly<Record<string, { as: string; body: () => Record<string, unknown> }>> = {
  'POST /v1/runs': {
    as: 'trainer',
    body: () => ({
      runId: toy.runId,
      title: 't',
      initialCompute: '1e20',
      parents: ['p'],
      sources: ['trainer'],
      targets: [scene.target()],
      labels: { a: 'b' },
    }),
  },
  'POST /v1/checkpoints': {
    as: 'trainer',
    body: () => ({
      runId: toy.runId,
      checkpointId: 'c',
      effectiveCompute: '1e21',
      step: 1,
      modelUri: 's3://b/c',
      endpoint: 'https://m.example/',
      metadata: { a: [1] },
      evaluate: false,
    }),
  },
  'POST /v1/runs/{run}/heartbeat': {
    as: 'trainer',
    body: () => ({ effectiveCompute: '1e21', step: 1, nonce: 'n' }),
  },
  'POST /v1/runs/{run}/breakthroughs': {
    as: 'operator',
    body: () => ({ breakthroughId: 'b1', reason: 'a scaffold', efficiencyMultiplier: 2 }),
  },
  'POST /v1/runs/{run}/arm': { as: 'operator', body: () => ({}) },
  'POST /v1/runs/{run}/finish': { as: 'nobody', body: () => ({}) },
  'POST /v1/runs/{run}/halt': {
    as: 'leadership',
    body: () => ({ reason: 'r', action: 'halt', group: 'leadership' }),
  },
  // The button for all runs would reach the quiet one.
  'POST /v1/halt': { as: 'trainer', body: () => ({ reason: 'r' }) },
  'POST /v1/halts/{halt}/ack': {
    as: 'trainer',
    body: () => ({ state: 'received', at: '2026-01-01T00:00:00Z' }),
  },
  'POST /v1/halts/{halt}/isolation/{step}': {
    as: 'oncall',
    body: () => ({ state: 'isolated', detail: 'd' }),
  },
  'POST /v1/runs/{run}/work-permit': {
    as: 'evaluator',
    body: () => ({ purpose: 'evaluation', nonce: 'n' }),
  },
  'POST /v1/runs/{run}/proposals': {
    as: 'operator',
    body: () => ({
      kind: 'resume',
      haltId: toyHalt,
      terms: { ceiling: '1e22', levels: { a: 3 } },
      rationale: 'r',
    }),
  },
  'POST /v1/runs/{run}/sign-offs': {
    as: 'leadership',
    body: () => ({ ...scene.proposal, decision: 'dissent', group: 'leadership', justification: 'j' }),
  },
  'POST /v1/runs/{run}/estimate-rounds': {
    as: 'evaluator',
    body: () => ({
      category: 'cybersecurity',
      stage: 'pre-mitigation',
      level: 3.5,
      closesAt: '2030-01-01T00:00:00Z',
    }),
  },
  'POST /v1/runs/{run}/estimate-rounds/{round}/close': { as: 'evaluator', body: () => ({}) },
  'POST /v1/runs/{run}/estimate-rounds/{round}/second': {
    as: 'leadership',
    body: () => ({ closesAt: '2030-01-01T00:00:00Z' }),
  },
  'POST /v1/runs/{run}/estimates': {
    as: 'evaluator',
    body: () => ({
      roundId: 'round_none',
      probability: 0.1,
      quantiles: [{ p: 0.5, level: 2 }],
      rationale: 'r',
    }),
  },
  'POST /v1/evaluations/{evaluation}/result': {
    as: 'evaluator',
    body: () => ({
      status: 'success',
      score: 0.1,
      n: 400,
      metrics: { a: { value: 1 } },
      startedAt: '2026-01-01T00:00:00Z',
    }),
  },
  'POST /v1/runs/{run}/outside-evaluators': {
    as: 'operator',
    body: () => ({
      identity: 'institute',
      checkpoints: 'all',
      compute: true,
      expires: '2030-01-01T00:00:00Z',
    }),
  },
  'POST /v1/runs/{run}/outside-results': {
    as: 'institute',
    body: () => ({ evaluationId: 'ev_none', attempt: 1, result: { status: 'success', score: 0.1, n: 400 } }),
  },
  'POST /v1/runs/{run}/outside-findings': {
    as: 'institute',
    body: () => ({
      runId: toy.runId,
      findingId: 'f',
      severity: 'low',
      title: 't',
      text: 'x',
      hazardous: false,
    }),
  },
  'POST /v1/evidence/{digest}/release': {
    as: 'leadership',
    body: () => ({ group: 'leadership', justification: 'j' }),
  },
  'POST /v1/evidence/{digest}/release/approval': {
    as: 'leadership',
    body: () => ({ group: 'leadership', justification: 'j' }),
  },
  'POST /v1/evaluations/{evaluation}/retry': { as: 'operator', body: () => ({}) },
};

const OpenApi = z.object({
  paths: z.record(
    z.string(),
    z.record(z.string(), z.object({ responses: z.record(z.string(), z.unknown()) })),
  ),
});

it('X31 every route answers anything with an answer of its contract, and a refusal moves nothing', async () => {
  const { paths } = OpenApi.parse((await scene.interlock.call('GET', '/openapi.json')).body);
  const routes = Object.entries(paths)
    .flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, { responses }]) => ({
        method: method.toUpperCase(),
        path,
        responses,
      })),
    )
    .filter(({ path }) => !path.endsWith('/stream'));
  expect(routes.length).toBeGreaterThan(25);
  const segment = fc.oneof(
    { weight: 4, arbitrary: fc.constant<string | null>(null) },
    {
      weight: 1,
      arbitrary: fc
        .oneof(evil.map(textOf), fc.string({ unit: 'binary', maxLength: 20 }))
        .map((text) => encodeURIComponent(text.toWellFormed()).slice(0, 600)),
    },
  );
  const request = fc.constantFrom(...routes).chain((route) => {
    const known = BODIES[`${route.method} ${route.path}`];
    const body =
      known === undefined
        ? fc.constant(null)
        : fc.oneof(
            { weight: 5, arbitrary: fc.constant(null).chain(() => spoilt(known.body())) },
            { weight: 1, arbitrary: evil },
          );
    return fc.record({
      route: fc.constant(route),
      as: fc.constantFrom(known?.as ?? 'auditor', known?.as ?? 'auditor', 'nobody', 'auditor'),
      body,
      segment,
      query: fc.oneof(
        { weight: 4, arbitrary: fc.constant('') },
        {
          weight: 1,
          arbitrary: fc
            .tuple(fc.constantFrom('limit', 'cursor', 'after', 'attempt', 'x', '__proto__'), evil)
            .map(
              ([name, value]) => `?${name}=${encodeURIComponent(textOf(value).toWellFormed().slice(0, 200))}`,
            ),
        },
      ),
      correlation: fc.oneof(fc.constant('plain-and-long'), fc.stringMatching(/^[\x20-\x7e]{0,80}$/)),
    });
  });
  const before = await scene.facts();
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  let asked = 0;
  const from = process.cpuUsage();
  await fc.assert(
    fc.asyncProperty(request, async ({ route, as, body, segment: odd, query, correlation }) => {
      asked += 1;
      const path = route.path
        .replace('{run}', odd ?? toy.runId)
        .replace('{checkpoint}', odd ?? 'c')
        .replace('{round}', odd ?? 'round_none')
        .replace('{proposal}', odd ?? scene.proposal.proposalId)
        .replace('{halt}', odd ?? toyHalt)
        .replace('{evaluation}', odd ?? 'ev_of_nobody');
      const needed = path.endsWith('/result') && query === '' ? '?attempt=1' : query;
      const sent = await scene.interlock.call(route.method, `${path}${needed}`, {
        as,
        ...(route.method === 'POST' ? { raw: JSON.stringify(body) ?? '' } : {}),
        headers: { 'x-correlation-id': correlation.trim() },
      });
      const what = `${route.method} ${path}${needed} ${JSON.stringify(body)} -> ${sent.status} ${sent.text}`;
      expect(sent.status, what).toBeLessThan(500);
      if (sent.status >= 400) {
        expect(sent.headers.get('content-type'), what).toContain('application/problem+json');
        const problem = Problem.parse(sent.body);
        expect(problem.status, what).toBe(sent.status);
        if (problem.status === 422) expect(problem.errors?.length ?? 0, what).toBeGreaterThan(0);
        // What was sent is not said again, but for ids of a plain form.
        expect(sent.text, what).not.toMatch(/<script>|OR 1=1|\$\(id\)/);
      } else expect(Object.keys(route.responses), what).toContain(String(sent.status));
    }),
    { ...cases(0.1), endOnFailure: true },
  );
  delay.disable();
  const { user, system } = process.cpuUsage(from);
  console.log(
    `${asked} requests, ${((user + system) / 1000 / asked).toFixed(1)} ms of processor each (client and service), event loop late by at most ${Math.round(delay.max / 1e6)} ms`,
  );
  expect(await scene.facts()).toEqual(before);
  await scene.alive();
  expect((await drive(scene.interlock, null, scene.quiet.runId).show()).status).toBe('training');
  await expectSoundLedger(scene.interlock);
});
