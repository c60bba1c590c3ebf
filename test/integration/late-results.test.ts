/** Results that are sent again when their checkpoint has long left the run's state. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Identity } from '../../src/config/identities.ts';
import { compute } from '../../src/domain/compute.ts';
import { PolicySchema } from '../../src/domain/policy/schema.ts';
import { CLOSED_CHECKPOINTS_KEPT } from '../../src/domain/run/state.ts';
import { InterlockError } from '../../src/errors.ts';
import type { EvaluatorOutcome } from '../../src/evaluators/evaluator.ts';
import { createLedger, type Ledger } from '../../src/ledger/ledger.ts';
import { createProgressStore } from '../../src/ledger/progress.ts';
import { createIntake, type Intake } from '../../src/service/intake.ts';
import { createPolicyBook, pin } from '../../src/service/policies.ts';
import { createRunService, type RunService } from '../../src/service/run-service.ts';
import { createRunningEvaluations } from '../../src/service/running-evaluations.ts';
import { createWorkHandlers } from '../../src/service/work.ts';
import { createKeyringFile, loadKeyring } from '../../src/signing/keyring.ts';
import { createTokenSigner } from '../../src/signing/tokens.ts';
import { silentLogger, startTestDatabase, type TestDatabase } from '../support/embedded-database.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';

const policy = PolicySchema.parse(
  oneEvaluationPolicy({
    evaluation: { score: { metric: 'accuracy', kind: 'proportion', chance: 0, best: 1, minSamples: 100 } },
  }),
);
const sender = (id: string, role: 'trainer' | 'evaluator'): Identity => ({
  id,
  name: id,
  roles: [role],
  groups: [],
  evaluations: null,
  via: 'bearer',
});
const trainer = sender('trainer', 'trainer');
const evaluator = sender('evaluator', 'evaluator');
/** Node 20 has no Promise.withResolvers. */
function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((fulfil) => {
    resolve = fulfil;
  });
  return { promise, resolve };
}
const result = { status: 'success', score: 0.05, n: 400 };

describe('a result of a checkpoint that has left the state', () => {
  let database: TestDatabase;
  let ledger: Ledger;
  let runs: RunService;
  let intake: Intake;
  let evaluationId: string;
  let directory: string;
  let keyFile: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'interlock-results-'));
    keyFile = join(directory, 'key.json');
    await createKeyringFile(keyFile);
    database = await startTestDatabase();
    ledger = createLedger({ pool: database.pool, logger: silentLogger });
    const policies = createPolicyBook(ledger, [pin(policy)]);
    const progress = createProgressStore(database.pool);
    runs = createRunService({ ledger, progress, policies, clock: () => new Date(), logger: silentLogger });
    intake = createIntake({
      runs,
      ledger,
      policies,
      defaultPolicy: 'one',
      policyByLabel: {},
      admitTarget: async (target) => ({ ok: true, target }),
      resolveParents: async (names) => ({ known: [], unknown: [...names], work: [] }),
      knownAlerts: new Set(),
      statusUrl: () => '',
    });
    await intake.register(
      {
        runId: 'r',
        title: null,
        policy: null,
        initialCompute: null,
        parents: [],
        sources: null,
        targets: [{ kind: 'webhook', url: 'http://127.0.0.1:9/' }],
        labels: {},
      },
      trainer,
    );
    evaluationId = await cleared(1);
    for (let i = 2; i <= CLOSED_CHECKPOINTS_KEPT + 1; i += 1) await cleared(i);
    const held = (await runs.load('r'))?.state.checkpoints.map(({ checkpointId }) => checkpointId);
    expect(held).not.toContain('ck-1');
  });
  afterAll(async () => {
    await ledger.close();
    await database.close();
    await rm(directory, { recursive: true, force: true });
  });

  async function reported(ordinal: number): Promise<string> {
    const checkpointId = `ck-${ordinal}`;
    const executed = await intake.reportCheckpoint(
      {
        runId: 'r',
        checkpointId,
        effectiveCompute: compute(String(1e20 * 2 ** (ordinal - 1))),
        step: null,
        modelUri: 's3://b/k',
        endpoint: null,
        metadata: null,
        evaluate: false,
      },
      trainer,
    );
    expect(executed.outcome).toBe('recorded');
    const [evaluation] = (await intake.checkpointAnswer('r', checkpointId)).evaluations;
    return evaluation?.evaluationId ?? '';
  }

  async function cleared(ordinal: number): Promise<string> {
    const id = await reported(ordinal);
    expect((await intake.recordResult(id, 1, result, evaluator)).outcome).toBe('recorded');
    return id;
  }
  const version = async () => (await runs.load('r'))?.version;

  /** Of an instance named slow, whose evaluator answers when it is told. */
  async function handlersOf(through: RunService, outcome: Promise<EvaluatorOutcome>) {
    return createWorkHandlers({
      runs: through,
      ledger,
      running: createRunningEvaluations(),
      instance: 'slow',
      evaluators: { run: () => outcome, callOff: async () => ({ kind: 'accepted', detail: '' }) },
      orchestratorOf: () => null,
      isolatorOf: () => null,
      channels: new Map(),
      signer: createTokenSigner({ keyring: await loadKeyring(keyFile), issuer: 'test' }),
      callbackUrl: () => '',
      statusUrl: () => '',
      logger: silentLogger,
    });
  }

  it('is known as a repetition, and recorded once', async () => {
    const before = await version();
    const again = await intake.recordResult(evaluationId, 1, result, evaluator);
    expect(again.outcome).toBe('unchanged');
    expect(await version()).toBe(before);
  });

  it('is a conflict when it says something else', async () => {
    const other = await intake.recordResult(evaluationId, 1, { ...result, score: 0.06 }, evaluator);
    expect(other).toMatchObject({ outcome: 'rejected', rejection: { code: 'conflict' } });
  });

  it('is recorded when it is that of another attempt, once', async () => {
    const late = { ...result, score: 0.07 };
    expect((await intake.recordResult(evaluationId, 2, late, evaluator)).outcome).toBe('recorded');
    expect((await intake.recordResult(evaluationId, 2, late, evaluator)).outcome).toBe('unchanged');
  });

  it('is kept by its worker while the ledger is away', async () => {
    const ordinal = CLOSED_CHECKPOINTS_KEPT + 2;
    const id = await reported(ordinal);
    let refusals = 3;
    const flaky: RunService = {
      ...runs,
      execute: async (runId, command, options) => {
        // The start is a plain command, what comes after it is built from the state.
        if (typeof command !== 'function' || refusals === 0) return runs.execute(runId, command, options);
        refusals -= 1;
        throw new InterlockError('away', { code: 'ledger.unavailable', retryable: true });
      },
    };
    const handlers = await handlersOf(flaky, Promise.resolve({ kind: 'reported', result }));
    const ids = { evaluationId: id, attempt: 1 };
    const item = { kind: 'evaluate' as const, key: `${id}/1`, runId: 'r', notBeforeMs: 0, ids };
    await handlers.evaluate(item, new AbortController().signal);
    expect(refusals).toBe(0);
    expect((await runs.load('r'))?.state.lastCleared?.checkpointId).toBe(`ck-${ordinal}`);
  });

  it('counts also when it comes from a worker that was taken for lost, and trips', async () => {
    const ordinal = CLOSED_CHECKPOINTS_KEPT + 3;
    const id = await reported(ordinal);
    const finished = withResolvers<EvaluatorOutcome>();
    const handlers = await handlersOf(runs, finished.promise);
    const ids = { evaluationId: id, attempt: 1 };
    const item = { kind: 'evaluate' as const, key: `${id}/1`, runId: 'r', notBeforeMs: 0, ids };
    const working = handlers.evaluate(item, new AbortController().signal);
    const running = async () =>
      (await runs.load('r'))?.state.checkpoints.at(-1)?.evaluations[0]?.attempts[0]?.state === 'running';
    await vi.waitUntil(running, { timeout: 10_000 });
    const lost = { type: 'ReturnAttempt', ...ids, instance: 'slow', reason: 'instance-lost' } as const;
    await runs.execute('r', lost, { actor: 'interlock' });
    expect((await intake.recordResult(id, 2, result, evaluator)).outcome).toBe('recorded');
    for (let i = 1; i <= CLOSED_CHECKPOINTS_KEPT; i += 1) await cleared(ordinal + i);

    finished.resolve({ kind: 'reported', result: { ...result, score: 0.7 } });
    await working;
    const halt = (await runs.load('r'))?.state.halt;
    expect(halt?.causes).toMatchObject([{ kind: 'rule', checkpointId: `ck-${ordinal}` }]);
  });
});
