/**
 * Refusal: an answer that says no, with what the caller may know about why.
 *
 * A handler may throw one or return one; both become the same problem document (problem.ts).
 * Everything in it is shown to the caller: never put a secret, a body or a model's words into it.
 * `security` marks a refusal that belongs in the ledger's security stream (another source's run, a
 * replayed id with other content, a missing role); the server reports those to `onRefusal`.
 */
export interface FieldError {
  /** Where: `targets[0].url` in a body, `query.limit`, `path.run`, `header.webhook-id`. */
  path: string;
  message: string;
}

export interface RefusalOptions {
  status: number;
  /** Kebab-case and stable; the last part of the problem's type URI. */
  code: string;
  title: string;
  detail?: string;
  errors?: readonly FieldError[];
  retryAfterS?: number;
  headers?: Readonly<Record<string, string>>;
  security?: boolean;
  cause?: unknown;
}

export class Refusal extends Error {
  readonly status: number;
  readonly code: string;
  readonly title: string;
  readonly detail: string | undefined;
  readonly errors: readonly FieldError[];
  readonly retryAfterS: number | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly security: boolean;

  constructor(o: RefusalOptions) {
    super(o.detail ?? o.title, o.cause === undefined ? undefined : { cause: o.cause });
    this.name = 'Refusal';
    this.status = o.status;
    this.code = o.code;
    this.title = o.title;
    this.detail = o.detail;
    this.errors = o.errors ?? [];
    this.retryAfterS = o.retryAfterS;
    this.headers = o.headers ?? {};
    this.security = o.security ?? false;
  }
}

/** 400: could not be read at all. */
export function malformed(code: string, detail: string, errors?: readonly FieldError[]): Refusal {
  return new Refusal({
    status: 400,
    code,
    title: 'The request cannot be read',
    detail,
    ...(errors && { errors }),
  });
}

/** 422: read, but a field is not acceptable. */
export function invalid(errors: readonly FieldError[], detail?: string): Refusal {
  const first = errors[0];
  return new Refusal({
    status: 422,
    code: 'invalid-request',
    title: 'The request is not acceptable',
    detail: detail ?? (first === undefined ? 'a field is not acceptable' : `${first.path}: ${first.message}`),
    errors,
  });
}

/** 401: says nothing but which schemes there are; a reason would help only an attacker. `detail`: where else to go. */
export function unauthenticated(schemes: string, detail?: string): Refusal {
  return new Refusal({
    status: 401,
    code: 'unauthenticated',
    title: 'Authentication is required',
    ...(detail !== undefined && { detail }),
    headers: { 'www-authenticate': schemes },
    security: true,
  });
}

/** `path`, here and below: which part of the request it is about, where there is one. */
export function forbidden(detail: string, path?: string): Refusal {
  return new Refusal({
    status: 403,
    code: 'forbidden',
    title: 'Not allowed',
    detail,
    errors: at(path, detail),
    security: true,
  });
}

export function notFound(detail: string, path?: string): Refusal {
  return new Refusal({
    status: 404,
    code: 'not-found',
    title: 'Not found',
    detail,
    errors: at(path, detail),
  });
}

const at = (path: string | undefined, message: string): FieldError[] =>
  path === undefined ? [] : [{ path, message }];

/** 409: the same id with different content, or a state that does not allow it. */
export function conflict(code: string, detail: string, security = false, path?: string): Refusal {
  return new Refusal({
    status: 409,
    code,
    title: 'Conflict with what is recorded',
    detail,
    errors: at(path, detail),
    security,
  });
}

export function unsupportedMediaType(detail: string, path = 'header.content-type'): Refusal {
  return new Refusal({
    status: 415,
    code: 'unsupported-media-type',
    title: 'Unsupported media type',
    detail,
    errors: at(path, detail),
  });
}

/** 503: nothing was recorded unless the detail says so; the same request may be sent again. */
export function unavailable(code: string, detail: string, retryAfterS: number, cause?: unknown): Refusal {
  return new Refusal({ status: 503, code, title: 'Not available now', detail, retryAfterS, cause });
}
