/** Rotating a webhook secret: two at a time, windows, and the alarm on the one that goes. */
import { describe, expect, it } from 'vitest';
import { parseIdentities } from '../../src/config/identities.ts';
import { secretId } from '../../src/config/webhook-secrets.ts';
import { createAuthenticator } from '../../src/http/authentication.ts';
import { createRetiringSecrets } from '../../src/service/retiring-secrets.ts';
import type { SecurityReport } from '../../src/service/security.ts';
import { generateWebhookSecret, signWebhook, WebhookSecret } from '../../src/signing/standard-webhooks.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

const NOW = new Date('2026-11-23T12:00:00Z');
const [old, fresh] = [generateWebhookSecret(), generateWebhookSecret()];

function authenticatorOf(webhookSecrets: readonly unknown[], now: Date = NOW) {
  const value = { identities: [{ id: 'trainer', name: 'Trainer', roles: ['trainer'], webhookSecrets }] };
  const parsed = parseIdentities({ value, isSharedFile: false, env: {} });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  const alarms: string[] = [];
  const authenticator = createAuthenticator({
    identities: parsed.identities,
    now: () => now,
    onRetiringSecret: (identity, { id }) => alarms.push(`${identity} ${id}`),
  });
  const accepts = (secret: string): boolean => {
    const body = Buffer.from('{}');
    const headers = signWebhook({
      id: 'msg_1',
      timestamp: now,
      body,
      secrets: [WebhookSecret.parse(secret)],
    });
    try {
      const rawHeaders = Object.entries(headers).flat();
      return authenticator.webhook(rawHeaders, body, ['webhook']).identity.id === 'trainer';
    } catch {
      return false;
    }
  };
  return { accepts, alarms, lastUsed: authenticator.lastUsed };
}

describe('a webhook secret', () => {
  it.each([
    ['alone', old, true, 0],
    ['with no window', { secret: old }, true, 0],
    ['before it begins', { secret: old, notBefore: '2026-11-23T12:00:01Z' }, false, 0],
    ['at the instant it begins', { secret: old, notBefore: '2026-11-23T12:00:00Z' }, true, 0],
    ['while it is being retired', { secret: old, notAfter: '2026-11-23T12:00:01Z' }, true, 1],
    ['at the instant it ends', { secret: old, notAfter: '2026-11-23T12:00:00Z' }, false, 0],
  ] as const)('%s, beside the one that follows it', (_, entry, accepted, alarms) => {
    const { accepts, alarms: heard } = authenticatorOf([entry, fresh]);
    expect(accepts(old)).toBe(accepted);
    expect(heard).toHaveLength(alarms);
    expect(accepts(fresh)).toBe(true);
    expect(heard, 'the new one raises none').toHaveLength(alarms);
  });

  it('has an id, and a time of its last use, that give nothing of it away', () => {
    const { accepts, lastUsed } = authenticatorOf([old, fresh]);
    accepts(fresh);
    expect([...lastUsed()]).toEqual([[secretId(fresh), NOW]]);
    expect(old).not.toContain(secretId(old).slice(3));
  });

  it('that ends before it begins is refused, naming the field', () => {
    const entry = { secret: old, notBefore: '2026-11-23T12:00:00Z', notAfter: '2026-11-22T12:00:00Z' };
    expect(() => authenticatorOf([entry])).toThrow('notAfter');
  });

  it('accepts nothing by a clock that is none', () => {
    const { accepts } = authenticatorOf([{ secret: old, notAfter: '2026-11-24T12:00:00Z' }], NOW);
    expect(accepts(old)).toBe(true);
    expect(() => authenticatorOf([{ secret: old, notAfter: 'soon' }])).toThrow();
  });
});

describe('the alarm', () => {
  it('counts each use and tells it once an hour, without the secret', () => {
    const clock = { ms: NOW.getTime() };
    const told: string[] = [];
    const reports: SecurityReport[] = [];
    const metrics = createMetrics();
    const retiring = createRetiringSecrets({
      metrics,
      security: { report: (report) => reports.push(report), settled: async () => undefined },
      logger: { warn: (fields) => told.push(JSON.stringify(fields)) },
      clock: () => new Date(clock.ms),
    });
    const window = { id: secretId(old), notBefore: null, notAfter: '2026-12-01T00:00:00Z' };
    for (let i = 0; i < 5; i += 1) retiring.used('trainer', window);
    clock.ms += 3_600_000;
    retiring.used('trainer', window);
    expect(told).toHaveLength(2);
    expect(reports).toMatchObject([{ code: 'retiring-secret', identityId: 'trainer' }, {}]);
    expect(metrics.render()).toContain('interlock_retiring_secret_uses_total{identity="trainer"} 6');
    expect(told.join()).not.toContain(old.slice(6, 20));
  });
});
