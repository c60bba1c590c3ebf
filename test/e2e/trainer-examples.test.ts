/**
 * The examples for frameworks, stopped by a real Interlock.
 *
 * Neither transformers nor Lightning is installed here: the examples run over stand-ins (test/support/trainer-libraries)
 * that call callbacks as the libraries document it. PyTorch, where it is needed, is the real one.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { NO_PYTHON, python, torchMissing } from '../support/python.ts';
import { soon } from '../support/run-driver.ts';
import { type Job, killJobs, lastStep, startJob, training } from '../support/trainer-jobs.ts';

const examples = fileURLToPath(new URL('../../examples/trainers/', import.meta.url));
const libraries = fileURLToPath(new URL('../support/trainer-libraries/', import.meta.url));
const noTorch = torchMissing();
const title = (name: string, missing: string | null) =>
  `${name}${missing === null ? '' : ` (skipped: ${missing})`}`;

let interlock: TestInterlock;

beforeAll(async () => {
  if (NO_PYTHON !== null) return;
  const policy = oneEvaluationPolicy({
    policy: 'main',
    // Far beyond what is spent here: only the halt makes a checkpoint.
    cadence: { firstCheckpointBy: '1e15' },
    // A third of its life is between two heartbeats of an example, which keeps to the default of half a minute else.
    permit: { ttl: '6s', heartbeatInterval: '500ms' },
  });
  interlock = await startTestInterlock({ policies: { main: policy } });
});

afterAll(async () => {
  if (NO_PYTHON !== null) return;
  killJobs();
  await interlock.close();
});

const start = (file: string): Promise<Job> =>
  startJob(interlock, (run, state) => [python ?? '', join(examples, file), run, state, interlock.models], {
    pythonPath: [libraries],
  });

async function endsByItsHalt(job: Job): Promise<void> {
  await training(job);
  await job.run.press();
  expect(await job.ended, job.said()).toBe(86);
  const events = await job.run.events();
  const reports = events.filter(({ kind }) => kind === 'CheckpointReported');
  expect(reports.map(({ data }) => data['checkpointId'])).toEqual([`step-${lastStep(job)}`]);
  await soon(async () => expect((await job.run.show()).openHalt).toMatchObject({ state: 'stopped' }));
}

describe.skipIf(NO_PYTHON !== null)(title('the example for Hugging Face Trainer', NO_PYTHON), () => {
  it('ends on a halt with its last step saved and reported, and 86', async () => {
    await endsByItsHalt(await start('hugging_face.py'));
  }, 120_000);
});

describe.skipIf(noTorch !== null)(title('the example for Lightning', noTorch), () => {
  it('ends on a halt with its last step saved and reported, and 86', async () => {
    await endsByItsHalt(await start('lightning_fit.py'));
  }, 120_000);
});

describe.skipIf(NO_PYTHON !== null)(title('the example of a sidecar', NO_PYTHON), () => {
  it('runs a script that knows nothing of it, and ends with its exit code', async () => {
    const script = join(interlock.directory, 'unmodified.py');
    await writeFile(script, `print('{"rank": 0, "step": 1}', flush=True)\nraise SystemExit(7)\n`);
    const job = await startJob(interlock, (run, state) => [
      ...['env', 'FLOP_PER_SECOND=1e6', join(examples, 'sidecar.sh'), run, state, python ?? '', script],
    ]);
    expect(await job.ended, job.said()).toBe(7);
    expect(lastStep(job)).toBe(1);
  }, 120_000);
});
