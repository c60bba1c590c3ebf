/**
 * The official client, with our own way out below it: it knows the paths, the verbs and the content types, and every
 * request of it leaves through `outbound`. Its own HTTP library (node-fetch) follows redirects, reads answers of any
 * length, turns verification off where the environment says so, and dials whatever a name resolves to.
 *
 * Answers are values, read from the body itself: the client's own reading of it checks nothing. None carries text of the other side: what is said is our own, with the status beside it.
 * Not here: what an answer means for a halt.
 */
import type { Configuration, PromiseHttpLibrary } from '@kubernetes/client-node';
import { z } from 'zod';
import { InterlockError } from '../../errors.ts';
import type { Outbound } from '../../outbound/outbound.ts';
import type { ClusterAccess } from './access.ts';

type Library = typeof import('@kubernetes/client-node');

export type Answer<T> =
  | { readonly ok: true; readonly value: T }
  | {
      readonly ok: false;
      /** The server says that there is no object of this name; what else has a 404 is not meant. */
      readonly isMissing: boolean;
      readonly status: number | null;
      /** The identical request can never help. */
      readonly isFinal: boolean;
      readonly detail: string;
    };

export interface ClientDeps {
  readonly outbound: Pick<Outbound, 'request'>;
  readonly requestTimeoutMs?: number;
}

export interface ClientCall<T> {
  readonly access: ClusterAccess;
  readonly signal: AbortSignal;
  /** What is asked for, as errors name it: `Job team/run-1`. */
  readonly what: string;
  /** The name that a 404 must repeat to say that this object is missing. */
  readonly name?: string;
  readonly answer: z.ZodType<T>;
  readonly run: (library: Library, configuration: Configuration) => Promise<unknown>;
}

/** A page of pods, each with its whole specification, is the longest. */
const RESPONSE_BYTES_MAX = 16_777_216;
const REQUEST_TIMEOUT_MS = 5_000;

let loading: Promise<Library> | undefined;

/** Loading takes a good part of a second, once; whoever may have to halt asks for it before. */
export function loadClient(): Promise<Library> {
  loading ??= import('@kubernetes/client-node').catch((error: unknown) => {
    loading = undefined;
    throw error;
  });
  return loading;
}

export async function call<T>(ask: ClientCall<T>, deps: ClientDeps): Promise<Answer<T>> {
  const { what, signal } = ask;
  if (signal.aborted) return failed(`${what}: given up before it was asked`);
  const library = await loadClient().catch(() => null);
  if (library === null) return failed(`${what}: the Kubernetes client cannot be loaded`);
  let body = '';
  try {
    const configuration = library.createConfiguration({
      baseServer: new library.ServerConfiguration(ask.access.server, {}),
      httpApi: library.wrapHttpLibrary(
        throughOutbound(library, ask, deps, (text) => {
          body = text;
        }),
      ),
    });
    await ask.run(library, configuration);
  } catch (error) {
    return classify(error, ask);
  }
  const parsed = ask.answer.safeParse(readJson(body));
  if (parsed.success) return { ok: true, value: parsed.data };
  return failed(`${what}: the answer is not what the Kubernetes API answers`);
}

function throughOutbound(
  library: Library,
  { access, signal }: Pick<ClientCall<unknown>, 'access' | 'signal'>,
  { outbound, requestTimeoutMs = REQUEST_TIMEOUT_MS }: ClientDeps,
  onBody: (text: string) => void,
): PromiseHttpLibrary {
  return {
    async send(request) {
      const body = request.getBody();
      const method = methodSchema.parse(request.getHttpMethod());
      const response = await outbound.request(
        {
          url: request.getUrl(),
          method,
          headers: {
            ...request.getHeaders(),
            // Left to itself the client sends a merge patch as a JSON patch, which is refused.
            ...(method === 'PATCH' ? { 'Content-Type': 'application/merge-patch+json' } : {}),
            ...access.headers,
          },
          ...(typeof body === 'string' ? { body } : {}),
          timeoutMs: requestTimeoutMs,
          maxResponseBytes: RESPONSE_BYTES_MAX,
          tls: access.tls,
        },
        signal,
      );
      const text = response.body.toString('utf8');
      onBody(text);
      return new library.ResponseContext(
        response.status,
        { ...response.headers },
        { text: async () => text, binary: async () => response.body },
      );
    },
  };
}

const methodSchema = z.enum(['GET', 'POST', 'PATCH', 'DELETE']);
const exceptionSchema = z.object({ code: z.int(), body: z.unknown() });
const missingSchema = z.object({
  kind: z.literal('Status'),
  reason: z.literal('NotFound'),
  details: z.object({ name: z.string(), kind: z.string() }),
});

function classify(error: unknown, { what, name }: ClientCall<unknown>): Answer<never> {
  if (error instanceof InterlockError) {
    const isFinal = error.code === 'outbound.refused' && !error.retryable;
    return failed(`${what}: ${error.message}`, { isFinal });
  }
  const exception = exceptionSchema.safeParse(error);
  if (!exception.success) return failed(`${what}: the answer is not what the Kubernetes API answers`);
  const { code: status, body } = exception.data;
  const missing = missingSchema.safeParse(readJson(body));
  const isMissing =
    status === 404 && name !== undefined && missing.success && missing.data.details.name === name;
  return failed(`${what}: ${isMissing ? 'there is none' : meaning(status)} (HTTP ${status})`, {
    status,
    isMissing,
  });
}

function meaning(status: number): string {
  switch (status) {
    case 401:
      return 'the credential is not accepted';
    case 403:
      return 'Interlock has no right to it';
    case 404:
      return 'the server knows no such path: the kind is not installed there, or something else answers';
    default:
      return status >= 300 && status < 400 ? 'a redirect, which is not followed' : 'refused';
  }
}

function failed(
  detail: string,
  more: { isMissing?: boolean; status?: number; isFinal?: boolean } = {},
): Answer<never> {
  return { ok: false, isMissing: false, status: null, isFinal: false, detail, ...more };
}

function readJson(text: unknown): unknown {
  try {
    return typeof text === 'string' ? JSON.parse(text) : text;
  } catch {
    return null;
  }
}
