/**
 * Routes: what a resource file declares, and the one place where a request's parts are checked.
 *
 * A route states its schemas for params, query, body and each response status once; the server
 * validates with them and the OpenAPI document is generated from them, so the two cannot differ.
 * `route()` closes over the schemas' types: the handler is typed from them, the server is not generic.
 * Every fault of a request is reported at once (422), in the order path, query, body.
 */
import { z } from 'zod';
import type { Identity } from '../config/identities.ts';
import type { JsonObject } from '../domain/canonical-json.ts';
import { fieldPath, fieldProblems } from '../domain/field-errors.ts';
import { type FieldError, invalid, type Refusal } from './refusal.ts';
import type { StreamSource } from './sse.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** A response that is not JSON from a schema: a page, metrics, signed bytes. */
export interface RawResponse {
  kind: 'raw';
  contentType: string;
  description: string;
}
/** A `text/event-stream`; the body given is a StreamSource. */
export interface StreamResponse {
  kind: 'stream';
  description: string;
}
export type ResponseSpec = z.ZodType | RawResponse | StreamResponse;
export type Responses = { readonly [status: number]: ResponseSpec };

export const rawResponse = (contentType: string, description: string): RawResponse => ({
  kind: 'raw',
  contentType,
  description,
});
export const streamResponse = (description: string): StreamResponse => ({ kind: 'stream', description });

export interface WebhookDelivery {
  /** Unique for ever per source, which is the identity's id. */
  id: string;
  timestampS: number;
}

/** A request after authentication, before its parts are checked. */
export interface RawCall {
  params: unknown;
  query: unknown;
  body: JsonObject | undefined;
  headers: Readonly<Record<string, string | string[] | undefined>>;
  rawBody: Buffer;
  identity: Identity | null;
  correlationId: string;
  webhook: WebhookDelivery | null;
}

export interface Call<P, Q, B, I> extends Omit<RawCall, 'params' | 'query' | 'body' | 'identity'> {
  params: P;
  query: Q;
  body: B;
  /** null only on a route that is `open`. */
  identity: I;
}

type BodyOf<S> = S extends z.ZodType
  ? z.input<S>
  : S extends RawResponse
    ? string | Buffer
    : S extends StreamResponse
      ? StreamSource
      : never;

export interface Answer<R extends Responses, S extends keyof R> {
  status: S;
  body: BodyOf<R[S]>;
  headers?: Readonly<Record<string, string>>;
}

export interface AnyAnswer {
  status: number;
  body: unknown;
  headers?: Readonly<Record<string, string>>;
}

/** Takes the resource out of an envelope such as a CloudEvent, before the body's schema sees it. */
export interface Unwrapped {
  value: JsonObject;
  /** Where the value stands in the body, for error paths: `data`, or empty. */
  at: string;
}
export type Unwrap = (headers: RawCall['headers'], body: JsonObject) => Unwrapped | Refusal;

interface RouteFacts {
  method: Method;
  /** With `:name` for parameters. */
  path: string;
  summary: string;
  description?: string;
  tags?: readonly string[];
  bodyLimitBytes?: number;
  /** From the request's first byte to its answer; left out, the server's `handlerTimeoutMs`. */
  timeoutMs?: number;
  /** Comes every few seconds for ever: answers that are no refusal are counted and not logged. */
  isFrequent?: true;
  /** Further media types of the body, beside application/json. */
  mediaTypes?: readonly string[];
  /** The body is an HTML form, and nothing else is taken. */
  form?: true;
  unwrap?: Unwrap;
}

export interface RouteDefinition<
  P extends z.ZodType,
  Q extends z.ZodType,
  B extends z.ZodType,
  R extends Responses,
  O extends boolean,
  S extends keyof R,
> extends RouteFacts {
  params?: P;
  query?: Q;
  body?: B;
  responses: R;
  /** The handler is written for callers that nobody knows. Who may call is not said here but in access.ts. */
  open?: O;
  handler: (
    call: Call<z.output<P>, z.output<Q>, z.output<B>, O extends true ? null : Identity>,
  ) => Promise<Answer<R, S> | Refusal>;
  /** Where the query asks for it, the body is a file: not parsed, and answered here. */
  file?: FileFacts & {
    handler: (
      call: Call<z.output<P>, z.output<Q>, undefined, O extends true ? null : Identity>,
    ) => Promise<Answer<R, S> | Refusal>;
  };
}

export interface FileFacts {
  isAsked: (query: unknown) => boolean;
  /** Of callers who are known before their body is read; of others the route's own limit holds. */
  limitBytes: number;
}

export interface Route extends RouteFacts {
  params: z.ZodType | null;
  query: z.ZodType | null;
  body: z.ZodType | null;
  responses: Responses;
  file: FileFacts | null;
  open: boolean;
  tags: readonly string[];
  handle(call: RawCall): Promise<AnyAnswer | Refusal>;
}

type NoParts = z.ZodUndefined;

export function route<
  P extends z.ZodType = NoParts,
  Q extends z.ZodType = NoParts,
  B extends z.ZodType = NoParts,
  const R extends Responses = Responses,
  O extends boolean = false,
  S extends keyof R = keyof R,
>(definition: RouteDefinition<P, Q, B, R, O, S>): Route;
export function route({
  handler,
  ...d
}: RouteDefinition<z.ZodType, z.ZodType, z.ZodType, Responses, boolean, number>): Route {
  const params = d.params ?? null;
  const query = d.query ?? null;
  // Made once: to make a schema costs many times what it costs to use one.
  const queryTaken = query ?? z.strictObject({});
  const body = d.body ?? null;
  const open = d.open ?? false;
  const file = d.file ?? null;
  return {
    ...d,
    params,
    query,
    body,
    file,
    open,
    tags: d.tags ?? [],
    async handle(call) {
      const errors: FieldError[] = [];
      const parsed: { params: unknown; query: unknown; body: unknown } = {
        params: check(params, call.params, 'path', errors),
        query: check(queryTaken, call.query, 'query', errors),
        body: undefined,
      };
      const isFile = file?.isAsked(call.query) === true;
      if (body !== null && !isFile) {
        const content = call.body ?? {};
        const inner = d.unwrap === undefined ? { value: content, at: '' } : d.unwrap(call.headers, content);
        if (!('value' in inner)) return inner;
        parsed.body = check(body, inner.value, inner.at, errors);
      }
      if (errors.length > 0) return invalid(errors.slice(0, ERRORS_MAX));
      if (!open && call.identity === null) {
        throw new TypeError(`${d.method} ${d.path} was reached without an identity`);
      }
      if (isFile) return file.handler({ ...call, ...parsed, body: undefined });
      return handler({ ...call, ...parsed });
    },
  };
}

const ERRORS_MAX = 20;

function check(schema: z.ZodType | null, value: unknown, at: string, errors: FieldError[]): unknown {
  if (schema === null) return undefined;
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  for (const { parts, message } of fieldProblems(schema, result.error, ERRORS_MAX)) {
    errors.push({ path: fieldPath(at === '' ? parts : [at, ...parts]) || 'body', message });
  }
  return undefined;
}
