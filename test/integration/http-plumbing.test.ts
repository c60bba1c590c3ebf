import { once } from 'node:events';
import { connect } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { generateSharedSecret, generateToken, hashToken } from '../../src/config/credentials.ts';
import { parseIdentities } from '../../src/config/identities.ts';
import { InterlockError } from '../../src/errors.ts';
import { ACCESS, type Access, type AccessTable } from '../../src/http/access.ts';
import { createAuthenticator } from '../../src/http/authentication.ts';
import { CLOUD_EVENTS_MEDIA_TYPE, readCheckpointEvent } from '../../src/http/cloud-events.ts';
import { HTTP_LIMITS } from '../../src/http/limits.ts';
import { createLoadGauge, LOAD_LIMITS } from '../../src/http/load.ts';
import { Problem } from '../../src/http/problem.ts';
import { conflict, Refusal } from '../../src/http/refusal.ts';
import { type Route, rawResponse, route, streamResponse } from '../../src/http/route.ts';
import { buildServer, type RefusalReport, type ServerOptions } from '../../src/http/server.ts';
import type { StreamEvent } from '../../src/http/sse.ts';
import { signWebhook, WebhookSecret } from '../../src/signing/standard-webhooks.ts';
import { currentCorrelation } from '../../src/telemetry/correlation.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

const tokens = { trainer: generateToken(), auditor: generateToken(), board: generateToken() };
const secrets = {
  trainer: generateSharedSecret(),
  old: generateSharedSecret(),
  other: generateSharedSecret(),
};

function identities() {
  const result = parseIdentities({
    isSharedFile: false,
    env: {},
    value: {
      identities: [
        {
          id: 'trainer',
          name: 'T',
          roles: ['trainer'],
          tokenHashes: [hashToken(tokens.trainer)],
          webhookSecrets: [secrets.trainer, secrets.old],
        },
        { id: 'other', name: 'O', roles: ['trainer'], webhookSecrets: [secrets.other] },
        { id: 'auditor', name: 'A', roles: ['auditor'], tokenHashes: [hashToken(tokens.auditor)] },
        { id: 'board', name: 'B', groups: ['board'], tokenHashes: [hashToken(tokens.board)] },
      ],
    },
  });
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  return result.identities;
}

const Checkpoint = z.strictObject({
  runId: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/),
  effectiveCompute: z.union([z.number().positive(), z.string()]),
  targets: z.array(z.strictObject({ url: z.string() })).optional(),
});

const unknown: Access = { who: 'everyone', auth: [], priority: 'read', limit: 'open' };
const TABLE: AccessTable = { ...ACCESS, 'GET /fail/:how': unknown, 'GET /flood': unknown };

/** Stand-ins for resource routes: they say what reached them. */
/** Handlers of `/fail/slow` that wait to be told to go on. */
const unfinished: (() => void)[] = [];

function routes(): Route[] {
  const Seen = z.strictObject({
    by: z.string(),
    via: z.string(),
    webhookId: z.string().nullable(),
    runId: z.string(),
  });
  return [
    route({
      method: 'POST',
      path: '/v1/checkpoints',
      summary: 'Report a checkpoint',
      body: Checkpoint,
      mediaTypes: [CLOUD_EVENTS_MEDIA_TYPE],
      unwrap: readCheckpointEvent,
      responses: { 202: Seen },
      handler: async ({ body, identity, webhook }) => ({
        status: 202,
        body: { by: identity.id, via: identity.via, webhookId: webhook?.id ?? null, runId: body.runId },
      }),
    }),
    route({
      method: 'GET',
      path: '/v1/runs/:run',
      summary: 'One run',
      params: z.strictObject({ run: z.string().regex(/^[a-z]/, 'must begin with a letter') }),
      query: z.strictObject({ limit: z.coerce.number().int().optional() }),
      responses: { 200: z.strictObject({ run: z.string(), correlationId: z.string() }) },
      handler: async ({ params }) => ({
        status: 200,
        body: { run: params.run, correlationId: currentCorrelation() ?? 'lost' },
      }),
    }),
    route({
      method: 'POST',
      path: '/v1/halt',
      summary: 'Red button',
      body: z.strictObject({ reason: z.string() }),
      responses: { 202: z.strictObject({ halts: z.array(z.string()) }) },
      handler: async () => ({ status: 202, body: { halts: [] } }),
    }),
    route({
      method: 'GET',
      path: '/healthz',
      summary: 'Liveness',
      open: true,
      responses: { 200: rawResponse('text/plain; charset=utf-8', 'ok') },
      handler: async ({ identity }) => ({ status: 200, body: identity === null ? 'ok' : 'known' }),
    }),
    route({
      method: 'GET',
      path: '/fail/:how',
      summary: 'Fails',
      open: true,
      params: z.strictObject({ how: z.string() }),
      responses: { 200: z.strictObject({ ok: z.boolean() }) },
      handler: async ({ params }) => {
        switch (params.how) {
          case 'thrown':
            throw new Error('internal detail: postgres://user:hunter2@db/interlock');
          case 'ledger':
            throw new InterlockError('cannot reach db-host.internal', {
              code: 'ledger.unavailable',
              retryable: true,
            });
          case 'broken':
            throw new InterlockError('hash chain broken at 7', { code: 'ledger.corrupt' });
          case 'conflict':
            throw conflict('different-content', 'this id was used with other content', true);
          case 'returned':
            return new Refusal({ status: 404, code: 'not-found', title: 'Not found', detail: 'no such run' });
          case 'slow':
            await new Promise<void>((resolve) => void unfinished.push(resolve));
            return { status: 200, body: { ok: true } };
          default:
            return { status: 200, body: { ok: true, ...JSON.parse('{"leak":"hidden field"}') } };
        }
      },
    }),
    route({
      method: 'GET',
      path: '/v1/stream',
      summary: 'Events',
      responses: { 200: streamResponse('Events') },
      handler: async () => ({ status: 200, body: { subscribe: numbers } }),
    }),
  ];
}

/** Five numbers after the given one, then silence until the reader leaves. */
async function* numbers({
  after,
  signal,
}: {
  after: string | null;
  signal: AbortSignal;
}): AsyncGenerator<StreamEvent> {
  const first = Number(after ?? '0') + 1;
  for (let n = first; n < first + 5; n += 1) yield { id: String(n), event: 'number', data: { n } };
  if (!signal.aborted) await once(signal, 'abort');
}

function server(more: Partial<ServerOptions> = {}): FastifyInstance {
  return buildServer({
    routes: routes(),
    access: TABLE,
    authenticator: createAuthenticator({ identities: identities() }),
    logger: createLogger({ level: 'silent' }),
    info: { title: 'Interlock', version: '0', description: 'test' },
    ...more,
  });
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const json = { 'content-type': 'application/json' };
const body = JSON.stringify({ runId: 'run-1', effectiveCompute: '1e22' });

function signed(content: string, options: { secret?: string; at?: Date; id?: string } = {}) {
  return signWebhook({
    id: options.id ?? 'msg_1',
    timestamp: options.at ?? new Date(),
    body: Buffer.from(content),
    secrets: [WebhookSecret.parse(options.secret ?? secrets.trainer)],
  });
}

describe('the HTTP server', () => {
  const refusals: RefusalReport[] = [];
  let app: FastifyInstance;
  beforeAll(async () => {
    app = server({ onRefusal: (report) => refusals.push(report) });
    await app.ready();
  });
  afterAll(() => app.close());

  const post = (
    headers: Record<string, string | string[]>,
    payload: string | Buffer = body,
    url = '/v1/checkpoints',
  ) => app.inject({ method: 'POST', url, headers, payload });

  it.each<[string, () => ReturnType<typeof post>, number, string, string | null]>([
    ['no credential', () => post(json), 401, 'unauthenticated', null],
    ['an unknown token', () => post({ ...json, ...bearer(generateToken()) }), 401, 'unauthenticated', null],
    ['a short token', () => post({ ...json, ...bearer('ilk_x') }), 401, 'unauthenticated', null],
    [
      'basic authentication',
      () => post({ ...json, authorization: 'Basic YTpi' }),
      401,
      'unauthenticated',
      null,
    ],
    ['half of a signature', () => post({ ...json, 'webhook-id': 'msg_1' }), 401, 'unauthenticated', null],
    [
      'a signature by nobody we know',
      () => post({ ...json, ...signed(body, { secret: generateSharedSecret() }) }),
      401,
      'unauthenticated',
      null,
    ],
    [
      'a signature list over the cap',
      () => post({ ...json, ...signed(body), 'webhook-signature': Array(9).fill('v1,AAAA').join(' ') }),
      401,
      'unauthenticated',
      null,
    ],
    [
      'an old signature',
      () => post({ ...json, ...signed(body, { at: new Date(Date.now() - 302_000) }) }),
      401,
      'unauthenticated',
      null,
    ],
    [
      'a signature over other bytes of the same JSON',
      () => post({ ...json, ...signed(body) }, ` ${body}`),
      401,
      'unauthenticated',
      null,
    ],
    [
      'a signature on a route that takes only tokens',
      () => post({ ...json, ...signed('{"reason":"x"}') }, '{"reason":"x"}', '/v1/halt'),
      401,
      'unauthenticated',
      null,
    ],
    [
      'two credentials',
      () => post({ ...json, ...bearer(tokens.trainer), ...signed(body) }),
      400,
      'two-credentials',
      null,
    ],
    [
      'a token in the query',
      () => post(json, body, `/v1/checkpoints?access_token=${tokens.trainer}`),
      400,
      'credential-in-url',
      null,
    ],
    [
      'a token in the query under another name',
      () => post(json, body, `/v1/checkpoints?x=${tokens.trainer}`),
      400,
      'credential-in-url',
      null,
    ],
    ['the wrong role', () => post({ ...json, ...bearer(tokens.auditor) }), 403, 'forbidden', null],
    [
      'a role that is not governance',
      () => post({ ...json, ...bearer(tokens.trainer) }, '{"reason":"x"}', '/v1/halt'),
      403,
      'forbidden',
      null,
    ],
    [
      'text/plain',
      () => post({ 'content-type': 'text/plain', ...bearer(tokens.trainer) }),
      415,
      'unsupported-media-type',
      null,
    ],
    [
      'no content type',
      () =>
        app.inject({
          method: 'POST',
          url: '/v1/checkpoints',
          headers: bearer(tokens.trainer),
          payload: Buffer.from(body),
        }),
      415,
      'unsupported-media-type',
      null,
    ],
    [
      'a content type with a leading space',
      () => post({ 'content-type': ' application/json', ...bearer(tokens.trainer) }),
      415,
      'unsupported-media-type',
      null,
    ],
    [
      'a content type with a tab',
      () => post({ 'content-type': 'application/json\ta', ...bearer(tokens.trainer) }),
      415,
      'unsupported-media-type',
      null,
    ],
    [
      'a content type with garbage',
      () => post({ 'content-type': 'application/json garbage', ...bearer(tokens.trainer) }),
      415,
      'unsupported-media-type',
      null,
    ],
    [
      'another charset',
      () => post({ 'content-type': 'application/json; charset=utf-16', ...bearer(tokens.trainer) }),
      415,
      'unsupported-media-type',
      null,
    ],
    [
      'a content encoding',
      () => post({ ...json, 'content-encoding': 'gzip', ...bearer(tokens.trainer) }),
      415,
      'unsupported-media-type',
      null,
    ],
    ['an empty body', () => post({ ...json, ...bearer(tokens.trainer) }, ''), 400, 'malformed-json', null],
    [
      'a duplicate key',
      () => post({ ...json, ...bearer(tokens.trainer) }, '{"runId":"a","runId":"b"}'),
      400,
      'duplicate-key',
      'runId',
    ],
    [
      'a top-level array',
      () => post({ ...json, ...bearer(tokens.trainer) }, '[]'),
      400,
      'malformed-json',
      'body',
    ],
    [
      'invalid UTF-8',
      () => post({ ...json, ...bearer(tokens.trainer) }, Buffer.from([0x7b, 0xff, 0x7d])),
      400,
      'malformed-json',
      null,
    ],
    [
      'a missing field',
      () => post({ ...json, ...bearer(tokens.trainer) }, '{"effectiveCompute":1}'),
      422,
      'invalid-request',
      'runId',
    ],
    [
      'an unknown field',
      () => post({ ...json, ...bearer(tokens.trainer) }, '{"runId":"a","effectiveCompute":1,"runid":1}'),
      422,
      'invalid-request',
      'runid',
    ],
    [
      'a wrong type deep inside',
      () =>
        post(
          { ...json, ...bearer(tokens.trainer) },
          '{"runId":"a","effectiveCompute":1,"targets":[{"url":7}]}',
        ),
      422,
      'invalid-request',
      'targets[0].url',
    ],
    [
      'an infinite number',
      () => post({ ...json, ...bearer(tokens.trainer) }, '{"runId":"a","effectiveCompute":1e999}'),
      422,
      'invalid-request',
      'effectiveCompute',
    ],
    [
      'a body over the limit',
      () => post({ ...json, ...bearer(tokens.trainer) }, `{"runId":"${'x'.repeat(65_536)}"}`),
      413,
      'body-too-large',
      null,
    ],
    [
      'a bad path parameter',
      () => app.inject({ url: '/v1/runs/7', headers: bearer(tokens.auditor) }),
      422,
      'invalid-request',
      'path.run',
    ],
    [
      'a bad query',
      () => app.inject({ url: '/v1/runs/a?limit=x', headers: bearer(tokens.auditor) }),
      422,
      'invalid-request',
      'query.limit',
    ],
    [
      'an unknown query',
      () => app.inject({ url: '/v1/runs/a?limits=1', headers: bearer(tokens.auditor) }),
      422,
      'invalid-request',
      'query.limits',
    ],
    [
      'a repeated query',
      () => app.inject({ url: '/v1/runs/a?limit=1&limit=2', headers: bearer(tokens.auditor) }),
      422,
      'invalid-request',
      'query.limit',
    ],
    [
      'a GET with a body',
      () =>
        app.inject({
          method: 'GET',
          url: '/v1/runs/a',
          headers: { ...json, ...bearer(tokens.auditor) },
          payload: '{}',
        }),
      400,
      'unexpected-body',
      null,
    ],
    [
      'an id longer than any id',
      () => app.inject({ url: `/v1/runs/${'a'.repeat(129)}`, headers: bearer(tokens.auditor) }),
      422,
      'invalid-request',
      'path',
    ],
    [
      'a path that does not decode',
      () => app.inject({ url: '/v1/runs/%E0%A4%A', headers: bearer(tokens.auditor) }),
      400,
      'malformed-url',
      null,
    ],
    [
      'an unknown path',
      () => app.inject({ url: '/v1/nothing', headers: bearer(tokens.auditor) }),
      404,
      'not-found',
      null,
    ],
    ['a trailing slash', () => app.inject({ url: '/healthz/' }), 404, 'not-found', null],
    [
      'an unknown stream position',
      () => app.inject({ url: '/v1/stream', headers: { ...bearer(tokens.auditor), 'last-event-id': 'a b' } }),
      400,
      'malformed-header',
      'header.last-event-id',
    ],
    ['a conflict', () => app.inject({ url: '/fail/conflict' }), 409, 'different-content', null],
    ['a refusal that is returned', () => app.inject({ url: '/fail/returned' }), 404, 'not-found', null],
    ['a ledger that is away', () => app.inject({ url: '/fail/ledger' }), 503, 'ledger-unavailable', null],
    ['a fault that waiting cannot mend', () => app.inject({ url: '/fail/broken' }), 500, 'internal', null],
    ['an unforeseen error', () => app.inject({ url: '/fail/thrown' }), 500, 'internal', null],
    ['an answer against its own schema', () => app.inject({ url: '/fail/shape' }), 500, 'internal', null],
  ])('answers %s with a problem document', async (_, send, status, code, path) => {
    const response = await send();
    expect([response.statusCode, response.headers['content-type']]).toEqual([
      status,
      'application/problem+json',
    ]);
    const problem = Problem.parse(response.json());
    expect(problem).toMatchObject({ status, type: `urn:interlock:problem:${code}` });
    if (path !== null) expect(problem.errors?.map((error) => error.path)).toContain(path);
    expect(response.headers['x-content-type-options']).toBe('nosniff');
    expect(response.body).not.toMatch(/hunter2|db-host|hash chain|hidden field|node_modules|src\//);
    if (status === 401) {
      expect(response.headers['www-authenticate']).toMatch(/^Bearer|Standard-Webhooks/);
      expect(problem.detail).toBeUndefined();
    }
    if (status === 503) expect(Number(response.headers['retry-after'])).toBeGreaterThan(0);
  });

  it.each(['PUT', 'DELETE', 'PATCH', 'TRACE', 'OPTIONS', 'GET'] as const)(
    'refuses %s where only POST is taken, naming it',
    async (method) => {
      const response = await app.inject({
        method,
        url: '/v1/checkpoints',
        headers: { ...bearer(tokens.trainer), 'x-http-method-override': 'POST' },
      });
      expect([response.statusCode, response.headers['allow']]).toEqual([405, 'POST']);
    },
  );

  it('takes HEAD where it takes GET, except for streams', async () => {
    expect((await app.inject({ method: 'HEAD', url: '/healthz' })).statusCode).toBe(200);
    expect(
      (await app.inject({ method: 'HEAD', url: '/v1/stream', headers: bearer(tokens.auditor) })).statusCode,
    ).toBe(405);
  });

  it('reports every fault of a request at once', async () => {
    const response = await post({ ...json, ...bearer(tokens.trainer) }, '{"targets":[{}],"x":1}');
    const paths = Problem.parse(response.json()).errors?.map((error) => error.path);
    expect(paths).toEqual(expect.arrayContaining(['runId', 'effectiveCompute', 'targets[0].url', 'x']));
  });

  it('knows the sender of a signed message by the secret that signed it, also during rotation', async () => {
    const by = async (secret: string) =>
      (await post({ ...json, ...signed(body, { secret, id: 'msg_7' }) })).json();
    expect(await by(secrets.trainer)).toEqual({
      by: 'trainer',
      via: 'webhook',
      webhookId: 'msg_7',
      runId: 'run-1',
    });
    expect(await by(secrets.old)).toMatchObject({ by: 'trainer' });
    expect(await by(secrets.other)).toMatchObject({ by: 'other' });
  });

  it('accepts a charset of utf-8 and a token in any case of the scheme', async () => {
    const headers = {
      'content-type': 'application/json; charset=UTF-8',
      authorization: `bearer ${tokens.trainer}`,
    };
    expect((await post(headers)).statusCode).toBe(202);
  });

  it('grants governance to whoever is in a group', async () => {
    const response = await post({ ...json, ...bearer(tokens.board) }, '{"reason":"drill"}', '/v1/halt');
    expect(response.statusCode).toBe(202);
  });

  it('makes a correlation id, takes a plain one, and replaces anything else', async () => {
    const id = async (given?: string) => {
      const response = await app.inject({
        url: '/v1/runs/a',
        headers: { ...bearer(tokens.auditor), ...(given !== undefined && { 'x-correlation-id': given }) },
      });
      expect(response.json().correlationId).toBe(response.headers['x-correlation-id']);
      return response.headers['x-correlation-id'];
    };
    expect(await id()).toMatch(/^[0-9a-f-]{36}$/);
    expect(await id('job-1234.5')).toBe('job-1234.5');
    for (const bad of ['short', 'a b c d e f g', '{jndi:ldap://x}', 'x'.repeat(65)])
      expect(await id(bad)).not.toBe(bad);
  });

  it('reports refusals that belong in the security stream, with no text of the caller', async () => {
    refusals.length = 0;
    await post(json);
    await post({ ...json, ...bearer(tokens.auditor) });
    await app.inject({ url: '/fail/conflict' });
    await app.inject({ url: `/v1/runs/${tokens.auditor}-not-a-path` });
    expect(refusals.filter((r) => r.security).map((r) => [r.status, r.code, r.route, r.identityId])).toEqual([
      [401, 'unauthenticated', '/v1/checkpoints', null],
      [403, 'forbidden', '/v1/checkpoints', 'auditor'],
      [409, 'different-content', '/fail/:how', null],
      [401, 'unauthenticated', '/v1/runs/:run', null],
    ]);
    expect(JSON.stringify(refusals)).not.toContain(tokens.auditor);
  });

  describe('CloudEvents', () => {
    const event = {
      specversion: '1.0',
      type: 'training.checkpoint',
      id: 'e1',
      source: '/cluster/a',
      data: JSON.parse(body),
    };
    const structured = {
      'content-type': `${CLOUD_EVENTS_MEDIA_TYPE}; charset=utf-8`,
      ...bearer(tokens.trainer),
    };
    const binary = {
      ...json,
      ...bearer(tokens.trainer),
      'ce-specversion': '1.0',
      'ce-type': 'training.checkpoint',
      'ce-id': 'e1',
      'ce-source': '/cluster/a',
    };

    it('takes structured and binary events', async () => {
      const full = {
        ...event,
        time: '2026-01-02T03:04:05Z',
        datacontenttype: 'application/json',
        traceparent: 'x',
      };
      expect((await post(structured, JSON.stringify(full))).statusCode).toBe(202);
      expect((await post(binary)).statusCode).toBe(202);
    });

    it.each<[string, Record<string, string>, unknown, string | null]>([
      ['binary with a structured body', { ...binary, 'content-type': CLOUD_EVENTS_MEDIA_TYPE }, event, null],
      ['another type', structured, { ...event, type: 'training.started' }, 'type'],
      ['specversion 0.3', structured, { ...event, specversion: '0.3' }, 'specversion'],
      ['no id', structured, { ...event, id: undefined }, 'id'],
      ['no data', structured, { ...event, data: undefined }, 'data'],
      ['data as text', structured, { ...event, data: body }, 'data'],
      ['data in base64', structured, { ...event, data: undefined, data_base64: 'e30=' }, 'data_base64'],
      ['a time that is none', structured, { ...event, time: '2026-02-30T00:00:00Z' }, 'time'],
      ['binary of another type', { ...binary, 'ce-type': 'x' }, event.data, 'header.ce-type'],
      [
        'binary of another version',
        { ...binary, 'ce-specversion': '0.3' },
        event.data,
        'header.ce-specversion',
      ],
      [
        'binary without a source',
        { ...json, ...bearer(tokens.trainer), 'ce-id': 'x' },
        event.data,
        'header.ce-source',
      ],
    ])('refuses %s', async (_, headers, content, path) => {
      const response = await post(headers, JSON.stringify(content));
      expect(response.statusCode).toBe(400);
      if (path !== null) expect(Problem.parse(response.json()).errors?.map((e) => e.path)).toContain(path);
    });

    it('names a field of the checkpoint under data', async () => {
      const response = await post(
        structured,
        JSON.stringify({ ...event, data: { runId: 7, effectiveCompute: 1 } }),
      );
      expect([response.statusCode, Problem.parse(response.json()).errors?.[0]?.path]).toEqual([
        422,
        'data.runId',
      ]);
    });

    it('takes its media type only where events are taken', async () => {
      const headers = { 'content-type': CLOUD_EVENTS_MEDIA_TYPE, ...bearer(tokens.board) };
      expect((await post(headers, '{"reason":"x"}', '/v1/halt')).statusCode).toBe(415);
    });
  });

  it('serves its contract as OpenAPI and as a page that can load and run nothing', async () => {
    const openapi = await app.inject({ url: '/openapi.json' });
    expect(Object.keys(openapi.json().paths)).toEqual(
      expect.arrayContaining(['/v1/checkpoints', '/v1/runs/{run}', '/docs']),
    );
    const docs = await app.inject({ url: '/docs' });
    expect(docs.headers['content-type']).toBe('text/html; charset=utf-8');
    expect(docs.headers['content-security-policy']).toMatch(
      /^default-src 'none'; style-src 'sha256-[^']+'; base-uri/,
    );
    expect(docs.body).toContain('/v1/checkpoints');
    expect(docs.body).not.toMatch(/<script|https?:\/\/|src=/i);
  });
});

describe('under load', () => {
  it('gives up reads first, then intake, and never a halt or a probe', async () => {
    let loopDelayMs = 0;
    const load = createLoadGauge(LOAD_LIMITS, { loopDelayMs: () => loopDelayMs, close: () => {} });
    const app = server({ load });
    const statuses = async () => {
      const all = await Promise.all([
        app.inject({ url: '/v1/runs/a', headers: bearer(tokens.auditor) }),
        app.inject({
          method: 'POST',
          url: '/v1/checkpoints',
          headers: { ...json, ...bearer(tokens.trainer) },
          payload: body,
        }),
        app.inject({
          method: 'POST',
          url: '/v1/halt',
          headers: { ...json, ...bearer(tokens.board) },
          payload: '{"reason":"x"}',
        }),
        app.inject({ url: '/healthz' }),
      ]);
      for (const { statusCode, headers } of all)
        if (statusCode === 503) expect(headers['retry-after']).toBe('1');
      return all.map((response) => response.statusCode);
    };
    expect(await statuses()).toEqual([200, 202, 202, 200]);
    loopDelayMs = LOAD_LIMITS.readsLoopDelayMaxMs + 1;
    expect(await statuses()).toEqual([503, 202, 202, 200]);
    loopDelayMs = LOAD_LIMITS.intakeLoopDelayMaxMs + 1;
    expect(await statuses()).toEqual([503, 503, 202, 200]);
    loopDelayMs = 0;
    expect(await statuses()).toEqual([200, 202, 202, 200]);
    expect(load.inFlight()).toBe(0);
    await app.close();
  });

  it.each([
    ['before its answer', () => 'GET /fail/slow HTTP/1.1\r\nHost: x\r\n\r\n'],
    [
      'in the middle of its body',
      () =>
        `POST /v1/halt HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer ${tokens.board}\r\nContent-Length: 100\r\n\r\n{`,
    ],
  ])('counts a request as load no longer once its client has hung up %s', async (_, bytes) => {
    const load = createLoadGauge(LOAD_LIMITS);
    const app = server({ load });
    await app.listen({ host: '127.0.0.1', port: 0 });
    const accepted = once(app.server, 'connection');
    const socket = connect(Number(new URL(app.listeningOrigin).port), '127.0.0.1');
    socket.on('error', () => {});
    socket.write(bytes());
    await vi.waitFor(() => expect(load.inFlight()).toBe(1));
    const [peer] = await accepted;
    const gone = once(peer, 'close');
    socket.destroy();
    await gone;
    // What is being done for it goes on, and counts until it is over.
    expect(load.inFlight()).toBe(unfinished.length);
    for (const finish of unfinished.splice(0)) finish();
    await vi.waitFor(() => expect(load.inFlight()).toBe(0));
    await app.close();
  });

  it('answers 503 when a handler takes too long, and what comes of it later disturbs nobody', async () => {
    const app = server({ limits: { handlerTimeoutMs: 50 } });
    const response = await app.inject({ url: '/fail/slow' });
    expect([response.statusCode, response.json().type]).toEqual([503, 'urn:interlock:problem:timed-out']);
    expect(Number(response.headers['retry-after'])).toBeGreaterThan(0);
    for (const finish of unfinished.splice(0)) finish();
    expect((await app.inject({ url: '/fail/returned' })).statusCode).toBe(404);
    await app.close();
  });

  it('counts requests, refusals and streams', async () => {
    const metrics = createMetrics();
    const app = server({ metrics });
    await app.inject({ url: '/healthz' });
    await app.inject({ url: '/nothing' });
    const text = metrics.render();
    expect(text).toContain('interlock_http_requests_total{method="GET",route="/healthz",status="200"} 1');
    expect(text).toContain('interlock_http_refusals_total{code="not-found",status="404"} 1');
    expect(text).toContain('interlock_http_in_flight 0');
    await app.close();
  });
});

describe('on a real socket', () => {
  let app: FastifyInstance;
  let port: number;
  beforeAll(async () => {
    app = server({
      limits: {
        requestTimeoutMs: 400,
        headersTimeoutMs: 400,
        connectionsCheckIntervalMs: 50,
        streams: { ...HTTP_LIMITS.streams, heartbeatMs: 50, perIdentityMax: 2 },
      },
    });
    await app.listen({ host: '127.0.0.1', port: 0 });
    port = Number(new URL(app.listeningOrigin).port);
  });
  afterAll(() => app.close());

  /** Sends bytes, gives all that comes back until the server closes. */
  async function exchange(...chunks: (string | Buffer)[]): Promise<string> {
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    socket.setEncoding('latin1').on('data', (chunk) => {
      answer += chunk;
    });
    socket.on('error', () => {});
    for (const chunk of chunks) socket.write(chunk);
    await once(socket, 'close');
    return answer;
  }
  const head = (...lines: string[]) =>
    [
      'POST /v1/checkpoints HTTP/1.1',
      'Host: x',
      `Authorization: Bearer ${tokens.trainer}`,
      'Content-Type: application/json',
      ...lines,
      '',
      '',
    ].join('\r\n');

  it.each<[string, (string | Buffer)[], number]>([
    [
      'Content-Length with Transfer-Encoding',
      [head('Content-Length: 5', 'Transfer-Encoding: chunked'), '0\r\n\r\n'],
      400,
    ],
    ['two different Content-Lengths', [head('Content-Length: 2', 'Content-Length: 3'), '{}'], 400],
    ['a transfer encoding that hides', [head('Transfer-Encoding: xchunked'), '0\r\n\r\n'], 400],
    ['a header name with a space', [head('Content-Length : 2'), '{}'], 400],
    ['a bare line feed in a header', ['POST /v1/checkpoints HTTP/1.1\nHost: x\n\n'], 400],
    ['no Host', ['GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n'], 400],
    ['two Hosts', ['GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n'], 400],
    ['headers over the limit', [head(`X-Large: ${'x'.repeat(9_000)}`)], 431],
    ['a body that does not come', [head('Content-Length: 100'), '{'], 408],
    ['headers that do not end', ['GET /healthz HTTP/1.1\r\nHost: x\r\n'], 408],
    ['a declared body over the limit', [head('Content-Length: 65537')], 413],
    [
      'a chunked body over the limit',
      [head('Transfer-Encoding: chunked'), `10001\r\n${'x'.repeat(65_537)}\r\n`],
      413,
    ],
    [
      'a second Authorization header',
      [head(`Authorization: Bearer ${tokens.auditor}`, 'Content-Length: 2', 'Connection: close'), '{}'],
      401,
    ],
    [
      'a repeated webhook-id',
      [
        'POST /v1/checkpoints HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nWebhook-Id: a\r\nWebhook-Id: a\r\nWebhook-Timestamp: 1\r\nWebhook-Signature: v1,x\r\nContent-Length: 2\r\n\r\n{}',
      ],
      401,
    ],
  ])('refuses %s and closes', async (_, chunks, status) => {
    const answer = await exchange(...chunks);
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(answer).toMatch(/content-type: application\/problem\+json/i);
    // One answer only: nothing of what was sent was taken for a second request.
    expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
  });

  it('goes on serving others while one sends its body a byte at a time', async () => {
    const slow = exchange(head('Content-Length: 100'), '{');
    const answer = await exchange('GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1\.1 200 .*ok$/s);
    expect(await slow).toMatch(/^HTTP\/1\.1 408 /);
  });

  it('does not answer garbage in the middle of an answer with another one', async () => {
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    socket.setEncoding('latin1').on('data', (chunk) => {
      answer += chunk;
    });
    socket.write(`GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${tokens.board}\r\n\r\n`);
    await expect.poll(() => answer).toContain('id: 5');
    socket.write('\0\0 garbage\r\n\r\n');
    await once(socket, 'close');
    expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
  });

  const stream = (lastEventId: string | null, signal: AbortSignal) =>
    fetch(`http://127.0.0.1:${port}/v1/stream`, {
      headers: { ...bearer(tokens.auditor), ...(lastEventId !== null && { 'last-event-id': lastEventId }) },
      signal,
    });

  async function readUntil(response: Response, text: string): Promise<string> {
    let seen = '';
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) {
      seen += decoder.decode(chunk, { stream: true });
      if (seen.includes(text)) break;
    }
    return seen;
  }

  it('streams events with ids, resumes after the last one seen, and keeps the line warm', async () => {
    const leave = new AbortController();
    const first = await stream(null, leave.signal);
    expect(first.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(first.headers.get('x-correlation-id')).toMatch(/^[0-9a-f-]{36}$/);
    expect(await readUntil(first, 'id: 5')).toContain('id: 1\nevent: number\ndata: {"n":1}\n\n');
    const second = await stream('5', leave.signal);
    const seen = await readUntil(second, ': still here');
    expect(seen).toContain('id: 6\n');
    expect(seen).not.toContain('id: 5\n');
    leave.abort();
  });

  it('caps the streams of one identity and frees the place when a reader leaves', async () => {
    const leave = new AbortController();
    const streams = await Promise.all([stream(null, leave.signal), stream(null, leave.signal)]);
    expect(streams.map((s) => s.status)).toEqual([200, 200]);
    const refused = await stream(null, AbortSignal.timeout(5_000));
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '5']);
    leave.abort();
    await expect
      .poll(async () => {
        const again = new AbortController();
        const { status } = await stream(null, again.signal);
        again.abort();
        return status;
      })
      .toBe(200);
  });

  it('asks no more of its source than a reader takes, and cuts off one that takes nothing', async () => {
    const taken = { events: 0, isEnded: false };
    const text = 'x'.repeat(65_536);
    const flood = route({
      method: 'GET',
      path: '/flood',
      summary: 'Endless',
      open: true,
      responses: { 200: streamResponse('Endless') },
      handler: async () => ({
        status: 200,
        body: {
          async *subscribe({ signal }: { signal: AbortSignal }): AsyncGenerator<StreamEvent> {
            try {
              while (!signal.aborted) yield { id: String(++taken.events), data: text };
            } finally {
              taken.isEnded = true;
            }
          },
        },
      }),
    });
    const app = server({
      routes: [flood],
      limits: { streams: { ...HTTP_LIMITS.streams, stalledAfterMs: 100 } },
    });
    await app.listen({ host: '127.0.0.1', port: 0 });
    const socket = connect(Number(new URL(app.listeningOrigin).port), '127.0.0.1');
    socket.on('error', () => {});
    socket.pause();
    socket.write('GET /flood HTTP/1.1\r\nHost: x\r\n\r\n');
    await expect.poll(() => taken.isEnded, { timeout: 10_000 }).toBe(true);
    expect(taken.events).toBeGreaterThan(1);
    expect(taken.events).toBeLessThan(2_000); // what fits the kernel's buffers, not an endless heap
    socket.destroy();
    await app.close();
  });

  it.each([
    ['nothing', '', 'connection', 1_500],
    ['half a request', 'POST /v1/halt HTTP/1.1\r\nHost: x\r\n', 'connection', 1_500],
    ['a request whose handler does not end', 'GET /fail/slow HTTP/1.1\r\nHost: x\r\n\r\n', 'request', 2_500],
  ])('is not held up in closing by a peer that sent %s', async (_, bytes, event, limitMs) => {
    const app = server({ limits: { closeGraceMs: 500 } });
    await app.listen({ host: '127.0.0.1', port: 0 });
    const socket = connect(Number(new URL(app.listeningOrigin).port), '127.0.0.1');
    socket.on('error', () => {});
    const arrived = once(app.server, event);
    socket.write(bytes);
    await arrived;
    const start = performance.now();
    await app.close();
    expect(performance.now() - start).toBeLessThan(limitMs);
    socket.destroy();
  });

  it('ends streams when it closes, refuses new work meanwhile, and still takes a halt', async () => {
    const closing = server({ limits: { streams: { ...HTTP_LIMITS.streams, heartbeatMs: 50 } } });
    let release = (): void => {};
    closing.addHook(
      'preClose',
      () =>
        new Promise<void>((resolve) => {
          release = resolve;
        }),
    );
    await closing.listen({ host: '127.0.0.1', port: 0 });
    const url = closing.listeningOrigin;
    const open = await fetch(`${url}/v1/stream`, { headers: bearer(tokens.auditor) });
    const closed = closing.close();
    await open.text(); // ends by itself
    const refused = await fetch(`${url}/v1/runs/a`, { headers: bearer(tokens.auditor) });
    expect([refused.status, refused.headers.get('content-type')]).toEqual([503, 'application/problem+json']);
    const halt = await fetch(`${url}/v1/halt`, {
      method: 'POST',
      headers: { ...json, ...bearer(tokens.board) },
      body: '{"reason":"x"}',
    });
    expect(halt.status).toBe(202);
    release();
    await closed;
  });
});
