/**
 * The conformance vectors (clients/conformance) against the TypeScript client, and against the code that makes them.
 * The Python client is held to the same files by clients/python/test_conformance.py.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { atMost, toDecimal } from '../../clients/typescript/decimal.ts';
import { createInterlockClient, InterlockClientError, PermitGuard } from '../../clients/typescript/index.ts';
import { createTokenVerifier } from '../../clients/typescript/tokens.ts';
import { TrustedKeys } from '../../clients/typescript/trusted-keys.ts';
import { signWebhook, verifyWebhook, WebhookSecret } from '../../clients/typescript/webhook.ts';
import { vectorFiles } from '../conformance/vectors.ts';
import { temporaryDirectory } from './client-support.ts';
import { read, serve, vectors } from './conformance-support.ts';

const TokenCase = z.object({
  name: z.string(),
  token: z.string(),
  refused: z.string().nullable(),
  suspect: z.boolean().default(false),
});
const tokens = z.object({
  runId: z.string(),
  issuer: z.string(),
  nowS: z.number().default(0),
  jwks: z.json(),
  cases: z.array(TokenCase),
});
const permits = vectors('permits.json', tokens);
const halts = vectors('halts.json', tokens);
const keys = vectors(
  'keys.json',
  z.object({
    cases: z.array(
      z.object({
        name: z.string(),
        pinned: z.json(),
        documents: z.array(z.json()),
        believed: z.array(z.string()),
        revoked: z.array(z.string()),
      }),
    ),
  }),
);
const webhooks = vectors(
  'webhooks.json',
  z.object({
    secrets: z.array(z.string()),
    nowS: z.number(),
    signatures: z.array(
      z.object({
        secret: z.string(),
        id: z.string(),
        atS: z.number(),
        body: z.string(),
        headers: z.record(z.string(), z.string()).nullable(),
      }),
    ),
    badSecrets: z.array(z.string()),
    cases: z.array(
      z.object({
        name: z.string(),
        headers: z.array(z.array(z.string())),
        body: z.string(),
        valid: z.boolean(),
      }),
    ),
  }),
);
const reports = vectors(
  'reports.json',
  z.object({
    reports: z.array(
      z.object({
        report: z.object({
          runId: z.string(),
          checkpointId: z.string(),
          effectiveCompute: z.string(),
          step: z.number().exactOptional(),
          modelUri: z.string(),
          weightsDigest: z.string().exactOptional(),
          parents: z.array(z.string()).exactOptional(),
          trainingStage: z.object({ name: z.string(), compute: z.string() }).exactOptional(),
        }),
        bodyBase64: z.string(),
        id: z.string(),
      }),
    ),
    retryable: z.array(z.number()),
    final: z.array(z.number()),
  }),
);
const compute = vectors(
  'compute.json',
  z.object({
    compared: z.array(z.object({ a: z.string(), b: z.string(), atMost: z.boolean() })),
    written: z.array(z.object({ number: z.number(), text: z.string().nullable() })),
  }),
);
const Step = z.object({
  beat: z
    .union([
      z.literal('unreachable'),
      z.object({ status: z.number(), text: z.string(), repeat: z.number().default(1) }),
    ])
    .optional(),
  advanceS: z.number().default(0),
  wallS: z.number().default(0),
  order: z.string().optional(),
  outcome: z.string().optional(),
  ask: z.string().optional(),
  verdict: z.string().optional(),
  reason: z.string().optional(),
  sent: z.record(z.string(), z.json()).optional(),
  keys: z.json().optional(),
  restart: z.literal(true).optional(),
});
const scenarios = vectors(
  'guard.json',
  z.object({
    runId: z.string(),
    issuer: z.string(),
    nowS: z.number(),
    jwks: z.json(),
    scenarios: z.array(z.object({ name: z.string(), steps: z.array(Step) })),
  }),
);

describe('the vectors', () => {
  it('are what the service signs today (npm run conformance:make writes them)', async () => {
    for (const [name, content] of Object.entries(await vectorFiles())) expect(read(name), name).toBe(content);
  });
});

describe('the TypeScript client, by the vectors', () => {
  it.each(permits.cases)('permit: $name', async ({ token, refused }) => {
    const verifier = await createTokenVerifier(permits);
    const verified = await verifier.permit(token, new Date(permits.nowS * 1000));
    expect(verified.ok ? null : verified.reason).toBe(refused);
  });

  it.each(halts.cases)('halt order: $name', async ({ token, refused, suspect }) => {
    const verified = await (await createTokenVerifier(halts)).haltOrder(token);
    expect(verified.ok ? null : verified.reason).toBe(refused);
    if (verified.ok) expect(verified.value.suspect).toBe(suspect);
  });

  it.each(keys.cases)('keys: $name', async ({ pinned, documents, believed, revoked }) => {
    const trusted = await TrustedKeys.pin(pinned);
    for (const document of documents) await trusted.learn(document);
    const known = trusted.remembered();
    expect(known.map(({ kid }) => kid).sort()).toEqual([...believed].sort());
    expect(known.filter(({ revokedAtS }) => revokedAtS !== null).map(({ kid }) => kid)).toEqual(revoked);
  });

  it.each(webhooks.signatures)('webhook signature: $id at $atS', ({ secret, id, atS, body, headers }) => {
    const sign = () => signWebhook(new WebhookSecret(secret), id, new Date(atS * 1000), Buffer.from(body));
    if (headers === null) expect(sign).toThrow(/not in the form/);
    else expect(sign()).toEqual(headers);
  });

  it.each(webhooks.cases)('webhook: $name', ({ headers, body, valid }) => {
    const secrets = webhooks.secrets.map((text) => new WebhookSecret(text));
    const now = new Date(webhooks.nowS * 1000);
    expect(verifyWebhook(secrets, headers.flat(), Buffer.from(body), now)).toBe(valid);
  });

  it.each(webhooks.badSecrets)('refuses a secret that is none, without quoting it: %j', (text) => {
    expect(() => new WebhookSecret(text)).toThrow('a webhook secret is whsec_ and the padded base64');
  });

  it.each(compute.compared)('compute: $a at most $b: $atMost', ({ a, b, atMost: expected }) => {
    expect(atMost(a, b)).toBe(expected);
  });

  it.each(compute.written)('compute: $number is written $text', ({ number, text }) => {
    if (text === null) expect(() => toDecimal(number)).toThrow(/non-negative finite decimal/);
    else expect(toDecimal(number)).toBe(text);
  });

  it.each(reports.reports)('report: the same bytes and id for $report.checkpointId', async (row) => {
    const sent: { id: string; body: string }[] = [];
    const server = await serve((request, body) => {
      sent.push({ id: String(request.headers['webhook-id']), body: body.toString('base64') });
      return { status: 202, text: '{"disposition":"recorded"}' };
    });
    const client = clientOf(server.url);
    await client.reportCheckpoint(row.report);
    await server.close();
    expect(sent).toEqual([{ id: row.id, body: row.bodyBase64 }]);
  });

  it.each([
    ...reports.retryable.map((status) => [status, true] as const),
    ...reports.final.map((status) => [status, false] as const),
  ])('report: %i is worth another attempt: %s', async (status, retryable) => {
    const server = await serve(() => ({ status, text: '' }));
    const error = await clientOf(server.url)
      .heartbeat('r', { effectiveCompute: '1', nonce: 'n' })
      .catch((cause: unknown) => cause);
    await server.close();
    expect(error).toBeInstanceOf(InterlockClientError);
    expect(error).toMatchObject({ retryable });
  });
});

describe('the TypeScript guard, by the vectors', () => {
  const place = temporaryDirectory();
  const answers = { keys: scenarios.jwks, beat: null as z.output<typeof Step>['beat'] | null };
  let last: unknown = null;
  let server: Awaited<ReturnType<typeof serve>>;
  beforeAll(async () => {
    server = await serve((request, body) => {
      if (request.url === '/.well-known/jwks.json')
        return { status: 200, text: JSON.stringify(answers.keys) };
      if (request.url?.endsWith('/heartbeat') !== true) return { status: 200, text: '{}' };
      last = JSON.parse(body.toString('utf8'));
      if (answers.beat === 'unreachable' || answers.beat === null || answers.beat === undefined) return null;
      return { status: answers.beat.status, text: answers.beat.text.repeat(answers.beat.repeat) };
    });
  });
  afterAll(async () => {
    await server.close();
    place.remove();
  });

  it.each(scenarios.scenarios)('$name', async ({ name, steps }) => {
    answers.keys = scenarios.jwks;
    let monotonicMs = 1_000;
    let wallMs = scenarios.nowS * 1000;
    let nonces = 0;
    let lives = 0;
    const open = () => {
      lives += 1;
      return PermitGuard.open({
        instance: `instance-${lives}`,
        client: clientOf(server.url),
        runId: scenarios.runId,
        issuer: scenarios.issuer,
        stateDirectory: `${place.path}/${name.replaceAll(/\W/g, '-')}`,
        monotonicMs: () => monotonicMs,
        wallClock: () => new Date(wallMs),
        nonce: () => {
          nonces += 1;
          return `nonce-${nonces}`;
        },
      });
    };
    let guard = await open();
    for (const [index, step] of steps.entries()) {
      const at = `step ${index}: ${JSON.stringify(step).slice(0, 120)}`;
      monotonicMs += step.advanceS * 1000;
      wallMs += (step.advanceS + step.wallS) * 1000;
      if (step.keys !== undefined) answers.keys = step.keys;
      if (step.beat !== undefined) {
        answers.beat = step.beat;
        await guard.beat();
      }
      if (step.order !== undefined) {
        expect(await guard.receiveOrder(step.order, 'webhook'), at).toBe(step.outcome);
      }
      if (step.ask !== undefined) {
        const said = guard.mayTrain(step.ask);
        expect(said.verdict, at).toBe(step.verdict);
        if (step.reason !== undefined) expect(said, at).toMatchObject({ reason: step.reason });
      }
      for (const [field, value] of Object.entries(step.sent ?? {})) {
        expect(z.record(z.string(), z.json()).parse(last)[field] ?? null, at).toEqual(value);
      }
      if (step.restart === true) {
        await guard.close();
        guard = await open();
      }
    }
    await guard.close();
  });
});

const clientOf = (url: string) =>
  createInterlockClient({
    url,
    token: 'trainer-token',
    webhookSecret: webhooks.secrets[0] ?? '',
    wait: () => Promise.resolve(),
  });
