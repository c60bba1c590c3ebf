/** A checkpoint that is cleared while a heartbeat is being answered: what the answer permits, and what it asks for. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ComputeSchema } from '../../src/domain/compute.ts';
import { PolicySchema } from '../../src/domain/policy/schema.ts';
import { createProgressStore, type ProgressStore } from '../../src/ledger/progress.ts';
import { createHeartbeats } from '../../src/service/heartbeats.ts';
import { createPolicyBook, pin } from '../../src/service/policies.ts';
import { createRunService } from '../../src/service/run-service.ts';
import { loadKeyring } from '../../src/signing/keyring.ts';
import { createTokenSigner } from '../../src/signing/tokens.ts';
import { silentLogger } from '../support/embedded-database.ts';
import { score } from '../support/evaluation-policy.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { drive, offlineVerifier } from '../support/run-driver.ts';

const policy = oneEvaluationPolicy();

let interlock: TestInterlock;
beforeAll(async () => {
  interlock = await startTestInterlock({ policies: { one: policy } });
});
afterAll(() => interlock?.close());

it('asks for the next checkpoint before the end of the permit that it comes with', async () => {
  const run = drive(interlock, { kind: 'webhook', url: 'http://127.0.0.1:9/' });
  expect((await run.register()).status).toBe(201);
  const { ctf = '' } = await run.report('c1', '1e20', 's3://b/c1');
  const clock = () => new Date();
  const keyring = await loadKeyring(interlock.config.signingKey);

  const outcome = await interlock.withStore(({ ledger, database: { pool } }) => {
    const progress = createProgressStore(pool);
    // Cleared after the run was looked at, and before its permit is.
    const reserveSequence: ProgressStore['reserveSequence'] = async (...asked) => {
      expect((await run.result(ctf, 1, score(0.05))).status).toBe(200);
      await run.event('CheckpointAssessed');
      return progress.reserveSequence(...asked);
    };
    const policies = createPolicyBook(ledger, [pin(PolicySchema.parse(policy))]);
    const { beat } = createHeartbeats({
      runs: createRunService({ ledger, progress, policies, clock, logger: silentLogger }),
      progress: { ...progress, reserveSequence },
      signer: createTokenSigner({ keyring, issuer: interlock.config.issuer }),
      clock,
    });
    const effectiveCompute = ComputeSchema.parse('1e20');
    return beat({
      runId: run.runId,
      effectiveCompute,
      step: null,
      nonce: null,
      repeated: false,
      by: 'trainer',
    });
  });

  if (!outcome.ok) throw new Error(outcome.message);
  const { permit, nextCheckpointAt } = outcome.answer;
  const verified = await (await offlineVerifier(interlock)).verifyPermit(permit ?? '');
  if (!verified.ok) throw new Error(verified.reason);
  expect(Number(verified.claims.ceiling)).toBe(2.2e20);
  expect(Number(nextCheckpointAt)).toBe(2e20);
});
