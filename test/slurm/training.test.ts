/**
 * Batch jobs of their owner on a real cluster, under a whole Interlock: one that obeys, one that is deaf, one that is
 * requeued, and such as do not get as far as starting. Each halt's steps are shown with their times.
 *
 * PrologSlurmctld is examples/slurm/prolog.sh for all of them; the trainer, the evaluation, the policy and the job's script are
 * the examples as they are committed.
 */
import { chown, cp, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { isAlive } from '../support/alive.ts';
import { startTestInterlock, type TestInterlock } from '../support/interlock.ts';
import { NO_PYTHON, python, torchMissing } from '../support/python.ts';
import { drive, type LedgerEvent, type RunDriver, runName, soon } from '../support/run-driver.ts';
import { clusterMissing, type SlurmCluster, startSlurmCluster } from '../support/slurm/cluster.ts';
import { userOf } from '../support/slurm/own-cluster.ts';
import { secondsBetween, timelineOf } from './timeline.ts';

const KILL_WAIT_S = 2;
const FIRST_CHECKPOINT = 2_476_800;
const root = fileURLToPath(new URL('../../', import.meta.url));
const missing = clusterMissing('22.05') ?? NO_PYTHON;
const noTorch = missing ?? torchMissing();
const because = (why: string | null): string => (why === null ? '' : ` (skipped: ${why})`);

/** Trains on whatever it is told, past its permit, and reports it. */
const DEAF = `import hashlib, os, signal, interlock
signal.signal(signal.SIGTERM, lambda *_: print("TERM", flush=True))
print("pid", os.getpid(), flush=True)
client, spent = interlock.InterlockClient.from_environment(), 0
while True:
    spent += 200_000
    try:
        print("told", client.heartbeat(os.environ["RUN"], {"effectiveCompute": str(spent)}).action, flush=True)
    except interlock.InterlockError as error:
        print(error.code, flush=True)
    hashlib.pbkdf2_hmac("sha256", b"a step", b"of its own", 2_000_000)
`;
const SAVES = 'trap "echo saved; exit 3" TERM; echo ready; while :; do sleep 0.1; done';
const SOON_LADDER = [{ step: 'signal' }, { step: 'cancel', after: '3s' }, { step: 'kill', after: '4s' }];

describe.skipIf(missing !== null)(`training in batch jobs${because(missing)}`, () => {
  let cluster: SlurmCluster;
  let interlock: TestInterlock;
  let checkout: string;
  let models: string;
  const timelines: string[] = [];

  beforeAll(async () => {
    cluster = await startSlurmCluster('22.05', { killWaitS: KILL_WAIT_S });
    // What the jobs' owner needs, where that user can read it: the checkout may be closed to others.
    checkout = join(cluster.jobs, 'checkout');
    for (const path of ['clients/python/interlock.py', 'examples/trainers/pytorch_loop.py']) {
      await cp(join(root, path), join(checkout, path));
    }
    models = join(cluster.jobs, 'models');
    await ownersDirectory(models);
    const rest = { url: cluster.url, user: cluster.owner.user, token: cluster.owner.tokenFile };
    interlock = await startTestInterlock({
      policies: { 'slurm-scene': await examplePolicy() },
      settings: {
        models: { roots: [models] },
        orchestrators: { slurm: { enabled: true, clusters: { train: { rest } } } },
      },
    });
    await cp(join(root, 'examples/slurm/evaluate.py'), join(interlock.directory, 'evaluate.py'));
    await askBeforeStarting();
  });
  afterAll(async () => {
    if (timelines.length > 0) console.log(`\n${timelines.join('\n\n')}\n`);
    await interlock?.close();
    await cluster?.stop();
  });

  async function ownersDirectory(path: string): Promise<void> {
    const { uid, gid } = userOf(cluster.owner.user);
    await mkdir(path);
    await chown(path, uid, gid);
  }

  /** As it is committed, but for the Python that has PyTorch here. */
  async function examplePolicy(): Promise<Record<string, unknown>> {
    const text = await readFile(join(root, 'examples/slurm/policy.yaml'), 'utf8');
    return z.looseObject({}).parse(parse(text.replace('/usr/bin/python3', python ?? '')));
  }

  async function ownersFile(name: string, text: string, user = cluster.owner.user): Promise<string> {
    const path = join(dirname(cluster.conf), name);
    await writeFile(path, text, { mode: 0o600 });
    const { uid, gid } = userOf(user);
    await chown(path, uid, gid);
    return path;
  }

  async function askBeforeStarting(): Promise<void> {
    const etc = dirname(cluster.conf);
    const token = await ownersFile('prolog.token', `${interlock.tokens['trainer']}\n`, 'slurm');
    await writeFile(
      join(etc, 'prolog.conf'),
      `INTERLOCK_URL=${interlock.url}\nINTERLOCK_TOKEN_FILE=${token}\n`,
    );
    await cp(join(root, 'examples/slurm/prolog.sh'), join(etc, 'prolog.sh'));
    // It is given no environment but Slurm's.
    const wrapper = `#!/bin/sh\nINTERLOCK_PROLOG_CONFIG=${etc}/prolog.conf exec ${etc}/prolog.sh\n`;
    await writeFile(join(etc, 'prolog'), wrapper, { mode: 0o755 });
    await cluster.configure(`PrologSlurmctld=${etc}/prolog`);
  }

  interface Job {
    readonly run: RunDriver;
    readonly jobId: number;
    readonly state: string;
    release(): Promise<unknown>;
  }

  /** Held, registered by its id, and not yet released: as the head of examples/slurm/train.sbatch says. */
  async function submit(
    args: readonly string[],
    target: Readonly<Record<string, unknown>> = {},
  ): Promise<Job> {
    const runId = runName();
    const state = join(cluster.jobs, runId);
    await ownersDirectory(state);
    const comment = `--comment=interlock:run=${runId}`;
    const jobId = await cluster.sbatch(['--hold', '--output=%j', comment, ...args], {
      RUN: runId,
      STATE: state,
      MODELS: models,
      PYTHON: python ?? '',
      PYTHONPATH: join(checkout, 'clients/python'),
      INTERLOCK_CHECKOUT: checkout,
      INTERLOCK_URL: interlock.url,
      INTERLOCK_TOKEN_FILE: await ownersFile(`${runId}.token`, interlock.tokens['trainer'] ?? ''),
      INTERLOCK_WEBHOOK_SECRET_FILE: await ownersFile(
        `${runId}.secret`,
        interlock.webhookSecrets['trainer'] ?? '',
      ),
    });
    const run = drive(interlock, { kind: 'slurm', cluster: 'train', jobId, ...target }, runId);
    const registered = await run.register();
    expect(registered.status, registered.text).toBe(201);
    return { run, jobId, state, release: () => cluster.run('scontrol', 'release', String(jobId)) };
  }

  const shown = (jobId: number): Promise<string> => cluster.run('scontrol', 'show', 'job', String(jobId));
  const confirmed = (run: RunDriver, times = 1, timeout = 60_000): Promise<LedgerEvent[]> =>
    soon(
      async () => {
        const events = await run.events();
        const found = events.filter(({ kind }) => kind === 'HaltConfirmed');
        expect(found, events.map(({ kind }) => kind).join(' ')).toHaveLength(times);
        return events;
      },
      { timeout, interval: 200 },
    );
  /** Kept also where the test fails: then it is wanted most. */
  async function timed(title: string, run: RunDriver, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } finally {
      timelines.push(timelineOf(title, await run.events()));
    }
  }

  test.skipIf(noTorch !== null)(
    `PyTorch earns its permit at each doubling, trips, saves a last checkpoint, and ends with 86${because(noTorch)}`,
    async () => {
      const script = join(root, 'examples/slurm/train.sbatch');
      const args = [script, '--steps', '100000000', '--heartbeat', '0.5'];
      const { run, jobId, state, release } = await submit(args);
      await release();
      await timed('PyTorch', run, async () => {
        const events = await confirmed(run, 1, 150_000);
        const ordered = events.findIndex(({ kind }) => kind === 'HaltOrdered');
        const checkpoints = (of: readonly LedgerEvent[]) =>
          of.filter(({ kind }) => kind === 'CheckpointReported').map(({ data }) => data);
        const before = events.slice(0, ordered);
        const due = checkpoints(before);
        expect(due.length).toBeGreaterThanOrEqual(4);
        expect(due.map(({ effectiveCompute }) => effectiveCompute)).toEqual(
          due.map((_, doublings) => String(FIRST_CHECKPOINT * 2 ** doublings)),
        );
        expect(before.filter(({ kind }) => kind === 'EvaluationReported')).toHaveLength(due.length);
        expect(events[ordered]?.data['cause']).toMatchObject({
          kind: 'rule',
          checkpointId: due.at(-1)?.['checkpointId'],
          findings: [{ rule: 'pre-mitigation-high', category: 'model-autonomy' }],
        });

        // The directive was enough: no step of the ladder was taken.
        const after = events.slice(ordered);
        expect(after.map(({ kind }) => kind)).not.toContain('HaltStepTaken');
        expect(
          after.filter(({ kind }) => kind === 'HaltAcknowledged').map(({ data }) => data['state']),
        ).toEqual(['received', 'stopped']);
        expect(await cluster.output(jobId)).toMatch(/"kind": "halt-received"/);
        const [last, ...more] = checkpoints(after);
        expect(more).toEqual([]);
        const step = z.string().parse(last?.['checkpointId']).replace('step-', '');
        expect((await stat(join(models, `${run.runId}-${step}.pt`))).size).toBeGreaterThan(1_000);

        expect(after.find(({ kind }) => kind === 'TargetStopObserved')?.data['detail']).toBe(
          `job ${jobId} FAILED`,
        );
        expect(await shown(jobId)).toMatch(/JobState=FAILED.*ExitCode=86:0/s);
        expect(await run.show()).toMatchObject({ openHalt: { state: 'stopped' } });
      });

      // Submitted again it does not start, by what its own directory remembers, whoever lets it through.
      const again = await cluster.sbatch(['--output=%j', ...args], {
        RUN: run.runId,
        STATE: state,
        MODELS: models,
        PYTHON: python ?? '',
        INTERLOCK_CHECKOUT: checkout,
      });
      await soon(async () => expect(await shown(again)).toMatch(/JobState=FAILED.*ExitCode=86:0/s));
      expect(await cluster.output(again)).toContain('by heartbeat');
    },
    180_000,
  );

  test('a deaf job, told to halt and signalled, runs on until it is cancelled, and is killed', async () => {
    await writeFile(join(checkout, 'deaf.py'), DEAF);
    const wrap = `--wrap=exec "$PYTHON" ${checkout}/deaf.py`;
    const { run, jobId, release } = await submit(['--no-requeue', wrap], { ladder: SOON_LADDER });
    await release();
    await timed('deaf', run, async () => {
      const events = await confirmed(run);
      const [order] = events.filter(({ kind }) => kind === 'HaltOrdered');
      expect(order?.data['cause']).toMatchObject({ kind: 'rule', findings: [{ rule: 'overrun' }] });

      const taken = events.filter(({ kind }) => kind === 'HaltStepTaken');
      const outcomes = new Set(taken.map(({ data }) => `${data['step']} ${data['outcome']}`));
      expect([...outcomes].sort()).toEqual(['cancel accepted', 'kill accepted', 'signal accepted']);
      const output = await cluster.output(jobId);
      // Heard, both ways, and not heeded.
      expect(output).toMatch(/\nTERM\n.*told halt/s);
      const cancel = taken.find(({ data }) => data['step'] === 'cancel');
      const [stopped] = events.filter(({ kind }) => kind === 'TargetStopObserved');
      if (cancel === undefined || stopped === undefined)
        throw new Error('not cancelled, or not seen stopped');
      expect(secondsBetween(cancel, stopped)).toBeGreaterThan(KILL_WAIT_S - 0.5);
      expect(stopped.data['detail']).toBe(`job ${jobId} CANCELLED`);
      expect(await shown(jobId)).toMatch(/JobState=CANCELLED.*ExitCode=0:9/s);
      expect(await isAlive(Number(/^pid (\d+)$/m.exec(output)?.[1]))).toBe(false);
    });
  });

  test('a job that is requeued after its halt is caught, and stopped again', async () => {
    const { run, jobId, release } = await submit(['--requeue', `--wrap=${SAVES}`], { ladder: SOON_LADDER });
    await release();
    await vi.waitFor(async () => expect(await cluster.output(jobId)).toBe('ready\n'), 20_000);
    await run.press('board');
    await timed('requeued', run, async () => {
      await confirmed(run);
      expect(await cluster.output(jobId)).toMatch(/^saved$/m);
      await cluster.run('scontrol', 'requeue', String(jobId));
      const events = await confirmed(run, 2);
      expect(events.find(({ kind }) => kind === 'HaltReopened')?.data).toMatchObject({
        reason: 'relaunched',
        detail: expect.stringMatching(/^job \d+ PENDING.*requeued/),
      });
      expect(await shown(jobId)).toMatch(/JobState=CANCELLED/);
      expect((await cluster.output(jobId)).match(/ready/g)).toHaveLength(1);
    });
  });

  describe('asked for by slurmctld, the prolog', () => {
    const named = (run: RunDriver): string => `--comment=interlock:run=${run.runId}`;
    const STARTS = '--wrap=echo started';
    const halted = async (): Promise<RunDriver> => {
      const { run } = await submit([STARTS], { ladder: SOON_LADDER });
      await run.press('board');
      await confirmed(run);
      return run;
    };
    const node = async (): Promise<string> => (await cluster.run('sinfo', '-h', '-o', '%t')).trim();

    test('lets a job start whose run may', async () => {
      const { jobId, release } = await submit([STARTS]);
      await release();
      await soon(async () => expect(await shown(jobId)).toMatch(/JobState=COMPLETED/));
      expect(await cluster.output(jobId)).toBe('started\n');
    });

    test('a job of a halted run does not start: it ends where it may not be requeued', async () => {
      const jobId = await cluster.sbatch(['--output=%j', '--no-requeue', named(await halted()), STARTS]);
      await soon(async () => expect(await shown(jobId)).toMatch(/JobState=CANCELLED/));
      expect(await cluster.output(jobId)).toBe('');
      expect(await node()).not.toContain('drain');
    });

    test('and waits, to be asked for again, where it may', async () => {
      const jobId = await cluster.sbatch(['--output=%j', '--requeue', named(await halted()), STARTS]);
      await soon(async () => expect(await shown(jobId)).toMatch(/JobState=PENDING.*Restarts=1/s));
      expect(await cluster.output(jobId)).toBe('');
      expect(await node()).not.toContain('drain');
      await cluster.run('scancel', String(jobId));
    });
  });
});
