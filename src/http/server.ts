/**
 * The HTTP server: takes routes, gives an unlistened Fastify instance.
 *
 * The order of a request: let in (load) -> what credential is presented -> bearer token, its budget and role ->
 * media type -> raw body -> or else signature over those raw bytes, its budget and role -> strict JSON -> schemas ->
 * handler.
 * So nothing is parsed for a caller we do not know, and nothing is decided on bytes we did not verify.
 * Every answer that says no is a problem document; nothing internal is in it. Halts are let in even
 * under load and while the server is closing.
 * Not here: what the routes do, and business rules of any kind.
 */
import type { ServerResponse } from 'node:http';
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import { z } from 'zod';
import type { Identity } from '../config/identities.ts';
import type { JsonObject } from '../domain/canonical-json.ts';
import { faultPoint } from '../fault-points.ts';
import { withCorrelation } from '../telemetry/correlation.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { withIncomingTrace } from '../telemetry/tracing.ts';
import { ACCESS, type Access, type AccessTable, accessOf } from './access.ts';
import { isStream, routesByPath } from './allowed-methods.ts';
import { type Authenticated, type Authenticator, refuseCredentialsInQuery } from './authentication.ts';
import { bodyLimitOf, capOf, capped, FILE_MEDIA_TYPE, isFile, mediaTypesOf } from './body.ts';
import { answerBrokenRequest, answerByHand, EXPECTATION_FAILED, NOT_HTTP } from './by-hand.ts';
import { exactMediaType, JSON_MEDIA_TYPE } from './content-type.ts';
import { documentationRoutes } from './documentation.ts';
import { FORM_MEDIA_TYPE, parseForm } from './form.ts';
import { HTTP_LIMITS, type HttpLimits } from './limits.ts';
import { createLoadGauge, type LoadGauge } from './load.ts';
import { createNodeServer, type NodeServer } from './node-server.ts';
import type { OpenApiInfo } from './openapi.ts';
import { PROBLEM_MEDIA_TYPE, timedOut, toProblem, toRefusal } from './problem.ts';
import { addressKey, createRateLimiter, tooManyRequests } from './rate-limits.ts';
import { forbidden, malformed, notFound, Refusal, unavailable, unsupportedMediaType } from './refusal.ts';
import { correlationIdOf, hasBody, hasOneHost, hasShortBody } from './request-facts.ts';
import type { AnyAnswer, RawCall, Route } from './route.ts';
import { HTTPS_ONLY, SECURITY_HEADERS } from './security-headers.ts';
import { readLastEventId, StreamRegistry, type StreamSource, sse } from './sse.ts';
import { parseStrictJson } from './strict-json.ts';
import { openVisit, type Visit } from './visit.ts';

/** A refusal as counters, logs and the ledger's security stream may know it. */
export interface RefusalReport {
  code: string;
  status: number;
  method: string;
  /** The pattern, never the path as sent. */
  route: string;
  correlationId: string;
  identityId: string | null;
  /** Whether it belongs in the ledger's security stream. */
  security: boolean;
}

export interface ServerOptions {
  routes: readonly Route[];
  /** Who may call which; a route without a row is refused here. Only tests have one of their own. */
  access?: AccessTable;
  authenticator: Authenticator;
  /** Whether callers reach it by https, through a proxy. */
  isHttps?: boolean;
  logger: FastifyBaseLogger;
  info: OpenApiInfo;
  limits?: Partial<HttpLimits>;
  /** Checks each answer against its schema (500 where it does not fit). On except in production. */
  validateResponses?: boolean;
  load?: LoadGauge;
  metrics?: Metrics;
  /** Where refusals with `security` go to the ledger's security stream. Must not throw or wait. */
  onRefusal?: (report: RefusalReport) => void;
}

declare module 'fastify' {
  interface FastifyRequest {
    rawBody: Buffer | null;
    authenticated: Authenticated | null;
    visit: Visit | null;
  }
}

const NO_BODY = Buffer.alloc(0);

export function buildServer(options: ServerOptions): FastifyInstance {
  const everywhere = { ...SECURITY_HEADERS, ...(options.isHttps === true && HTTPS_ONLY) };
  const limits: HttpLimits = { ...HTTP_LIMITS, ...options.limits };
  const load = options.load ?? createLoadGauge(limits.load);
  const streams = new StreamRegistry(limits.streams);
  const rates = createRateLimiter(limits.rates);
  const table = options.access ?? ACCESS;
  const routes = [...options.routes, ...documentationRoutes(options.routes, options.info, table)];
  const allowed = routesByPath(routes);
  const unlogged = new Set(
    routes
      .filter((each) => each.isFrequent === true || accessOf(table, each).priority === 'probe')
      .map(({ path }) => path),
  );
  let isClosing = false;
  let node: NodeServer | null = null;
  const broken = new WeakSet<object>();
  const countBroken =
    (socket: object | null) =>
    (code: string, status: number): void => {
      if (socket !== null) broken.add(socket);
      options.metrics?.count('interlock_http_refusals_total', { code, status });
    };
  options.metrics?.collect('interlock_http_in_flight', load.inFlight);
  options.metrics?.collect('interlock_http_streams', () => streams.size);
  options.metrics?.collect('interlock_event_loop_delay_seconds', () => load.loopDelayMs() / 1000);

  const app: FastifyInstance = Fastify({
    loggerInstance: options.logger,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'correlationId' }),
    bodyLimit: limits.bodyLimitBytes,
    forceCloseConnections: 'idle',
    // Refused below instead, as a problem document, and not for halts.
    return503OnClosing: false,
    exposeHeadRoutes: false,
    trustProxy: false,
    genReqId: (request) => correlationIdOf(request.headers['x-correlation-id']),
    serverFactory: (handler) => {
      node = createNodeServer(handler, limits);
      // Left to Node, both end without a problem document and without being counted.
      node.server.on('checkExpectation', (_request, response: ServerResponse) =>
        answerByHand(response.socket, EXPECTATION_FAILED, countBroken(response.socket)),
      );
      node.server.on('connect', (_request, socket) => answerByHand(socket, NOT_HTTP, countBroken(socket)));
      return node.server;
    },
    routerOptions: { maxParamLength: limits.paramLengthMax },
    frameworkErrors: (error, request, reply) => {
      reply.headers(everywhere);
      answerRefusal(toRefusal(error), error, request, reply);
    },
    clientErrorHandler: (error, socket) => answerBrokenRequest(error, socket, countBroken(socket)),
  });
  app.decorateRequest('rawBody', null);
  app.decorateRequest('authenticated', null);
  app.decorateRequest('visit', null);

  app.removeAllContentTypeParsers();
  const bodyTypes = new Set([
    JSON_MEDIA_TYPE,
    FORM_MEDIA_TYPE,
    ...routes.flatMap((route) => route.mediaTypes ?? []),
    FILE_MEDIA_TYPE,
  ]);
  for (const mediaType of bodyTypes) {
    app.addContentTypeParser(mediaType, { parseAs: 'buffer' }, (request, body, done) => {
      request.rawBody = Buffer.isBuffer(body) ? body : Buffer.from(body);
      done(null, undefined);
    });
  }

  app.addHook('onRequest', async (request, reply) => {
    reply.headers(everywhere);
    reply.header('x-correlation-id', request.id);
    if (!hasOneHost(request)) throw malformed('malformed-http', 'a request names its Host once');
    const coding = request.headers['transfer-encoding'];
    if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
      throw malformed('malformed-http', 'a body comes plain: Transfer-Encoding can only be chunked');
    }
  });
  app.addHook('onSend', async (_request, reply) => {
    // Answers that were under way when closing began would otherwise keep their connections alive.
    if (isClosing) reply.header('connection', 'close');
  });
  app.addHook('onResponse', async (request, reply) => {
    if (request.method === 'POST') faultPoint('answer.sent');
    const route = request.routeOptions.url ?? 'unknown';
    const { method } = request;
    const status = reply.statusCode;
    options.metrics?.count('interlock_http_requests_total', { method, route, status });
    options.metrics?.observe(
      'interlock_http_request_duration_seconds',
      { method, route },
      reply.elapsedTime / 1000,
    );
    const durationMs = Math.round(reply.elapsedTime * 10) / 10;
    // A flood is counted; a line for each would be a second one. Probes and heartbeats come every few seconds for ever.
    const isQuiet = status === 429 || (status < 400 && unlogged.has(route));
    request.log[isQuiet ? 'debug' : 'info'](
      { method, route, status, durationMs, identityId: request.authenticated?.identity.id },
      'answered',
    );
  });
  app.addHook('preClose', async () => {
    isClosing = true;
    node?.beginClosing();
    streams.close();
  });
  app.addHook('onClose', async () => load.close());

  app.setErrorHandler((error, request, reply) => {
    const refusal = toRefusal(error);
    // Over its time while the body was still coming: the sender was slow, and nothing was begun.
    const isSlow = refusal.code === 'timed-out' && hasBody(request) && request.rawBody === null;
    return answerRefusal(isSlow ? requestTimeout() : refusal, error, request, reply);
  });
  app.setNotFoundHandler((request, reply) => {
    const methods = allowed(request.url);
    const refusal =
      methods.length === 0
        ? notFound('there is nothing at this path')
        : new Refusal({
            status: 405,
            code: 'method-not-allowed',
            title: 'Method not allowed',
            detail: `this path takes ${methods.join(', ')}`,
            headers: { allow: methods.join(', ') },
          });
    return answerRefusal(refusal, refusal, request, reply);
  });

  for (const route of routes) addRoute(route);
  return app;

  function addRoute(route: Route): void {
    const access = accessOf(table, route);
    const { auth, priority } = access;

    app.route({
      method: route.method,
      url: route.path,
      exposeHeadRoute: route.method === 'GET' && !isStream(route),
      ...bodyLimitOf(route),

      onRequest: async (request, reply) => {
        if (isClosing && priority !== 'halt') {
          throw unavailable('closing', 'This instance is shutting down; send the same request again.', 1);
        }
        const leave = load.enter(priority);
        if (leave === null) {
          throw unavailable('overloaded', 'Too much to do at the moment; nothing was recorded.', 1);
        }
        // From here, so that a body that does not come counts too.
        request.visit = openVisit(reply.raw, {
          leave,
          timeoutMs: route.timeoutMs ?? limits.handlerTimeoutMs,
          onLate: () => endLate(reply),
        });
        refuseCredentialsInQuery(asRecord(request.query));
        if (route.open) {
          spend(access.limit, addressKey(request.ip));
          return;
        }
        await identify(request, access, async () => {
          const presented = options.authenticator.present(request.raw.rawHeaders, auth);
          if (presented.kind === 'webhook') return null;
          return presented.kind === 'bearer'
            ? options.authenticator.bearer(presented.token, auth)
            : options.authenticator.person(presented.token, auth);
        });
      },

      preParsing: async (request, _reply, payload) => {
        if (!hasBody(request)) return undefined;
        if (route.body === null) {
          throw malformed('unexpected-body', `${route.method} on this path takes no body`);
        }
        const encoding = request.headers['content-encoding'];
        if (encoding !== undefined)
          throw unsupportedMediaType('send the body without content-encoding', 'header.content-encoding');
        const takes = mediaTypesOf(route, request.query);
        if (exactMediaType(request.headers['content-type'], takes) === null) {
          throw unsupportedMediaType(`Content-Type must be ${takes.join(' or ')}, in UTF-8`);
        }
        return capped(payload, capOf(route, request, limits.bodyLimitBytes), request);
      },

      preValidation: async (request) => {
        if (route.open || request.authenticated !== null) return;
        faultPoint('message.received');
        await identify(request, access, async () =>
          options.authenticator.webhook(request.raw.rawHeaders, request.rawBody ?? NO_BODY, auth),
        );
        faultPoint('message.verified');
      },

      handler: async (request, reply) => {
        try {
          request.visit?.begun();
          return await handle(request, reply);
        } finally {
          request.visit?.ended();
        }
      },
    });

    async function handle(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
      const { rawBody } = request;
      const body: JsonObject | undefined =
        route.body === null || isFile(route, request.query)
          ? undefined
          : route.form
            ? parseForm(rawBody ?? NO_BODY)
            : parseStrictJson(rawBody ?? NO_BODY);
      const call: RawCall = {
        params: request.params,
        query: asRecord(request.query),
        body,
        headers: request.headers,
        rawBody: rawBody ?? NO_BODY,
        identity: request.authenticated?.identity ?? null,
        correlationId: request.id,
        webhook: request.authenticated?.webhook ?? null,
      };
      const answer = await withCorrelation(request.id, () =>
        withIncomingTrace(request.headers['traceparent'], () => route.handle(call)),
      );
      if (route.method === 'POST') faultPoint('answer.ready');
      if (answer instanceof Refusal) throw answer;
      return send(route, answer, request, reply);
    }
  }

  /** Whatever the handler does later: its answer comes to nothing, what it records stands. */
  function endLate(reply: FastifyReply): void {
    if (reply.sent) return;
    if (reply.raw.headersSent) reply.raw.destroy();
    else reply.send(timedOut());
  }

  function spend(limit: Access['limit'] | 'stranger', caller: string): void {
    const waitMs = limit === 'never' ? null : rates.take(limit, caller);
    if (waitMs !== null) throw tooManyRequests(waitMs);
  }

  /** Who it is, within its budget and with a role for this; null where only the body can tell. */
  async function identify(
    request: FastifyRequest,
    access: Access,
    authenticate: () => Promise<Authenticated | null>,
  ): Promise<void> {
    try {
      request.authenticated = await authenticate();
    } catch (error) {
      // Counted everywhere, but what stops a run is answered in its own words at any rate.
      const waitMs = error instanceof Refusal ? rates.take('stranger', addressKey(request.ip)) : null;
      if (waitMs !== null && access.limit !== 'never') throw tooManyRequests(waitMs);
      throw error;
    }
    if (request.authenticated === null) return;
    node?.recognise(request.raw.socket);
    const { identity } = request.authenticated;
    spend(access.limit, identity.id);
    requireRole(access, identity);
  }

  async function send(
    route: Route,
    answer: AnyAnswer,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<FastifyReply> {
    const spec = route.responses[answer.status];
    if (spec === undefined)
      throw new TypeError(`${route.method} ${route.path} does not declare status ${answer.status}`);
    if (!(spec instanceof z.ZodType)) {
      if (spec.kind === 'stream') {
        // A stream lives long and costs little; it has its own cap and must not count as load.
        request.visit?.release();
        const { authenticated } = request;
        await sse(reply, {
          ...(authenticated !== null && { isCurrent: () => authenticated.isCurrent() }),
          source: asStreamSource(answer.body),
          lastEventId: readLastEventId(request.headers['last-event-id']),
          owner: request.authenticated?.identity.id ?? request.ip,
          registry: streams,
          ...(answer.headers && { headers: answer.headers }),
          onError: (err) => request.log.warn({ err }, 'stream ended by an error'),
        });
        return reply;
      }
      return reply
        .code(answer.status)
        .headers({ ...answer.headers, 'content-type': spec.contentType })
        .send(answer.body);
    }
    if (options.validateResponses ?? process.env['NODE_ENV'] !== 'production') {
      const result = spec.safeParse(answer.body);
      if (!result.success) {
        const where = result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.code}`).join('; ');
        throw new TypeError(
          `${route.method} ${route.path} answers ${answer.status} against its own schema (${where})`,
        );
      }
    }
    return reply
      .code(answer.status)
      .headers({ ...answer.headers, 'content-type': 'application/json; charset=utf-8' })
      .send(JSON.stringify(answer.body));
  }

  function answerRefusal(
    refusal: Refusal,
    error: unknown,
    request: FastifyRequest,
    reply: FastifyReply,
  ): FastifyReply {
    logRefusal(refusal, error, request);
    // Where the bytes were no HTTP in the middle of a body, the connection has its answer, and its count, already.
    if (!broken.has(request.raw.socket)) {
      options.metrics?.count('interlock_http_refusals_total', { code: refusal.code, status: refusal.status });
    }
    options.onRefusal?.({
      code: refusal.code,
      status: refusal.status,
      method: request.method,
      route: request.routeOptions.url ?? 'unknown',
      correlationId: request.id,
      identityId: request.authenticated?.identity.id ?? null,
      security: refusal.security,
    });
    reply.code(refusal.status).headers(refusal.headers);
    if (refusal.retryAfterS !== undefined) reply.header('retry-after', String(refusal.retryAfterS));
    // The rest of a refused body is not waited for; but who is to come again keeps the connection if it is short.
    // Under load a new connection each time would cost more than the refusal, and a reset may overtake the answer.
    const comesAgain = refusal.retryAfterS !== undefined && hasShortBody(request);
    if (!request.raw.complete && !comesAgain) reply.header('connection', 'close');
    return reply
      .header('content-type', PROBLEM_MEDIA_TYPE)
      .serializer((payload: unknown) => JSON.stringify(payload))
      .send(toProblem(refusal, request.id));
  }
}

/** `error` means someone should get up: a fault of ours. What repeating mends is a warning. */
function logRefusal(refusal: Refusal, error: unknown, request: FastifyRequest): void {
  const { code } = refusal;
  if (refusal.status < 500) return;
  if (refusal.status === 500) request.log.error({ err: refusal.cause ?? error, code }, 'failed');
  else
    request.log.warn(refusal.cause === undefined ? { code } : { err: refusal.cause, code }, 'not available');
}

function requireRole({ who }: Access, identity: Identity): void {
  // An outside evaluator sees what is its own and nothing else, whatever any other identity may read.
  if (who === 'identified' && !identity.roles.includes('outside-evaluator')) return;
  if (who === 'identified') throw forbidden('an outside evaluator sees its own view of a run alone');
  const roles = who === 'everyone' ? [] : who;
  if (identity.roles.some((role) => roles.includes(role))) return;
  throw forbidden(`this needs the role ${roles.join(' or ')}`);
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

function asStreamSource(value: unknown): StreamSource {
  if (typeof value === 'object' && value !== null && 'subscribe' in value && isSubscribe(value.subscribe)) {
    const { subscribe } = value;
    return { subscribe: (from) => subscribe.call(value, from) };
  }
  throw new TypeError('a stream route must answer with a stream source');
}

function isSubscribe(value: unknown): value is StreamSource['subscribe'] {
  return typeof value === 'function';
}

function requestTimeout(): Refusal {
  return new Refusal({
    status: 408,
    code: 'request-timeout',
    title: 'The request did not arrive in time',
    detail: 'the body did not come to its end; nothing was recorded',
  });
}
