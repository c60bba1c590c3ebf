/** A secret or a model's words sent to the server, wherever they stand, come out nowhere but where they belong. */

import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { generateSharedSecret, generateToken, hashToken } from '../../src/config/credentials.ts';
import { parseIdentities } from '../../src/config/identities.ts';
import { ACCESS } from '../../src/http/access.ts';
import { createAuthenticator } from '../../src/http/authentication.ts';
import { route } from '../../src/http/route.ts';
import { buildServer, type RefusalReport } from '../../src/http/server.ts';
import { signWebhook, WebhookSecret } from '../../src/signing/standard-webhooks.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

const CANARY = 'canary-9f3a-hazardous-words';
const token = generateToken();
const secret = generateSharedSecret();

describe('secrets and hazardous text', () => {
  const sink: string[] = [];
  const reports: RefusalReport[] = [];
  const metrics = createMetrics();
  let app: FastifyInstance;

  beforeAll(async () => {
    const identities = parseIdentities({
      isSharedFile: false,
      env: {},
      value: {
        identities: [
          {
            id: 't',
            name: 'T',
            roles: ['trainer'],
            tokenHashes: [hashToken(token)],
            webhookSecrets: [secret],
          },
        ],
      },
    });
    if (!identities.ok) throw new Error('refused');
    app = buildServer({
      routes: [
        route({
          method: 'POST',
          path: '/v1/results/:id',
          summary: 'x',
          params: z.strictObject({ id: z.string().max(20) }),
          body: z.strictObject({ status: z.enum(['success']), how: z.string().optional() }),
          responses: { 200: z.strictObject({ ok: z.boolean() }) },
          handler: async ({ body, rawBody }) => {
            if (body.how === 'throw')
              throw new Error(`could not store ${rawBody.length} bytes`, { cause: JSON.parse('{}') });
            if (body.how === 'quote') JSON.parse(`${CANARY}`);
            if (body.how === 'attach')
              throw Object.assign(new Error('no'), {
                config: { token, body: CANARY },
                headers: { authorization: token },
              });
            return { status: 200, body: { ok: true } };
          },
        }),
      ],
      access: {
        ...ACCESS,
        'POST /v1/results/:id': {
          who: 'identified',
          auth: ['bearer', 'webhook'],
          priority: 'intake',
          limit: 'intake',
        },
      },
      authenticator: createAuthenticator({ identities: identities.identities }),
      logger: createLogger({
        level: 'trace',
        destination: { write: (line: string) => void sink.push(line) },
      }),
      info: { title: 'x', version: '0', description: '' },
      metrics,
      onRefusal: (report) => reports.push(report),
    });
    await app.ready();
  });
  afterAll(() => app.close());

  it('are in no log, metric, report or refusal', async () => {
    const bearer = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const send = (headers: Record<string, string>, payload: string | Buffer, url = '/v1/results/r') =>
      app.inject({ method: 'POST', url, headers, payload });
    const good = JSON.stringify({ status: 'success' });
    const signed = signWebhook({
      id: 'm',
      timestamp: new Date(),
      body: Buffer.from(good),
      secrets: [WebhookSecret.parse(secret)],
    });
    const answers = [
      await send(bearer, good),
      await send({ ...signed, 'content-type': 'application/json' }, good),
      await send({ ...signed, 'content-type': 'application/json' }, `{"status":"${CANARY}"}`),
      await send(bearer, `{"status":"${CANARY}"}`),
      await send(bearer, `{"status":"success","transcript":"${CANARY}"}`),
      await send(bearer, `{"status": ${CANARY}}`),
      await send(bearer, `{"a":"${CANARY}","a":1}`),
      await send({ ...bearer, authorization: `Bearer ${CANARY}` }, good),
      await send({ ...bearer, authorization: `Basic ${token}` }, good),
      await send({ ...bearer, 'content-type': CANARY }, good),
      await send({ ...bearer, 'x-correlation-id': `${CANARY} ${token}` }, good),
      await send(bearer, good, `/v1/results/${CANARY}-too-long-for-the-schema`),
      await send(bearer, good, `/v1/results/r?note=${CANARY}`),
      await send(bearer, good, `/v1/results/r?access_token=${token}`),
      await send(bearer, good, `/${CANARY}/${token}`),
      await send(bearer, '{"status":"success","how":"throw"}'),
      await send(bearer, '{"status":"success","how":"quote"}'),
      await send(bearer, '{"status":"success","how":"attach"}'),
    ];
    expect(answers.map((answer) => answer.statusCode)).toEqual([
      200, 200, 401, 422, 422, 400, 400, 401, 401, 415, 200, 422, 422, 400, 404, 500, 500, 500,
    ]);
    const everything = [
      ...sink,
      metrics.render(),
      JSON.stringify(reports),
      ...answers.map((a) => a.body + JSON.stringify(a.headers)),
    ].join('\n');
    for (const hidden of [CANARY, token, secret]) expect(everything).not.toContain(hidden);
    expect(sink.length).toBeGreaterThanOrEqual(answers.length);
  });
});
