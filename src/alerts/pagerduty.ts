/**
 * PagerDuty, Events API v2.
 *
 * Everything is a `trigger`, also the confirmation of a halt: a `resolve` would close the incident that a
 * person was woken for, perhaps before they read it, and nothing but a person ends Interlock's business
 * with people (acknowledging never cancels). A confirmation therefore opens its own incident, at the lower
 * severity it comes with and under its own key, beside the one that ordered the halt.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Outbound } from '../outbound/outbound.ts';
import type { Alert, AlertChannel } from './alert-channel.ts';
import { postAlert } from './alert-channel.ts';
import { channelName, environmentReference, httpUrl } from './config.ts';
import { isWebUrl, plainText } from './text.ts';

export const pagerdutyConfigSchema = z.strictObject({
  name: channelName,
  kind: z.literal('pagerduty'),
  routingKey: environmentReference,
  url: httpUrl.default('https://events.pagerduty.com/v2/enqueue'),
});
export type PagerdutyConfig = z.output<typeof pagerdutyConfigSchema>;

export interface PagerdutyDeps {
  outbound: Pick<Outbound, 'request'>;
  routingKey: string;
}

const SUMMARY_MAX = 1024;
const DEDUP_KEY_MAX = 255;
const DETAILS_MAX = 50;

export function createPagerdutyChannel(config: PagerdutyConfig, deps: PagerdutyDeps): AlertChannel {
  return {
    name: config.name,
    send(alert, signal) {
      const body = Buffer.from(JSON.stringify({ routing_key: deps.routingKey, ...toPayload(alert) }));
      return postAlert(deps.outbound, { url: config.url, body }, (status) => status === 202, signal);
    },
  };
}

/** Everything but the routing key. */
export function toPayload(alert: Alert) {
  const details = Object.entries(alert.details).slice(0, DETAILS_MAX);
  return {
    event_action: 'trigger',
    dedup_key: dedupKeyOf(alert),
    client: 'Interlock',
    ...(isWebUrl(alert.statusUrl) ? { client_url: alert.statusUrl } : {}),
    payload: {
      summary: plainText(alert.summary, SUMMARY_MAX),
      source: `interlock/${plainText(alert.runId, 128)}`,
      severity: alert.severity,
      timestamp: alert.at,
      component: plainText(alert.runId, 128),
      class: alert.kind,
      custom_details: {
        ...Object.fromEntries(details.map(([key, value]) => [plainText(key, 100), plainText(value, 1000)])),
        runId: plainText(alert.runId, 128),
        alertId: alert.alertId,
      },
    },
    links: [
      ...(isWebUrl(alert.statusUrl) ? [{ href: alert.statusUrl, text: 'Status of the run' }] : []),
      ...(isWebUrl(alert.runbookUrl) ? [{ href: alert.runbookUrl, text: 'What to do' }] : []),
    ],
  };
}

function dedupKeyOf({ kind, dedupKey }: Alert): string {
  const key = kind === 'halt-confirmed' ? `${dedupKey}/confirmed` : dedupKey;
  return key.length <= DEDUP_KEY_MAX ? key : createHash('sha256').update(key).digest('hex');
}
