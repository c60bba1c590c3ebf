/**
 * The contract of every evaluator, run by each adapter and by the scripted fake.
 *
 * `make` sets up a real counterpart (a program, a server) that behaves as asked; the suite holds the outcome to the
 * fixed codes, to its time, and to silence about what the counterpart said.
 */
import { afterEach, describe, expect, test } from 'vitest';
import {
  type EvaluationRequest,
  type Evaluator,
  type EvaluatorOutcome,
  FAILURE_REASONS,
  type FailureReason,
} from '../../src/evaluators/evaluator.ts';

export const CANARY = 'CANARY-hazardous-words-and-whsec_secrets';

/** Each also utters the canary wherever it can say something. */
export type Behaviour =
  | 'reports' // status success, score 0.42, n 200, and the canary as error text
  | 'fails' // exit code, status 500
  | 'says-nothing'
  | 'says-nonsense' // text, HTML
  | 'hangs' // beyond a timeout of 300 ms
  | 'hangs-for-long' // with a timeout of an hour
  | 'floods'
  | 'is-absent'; // no such program, nobody listening

export interface MadeEvaluator {
  evaluator: Evaluator;
  /** Resolves when the counterpart has begun to work. */
  begun?: () => Promise<void>;
  close(): Promise<void>;
}

export const exampleRequest: EvaluationRequest = {
  evaluationId: 'ev_aaaaaaaaaaaaaaaaaaaaaaaaaa',
  attempt: 2,
  runId: 'run-1',
  checkpointId: 'ck-7',
  evaluation: 'ctf',
  variant: 'tools',
  modelUri: 's3://models/run-1/ck-7',
  endpoint: 'https://inference.example/ck-7',
  effectiveCompute: '4e22',
  variantEnv: { SCAFFOLD: 'tools' },
  callbackUrl: 'https://interlock.example/v1/evaluations/ev_aaaaaaaaaaaaaaaaaaaaaaaaaa/result?attempt=2',
};

export function describeEvaluator(
  name: string,
  make: (behaviour: Behaviour) => Promise<MadeEvaluator>,
  codes: Record<Exclude<Behaviour, 'reports' | 'hangs' | 'hangs-for-long'>, FailureReason>,
  /** Of one that reports: in a native result, unless its kind has another form. */
  reported: object = { status: 'success', score: 0.42, n: 200 },
): void {
  describe(name, () => {
    const made: MadeEvaluator[] = [];
    const start = async (behaviour: Behaviour) => {
      const one = await make(behaviour);
      made.push(one);
      return one;
    };
    afterEach(async () => {
      await Promise.all(made.splice(0).map((one) => one.close()));
    });
    const run = async (behaviour: Behaviour, signal = new AbortController().signal) =>
      (await start(behaviour)).evaluator.run(exampleRequest, signal);

    test('hands on what was reported, unjudged', async () => {
      const outcome = await run('reports');
      expect(outcome).toMatchObject({ kind: 'reported', result: reported });
    });

    test.each(['fails', 'says-nothing', 'says-nonsense', 'floods', 'is-absent'] as const)(
      'one that %s has failed, with its code and without its words',
      async (behaviour) => {
        expectFailed(await run(behaviour), codes[behaviour]);
      },
    );

    test('one that hangs has timed out, soon after its time', async () => {
      const startedAt = performance.now();
      expectFailed(await run('hangs'), 'timed-out');
      expect(performance.now() - startedAt).toBeLessThan(5_000);
    });

    test('is cancelled at once while it works', async () => {
      const { evaluator, begun } = await start('hangs-for-long');
      const cancel = new AbortController();
      const outcome = evaluator.run(exampleRequest, cancel.signal);
      await begun?.();
      const cancelledAt = performance.now();
      cancel.abort();
      expectFailed(await outcome, 'cancelled');
      expect(performance.now() - cancelledAt).toBeLessThan(5_000);
    });

    test('does not begin when it is cancelled already', async () => {
      expectFailed(await run('reports', AbortSignal.abort()), 'cancelled');
    });

    test('runs again after any of these', async () => {
      const { evaluator } = await start('reports');
      const signal = new AbortController().signal;
      const outcomes = await Promise.all([1, 2, 3].map(() => evaluator.run(exampleRequest, signal)));
      expect(outcomes.map((outcome) => outcome.kind)).toEqual(['reported', 'reported', 'reported']);
    });
  });
}

export function expectFailed(outcome: EvaluatorOutcome, reason: FailureReason): void {
  expect(outcome).toMatchObject({ kind: 'failed', reason });
  expect(FAILURE_REASONS).toContain(reason);
  const { result: _untrusted, ...said } = outcome.kind === 'failed' ? outcome : { result: null };
  expect(JSON.stringify(said)).not.toContain('CANARY');
  expect(JSON.stringify(said).length).toBeLessThan(300);
}
