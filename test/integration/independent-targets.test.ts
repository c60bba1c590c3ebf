/** Can anything stop the run against its trainer's will? Asked at registration, and shown from then on. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { generateSharedSecret } from '../../src/config/credentials.ts';
import { RunDocument } from '../../src/http/routes/documents.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { answered, drive } from '../support/run-driver.ts';

let interlock: TestInterlock;
beforeAll(async () => {
  interlock = await startTestInterlock({
    policies: {
      one: oneEvaluationPolicy(),
      strict: oneEvaluationPolicy({ policy: 'strict', halt: { independentTarget: 'require' } }),
    },
    env: { HALT_SECRET: generateSharedSecret() },
    settings: {
      orchestrators: {
        webhook: { enabled: true, independentReceivers: ['http://127.0.0.1:9/'] },
        process: { enabled: true },
      },
    },
  });
});
afterAll(() => interlock?.close());

const Registered = z.object({
  run: RunDocument,
  warnings: z.array(z.object({ path: z.string(), message: z.string() })),
});
const operators = { kind: 'webhook', url: 'http://127.0.0.1:9/halt', secret: 'env:HALT_SECRET' };
const trainers = { kind: 'webhook', url: 'http://127.0.0.1:10/halt', secret: 'env:HALT_SECRET' };
const strict = { policy: 'strict' };

it('warns in the answer, in the document, and on the page, where none of its targets can', async () => {
  const run = drive(interlock, trainers);
  const { warnings } = answered(await run.register(), 201, Registered);
  expect(warnings).toEqual([
    { path: 'targets', message: expect.stringContaining('t1 (webhook) may be received by the trainer') },
  ]);
  const shown = await run.show();
  expect(shown.warnings).toEqual(warnings);
  expect(shown.targets).toMatchObject([{ targetId: 't1', independent: false }]);
  const page = await interlock.call('GET', '/', { as: 'auditor' });
  expect(page.text).toContain('no target is independent of the trainer');
});

it('is refused by the field where the policy requires one, and nothing of it is recorded', async () => {
  const run = drive(interlock, trainers);
  const { status, body } = await run.register(strict, 'operator');
  expect(status).toBe(422);
  expect(body).toMatchObject({
    errors: [{ path: 'targets', message: expect.stringContaining('policy strict requires one') }],
  });
  const { status: absent } = await interlock.call('GET', `/v1/runs/${run.runId}`, { as: 'auditor' });
  expect(absent).toBe(404);
});

it("takes the operator's own receiver for one, and records that it was; without a secret of its own it is none", async () => {
  const run = drive(interlock, operators);
  expect(answered(await run.register(strict, 'operator'), 201, Registered).warnings).toEqual([]);
  expect(await run.event('RunRegistered')).toMatchObject({ data: { targets: [{ receiver: 'operator' }] } });
  expect((await run.show()).targets).toMatchObject([{ targetId: 't1', independent: true }]);

  const unsigned = drive(interlock, { kind: 'webhook', url: operators.url });
  expect((await unsigned.register(strict, 'operator')).text).toContain(
    'secret of whoever registered the run',
  );
});
