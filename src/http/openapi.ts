/**
 * OpenAPI 3.1 from the routes: the very schemas that validate, written down.
 *
 * zod makes JSON Schema 2020-12, which is OpenAPI 3.1's dialect. Schemas with an id (`.meta({ id })`)
 * become components. Requests are described as sent and responses as received: where one id differs
 * between the two (a default makes a field optional to send and certain to receive), the form to send
 * is `<Id>Input`.
 */

import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { type AccessTable, accessOf } from './access.ts';
import { FILE_MEDIA_TYPE } from './body.ts';
import { JSON_MEDIA_TYPE } from './content-type.ts';
import { FORM_MEDIA_TYPE } from './form.ts';
import { PROBLEM_MEDIA_TYPE, Problem } from './problem.ts';
import type { Route } from './route.ts';

type JsonSchema = z.core.JSONSchema.BaseSchema;

export interface OpenApiInfo {
  title: string;
  version: string;
  description: string;
  /** Where the API is served, if known. */
  serverUrl?: string;
}

export interface OpenApiDocument {
  openapi: '3.1.1';
  info: { title: string; version: string; description: string };
  servers?: { url: string }[];
  paths: { [path: string]: { [method: string]: unknown } };
  components: { schemas: { [id: string]: JsonSchema }; securitySchemes: { [id: string]: unknown } };
}

export function openApiDocument(
  routes: readonly Route[],
  info: OpenApiInfo,
  table: AccessTable,
): OpenApiDocument {
  const components = new Components();
  const problem = {
    description: 'Refused: problem details',
    content: { [PROBLEM_MEDIA_TYPE]: { schema: components.add(Problem, 'output') } },
  };
  // All responses before any request, so that the plain name is always the form that is received.
  for (const spec of routes.flatMap((route) => Object.values(route.responses))) {
    if (spec instanceof z.ZodType) components.add(spec, 'output');
  }
  const paths: OpenApiDocument['paths'] = {};
  for (const route of routes) {
    const path = route.path.replace(/:([A-Za-z]+)/g, '{$1}');
    const operations = paths[path] ?? {};
    operations[route.method.toLowerCase()] = operation(route, table, components, problem);
    paths[path] = operations;
  }
  return {
    openapi: '3.1.1',
    info: { title: info.title, version: info.version, description: info.description },
    ...(info.serverUrl !== undefined && { servers: [{ url: info.serverUrl }] }),
    paths,
    components: {
      schemas: components.sorted(),
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: 'A token that begins with ilk_' },
        webhook: {
          type: 'apiKey',
          in: 'header',
          name: 'webhook-signature',
          description:
            'Standard Webhooks 1.0: webhook-id, webhook-timestamp and webhook-signature over the raw body',
        },
      },
    },
  };
}

function operation(route: Route, table: AccessTable, components: Components, problem: unknown): unknown {
  const { who, auth } = accessOf(table, route);
  const responses: { [status: string]: unknown } = {};
  for (const [status, spec] of Object.entries(route.responses)) {
    if (spec instanceof z.ZodType) {
      const schema = components.add(spec, 'output');
      responses[status] = {
        description: spec.meta()?.description ?? spec.meta()?.title ?? reason(status),
        content: { [JSON_MEDIA_TYPE]: { schema } },
      };
    } else {
      const mediaType = spec.kind === 'raw' ? (spec.contentType.split(';', 1)[0] ?? '') : 'text/event-stream';
      responses[status] = {
        description: spec.description,
        content: { [mediaType]: { schema: { type: 'string' } } },
      };
    }
  }
  responses['default'] = problem;
  const roles = who === 'everyone' ? null : who === 'identified' ? 'any identity' : who.join(', ');
  const parameters = [
    ...parametersOf(route.params, 'path', components),
    ...parametersOf(route.query, 'query', components),
  ];
  return {
    operationId: operationId(route),
    summary: route.summary,
    description:
      [route.description, roles === null ? null : `Roles: ${roles}.`].filter(Boolean).join('\n\n') ||
      undefined,
    tags: route.tags.length > 0 ? route.tags : undefined,
    security: auth.map((method) => ({ [method]: [] })),
    parameters: parameters.length > 0 ? parameters : undefined,
    requestBody:
      route.body === null
        ? undefined
        : {
            required: true,
            content: {
              [route.form ? FORM_MEDIA_TYPE : JSON_MEDIA_TYPE]: {
                schema: components.add(route.body, 'input'),
              },
              ...(route.file !== null && {
                [FILE_MEDIA_TYPE]: { schema: { type: 'string', format: 'binary' } },
              }),
            },
          },
    responses,
  };
}

function parametersOf(schema: z.ZodType | null, place: 'path' | 'query', components: Components): unknown[] {
  if (!(schema instanceof z.ZodObject)) return [];
  return Object.entries(schema.shape).map(([name, member]) => ({
    name,
    in: place,
    required: place === 'path' || !z.safeParse(member, undefined).success,
    description: z.globalRegistry.get(member)?.description,
    schema: components.add(member, 'input'),
  }));
}

/** `POST /v1/runs/:run/halt` is `postRunsRunHalt`. */
function operationId({ method, path }: Route): string {
  const words = path.split(/[^A-Za-z0-9]+/).filter((word) => word !== '' && word !== 'v1');
  return method.toLowerCase() + words.map((word) => word[0]?.toUpperCase() + word.slice(1)).join('');
}

function reason(status: string): string {
  const words: Readonly<Record<string, string>> = {
    '200': 'OK',
    '201': 'Created',
    '202': 'Accepted',
    '204': 'Done',
  };
  return words[status] ?? `Status ${status}`;
}

/** Collects the shared schemas and rewrites references to them. */
class Components {
  readonly #schemas = new Map<string, JsonSchema>();

  add(schema: z.core.$ZodType, io: 'input' | 'output'): JsonSchema {
    const {
      $defs = {},
      $schema: _,
      ...root
    } = z.toJSONSchema(schema, { target: 'draft-2020-12', io, unrepresentable: 'any' });
    const names = new Map<string, string>();
    for (const id of Object.keys($defs)) names.set(id, this.#nameFor(id, $defs));
    for (const [id, def] of Object.entries($defs))
      this.#schemas.set(names.get(id) ?? id, rename(withoutId(def), names));
    return rename(root, names);
  }

  /** Plain where the definition and all it reaches agree with what is there; else `<Id>Input`. */
  #nameFor(id: string, defs: Readonly<Record<string, JsonSchema>>): string {
    const reached = reach(id, defs);
    const plain = new Map(Object.keys(defs).map((name) => [name, name]));
    const differs = [...reached].some((name) => {
      const def = defs[name];
      const have = this.#schemas.get(name);
      return (
        def !== undefined && have !== undefined && !isDeepStrictEqual(have, rename(withoutId(def), plain))
      );
    });
    return differs ? `${id}Input` : id;
  }

  sorted(): { [id: string]: JsonSchema } {
    return Object.fromEntries([...this.#schemas].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

function withoutId(schema: JsonSchema): JsonSchema {
  const { id: _, ...rest } = schema;
  return rest;
}

function reach(
  id: string,
  defs: Readonly<Record<string, JsonSchema>>,
  seen = new Set<string>(),
): Set<string> {
  if (seen.has(id)) return seen;
  seen.add(id);
  const text = JSON.stringify(defs[id] ?? {});
  for (const [, next] of text.matchAll(/"#\/\$defs\/([^"]+)"/g))
    if (next !== undefined) reach(next, defs, seen);
  return seen;
}

function rename<T>(value: T, names: ReadonlyMap<string, string>): T {
  const text = JSON.stringify(value).replace(
    /"#\/\$defs\/([^"]+)"/g,
    (_, id: string) => `"#/components/schemas/${names.get(id) ?? id}"`,
  );
  return JSON.parse(text);
}
