/** What holds on every real cluster, whatever its release. */
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { openSlurmRest } from '../../src/orchestrators/slurm/rest.ts';
import { createSlurmOrchestrator, describeSlurmJob } from '../../src/orchestrators/slurm.ts';
import { createOutbound } from '../../src/outbound/outbound.ts';
import { haltMessage, live } from '../contract/describe-orchestrator.ts';
import {
  clusterMissing,
  type Release,
  type SlurmCluster,
  startSlurmCluster,
} from '../support/slurm/cluster.ts';
import { DEAF, open, ready, register, SAVES, seen, type Way, wrote } from './scene.ts';

const KILL_WAIT_S = 2;
const WAYS: readonly Way[] = ['REST', 'commands'];

export function describeCluster(release: Release, versions: readonly string[]): void {
  const missing = clusterMissing(release);
  const skipped = missing === null ? '' : ` (skipped: ${missing})`;

  describe.skipIf(missing !== null)(`Slurm ${release}${skipped}`, () => {
    let cluster: SlurmCluster;
    const times: string[] = [];
    beforeAll(async () => {
      const beganMs = performance.now();
      cluster = await startSlurmCluster(release, { killWaitS: KILL_WAIT_S });
      told('the cluster is up', beganMs);
    });
    afterEach(() => cluster.clear());
    afterAll(async () => {
      await cluster?.stop();
      if (times.length > 0) console.log([`Slurm ${release}, milliseconds:`, ...times].join('\n'));
    });
    const told = (what: string, beganMs: number): void => {
      times.push(`${(performance.now() - beganMs).toFixed(0).padStart(7)}  ${what}`);
    };

    describe.each(WAYS)('by %s', (way) => {
      const opened = () => open(cluster, { ways: [way] });

      test('asks for a checkpoint, and sees the job end by itself', async () => {
        const jobId = await cluster.submit(SAVES);
        await ready(cluster, jobId);
        const { orchestrator } = await register(opened(), jobId);
        expect(await orchestrator.observe(live())).toEqual({
          state: 'running',
          detail: `job ${jobId} RUNNING`,
        });
        expect(await orchestrator.usage?.(live())).toMatchObject({
          nodeSeconds: expect.any(Number),
          acceleratorSeconds: null,
        });
        expect(await orchestrator.rehearse?.('signal', haltMessage(), live())).toMatchObject({
          kind: 'accepted',
        });
        expect(await cluster.output(jobId)).toBe('ready\n'); // a rehearsal changes nothing

        const beganMs = performance.now();
        expect(await orchestrator.take('signal', haltMessage(), live())).toEqual({
          kind: 'accepted',
          detail: `TERM sent to 1 job by ${way}`,
        });
        told(`${way}: signal taken`, beganMs);
        await seen(orchestrator, { state: 'stopped', detail: `job ${jobId} FAILED` });
        told(`${way}: signal to observed stop`, beganMs);
        expect(await cluster.output(jobId)).toMatch(/^saved$/m);
        for (const step of orchestrator.steps) {
          expect(await orchestrator.take(step, haltMessage(), live())).toMatchObject({
            kind: 'accepted',
            detail: 'already ending or ended',
          });
        }
      });

      test('a job that is deaf to signals runs on until it is cancelled, then killed by Slurm', async () => {
        const jobId = await cluster.submit(DEAF);
        await ready(cluster, jobId);
        const { orchestrator } = await register(opened(), jobId);
        expect(await orchestrator.take('signal', haltMessage(), live())).toMatchObject({ kind: 'accepted' });
        await wrote(cluster, jobId, /^TERM$/m);
        expect(await orchestrator.observe(live())).toMatchObject({ state: 'running' });
        const beganMs = performance.now();
        expect(await orchestrator.take('cancel', haltMessage(), live())).toEqual({
          kind: 'accepted',
          detail: `cancelled 1 job by ${way}`,
        });
        told(`${way}: cancel taken`, beganMs);
        expect(await orchestrator.observe(live())).toMatchObject({
          state: 'running',
          detail: expect.stringContaining('COMPLETING'),
        });
        expect(await orchestrator.take('kill', haltMessage(), live())).toMatchObject({ kind: 'accepted' });
        await seen(orchestrator, { state: 'stopped', detail: `job ${jobId} CANCELLED` });
        told(`${way}: deaf job, cancel to observed stop (KillWait ${KILL_WAIT_S} s)`, beganMs);
      });

      test('a job that comes back is seen and stopped again, and then cannot come back by itself', async () => {
        const jobId = await cluster.submit(SAVES, { requeue: true });
        await ready(cluster, jobId);
        const { orchestrator } = await register(opened(), jobId);
        await cluster.run('scancel', '--full', '--signal=TERM', String(jobId));
        await seen(orchestrator, { state: 'stopped' });

        await cluster.run('scontrol', 'requeue', String(jobId));
        const beganMs = performance.now();
        await seen(orchestrator, { state: 'running', detail: `job ${jobId} PENDING, requeued` });
        expect(await orchestrator.take('signal', haltMessage(), live())).toEqual({
          kind: 'accepted',
          detail: `cancelled 1 job by ${way}`,
        });
        await seen(orchestrator, { state: 'stopped' });
        told(`${way}: requeued job, seen to stopped again`, beganMs);

        // By commands and since 24.11 it is refused; 22.05 lets it wait, held.
        await cluster.run('scontrol', 'requeue', String(jobId)).catch(() => undefined);
        const { state, detail } = await orchestrator.observe(live());
        expect([
          `stopped: job ${jobId} CANCELLED`,
          `running: job ${jobId} PENDING, held, requeued`,
        ]).toContain(`${state}: ${detail}`);
      });
    });

    test.each(WAYS)('spares srun and reaches what it started, by %s', async (way) => {
      const file = `${cluster.jobs}/step-${way}`;
      const jobId = await cluster.submit(
        `srun --overlap --output=${file} bash -c 'trap "echo TERM" TERM; echo ready; while :; do sleep 0.1; done'`,
      );
      const step = (text: RegExp) =>
        vi.waitFor(async () => expect(await readFile(file, 'utf8')).toMatch(text), 20_000);
      await step(/^ready$/m);
      const { orchestrator, by } = await register(open(cluster, { ways: [way], srun: true }), jobId);
      const outcome = await orchestrator.take('signal', haltMessage(), live());
      if (way === 'REST' && release === '22.05') {
        expect(outcome).toEqual({
          kind: 'retry',
          detail: 'REST: v0.0.38 of the Slurm API cannot signal steps and spare srun',
        });
        const both = by(open(cluster, { ways: WAYS, srun: true }));
        expect(await both.take('signal', haltMessage(), live())).toMatchObject({ kind: 'accepted' });
      } else {
        expect(outcome).toMatchObject({ kind: 'accepted' });
      }
      await step(/^TERM$/m);
      expect(await orchestrator.observe(live())).toMatchObject({
        state: 'running',
        detail: `job ${jobId} RUNNING`,
      });
      await orchestrator.take('cancel', haltMessage(), live());
      await seen(orchestrator, { state: 'stopped' });
    });

    test('reaches the batch shell and its children where there are no steps', async () => {
      const jobId = await cluster.submit(
        `(trap "echo child TERM" TERM; while :; do sleep 0.1; done) & trap "echo shell TERM" TERM
         sleep 0.3; echo ready; while :; do sleep 0.1; done`,
      );
      await ready(cluster, jobId);
      const { orchestrator } = await register(open(cluster), jobId);
      await orchestrator.take('signal', haltMessage(), live());
      for (const name of ['shell', 'child']) await wrote(cluster, jobId, new RegExp(`^${name} TERM$`, 'm'));
      expect((await cluster.output(jobId)).match(/ TERM$/gm)).toHaveLength(2);
    });

    test('reaches every task of an array once, and keeps those that wait from starting', async () => {
      const jobId = await cluster.submit(DEAF, { array: '0-7' });
      const { orchestrator } = await register(open(cluster), jobId);
      const tasks = async (state: string): Promise<string[]> => {
        const listed = await cluster.run('squeue', '-h', '-j', String(jobId), '-t', state, '-o', '%A');
        return listed.split('\n').filter(Boolean);
      };
      await ready(cluster, Number((await firstOf(() => tasks('RUNNING')))[0]));
      const running = (await tasks('RUNNING')).map(Number);
      for (const id of running) await ready(cluster, id);
      expect(await orchestrator.take('signal', haltMessage(), live())).toMatchObject({ kind: 'accepted' });
      for (const id of running) await wrote(cluster, id, /^TERM$/m);
      for (const id of running) expect((await cluster.output(id)).match(/^TERM$/gm)).toHaveLength(1);
      expect(await tasks('RUNNING')).toHaveLength(running.length); // none of those that waited began
      await orchestrator.take('cancel', haltMessage(), live());
      await seen(orchestrator, { state: 'stopped' });
      expect(await tasks('RUNNING,PENDING')).toEqual([]);
    });

    test('stops a heterogeneous job by its leader, and registers it only so', async () => {
      const leader = await cluster.submit(SAVES, {}, 2);
      const opened = open(cluster);
      expect(await opened.admit({ kind: 'slurm', cluster: 'train', jobId: leader + 1 })).toEqual({
        ok: false,
        field: 'jobId',
        reason: `job ${leader + 1} is a component of the heterogeneous job ${leader}, which can only be stopped whole; state jobId ${leader}`,
      });
      const { orchestrator } = await register(opened, leader);
      expect(await orchestrator.take('signal', haltMessage(), live())).toMatchObject({
        kind: 'accepted',
        detail: expect.stringContaining('2 jobs by REST'),
      });
      await orchestrator.take('cancel', haltMessage(), live());
      await seen(orchestrator, { state: 'stopped' });
    });

    test('a job that waits is cancelled at once: no signal would reach it', async () => {
      const jobId = await cluster.submit(SAVES, { hold: true });
      const { orchestrator } = await register(open(cluster), jobId);
      await seen(orchestrator, { state: 'running', detail: `job ${jobId} PENDING, held` });
      await orchestrator.take('signal', haltMessage(), live());
      await seen(orchestrator, { state: 'stopped', detail: `job ${jobId} CANCELLED` });
    });

    test('a signal that comes just as the job starts is sent again', async () => {
      const jobId = await cluster.submit(SAVES);
      const { orchestrator } = await register(open(cluster, { aheadMs: 0 }), jobId);
      await seen(orchestrator, { detail: `job ${jobId} RUNNING` });
      expect(await orchestrator.take('signal', haltMessage(), live())).toEqual({
        kind: 'retry',
        detail: `REST: TERM sent to job ${jobId}, which has only just started: Slurm may have lost it`,
      });
      await firstOf(async () => {
        const { state } = await orchestrator.observe(live());
        if (state === 'stopped') return ['stopped'];
        await orchestrator.take('signal', haltMessage({ attempt: 2 }), live());
        return [];
      });
    });

    test('the run relaunched under another id is the run too, where the target names it', async () => {
      const first = await cluster.submit(SAVES, { name: 'llm-7b' });
      await ready(cluster, first);
      const opened = open(cluster);
      expect(await opened.admit({ kind: 'slurm', cluster: 'train', jobId: first, jobName: 'other' })).toEqual(
        {
          ok: false,
          field: 'jobName',
          reason: `must be the name that job ${first} has on train`,
        },
      );
      const { orchestrator } = await register(opened, first, 'llm-7b');
      await orchestrator.take('signal', haltMessage(), live());
      await seen(orchestrator, { state: 'stopped' });

      const second = await cluster.submit(SAVES, { name: 'llm-7b' });
      const bystander = await cluster.submit(SAVES, { name: 'llm-7b-eval' });
      await seen(orchestrator, { state: 'running', detail: expect.stringContaining(`job ${second} `) });
      await ready(cluster, second);
      await orchestrator.take('signal', haltMessage(), live());
      await seen(orchestrator, { state: 'stopped' });
      const other = await register(opened, bystander);
      expect(await other.orchestrator.observe(live())).toMatchObject({ state: 'running' });
      await other.orchestrator.take('kill', haltMessage(), live());
    });

    test("nobody touches another user's job, unless interlock.yaml says that it may", async () => {
      const jobId = await cluster.submit(SAVES);
      await ready(cluster, jobId);
      const run = await register(open(cluster), jobId);
      const target = { kind: 'slurm', cluster: 'train', jobId } as const;
      for (const account of [cluster.stranger, cluster.admin]) {
        const opened = open(cluster, { account });
        expect(await opened.admit(target)).toMatchObject({ ok: false, field: 'jobId' });
        const stranger = run.by(opened);
        for (const step of stranger.steps) {
          expect(await stranger.take(step, haltMessage(), live())).toMatchObject({
            kind: 'rejected',
            detail: expect.stringContaining('another user'),
          });
        }
        expect(await stranger.rehearse?.('signal', haltMessage(), live())).toMatchObject({
          kind: 'rejected',
        });
      }
      // The controller is well, and the job is there.
      expect(await run.orchestrator.observe(live())).toMatchObject({ state: 'running' });

      const admin = open(cluster, { account: cluster.admin, privileged: true });
      expect(await run.by(admin).take('signal', haltMessage(), live())).toMatchObject({ kind: 'accepted' });
      await seen(run.orchestrator, { state: 'stopped' });
    });

    test('a token that expires in the middle of a halt is read again once it was replaced', async () => {
      const jobId = await cluster.submit(SAVES);
      await ready(cluster, jobId);
      const token = `${cluster.owner.tokenFile}.rotated`;
      await writeFile(token, cluster.owner.token, { mode: 0o600 });
      const { orchestrator, by } = await register(open(cluster, { token }), jobId);
      for (const [bad, said] of [
        [`${cluster.owner.token.slice(0, -4)}AAAA`, 'did not accept the token'],
        ['', 'is empty'],
      ] as const) {
        await writeFile(token, bad);
        const outcome = await orchestrator.take('signal', haltMessage(), live());
        expect(outcome).toEqual({ kind: 'retry', detail: expect.stringContaining(said) });
        const observation = await orchestrator.observe(live());
        expect(observation).toEqual({ state: 'unknown', detail: expect.stringContaining(said) });
        for (const { detail } of [outcome, observation])
          expect(detail).not.toContain(bad.slice(4, 40) || 'eyJ');
      }
      // Slurm's own programs do not need it.
      const both = by(open(cluster, { token, ways: WAYS }));
      expect(await both.observe(live())).toMatchObject({ state: 'running' });
      await writeFile(token, cluster.owner.token);
      expect(await orchestrator.take('signal', haltMessage(), live())).toMatchObject({ kind: 'accepted' });
      await seen(both, { state: 'stopped' });
    });

    test('an id that is another job now is neither touched nor believed', async () => {
      const jobId = await cluster.submit(SAVES);
      await ready(cluster, jobId);
      const { orchestrator, recorded } = await register(open(cluster), jobId);
      const earlier = { ...recorded, submittedAtS: Number(recorded['submittedAtS']) - 60 };
      const stale = open(cluster).of({ kind: 'slurm', config: earlier }, 'trainer');
      for (const step of orchestrator.steps) {
        expect(await stale?.take(step, haltMessage(), live())).toEqual({
          kind: 'rejected',
          detail: `REST: id ${jobId} belongs to another job now; nothing was sent`,
        });
      }
      expect(await stale?.observe(live())).toMatchObject({ state: 'unknown' });
      expect(await orchestrator.observe(live())).toMatchObject({ state: 'running' });
      await orchestrator.take('cancel', haltMessage(), live());
      await seen(orchestrator, { state: 'stopped' });
    });

    test('a job that the cluster does not know cannot be registered, and is never taken for stopped', async () => {
      const opened = open(cluster);
      expect(await opened.admit({ kind: 'slurm', cluster: 'train', jobId: 4_000_000 })).toEqual({
        ok: false,
        field: 'jobId',
        reason: 'the cluster train knows no job 4000000',
      });
      const config = {
        cluster: 'train',
        jobId: 4_000_000,
        user: cluster.owner.user,
        submittedAtS: 1,
        restarts: 0,
      };
      for (const way of WAYS) {
        const orchestrator = open(cluster, { ways: [way] }).of({ kind: 'slurm', config }, 'trainer');
        expect(await orchestrator?.observe(live()), way).toEqual({
          state: 'unknown',
          detail: 'the cluster does not know job 4000000, or not any more',
        });
        expect(await orchestrator?.take('kill', haltMessage(), live()), way).toMatchObject({ kind: 'retry' });
      }
    });

    test.each(versions)('speaks %s', async (version) => {
      const jobId = await cluster.submit(SAVES);
      await ready(cluster, jobId);
      const rest = openSlurmRest(
        {
          url: cluster.url,
          user: cluster.owner.user,
          token: cluster.owner.tokenFile,
          privileged: false,
          srun: false,
        },
        {
          outbound: createOutbound({ allow: ['loopback'] }),
          variable: () => undefined,
          now: () => new Date(),
          versions: ['v0.0.99', version],
        },
      );
      const described = await describeSlurmJob({ kind: 'slurm', cluster: 'train', jobId }, [rest], live());
      if (!described.ok) throw new Error(described.reason);
      const orchestrator = createSlurmOrchestrator(described.target, {
        accesses: [rest],
        signalName: 'TERM',
        now: () => new Date(Date.now() + 60_000),
      });
      expect(await orchestrator.take('signal', haltMessage(), live())).toEqual({
        kind: 'accepted',
        detail: 'TERM sent to 1 job by REST',
      });
      await seen(orchestrator, { state: 'stopped' });
    });

    test('a controller that does not answer makes nothing look stopped, and is tried again', async () => {
      const jobId = await cluster.submit(SAVES);
      await ready(cluster, jobId);
      const { orchestrator } = await register(open(cluster, { ways: WAYS }), jobId);
      const thaw = await cluster.freeze();
      try {
        const beganMs = performance.now();
        const [outcome, observation] = await Promise.all([
          orchestrator.take('signal', haltMessage(), AbortSignal.timeout(10_000)),
          orchestrator.observe(AbortSignal.timeout(10_000)),
        ]);
        told('frozen controller: signal given up', beganMs);
        expect(outcome).toMatchObject({ kind: 'retry' });
        expect(observation).toMatchObject({ state: 'unknown' });
      } finally {
        thaw();
      }
      await orchestrator.take('signal', haltMessage(), live());
      await seen(orchestrator, { state: 'stopped' });
    });
  });
}

/** Asks until there is something. */
async function firstOf<T>(ask: () => Promise<readonly T[]>): Promise<readonly T[]> {
  let found: readonly T[] = [];
  await expect
    .poll(
      async () => {
        found = await ask();
        return found.length;
      },
      { timeout: 20_000, interval: 100 },
    )
    .toBeGreaterThan(0);
  return found;
}
