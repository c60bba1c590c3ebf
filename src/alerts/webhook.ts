/**
 * The `webhook` channel, for systems that take Standard Webhooks. The webhook id is the alert's, the same
 * at every attempt, so that a receiver recognises a repetition.
 */
import type { KeyObject } from 'node:crypto';
import { z } from 'zod';
import type { Outbound } from '../outbound/outbound.ts';
import type { WebhookSecret } from '../signing/standard-webhooks.ts';
import { signWebhook } from '../signing/standard-webhooks.ts';
import type { Alert, AlertChannel } from './alert-channel.ts';
import { postAlert } from './alert-channel.ts';
import { channelName, environmentReference, httpUrl } from './config.ts';
import { isWebUrl, plainText } from './text.ts';

export const alertWebhookConfigSchema = z.strictObject({
  name: channelName,
  kind: z.literal('webhook'),
  url: httpUrl,
  secret: environmentReference,
});
export type AlertWebhookConfig = z.output<typeof alertWebhookConfigSchema>;

export interface AlertWebhookDeps {
  outbound: Pick<Outbound, 'request'>;
  secrets: readonly WebhookSecret[];
  ed25519Keys?: readonly KeyObject[];
  now?: () => Date;
}

export function createAlertWebhookChannel(config: AlertWebhookConfig, deps: AlertWebhookDeps): AlertChannel {
  const { outbound, secrets, ed25519Keys = [], now = () => new Date() } = deps;
  return {
    name: config.name,
    async send(alert, signal) {
      const body = Buffer.from(JSON.stringify(toPayload(alert)));
      const headers = signWebhook({ id: alert.alertId, timestamp: now(), body, secrets, ed25519Keys });
      return postAlert(outbound, { url: config.url, body, headers }, () => true, signal);
    },
  };
}

export function toPayload(alert: Alert) {
  const { alertId, kind, severity, dedupKey, runId, runbookUrl, statusUrl } = alert;
  const details = Object.entries(alert.details).map(([key, value]) => [
    plainText(key, 100),
    plainText(value, 2_000),
  ]);
  return {
    type: `alert.${kind}`,
    timestamp: alert.at,
    data: {
      alertId,
      severity,
      dedupKey,
      runId,
      summary: plainText(alert.summary, 2_000),
      details: Object.fromEntries(details.slice(0, 100)),
      ...(isWebUrl(statusUrl) ? { statusUrl } : {}),
      ...(isWebUrl(runbookUrl) ? { runbookUrl } : {}),
    },
  };
}
