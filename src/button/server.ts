/**
 * The button's own door: plain node:http on its own port, sharing nothing with the service's intake.
 *
 * Limits: a request is small and quick or it is none; every answer closes its connection. A flood of connections
 * pushes out the oldest that has not shown a credential, never the newest, so that whoever comes to press gets in;
 * a stranger's body is not read. A press by somebody who may press is never refused for its rate.
 * Fails toward stopping: once a press is at the desk, whatever goes wrong here is an answer, not an undoing.
 */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { z } from 'zod';
import { fieldPath, fieldProblems } from '../domain/field-errors.ts';
import { PROBLEM_MEDIA_TYPE, toProblem, toRefusal } from '../http/problem.ts';
import { forbidden, invalid, malformed, notFound, Refusal, unsupportedMediaType } from '../http/refusal.ts';
import { SECURITY_HEADERS } from '../http/security-headers.ts';
import { parseStrictJson } from '../http/strict-json.ts';
import { answerTo, type PressAnswer, standing } from './answer.ts';
import { type CredentialDeps, identityOf, isCode, type Presser, presserOf } from './credentials.ts';
import type { Desk } from './desk.ts';
import { PAGE_POLICY, pressPage, refusalPage, resultPage } from './page.ts';
import type { Scope } from './press.ts';
import { PressForm, RedButton, RunIdSchema } from './request.ts';
import type { Sender } from './sender.ts';

export interface ButtonServerDeps extends CredentialDeps {
  readonly desk: Desk;
  readonly sender: Sender;
  /** Names of runs may stand on the page: it is for this machine alone. */
  readonly isOpen: boolean;
  readonly clock: () => Date;
  /** About the process, for whoever supervises it. */
  readonly health: () => object;
  readonly logger: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
    error(fields: object, message: string): void;
  };
}

export interface ButtonLimits {
  readonly bodyBytesMax: number;
  readonly headerBytesMax: number;
  readonly requestTimeoutMs: number;
  readonly connectionsMax: number;
  /** Connections that the kernel keeps until they are accepted; beyond these newcomers are dropped. */
  readonly backlog: number;
}

export const BUTTON_LIMITS: ButtonLimits = {
  bodyBytesMax: 16 * 1024,
  headerBytesMax: 8 * 1024,
  requestTimeoutMs: 5_000,
  connectionsMax: 1_000,
  backlog: 4_096,
};

const FORM = 'application/x-www-form-urlencoded';
const JSON_TYPE = 'application/json';

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export function createButtonServer(deps: ButtonServerDeps, limits: ButtonLimits = BUTTON_LIMITS): Server {
  const strangers = new Set<Socket>();
  const server = createServer(
    {
      headersTimeout: limits.requestTimeoutMs,
      requestTimeout: limits.requestTimeoutMs,
      connectionsCheckingInterval: 500,
      maxHeaderSize: limits.headerBytesMax,
      insecureHTTPParser: false,
    },
    (request, response) => void serve(request, response),
  );
  server.setTimeout(limits.requestTimeoutMs * 2);
  server.on('connection', (socket) => {
    strangers.add(socket);
    socket.once('close', () => strangers.delete(socket));
    if (strangers.size <= limits.connectionsMax) return;
    const [oldest] = strangers;
    oldest?.destroy();
  });

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const requestId = randomUUID();
    const isPage = pathOf(request) === '/';
    let answer: Answer;
    try {
      answer = await route(request, () => strangers.delete(request.socket));
    } catch (error) {
      const refusal = toRefusal(error);
      if (refusal.status >= 500)
        deps.logger.error({ err: refusal.cause ?? error }, 'the button failed to answer');
      answer = isPage ? htmlAnswer(refusal.status, refusalPage(refusal)) : problem(refusal, requestId);
    }
    if (response.destroyed) return;
    const { status, type, text, headers } = answer;
    const bytes = Buffer.from(text);
    response.writeHead(status, {
      ...SECURITY_HEADERS,
      connection: 'close',
      ...(isPage && { 'content-security-policy': PAGE_POLICY }),
      'content-type': type,
      'content-length': bytes.length,
      'x-correlation-id': requestId,
      ...headers,
    });
    response.end(request.method === 'HEAD' ? undefined : bytes);
    // The rest of a body that nobody reads must not keep the connection.
    if (!request.complete) request.destroy();
  }

  async function route(request: IncomingMessage, recognised: () => void): Promise<Answer> {
    const path = pathOf(request);
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    if (path === '/' && isRead) return thePage();
    if (path === '/' && request.method === 'POST') return pressedOnPage(request, recognised);
    if (path === '/healthz' && isRead) return json(200, deps.health());
    if (path === '/v1/button' && isRead) {
      await identityOf(bearerOf(request), deps);
      return json(200, standing(deps.desk, deps.clock()));
    }
    const scope = scopeOf(path);
    if (scope !== null && request.method === 'POST') return pressedByProgram(request, scope, recognised);
    const methods = path === '/' ? 'GET, POST' : scope !== null ? 'POST' : isKnown(path) ? 'GET' : null;
    if (methods === null) throw notFound('there is nothing at this path');
    throw new Refusal({
      status: 405,
      code: 'method-not-allowed',
      title: 'Method not allowed',
      detail: `this path takes ${methods}`,
      headers: { allow: methods },
    });
  }

  function thePage(): Answer {
    const reach = deps.desk.reach();
    const { asOf } = deps.desk.knowledge();
    const runIds = deps.isOpen ? reach.map(({ runId }) => runId) : null;
    const facts = { knowledgeAt: asOf, now: deps.clock(), count: reach.length, runIds };
    return htmlAnswer(200, pressPage(facts));
  }

  async function pressedOnPage(request: IncomingMessage, recognised: () => void): Promise<Answer> {
    mustBe(request, FORM);
    const form = checked(PressForm, fieldsOf(await bodyOf(request)));
    const { credential, scope, run, group, reason, action } = form;
    const presser = await presserOf(credential, group, deps);
    recognised();
    const meant: Scope = scope === 'run' && run !== undefined ? { kind: 'run', runId: run } : { kind: 'all' };
    const answer = await press(presser, meant, { reason, action });
    const { knowledgeAt } = answer.body;
    const facts = { knowledgeAt: knowledgeAt === null ? null : new Date(knowledgeAt), now: deps.clock() };
    const halts = answer.orders.map(({ runId, haltId }) => ({
      runId,
      haltId,
      deliveries: deps.sender.deliveries(runId, haltId),
    }));
    return htmlAnswer(answer.status, resultPage(answer, halts, facts));
  }

  async function pressedByProgram(
    request: IncomingMessage,
    scope: Scope,
    recognised: () => void,
  ): Promise<Answer> {
    const credential = bearerOf(request);
    // Before the body is read: a stranger's is not. A code is claimed only when the whole request is right.
    if (isCode(credential)) {
      if (deps.breakGlass.holder(credential) === null) throw unknownCredential();
    } else {
      const { groups } = await identityOf(credential, deps);
      if (groups.length === 0) throw forbidden('this needs a member of a governance group');
    }
    recognised();
    const body = await bodyOf(request);
    if (body.length > 0) mustBe(request, JSON_TYPE);
    const { reason, action, group } = checked(RedButton, body.length === 0 ? {} : parseStrictJson(body));
    const presser = await presserOf(credential, group, deps);
    const { status, body: said } = await press(presser, scope, { reason, action });
    if (status === 202) return json(202, said);
    const refusal = new Refusal({
      status,
      code: 'halt-sent-not-durable',
      title: 'Halts are being sent, and the press could not be written down',
      detail: 'The disk takes nothing. If this machine stops now the press is forgotten: press again.',
    });
    return json(status, { ...toProblem(refusal, presser.pressId), ...said }, PROBLEM_MEDIA_TYPE);
  }

  async function press(
    presser: Presser,
    scope: Scope,
    { reason, action }: Pick<RedButton, 'reason' | 'action'>,
  ): Promise<PressAnswer & { orders: readonly { runId: string; haltId: string }[] }> {
    const { by, group, via, pressId, codeId } = presser;
    const pressed = await deps.desk.press({ scope, reason, action, by, group, via, pressId, codeId });
    if (codeId !== undefined) deps.breakGlass.spend(codeId);
    const answer = await answerTo(pressed, deps.sender, deps.clock());
    return { ...answer, orders: pressed.orders };
  }

  async function bodyOf(request: IncomingMessage): Promise<Buffer> {
    if (Number(request.headers['content-length'] ?? 0) > limits.bodyBytesMax) throw tooLarge();
    if (request.headers['content-encoding'] !== undefined) {
      throw unsupportedMediaType('send the body without content-encoding');
    }
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of request) {
      const part = Buffer.from(chunk);
      bytes += part.length;
      if (bytes > limits.bodyBytesMax) throw tooLarge();
      chunks.push(part);
    }
    return Buffer.concat(chunks);
  }

  return server;
}

// --- reading a request ---------------------------------------------------------------------------------

const BEARER = /^bearer +(\S.*)$/i;

function bearerOf({ rawHeaders }: IncomingMessage): string {
  const stated = rawHeaders.filter(
    (_, at) => at % 2 === 1 && rawHeaders[at - 1]?.toLowerCase() === 'authorization',
  );
  const [only, ...more] = stated;
  const credential = only === undefined || more.length > 0 ? undefined : BEARER.exec(only)?.[1];
  if (credential === undefined) throw unknownCredential();
  return credential;
}

function unknownCredential(): Refusal {
  return new Refusal({
    status: 401,
    code: 'unauthenticated',
    title: 'Authentication is required',
    headers: { 'www-authenticate': 'Bearer' },
  });
}

const tooLarge = (): Refusal =>
  new Refusal({ status: 413, code: 'body-too-large', title: 'The body is too large' });

function pathOf({ url = '' }: IncomingMessage): string {
  const end = url.indexOf('?');
  return end === -1 ? url : url.slice(0, end);
}

const isKnown = (path: string): boolean => path === '/healthz' || path === '/v1/button';

function scopeOf(path: string): Scope | null {
  if (path === '/v1/halt') return { kind: 'all' };
  const stated = /^\/v1\/runs\/([^/]{1,400})\/halt$/.exec(path)?.[1];
  if (stated === undefined) return null;
  try {
    return { kind: 'run', runId: checked(RunIdSchema, decodeURIComponent(stated), 'path.run') };
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw malformed('malformed-url', 'the path is not a valid URL path');
  }
}

function mustBe({ headers }: IncomingMessage, wanted: string): void {
  const stated = (headers['content-type'] ?? '').toLowerCase();
  if (stated === wanted || /^[a-z/-]+; *charset="?utf-8"?$/.test(stated)) {
    if (stated.startsWith(wanted)) return;
  }
  throw unsupportedMediaType(`Content-Type must be ${wanted}, in UTF-8`);
}

function fieldsOf(body: Buffer): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const [name, value] of new URLSearchParams(body.toString('utf8'))) {
    if (Object.hasOwn(fields, name)) throw malformed('malformed-form', 'a field stands twice in the form');
    fields[name] = value;
  }
  return fields;
}

function checked<T extends z.ZodType>(schema: T, value: unknown, at = ''): z.output<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw invalid(
    fieldProblems(schema, parsed.error).map(({ parts, message }) => ({
      path: at !== '' ? at : fieldPath(parts) || 'body',
      message,
    })),
  );
}

// --- answering -----------------------------------------------------------------------------------------

function json(status: number, body: object, type = `${JSON_TYPE}; charset=utf-8`): Answer {
  return { status, type, text: `${JSON.stringify(body)}\n` };
}

function htmlAnswer(status: number, text: string): Answer {
  return { status, type: 'text/html; charset=utf-8', text };
}

function problem(refusal: Refusal, requestId: string): Answer {
  const { headers } = refusal;
  return { ...json(refusal.status, toProblem(refusal, requestId), PROBLEM_MEDIA_TYPE), headers };
}
