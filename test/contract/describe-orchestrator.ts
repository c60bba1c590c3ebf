/** What every orchestrator promises, whatever it talks to; run by each adapter and by the in-memory fake. */
import { afterEach, describe, expect, test } from 'vitest';
import type { HaltMessage, Orchestrator } from '../../src/orchestrators/orchestrator.ts';

export interface OrchestratorFixture {
  orchestrator: Orchestrator;
  /** The same kind of orchestrator whose other side will not have it. */
  refused: Orchestrator;
  /** Texts that no outcome may carry. */
  secrets: readonly string[];
  /** How many messages or signals have reached the other side. */
  reached(n: number): Promise<void>;
  count(): number;
  close(): Promise<void>;
}

export const haltMessage = (more: Partial<HaltMessage> = {}): HaltMessage => ({
  runId: 'run-1',
  haltId: 'halt_abcdefghijklmnopqrstuvwxyz',
  action: 'halt',
  reason: 'cyber pre-mitigation: estimate 3.2 >= 3.0',
  epoch: 4,
  order: 'eyJhbGciOiJFZERTQSJ9.eyJvcmRlciI6dHJ1ZX0.T1JERVJTSUdOQVRVUkU',
  attempt: 1,
  ...more,
});

export const live = (): AbortSignal => new AbortController().signal;

export function describeOrchestrator(name: string, make: () => Promise<OrchestratorFixture>): void {
  describe(`${name} keeps the contract of an orchestrator`, () => {
    let fixture: OrchestratorFixture | undefined;
    const open = async (): Promise<OrchestratorFixture> => {
      fixture = await make();
      return fixture;
    };
    afterEach(async () => {
      await fixture?.close();
      fixture = undefined;
    });

    const first = ({ steps }: Orchestrator): string => steps[0] ?? '';

    test('names its steps, and takes the first', async () => {
      const { orchestrator, reached } = await open();
      expect(new Set(orchestrator.steps).size).toBe(orchestrator.steps.length);
      expect(orchestrator.kind).toMatch(/^[a-z]+$/);
      expect(await orchestrator.take(first(orchestrator), haltMessage(), live())).toMatchObject({
        kind: 'accepted',
      });
      await reached(1);
    });

    test('takes the same message again without complaint', async () => {
      const { orchestrator, reached } = await open();
      for (const attempt of [1, 2]) {
        const outcome = await orchestrator.take(first(orchestrator), haltMessage({ attempt }), live());
        expect(outcome).toMatchObject({ kind: 'accepted' });
        await reached(attempt);
      }
    });

    test('rejects a step that it does not have, and sends nothing', async () => {
      const { orchestrator, count } = await open();
      for (const step of ['', 'SIGKILL ', '__proto__', 'constructor', 'x'.repeat(10_000)]) {
        expect(await orchestrator.take(step, haltMessage(), live())).toMatchObject({ kind: 'rejected' });
      }
      expect(count()).toBe(0);
    });

    test('sends nothing once the caller has given up, and says retry', async () => {
      const { orchestrator, reached, count } = await open();
      const late = await orchestrator.take(first(orchestrator), haltMessage(), AbortSignal.abort());
      expect(late.kind).toBe('retry');
      await orchestrator.take(first(orchestrator), haltMessage(), live());
      await reached(1);
      expect(count()).toBe(1);
    });

    test('does not call a refusal an acceptance', async () => {
      const { refused } = await open();
      const outcome = await refused.take(first(refused), haltMessage(), live());
      expect(['retry', 'rejected']).toContain(outcome.kind);
    });

    test('an acceptance is not a stop', async () => {
      const { refused } = await open();
      await refused.take(first(refused), haltMessage(), live());
      const { state, detail } = await refused.observe(live());
      expect(['running', 'stopped', 'unknown']).toContain(state);
      expect(detail.length).toBeGreaterThan(0);
    });

    test('says short safe things, whatever the message holds', async () => {
      const { orchestrator, refused, secrets } = await open();
      const hostile = haltMessage({ reason: `\u0000\ud800\r\n<script>${'x'.repeat(20_000)}` });
      for (const one of [orchestrator, refused]) {
        const outcome = await one.take(first(one), hostile, live());
        const { detail } = await one.observe(live());
        for (const text of [outcome.detail, detail]) {
          expect(text.length).toBeLessThan(300);
          expect(text).toMatch(/^[\x20-\x7e]+$/);
          for (const secret of [...secrets, hostile.order, 'script']) expect(text).not.toContain(secret);
        }
      }
    });
  });
}
