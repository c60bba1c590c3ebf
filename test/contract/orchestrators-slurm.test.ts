/** The slurm adapter against answers that no cluster gives on demand; real clusters are in test/slurm. */
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { OrchestratorsConfigSchema } from '../../src/config/orchestrators.ts';
import type { Orchestrator } from '../../src/orchestrators/orchestrator.ts';
import { openOrchestrators } from '../../src/orchestrators/registry.ts';
import { openSlurmCommands, readLines } from '../../src/orchestrators/slurm/commands.ts';
import {
  acceleratorsOfGres,
  acceleratorsOfTres,
  isSame,
  lifeOf,
  type SlurmJob,
} from '../../src/orchestrators/slurm/job.ts';
import { openSlurmRest } from '../../src/orchestrators/slurm/rest.ts';
import { createSlurmOrchestrator, usageOf } from '../../src/orchestrators/slurm.ts';
import { type SlurmTarget, targetSchema } from '../../src/orchestrators/targets.ts';
import { createOutbound } from '../../src/outbound/outbound.ts';
import {
  type FakeAnswer,
  type FakeSlurmrestd,
  startFakeSlurmrestd,
} from '../support/slurm/fake-slurmrestd.ts';
import { describeOrchestrator, does, haltMessage, live } from './describe-orchestrator.ts';

const TOKEN = 'eyJhbGciOiJIUzI1NiJ9.eyJzdW4iOiJhZGEifQ.c2VjcmV0LXNpZ25hdHVyZQ';
const TARGET: SlurmTarget = {
  kind: 'slurm',
  cluster: 'train',
  jobId: 12,
  user: 'ada',
  submittedAtS: 1_000,
  restarts: 0,
};
/** Long after every job of these tests began. */
const NOW = new Date(2_000_000);

function adapter(
  url: string,
  more: Partial<SlurmTarget> = {},
  requestTimeoutMs = 3_000,
  token = (): string => TOKEN,
  user = 'ada',
): Orchestrator {
  const rest = openSlurmRest(
    { url, user, token: 'env:SLURM_JWT', privileged: false, srun: false },
    {
      outbound: createOutbound({ allow: ['loopback'] }),
      variable: () => token(),
      now: () => NOW,
      requestTimeoutMs,
    },
  );
  return createSlurmOrchestrator(
    { ...TARGET, ...more },
    { accesses: [rest], signalName: 'TERM', now: () => NOW },
  );
}

const signals = ({ asked }: FakeSlurmrestd): string[] => asked.filter((each) => each.startsWith('DELETE '));

describeOrchestrator('the slurm orchestrator', async () => {
  const [fake, refusing] = await Promise.all([
    startFakeSlurmrestd('v0.0.42'),
    startFakeSlurmrestd('v0.0.38'),
  ]);
  for (const one of [fake, refusing]) one.jobs = [{ jobId: 12, state: ['RUNNING'] }];
  fake.obeys = true;
  let token = TOKEN;
  const [job] = fake.jobs;
  if (job === undefined) throw new Error('there is no job');
  const answers = (answer: FakeAnswer) =>
    does(() => {
      fake.answer = () => answer;
    });
  refusing.answer = (asked) =>
    asked.startsWith('DELETE')
      ? {
          status: 500,
          body: JSON.stringify({ errors: [{ error_number: 2002, description: `<script>${TOKEN}` }] }),
        }
      : 'as usual';
  return {
    orchestrator: adapter(fake.url, { jobName: 'run' }, 3_000, () => token),
    refused: adapter(refusing.url),
    secrets: [TOKEN, 'c2VjcmV0LXNpZ25hdHVyZQ'],
    reached: (n) => vi.waitUntil(() => signals(fake).length >= n).then(() => undefined),
    count: () => signals(fake).length,
    close: () => Promise.all([fake.close(), refusing.close()]).then(() => undefined),
    side: {
      end: does(() => Object.assign(job, { state: ['COMPLETED'] })),
      forget: does(() => fake.jobs.splice(0)),
      refuse: () => adapter(fake.url, {}, 3_000, () => token, 'eve'),
      hang: answers('hang'),
      lie: does(() => Object.assign(job, { stubborn: true })),
      comeBack: does(() => Object.assign(job, { state: ['PENDING'], restarts: 1, submittedAtS: 1_500 })),
      keepOne: does(() => {
        Object.assign(job, { keen: true });
        fake.jobs.push({ jobId: 13, state: ['RUNNING'], stubborn: true });
      }),
      othersGone: () => vi.waitUntil(() => job.state.includes('CANCELLED')),
      expire: does(() => {
        const expired: FakeAnswer = { status: 511, body: '{"errors":[{"error_number":1007}]}' };
        fake.answer = () => (fake.tokens.at(-1) === 'a-new-token' ? 'as usual' : expired);
      }),
      renew: does(() => {
        token = 'a-new-token';
      }),
      answers: {
        'a login page': answers({ body: `<html>12 CANCELLED ${TOKEN}</html>` }),
        'an empty success': answers({ body: '' }),
        null: answers({ body: 'null' }),
        'an empty list of jobs': answers({ body: '{"errors":[],"jobs":[]}' }),
        'an error inside a success': answers({ body: '{"errors":[{"error_number":9001}],"jobs":[]}' }),
      },
    },
  };
});

describe.each(['v0.0.38', 'v0.0.42'] as const)('by slurmrestd %s', (version) => {
  let fake: FakeSlurmrestd;
  beforeEach(async () => {
    fake = await startFakeSlurmrestd(version);
    fake.jobs = [{ jobId: 12, state: ['RUNNING'] }];
  });
  afterEach(() => fake.close());

  test.each<[string, string[], 'running' | 'stopped' | 'unknown']>([
    ['runs', ['RUNNING'], 'running'],
    ['waits', ['PENDING'], 'running'],
    ['is being ended', ['COMPLETING'], 'running'],
    ['is suspended', ['SUSPENDED'], 'running'],
    ['is frozen by a signal', ['STOPPED'], 'running'],
    ['was requeued and is held', ['REQUEUE_HOLD'], 'running'],
    ['is getting its nodes', ['CONFIGURING'], 'running'],
    ['was cancelled', ['CANCELLED'], 'stopped'],
    ['failed', ['FAILED'], 'stopped'],
    ['completed', ['COMPLETED'], 'stopped'],
    ['ran out of time', ['TIMEOUT'], 'stopped'],
    ['lost a node, on which it may run on', ['NODE_FAIL'], 'unknown'],
    ['runs on a sibling of the federation', ['REVOKED'], 'unknown'],
    ['is in a state that nobody knows', ['HIBERNATED'], 'unknown'],
  ])('a job that %s', async (_name, state, expected) => {
    fake.jobs = [{ jobId: 12, state }];
    expect(await adapter(fake.url).observe(live())).toMatchObject({ state: expected });
  });

  test('a job that accepts and does not stop is running', async () => {
    const orchestrator = adapter(fake.url);
    for (const step of orchestrator.steps) {
      expect(await orchestrator.take(step, haltMessage(), live())).toMatchObject({ kind: 'accepted' });
    }
    expect(signals(fake)).toEqual([
      'DELETE job/12?signal=TERM',
      'DELETE job/12',
      'DELETE job/12?signal=KILL',
    ]);
    expect(await orchestrator.observe(live())).toEqual({ state: 'running', detail: 'job 12 RUNNING' });
  });

  test('is held before it is signalled, and what cannot be held is signalled all the same', async () => {
    fake.answer = (asked) => (asked.startsWith('POST') ? 'hang' : 'as usual');
    const beganMs = performance.now();
    expect(await adapter(fake.url).take('signal', haltMessage(), live())).toEqual({
      kind: 'accepted',
      detail: 'TERM sent to 1 job by REST; it could not be held, and may be requeued',
    });
    expect(performance.now() - beganMs).toBeLessThan(3_000);
    const order = fake.asked.filter((each) => !each.startsWith('GET'));
    expect(order).toEqual(['POST job/12', 'DELETE job/12?signal=TERM']);
  });

  test('one job of several that refuses is said, and is not an acceptance', async () => {
    fake.jobs = [12, 13, 14].map((jobId) => ({ jobId, state: ['RUNNING'], held: true }));
    fake.answer = (asked) =>
      asked.startsWith('DELETE job/13')
        ? { status: 500, body: '{"errors":[{"error_number":1800}]}' }
        : 'as usual';
    expect(await adapter(fake.url, { jobName: 'run' }).take('signal', haltMessage(), live())).toEqual({
      kind: 'retry',
      detail: 'REST: slurmctld does not answer (error 1800), 2 of 3 requests were taken',
    });
  });

  test('one of several that runs on is running; jobs of other names and users are not looked at', async () => {
    const ended = { jobId: 12, state: ['CANCELLED'] };
    const others = [
      { jobId: 20, state: ['RUNNING'], name: 'other' },
      { jobId: 21, state: ['RUNNING'], user: 'bob' },
    ];
    const orchestrator = adapter(fake.url, { jobName: 'run' });
    fake.jobs = [ended, ...others, { jobId: 22, state: ['PENDING'], submittedAtS: 5_000 }];
    expect(await orchestrator.observe(live())).toEqual({ state: 'running', detail: 'job 22 PENDING' });
    fake.jobs = [ended, ...others];
    expect(await orchestrator.observe(live())).toMatchObject({ state: 'stopped' });
    // The job itself is forgotten: that it was seen by its name alone is no proof of its end.
    fake.jobs = others;
    expect(await orchestrator.observe(live())).toMatchObject({ state: 'unknown' });
    fake.answer = (asked) => (asked.startsWith('GET jobs') ? { status: 500, body: '{}' } : 'as usual');
    fake.jobs = [ended];
    expect(await orchestrator.observe(live())).toMatchObject({ state: 'unknown' });
  });

  test('an array is reached by its own id, with what waits of it held', async () => {
    fake.jobs = [
      { jobId: 12, arrayJobId: 12, state: ['PENDING'] },
      { jobId: 13, arrayJobId: 12, state: ['RUNNING'] },
      { jobId: 14, arrayJobId: 12, state: ['RUNNING'] },
    ];
    const busy =
      version === 'v0.0.38' ? { errors: [{ error_number: 2020 }] } : { status: [{ error: { code: 2020 } }] };
    fake.answer = (asked) =>
      asked === 'DELETE job/12?signal=TERM'
        ? { status: version === 'v0.0.38' ? 500 : 200, body: JSON.stringify(busy) }
        : 'as usual';
    expect(await adapter(fake.url).take('signal', haltMessage(), live())).toMatchObject({
      kind: 'accepted',
      detail: expect.stringContaining('TERM sent to 3 jobs by REST'),
    });
    expect(signals(fake)).toEqual(['DELETE job/12?signal=TERM']);
  });

  const hostile: [string, FakeAnswer][] = [
    ['no JSON', { body: 'Internal error' }],
    ['HTML', { body: '<html><script>alert(1)</script></html>' }],
    ['nothing', { body: '' }],
    ['half an answer', { body: '{"jobs":[{"job_id":12,"job_state":"CANC' }],
    ['null', { body: 'null' }],
    ['an array', { body: '[]' }],
    ['an empty object', { body: '{}' }],
    ['jobs of a wrong type', { body: '{"jobs":{"12":"CANCELLED"}}' }],
    ['a job of wrong types', { body: '{"jobs":[{"job_id":"12","job_state":7}]}' }],
    ['a job with no user', { body: '{"jobs":[{"job_id":12,"job_state":"CANCELLED","submit_time":1000}]}' }],
    ['200 with an error inside', { body: '{"errors":[{"error_number":9001}],"jobs":[]}' }],
    ['200 with an error that has no number', { body: '{"errors":[{"error":"no"}],"jobs":[]}' }],
    ['an empty list of jobs', { body: '{"errors":[],"jobs":[]}' }],
    [
      'an ended task beside one that cannot be read',
      {
        body: JSON.stringify({
          jobs: [job({ array_job_id: 12 }), job({ job_id: 13, array_job_id: 12, job_state: 7 })],
        }),
      },
    ],
    ["another user's job of that id", { body: JSON.stringify({ jobs: [job({ user_name: 'mallory' })] }) }],
    ['a later job of that id', { body: JSON.stringify({ jobs: [job({ submit_time: 1_500 })] }) }],
    ['too much', { body: `{"x":"${'x'.repeat(17 * 1024 * 1024)}"}` }],
    ['a token that expired', { status: 500, body: '{"errors":[{"error_number":-1}],"jobs":[]}' }],
    ['401', { status: 401, body: 'Authentication failure' }],
    ['511', { status: 511, body: '{"errors":[{"error_number":1007}]}' }],
    ['a broken connection', 'reset'],
    ['no answer', 'hang'],
  ];
  test.each(hostile)('a look that brings %s shows no stop, and nothing is sent', async (_name, answer) => {
    fake.answer = () => answer;
    const orchestrator = adapter(fake.url, {}, 400);
    const seen = await orchestrator.observe(live());
    expect(seen.state).toBe('unknown');
    const outcome = await orchestrator.take('kill', haltMessage(), live());
    expect(['retry', 'rejected']).toContain(outcome.kind);
    expect(signals(fake)).toEqual([]);
    for (const text of [seen.detail, outcome.detail]) {
      expect(text).toMatch(/^[\x20-\x7e]{1,299}$/);
      for (const secret of [TOKEN, 'alert(1)', 'mallory']) expect(text).not.toContain(secret);
    }
  });

  test.each<[string, FakeAnswer, 'accepted' | 'retry' | 'rejected']>([
    ['nothing at all', { body: '' }, 'retry'],
    ['HTML', { body: '<html></html>' }, 'retry'],
    ['an error inside 200', { body: '{"status":[{"error":{"code":5004}}]}' }, 'retry'],
    ['that it knows no such job', { status: 500, body: '{"errors":[{"error_number":2017}]}' }, 'retry'],
    ['that it has ended', { body: '{"status":[{"error":{"code":2021}}]}' }, 'accepted'],
    ['that it is not allowed', { status: 500, body: '{"errors":[{"error_number":2002}]}' }, 'rejected'],
    [
      'that the token expired meanwhile',
      { status: 500, body: '{"errors":[{"error_number":5005}]}' },
      'retry',
    ],
    ['too much', { body: 'x'.repeat(2 * 1024 * 1024) }, 'retry'],
    ['no answer', 'hang', 'retry'],
  ])('a cancel that is answered with %s: %3$s', async (_name, answer, kind) => {
    fake.answer = (asked) => (asked.startsWith('DELETE') ? answer : 'as usual');
    expect(await adapter(fake.url, {}, 400).take('cancel', haltMessage(), live())).toMatchObject({ kind });
    expect((await adapter(fake.url).observe(live())).state).toBe('running');
  });

  test('says what the system accounts to the run', async () => {
    expect(await adapter(fake.url).usage?.(live())).toEqual({
      nodeSeconds: 2 * 999,
      acceleratorSeconds: 16 * 999,
    });
    fake.answer = () => ({ status: 500, body: '{}' });
    expect(await adapter(fake.url).usage?.(live())).toBeNull();
  });

  test('lets go of everything when the caller gives up', async () => {
    fake.answer = () => 'hang';
    const controller = new AbortController();
    const taking = adapter(fake.url, {}, 60_000).take('signal', haltMessage(), controller.signal);
    await vi.waitUntil(() => fake.asked.length > 0);
    controller.abort();
    expect(await taking).toMatchObject({ kind: 'retry' });
  });
});

function job(more: object): object {
  return {
    job_id: 12,
    user_name: 'ada',
    job_state: 'CANCELLED',
    submit_time: 1_000,
    restart_cnt: 0,
    ...more,
  };
}

describe("by Slurm's own programs", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'interlock-programs-'));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  async function program(name: string, script: string): Promise<void> {
    await writeFile(join(directory, name), `#!/bin/sh\n${script}\n`);
    await chmod(join(directory, name), 0o755);
  }
  const cells = (state: string, user = 'ada', id = 12): string => {
    const widths = [14, 14, 14, 140, 14, 24, 24, 24, 24, 14, 16, 14, 400];
    const values = [id, id, 'N/A', user, 1000, state, 1000, 1001, 'N/A', 0, 0, 2, 'cpu=8,gres/gpu=16'];
    return values.map((value, i) => String(value).padEnd(widths[i] ?? 0)).join('');
  };
  const byPrograms = (timeoutMs = 2_000): Orchestrator =>
    createSlurmOrchestrator(TARGET, {
      accesses: [openSlurmCommands({ directory }, { timeoutMs, userId: 1000 })],
      signalName: 'TERM',
      now: () => NOW,
    });

  test('signals with --full where there are no steps, and only the steps where there are', async () => {
    await program(
      'squeue',
      `case "$*" in *--steps*) cat ${directory}/steps;; *) echo '${cells('RUNNING')}';; esac`,
    );
    await program('scancel', `echo "$@" >> ${directory}/calls; env >> ${directory}/env`);
    await program('scontrol', 'exit 0');
    for (const steps of ['12.batch\n', '12.0\n12.batch\n']) {
      await writeFile(join(directory, 'steps'), steps);
      expect(await byPrograms().take('signal', haltMessage(), live())).toEqual({
        kind: 'accepted',
        detail: 'TERM sent to 1 job by commands',
      });
    }
    const calls = await readFile(join(directory, 'calls'), 'utf8');
    expect(calls).toBe('--full --signal=TERM 12\n--signal=TERM 12\n');
    // Nothing of this process's environment; the mark is what its processes are found by.
    const names = (await readFile(join(directory, 'env'), 'utf8'))
      .split('\n')
      .map((line) => line.split('=')[0]);
    const own = new Set(['PATH', 'LC_ALL', 'SLURM_TIME_FORMAT', 'INTERLOCK_JOB', 'PWD', '_', '']);
    expect(names.filter((name = '') => !own.has(name))).toEqual([]);
  });

  test.each<[string, string]>([
    ['writes rubbish', 'echo "12 COMPLETED"'],
    ['never stops writing', 'yes 12'],
    ['never ends', 'sleep 60'],
    ['leaves a child behind that holds its output', 'sleep 60 & exit 1'],
    ['fails', 'echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1'],
    ['succeeds and complains', 'echo "squeue: error: something" >&2'],
    ['shows nothing', 'exit 0'],
    ['shows a later job', `echo '${cells('CANCELLED', 'mallory')}'`],
    ['shows a line too many', `echo '${cells('CANCELLED')}'; echo '${'x'.repeat(300)}'`],
  ])('a squeue that %s shows no stop, and nothing is sent', async (_name, script) => {
    await program('squeue', script);
    await program('scancel', `touch ${directory}/called`);
    const orchestrator = byPrograms(400);
    expect(await orchestrator.observe(live())).toMatchObject({ state: 'unknown' });
    expect((await orchestrator.take('kill', haltMessage(), live())).kind).not.toBe('accepted');
    await expect(readFile(join(directory, 'called'))).rejects.toThrow('ENOENT');
  });

  test('programs that are not there are an answer, not a fault', async () => {
    expect(await byPrograms().observe(live())).toEqual({
      state: 'unknown',
      detail: 'commands: squeue could not be started',
    });
  });

  test.each<[string, string, 'accepted' | 'retry' | 'rejected']>([
    ['has ended', 'echo "scancel: error: Job/step already completing or completed" >&2', 'accepted'],
    [
      'is not known',
      'echo "scancel: error: Kill job error on job id 12: Invalid job id specified" >&2',
      'retry',
    ],
    [
      'is not ours',
      'echo "scancel: error: Kill job error: Access/permission denied" >&2; exit 1',
      'rejected',
    ],
    ['ends with 0 and an error', 'echo "scancel: error: slurm_kill_job2" >&2', 'retry'],
  ])('a scancel to which the job %s: %3$s', async (_name, script, kind) => {
    await program('squeue', `echo '${cells('RUNNING')}'`);
    await program('scontrol', 'exit 0');
    await program('scancel', script);
    expect(await byPrograms().take('cancel', haltMessage(), live())).toMatchObject({ kind });
  });

  test('reads columns, whatever stands in them', () => {
    expect(readLines(`${cells('RUNNING')}\n`)).toMatchObject({
      kind: 'found',
      jobs: [{ jobId: 12, user: 'ada', states: ['RUNNING'], held: true, nodes: 2, accelerators: 16 }],
    });
    for (const user of ['a da', '$(id)', 'x'.repeat(139), '']) {
      expect(readLines(cells('RUNNING', user)).kind, user).toBe('failed');
    }
  });
});

describe('which job is meant', () => {
  const recorded = { user: 'ada', submittedAtS: 1_000, restarts: 1 };
  const seen = (user: string, submittedAtS: number, restarts: number) =>
    isSame(
      {
        jobId: 12,
        arrayJobId: null,
        hetJobId: null,
        user,
        userId: null,
        states: ['RUNNING'],
        submittedAtS,
        startedAtS: null,
        endedAtS: null,
        restarts,
        held: false,
        nodes: 1,
        accelerators: null,
      },
      recorded,
    );
  test.each<[string, boolean, boolean]>([
    ['the same', seen('ada', 1_000, 1), true],
    ['requeued since', seen('ada', 2_000, 2), true],
    ["somebody else's", seen('bob', 1_000, 1), false],
    ['submitted later', seen('ada', 2_000, 1), false],
    ['a new job of that id', seen('ada', 2_000, 0), false],
    ['submitted before', seen('ada', 999, 2), false],
  ])('%s', (_name, found, expected) => expect(found).toBe(expected));

  test('a state with a final part is alive while another part is', () => {
    expect(lifeOf({ states: ['CANCELLED', 'COMPLETING'] })).toBe('ending');
    expect(lifeOf({ states: ['PENDING', 'REQUEUED'] })).toBe('waiting');
    expect(lifeOf({ states: [] })).toBe('unknown');
    expect(lifeOf({ states: ['CANCELLED', 'NEW_FLAG'] })).toBe('unknown');
  });

  test.each<[number | null, number | null]>([
    [acceleratorsOfTres('cpu=8,gres/gpu=16,gres/gpu:a100=16'), 16],
    [acceleratorsOfTres('gres/gpu:a100=8,gres/gpu:h100=4,cpu=1'), 12],
    [acceleratorsOfTres('cpu=8,node=2'), null],
    [acceleratorsOfTres('gres/gpumem=80'), null],
    [acceleratorsOfGres(['gpu:a100:8(IDX:0-7)', 'gpu:8(IDX:0-7)', 'craynetwork:1']), 16],
    [acceleratorsOfGres([]), null],
  ])('%s accelerators', (found, expected) => expect(found).toBe(expected));
});

describe('a slurm target', () => {
  test.each<unknown>([
    { kind: 'slurm', cluster: 'train', jobId: 12 },
    { kind: 'slurm', cluster: 'train', jobId: 12, jobName: 'llm-7b', after: '10s' },
    TARGET,
  ])('%j is one', (target) => expect(targetSchema.parse(target)).toEqual(target));

  test.each<unknown>([
    { kind: 'slurm', jobId: 12 },
    { kind: 'slurm', cluster: 'train' },
    { kind: 'slurm', cluster: '../train', jobId: 12 },
    { kind: 'slurm', cluster: 'train', jobId: 0 },
    { kind: 'slurm', cluster: 'train', jobId: '12' },
    { kind: 'slurm', cluster: 'train', jobId: 1e12 },
    { kind: 'slurm', cluster: 'train', jobId: 12, jobName: 'a,b' },
    { kind: 'slurm', cluster: 'train', jobId: 12, jobName: '--all' },
    { kind: 'slurm', cluster: 'train', jobId: 12, token: 'eyJ' },
    { kind: 'slurm', cluster: 'train', jobId: 12, url: 'http://127.0.0.1' },
  ])('%j is none', (target) => expect(targetSchema.safeParse(target).success).toBe(false));

  const opened = (slurm: object) =>
    openOrchestrators({
      config: OrchestratorsConfigSchema.parse({ slurm }),
      outbound: createOutbound({ allow: [] }),
      now: () => NOW,
      variable: () => TOKEN,
      webhookSecrets: () => [],
    });
  const rest = { url: 'http://127.0.0.1:9', user: 'ada', token: 'env:SLURM_JWT' };

  test('names a cluster of interlock.yaml, or is told which there are', async () => {
    const target = { kind: 'slurm', cluster: 'constructor', jobId: 12 } as const;
    expect(await opened({}).admit(target)).toMatchObject({ ok: false, field: 'kind' });
    const clusters = { train: { rest }, spare: { rest } };
    expect(await opened({ enabled: true, clusters }).admit(target)).toEqual({
      ok: false,
      field: 'cluster',
      reason: 'interlock.yaml names no Slurm cluster constructor; there are train, spare',
    });
    expect(
      opened({ enabled: true, clusters }).of({ kind: 'slurm', config: { ...target } }, 'trainer'),
    ).toBeNull();
  });

  test('is not admitted where its cluster cannot be asked', async () => {
    const clusters = { train: { rest } };
    const admitted = await opened({ enabled: true, clusters }).admit({
      kind: 'slurm',
      cluster: 'train',
      jobId: 12,
    });
    expect(admitted).toEqual({
      ok: false,
      field: 'jobId',
      reason: expect.stringContaining('outbound.allow'),
    });
  });

  test.each<[string, object]>([
    ['neither rest nor commands', {}],
    ['a token that stands in it', { rest: { ...rest, token: TOKEN } }],
    ['an address with a password', { rest: { ...rest, url: 'http://ada:pw@127.0.0.1' } }],
    ['a directory that is not absolute', { commands: { directory: 'bin' } }],
    ['a signal that asks for nothing', { rest, signal: 'KILL' }],
    ['an unknown key', { rest, tokens: [] }],
  ])('a cluster with %s is refused', (_name, train) => {
    expect(OrchestratorsConfigSchema.safeParse({ slurm: { clusters: { train } } }).success).toBe(false);
  });
});

describe('what the jobs of a run have had', () => {
  const job = (startedAtS: number | null, more: Partial<SlurmJob> = {}): SlurmJob => ({
    jobId: 12,
    arrayJobId: null,
    hetJobId: null,
    user: 'ada',
    userId: null,
    states: ['RUNNING'],
    submittedAtS: 0,
    startedAtS,
    endedAtS: null,
    restarts: 0,
    held: false,
    nodes: 1,
    accelerators: 8,
    ...more,
  });
  const at = new Date(10_000_000);

  test.each<[string, SlurmJob[], ReturnType<typeof usageOf>]>([
    ['nothing that has begun', [job(null, { states: ['PENDING'] })], null],
    [
      'parts that began at different times, each for its own',
      [job(1_000, { nodes: 2 }), job(9_900)],
      { nodeSeconds: 2 * 9_000 + 100, acceleratorSeconds: 8 * (9_000 + 100) },
    ],
    [
      'the last one where none runs',
      [job(1_000, { states: ['COMPLETED'], endedAtS: 1_060 })],
      { nodeSeconds: 60, acceleratorSeconds: 480 },
    ],
    [
      'one whose accelerators are not told',
      [job(9_000), job(9_000, { accelerators: null })],
      { nodeSeconds: 2_000, acceleratorSeconds: null },
    ],
  ])('%s', (_what, jobs, expected) => expect(usageOf(jobs, at)).toEqual(expected));
});
