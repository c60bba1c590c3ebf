/**
 * What the API refuses, over every route that it states in its own OpenAPI document: a 4xx problem document that
 * names the field, nothing written to any run, and a process that lives. Ids in names are those of the table of
 * hostile inputs.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { generateToken } from '../../src/config/credentials.ts';
import { Problem } from '../../src/http/problem.ts';
import { signWebhook, WebhookSecret } from '../../src/signing/standard-webhooks.ts';
import { score, testPolicy, writeEvaluator, writeModel } from '../support/evaluation-policy.ts';
import { type Receiver, startReceiver } from '../support/evaluation-service.ts';
import { type CallOptions, type Sent, startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { answered, drive, expectSoundLedger, Halts, type RunDriver, soon } from '../support/run-driver.ts';

let interlock: TestInterlock;
let trainer: Receiver;
/** A quiet run with a cleared checkpoint and one evaluation that nobody has answered; and a halted one. */
let quiet: RunDriver;
let halted: RunDriver;
let evaluationId = '';
let haltId = '';
let proposal = { proposalId: '', digest: '' };

beforeAll(async () => {
  trainer = await startReceiver(() => interlock.webhookSecrets['trainer'] ?? '');
  interlock = await startTestInterlock({
    policies: { main: testPolicy({ silentDebate: true, heartbeatInterval: '1h' }) },
    identities: [
      { id: 'institute', roles: ['outside-evaluator'] },
      { id: 'stranger', roles: ['trainer'] },
      { id: 'everywhere', groups: ['leadership', 'safety-advisory', 'board'] },
      { id: 'nobody' },
    ],
  });
  await writeEvaluator(interlock.directory);
  quiet = await registered();
  const ids = await quiet.report('c1', '1e21', await weights());
  evaluationId = ids['debate'] ?? '';
  await quiet.event('EvaluationReported');
  halted = await registered();
  haltId = (await halted.press()).haltId;
  await halted.event('HaltStepTaken');
  const body = { kind: 'resume', haltId, rationale: 'mitigated' };
  const proposed = await interlock.call('POST', `/v1/runs/${halted.runId}/proposals`, {
    as: 'operator',
    body,
  });
  proposal = z.object({ proposalId: z.string(), digest: z.string() }).parse(proposed.body);
});

afterAll(async () => {
  await interlock?.close();
  await trainer?.close();
});

const target = () => ({ kind: 'webhook', url: `${trainer.url}/halt` });
const weights = () => writeModel(interlock.models, 'harmless', { result: score(0.1) });

async function registered(body: Record<string, unknown> = {}): Promise<RunDriver> {
  const run = drive(interlock, target());
  const sent = await run.register(body);
  expect(sent.status, sent.text).toBe(201);
  return run;
}

/** Everything about runs that a refused request must leave as it is; deliveries go on by themselves. */
async function facts(): Promise<unknown> {
  const streams = await interlock.withStore(({ database: { pool } }) =>
    pool.query(
      `SELECT stream, kind, count(*)::int AS count FROM ledger_event
       WHERE stream <> 'security' AND kind NOT IN ('HaltStepTaken', 'HaltEscalated') GROUP BY 1, 2 ORDER BY 1, 2`,
    ),
  );
  return streams.rows;
}

async function alive(): Promise<void> {
  expect((await interlock.call('GET', '/healthz')).status).toBe(200);
  const ready = await interlock.call('GET', '/readyz');
  expect(ready.status, ready.text).toBe(200);
}

function refused(sent: Sent, status: number | readonly number[], what: string): z.output<typeof Problem> {
  const expected = typeof status === 'number' ? [status] : status;
  expect(expected, `${what}: ${sent.status} ${sent.text}`).toContain(sent.status);
  expect(sent.headers.get('content-type'), what).toContain('application/problem+json');
  return Problem.parse(sent.body);
}

const named = (problem: z.output<typeof Problem>): string[] => (problem.errors ?? []).map(({ path }) => path);

// --- every route ---------------------------------------------------------------------------------------

interface Example {
  path: () => string;
  as?: string;
  /** An identity without the role; left out where any identity may. */
  not?: string;
  body?: () => Record<string, unknown>;
  /** Fields that every wrong value must be refused in, naming them. */
}

/** A request to each route that would be taken, to be spoilt in every way. */
const EXAMPLES: Readonly<Record<string, Example>> = {
  'POST /v1/runs': {
    path: () => '/v1/runs',
    as: 'trainer',
    not: 'auditor',
    body: () => ({
      runId: `never-${randomBytes(4).toString('hex')}`,
      title: 'x',
      initialCompute: '1e20',
      parents: ['p'],
      sources: ['trainer'],
      targets: [target()],
      labels: { a: 'b' },
    }),
  },
  'POST /v1/checkpoints': {
    path: () => '/v1/checkpoints',
    as: 'trainer',
    not: 'evaluator',
    body: () => ({
      runId: quiet.runId,
      checkpointId: 'never',
      effectiveCompute: '1.5e21',
      step: 7,
      modelUri: 's3://bucket/c',
      endpoint: 'https://models.example/c',
      metadata: { a: 1 },
      evaluate: true,
    }),
  },
  'POST /v1/runs/{run}/heartbeat': {
    path: () => `/v1/runs/${quiet.runId}/heartbeat`,
    as: 'trainer',
    not: 'operator',
    body: () => ({ effectiveCompute: '1e21', step: 1, nonce: 'n' }),
  },
  'POST /v1/runs/{run}/finish': {
    path: () => `/v1/runs/${quiet.runId}/finish`,
    as: 'trainer',
    not: 'board',
    body: () => ({}),
  },
  'POST /v1/runs/{run}/halt': {
    path: () => `/v1/runs/${quiet.runId}/halt`,
    as: 'leadership',
    not: 'trainer',
    body: () => ({ reason: 'r', action: 'halt', group: 'leadership' }),
  },
  'POST /v1/halt': {
    path: () => '/v1/halt',
    as: 'leadership',
    not: 'operator',
    body: () => ({ reason: 'r', action: 'halt', group: 'leadership' }),
  },
  'POST /v1/ledger/accept-restore': {
    path: () => '/v1/ledger/accept-restore',
    as: 'operator',
    not: 'leadership',
    body: () => ({ reason: 'r' }),
  },
  'POST /v1/halts/{halt}/ack': {
    path: () => `/v1/halts/${haltId}/ack`,
    as: 'trainer',
    not: 'leadership',
    body: () => ({ state: 'received', at: '2026-01-01T00:00:00Z' }),
  },
  'POST /v1/runs/{run}/drill': {
    path: () => `/v1/runs/${quiet.runId}/drill`,
    as: 'oncall',
    not: 'trainer',
    body: () => ({ reason: 'r' }),
  },
  'POST /v1/runs/{run}/breakthroughs': {
    path: () => `/v1/runs/${quiet.runId}/breakthroughs`,
    as: 'operator',
    not: 'auditor',
    body: () => ({
      breakthroughId: `b-${randomBytes(4).toString('hex')}`,
      reason: 'a scaffold',
    }),
  },
  'POST /v1/runs/{run}/arm': {
    path: () => `/v1/runs/${quiet.runId}/arm`,
    as: 'operator',
    not: 'trainer',
    body: () => ({}),
  },
  'POST /v1/runs/{run}/proposals': {
    path: () => `/v1/runs/${halted.runId}/proposals`,
    as: 'operator',
    not: 'trainer',
    body: () => ({ kind: 'resume', haltId, terms: {}, rationale: 'r' }),
  },
  'POST /v1/runs/{run}/sign-offs': {
    path: () => `/v1/runs/${halted.runId}/sign-offs`,
    as: 'leadership',
    not: 'operator',
    body: () => ({ ...proposal, decision: 'dissent', group: 'leadership', justification: 'j' }),
  },
  'POST /v1/runs/{run}/estimate-rounds': {
    path: () => `/v1/runs/${quiet.runId}/estimate-rounds`,
    as: 'evaluator',
    not: 'trainer',
    body: () => ({
      category: 'cybersecurity',
      stage: 'pre-mitigation',
      level: 'critical',
      closesAt: new Date(Date.now() + 3_600_000).toISOString(),
    }),
  },
  'POST /v1/runs/{run}/estimate-rounds/{round}/close': {
    path: () => `/v1/runs/${quiet.runId}/estimate-rounds/round_none/close`,
    as: 'evaluator',
    not: 'operator',
    body: () => ({}),
  },
  'POST /v1/runs/{run}/estimate-rounds/{round}/second': {
    path: () => `/v1/runs/${quiet.runId}/estimate-rounds/round_none/second`,
    as: 'leadership',
    not: 'auditor',
    body: () => ({ closesAt: '2030-01-01T00:00:00Z' }),
  },
  'POST /v1/runs/{run}/estimates': {
    path: () => `/v1/runs/${quiet.runId}/estimates`,
    as: 'evaluator',
    not: 'trainer',
    body: () => ({
      roundId: 'round_none',
      probability: 0.1,
      quantiles: [{ p: 0.5, level: 2 }],
      rationale: 'r',
    }),
  },
  'POST /v1/halts/{halt}/isolation/{step}': {
    path: () => `/v1/halts/${haltId}/isolation/lock-weights`,
    as: 'oncall',
    not: 'trainer',
    body: () => ({ state: 'isolated', detail: 'by hand' }),
  },
  'POST /v1/runs/{run}/work-permit': {
    path: () => `/v1/runs/${quiet.runId}/work-permit`,
    as: 'evaluator',
    not: 'auditor',
    body: () => ({ purpose: 'evaluation', nonce: 'n' }),
  },
  'POST /v1/evaluations/{evaluation}/result': {
    path: () => `/v1/evaluations/${evaluationId}/result?attempt=1`,
    as: 'evaluator',
    not: 'trainer',
    body: () => ({
      ...score(0.1),
      stderr: 0.01,
      metrics: { a: { value: 1 } },
      model: 'm',
      startedAt: '2026-01-01T00:00:00Z',
      transcriptUri: 's3://t/1',
    }),
  },
  'POST /v1/evaluations/{evaluation}/retry': {
    path: () => `/v1/evaluations/${evaluationId}/retry`,
    as: 'operator',
    not: 'trainer',
    body: () => ({}),
  },
  'POST /v1/runs/{run}/outside-evaluators': {
    path: () => `/v1/runs/${quiet.runId}/outside-evaluators`,
    as: 'operator',
    not: 'trainer',
    body: () => ({
      identity: 'institute',
      checkpoints: 'all',
      endpoint: 'https://model.example/v1',
      compute: true,
      expires: '2030-01-01T00:00:00Z',
    }),
  },
  'GET /v1/runs/{run}/outside': {
    path: () => `/v1/runs/${quiet.runId}/outside`,
    as: 'institute',
    not: 'auditor',
  },
  'POST /v1/runs/{run}/outside-results': {
    path: () => `/v1/runs/${quiet.runId}/outside-results`,
    as: 'institute',
    not: 'evaluator',
    body: () => ({ evaluationId, attempt: 1, result: score(0.1) }),
  },
  'POST /v1/runs/{run}/outside-findings': {
    path: () => `/v1/runs/${quiet.runId}/outside-findings`,
    as: 'institute',
    not: 'evaluator',
    body: () => ({
      runId: quiet.runId,
      findingId: 'f1',
      checkpointId: 'c1',
      category: 'cybersecurity',
      severity: 'low',
      title: 't',
      text: 'x',
      evidenceUri: 's3://b/k',
      hazardous: true,
    }),
  },
  'GET /v1/evidence/{digest}': {
    path: () => `/v1/evidence/${'0'.repeat(64)}`,
    as: 'auditor',
    not: 'trainer',
  },
  'POST /v1/evidence/{digest}/release': {
    path: () => `/v1/evidence/${'0'.repeat(64)}/release`,
    as: 'board',
    not: 'trainer',
    body: () => ({ group: 'board', justification: 'j' }),
  },
  'POST /v1/evidence/{digest}/release/approval': {
    path: () => `/v1/evidence/${'0'.repeat(64)}/release/approval`,
    as: 'board',
    not: 'trainer',
    body: () => ({ group: 'board', justification: 'j' }),
  },
  'GET /v1/ledger': { path: () => '/v1/ledger', as: 'auditor', not: 'trainer' },
};

/** Routes that are read by any identity: the path alone says what they need. */
const example = (route: string): Example => {
  const known = EXAMPLES[route];
  if (known !== undefined) return known;
  const [method, path = ''] = route.split(' ');
  if (method !== 'GET') throw new Error(`${route} has no example here: add one`);
  return {
    path: () =>
      path
        .replace('{run}', quiet.runId)
        .replace('{checkpoint}', 'c1')
        .replace('{round}', 'round_none')
        .replace('{proposal}', proposal.proposalId),
    as: 'auditor',
  };
};

const OpenApi = z.object({
  paths: z.record(
    z.string(),
    z.record(z.string(), z.object({ security: z.array(z.record(z.string(), z.array(z.string()))) })),
  ),
});

async function statedRoutes(): Promise<{ route: string; isOpen: boolean }[]> {
  const { paths } = answered(await interlock.call('GET', '/openapi.json'), 200, OpenApi);
  // The forms of the status page take no JSON; what they refuse is in access.test.ts.
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(() => !/^\/sign-(in|out)$/.test(path))
      .map(([method, { security }]) => ({
        route: `${method.toUpperCase()} ${path}`,
        isOpen: security.length === 0,
      })),
  );
}

const WRONG: readonly unknown[] = [
  null,
  12.5,
  -1,
  '',
  [],
  {},
  [[]],
  true,
  '\u0000',
  '\ud800',
  'x'.repeat(5000),
];

describe('every route of the contract', () => {
  it('refuses callers it does not know, and callers without the role', async () => {
    const before = await facts();
    for (const { route, isOpen } of await statedRoutes()) {
      if (isOpen) continue;
      const { path, not, body } = example(route);
      const method = route.split(' ')[0] ?? '';
      const send = (options: CallOptions, at = path()) =>
        interlock.call(method, at, { ...(body === undefined ? {} : { body: body() }), ...options });
      const anonymous = await send({});
      refused(anonymous, 401, `${route} without a credential`);
      expect(anonymous.headers.get('www-authenticate'), route).toMatch(/^Bearer/);
      refused(
        await send({ headers: { authorization: `Bearer ${generateToken()}` } }),
        401,
        `${route} with a bad token`,
      );
      refused(await send({ headers: { authorization: 'Bearer x' } }), 401, `${route} with no token at all`);
      const inUrl = `${path()}${path().includes('?') ? '&' : '?'}access_token=${interlock.tokens['operator']}`;
      refused(await send({}, inUrl), [400, 401], `${route} with its token in the URL`);
      if (not !== undefined) refused(await send({ as: not }), 403, `${route} as ${not}`);
      if (not !== undefined) refused(await send({ as: 'nobody' }), 403, `${route} as nobody`);
      if (body === undefined) continue;
      const raw = Buffer.from(JSON.stringify(body()));
      const forged = { id: 'msg_forged', timestamp: new Date(), body: raw };
      const secrets = [WebhookSecret.parse(`whsec_${randomBytes(32).toString('base64')}`)];
      const headers = { ...signWebhook({ ...forged, secrets }) };
      refused(await interlock.call(method, path(), { raw, headers }), 401, `${route} with a bad signature`);
    }
    expect(await facts()).toEqual(before);
    await alive();
  });

  it('A05 A07 A08 C01 C16 C17 C21 C24 refuses bodies that are no answer to its schema, naming the field', async () => {
    const before = await facts();
    for (const { route } of await statedRoutes()) {
      const { path, as, body } = example(route);
      if (body === undefined) continue;
      const identity = as === undefined ? {} : { as };
      const post = (options: CallOptions) => interlock.call('POST', path(), { ...identity, ...options });
      const text = JSON.stringify(body());

      refused(await post({ raw: text, headers: { 'content-type': 'text/plain' } }), 415, `A07 ${route}`);
      for (const type of [
        'application/json garbage',
        'application/json; charset=utf-16',
        'application/jsonx',
      ]) {
        refused(await post({ raw: text, headers: { 'content-type': type } }), 415, `A08 ${route} ${type}`);
      }
      refused(await post({ raw: text, headers: { 'content-encoding': 'gzip' } }), 415, `${route} compressed`);
      for (const raw of [
        'null',
        '[]',
        '"x"',
        '7',
        '',
        '{',
        `${text}}`,
        `${text} {}`,
        '{"a":1e999}',
        '\ufeff{}',
      ]) {
        refused(await post({ raw }), [400, 422], `C24 ${route} ${raw.slice(0, 20)}`);
      }
      const doubled = text === '{}' ? '{"a":1,"a":2}' : text.replace(/^\{("[^"]+":)/, '{$1null,$1');
      refused(await post({ raw: doubled }), 400, `C01 ${route}`);
      refused(
        await post({ raw: `{"a":${'['.repeat(30_000)}${']'.repeat(30_000)}}` }),
        [400, 413],
        `C16 ${route}`,
      );
      refused(
        await post({ raw: Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]) }),
        400,
        `${route} not UTF-8`,
      );
      refused(await post({ raw: `{"a":"${'x'.repeat(300 * 1024)}"}` }), 413, `A05 ${route}`);

      const unknown = refused(await post({ body: { ...body(), unexpected: 1 } }), 422, `C17 ${route}`);
      expect(named(unknown), `C17 ${route}`).toContain('unexpected');
      const proto = refused(
        await post({ raw: `${text === '{}' ? '{' : `${text.slice(0, -1)},`}"__proto__":{"a":1}}` }),
        [400, 422],
        `${route} __proto__`,
      );
      expect(proto.status).toBeGreaterThanOrEqual(400);

      for (const field of Object.keys(body())) {
        for (const wrong of WRONG) {
          const spoilt = { ...body(), [field]: wrong };
          if (isTakenAsItIs(route, field, wrong)) continue;
          const sent = await post({ body: spoilt });
          const what = `${route} with ${field} = ${JSON.stringify(wrong).slice(0, 30)}`;
          const problem = refused(sent, [400, 422], what);
          if (problem.status === 422) {
            expect(named(problem).join(' '), what).toMatch(new RegExp(`^${field}\\b|\\b${field}\\b`));
          }
        }
      }
      for (const field of required(route)) {
        const { [field]: _, ...rest } = body();
        expect(named(refused(await post({ body: rest }), 422, `${route} without ${field}`)), route).toContain(
          field,
        );
      }
    }
    expect(await facts()).toEqual(before);
    await alive();
  });

  it('A10 refuses what is no part of a route: other methods, unknown query keys, bodies of reads, ids that are none', async () => {
    const before = await facts();
    for (const { route, isOpen } of await statedRoutes()) {
      const { path, as, body } = example(route);
      const method = route.split(' ')[0] ?? '';
      const identity = as === undefined || isOpen ? {} : { as };
      const content = body === undefined ? {} : { body: body() };
      for (const other of ['PUT', 'DELETE', 'PATCH']) {
        refused(await interlock.call(other, path(), identity), [404, 405], `${other} ${path()}`);
      }
      const extra = `${path()}${path().includes('?') ? '&' : '?'}unexpected=1`;
      if (route !== 'GET /') {
        const problem = refused(await interlock.call(method, extra, { ...identity, ...content }), 422, extra);
        expect(named(problem), route).toEqual(['query.unexpected']);
      }
      for (const id of ['..%2f..%2fetc', 'a%20b', '%00', 'x'.repeat(129), '$(x)', '-x']) {
        const spoilt = path().replace(/(run-[0-9a-f]{10}|ev_[a-z2-7]+|halt_[a-z2-7]+)/, id);
        if (spoilt === path()) continue;
        refused(
          await interlock.call(method, spoilt, { ...identity, ...content }),
          [400, 404, 414, 422],
          `C20 ${spoilt}`,
        );
      }
    }
    for (const limit of ['0', '201', 'x', '1.5', '-1', '1e3', '']) {
      const sent = await interlock.call('GET', `/v1/runs?limit=${limit}`, { as: 'auditor' });
      expect(named(refused(sent, 422, `limit=${limit}`))).toEqual(['query.limit']);
    }
    for (const cursor of ['x', '-1', '9999999999999999', '99999999999999999', "1'--"]) {
      for (const list of ['/v1/runs', `/v1/runs/${quiet.runId}/events`, `/v1/runs/${quiet.runId}/halts`]) {
        const sent = await interlock.call('GET', `${list}?cursor=${cursor}`, { as: 'auditor' });
        expect(named(refused(sent, 422, `${list}?cursor=${cursor}`))).toEqual(['query.cursor']);
      }
    }
    for (const id of ['x', '1.5', '9999999999999999999', 'a b', '1\u00e9']) {
      const sent = await interlock.call('GET', '/v1/stream', {
        as: 'auditor',
        headers: { 'last-event-id': id },
      });
      refused(sent, 400, `Last-Event-ID ${id}`);
    }
    expect(await facts()).toEqual(before);
    await alive();
  });
});

/** Wrong for most fields, and right for a few. */
function isTakenAsItIs(route: string, field: string, wrong: unknown): boolean {
  const isFreeText = ['title', 'reason', 'rationale', 'justification'].includes(field);
  if (isFreeText && typeof wrong === 'string')
    return wrong.length < 100 && wrong !== '' && wrong !== '\u0000' && wrong !== '\ud800';
  // Harnesses state what they do not have in many ways, and at length: shape is refused sparingly there.
  if (route.endsWith('/result') && field !== 'status') {
    if (wrong === null) return true;
    if (typeof wrong === 'string' && wrong !== '\u0000' && wrong !== '\ud800')
      return field !== 'startedAt' && field !== 'metrics';
  }
  if (['parents', 'quantiles'].includes(field)) return Array.isArray(wrong) && wrong.length === 0;
  if (['labels', 'metadata', 'terms', 'metrics'].includes(field)) {
    return typeof wrong === 'object' && wrong !== null && !Array.isArray(wrong);
  }
  if (['evaluate', 'compute', 'hazardous'].includes(field)) return wrong === true;
  // Words, at length.
  if (field === 'text') return typeof wrong === 'string' && wrong.length > 1;
  if (['initialCompute', 'effectiveCompute'].includes(field)) return wrong === 12.5;
  // Numbers that a policy judges rather than a schema: recorded as inconclusive.
  return ['score', 'n', 'stderr'].includes(field);
}

function required(route: string): string[] {
  const fields: Readonly<Record<string, string[]>> = {
    'POST /v1/runs': ['runId', 'targets'],
    'POST /v1/checkpoints': ['runId', 'checkpointId', 'effectiveCompute', 'modelUri'],
    'POST /v1/runs/{run}/heartbeat': ['effectiveCompute'],
    'POST /v1/halts/{halt}/ack': ['state'],
    'POST /v1/evidence/{digest}/release': ['group', 'justification'],
    'POST /v1/evidence/{digest}/release/approval': ['group', 'justification'],
    'POST /v1/runs/{run}/outside-evaluators': ['identity'],
    'POST /v1/runs/{run}/outside-results': ['evaluationId', 'attempt', 'result'],
    'POST /v1/runs/{run}/outside-findings': ['runId', 'findingId', 'severity', 'title', 'text'],
    'POST /v1/runs/{run}/proposals': ['kind', 'rationale'],
    'POST /v1/runs/{run}/sign-offs': ['proposalId', 'digest', 'decision', 'group', 'justification'],
    'POST /v1/halts/{halt}/isolation/{step}': ['state', 'detail'],
    'POST /v1/runs/{run}/work-permit': ['purpose'],
    'POST /v1/runs/{run}/estimate-rounds': ['category', 'level'],
    'POST /v1/runs/{run}/estimates': ['roundId', 'probability', 'rationale'],
    'POST /v1/evaluations/{evaluation}/result': ['status'],
  };
  return fields[route] ?? [];
}

it('is described by docs/openapi.json, to the letter', async () => {
  const stated = await interlock.call('GET', '/openapi.json');
  const file = fileURLToPath(new URL('../../docs/openapi.json', import.meta.url));
  // How the copy is made: INTERLOCK_UPDATE_OPENAPI=1 npx vitest run test/integration/api-refusals.test.ts
  if (process.env['INTERLOCK_UPDATE_OPENAPI'] === '1') await writeFile(file, `${stated.text}\n`);
  expect(JSON.parse(await readFile(file, 'utf8'))).toEqual(stated.body);
});

// --- signatures ----------------------------------------------------------------------------------------

describe('signed messages', () => {
  const body = () => ({
    runId: quiet.runId,
    checkpointId: 'signed',
    effectiveCompute: '1.1e21',
    modelUri: 's3://b/c',
  });
  /** By hand: the service's own signer would not sign most of this. */
  const sign = (raw: Buffer, id = 'msg_1', at = new Date()) => {
    const timestamp = String(Math.floor(at.getTime() / 1000));
    const key = Buffer.from((interlock.webhookSecrets['trainer'] ?? '').slice('whsec_'.length), 'base64');
    const mac = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(raw).digest('base64');
    return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${mac}` };
  };
  const seconds = (offset: number) => new Date(Date.now() + offset * 1000);

  it('B01 B03 B04 B05 B06 B07 B08 B14 refuses what is not exactly signed', async () => {
    const before = await facts();
    const text = JSON.stringify(body());
    const raw = Buffer.from(text);
    const good = sign(raw);
    const signature = good['webhook-signature'];
    const key = `https://keys.example/${'x'.repeat(10)}`;
    const rows: [string, Partial<Record<string, string>>, Buffer?][] = [
      ['B01 no id', { ...good, 'webhook-id': undefined }],
      ['B01 no timestamp', { ...good, 'webhook-timestamp': undefined }],
      ['B01 no signature', { ...good, 'webhook-signature': undefined }],
      ['B01 an empty id', { ...good, 'webhook-id': '' }],
      [
        'B01 a repeated timestamp',
        { ...good, 'webhook-timestamp': `${good['webhook-timestamp']}, ${good['webhook-timestamp']}` },
      ],
      ['B03 301 s old', sign(raw, 'msg_old', seconds(-301))],
      ['B03 301 s ahead', sign(raw, 'msg_ahead', seconds(302))],
      ['B03 a timestamp with a tail', { ...good, 'webhook-timestamp': `${good['webhook-timestamp']}x` }],
      ['B04 an id with a dot', sign(raw, 'msg.1')],
      ['B04 an id with a colon', sign(raw, 'msg:1')],
      ['B04 an id of 129 characters', sign(raw, 'm'.repeat(129))],
      ['B05 the same JSON in other bytes', good, Buffer.from(text.replace('{', '{ '))],
      ['B06 another byte', good, Buffer.from(text.replace('s3://b/c', 's3://b/d'))],
      [
        'B07 ten thousand signatures',
        { ...good, 'webhook-signature': `${'v1,AAAA '.repeat(400)}${signature}` },
      ],
      ['B07 nine signatures', { ...good, 'webhook-signature': `${'v1,AAAA '.repeat(8)}${signature}` }],
      ['B08 v1 as v1a', { ...good, 'webhook-signature': signature.replace('v1,', 'v1a,') }],
      ['B08 v2', { ...good, 'webhook-signature': signature.replace('v1,', 'v2,') }],
      ['B08 without padding', { ...good, 'webhook-signature': signature.replace(/=+$/, '') }],
      ['B08 url-safe', { ...good, 'webhook-signature': signature.replace(/=$/, '_') }],
      [
        'B14 a key of its own',
        { ...good, 'webhook-signature': 'v1,AAAA', jwk: '{"kty":"oct","k":"AA"}', 'x-key-url': key },
      ],
    ];
    for (const [what, headers, sent = raw] of rows) {
      const given = Object.fromEntries(
        Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
      );
      const answer = await interlock.call('POST', '/v1/checkpoints', { raw: sent, headers: given });
      const problem = refused(answer, what.startsWith('B07 ten') ? [401, 431] : 401, what);
      expect(problem.detail, `${what}: a 401 says nothing but the scheme`).toBeUndefined();
    }
    refused(
      await interlock.call('POST', '/v1/checkpoints', { raw, as: 'trainer', headers: { ...good } }),
      400,
      'two credentials',
    );
    expect(await facts()).toEqual(before);
  });

  it('B11 answers a repetition as it did before, and B12 refuses the id with another body for ever', async () => {
    const run = await registered();
    const report = {
      runId: run.runId,
      checkpointId: 'c1',
      effectiveCompute: '1e21',
      modelUri: await weights(),
    };
    const first = await interlock.signed('/v1/checkpoints', report, { id: `once_${run.runId}` });
    expect(first.status, first.text).toBe(202);
    const again = await interlock.signed('/v1/checkpoints', report, {
      id: `once_${run.runId}`,
      at: seconds(-200),
    });
    expect(again.status, again.text).toBe(200);
    expect(again.body).toEqual(first.body);
    // Another message about the same checkpoint is a repetition too, by its content.
    const fresh = await interlock.signed('/v1/checkpoints', report);
    expect([fresh.status, fresh.body]).toEqual([200, first.body]);
    refused(
      await interlock.signed('/v1/checkpoints', report, { id: `once_${run.runId}`, at: seconds(-86_400) }),
      401,
      'a day later',
    );
    const other = { ...report, checkpointId: 'c2', effectiveCompute: '1.1e21' };
    const reused = refused(
      await interlock.signed('/v1/checkpoints', other, { id: `once_${run.runId}` }),
      409,
      'B12',
    );
    expect(reused.type).toContain('webhook-id-reused');
    expect((await run.kinds()).filter((kind) => kind === 'CheckpointReported')).toHaveLength(1);
    await soon(async () => {
      const { rows } = await interlock.withStore(({ database }) =>
        database.pool.query("SELECT envelope FROM ledger_event WHERE stream = 'security'"),
      );
      expect(JSON.stringify(rows)).toContain('webhook-id-reused');
    });
  });

  it('B10 refuses the valid signature of somebody who is no source of the run', async () => {
    const run = await registered({ sources: ['trainer'] });
    const report = { runId: run.runId, checkpointId: 'c1', effectiveCompute: '1e21', modelUri: 's3://b/c' };
    refused(await interlock.signed('/v1/checkpoints', report, { by: 'stranger' }), 403, 'a checkpoint');
    const beat = { effectiveCompute: '9e21' };
    refused(
      await interlock.signed(`/v1/runs/${run.runId}/heartbeat`, beat, { by: 'stranger' }),
      403,
      'a heartbeat',
    );
    expect((await run.show()).effectiveCompute).toBeNull();
    const halt = await run.press();
    const ack = { state: 'stopped' };
    refused(
      await interlock.signed(`/v1/halts/${halt.haltId}/ack`, ack, { by: 'stranger' }),
      403,
      'an acknowledgement',
    );
    expect((await run.show()).openHalt).toMatchObject({ acknowledged: { stoppedAt: null } });
    refused(
      await interlock.signed(`/v1/runs/${run.runId}/finish`, {}, { by: 'stranger' }),
      [403, 409],
      'a finish',
    );
  });

  it('B10 lets nobody but a source declare a run finished', async () => {
    const run = await registered({ sources: ['trainer'] });
    refused(await interlock.signed(`/v1/runs/${run.runId}/finish`, {}, { by: 'stranger' }), 403, 'a finish');
    expect((await run.show()).finishedAt).toBeNull();
  });
});

// --- checkpoints ---------------------------------------------------------------------------------------

describe('checkpoints', () => {
  it.each<[string, Record<string, unknown> | string, string]>([
    ['C03 infinite compute', '"effectiveCompute":1e999', ''],
    ['C04 zero', { effectiveCompute: 0 }, 'effectiveCompute'],
    ['C04 minus zero', '"effectiveCompute":-0', 'effectiveCompute'],
    ['C04 negative', { effectiveCompute: -1 }, 'effectiveCompute'],
    ['C04 over 1e40', { effectiveCompute: 1e41 }, 'effectiveCompute'],
    ['C04 far over', { effectiveCompute: '1e400' }, 'effectiveCompute'],
    ['C04 hexadecimal', { effectiveCompute: '0x10' }, 'effectiveCompute'],
    ['C04 padded', { effectiveCompute: ' 1e25 ' }, 'effectiveCompute'],
    ['C04 401 digits', { effectiveCompute: '9'.repeat(401) }, 'effectiveCompute'],
    ['C06 forms that disagree', { effectiveCompute: '1e21', parameters: '1e9', tokens: '1e9' }, 'parameters'],
    ['C06 half a form', { parameters: '1e9' }, 'tokens'],
    ['C06 no form', {}, 'effectiveCompute'],
    ['C07 half a step', { effectiveCompute: '1e21', step: 1.5 }, 'step'],
    ['C07 a step back', { effectiveCompute: '1e21', step: -1 }, 'step'],
    ['C07 a step beyond whole numbers', '"effectiveCompute":"1e21","step":9007199254740992', ''],
    ['C07 a step as text', { effectiveCompute: '1e21', step: '7' }, 'step'],
    [
      'C18 a file outside the roots',
      { effectiveCompute: '1e21', modelUri: 'file:///etc/passwd' },
      'modelUri',
    ],
    ['C18 a path outside the roots', { effectiveCompute: '1e21', modelUri: '/etc/passwd' }, 'modelUri'],
    ['C18 a script', { effectiveCompute: '1e21', modelUri: 'javascript:alert(1)' }, 'modelUri'],
    [
      'C18 the metadata address',
      { effectiveCompute: '1e21', modelUri: 'http://169.254.169.254/x' },
      'modelUri',
    ],
    [
      'C18 the metadata address in disguise',
      { effectiveCompute: '1e21', modelUri: 'http://0xa9fea9fe/x' },
      'modelUri',
    ],
    ['C18 a climb', { effectiveCompute: '1e21', modelUri: 's3://b/../../c' }, 'modelUri'],
    ['C18 a climb in percent', { effectiveCompute: '1e21', modelUri: 's3://b/%2e%2e/c' }, 'modelUri'],
    ['C18 an option', { effectiveCompute: '1e21', modelUri: '--config=x' }, 'modelUri'],
    ['C18 10 KiB', { effectiveCompute: '1e21', modelUri: `s3://${'x'.repeat(10_240)}` }, 'modelUri'],
    ['C18 credentials', { effectiveCompute: '1e21', modelUri: 'https://u:p@host/x' }, 'modelUri'],
    [
      'C19 an endpoint at the metadata address',
      { effectiveCompute: '1e21', endpoint: 'http://169.254.169.254/' },
      'endpoint',
    ],
    [
      'C19 an endpoint that is no web address',
      { effectiveCompute: '1e21', endpoint: 'ftp://host/' },
      'endpoint',
    ],
    ['C20 a climbing id', { effectiveCompute: '1e21', checkpointId: '../x' }, 'checkpointId'],
    ['C20 a command', { effectiveCompute: '1e21', checkpointId: ';rm -rf' }, 'checkpointId'],
    ['C20 a substitution', { effectiveCompute: '1e21', checkpointId: '$(x)' }, 'checkpointId'],
    ['C20 a line break', { effectiveCompute: '1e21', checkpointId: 'a\nb' }, 'checkpointId'],
    ['C20 right to left', { effectiveCompute: '1e21', checkpointId: 'a\u202eb' }, 'checkpointId'],
    ['C20 a colon', { effectiveCompute: '1e21', checkpointId: 'a:b' }, 'checkpointId'],
    ['C21 NUL in metadata', { effectiveCompute: '1e21', metadata: { a: '\u0000' } }, ''],
    ['C21 a lone surrogate in metadata', { effectiveCompute: '1e21', metadata: { a: '\ud800' } }, ''],
    ['C22 5 KiB of metadata', { effectiveCompute: '1e21', metadata: { a: 'x'.repeat(5000) } }, 'metadata'],
  ])('%s is refused', async (what, part, field) => {
    const before = await facts();
    const whole = { runId: quiet.runId, checkpointId: 'never', modelUri: 's3://b/c' };
    const text =
      typeof part === 'string'
        ? `${JSON.stringify(whole).slice(0, -1)},${part}}`
        : JSON.stringify({ ...whole, ...part });
    const problem = refused(await interlock.signed('/v1/checkpoints', text), [400, 422], what);
    if (field !== '') expect(named(problem)).toContain(field);
    expect(await facts()).toEqual(before);
  });

  it('C05 keeps a number that a float cannot hold exactly, or refuses it: it never rounds', async () => {
    const run = await registered();
    const text = `{"runId":"${run.runId}","checkpointId":"c1","modelUri":"s3://b/c","effectiveCompute":9007199254740993}`;
    const sent = await interlock.signed('/v1/checkpoints', text);
    if (sent.status !== 202) return void refused(sent, [400, 422], 'C05');
    expect((await run.event('CheckpointReported')).data).toMatchObject({
      effectiveCompute: '9007199254740993',
    });
  });

  it('C23 takes CloudEvents in both forms, and refuses both at once, another type and another version', async () => {
    const run = await registered();
    const data = { runId: run.runId, checkpointId: 'ce1', effectiveCompute: '1e21', modelUri: 's3://b/c' };
    const event = { specversion: '1.0', type: 'training.checkpoint', id: 'e1', source: '/trainer', data };
    const structured = { 'content-type': 'application/cloudevents+json' };
    const binary = {
      'ce-specversion': '1.0',
      'ce-type': 'training.checkpoint',
      'ce-id': 'e1',
      'ce-source': '/trainer',
    };
    const post = (body: unknown, headers: Record<string, string>) =>
      interlock.call('POST', '/v1/checkpoints', { as: 'trainer', body, headers });
    expect((await post(event, structured)).status).toBe(202);
    expect((await post({ ...data, checkpointId: 'ce2', effectiveCompute: '1.1e21' }, binary)).status).toBe(
      202,
    );
    refused(await post(event, { ...structured, ...binary }), [400, 415], 'both forms');
    refused(await post({ ...event, type: 'other' }, structured), [400, 422], 'another type');
    refused(await post({ ...event, specversion: '0.3' }, structured), [400, 422], 'another version');
    refused(await post(data, { ...binary, 'ce-type': 'other' }), [400, 422], 'another type in a header');
    const wrong = refused(
      await post({ ...event, data: { ...data, step: 'x' } }, structured),
      422,
      'a bad field',
    );
    expect(named(wrong)).toEqual(['data.step']);
  });

  it('C08 C09 C11 C12 C13 C25 keeps the order and the content of what was said', async () => {
    const run = await registered();
    const uri = await weights();
    const post = (body: Record<string, unknown>) => run.checkpoint({ modelUri: uri, ...body });
    expect((await post({ checkpointId: 'c4', effectiveCompute: '4e21' })).status).toBe(202);
    // C13: an earlier one that comes later is kept; C08: and lowers nothing.
    expect((await post({ checkpointId: 'c2', effectiveCompute: '2e21' })).status).toBe(202);
    expect((await run.show()).effectiveCompute).toBe('4e21');
    refused(await post({ checkpointId: 'c4', effectiveCompute: '4.1e21' }), 409, 'C11');
    refused(
      await drive(interlock).checkpoint({ checkpointId: 'c', effectiveCompute: '1e21', modelUri: uri }),
      404,
      'C12',
    );
    // C25: one that is due is evaluated, whatever is asked.
    const due = await post({ checkpointId: 'c8', effectiveCompute: '8e21', evaluate: false });
    expect(due.body).toMatchObject({ disposition: 'evaluate' });
    // C09: a thousandfold jump is recorded, and is an overrun.
    expect((await post({ checkpointId: 'c9', effectiveCompute: '5e24' })).status).toBe(202);
    expect((await run.event('HaltOrdered')).data).toMatchObject({
      cause: { findings: [{ kind: 'overrun' }] },
    });
    const fenced = await run.beat('5e24');
    expect(fenced).toMatchObject({ permit: null, directive: { action: 'halt' } });
    expect((await post({ checkpointId: 'c10', effectiveCompute: '5.1e24' })).status).toBe(202);

    const finished = await registered();
    expect(
      (await finished.checkpoint({ checkpointId: 'f1', effectiveCompute: '1e21', modelUri: uri })).status,
    ).toBe(202);
    await interlock.call('POST', `/v1/runs/${finished.runId}/finish`, { as: 'trainer', body: {} });
    refused(
      await finished.checkpoint({ checkpointId: 'f2', effectiveCompute: '1e21', modelUri: uri }),
      409,
      'C12 finished',
    );
    expect((await finished.beat('1e21')).permit).toBeNull();
  });
});

// --- runs, halts and resumes ---------------------------------------------------------------------------

describe('registrations', () => {
  it('takes the same registration again, and refuses another one under the same id', async () => {
    const run = await registered({ title: 'one' });
    expect((await run.register({ title: 'one' })).status).toBe(200);
    refused(await run.register({ title: 'two' }), 409, 'other content');
    const policy = refused(
      await drive(interlock, target()).register({ policy: 'main' }),
      403,
      'a trainer chooses',
    );
    expect(policy.detail).toContain('operator');
    const at = async (body: Record<string, unknown>, field: string) =>
      expect(named(refused(await drive(interlock).register(body), 422, field))).toContain(field);
    await at({ targets: [{ kind: 'webhook', url: 'https://not-allowed.example/halt' }] }, 'targets[0].url');
    await at({ targets: [{ kind: 'webhook', url: 'http://169.254.169.254/' }] }, 'targets[0].url');
    await at({ targets: [{ kind: 'webhook', url: 'http://u:p@127.0.0.1/' }] }, 'targets[0].url');
    await at({ targets: [{ kind: 'process', pid: 4_194_303 }] }, 'targets[0].pid');
    await at({ targets: [{ kind: 'pbs', jobId: '1' }] }, 'targets[0].kind');
    await at({ targets: [target()], initialCompute: 'x' }, 'initialCompute');
    refused(
      await drive(interlock, target()).register({ initialCompute: '1e23' }),
      403,
      'above firstCheckpointBy',
    );
  });
});

describe('halts', () => {
  const ack = (id: string, state: string, as = 'trainer') =>
    interlock.call('POST', `/v1/halts/${id}/ack`, { as, body: { state } });

  it('F01 F04 takes acknowledgements in any order and never goes back', async () => {
    refused(await ack('halt_unknown', 'received'), 404, 'F01');
    const run = await registered();
    const halt = await run.press();
    expect((await ack(halt.haltId, 'stopped')).status).toBe(200);
    const stopped = (await run.show()).openHalt?.acknowledged.stoppedAt;
    const received = await ack(halt.haltId, 'received');
    expect(received.body).toMatchObject({ acknowledged: { stoppedAt: stopped } });
    expect((await ack(halt.haltId, 'stopped')).body).toMatchObject({ acknowledged: { stoppedAt: stopped } });
    expect((await run.kinds()).filter((kind) => kind === 'HaltAcknowledged')).toHaveLength(1);
    // F02: a claim that progress contradicts is not believed, and the halt goes out again.
    await run.beat('1e21');
    await run.beat('1.1e21');
    expect((await run.event('HaltReopened')).data).toMatchObject({
      haltId: halt.haltId,
      round: 2,
      reason: 'progress',
    });
    expect((await run.show()).openHalt).toMatchObject({ state: 'open', round: 2 });
  });

  it('F10 resumes only with every approval, of different people, for this halt, without a veto', async () => {
    const run = await registered();
    const { haltId: first } = await run.press();
    const propose = async (id: string) => {
      const body = { kind: 'resume', haltId: id, rationale: 'r' };
      return interlock.call('POST', `/v1/runs/${run.runId}/proposals`, { as: 'operator', body });
    };
    const opened = z.object({ proposalId: z.string(), digest: z.string() });
    const { proposalId, digest } = answered(await propose(first), 201, opened);
    const sign = (as: string, part: Record<string, unknown>) =>
      interlock.call('POST', `/v1/runs/${run.runId}/sign-offs`, {
        as,
        body: { proposalId, digest, decision: 'approve', group: as, justification: 'j', ...part },
      });
    refused(await sign('leadership', { digest: '0'.repeat(64) }), 409, 'another digest');
    refused(await sign('leadership', { group: 'safety-advisory' }), 403, 'a group of others');
    refused(await sign('leadership', { decision: 'veto' }), 403, 'no veto of its own');
    refused(await sign('leadership', { proposalId: 'prop_unknown' }), 404, 'no such proposal');
    expect((await sign('everywhere', { group: 'leadership' })).status).toBe(200);
    refused(await sign('everywhere', { group: 'safety-advisory' }), 403, 'one person twice');
    expect((await run.beat('1e21')).directive.action).toBe('halt');
    expect((await sign('board', { decision: 'veto' })).status).toBe(200);
    refused(await sign('safety-advisory', {}), 409, 'after a veto');
    expect((await run.show()).openHalt).not.toBeNull();

    const again = await run.resume(first, ['leadership', 'safety-advisory']);
    expect(again.status).toBe('executed');
    refused(await propose(first), 409, 'for a halt that is over');
    refused(await ack(first, 'stopped'), 409, 'F01 of a halt that is over');
    const repeated = {
      proposalId: again.proposalId,
      digest: again.digest,
      decision: 'approve',
      group: 'leadership',
      justification: 'agreed',
    };
    const replayed = await interlock.call('POST', `/v1/runs/${run.runId}/sign-offs`, {
      as: 'leadership',
      body: repeated,
    });
    expect(replayed.status, replayed.text).toBe(200);
    expect((await run.kinds()).filter((kind) => kind === 'RunResumed')).toHaveLength(1);
    const far = { kind: 'resume', rationale: 'r', terms: { expires: '9999-12-31T23:59:59-12:00' } };
    refused(
      await interlock.call('POST', `/v1/runs/${run.runId}/proposals`, { as: 'operator', body: far }),
      [409, 422],
      'year 10000',
    );
    // A veto after the resume halts again.
    const vetoed = { ...repeated, decision: 'veto', group: 'board' };
    expect(
      (await interlock.call('POST', `/v1/runs/${run.runId}/sign-offs`, { as: 'board', body: vetoed })).status,
    ).toBe(200);
    expect((await run.beat('1e21')).directive.action).toBe('halt');
  });

  it('F10 refuses terms that no calendar holds', async () => {
    const run = await registered();
    await run.press();
    for (const expires of [
      '9999-12-31T23:59:59-12:00',
      '2020-01-01T00:00:00Z',
      '2026-02-30T00:00:00Z',
      'soon',
    ]) {
      const body = { kind: 'resume', rationale: 'r', terms: { expires } };
      const sent = await interlock.call('POST', `/v1/runs/${run.runId}/proposals`, { as: 'operator', body });
      expect(named(refused(sent, 422, expires)), expires).toEqual(['terms.expires']);
    }
    expect(await run.kinds()).not.toContain('ProposalOpened');
  });

  it('F12 makes one halt of a hundred presses, and attributes them', async () => {
    const run = await registered();
    const people = ['leadership', 'board', 'preparedness', 'safety-advisory'];
    const presses = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        interlock.call('POST', `/v1/runs/${run.runId}/halt`, {
          as: people[i % people.length] ?? 'board',
          body: { reason: `press ${i}` },
        }),
      ),
    );
    // A press that the ledger does not take in time is sent under an id of its own, which the halt then goes by too.
    const ids = new Set(presses.map((sent) => answered(sent, 202, Halts).halts[0]?.haltId ?? 'none'));
    await soon(
      async () => {
        const kinds = (await run.events()).map(({ kind }) => kind);
        expect(kinds.filter((kind) => kind === 'HaltOrdered')).toHaveLength(1);
        expect(kinds.filter((kind) => kind === 'HaltCauseAdded')).toHaveLength(99);
      },
      { timeout: 60_000, interval: 250 },
    );
    const named = new Set<string>();
    for (const id of ids) {
      const acknowledged = await interlock.call('POST', `/v1/halts/${id}/ack`, {
        as: 'trainer',
        body: { state: 'received' },
      });
      named.add(answered(acknowledged, 200, z.object({ haltId: z.string() })).haltId);
    }
    expect(named.size).toBe(1);
    const sent = (): Set<unknown> =>
      new Set(
        trainer.received
          .filter(({ body }) => body.includes(run.runId))
          .map(({ headers }) => headers['webhook-id']),
      );
    await soon(() => expect(sent()).not.toEqual(new Set()));
    expect(sent().size).toBeLessThanOrEqual(ids.size);
  });

  it('F07 a halted run that is registered again is refused, and stays halted', async () => {
    const run = await registered();
    await run.press();
    const again = await run.register();
    expect(again.status).toBe(409);
    expect(again.body).toMatchObject({
      detail: expect.stringMatching(/is halted \(halt_\w+\); nothing starts under its name$/),
    });
    expect(await run.show()).toMatchObject({ status: 'halted' });
  });
});

it('leaves a ledger that verifies and replays', () => expectSoundLedger(interlock));
