/**
 * Alerts: what must reach people. Raised with the event that warrants them, sent by the alert channels,
 * retried until delivered or refused for good. Never in the way of a halt; acknowledging one changes nothing.
 */
import { type Context, type Decision, iso, isoAfter, reached } from './context.ts';
import type { RunEvent, RunEventData } from './events.ts';
import { idOf } from './ids.ts';
import type { AlertState, RunState } from './state.ts';

/** Waits between attempts on one channel; the last repeats. Pages may repeat but not vanish. */
const RETRY_MS = [1_000, 2_000, 5_000, 15_000, 30_000, 60_000, 300_000] as const;
const GIVE_UP_AFTER_MS = 24 * 3_600_000;

export interface AlertContent {
  readonly kind: AlertState['kind'];
  readonly severity: AlertState['severity'];
  readonly dedupKey: string;
  readonly summary: string;
  readonly details: Readonly<Record<string, string>>;
}

/** One event, or none where the policy names no channel. `offset`: alerts raised before it in the same decision. */
export function raiseAlert(state: RunState, context: Context, content: AlertContent, offset = 0): RunEvent[] {
  if (context.policy.alerts.length === 0) return [];
  const ordinal = state.counters.alerts + 1 + offset;
  const isDrill = state.drill === true;
  // That one does not get through is for people to look at; by day.
  const severity = content.kind === 'halt-unconfirmed' ? ('error' as const) : ('info' as const);
  return [
    {
      kind: 'AlertRaised',
      data: {
        ...content,
        ...(isDrill ? { severity, summary: `DRILL, nothing trains there: ${content.summary}` } : {}),
        details: { ...content.details },
        alertId: idOf('alert', context.digest, state.runId, 'alert', ordinal),
        channels: [...context.policy.alerts],
        at: iso(context.now),
      },
    },
  ];
}

export interface RecordAlertDelivery {
  readonly type: 'RecordAlertDelivery';
  readonly alertId: string;
  readonly channel: string;
  readonly attempt: number;
  readonly outcome: 'delivered' | 'retry' | 'rejected';
  readonly reason: string;
}

export function recordAlertDelivery(
  state: RunState,
  command: RecordAlertDelivery,
  context: Context,
): Decision {
  const alert = state.alerts.find(({ alertId }) => alertId === command.alertId);
  const channel = alert?.channels.find((each) => each.channel === command.channel);
  if (alert === undefined || channel === undefined || command.attempt !== channel.attempts + 1) return [];
  const waitMs = RETRY_MS[Math.min(command.attempt, RETRY_MS.length) - 1] ?? 300_000;
  const expired = reached(context.now, isoAfter(alert.raisedAt, GIVE_UP_AFTER_MS));
  const retry = command.outcome === 'retry' && !expired;
  const { alertId, attempt, reason } = command;
  return [
    {
      kind: 'AlertAttempted',
      data: {
        alertId,
        channel: command.channel,
        attempt,
        outcome: command.outcome === 'retry' && expired ? 'abandoned' : command.outcome,
        reason,
        nextAt: retry ? isoAfter(context.now, waitMs) : null,
        at: iso(context.now),
      },
    },
  ];
}

export const alertEvolvers = {
  AlertRaised: (state: RunState, data: RunEventData<'AlertRaised'>): RunState => {
    const { channels, at, ...content } = data;
    const alert: AlertState = {
      ...content,
      raisedAt: at,
      channels: channels.map((channel) => ({ channel, attempts: 0, nextAt: at })),
    };
    return {
      ...state,
      alerts: [...state.alerts, alert],
      counters: { ...state.counters, alerts: state.counters.alerts + 1 },
    };
  },
  AlertAttempted: (state: RunState, data: RunEventData<'AlertAttempted'>): RunState => {
    const alerts = state.alerts.map((alert) =>
      alert.alertId === data.alertId
        ? {
            ...alert,
            channels: alert.channels.map((each) =>
              each.channel === data.channel ? { ...each, attempts: data.attempt, nextAt: data.nextAt } : each,
            ),
          }
        : alert,
    );
    // Done on every channel: the ledger and the views keep it.
    const open = alerts.filter(({ channels }) => channels.some(({ nextAt }) => nextAt !== null));
    return { ...state, alerts: open };
  },
};
