import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { OrchestratorsConfigSchema } from '../../src/config/orchestrators.ts';
import { confirmationOf, defaultLadder } from '../../src/orchestrators/ladders.ts';
import { openOrchestrators } from '../../src/orchestrators/registry.ts';
import { targetSchema } from '../../src/orchestrators/targets.ts';
import type { WebhookOrchestratorDeps } from '../../src/orchestrators/webhook.ts';
import { createWebhookOrchestrator, webhookIdOf } from '../../src/orchestrators/webhook.ts';
import type { Outbound } from '../../src/outbound/outbound.ts';
import { createOutbound } from '../../src/outbound/outbound.ts';
import {
  generateWebhookKeyPair,
  generateWebhookSecret,
  parseWebhookPrivateKey,
  parseWebhookPublicKey,
  verifyWebhook,
  WebhookSecret,
} from '../../src/signing/standard-webhooks.ts';
import type { Behaviour, HttpTarget } from '../support/http-target.ts';
import { startHttpTarget } from '../support/http-target.ts';
import { describeOrchestrator, does, haltMessage, live } from './describe-orchestrator.ts';

const secretText = generateWebhookSecret();
const secret = WebhookSecret.parse(secretText);
const PATH = 'hooks/PATHSECRET';

describeOrchestrator(
  'the webhook orchestrator',
  async () => {
    const [target, broken] = await Promise.all([startHttpTarget(), startHttpTarget()]);
    broken.behave({ kind: 'status', status: 500, body: `<script>${secretText}</script>` });
    const outbound = createOutbound({ allow: ['loopback'] });
    const deps = { outbound, secretsFor: () => [secret] };
    const behave = (behaviour: Behaviour) => does(() => target.behave(behaviour));
    return {
      orchestrator: createWebhookOrchestrator({ kind: 'webhook', url: `${target.url}/${PATH}` }, deps),
      refused: createWebhookOrchestrator({ kind: 'webhook', url: `${broken.url}/${PATH}` }, deps),
      secrets: [secretText, secretText.slice(6), PATH],
      reached: (n) => target.nthRequest(n).then(() => undefined),
      count: () => target.received.length,
      close: () => Promise.all([target.close(), broken.close(), outbound.close()]).then(() => undefined),
      side: {
        sees: 'unknown',
        takesAnyBody: true,
        forget: behave({ kind: 'status', status: 404, body: 'no such run' }),
        refuse: behave({ kind: 'status', status: 403 }),
        hang: behave({ kind: 'hang' }),
        lie: behave({ kind: 'status', status: 200, body: '{"received":true}' }),
        expire: behave({ kind: 'status', status: 401, body: secretText }),
        renew: behave({ kind: 'status', status: 200 }),
        answers: {
          'a page': behave({ kind: 'status', status: 200, body: `<html>${secretText}</html>` }),
          'an error inside a success': behave({
            kind: 'status',
            status: 200,
            body: `{"error":"${secretText}"}`,
          }),
          'a redirect': behave({ kind: 'status', status: 302, headers: { location: `/${secretText}` } }),
          'too much': behave({ kind: 'oversized', bytes: 10_000_000 }),
          'a broken connection': behave({ kind: 'reset' }),
          'no JSON': behave({ kind: 'status', status: 200, body: '{"error":' }),
          'deep JSON': behave({ kind: 'status', status: 200, body: '['.repeat(8_000) }),
        },
      },
    };
  },
  {
    stop: 'a URL cannot tell whether the run stopped',
    'already stopped': 'a URL cannot tell whether the run stopped',
    'comes back': 'a URL cannot tell whether the run stopped; a heartbeat with progress reopens the halt',
    partial: 'a URL has no parts that can be seen',
  },
);

describe('a halt by webhook', () => {
  let target: HttpTarget;
  let outbound: Outbound;
  beforeEach(async () => {
    target = await startHttpTarget();
    outbound = createOutbound({ allow: ['loopback'] });
  });
  afterEach(() => Promise.all([target.close(), outbound.close()]));

  const make = (more: Partial<WebhookOrchestratorDeps> = {}) =>
    createWebhookOrchestrator(
      { kind: 'webhook', url: `${target.url}/${PATH}` },
      { outbound, secretsFor: () => [secret], requestTimeoutMs: 5_000, ...more },
    );

  test.each<[string, Behaviour, 'accepted' | 'retry', string]>([
    ['200', { kind: 'status', status: 200 }, 'accepted', 'HTTP 200'],
    ['202 and JSON', { kind: 'status', status: 202, body: '{"queued":true}' }, 'accepted', 'HTTP 202'],
    ['204', { kind: 'status', status: 204 }, 'accepted', 'HTTP 204'],
    ['200 and text', { kind: 'status', status: 200, body: 'thanks' }, 'accepted', 'HTTP 200'],
    ['200 and no error', { kind: 'status', status: 200, body: '{"error":null}' }, 'accepted', 'HTTP 200'],
    [
      '200 and an error',
      { kind: 'status', status: 200, body: '{"error":"no such job"}' },
      'retry',
      'reporting an error',
    ],
    ['302', { kind: 'status', status: 302, headers: { location: '/ok' } }, 'retry', 'HTTP 302'],
    ['304', { kind: 'status', status: 304 }, 'retry', 'HTTP 304'],
    ['400', { kind: 'status', status: 400 }, 'retry', 'HTTP 400'],
    ['401', { kind: 'status', status: 401 }, 'retry', 'HTTP 401'],
    ['404', { kind: 'status', status: 404 }, 'retry', 'HTTP 404'],
    ['410', { kind: 'status', status: 410 }, 'retry', 'HTTP 410'],
    ['429', { kind: 'status', status: 429 }, 'retry', 'HTTP 429'],
    ['500', { kind: 'status', status: 500 }, 'retry', 'HTTP 500'],
    ['503', { kind: 'status', status: 503 }, 'retry', 'HTTP 503'],
    ['a broken connection', { kind: 'reset' }, 'retry', 'broke off'],
    ['too long an answer', { kind: 'oversized', bytes: 100_000 }, 'retry', 'more than 16384 bytes'],
  ])('%s: %3$s', async (_name, behaviour, kind, detail) => {
    target.behave(behaviour);
    const outcome = await make().take('webhook', haltMessage(), live());
    expect(outcome).toEqual({ kind, detail: expect.stringContaining(detail) });
    expect(target.received).toHaveLength(1);
  });

  test.each(['hang', 'drip'] as const)(
    'an orchestrator that does %s is given up at the deadline',
    async (kind) => {
      target.behave({ kind });
      const outcome = await make({ requestTimeoutMs: 150 }).take('webhook', haltMessage(), live());
      expect(outcome).toEqual({ kind: 'retry', detail: expect.stringContaining('150 ms') });
      await vi.waitUntil(() => target.openConnections() === 0);
    },
  );

  test('a caller that gives up is let go at once', async () => {
    target.behave({ kind: 'hang' });
    const controller = new AbortController();
    const taking = make().take('webhook', haltMessage(), controller.signal);
    await target.nthRequest(1);
    controller.abort();
    expect((await taking).kind).toBe('retry');
    await vi.waitUntil(() => target.openConnections() === 0);
  });

  test('nobody listening is tried again; a target that is not allowed is not', async () => {
    await target.close();
    expect(await make().take('webhook', haltMessage(), live())).toEqual({
      kind: 'retry',
      detail: expect.stringContaining('ECONNREFUSED'),
    });
    const strict = createOutbound({ allow: [] });
    expect(await make({ outbound: strict }).take('webhook', haltMessage(), live())).toEqual({
      kind: 'rejected',
      detail: expect.stringContaining('not in outbound.allow'),
    });
    // A name that resolves wrongly today may resolve rightly tomorrow.
    const rebound = createOutbound({
      allow: ['trainer.test'],
      resolve: async () => [{ address: '169.254.169.254', family: 4 }],
    });
    const named = createWebhookOrchestrator(
      { kind: 'webhook', url: 'http://trainer.test/' },
      { outbound: rebound, secretsFor: () => [secret] },
    );
    expect(await named.take('webhook', haltMessage(), live())).toMatchObject({ kind: 'retry' });
  });

  test('carries the order, verifiable over its bytes, with the same id and body at every attempt', async () => {
    const pair = generateWebhookKeyPair();
    const claims = { iss: 'interlock', aud: 'interlock/halt', sub: 'run-1', iat: 1_800_000_000 };
    const payload = { ...claims, haltId: 'halt_a', action: 'halt', epoch: 4 };
    const order = `eyJh.${Buffer.from(JSON.stringify(payload)).toString('base64url')}.c2ln`;
    const times = [new Date('2027-01-15T08:00:01Z'), new Date('2027-01-15T08:00:31Z')];
    const orchestrator = make({
      ed25519Keys: [parseWebhookPrivateKey(pair.privateKey)],
      now: () => times.shift() ?? new Date(0),
    });
    await orchestrator.take('webhook', haltMessage({ order }), live());
    await orchestrator.take('webhook', haltMessage({ order, attempt: 2 }), live());

    const [first, second] = target.received;
    expect(first?.body).toEqual(second?.body);
    expect(first?.headers['webhook-id']).toBe(second?.headers['webhook-id']);
    expect(second?.headers['webhook-timestamp']).toBe('1800000031');
    expect(first?.headers['content-type']).toBe('application/json');
    const { runId, haltId, action, reason } = haltMessage();
    expect(JSON.parse(first?.body.toString() ?? '')).toEqual({
      type: 'halt.ordered',
      timestamp: '2027-01-15T08:00:00.000Z',
      data: { runId, haltId, action, reason, order },
    });
    const received = { rawHeaders: second?.rawHeaders ?? [], body: second?.body ?? Buffer.alloc(0) };
    const now = new Date('2027-01-15T08:00:31Z');
    expect(verifyWebhook({ ...received, secrets: [secret], now }).ok).toBe(true);
    const ed25519Keys = [parseWebhookPublicKey(pair.publicKey)];
    expect(verifyWebhook({ ...received, secrets: [], ed25519Keys, now }).ok).toBe(true);
  });

  test('its id differs by halt, action and target', () => {
    const at = { kind: 'webhook', url: 'https://a.test/' } as const;
    const ids = [
      webhookIdOf(haltMessage(), at),
      webhookIdOf(haltMessage({ haltId: 'halt_other' }), at),
      webhookIdOf(haltMessage({ action: 'quarantine' }), at),
      webhookIdOf(haltMessage(), { ...at, url: 'https://b.test/' }),
    ];
    expect(new Set(ids).size).toBe(4);
    for (const id of ids) expect(id).toMatch(/^[A-Za-z0-9_-]{1,128}$/);
    expect(webhookIdOf(haltMessage({ attempt: 9 }), at)).toBe(ids[0]);
  });

  test('a rehearsal is signed as a halt is, under another id and type, and carries no order', async () => {
    const orchestrator = make({ now: () => new Date('2027-01-15T08:00:31Z') });
    await orchestrator.take('webhook', haltMessage(), live());
    expect(await orchestrator.rehearse?.('webhook', haltMessage(), live())).toEqual({
      kind: 'accepted',
      detail: 'HTTP 200',
    });
    const [halt, drill] = target.received;
    const { runId, haltId, action, reason, order } = haltMessage();
    expect(JSON.parse(drill?.body.toString() ?? '')).toEqual({
      type: 'halt.drill',
      timestamp: '2027-01-15T08:00:31.000Z',
      data: { runId, haltId, action, reason },
    });
    expect(drill?.body.toString()).not.toContain(order);
    expect(drill?.headers['webhook-id']).not.toBe(halt?.headers['webhook-id']);
    const received = { rawHeaders: drill?.rawHeaders ?? [], body: drill?.body ?? Buffer.alloc(0) };
    expect(verifyWebhook({ ...received, secrets: [secret], now: new Date('2027-01-15T08:00:31Z') }).ok).toBe(
      true,
    );
  });

  test.each<[string, WebhookOrchestratorDeps['secretsFor']]>([
    ['is missing', () => []],
    [
      'cannot be read',
      () => {
        throw new Error(secretText);
      },
    ],
  ])('goes out unsigned, and says so, where the secret %s', async (_name, secretsFor) => {
    const outcome = await make({ secretsFor }).take('webhook', haltMessage(), live());
    expect(outcome).toEqual({ kind: 'accepted', detail: 'HTTP 200, sent unsigned: no usable secret' });
    expect(target.received[0]?.headers).not.toHaveProperty('webhook-signature');
    expect(target.received[0]?.body.toString()).toContain(haltMessage().order);
  });
});

describe('targets', () => {
  test.each<unknown>([
    { kind: 'webhook', url: 'https://trainer.example/halt' },
    { kind: 'webhook', url: 'http://10.0.0.8:9000/halt?team=a', secret: 'env:HALT_SECRET' },
    { kind: 'process', pid: 4242 },
    { kind: 'process', pid: 4242, startTime: '0d5a1f0e-1111-2222-3333-444455556666:123456' },
    { kind: 'ray', cluster: 'blue', submissionId: 'raysubmit_Hh4aYNmbwxCoGwqs' },
    {
      kind: 'ray',
      cluster: 'blue',
      submissionId: 'run-7',
      submissionPrefix: 'run-',
      run: 'gpt-next',
      after: '20s',
    },
    { kind: 'command', command: 'lab', run: 'gpt-next/7' },
    { kind: 'command', command: 'lab', run: '7', parameters: { region: 'north; rm -rf /', empty: '' } },
  ])('%j is one', (target) => expect(targetSchema.parse(target)).toEqual(target));

  test.each<unknown>([
    { kind: 'webhook' },
    { kind: 'webhook', url: 'ftp://trainer.example/' },
    { kind: 'webhook', url: 'javascript:alert(1)' },
    { kind: 'webhook', url: 'https://user:pw@trainer.example/' },
    { kind: 'webhook', url: 'https://trainer.example/#x' },
    { kind: 'webhook', url: `https://trainer.example/${'x'.repeat(2048)}` },
    { kind: 'webhook', url: 'https://trainer.example/', secret: 'whsec_inline' },
    { kind: 'webhook', url: 'https://trainer.example/', pid: 3 },
    { kind: 'process', pid: 1 },
    { kind: 'process', pid: 0 },
    { kind: 'process', pid: -4 },
    { kind: 'process', pid: '12' },
    { kind: 'process', pid: 1.5 },
    { kind: 'process', pid: 2, startTime: '../../etc' },
    { kind: 'ray', submissionId: 'run-7' },
    { kind: 'ray', cluster: 'blue', submissionId: '../../api/version' },
    { kind: 'ray', cluster: 'blue', submissionId: 'run-7', url: 'http://127.0.0.1:8265' },
    { kind: 'ray', cluster: 'blue', submissionId: 'run-7', token: 'x' },
    { kind: 'ray', cluster: 'blue', submissionId: 'run-7', submissionPrefix: 'r' },
    { kind: 'ray', cluster: 'blue', submissionId: 'run-7', run: 'a\nb' },
    { kind: 'ray', cluster: '__proto__', submissionId: 'run-7' },
    { kind: 'command', command: 'lab' },
    { kind: 'command', command: '/bin/sh', run: '7' },
    { kind: 'command', command: 'lab', run: '--all' },
    { kind: 'command', command: 'lab', run: 'a b' },
    { kind: 'command', command: 'lab', run: '7', parameters: { region: 7 } },
    { kind: 'command', command: 'lab', run: '7', parameters: { 'a=b': '' } },
    { kind: 'command', command: 'lab', run: '7', parameters: { a: 'x\u0000' } },
    { kind: 'command', command: 'lab', run: '7', parameters: { a: 'x'.repeat(257) } },
    {
      kind: 'command',
      command: 'lab',
      run: '7',
      parameters: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`p${i}`, ''])),
    },
    { kind: 'command', command: 'lab', run: '7', argv: ['rm'] },
    { kind: 'ssh', host: 'x' },
    null,
  ])('%j is none', (target) => expect(targetSchema.safeParse(target).success).toBe(false));

  test('a kind that is not enabled takes no target, and has no orchestrator for one on record', async () => {
    const orchestrators = openOrchestrators({
      config: OrchestratorsConfigSchema.parse({}),
      outbound: createOutbound({ allow: [] }),
      now: () => new Date(),
      variable: () => undefined,
      webhookSecrets: () => [],
    });
    for (const target of [
      { kind: 'ray', cluster: 'blue', submissionId: 'run-7' },
      { kind: 'command', command: 'lab', run: '7' },
    ] as const) {
      const { kind, ...config } = target;
      expect(await orchestrators.admit(target)).toMatchObject({ ok: false, field: 'kind' });
      expect(orchestrators.of({ kind, config }, 'trainer')).toBeNull();
    }
  });

  test('each kind has an orchestrator whose ladder names only steps that it has', () => {
    const orchestrators = openOrchestrators({
      config: OrchestratorsConfigSchema.parse({
        process: { enabled: true },
        ray: { enabled: true, clusters: { blue: { url: 'http://127.0.0.1:8265' } } },
        command: { enabled: true, commands: { lab: { stop: ['/bin/true'], status: ['/bin/true'] } } },
        slurm: { enabled: true, clusters: { train: { commands: {} } } },
      }),
      outbound: createOutbound({ allow: [] }),
      now: () => new Date(),
      variable: () => undefined,
      webhookSecrets: () => [],
    });
    for (const target of [
      { kind: 'webhook', url: 'https://a.test/' },
      { kind: 'process', pid: 2 },
      { kind: 'ray', cluster: 'blue', submissionId: 'run-7' },
      { kind: 'command', command: 'lab', run: '7' },
      { kind: 'slurm', cluster: 'train', jobId: 12 },
    ] as const) {
      const { kind, ...config } = target;
      const orchestrator = orchestrators.of({ kind, config }, 'trainer');
      if (orchestrator === null) throw new Error(`${target.kind} has none`);
      const ladder = defaultLadder(target.kind);
      expect(orchestrator.kind).toBe(target.kind);
      expect(ladder.map(({ step }) => step)).toEqual(orchestrator.steps);
      expect(ladder[0]?.afterMs).toBe(0);
      for (const { retryMs } of ladder) expect(retryMs[0]).toBeLessThan(1_000);
      expect(confirmationOf(target.kind)).toBe(target.kind === 'webhook' ? 'acknowledged' : 'observed');
    }
  });
});
