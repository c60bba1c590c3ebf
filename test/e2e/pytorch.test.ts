/** Real PyTorch training that a real Interlock stops: one process, two ranks by torchrun, and a sidecar around a script. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { isAlive } from '../support/alive.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { NO_PYTHON, python, pythonClient, torchMissing } from '../support/python.ts';
import { soon } from '../support/run-driver.ts';
import { type Job, killJobs, lastStep as last, startJob, training } from '../support/trainer-jobs.ts';

const example = fileURLToPath(new URL('../../examples/trainers/pytorch_loop.py', import.meta.url));
const noTorch = torchMissing();
const title = (name: string, missing: string | null) =>
  `${name}${missing === null ? '' : ` (skipped: ${missing})`}`;

let interlock: TestInterlock;

beforeAll(async () => {
  if (NO_PYTHON !== null) return;
  const policy = oneEvaluationPolicy({
    policy: 'main',
    // The example spends 49,536 FLOP a step and rank: only the halt makes it write a checkpoint.
    cadence: { firstCheckpointBy: '1e12' },
    permit: { ttl: '30s', heartbeatInterval: '500ms' },
  });
  interlock = await startTestInterlock({ policies: { main: policy } });
});

afterAll(async () => {
  if (NO_PYTHON !== null) return;
  killJobs();
  await interlock.close();
});

const start = (command: Parameters<typeof startJob>[1], before?: Job): Promise<Job> =>
  startJob(interlock, command, before === undefined ? {} : { before });

describe.skipIf(noTorch !== null)(title('a PyTorch loop', noTorch), () => {
  const loop = (run: string, state: string) => [
    example,
    ...[
      '--run',
      run,
      '--state',
      state,
      '--models',
      interlock.models,
      '--steps',
      '100000000',
      '--heartbeat',
      '0.5',
    ],
  ];

  const twoRanks = (run: string, state: string, restarts: number) => [
    ...[python ?? '', '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2'],
    // Of 1.13 the launcher does not start under Python 3.11 unless it is told what to do with output.
    ...['--redirects', '1', '--tee', '1', '--log_dir', join(state, 'logs')],
    ...['--max_restarts', String(restarts), ...loop(run, state)],
  ];
  /** The steps that rank 0 had done when the order reached it; the one after may have been under way. */
  const stepAtHalt = (job: Job): number => {
    const line =
      job
        .said()
        .split('\n')
        .find((each) => each.includes('"halt-received"')) ?? '';
    return z.looseObject({ step: z.number() }).parse(JSON.parse(line.slice(line.indexOf('{')))).step;
  };

  it('is stopped by a halt, saves and reports a last checkpoint, and does not start again', async () => {
    const job = await start((run, state) => [python ?? '', ...loop(run, state)]);
    await training(job);
    await job.run.press();
    expect(await job.ended, job.said()).toBe(86);
    expect(job.lines.at(-1)).toMatchObject({ halted: 'halt' });
    expect(await job.run.kinds()).toContain('CheckpointReported');
    await soon(async () => expect((await job.run.show()).openHalt).toMatchObject({ state: 'stopped' }));

    // A launcher is not started while the halt stands, and is after the resume.
    const launch = (): Promise<Job> =>
      start(
        (run, state) => [
          ...[python ?? '', join(pythonClient, 'interlock.py'), 'launch', '--run', run, '--state', state],
          ...['--', python ?? '', '-c', 'raise SystemExit(3)'],
        ],
        job,
      );
    expect(await (await launch()).ended).toBe(86);
    await job.run.resume((await job.run.show()).openHalt?.haltId ?? null, ['board']);
    const resumed = await launch();
    expect(await resumed.ended, resumed.said()).toBe(3);
  }, 180_000);

  it('stops on both ranks at the same step, none hangs, and a launcher that restarts them gets no step more', async () => {
    const job = await start((run, state) => twoRanks(run, state, 1));
    await training(job, 0);
    await training(job, 1);
    await job.run.press();
    // The launcher's own code for a rank that failed; the ranks' stand in its report.
    expect(await job.ended, job.said()).toBe(1);
    expect(job.said()).toMatch(/exitcode\s*: 86/);
    const halted = job.lines.filter((line) => line.halted !== undefined);
    expect(halted.map(({ rank }) => rank).sort()).toEqual([0, 1]);
    expect(last(job, 0)).toBe(last(job, 1));
    expect(last(job, 0) - stepAtHalt(job)).toBeLessThanOrEqual(2);
    // Nothing was trained after the last checkpoint, in this life of the ranks or in the next.
    const finalLines = job.lines.slice(job.lines.findIndex((line) => line.halted !== undefined));
    expect(finalLines.filter((line) => 'loss' in line && (line.step ?? 0) > last(job, 0))).toEqual([]);
    expect(job.lines.filter((line) => line.step === 1)).toHaveLength(2);
    await soon(async () => expect((await job.run.show()).openHalt).toMatchObject({ state: 'stopped' }));
  }, 180_000);

  it('ends both ranks of a launcher under `launch` within two steps of the halt, with the exit code of the contract', async () => {
    const job = await start((run, state) => [
      ...[python ?? '', join(pythonClient, 'interlock.py'), 'launch', '--run', run, '--state', state, '--'],
      ...twoRanks(run, state, 0),
    ]);
    await training(job, 0);
    await training(job, 1);
    await job.run.press();
    const pressedAtMs = performance.now();
    expect(await job.ended, job.said()).toBe(86);
    // Neither rank waited for the other until a deadline: the process group's is half an hour, the last checkpoint's two minutes.
    expect(performance.now() - pressedAtMs).toBeLessThan(60_000);
    expect(last(job, 0)).toBe(last(job, 1));
    expect(last(job, 0) - stepAtHalt(job)).toBeLessThanOrEqual(2);
    await soon(async () => expect((await job.run.show()).openHalt).toMatchObject({ state: 'stopped' }));
  }, 180_000);
});

describe.skipIf(NO_PYTHON !== null)(
  title('a sidecar around a script that knows nothing of it', NO_PYTHON),
  () => {
    const script = `
import json, os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
step = 0
while True:
    step += 1
    print(json.dumps({'rank': 0, 'step': step, 'pid': os.getpid()}), flush=True)
    sum(range(100_000))
`;

    it('kills its whole group on a halt, although it ignores SIGTERM', async () => {
      const path = join(interlock.directory, 'unmodified.py');
      await writeFile(path, script);
      const job = await start((run, state) => [
        ...[python ?? '', join(pythonClient, 'interlock.py'), 'sidecar', '--run', run, '--state', state],
        ...['--flop-per-second', '1e6', '--heartbeat', '0.5', '--grace', '1', '--', python ?? '', path],
      ]);
      await training(job);
      const { pid } = z.looseObject({ pid: z.number() }).parse(job.lines.at(-1));
      await job.run.press();
      expect(await job.ended, job.said()).toBe(86);
      expect(await isAlive(pid)).toBe(false);
      await soon(async () => expect((await job.run.show()).openHalt).toMatchObject({ state: 'stopped' }));
      await rm(path);
    }, 120_000);
  },
);
