import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { AlertChannel, Delivery } from '../../src/alerts/alert-channel.ts';
import { wrapChannel } from '../../src/alerts/alert-channel.ts';
import { toPayload as toPagerdutyPayload } from '../../src/alerts/pagerduty.ts';
import { alertChannelConfigSchema, createAlertChannel } from '../../src/alerts/registry.ts';
import { toPayload as toSlackPayload } from '../../src/alerts/slack.ts';
import { plainText, slackText } from '../../src/alerts/text.ts';
import { toPayload as toWebhookPayload } from '../../src/alerts/webhook.ts';
import type { Outbound } from '../../src/outbound/outbound.ts';
import { createOutbound } from '../../src/outbound/outbound.ts';
import { generateWebhookSecret, verifyWebhook, WebhookSecret } from '../../src/signing/standard-webhooks.ts';
import { createFakeAlertChannel } from '../support/fake-alert-channel.ts';
import type { Behaviour, HttpTarget } from '../support/http-target.ts';
import { startHttpTarget } from '../support/http-target.ts';
import type { AlertChannelFixture, Reaction } from './describe-alert-channel.ts';
import { alertOf, describeAlertChannel, live } from './describe-alert-channel.ts';

const ROUTING_KEY = 'R0UT1NGKEY0123456789abcdef012345';
const SLACK_PATH = '/services/T000/B000/SLACKSECRET';
const secretText = generateWebhookSecret();

type Kind = 'pagerduty' | 'slack' | 'webhook';
const kinds = ['pagerduty', 'slack', 'webhook'] as const;

/** What each system answers to a message that it takes. */
const accepted: Record<Kind, Behaviour> = {
  pagerduty: { kind: 'status', status: 202, body: '{"status":"success","dedup_key":"k"}' },
  slack: { kind: 'status', status: 200, body: 'ok' },
  webhook: { kind: 'status', status: 204 },
};

function channelTo(kind: Kind, target: HttpTarget, outbound: Outbound, timeoutMs = 10_000): AlertChannel {
  const environment: Record<string, string> = {
    'env:PD_KEY': ROUTING_KEY,
    'env:SLACK_URL': `${target.url}${SLACK_PATH}`,
    'env:HOOK_SECRET': secretText,
  };
  const config = {
    pagerduty: { name: 'oncall', kind, routingKey: 'env:PD_KEY', url: `${target.url}/v2/enqueue` },
    slack: { name: 'oncall', kind, url: 'env:SLACK_URL' },
    webhook: { name: 'oncall', kind, url: `${target.url}/alerts`, secret: 'env:HOOK_SECRET' },
  }[kind];
  return createAlertChannel(alertChannelConfigSchema.parse(config), {
    outbound,
    resolve: (reference) => environment[reference],
    timeoutMs,
  });
}

const secrets = [ROUTING_KEY, SLACK_PATH, 'SLACKSECRET', secretText, secretText.slice(6)];

for (const kind of kinds) {
  describeAlertChannel(`the ${kind} channel`, async (): Promise<AlertChannelFixture> => {
    const target = await startHttpTarget();
    const outbound = createOutbound({ allow: ['loopback'] });
    const behaviours: Record<Reaction, Behaviour> = {
      accept: accepted[kind],
      busy: { kind: 'status', status: 429, body: secrets.join(' ') },
      refuse: { kind: 'status', status: 400, body: secrets.join(' ') },
      hang: { kind: 'hang' },
    };
    target.behave(behaviours.accept);
    return {
      channel: channelTo(kind, target, outbound),
      react: (reaction) => target.behave(behaviours[reaction]),
      received: () => target.received.map(({ body }) => body.toString()),
      reached: (n) => target.nthRequest(n).then(() => undefined),
      secrets,
      close: () => Promise.all([target.close(), outbound.close()]).then(() => undefined),
    };
  });
}

describeAlertChannel('the in-memory fake', async () => {
  const channel = createFakeAlertChannel();
  const answers: Record<Reaction, Delivery | 'hang'> = {
    accept: { outcome: 'delivered', reason: 'kept' },
    busy: { outcome: 'retry', reason: 'busy' },
    refuse: { outcome: 'rejected', reason: 'refused' },
    hang: 'hang',
  };
  return {
    channel,
    react: (reaction) => channel.answer(answers[reaction]),
    received: () => channel.sent.map((alert) => JSON.stringify(alert)),
    reached: (n) => vi.waitUntil(() => channel.sent.length >= n).then(() => undefined),
    secrets: [],
    close: async () => undefined,
  };
});

describe('replies', () => {
  let target: HttpTarget;
  let outbound: Outbound;
  beforeEach(async () => {
    target = await startHttpTarget();
    outbound = createOutbound({ allow: ['loopback'] });
  });
  afterEach(() => Promise.all([target.close(), outbound.close()]));

  const everyKind = (status: number, outcome: Delivery['outcome'], headers = {}) =>
    kinds.map((kind) => [kind, { kind: 'status', status, headers } satisfies Behaviour, outcome] as const);

  test.each<readonly [Kind, Behaviour, Delivery['outcome']]>([
    ...kinds.map((kind) => [kind, accepted[kind], 'delivered'] as const),
    ...everyKind(302, 'retry', { location: '/elsewhere' }),
    ...everyKind(400, 'rejected'),
    ...everyKind(401, 'retry'),
    ...everyKind(403, 'retry'),
    ...everyKind(404, 'retry'),
    ...everyKind(408, 'retry'),
    ...everyKind(410, 'rejected'),
    ...everyKind(413, 'rejected'),
    ...everyKind(429, 'retry'),
    ...everyKind(500, 'retry'),
    ...everyKind(503, 'retry'),
    ...kinds.map((kind) => [kind, { kind: 'reset' } as const, 'retry'] as const),
    ...kinds.map((kind) => [kind, { kind: 'oversized', bytes: 100_000 } as const, 'retry'] as const),
    // A 2xx that the system itself would not have given.
    ['pagerduty', { kind: 'status', status: 200, body: '<html>please sign in</html>' }, 'retry'],
    ['slack', { kind: 'status', status: 200, body: '<html>please sign in</html>' }, 'retry'],
    ['slack', { kind: 'status', status: 200, body: '' }, 'retry'],
    ['webhook', { kind: 'status', status: 200, body: 'anything' }, 'delivered'],
  ])('%s: %j is %s', async (kind, behaviour, outcome) => {
    target.behave(behaviour);
    const delivery = await channelTo(kind, target, outbound).send(alertOf(), live());
    expect(delivery.outcome).toBe(outcome);
    for (const secret of secrets) expect(delivery.reason).not.toContain(secret);
  });

  test.each(kinds.flatMap((kind) => [[kind, 'hang'] as const, [kind, 'drip'] as const]))(
    '%s: a system that does %s is given up at the deadline',
    async (kind, how) => {
      target.behave({ kind: how });
      const delivery = await channelTo(kind, target, outbound, 150).send(alertOf(), live());
      expect(delivery).toEqual({ outcome: 'retry', reason: 'no answer in 150 ms' });
      await vi.waitUntil(() => target.openConnections() === 0);
    },
  );

  test.each(kinds)(
    '%s: an address that is not allowed is rejected, nobody listening is not',
    async (kind) => {
      const strict = createOutbound({ allow: [] });
      expect(await channelTo(kind, target, strict).send(alertOf(), live())).toMatchObject({
        outcome: 'rejected',
      });
      await target.close();
      const delivery = await channelTo(kind, target, outbound).send(alertOf(), live());
      expect(delivery).toMatchObject({ outcome: 'retry', reason: expect.stringContaining('ECONNREFUSED') });
      for (const secret of secrets) expect(delivery.reason).not.toContain(secret);
    },
  );

  test('the webhook channel signs, with the id of the alert', async () => {
    target.behave(accepted.webhook);
    await channelTo('webhook', target, outbound).send(alertOf(), live());
    const { rawHeaders = [], body = Buffer.alloc(0) } = target.received[0] ?? {};
    const verdict = verifyWebhook({
      rawHeaders,
      body,
      secrets: [WebhookSecret.parse(secretText)],
      now: new Date(),
    });
    expect(verdict).toMatchObject({ ok: true, id: alertOf().alertId });
  });

  test('PagerDuty gets the routing key in the body', async () => {
    target.behave(accepted.pagerduty);
    await channelTo('pagerduty', target, outbound).send(alertOf(), live());
    const body = JSON.parse(target.received[0]?.body.toString() ?? '');
    expect(body).toEqual({ routing_key: ROUTING_KEY, ...toPagerdutyPayload(alertOf()) });
  });
});

describe('what is sent', () => {
  test('to PagerDuty: an Events v2 trigger', () => {
    expect(toPagerdutyPayload(alertOf())).toEqual({
      event_action: 'trigger',
      dedup_key: 'run-1/halt_a',
      client: 'Interlock',
      client_url: 'https://interlock.example/runs/run-1',
      payload: {
        summary: 'run-1 halted: cyber pre-mitigation 3.2 >= 3.0',
        source: 'interlock/run-1',
        severity: 'critical',
        timestamp: '2026-03-01T12:00:00.000Z',
        component: 'run-1',
        class: 'halt-ordered',
        custom_details: {
          rule: 'pre-mitigation-high',
          category: 'cybersecurity',
          level: '3.2',
          runId: 'run-1',
          alertId: 'alert_abcdefghijklmnopqrstuvwxyz',
        },
      },
      links: [
        { href: 'https://interlock.example/runs/run-1', text: 'Status of the run' },
        { href: 'https://runbooks.example/halt', text: 'What to do' },
      ],
    });
  });

  test('PagerDuty: a confirmed halt closes nobody’s incident', () => {
    const ordered = toPagerdutyPayload(alertOf());
    const confirmed = toPagerdutyPayload(alertOf({ kind: 'halt-confirmed', severity: 'info' }));
    expect(confirmed).toMatchObject({ event_action: 'trigger', payload: { severity: 'info' } });
    expect(confirmed.dedup_key).not.toBe(ordered.dedup_key);
    // The same trouble again stays one incident.
    expect(toPagerdutyPayload(alertOf({ kind: 'halt-unconfirmed' })).dedup_key).toBe(ordered.dedup_key);
  });

  test('PagerDuty: within its limits', () => {
    const big = toPagerdutyPayload(
      alertOf({
        summary: 'x'.repeat(5_000),
        dedupKey: 'k'.repeat(256),
        details: Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`key ${n}`, 'v'.repeat(5_000)])),
      }),
    );
    expect(big.payload.summary).toHaveLength(1024);
    expect(big.dedup_key).toMatch(/^[0-9a-f]{64}$/);
    expect(JSON.stringify(big).length).toBeLessThan(512 * 1024);
    const other = toPagerdutyPayload(alertOf({ dedupKey: `${'k'.repeat(255)}l` }));
    expect(other.dedup_key).not.toBe(big.dedup_key);
  });

  test('to Slack: one message, readable on a phone', () => {
    expect(toSlackPayload(alertOf())).toEqual({
      text: ':red_circle: run-1 halted: cyber pre-mitigation 3.2 &gt;= 3.0',
      blocks: [
        {
          type: 'section',
          text: {
            type: 'mrkdwn',
            text: ':red_circle: *run-1 halted: cyber pre-mitigation 3.2 &gt;= 3.0*',
            verbatim: true,
          },
        },
        {
          type: 'section',
          fields: [
            { type: 'mrkdwn', text: '*rule*\npre-mitigation-high', verbatim: true },
            { type: 'mrkdwn', text: '*category*\ncybersecurity', verbatim: true },
            { type: 'mrkdwn', text: '*level*\n3.2', verbatim: true },
          ],
        },
        {
          type: 'context',
          elements: [
            {
              type: 'mrkdwn',
              text: 'run run-1 · halt-ordered · 2026-03-01T12:00:00.000Z · <https://interlock.example/runs/run-1|status> · <https://runbooks.example/halt|what to do>',
              verbatim: true,
            },
          ],
        },
      ],
    });
    expect(toSlackPayload(alertOf({ details: {} })).blocks).toHaveLength(2);
  });

  test('Slack: within its limits, and nothing in it mentions or links', () => {
    const noise = '<!channel> <@U123> <https://evil.test|click> & '.repeat(500);
    const payload = toSlackPayload(
      alertOf({
        summary: noise,
        details: Object.fromEntries(Array.from({ length: 30 }, (_, n) => [`${n}${noise}`, noise])),
        statusUrl: 'https://interlock.example/a|b>c<d',
        runbookUrl: 'javascript:alert(1)',
      }),
    );
    const [section, fields, context] = payload.blocks;
    const text = JSON.stringify(payload);
    expect(text).not.toContain('<!');
    expect(text).not.toContain('<@');
    expect(text.match(/<[^>]*>/g)).toEqual(['<https://interlock.example/a%7Cb%3Ec%3Cd|status>']);
    expect(section && 'text' in section ? section.text.text.length : 0).toBeLessThan(3_000);
    expect(fields && 'fields' in fields ? fields.fields.length : 0).toBe(10);
    for (const one of fields && 'fields' in fields ? fields.fields : [])
      expect(one.text.length).toBeLessThan(2_001);
    expect(JSON.stringify(context)).toContain('20 more details');
  });

  test('to a webhook: the alert under its type', () => {
    const { alertId, severity, dedupKey, runId, summary, details, at, runbookUrl, statusUrl } = alertOf();
    expect(toWebhookPayload(alertOf())).toEqual({
      type: 'alert.halt-ordered',
      timestamp: at,
      data: { alertId, severity, dedupKey, runId, summary, details, statusUrl, runbookUrl },
    });
  });

  test('text is cut by whole characters and whole entities', () => {
    expect(plainText('abc', 3)).toBe('abc');
    expect(plainText('abcd', 3)).toBe('ab…');
    expect(plainText('a😀😀', 4)).toBe('a😀…');
    expect(plainText('a😀😀', 3)).toBe('a…');
    expect(plainText('a\u0000b\nc\u202ed', 10)).toBe('a b c d');
    expect(plainText('\ud800', 10).isWellFormed()).toBe(true);
    expect(slackText('<&>', 100)).toBe('&lt;&amp;&gt;');
    expect(slackText('<<<', 10)).toBe('&lt;&lt;…');
    for (let length = 1; length < 30; length += 1) {
      expect(slackText('a&b<c😀>d', length)).toMatch(/^(?:[^&<>]|&amp;|&lt;|&gt;)*$/u);
      expect(slackText('a&b<c😀>d', length).length).toBeLessThanOrEqual(length);
    }
  });
});

describe('the wrapping', () => {
  const wrap = (send: AlertChannel['send'], timeoutMs = 5_000): AlertChannel =>
    wrapChannel({ name: 'x', send }, { timeoutMs, secrets: ['hunter2', ''] });

  test('takes secrets and line breaks out of a reason, and cuts it', async () => {
    const leaky = wrap(async () => ({ outcome: 'retry', reason: `bad\nkey hunter2 ${'x'.repeat(1_000)}` }));
    const { reason } = await leaky.send(alertOf(), live());
    expect(reason).toMatch(/^bad key \[redacted\] x+…$/);
    expect(reason).toHaveLength(300);
  });

  test('turns anything thrown into a retry', async () => {
    const throwing = wrap(() => {
      throw new Error('hunter2');
    });
    const rejecting = wrap(() => Promise.reject(new Error('hunter2')));
    for (const channel of [throwing, rejecting]) {
      expect(await channel.send(alertOf(), live())).toEqual({
        outcome: 'retry',
        reason: 'the channel failed',
      });
    }
  });

  test('does not wait for a channel that ignores its signal', async () => {
    let inner: AbortSignal | undefined;
    const deaf = wrap((_alert, signal) => {
      inner = signal;
      return new Promise(() => undefined);
    }, 50);
    expect(await deaf.send(alertOf(), live())).toEqual({ outcome: 'retry', reason: 'no answer in 50 ms' });
    expect(inner?.aborted).toBe(true);
    const controller = new AbortController();
    const sending = wrap(() => new Promise(() => undefined)).send(alertOf(), controller.signal);
    controller.abort();
    expect(await sending).toEqual({ outcome: 'retry', reason: 'given up' });
  });
});

describe('configuration', () => {
  test.each<unknown>([
    { name: 'a', kind: 'pagerduty', routingKey: 'env:PD' },
    { name: 'a', kind: 'slack', url: 'env:SLACK' },
    { name: 'a', kind: 'slack', url: 'https://hooks.slack.com/services/x' },
    { name: 'a', kind: 'webhook', url: 'https://a.example/', secret: 'env:S' },
  ])('%j is a channel', (config) => expect(alertChannelConfigSchema.safeParse(config).success).toBe(true));

  test.each<unknown>([
    { name: 'a', kind: 'pagerduty', routingKey: 'R0UT1NG' },
    { name: 'a', kind: 'pagerduty', routingKey: 'env:PD', treshold: 1 },
    { name: 'a', kind: 'slack', url: 'http://hooks.slack.com/services/x' },
    { name: 'a', kind: 'webhook', url: 'https://a.example/' },
    { name: 'a', kind: 'webhook', url: 'https://a.example/', secret: 'whsec_inline' },
    { name: 'a', kind: 'webhook', url: 'https://u:p@a.example/', secret: 'env:S' },
    { name: '', kind: 'slack', url: 'env:SLACK' },
    { name: 'a', kind: 'pigeon' },
  ])('%j is none', (config) => expect(alertChannelConfigSchema.safeParse(config).success).toBe(false));

  test.each<[unknown, Record<string, string>, RegExp]>([
    [{ name: 'oncall', kind: 'pagerduty', routingKey: 'env:PD' }, {}, /oncall.*env:PD is not set/],
    [
      { name: 'oncall', kind: 'slack', url: 'env:S' },
      { 'env:S': 'SLACKSECRET' },
      /oncall.*not an http or https URL/,
    ],
    [
      { name: 'oncall', kind: 'webhook', url: 'https://a.example/', secret: 'env:S' },
      { 'env:S': 'whsec_SECRETS=' },
      /oncall.*env:S.*24 to 64 bytes|oncall.*env:S.*whsec_/,
    ],
  ])('%j with %j is refused at start, without the secret', (config, environment, message) => {
    const make = () =>
      createAlertChannel(alertChannelConfigSchema.parse(config), {
        outbound: createOutbound({ allow: [] }),
        resolve: (reference) => environment[reference],
      });
    expect(make).toThrow(message);
    expect(make).not.toThrow(/SECRETS/);
    expect(make).not.toThrow(/SLACKSECRET/);
  });
});
