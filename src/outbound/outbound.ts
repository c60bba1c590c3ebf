/**
 * The one way out: a guarded HTTP client that halts, pages and evaluations are sent through.
 *
 * Every request dials afresh (no pooled connection): calls are rare, a stale connection would cost a halt
 * its first attempt, and so the address that was checked is always the one that is dialled. Names are
 * resolved by our own lookup inside the connect, which closes DNS rebinding; address literals, which never
 * reach a lookup, are checked before. Redirects are not followed: a 3xx comes back as a status, and callers
 * treat it as a failure. Nothing is decompressed, TLS is verified even where the environment says
 * otherwise, and proxy variables are ignored.
 *
 * Errors name host and port and a fixed code, never path, query, headers or body (a chat webhook's path is
 * its password), and carry no cause, because a cause may quote them.
 */
import { lookup as systemLookup } from 'node:dns/promises';
import type { LookupFunction } from 'node:net';
import { Client } from 'undici';
import { InterlockError } from '../errors.ts';
import type { AllowList, Destination } from './allow-list.ts';
import { admit, admitAddresses, bareHost, defaultPort, parseAllowList } from './allow-list.ts';

export interface OutboundRequest {
  url: string;
  method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  headers?: Readonly<Record<string, string>>;
  body?: Buffer | string;
  /** Over everything: resolving, dialling, sending, waiting and reading. */
  timeoutMs: number;
  maxResponseBytes?: number;
  tls?: OutboundTls;
}

/** Who the other side must be and who we are, where a request has its own; that it is verified is not up to a request. */
export interface OutboundTls {
  /** Certificates (PEM) to trust and nothing else. */
  readonly ca?: string;
  /** The name to ask for and to verify, where it is not the host of the URL. */
  readonly servername?: string;
  /** A client certificate and its key (PEM). */
  readonly cert?: string;
  readonly key?: string;
}

export interface OutboundResponse {
  status: number;
  headers: Readonly<Record<string, string>>;
  body: Buffer;
}

export interface Outbound {
  /** Any status is an answer; throws only InterlockError with a code of `OutboundErrorCode`. */
  request(request: OutboundRequest, signal: AbortSignal): Promise<OutboundResponse>;
  /** Says before anything is sent why a URL would be refused; null where only DNS can tell. */
  refusal(url: string): string | null;
  /** Breaks off what is under way and refuses what comes after. */
  close(): Promise<void>;
}

export type OutboundErrorCode =
  /** Not allowed. `retryable` only where the reason was a DNS answer, which may change. */
  | 'outbound.refused'
  | 'outbound.unreachable'
  | 'outbound.timeout'
  | 'outbound.too-large'
  /** The caller's own signal. */
  | 'outbound.cancelled';

/** Every address of a name, as the system, given servers (resolver.ts) or a test resolve it. */
export type Resolve = (hostname: string) => Promise<readonly { address: string; family: number }[]>;

export interface OutboundOptions {
  allow: readonly string[];
  connectTimeoutMs?: number;
  /** Certificates (PEM) to trust besides nothing else: for a private authority. */
  tlsCa?: readonly string[];
  resolve?: Resolve;
}

const RESPONSE_BYTES_MAX = 65_536;

export function createOutbound(options: OutboundOptions): Outbound {
  const { connectTimeoutMs = 5_000, tlsCa, resolve = resolveBySystem } = options;
  const allow = parseAllowList(options.allow);
  const active = new Set<AbortController>();
  let closed = false;

  async function request(ask: OutboundRequest, signal: AbortSignal): Promise<OutboundResponse> {
    const { to, target, named } = plan(allow, ask.url);
    if (closed || signal.aborted) throw fault('outbound.cancelled', to, 'was given up before it was sent');

    const breakOff = new AbortController();
    const onCancel = (): void => breakOff.abort(fault('outbound.cancelled', to, 'was given up'));
    const deadline = setTimeout(
      () => breakOff.abort(fault('outbound.timeout', to, `had no answer in ${ask.timeoutMs} ms`)),
      ask.timeoutMs,
    );
    signal.addEventListener('abort', onCancel, { once: true });
    active.add(breakOff);
    const client = new Client(target.origin, {
      pipelining: 0,
      headersTimeout: ask.timeoutMs,
      bodyTimeout: ask.timeoutMs,
      connect: {
        timeout: Math.min(connectTimeoutMs, ask.timeoutMs),
        ...(tlsCa === undefined ? {} : { ca: [...tlsCa] }),
        ...ask.tls,
        rejectUnauthorized: true,
        lookup: guardedLookup(allow, to, named, resolve),
      },
    });
    try {
      const response = await client.request({
        path: `${target.pathname}${target.search}`,
        method: ask.method,
        headers: { 'user-agent': 'interlock', ...ask.headers },
        body: ask.body ?? null,
        signal: breakOff.signal,
      });
      const body = await readCapped(response.body, ask.maxResponseBytes ?? RESPONSE_BYTES_MAX, to);
      return { status: response.statusCode, headers: flatten(response.headers), body };
    } catch (error) {
      throw classifyFailure(breakOff.signal.aborted ? breakOff.signal.reason : error, to);
    } finally {
      clearTimeout(deadline);
      signal.removeEventListener('abort', onCancel);
      active.delete(breakOff);
      // Also ends a dial that is still under way. Not awaited: its outcome changes nothing.
      client.destroy().catch(() => undefined);
    }
  }

  return {
    request,
    refusal(url) {
      try {
        plan(allow, url);
        return null;
      } catch (error) {
        return error instanceof InterlockError ? error.message : 'the URL is not valid';
      }
    },
    async close() {
      closed = true;
      for (const controller of active) {
        controller.abort(
          new InterlockError('a request was given up at shutdown', { code: 'outbound.cancelled' }),
        );
      }
    },
  };
}

/** Parses the URL and settles everything that can be settled without DNS. */
function plan(allow: AllowList, url: string): { to: Destination; target: URL; named: boolean } {
  const target = parseUrl(url);
  const scheme = target.protocol === 'https:' ? 'https' : 'http';
  const port = target.port === '' ? defaultPort(scheme) : Number(target.port);
  const to: Destination = { scheme, host: bareHost(target.hostname), port };
  const admission = admit(allow, to);
  if (admission.admitted === false) throw refused(to, admission.why);
  return { to, target, named: admission.admitted === 'by-address' && admission.named };
}

function parseUrl(url: string): URL {
  // URL.canParse first: the error of `new URL` quotes the URL.
  const target = URL.canParse(url) ? new URL(url) : null;
  if (target === null || (target.protocol !== 'http:' && target.protocol !== 'https:')) {
    throw new InterlockError('an outbound URL must be http or https', { code: 'outbound.refused' });
  }
  if (target.username !== '' || target.password !== '') {
    throw new InterlockError('an outbound URL must not carry credentials', { code: 'outbound.refused' });
  }
  return target;
}

/** Resolves and judges in one step: what passes here is what the socket is given. */
function guardedLookup(allow: AllowList, to: Destination, named: boolean, resolve: Resolve): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname).then(
      (answer) => {
        const verdict = admitAddresses(
          allow,
          to,
          named,
          answer.map(({ address }) => address),
        );
        const [first] = answer;
        if (!verdict.admitted) callback(refused(to, verdict.why, true), '', 0);
        else if (first === undefined) callback(refused(to, 'its name has no address', true), '', 0);
        else if (options.all === true) callback(null, [...answer]);
        else callback(null, first.address, first.family);
      },
      (error: unknown) =>
        callback(fault('outbound.unreachable', to, `has no address (${codeOf(error)})`), '', 0),
    );
  };
}

function resolveBySystem(hostname: string): ReturnType<Resolve> {
  return systemLookup(hostname, { all: true, verbatim: true });
}

async function readCapped(body: AsyncIterable<Buffer>, bytesMax: number, to: Destination): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > bytesMax)
      throw fault('outbound.too-large', to, `answered with more than ${bytesMax} bytes`, false);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function flatten(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
  const entries = Object.entries(headers).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, Array.isArray(value) ? value.join(', ') : value] as const],
  );
  return Object.fromEntries(entries);
}

const TIMEOUT_CODES = new Set([
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'ETIMEDOUT',
]);

function classifyFailure(error: unknown, to: Destination): InterlockError {
  if (error instanceof InterlockError) return error;
  const code = codeOf(error);
  if (TIMEOUT_CODES.has(code)) return fault('outbound.timeout', to, `timed out (${code})`);
  if (code === 'UND_ERR_HEADERS_OVERFLOW')
    return fault('outbound.too-large', to, 'answered with too many headers', false);
  if (code === 'UND_ERR_INVALID_ARG') return refused(to, 'the request is not valid HTTP');
  return fault('outbound.unreachable', to, `cannot be reached or broke off (${code})`);
}

/** The machine code of a system, TLS or client error; its text may quote what it was given. */
function codeOf(error: unknown): string {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,63}$/.test(code) ? code : 'unknown';
}

function fault(code: OutboundErrorCode, to: Destination, what: string, retryable = true): InterlockError {
  return new InterlockError(`${nameOf(to)} ${what}`, { code, retryable });
}

function refused(to: Destination, why: string, retryable = false): InterlockError {
  return new InterlockError(`${nameOf(to)} is refused: ${why}`, { code: 'outbound.refused', retryable });
}

function nameOf({ host, port }: Destination): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
