/**
 * Who may call what: every kind of caller against every route of the real service, with the whole matrix of answers
 * written out here by hand, apart from the table in code; the headers of every answer; and sessions of the page.
 */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { generateCode } from '../../src/button/break-glass.ts';
import { generateToken, hashToken } from '../../src/config/credentials.ts';
import { ACCESS } from '../../src/http/access.ts';
import { signWebhook, WebhookSecret } from '../../src/signing/standard-webhooks.ts';
import { score, testPolicy, writeEvaluator, writeModel } from '../support/evaluation-policy.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { startIssuer, type TestIssuer } from '../support/oidc-issuer.ts';

let interlock: TestInterlock;
let issuer: TestIssuer;
let cookie = '';
const expired = generateToken();
const oidc: Record<string, string> = {};

beforeAll(async () => {
  issuer = await startIssuer();
  interlock = await startTestInterlock({
    policies: { main: testPolicy({ silentDebate: true }) },
    settings: {
      // Not loopback, so that the page asks who is there.
      server: { host: '0.0.0.0', port: 8080, publicUrl: 'https://interlock.example' },
      orchestrators: { process: { enabled: false } },
      oidc: [
        {
          name: 'corp',
          issuer: issuer.url,
          audience: 'interlock',
          groupMap: { ops: { roles: ['operator'] } },
        },
      ],
    },
    identities: [
      { id: 'roleless' },
      { id: 'institute', roles: ['outside-evaluator'] },
      { id: 'orchestrator', roles: ['orchestrator'] },
      { id: 'trainer-auditor', roles: ['trainer', 'auditor'] },
      { id: 'signing-board', groups: ['board'] },
      { id: 'stranger', roles: ['trainer'] },
      { id: 'probe-team', roles: ['evaluator'] },
      { id: 'two-groups', groups: ['leadership', 'safety-advisory'] },
    ],
  });
  await changeIdentities((entries) =>
    entries.map((entry) => {
      if (entry['id'] === 'board') return { ...entry, oidc: { issuer: issuer.url, subject: 'the-chair' } };
      if (entry['id'] === 'probe-team') return { ...entry, evaluations: ['probe'] };
      if (entry['id'] !== 'leadership') return entry;
      const past = { createdAt: '2026-01-01T00:00:00Z', expiresAt: '2026-01-02T00:00:00Z' };
      const tokens = Array.isArray(entry['tokens']) ? entry['tokens'] : [];
      return { ...entry, tokens: [...tokens, { id: 'tk_past', hash: hashToken(expired), ...past }] };
    }),
  );
  oidc['operator'] = await issuer.token({ sub: 'ann', groups: ['ops'] });
  oidc['board'] = await issuer.token({ sub: 'the-chair' });
  oidc['unmapped'] = await issuer.token({ sub: 'eve', groups: ['cleaners'] });
  await vi.waitUntil(
    async () => (await interlock.call('GET', '/v1/runs', { headers: bearer(oidc['board']) })).status === 200,
    { timeout: 20_000 },
  );
  cookie = cookieOf(await signIn(interlock.tokens['board'] ?? ''));
});

afterAll(async () => {
  await interlock?.close();
  await issuer?.stop();
});

async function changeIdentities(
  change: (entries: Record<string, unknown>[]) => Record<string, unknown>[],
): Promise<void> {
  const file = join(interlock.directory, 'identities.yaml');
  const { identities } = parse(await readFile(file, 'utf8'));
  await writeFile(file, stringify({ identities: change(identities) }), { mode: 0o600 });
}

const bearer = (token: string | undefined) => ({ authorization: `Bearer ${token}` });

const ORIGIN = { origin: 'https://interlock.example', 'sec-fetch-site': 'same-origin' };

function form(path: string, content: string, headers: Record<string, string> = ORIGIN): Promise<Response> {
  return fetch(`${interlock.url}${path}`, {
    method: 'POST',
    redirect: 'manual',
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
    body: content,
  });
}
const signIn = (token: string, headers?: Record<string, string>) =>
  form('/sign-in', new URLSearchParams({ token }).toString(), headers);
const cookieOf = (response: Response): string =>
  (response.headers.get('set-cookie') ?? '').split(';')[0] ?? '';

// --- the matrix ----------------------------------------------------------------------------------------

type Make = (body: string) => Record<string, string>;
const token =
  (id: string): Make =>
  () =>
    bearer(interlock.tokens[id]);
const signedBy =
  (id: string): Make =>
  (body) =>
    signature(body, interlock.webhookSecrets[id] ?? '');

function signature(body: string, secret: string): Record<string, string> {
  const id = `msg_${randomBytes(12).toString('hex')}`;
  const signed = signWebhook({
    id,
    timestamp: new Date(),
    body: Buffer.from(body),
    secrets: [WebhookSecret.parse(secret)],
  });
  return { ...signed };
}

/** In the order of the columns below. */
const CALLERS: readonly (readonly [string, Make])[] = [
  ['nobody', () => ({})],
  ['an unknown token', () => bearer(generateToken())],
  ['an expired token', () => bearer(expired)],
  ['a break-glass code', () => bearer(generateCode())],
  ['a cookie of the page', () => ({ cookie })],
  ['a person whom nothing is mapped to', () => bearer(oidc['unmapped'])],
  ['a forged signature', (body) => signature(body, `whsec_${randomBytes(32).toString('base64')}`)],

  ['no role', token('roleless')],
  ['trainer', token('trainer')],
  ['evaluator', token('evaluator')],
  ['operator', token('operator')],
  ['oncall', token('oncall')],
  ['auditor', token('auditor')],
  ['orchestrator', token('orchestrator')],
  ['trainer and auditor', token('trainer-auditor')],

  ['preparedness', token('preparedness')],
  ['safety-advisory', token('safety-advisory')],
  ['leadership', token('leadership')],
  ['board', token('board')],

  ['signed by the trainer', signedBy('trainer')],
  ['signed by a member of the board', signedBy('signing-board')],
  ['OpenID: operator', () => bearer(oidc['operator'])],
  ['OpenID: board', () => bearer(oidc['board'])],
];

/**
 * 1: 401, 3: 403, and a dot: let in, whatever is then said about the request.
 * not known to us | no role, trainer, evaluator, operator, oncall, auditor, orchestrator, trainer and auditor |
 * the four groups | signed by trainer, by board | OpenID operator, board
 */
const MATRIX: Readonly<Record<string, string>> = {
  'POST /v1/runs/:run/halt': /*                 */ '1111111 33333333 .... 3. 3.',
  'POST /v1/halt': /*                           */ '1111111 33333333 .... 11 3.',
  'POST /v1/halts/:halt/isolation/:step': /*    */ '1111111 333..3.3 .... 3. ..',
  'POST /v1/halts/:halt/ack': /*                */ '1111111 3.3333.. 3333 .3 33',
  'POST /v1/runs/:run/sign-offs': /*            */ '1111111 33333333 .... 3. 3.',
  'POST /v1/runs/:run/drill': /*                */ '1111111 333..333 .... 3. ..',
  'POST /v1/runs/:run/proposals': /*            */ '1111111 333.3333 .... 3. ..',
  'POST /v1/runs': /*                           */ '1111111 3.3.333. 3333 .3 .3',
  'POST /v1/runs/:run/heartbeat': /*            */ '1111111 3.33333. 3333 .3 33',
  'POST /v1/runs/:run/arm': /*                  */ '1111111 333.3333 3333 11 .3',
  'POST /v1/runs/:run/breakthroughs': /*        */ '1111111 3.3.333. .... .. ..',
  'POST /v1/runs/:run/finish': /*               */ '1111111 3.3.333. 3333 .3 .3',
  'POST /v1/runs/:run/work-permit': /*          */ '1111111 3...333. 3333 .3 .3',
  'POST /v1/checkpoints': /*                    */ '1111111 3.33333. 3333 .3 33',
  'POST /v1/evaluations/:evaluation/result': /* */ '1111111 33.33333 3333 33 33',
  'POST /v1/evaluations/:evaluation/retry': /*  */ '1111111 33..3333 3333 33 .3',
  'POST /v1/runs/:run/estimate-rounds': /*      */ '1111111 33.33333 .... 3. 3.',
  'POST /v1/runs/:run/estimate-rounds/:round/close': /**/ '1111111 33.33333 .... 3. 3.',
  'POST /v1/runs/:run/estimate-rounds/:round/second': /**/ '1111111 33.33333 .... 3. 3.',
  'POST /v1/runs/:run/estimates': /*            */ '1111111 33.33333 .... 3. 3.',
  'GET /v1/evidence/:digest': /*                */ '1111111 33333.3. .... 3. 3.',
  'POST /v1/evidence/:digest/release': /*       */ '1111111 33333333 .... 3. 3.',
  'POST /v1/evidence/:digest/release/approval': /**/ '1111111 33333333 .... 3. 3.',
  'POST /v1/runs/:run/outside-evaluators': /*   */ '1111111 333.3333 .... 3. ..',
  'GET /v1/runs/:run/outside': /*               */ '1111111 33333333 3333 33 33',
  'POST /v1/runs/:run/outside-results': /*      */ '1111111 33333333 3333 33 33',
  'POST /v1/runs/:run/outside-findings': /*     */ '1111111 33333333 3333 33 33',
  'GET /v1/runs': /*                            */ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run': /*                       */ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run/checkpoints': /*           */ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run/scorecards': /*            */ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run/scorecards/latest': /*     */ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run/scorecards/:checkpoint': /**/ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run/forecasts/latest': /*      */ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run/forecasts/record': /*      */ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run/forecasts/scores': /*      */ '1111111 ........ .... .. ..',
  'GET /v1/forecasts/record': /*                */ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run/may-start': /*             */ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run/gates': /*                 */ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run/halts': /*                 */ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run/breakthroughs': /*         */ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run/proposals': /*             */ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run/proposals/:proposal': /*   */ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run/estimate-rounds': /*       */ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run/estimate-rounds/:round': /**/ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run/events': /*                */ '1111111 ........ .... .. ..',
  'GET /v1/runs/:run/stream': /*                */ '1111111 ........ .... .. ..',
  'GET /v1/stream': /*                          */ '1111111 ........ .... .. ..',
  'GET /v1/ledger': /*                          */ '1111111 333...3. .... 3. ..',
  'GET /v1/ledger/head': /*                     */ '1111111 ........ .... .. ..',
  'POST /v1/ledger/accept-restore': /*          */ '1111111 333.3333 3333 11 .3',
  'GET /healthz': /*                            */ '....... ........ .... .. ..',
  'GET /readyz': /*                             */ '....... ........ .... .. ..',
  'GET /metrics': /*                            */ '....... ........ .... .. ..',
  'GET /.well-known/jwks.json': /*              */ '....... ........ .... .. ..',
  'GET /openapi.json': /*                       */ '....... ........ .... .. ..',
  'GET /docs': /*                               */ '....... ........ .... .. ..',
  'GET /': /*                                   */ '....... ........ .... .. ..',
  'GET /sign-in': /*                            */ '....... ........ .... .. ..',
  'POST /sign-in': /*                           */ '....... ........ .... .. ..',
  'POST /sign-out': /*                          */ '....... ........ .... .. ..',
};

const HEADERS: Readonly<Record<string, RegExp>> = {
  'x-content-type-options': /^nosniff$/,
  'x-frame-options': /^DENY$/,
  'referrer-policy': /^no-referrer$/,
  'cache-control': /^no-store$/,
  'cross-origin-resource-policy': /^same-origin$/,
  'cross-origin-opener-policy': /^same-origin$/,
  'permissions-policy': /camera=\(\)/,
  'strict-transport-security': /^max-age=31536000/,
  'content-security-policy':
    /^default-src 'none'; (style-src 'sha256-[\w+/=]+'; )?base-uri 'none'; form-action '(none|self)'; frame-ancestors 'none'$/,
};

function expectHeaders(headers: Headers, what: string): void {
  for (const [name, pattern] of Object.entries(HEADERS))
    expect(headers.get(name) ?? '', `${what}: ${name}`).toMatch(pattern);
  for (const name of ['server', 'x-powered-by', 'access-control-allow-origin']) {
    expect(headers.get(name), `${what}: ${name}`).toBeNull();
  }
}

/** The answer's head; a stream is left again at once. */
async function ask(method: string, path: string, make: Make): Promise<{ status: number; headers: Headers }> {
  const body = method === 'POST' ? '{}' : '';
  const leave = new AbortController();
  const response = await fetch(`${interlock.url}${path}`, {
    method,
    redirect: 'manual',
    signal: leave.signal,
    headers: { ...(method === 'POST' && { 'content-type': 'application/json' }), ...make(body) },
    ...(method === 'POST' && { body }),
  });
  if (/event-stream/.test(response.headers.get('content-type') ?? '')) leave.abort();
  else await response.arrayBuffer();
  return response;
}

describe('access', () => {
  it('has a row here for every route of the table, and a column for every caller', () => {
    expect(Object.keys(MATRIX).sort()).toEqual(Object.keys(ACCESS).sort());
    for (const row of Object.values(MATRIX)) expect(row.replaceAll(' ', '')).toHaveLength(CALLERS.length);
  });

  it.each(Object.entries(MATRIX))('%s', async (route, row) => {
    const [method = '', path = ''] = route.split(' ');
    const at = path.replace(/:(\w+)/g, 'none-such');
    const isStream = path.endsWith('/stream');
    // What is open to everyone is so for HEAD too; its pages are large.
    const methods = method === 'GET' && !isStream && row.includes('1') ? ['GET', 'HEAD'] : [method];
    for (const each of methods) {
      const seen: string[] = [];
      for (const [caller, make] of CALLERS) {
        const { status, headers } = await ask(each, at, make);
        expect(status === 429 || status >= 500, `${each} ${route} as ${caller}: ${status}`).toBe(false);
        seen.push(status === 401 ? '1' : status === 403 ? '3' : '.');
        expectHeaders(headers, `${each} ${route} as ${caller}: ${status}`);
        if (status === 401) expect(headers.get('www-authenticate')).toMatch(/^Bearer(, Standard-Webhooks)?$/);
      }
      expect(seen.join(''), each).toBe(row.replaceAll(' ', ''));
    }
  });

  it('has the same headers on what is no route, and on what is hardly HTTP', async () => {
    for (const [method, path] of [
      ['GET', '/none'],
      ['PUT', '/v1/runs'],
      ['GET', '/v1/runs/%00'],
      ['GET', `/v1/runs/${'x'.repeat(300)}`],
      ['GET', '/%'],
    ] as const) {
      const { status, headers } = await ask(method, path, token('auditor'));
      expect(status).toBeGreaterThanOrEqual(400);
      expectHeaders(headers, `${method} ${path.slice(0, 20)}`);
    }
  });

  it('says the same where it is no HTTP at all', async () => {
    const socket = connect(Number(new URL(interlock.url).port), '127.0.0.1');
    socket.write('GET / HTTP/1.1\r\nhost: x\r\nno header at all\r\n\r\n');
    let answer = '';
    for await (const chunk of socket) answer += String(chunk);
    const [head = ''] = answer.split('\r\n\r\n');
    expect(head).toMatch(/^HTTP\/1\.1 400 /);
    for (const [name, pattern] of Object.entries(HEADERS)) {
      if (name === 'strict-transport-security') continue;
      const value = new RegExp(`^${name}: (.*)$`, 'm').exec(head.replaceAll('\r', ''))?.[1] ?? '';
      expect(value, name).toMatch(pattern);
    }
  });

  it('is gone for an identity that is removed, and so are its open streams and pages', async () => {
    const read = (path: string) => interlock.call('GET', path, { as: 'roleless' });
    expect((await read('/v1/runs')).status).toBe(200);
    const page = cookieOf(await signIn(interlock.tokens['roleless'] ?? ''));
    const stream = await fetch(`${interlock.url}/v1/stream`, {
      headers: bearer(interlock.tokens['roleless']),
    });
    const other = await fetch(`${interlock.url}/v1/stream`, { headers: bearer(interlock.tokens['auditor']) });
    const ended = stream.text();
    let isOtherOver = false;
    const otherEnded = other.text().then(() => {
      isOtherOver = true;
    });
    // How soon is measured without a database beside it, in identity-book.test.ts.
    await changeIdentities((entries) => entries.filter(({ id }) => id !== 'roleless'));
    await vi.waitUntil(async () => (await read('/v1/runs')).status === 401, {
      timeout: 20_000,
      interval: 20,
    });
    await ended;
    const { status, headers } = await ask('GET', '/', () => ({ cookie: page }));
    expect([status, headers.get('location')]).toEqual([303, '/sign-in']);
    expect(isOtherOver).toBe(false);
    await other.body?.cancel().catch(() => undefined);
    void otherEnded.catch(() => undefined);
  }, 30_000);

  it('stands in docs/api.md as it stands in code', async () => {
    const file = fileURLToPath(new URL('../../docs/api.md', import.meta.url));
    const text = await readFile(file, 'utf8');
    const [start, end] = ['<!-- access: begin -->', '<!-- access: end -->'];
    const from = text.indexOf(start) + start.length;
    const to = text.indexOf(end);
    expect(from).toBeGreaterThan(start.length);
    const made = `\n\n${accessTable()}\n\n`;
    if (process.env['INTERLOCK_UPDATE_OPENAPI'] === '1') {
      await writeFile(file, text.slice(0, from) + made + text.slice(to));
    } else expect(text.slice(from, to)).toBe(made);
  });
});

/** As the formatter of Markdown leaves it: padded columns. */
function accessTable(): string {
  const rows = Object.entries(ACCESS).map(([route, { who, auth, limit }]) => [
    `\`${route.replace(/:(\w+)/g, '{$1}')}\``,
    who === 'everyone' ? 'everyone' : who === 'identified' ? 'any identity' : who.join(', '),
    auth.length === 0 ? 'none' : auth.map((each) => (each === 'bearer' ? 'token' : 'signature')).join(' or '),
    limit === 'never' ? 'never refused for rate' : limit,
  ]);
  const all = [['route', 'who', 'shows', 'budget'], ...rows];
  const widths = [0, 1, 2, 3].map((i) => Math.max(...all.map((row) => (row[i] ?? '').length)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(' | ')} |`;
  return [
    line(all[0] ?? []),
    `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`,
    ...rows.map(line),
  ].join('\n');
}

describe('beyond the role', () => {
  const targets = [{ kind: 'webhook', url: 'http://127.0.0.1:9/halt' }];
  const registration = { runId: 'own', sources: ['trainer'], targets };
  const Registered = z.object({ permit: z.string().nullable() });
  let evaluationId = '';
  let haltId = '';
  let proposal: { proposalId: string; digest: string };

  beforeAll(async () => {
    await writeEvaluator(interlock.directory);
    const made = await interlock.call('POST', '/v1/runs', { as: 'trainer', body: registration });
    expect([made.status, Registered.parse(made.body).permit]).toEqual([201, expect.stringMatching(/^eyJ/)]);
    const modelUri = await writeModel(interlock.models, 'm', { result: score(0.1) });
    const report = { runId: 'own', checkpointId: 'c1', effectiveCompute: '1e21', modelUri };
    const reported = await interlock.call('POST', '/v1/checkpoints', { as: 'trainer', body: report });
    const { evaluations } = z
      .object({ evaluations: z.array(z.object({ evaluationId: z.string(), name: z.string() })) })
      .parse(reported.body);
    evaluationId = evaluations.find(({ name }) => name === 'debate')?.evaluationId ?? '';
    await interlock.call('POST', '/v1/runs', { as: 'trainer', body: { ...registration, runId: 'halted' } });
    const pressed = await interlock.call('POST', '/v1/runs/halted/halt', {
      as: 'board',
      body: { reason: 'r' },
    });
    haltId =
      z.object({ halts: z.array(z.object({ haltId: z.string() })) }).parse(pressed.body).halts[0]?.haltId ??
      '';
    const body = { kind: 'resume', haltId, rationale: 'r' };
    const proposed = await interlock.call('POST', '/v1/runs/halted/proposals', { as: 'operator', body });
    proposal = z.object({ proposalId: z.string(), digest: z.string() }).parse(proposed.body);
  });

  const sign = (group: string) => ({ ...proposal, decision: 'dissent', group, justification: 'j' });
  it.each<[string, string, () => string, () => unknown, number[]]>([
    [
      'a trainer that is no source',
      'stranger',
      () => '/v1/runs/own/heartbeat',
      () => ({ effectiveCompute: '1e20' }),
      [403],
    ],
    [
      'a trainer that is no source',
      'stranger',
      () => '/v1/checkpoints',
      () => ({ runId: 'own', checkpointId: 'c2', effectiveCompute: '1e21', modelUri: 's3://b/c' }),
      [403],
    ],
    ['a trainer that is no source', 'stranger', () => '/v1/runs/own/finish', () => ({}), [403]],
    [
      'a trainer that is no source',
      'stranger',
      () => `/v1/halts/${haltId}/ack`,
      () => ({ state: 'stopped' }),
      [403],
    ],
    [
      'a trainer',
      'trainer',
      () => '/v1/runs',
      () => ({ ...registration, runId: 'chosen', policy: 'main' }),
      [403],
    ],
    [
      'an evaluator of other evaluations',
      'probe-team',
      () => `/v1/evaluations/${evaluationId}/result?attempt=1`,
      () => score(0.1),
      [403],
    ],
    [
      'an evaluator of other evaluations',
      'probe-team',
      () => `/v1/evaluations/${evaluationId}/retry`,
      () => ({}),
      [403],
    ],
    [
      'a member of another group',
      'two-groups',
      () => '/v1/runs/halted/sign-offs',
      () => sign('board'),
      [403, 422],
    ],
    [
      'a member of another group',
      'two-groups',
      () => '/v1/runs/own/halt',
      () => ({ reason: 'r', group: 'board' }),
      [403, 422],
    ],
    [
      'a member of another group',
      'two-groups',
      () => '/v1/halt',
      () => ({ reason: 'r', group: 'board' }),
      [403, 422],
    ],
    ['no member at all', 'operator', () => '/v1/runs/halted/sign-offs', () => sign('board'), [403]],
  ])('refuses %s (%s) at %s', async (_, by, path, body, statuses) => {
    const sent = await interlock.call('POST', path(), { as: by, body: body() });
    expect(statuses, sent.text).toContain(sent.status);
  });

  it.each<[string, string, () => string, () => unknown]>([
    ['the source', 'trainer', () => '/v1/runs/own/heartbeat', () => ({ effectiveCompute: '1e20' })],
    [
      'the orchestrator of any run',
      'orchestrator',
      () => `/v1/halts/${haltId}/ack`,
      () => ({ state: 'received' }),
    ],
    ['a member', 'two-groups', () => '/v1/runs/halted/sign-offs', () => sign('leadership')],
    [
      'an evaluator that is bound to nothing',
      'evaluator',
      () => `/v1/evaluations/${evaluationId}/result?attempt=1`,
      () => score(0.1),
    ],
  ])('lets %s (%s)', async (_, by, path, body) => {
    const sent = await interlock.call('POST', path(), { as: by, body: body() });
    expect(sent.status, sent.text).toBe(200);
  });

  it('gives a trainer that is no source no permit for registering the run once more', async () => {
    const again = await interlock.call('POST', '/v1/runs', { as: 'stranger', body: registration });
    expect([again.status, Registered.parse(again.body).permit]).toEqual([200, null]);
  });
});

describe('the page', () => {
  const open = async (headers: Record<string, string>): Promise<string> => {
    const { status, headers: got } = await ask('GET', '/', () => headers);
    return `${status} ${got.get('location') ?? ''}`.trim();
  };

  it('is opened by a token that is shown once, and closed by signing out', async () => {
    expect(await open({})).toBe('303 /sign-in');
    const signedIn = await signIn(interlock.tokens['oncall'] ?? '');
    expect([signedIn.status, signedIn.headers.get('location')]).toEqual([303, '/']);
    const set = signedIn.headers.get('set-cookie') ?? '';
    expect(set).toMatch(
      /^__Host-interlock=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict; Max-Age=43200; Secure$/,
    );
    expectHeaders(signedIn.headers, 'sign-in');
    const own = cookieOf(signedIn);
    expect(await open({ cookie: own })).toBe('200');
    const text = await (await fetch(`${interlock.url}/`, { headers: { cookie: own } })).text();
    expect(text).toContain('action="/sign-out"');
    for (const hidden of [own.split('=')[1] ?? '', interlock.tokens['oncall'] ?? ''])
      expect(text).not.toContain(hidden);

    const out = await form('/sign-out', '', { ...ORIGIN, cookie: own });
    expect([out.status, out.headers.get('location')]).toEqual([303, '/sign-in']);
    expect(out.headers.get('set-cookie')).toMatch(/^__Host-interlock=; .*Max-Age=0/);
    // Kept by somebody, it is worth nothing any more.
    expect(await open({ cookie: own })).toBe('303 /sign-in');
  });

  it('is not shown to an outside evaluator, who sees its own view of a run and nothing else', async () => {
    const own = interlock.tokens['institute'] ?? '';
    const signedIn = await signIn(own);
    expect([signedIn.status, signedIn.headers.get('set-cookie')]).toEqual([401, null]);
    expect(await open(bearer(own))).toBe('303 /sign-in');
  });

  it('takes a person of the identity provider, and a token as the API does', async () => {
    expect(await open({ cookie: cookieOf(await signIn(oidc['board'] ?? '')) })).toBe('200');
    expect(await open(bearer(interlock.tokens['auditor']))).toBe('200');
    expect(
      await open({
        authorization: `Basic ${Buffer.from(`x:${interlock.tokens['auditor']}`).toString('base64')}`,
      }),
    ).toBe('303 /sign-in');
  });

  it.each<[string, () => Promise<Response>, number]>([
    ['an unknown token', () => signIn(generateToken()), 401],
    ['an expired token', () => signIn(expired), 401],
    ['a person whom nothing is mapped to', () => signIn(oidc['unmapped'] ?? ''), 401],
    [
      'a form of another site',
      () =>
        signIn(interlock.tokens['oncall'] ?? '', {
          origin: 'https://evil.example',
          'sec-fetch-site': 'cross-site',
        }),
      403,
    ],
    [
      'a form of another site on the same domain',
      () => signIn(interlock.tokens['oncall'] ?? '', { ...ORIGIN, 'sec-fetch-site': 'same-site' }),
      403,
    ],
    ['a form without its page', () => signIn(interlock.tokens['oncall'] ?? '', {}), 403],
    ['a sandboxed form', () => signIn(interlock.tokens['oncall'] ?? '', { origin: 'null' }), 403],
    [
      'a sign-out from another site',
      () => form('/sign-out', '', { origin: 'https://evil.example', cookie }),
      403,
    ],
    ['JSON', () => form('/sign-in', '{"token":"x"}', { ...ORIGIN, 'content-type': 'application/json' }), 415],
    ['a field twice', () => form('/sign-in', 'token=a&token=b'), 400],
    ['bytes that are no text', () => form('/sign-in', 'token=%ff%fe').then((r) => r), 401],
    ['another field', () => form('/sign-in', 'token=a&next=https://evil.example'), 422],
    ['a token in the URL', () => form(`/sign-in?token=${expired}`, 'token=a'), 400],
  ])('refuses %s', async (_, send, status) => {
    const response = await send();
    expect(response.status).toBe(status);
    expect(response.headers.get('set-cookie')).toBeNull();
    expectHeaders(response.headers, 'refused');
    expect(await response.text()).not.toContain(expired);
  });

  it.each(['__Host-interlock=x', `__Host-interlock=${'A'.repeat(43)}`, 'interlock-session=1'])(
    'is not opened by %s',
    async (made) => {
      expect(await open({ cookie: made })).toBe('303 /sign-in');
      expect(await open({ cookie: `${cookie}; ${made}` })).toBe(
        made.startsWith('__Host') ? '303 /sign-in' : '200',
      );
    },
  );
});
