/**
 * Problem details (RFC 9457): the one shape in which this service says no.
 *
 * Fails closed on knowledge: an error that is not in a table here becomes a bare 500 with the
 * correlation id; its message and stack go to the log only.
 * Not here: who logs or counts (server.ts).
 */
import { z } from 'zod';
import { InterlockError } from '../errors.ts';
import { malformed, Refusal, unavailable } from './refusal.ts';

export const PROBLEM_MEDIA_TYPE = 'application/problem+json';

export const Problem = z
  .object({
    type: z.string().describe('urn:interlock:problem:<code>; the code is stable'),
    title: z.string(),
    status: z.int(),
    detail: z.string().optional(),
    instance: z.string().describe('urn:interlock:request:<correlation id>, to quote to the operator'),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457 problem details' });
export type Problem = z.infer<typeof Problem>;

export function toProblem(refusal: Refusal, correlationId: string): Problem {
  return {
    type: `urn:interlock:problem:${refusal.code}`,
    title: refusal.title,
    status: refusal.status,
    ...(refusal.detail !== undefined && { detail: refusal.detail }),
    instance: `urn:interlock:request:${correlationId}`,
    ...(refusal.errors.length > 0 && {
      errors: refusal.errors.map(({ path, message }) => ({ path, message })),
    }),
  };
}

type Translate = (error: InterlockError) => Refusal;

const away =
  (code: string, detail: string, retryAfterS = 1): Translate =>
  (error) =>
    unavailable(code, detail, retryAfterS, error);

/** By exact code first, then by the part before the dot. Messages stay inside: clients get the code. */
const FAULTS: Readonly<Record<string, Translate>> = {
  'ledger.unavailable': away('ledger-unavailable', 'The ledger cannot be written now; nothing was recorded.'),
  'ledger.fate-unknown': away(
    'ledger-unavailable',
    'Whether this was recorded is not known yet; send the same request again.',
  ),
  'ledger.version-conflict': away('busy', 'Others were changing the same run; send the same request again.'),
  ledger: away('ledger-unavailable', 'The ledger cannot be used now; send the same request again.'),
  database: away('database-unavailable', 'The database is not available now; nothing was recorded.'),
  queue: away('queue-unavailable', 'The queue is not available now.'),
  signing: away('signing-unavailable', 'Signing is not available now; no permit was issued.', 5),
  evidence: away('evidence-unavailable', 'The store of evidence does not answer now.', 5),
  outbound: away('upstream-unavailable', 'A system this request depends on did not answer.', 5),
};

/** Faults that repeating does not mend, and that whoever asks has to know of. */
const BROKEN: Readonly<Record<string, { readonly code: string; readonly detail: string }>> = {
  'evidence.damaged': {
    code: 'evidence-damaged',
    detail: 'What is stored is not what was kept under this digest; no part of it is given out.',
  },
  'evidence.key': {
    code: 'evidence-key',
    detail: 'The private sealing key of this service cannot be used; its log says why.',
  },
};

/** What Fastify itself refuses. Anything of its own that is not listed is a fault of ours: 500. */
const FRAMEWORK: Readonly<Record<string, () => Refusal>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: () =>
    new Refusal({ status: 413, code: 'body-too-large', title: 'The body is too large' }),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: () =>
    new Refusal({ status: 415, code: 'unsupported-media-type', title: 'Unsupported media type' }),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: () =>
    malformed('malformed-framing', 'the body is not as long as Content-Length says'),
  FST_ERR_BAD_URL: () => malformed('malformed-url', 'the path is not a valid URL path'),
  FST_ERR_MAX_PARAM_LENGTH: () =>
    new Refusal({
      status: 422,
      code: 'invalid-request',
      title: 'The request is not acceptable',
      detail: 'an id in the path is longer than 128 characters',
      errors: [{ path: 'path', message: 'an id has at most 128 characters' }],
    }),
};

export const timedOut = (): Refusal =>
  unavailable(
    'timed-out',
    'No answer in time; whether it was recorded is not known. Send the same request again.',
    2,
  );

const internal = (cause: unknown, known: { code: string; detail?: string } = { code: 'internal' }): Refusal =>
  new Refusal({ status: 500, title: 'Internal error', ...known, cause });

export function toRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (error instanceof InterlockError) {
    const translate = lookUp(FAULTS, error.code) ?? lookUp(FAULTS, error.code.split('.', 1)[0] ?? '');
    // A fault that repeating cannot mend is not "come back later", whatever part it came from.
    if (translate !== undefined && error.retryable) return translate(error);
    return error.retryable
      ? unavailable('unavailable', 'Not available now.', 1, error)
      : internal(error, lookUp(BROKEN, error.code));
  }
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') {
    const known = lookUp(FRAMEWORK, error.code);
    if (known !== undefined) return known();
  }
  // A broken request stream: the framework marks it 400 and nothing else may.
  if (error instanceof Error && 'statusCode' in error && error.statusCode === 400 && 'code' in error) {
    return malformed('malformed-request', 'the request could not be read to its end');
  }
  return internal(error);
}

function lookUp<T>(table: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}
