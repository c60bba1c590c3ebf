/** An alert channel in memory, held to the same contract suite as the real ones. */
import type { Alert, AlertChannel, Delivery } from '../../src/alerts/alert-channel.ts';

export interface FakeAlertChannel extends AlertChannel {
  readonly sent: Alert[];
  /** The answer from now on; 'hang' never answers, until the caller gives up. */
  answer(delivery: Delivery | 'hang'): void;
}

export function createFakeAlertChannel(name = 'fake'): FakeAlertChannel {
  const sent: Alert[] = [];
  let answer: Delivery | 'hang' = { outcome: 'delivered', reason: 'kept in memory' };
  return {
    name,
    sent,
    answer(next) {
      answer = next;
    },
    send(alert, signal) {
      const givenUp: Delivery = { outcome: 'retry', reason: 'given up' };
      if (signal.aborted) return Promise.resolve(givenUp);
      sent.push(alert);
      if (answer !== 'hang') return Promise.resolve(answer);
      return new Promise((resolve) =>
        signal.addEventListener('abort', () => resolve(givenUp), { once: true }),
      );
    },
  };
}
