/**
 * Slack (and what imitates its incoming webhooks): one Block Kit message per alert.
 *
 * The URL is the credential, so it comes from the environment as a rule and appears in no reason. Text is
 * escaped and marked verbatim: a run id must not mention a channel or become a link. Slack answers a
 * message it took with `200 ok`; a 200 with anything else came from something in between.
 */
import { z } from 'zod';
import type { Outbound } from '../outbound/outbound.ts';
import type { Alert, AlertChannel } from './alert-channel.ts';
import { postAlert } from './alert-channel.ts';
import { channelName, environmentReference, httpsUrl } from './config.ts';
import { isWebUrl, slackText } from './text.ts';

export const slackConfigSchema = z.strictObject({
  name: channelName,
  kind: z.literal('slack'),
  url: z.union([environmentReference, httpsUrl]),
});
export type SlackConfig = z.output<typeof slackConfigSchema>;

export interface SlackDeps {
  outbound: Pick<Outbound, 'request'>;
  url: string;
}

// Slack's limits: 3000 characters in a section, 2000 in each of at most 10 fields.
const SUMMARY_MAX = 2_800;
const FIELD_MAX = 2_000;
const FIELDS_MAX = 10;
const NOTIFICATION_MAX = 500;

export function createSlackChannel(config: SlackConfig, deps: SlackDeps): AlertChannel {
  return {
    name: config.name,
    send(alert, signal) {
      const body = Buffer.from(JSON.stringify(toPayload(alert)));
      const accepted = (_status: number, reply: string): boolean => reply.trim() === 'ok';
      return postAlert(deps.outbound, { url: deps.url, body }, accepted, signal);
    },
  };
}

const SEVERITY_MARKS = {
  critical: ':red_circle:',
  error: ':large_orange_circle:',
  warning: ':large_yellow_circle:',
  info: ':white_circle:',
} as const;

export function toPayload(alert: Alert) {
  const details = Object.entries(alert.details);
  const fields = details.slice(0, FIELDS_MAX).map(([key, value]) => mrkdwn(field(key, value)));
  const left = details.length - fields.length;
  const context = [
    `run ${slackText(alert.runId, 200)}`,
    alert.kind,
    slackText(alert.at, 40),
    ...(left > 0 ? [`${left} more details in Interlock`] : []),
    ...link(alert.statusUrl, 'status'),
    ...link(alert.runbookUrl, 'what to do'),
  ].join(' · ');
  const mark = SEVERITY_MARKS[alert.severity];
  return {
    // What a phone shows before anything is opened.
    text: `${mark} ${slackText(alert.summary, NOTIFICATION_MAX)}`,
    blocks: [
      { type: 'section', text: mrkdwn(`${mark} *${slackText(alert.summary, SUMMARY_MAX)}*`) },
      ...(fields.length > 0 ? [{ type: 'section', fields }] : []),
      { type: 'context', elements: [mrkdwn(context)] },
    ],
  };
}

function mrkdwn(text: string) {
  return { type: 'mrkdwn', text, verbatim: true };
}

function field(key: string, value: string): string {
  const head = `*${slackText(key, 200)}*\n`;
  return head + slackText(value, FIELD_MAX - head.length);
}

function link(url: string | undefined, label: string): string[] {
  if (!isWebUrl(url)) return [];
  // The parser has percent-encoded < and > and spaces; a bar would end the address early.
  const href = slackText(new URL(url).href.replaceAll('|', '%7C'), 1_000);
  return href.endsWith('…') ? [] : [`<${href}|${label}>`];
}
