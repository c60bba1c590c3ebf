/** Budgets on the real server: who is refused, who never is, and what a refusal costs. */
import type { FastifyInstance } from 'fastify';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { generateToken, hashToken } from '../../src/config/credentials.ts';
import { parseIdentities } from '../../src/config/identities.ts';
import { createAuthenticator } from '../../src/http/authentication.ts';
import { RATE_LIMITS } from '../../src/http/rate-limits.ts';
import { route } from '../../src/http/route.ts';
import { buildServer } from '../../src/http/server.ts';
import { createLogger } from '../../src/telemetry/logger.ts';

const tokens = { trainer: generateToken(), other: generateToken(), board: generateToken() };
let app: FastifyInstance | null = null;
afterEach(async () => app?.close());

function start(rates: Partial<typeof RATE_LIMITS> = {}, lines: string[] = []): FastifyInstance {
  const parsed = parseIdentities({
    isSharedFile: false,
    env: {},
    value: {
      identities: [
        { id: 'trainer', name: 'T', roles: ['trainer'], tokenHashes: [hashToken(tokens.trainer)] },
        { id: 'other', name: 'O', roles: ['trainer'], tokenHashes: [hashToken(tokens.other)] },
        { id: 'board', name: 'B', groups: ['board'], tokenHashes: [hashToken(tokens.board)] },
      ],
    },
  });
  if (!parsed.ok) throw new Error('refused');
  const answers = (method: 'GET' | 'POST', path: string) =>
    route({
      method,
      path,
      summary: 'x',
      ...(path.includes(':run') ? { params: z.strictObject({ run: z.string() }) } : {}),
      ...(method === 'POST' ? { body: z.strictObject({}) } : {}),
      responses: { 200: z.strictObject({ ok: z.boolean() }) },
      handler: async () => ({ status: 200, body: { ok: true } }),
    });
  app = buildServer({
    routes: [
      answers('GET', '/v1/runs'),
      answers('POST', '/v1/halt'),
      answers('POST', '/v1/runs/:run/halt'),
      answers('POST', '/v1/runs/:run/sign-offs'),
      answers('POST', '/v1/runs/:run/heartbeat'),
    ],
    authenticator: createAuthenticator({ identities: parsed.identities }),
    logger: createLogger({ level: 'info', destination: { write: (line: string) => void lines.push(line) } }),
    info: { title: 'x', version: '0', description: '' },
    limits: { rates: { ...RATE_LIMITS, ...rates } },
  });
  return app;
}

const headers = (token?: string) => ({
  ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  'content-type': 'application/json',
});
const few = { perSecond: 1, burst: 5 };
async function statuses(count: number, method: 'GET' | 'POST', url: string, token?: string): Promise<string> {
  const seen: Record<number, number> = {};
  for (let i = 0; i < count; i += 1) {
    const answer = await start0().inject({
      method,
      url,
      headers: headers(token),
      ...(method === 'POST' && { payload: '{}' }),
    });
    seen[answer.statusCode] = (seen[answer.statusCode] ?? 0) + 1;
  }
  return Object.entries(seen)
    .map(([status, times]) => `${times} x ${status}`)
    .join(', ');
}
function start0(): FastifyInstance {
  if (app === null) throw new Error('not started');
  return app;
}

describe('rate limits', () => {
  it('refuse one identity with 429 and when to come back, and nobody else', async () => {
    start({ read: few });
    expect(await statuses(8, 'GET', '/v1/runs', tokens.trainer)).toBe('5 x 200, 3 x 429');
    const refused = await start0().inject({
      method: 'GET',
      url: '/v1/runs',
      headers: headers(tokens.trainer),
    });
    expect(refused.headers).toMatchObject({ 'retry-after': '1', 'content-type': 'application/problem+json' });
    expect(refused.json()).toMatchObject({ type: 'urn:interlock:problem:rate-limited', status: 429 });
    expect(await statuses(1, 'GET', '/v1/runs', tokens.other)).toBe('1 x 200');
    expect(await statuses(1, 'POST', '/v1/runs/r/heartbeat', tokens.trainer)).toBe('1 x 200');
  });

  it('never refuse the red button or a sign-off, at any rate and with every budget used up', async () => {
    start({ read: few, intake: few, heartbeat: few, open: few, stranger: few });
    await statuses(20, 'GET', '/v1/runs', tokens.board);
    await statuses(20, 'GET', '/v1/runs');
    expect(await statuses(300, 'POST', '/v1/halt', tokens.board)).toBe('300 x 200');
    expect(await statuses(300, 'POST', '/v1/runs/r/halt', tokens.board)).toBe('300 x 200');
    expect(await statuses(300, 'POST', '/v1/runs/r/sign-offs', tokens.board)).toBe('300 x 200');
    // Who may not press hears why, and not that there were too many.
    expect(await statuses(20, 'POST', '/v1/halt')).toBe('20 x 401');
  });

  it('answer a flood of bad tokens with 429, cheaply, without a line each, and let good ones through', async () => {
    const lines: string[] = [];
    start({ stranger: { perSecond: 50, burst: 100 } }, lines);
    const from = process.cpuUsage();
    const bad = await statuses(2_000, 'GET', '/v1/runs', generateToken());
    // Of the processor, the injecting side included: what others do on the machine is not ours.
    const { user, system } = process.cpuUsage(from);
    const eachMs = (user + system) / 1_000 / 2_000;
    expect(bad).toMatch(/^\d{3} x 401, \d{4} x 429$/);
    expect(eachMs).toBeLessThan(4);
    expect(lines.length).toBeLessThan(1_000);
    expect(await statuses(5, 'GET', '/v1/runs', tokens.trainer)).toBe('5 x 200');
  });

  it('let the heartbeats of 1,000 runs through at once from one identity', async () => {
    start();
    expect(await statuses(1_000, 'POST', '/v1/runs/r/heartbeat', tokens.trainer)).toBe('1000 x 200');
  });
});
