import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ACCESS } from '../../src/http/access.ts';
import { openApiDocument } from '../../src/http/openapi.ts';
import { rawResponse, route, streamResponse } from '../../src/http/route.ts';

const Compute = z.union([z.number(), z.string()]).meta({ id: 'Compute', description: 'FLOP' });
const Target = z
  .strictObject({ url: z.string(), kind: z.string().default('webhook') })
  .meta({ id: 'Target' });
const Run = z
  .strictObject({ runId: z.string(), compute: Compute, targets: z.array(Target) })
  .meta({ id: 'Run', description: 'A run' });

const routes = [
  route({
    method: 'POST',
    path: '/v1/runs',
    summary: 'Register a run',
    tags: ['runs'],
    body: Run,
    responses: { 201: Run, 200: Run },
    handler: async ({ body }) => ({ status: 201, body }),
  }),
  route({
    method: 'GET',
    path: '/v1/runs/:run/events',
    summary: 'Events',
    params: z.strictObject({ run: z.string().max(128) }),
    query: z.strictObject({
      after: z.string().optional(),
      limit: z.coerce.number().int().max(100).default(50).describe('Page size'),
    }),
    responses: { 200: z.strictObject({ items: z.array(Run), nextCursor: z.string().nullable() }) },
    handler: async () => ({ status: 200, body: { items: [], nextCursor: null } }),
  }),
  route({
    method: 'GET',
    path: '/metrics',
    summary: 'Metrics',
    open: true,
    responses: { 200: rawResponse('text/plain; version=0.0.4', 'Prometheus text') },
    handler: async () => ({ status: 200, body: '' }),
  }),
  route({
    method: 'GET',
    path: '/v1/stream',
    summary: 'Stream',
    responses: { 200: streamResponse('Events') },
    handler: async () => ({ status: 200, body: { subscribe: async function* () {} } }),
  }),
];

describe('OpenAPI', () => {
  const document = JSON.parse(
    JSON.stringify(openApiDocument(routes, { title: 'Interlock', version: '1', description: 'd' }, ACCESS)),
  );

  it('describes what is received under the plain name and what is sent, where it differs, as Input', () => {
    const { schemas } = document.components;
    expect(Object.keys(schemas)).toEqual(['Compute', 'Problem', 'Run', 'RunInput', 'Target', 'TargetInput']);
    expect(schemas.Target.required).toEqual(['url', 'kind']);
    expect(schemas.TargetInput.required).toEqual(['url']);
    expect(schemas.RunInput.properties.targets.items.$ref).toBe('#/components/schemas/TargetInput');
    expect(schemas.RunInput.properties.compute.$ref).toBe('#/components/schemas/Compute');
    expect(schemas.Run.additionalProperties).toBe(false);
  });

  it('describes each operation with its bodies, roles and problem', () => {
    const { post } = document.paths['/v1/runs'];
    expect(post).toMatchObject({
      operationId: 'postRuns',
      summary: 'Register a run',
      tags: ['runs'],
      description: 'Roles: trainer, operator.',
      security: [{ bearer: [] }, { webhook: [] }],
      requestBody: {
        required: true,
        content: { 'application/json': { schema: { $ref: '#/components/schemas/RunInput' } } },
      },
    });
    expect(post.responses['201']).toEqual({
      description: 'A run',
      content: { 'application/json': { schema: { $ref: '#/components/schemas/Run' } } },
    });
    expect(post.responses.default.content).toEqual({
      'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } },
    });
  });

  it('describes parameters, with what has a default as optional', () => {
    expect(document.paths['/v1/runs/{run}/events'].get.parameters).toEqual([
      { name: 'run', in: 'path', required: true, schema: { type: 'string', maxLength: 128 } },
      { name: 'after', in: 'query', required: false, schema: { type: 'string' } },
      expect.objectContaining({ name: 'limit', in: 'query', required: false, description: 'Page size' }),
    ]);
  });

  it('describes what is not JSON by its media type, and what is open to all as such', () => {
    expect(document.paths['/metrics'].get).toMatchObject({
      security: [],
      responses: { 200: { content: { 'text/plain': {} } } },
    });
    expect(document.paths['/v1/stream'].get.responses['200'].content).toHaveProperty('text/event-stream');
  });

  it('has no reference that leads nowhere, and one name per operation', () => {
    const references = [
      ...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g),
    ].map((m) => m[1]);
    for (const name of references) expect(document.components.schemas).toHaveProperty(String(name));
    expect(JSON.stringify(document)).not.toContain('$defs');
    const ids = Object.values<Record<string, { operationId: string }>>(document.paths).flatMap((p) =>
      Object.values(p).map((o) => o.operationId),
    );
    expect(new Set(ids).size).toBe(ids.length);
  });
});
