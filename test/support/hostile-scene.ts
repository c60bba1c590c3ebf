/**
 * A service with something to lose, and the eyes that see whether a refused message moved any of it: a quiet run with
 * a cleared checkpoint and one evaluation that nobody has answered, and a halted one with a proposal.
 *
 * What must not move is read from the database itself: the state of both runs (deadlines, latch, ceiling, levels), their
 * events, the heartbeat columns with the sequence of permits; and for all of the ledger which streams and how many
 * receipts there are. Of the halted run its deliveries and pages go on by themselves and are left out.
 */
import { expect } from 'vitest';
import { z } from 'zod';
import { openStore, type Store } from '../../src/composition/store.ts';
import { Problem } from '../../src/http/problem.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { score, testPolicy, writeEvaluator, writeModel } from './evaluation-policy.ts';
import { type Receiver, startReceiver } from './evaluation-service.ts';
import { type Sent, startTestInterlock, type TestInterlock } from './interlock.ts';
import { drive, type RunDriver } from './run-driver.ts';

const PLENTY = { perSecond: 100_000, burst: 1_000_000 };

export interface HostileScene {
  readonly interlock: TestInterlock;
  readonly trainer: Receiver;
  readonly quiet: RunDriver;
  readonly halted: RunDriver;
  /** Of the quiet run, not answered. */
  readonly evaluationId: string;
  readonly haltId: string;
  readonly proposal: { readonly proposalId: string; readonly digest: string };
  target(): Record<string, unknown>;
  weights(): Promise<string>;
  registered(body?: Record<string, unknown>): Promise<RunDriver>;
  /** Everything a refused message must leave alone. */
  facts(): Promise<unknown>;
  /** Refusals counted so far, all codes. */
  refusals(): Promise<number>;
  securityEvents(): Promise<string[]>;
  /** Nothing moves, and exactly this many refusals are counted. */
  unmoved<T>(refusals: number | null, act: () => Promise<T>): Promise<T>;
  alive(): Promise<void>;
  close(): Promise<void>;
}

export async function startHostileScene(
  more: { settings?: Readonly<Record<string, unknown>> } = {},
): Promise<HostileScene> {
  const trainer = await startReceiver(() => interlock.webhookSecrets['trainer'] ?? '');
  const interlock = await startTestInterlock({
    policies: { main: testPolicy({ silentDebate: true, heartbeatInterval: '1h' }) },
    settings: {
      limits: { heartbeat: PLENTY, intake: PLENTY, read: PLENTY, open: PLENTY, stranger: PLENTY },
      ...more.settings,
    },
    identities: [
      { id: 'institute', roles: ['outside-evaluator'] },
      { id: 'stranger', roles: ['trainer'] },
      { id: 'harness', roles: ['evaluator'] },
      { id: 'nobody' },
    ],
  });
  await writeEvaluator(interlock.directory);
  const store: Store = await openStore(interlock.config, createLogger({ level: 'silent' }));
  const target = () => ({ kind: 'webhook', url: `${trainer.url}/halt` });
  // Written once: whoever touches weights that were reported makes Interlock look at them again, and say so.
  const harmless = writeModel(interlock.models, 'harmless', { result: score(0.1) });
  const weights = () => harmless;
  const registered = async (body: Record<string, unknown> = {}) => {
    const run = drive(interlock, target());
    const sent = await run.register(body);
    expect(sent.status, sent.text).toBe(201);
    return run;
  };
  const quiet = await registered();
  const ids = await quiet.report('c1', '1e21', await weights());
  await quiet.event('EvaluationReported');
  await quiet.beat('1e21');
  const halted = await registered();
  const { haltId } = await halted.press();
  await halted.event('HaltStepTaken');
  const proposed = await interlock.call('POST', `/v1/runs/${halted.runId}/proposals`, {
    as: 'operator',
    body: { kind: 'resume', haltId, rationale: 'mitigated' },
  });
  const proposal = z.object({ proposalId: z.string(), digest: z.string() }).parse(proposed.body);
  const rows = async (sql: string, values: unknown[] = []): Promise<Record<string, unknown>[]> =>
    (await store.database.pool.query(sql, values)).rows;

  const scene: HostileScene = {
    interlock,
    trainer,
    quiet,
    halted,
    evaluationId: ids['debate'] ?? '',
    haltId,
    proposal,
    target,
    weights,
    registered,
    async facts() {
      const watched = [quiet.runId, halted.runId];
      const [row] = await rows(FACTS, [watched, watched.map((runId) => `run-${runId}`)]);
      const { streams, ...others } = Facts.parse(row);
      return {
        ...others,
        streams: streams.map(({ state, version, ...rest }) => {
          const { halt, alerts, counters, ...kept } = Stream.parse(JSON.parse(state));
          if (halt === undefined || halt === null) return { ...rest, version, halt, alerts, counters, kept };
          return { stream: rest.stream, haltId: halt.haltId, epoch: halt.epoch, action: halt.action, kept };
        }),
      };
    },
    async refusals() {
      const { text } = await interlock.call('GET', '/metrics');
      const counts = [...text.matchAll(/^interlock_http_refusals_total\{[^}]*\} (\d+)$/gm)];
      return counts.reduce((sum, [, count]) => sum + Number(count), 0);
    },
    async securityEvents() {
      const found = await rows("SELECT envelope FROM ledger_event WHERE stream = 'security' ORDER BY seq");
      return found.map(({ envelope }) => String(envelope));
    },
    async unmoved(refusals, act) {
      const [before, counted] = [await scene.facts(), await scene.refusals()];
      const given = await act();
      expect(await scene.facts()).toEqual(before);
      if (refusals !== null) expect((await scene.refusals()) - counted, 'refusals counted').toBe(refusals);
      return given;
    },
    async alive() {
      expect((await interlock.call('GET', '/healthz')).status).toBe(200);
      const ready = await interlock.call('GET', '/readyz');
      expect(ready.status, ready.text).toBe(200);
    },
    async close() {
      await store.close();
      await interlock.close();
      await trainer.close();
    },
  };
  return scene;
}

const FACTS = `SELECT
  (SELECT json_agg(s ORDER BY stream) FROM
    (SELECT stream, version, state, due_at FROM stream_head WHERE stream = ANY($2::text[])) s) AS streams,
  (SELECT json_agg(p ORDER BY run_id) FROM run_progress p WHERE run_id = ANY($1::text[])) AS progress,
  (SELECT json_agg(e) FROM
    (SELECT stream, kind, count(*) FROM ledger_event WHERE stream = ANY($2::text[])
     AND kind NOT IN ('HaltStepTaken', 'HaltEscalated', 'AlertAttempted') GROUP BY 1, 2 ORDER BY 1, 2) e) AS events,
  (SELECT json_agg(stream ORDER BY stream) FROM stream_head WHERE stream <> 'security') AS known,
  (SELECT count(*)::int FROM webhook_receipt) AS receipts`;

const Stream = z.looseObject({
  halt: z.looseObject({ haltId: z.string(), epoch: z.unknown(), action: z.string() }).nullish(),
});
const Facts = z.object({
  streams: z.array(
    z.object({ stream: z.string(), version: z.number(), state: z.string(), due_at: z.unknown() }),
  ),
  progress: z.unknown(),
  events: z.unknown(),
  known: z.unknown(),
  receipts: z.number(),
});

/** The problem document of a refusal with one of these statuses. */
export function refusedWith(
  sent: Pick<Sent, 'status' | 'text' | 'body' | 'headers'>,
  status: number | readonly number[],
  what = '',
): z.output<typeof Problem> {
  const expected = typeof status === 'number' ? [status] : status;
  expect(expected, `${what}: ${sent.status} ${sent.text.slice(0, 300)}`).toContain(sent.status);
  expect(sent.headers.get('content-type'), what).toContain('application/problem+json');
  return Problem.parse(sent.body);
}

export const fieldsOf = (problem: z.output<typeof Problem>): string[] =>
  (problem.errors ?? []).map(({ path }) => path);
