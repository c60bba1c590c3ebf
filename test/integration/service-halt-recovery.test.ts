/** A halt that another process ordered and did not deliver, while the queue takes everything and does nothing. */
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { PolicySchema } from '../../src/domain/policy/schema.ts';
import { createInstances } from '../../src/ledger/instances.ts';
import { createLedger, type Ledger } from '../../src/ledger/ledger.ts';
import { createProgressStore } from '../../src/ledger/progress.ts';
import type { WorkItem } from '../../src/queue/work-queue.ts';
import { createPolicyBook, pin } from '../../src/service/policies.ts';
import { createRunService } from '../../src/service/run-service.ts';
import { createRunningEvaluations } from '../../src/service/running-evaluations.ts';
import { createWorker } from '../../src/service/worker.ts';
import { silentLogger, startTestDatabase, type TestDatabase } from '../support/embedded-database.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';

const policy = PolicySchema.parse(oneEvaluationPolicy());

let database: TestDatabase;
let ledger: Ledger;
beforeAll(async () => {
  database = await startTestDatabase();
  ledger = createLedger({ pool: database.pool, logger: silentLogger });
});
afterAll(async () => {
  await ledger.close();
  await database.close();
});

it('is delivered at the next start, at once and not when the queue gives it back', async () => {
  const policies = createPolicyBook(ledger, [pin(policy)]);
  const progress = createProgressStore(database.pool);
  const clock = () => new Date();
  const runs = createRunService({ ledger, progress, policies, clock, logger: silentLogger });
  const pinned = pin(policy);
  await policies.record(pinned, 'trainer');
  const registered = await runs.execute(
    'r',
    {
      type: 'RegisterRun',
      runId: 'r',
      title: null,
      policyDigest: pinned.digest,
      initialCompute: null,
      parents: [],
      sources: null,
      targets: [
        {
          targetId: 't1',
          kind: 'webhook',
          config: { url: 'http://127.0.0.1:9/' },
          ladder: [{ step: 'webhook', afterMs: 0, retryMs: [500], resendMs: [15_000] }],
          confirmation: 'acknowledged',
        },
      ],
      labels: {},
      contentDigest: '0',
      by: 'trainer',
      operator: false,
    },
    { actor: 'trainer', policy },
  );
  expect(registered.outcome).toBe('recorded');
  const press = { type: 'OrderHalt', action: 'halt', reason: 'stop', group: 'board', by: 'board' } as const;
  expect((await runs.execute('r', press, { actor: 'board' })).outcome).toBe('recorded');

  const taken: WorkItem[] = [];
  const nothing = async () => undefined;
  const worker = createWorker({
    runs,
    ledger,
    instances: createInstances(database.pool),
    instance: 'next',
    running: createRunningEvaluations(),
    handlers: {
      'halt-step': async (item) => void taken.push(item),
      evaluate: nothing,
      dispatch: nothing,
      observe: nothing,
      isolate: nothing,
      alert: nothing,
      tick: nothing,
    },
    queue: {
      enqueue: async (items) => ({ queued: items.length, failed: [] }),
      start: nothing,
      checks: async () => [],
      close: nothing,
    },
    isWorker: true,
    isScheduler: true,
    clock,
    logger: { ...silentLogger, debug: () => undefined },
  });
  await worker.start();
  try {
    await vi.waitUntil(() => taken.length > 0, { timeout: 5_000 });
    expect(taken[0]).toMatchObject({ runId: 'r', ids: { targetId: 't1', step: 'webhook', attempt: 1 } });
  } finally {
    await worker.stop();
  }
});
