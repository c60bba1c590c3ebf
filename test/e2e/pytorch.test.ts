/** Real PyTorch training that a real Interlock stops: one process, two ranks by torchrun, and a sidecar around a script. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { isAlive } from '../support/alive.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { oneEvaluationPolicy } from '../support/one-evaluation-policy.ts';
import { NO_PYTHON, python, pythonClient, pythonEnv, torchMissing } from '../support/python.ts';
import { drive, type RunDriver, soon } from '../support/run-driver.ts';

const example = fileURLToPath(new URL('../../examples/trainers/pytorch_loop.py', import.meta.url));
const Line = z.looseObject({
  rank: z.number().optional(),
  step: z.number().optional(),
  halted: z.string().optional(),
});
type Line = z.output<typeof Line>;

const noTorch = torchMissing();
const title = (name: string, missing: string | null) =>
  `${name}${missing === null ? '' : ` (skipped: ${missing})`}`;

let interlock: TestInterlock;
const children: ChildProcess[] = [];

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
  for (const child of children) if (child.pid !== undefined && child.exitCode === null) killGroup(child.pid);
  await interlock.close();
});

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

interface Job {
  readonly run: RunDriver;
  readonly lines: readonly Line[];
  readonly said: () => string;
  readonly state: string;
  readonly ended: Promise<number | null>;
}

/** In a group of its own, so that whatever it starts ends with the test. */
async function start(
  command: (run: string, state: string) => readonly string[],
  before?: Pick<Job, 'run' | 'state'>,
): Promise<Job> {
  const run = before?.run ?? drive(interlock, { kind: 'webhook', url: 'http://127.0.0.1:9/halt' });
  const state = before?.state ?? (await mkdtemp(join(interlock.directory, 'state-')));
  if (before === undefined) {
    const registered = await run.register();
    expect(registered.status, registered.text).toBe(201);
  }
  const [program = '', ...words] = command(run.runId, state);
  const child = spawn(program, words, {
    env: {
      ...pythonEnv,
      PYTHONPATH: pythonClient,
      INTERLOCK_URL: interlock.url,
      INTERLOCK_TOKEN: interlock.tokens['trainer'],
      INTERLOCK_WEBHOOK_SECRET: interlock.webhookSecrets['trainer'],
      OMP_NUM_THREADS: '1',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  children.push(child);
  const lines: Line[] = [];
  const complaints: string[] = [];
  createInterface({ input: child.stdout }).on('line', (text) => {
    // A launcher puts the rank before what it passes on.
    const from = text.indexOf('{');
    if (from >= 0) lines.push(Line.parse(JSON.parse(text.slice(from))));
  });
  child.stderr.on('data', (chunk: Buffer) => complaints.push(chunk.toString('utf8')));
  const ended = once(child, 'close').then(() => child.exitCode);
  return { run, lines, state, said: () => complaints.join('').slice(-4_000), ended };
}

const last = (job: Job, rank = 0): number =>
  Math.max(0, ...job.lines.filter((line) => line.rank === rank).map(({ step }) => step ?? 0));
const training = (job: Job, rank = 0) =>
  soon(() => expect(last(job, rank), job.said().slice(-1_500)).toBeGreaterThan(20), {
    timeout: 60_000,
    interval: 20,
  });

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
    const job = await start((run, state) => [
      ...[python ?? '', '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2'],
      // Of 1.13 the launcher does not start under Python 3.11 unless it is told what to do with output.
      ...['--redirects', '1', '--tee', '1', '--log_dir', join(state, 'logs')],
      ...['--max_restarts', '1', ...loop(run, state)],
    ]);
    await training(job, 0);
    await training(job, 1);
    await job.run.press();
    // The launcher's own code for a rank that failed; the ranks' stand in its report.
    expect(await job.ended, job.said()).toBe(1);
    expect(job.said()).toMatch(/exitcode\s*: 86/);
    const halted = job.lines.filter((line) => line.halted !== undefined);
    expect(halted.map(({ rank }) => rank).sort()).toEqual([0, 1]);
    expect(last(job, 0)).toBe(last(job, 1));
    // Nothing was trained after the last checkpoint, in this life of the ranks or in the next.
    const finalLines = job.lines.slice(job.lines.findIndex((line) => line.halted !== undefined));
    expect(finalLines.filter((line) => 'loss' in line && (line.step ?? 0) > last(job, 0))).toEqual([]);
    expect(job.lines.filter((line) => line.step === 1)).toHaveLength(2);
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
