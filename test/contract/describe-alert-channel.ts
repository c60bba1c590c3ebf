/** What every alert channel promises, whatever it talks to; run by each adapter and by the in-memory fake. */
import { afterEach, describe, expect, test } from 'vitest';
import type { Alert, AlertChannel } from '../../src/alerts/alert-channel.ts';

export type Reaction = 'accept' | 'busy' | 'refuse' | 'hang';

export interface AlertChannelFixture {
  channel: AlertChannel;
  /** How the other side behaves from now on. */
  react(reaction: Reaction): void;
  /** Everything that reached it, as text. */
  received(): string[];
  reached(n: number): Promise<void>;
  /** Texts that no reason may carry. */
  secrets: readonly string[];
  close(): Promise<void>;
}

export const alertOf = (more: Partial<Alert> = {}): Alert => ({
  alertId: 'alert_abcdefghijklmnopqrstuvwxyz',
  kind: 'halt-ordered',
  severity: 'critical',
  dedupKey: 'run-1/halt_a',
  runId: 'run-1',
  summary: 'run-1 halted: cyber pre-mitigation 3.2 >= 3.0',
  details: { rule: 'pre-mitigation-high', category: 'cybersecurity', level: '3.2' },
  at: '2026-03-01T12:00:00.000Z',
  runbookUrl: 'https://runbooks.example/halt',
  statusUrl: 'https://interlock.example/runs/run-1',
  ...more,
});

export const live = (): AbortSignal => new AbortController().signal;

export function describeAlertChannel(name: string, make: () => Promise<AlertChannelFixture>): void {
  describe(`${name} keeps the contract of an alert channel`, () => {
    let fixture: AlertChannelFixture | undefined;
    const open = async (): Promise<AlertChannelFixture> => {
      fixture = await make();
      return fixture;
    };
    afterEach(async () => {
      await fixture?.close();
      fixture = undefined;
    });

    test('delivers an alert of every kind and severity', async () => {
      const { channel, received } = await open();
      const kinds = [
        'halt-ordered',
        'halt-unconfirmed',
        'halt-confirmed',
        'hold',
        'inconclusive',
        'notice',
      ] as const;
      const severities = ['critical', 'error', 'warning', 'info'] as const;
      for (const kind of kinds)
        expect(await channel.send(alertOf({ kind }), live())).toMatchObject({ outcome: 'delivered' });
      for (const severity of severities) {
        expect(await channel.send(alertOf({ severity }), live())).toMatchObject({ outcome: 'delivered' });
      }
      expect(received()).toHaveLength(10);
      for (const text of received()) expect(text).toContain('run-1 halted: cyber pre-mitigation 3.2');
    });

    test('sends the same alert again when asked to', async () => {
      const { channel, received } = await open();
      await channel.send(alertOf(), live());
      expect(await channel.send(alertOf(), live())).toMatchObject({ outcome: 'delivered' });
      expect(received()).toHaveLength(2);
      expect(received()[0]).toBe(received()[1]);
    });

    test('tells busy from refused, and both from delivered', async () => {
      const { channel, react } = await open();
      react('busy');
      expect(await channel.send(alertOf(), live())).toMatchObject({ outcome: 'retry' });
      react('refuse');
      expect(await channel.send(alertOf(), live())).toMatchObject({ outcome: 'rejected' });
      react('accept');
      expect(await channel.send(alertOf(), live())).toMatchObject({ outcome: 'delivered' });
    });

    test('lets go at once when the caller gives up', async () => {
      const { channel, react, reached, received } = await open();
      expect(await channel.send(alertOf(), AbortSignal.abort())).toMatchObject({ outcome: 'retry' });
      expect(received()).toHaveLength(0);
      react('hang');
      const controller = new AbortController();
      const sending = channel.send(alertOf(), controller.signal);
      await reached(1);
      controller.abort(new Error('SHUTDOWN'));
      expect(await sending).toMatchObject({ outcome: 'retry' });
    });

    test('survives oversized, malformed and hostile text', async () => {
      const { channel, received, secrets } = await open();
      const hostile = `\u0000\ud800\u202e\r\n<!channel> & </script> ${'😀'.repeat(20_000)}`;
      const alert = alertOf({
        summary: hostile,
        dedupKey: 'k'.repeat(5_000),
        details: Object.fromEntries(Array.from({ length: 300 }, (_, n) => [`${hostile}${n}`, hostile])),
        runbookUrl: 'javascript:alert(1)',
        statusUrl: 'not a url',
      });
      const { outcome, reason } = await channel.send(alert, live());
      expect(outcome).toBe('delivered');
      expect(received()).toHaveLength(1);
      for (const secret of secrets) expect(reason).not.toContain(secret);
    });

    test('gives a short reason without secrets, whatever happens', async () => {
      const { channel, react, secrets } = await open();
      for (const reaction of ['accept', 'busy', 'refuse'] as const) {
        react(reaction);
        const { reason } = await channel.send(alertOf(), live());
        expect(reason.length).toBeGreaterThan(0);
        expect(reason.length).toBeLessThan(301);
        for (const secret of secrets) expect(reason).not.toContain(secret);
      }
    });
  });
}
