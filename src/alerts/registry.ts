/**
 * Channel kind to alert channel: the one place that knows them all, and where each gets its secrets and its
 * wrapping. A secret that is missing or malformed is found when the channel is made, at start, not when the
 * first page fails to go out.
 */
import type { KeyObject } from 'node:crypto';
import { z } from 'zod';
import { assertNever } from '../domain/assert-never.ts';
import { InterlockError } from '../errors.ts';
import type { Outbound } from '../outbound/outbound.ts';
import { WebhookSecret } from '../signing/standard-webhooks.ts';
import type { AlertChannel } from './alert-channel.ts';
import { wrapChannel } from './alert-channel.ts';
import { createPagerdutyChannel, pagerdutyConfigSchema } from './pagerduty.ts';
import { createSlackChannel, slackConfigSchema } from './slack.ts';
import { alertWebhookConfigSchema, createAlertWebhookChannel } from './webhook.ts';

export const alertChannelConfigSchema = z.discriminatedUnion('kind', [
  pagerdutyConfigSchema,
  slackConfigSchema,
  alertWebhookConfigSchema,
]);
export type AlertChannelConfig = z.output<typeof alertChannelConfigSchema>;

export interface AlertChannelDeps {
  outbound: Pick<Outbound, 'request'>;
  /** The value behind `env:NAME`; undefined where it is not set. */
  resolve(reference: string): string | undefined;
  ed25519Keys?: readonly KeyObject[];
  now?: () => Date;
  /** Over one whole attempt. */
  timeoutMs?: number;
}

export function createAlertChannel(config: AlertChannelConfig, deps: AlertChannelDeps): AlertChannel {
  const { outbound, timeoutMs = 15_000 } = deps;
  const resolve = (reference: string): string => {
    const value = deps.resolve(reference);
    if (value === undefined || value === '') throw misconfigured(config.name, `${reference} is not set`);
    return value;
  };
  switch (config.kind) {
    case 'pagerduty': {
      const routingKey = resolve(config.routingKey);
      return wrapChannel(createPagerdutyChannel(config, { outbound, routingKey }), {
        timeoutMs,
        secrets: [routingKey],
      });
    }
    case 'slack': {
      const url = config.url.startsWith('env:') ? resolve(config.url) : config.url;
      const target = URL.canParse(url) ? new URL(url) : null;
      if (target === null || !['https:', 'http:'].includes(target.protocol)) {
        throw misconfigured(config.name, 'its URL is not an http or https URL');
      }
      const secrets = [url, target.pathname + target.search].filter((text) => text.length > 1);
      return wrapChannel(createSlackChannel(config, { outbound, url }), { timeoutMs, secrets });
    }
    case 'webhook': {
      const text = resolve(config.secret);
      const { ed25519Keys, now } = deps;
      const channel = createAlertWebhookChannel(config, {
        outbound,
        secrets: [parseSecret(config.name, config.secret, text)],
        ...(ed25519Keys === undefined ? {} : { ed25519Keys }),
        ...(now === undefined ? {} : { now }),
      });
      return wrapChannel(channel, { timeoutMs, secrets: [text] });
    }
    default:
      return assertNever(config);
  }
}

function parseSecret(name: string, reference: string, text: string): WebhookSecret {
  try {
    return WebhookSecret.parse(text);
  } catch (error) {
    const why = error instanceof InterlockError ? error.message : 'it is not a webhook secret';
    throw misconfigured(name, `${reference}: ${why}`);
  }
}

function misconfigured(name: string, why: string): InterlockError {
  return new InterlockError(`the alert channel ${name} cannot be used: ${why}`, {
    code: 'alerts.misconfigured',
  });
}
