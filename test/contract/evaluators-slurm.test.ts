/** Evaluations as Slurm jobs: found again after a crash, collected whatever Slurm remembers, ended when they are cancelled. */
import { access, mkdir, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { EVALUATION_CANCELLED, type FailureReason } from '../../src/evaluators/evaluator.ts';
import { slurmJobName } from '../../src/evaluators/slurm.ts';
import { CANARY, describeEvaluator, exampleRequest, expectFailed } from './describe-evaluator.ts';
import { type SlurmFixture, slurmFixture } from './slurm-fixture.ts';

const RESULT = { status: 'success', score: 0.42, n: 200, error: CANARY };
const node = process.execPath;
const writes = (text: string): string =>
  `require('fs').writeFileSync(process.argv[1], ${JSON.stringify(text)});`;
const reports = writes(JSON.stringify(RESULT));
const hangs = "require('fs').writeFileSync('begun', ''); setInterval(() => {}, 1000);";

const PROGRAMS = {
  reports,
  fails: `console.error('${CANARY}'); process.exit(3);`,
  'says-nothing': `console.log('${CANARY}');`,
  'says-nonsense': writes(`{"score": ${CANARY}`),
  hangs,
  'hangs-for-long': hangs,
  floods: `require('fs').writeFileSync(process.argv[1], '"${CANARY}"'.repeat(100_000));`,
  'is-absent': reports,
} as const;

describeEvaluator(
  'slurm',
  async (behaviour) => {
    const fixture = await slurmFixture();
    if (behaviour === 'is-absent') await fixture.set('away');
    const timeout = behaviour === 'hangs' ? '300ms' : behaviour === 'hangs-for-long' ? '1h' : '30s';
    const command = [node, '-e', PROGRAMS[behaviour], '{resultFile}'];
    return {
      evaluator: fixture.evaluator(fixture.executor(command, { timeout })),
      begun: () =>
        vi.waitFor(async () => access(await fixture.jobFile('begun')), { timeout: 10_000, interval: 10 }),
      close: fixture.close,
    };
  },
  {
    fails: 'exit-nonzero',
    'says-nothing': 'no-result',
    'says-nonsense': 'unreadable-result',
    floods: 'output-too-large',
    'is-absent': 'unreachable',
  },
);

describe('a Slurm job', () => {
  let slurm: SlurmFixture;
  beforeEach(async () => {
    slurm = await slurmFixture({ KEY: 'secret-of-the-job' });
  });
  afterEach(() => slurm.close());

  const live = () => new AbortController().signal;
  const run = (code: string, more = {}, request = exampleRequest, signal = live()) =>
    slurm.evaluator(slurm.executor([node, '-e', code, '{resultFile}'], more)).run(request, signal);
  const begun = () =>
    vi.waitFor(async () => access(await slurm.jobFile('begun')), { timeout: 10_000, interval: 10 });

  test('is asked for as the policy says, by a name of our own, and nothing of an event is an option', async () => {
    const more = {
      partition: 'eval',
      account: 'safety',
      gres: 'gpu:8',
      time: '1-00:00:00',
      nodes: 1,
      memory: '64G',
      cpusPerTask: 8,
    };
    await run(reports, more);
    const [call = []] = await slurm.calls('sbatch');
    expect(call).toEqual(
      expect.arrayContaining([
        '--parsable',
        '--no-requeue',
        `--job-name=${slurmJobName(exampleRequest)}`,
        '--partition=eval',
        '--account=safety',
        '--gres=gpu:8',
        '--time=1-00:00:00',
        '--nodes=1',
        '--mem=64G',
        '--cpus-per-task=8',
      ]),
    );
    const dash = { ...exampleRequest, attempt: 9, variant: '--uid=0' };
    const outcome = await slurm.evaluator(slurm.executor(['true', '{variant}'])).run(dash, live());
    expectFailed(outcome, 'argument-refused');
  });

  test('gets the environment that the policy lists, and nothing of ours', async () => {
    vi.stubEnv('DATABASE_URL', 'postgres://secret');
    const tell = "require('fs').writeFileSync(process.argv[1], JSON.stringify({ ...process.env }));";
    const outcome = await run(tell, { env: { TASK: 'ctf', KEY: 'env:KEY' } });
    vi.unstubAllEnvs();
    expect(outcome).toMatchObject({
      result: { TASK: 'ctf', KEY: 'secret-of-the-job', SCAFFOLD: 'tools', INTERLOCK_ATTEMPT: '2' },
    });
    expect(JSON.stringify(outcome)).not.toContain('postgres:');
    expect(JSON.stringify(await slurm.calls('sbatch'))).not.toContain('secret-of-the-job');
    expectFailed(
      await run(tell, { env: { KEY: 'env:UNSET' } }, { ...exampleRequest, attempt: 3 }),
      'not-configured',
    );
  });

  test('runs on where only this process ends, and whoever comes after waits for it and submits nothing', async () => {
    const waits = `const fs = require('fs'); fs.writeFileSync('begun', ''); setInterval(() => { if (fs.existsSync('go')) { ${reports} process.exit(0); } }, 10);`;
    const shutdown = new AbortController();
    const first = run(waits, {}, exampleRequest, shutdown.signal);
    await begun();
    shutdown.abort('queue.closing');
    expectFailed(await first, 'cancelled');
    expect(await slurm.calls('scancel')).toEqual([]);
    // Attempt 3 continues what attempt 2 submitted.
    const second = run(waits, {}, { ...exampleRequest, attempt: 3, submission: 2 });
    await writeFile(await slurm.jobFile('go'), '');
    expect(await second).toMatchObject({ kind: 'reported', result: { score: 0.42 } });
    expect(await slurm.calls('sbatch')).toHaveLength(1);
  });

  test('that ended while nobody looked is collected although Slurm has forgotten it', async () => {
    await run(reports);
    await slurm.set('forgets');
    expect(await run(reports)).toMatchObject({ kind: 'reported' });
    expect(await slurm.calls('sbatch')).toHaveLength(1);
  });

  test('is ended when its attempt is cancelled, and when it is called off', async () => {
    const cancel = new AbortController();
    const outcome = run(hangs, {}, exampleRequest, cancel.signal);
    await begun();
    cancel.abort(EVALUATION_CANCELLED);
    expectFailed(await outcome, 'cancelled');
    expect(await slurm.calls('scancel')).toHaveLength(1);
    const evaluator = slurm.evaluator(slurm.executor(['true']));
    expect(await evaluator.callOff(exampleRequest, live())).toMatchObject({ kind: 'accepted' });
    await slurm.set('away');
    expect(await evaluator.callOff(exampleRequest, live())).toEqual({
      kind: 'retry',
      detail: 'scancel: slurmctld does not answer',
    });
  });

  test.each(['NODE_FAIL', 'CANCELLED', 'PREEMPTED', 'BOOT_FAIL', 'OUT_OF_MEMORY'])(
    'that Slurm ended with %s is lost, with a code of its own',
    async (state) => {
      const outcome = run(hangs);
      await begun();
      await slurm.says(1, state);
      expect(await outcome).toEqual({ kind: 'failed', reason: 'job-lost', detail: `Slurm says ${state}` });
    },
  );

  test('that ran into its own limit has timed out', async () => {
    const outcome = run(hangs);
    await begun();
    await slurm.says(1, 'TIMEOUT');
    expectFailed(await outcome, 'timed-out');
  });

  test('whose program was ended by a signal failed by itself, unless Slurm says that it ended it', async () => {
    const ends = "process.kill(process.pid, 'SIGTERM'); setInterval(() => {}, 1000)";
    expect(await run(ends)).toEqual({ kind: 'failed', reason: 'exit-nonzero', detail: 'exit code 143' });
    await slurm.says(1, 'CANCELLED');
    expect(await run(ends)).toEqual({ kind: 'failed', reason: 'job-lost', detail: 'Slurm says CANCELLED' });
    await slurm.says(1, 'TIMEOUT');
    expectFailed(await run(ends), 'timed-out');
    expect(await slurm.calls('sbatch')).toHaveLength(1);
  });

  test('whose result is there although it was lost hands it on: a score at a threshold still trips', async () => {
    const outcome = run(`${reports} ${hangs}`);
    await begun();
    await slurm.says(1, 'NODE_FAIL');
    expect(await outcome).toMatchObject({ kind: 'failed', reason: 'job-lost', result: { score: 0.42 } });
  });

  test('hands on what it wrote although its time was up', async () => {
    const outcome = await run(`${reports} ${hangs}`, { timeout: '1500ms' });
    expect(outcome).toMatchObject({ kind: 'failed', reason: 'timed-out', result: { score: 0.42 } });
  });

  test('is ended where sbatch did not say whether it was taken: no further attempt would find it', async () => {
    await slurm.set('babbles');
    expectFailed(await run(hangs), 'unreachable');
    expect(await slurm.calls('scancel')).toEqual([
      ['scancel', `--name=${slurmJobName(exampleRequest)}`, expect.stringMatching(/^--user=/)],
    ]);
  });

  describe('of a harness', () => {
    const LOG = JSON.stringify({
      results: { ctf: { 'acc,none': 0.42, 'acc_stderr,none': 0.01 } },
      versions: { ctf: 1 },
      config: { model: 'hf', model_args: 'pretrained=org/model' },
    });
    const logs = (...names: string[]) =>
      names
        .map((name) => `require('fs').writeFileSync(process.argv[1] + '/${name}', ${JSON.stringify(LOG)});`)
        .join('');
    const harness = (code: string, more = {}) =>
      slurm
        .evaluator(slurm.executor([node, '-e', code, '{logDirectory}'], { format: 'lm-eval', ...more }))
        .run(exampleRequest, live());

    test('has its log read, and how it ended goes along', async () => {
      const outcome = await harness(logs('results_1.json'));
      expect(outcome).toMatchObject({
        kind: 'reported',
        result: { harnessLog: { harness: 'lm-eval', model: 'org/model', fileDigest: expect.any(String) } },
        launch: { exitCode: 0, completedExitCodes: [0] },
      });
      const { launch } = outcome.kind === 'reported' ? outcome : {};
      expect(Date.parse(launch?.logModifiedAt ?? '')).toBeGreaterThanOrEqual(
        Date.parse(launch?.startedAt ?? ''),
      );
    });

    test.each<[FailureReason, string, object]>([
      ['log-missing', '0;', {}],
      ['log-ambiguous', logs('results_1.json', 'results_2.json'), {}],
      ['log-missing', logs('results_1.json'), { log: 'other.json' }],
    ])('settles nothing: %s', async (reason, code, more) => {
      expectFailed(await harness(code, more), reason);
    });

    test('that failed hands its log on beside the failure', async () => {
      expect(await harness(`${logs('results_1.json')} process.exit(3);`)).toMatchObject({
        kind: 'failed',
        reason: 'exit-nonzero',
        result: { harnessLog: { harness: 'lm-eval' } },
        launch: { exitCode: 3 },
      });
    });

    test('is told where its log goes, and a native one is not', async () => {
      const tell = "require('fs').writeFileSync(process.argv[1], JSON.stringify({ ...process.env }));";
      expect(await run(tell)).not.toHaveProperty('result.INTERLOCK_LOG_DIRECTORY');
      const check = 'if (process.env.INTERLOCK_LOG_DIRECTORY !== process.argv[1]) process.exit(9);';
      const other = { ...exampleRequest, attempt: 7 };
      const executor = slurm.executor([node, '-e', check + logs('results_1.json'), '{logDirectory}'], {
        format: 'auto',
      });
      expect(await slurm.evaluator(executor).run(other, live())).toMatchObject({ kind: 'reported' });
    });
  });

  test('waits out a controller that is away, and submits nothing blindly', async () => {
    await slurm.set('away');
    expectFailed(await run(reports), 'unreachable');
    await slurm.set('away', false);
    const outcome = run(`setTimeout(() => { ${reports} }, 300)`);
    await vi.waitFor(async () => expect(await slurm.calls('sbatch')).toHaveLength(1), { timeout: 10_000 });
    await slurm.set('away');
    expect(await outcome).toMatchObject({ kind: 'reported' });
  });

  test('is not to be had where no cluster is configured', async () => {
    const { createSlurmEvaluator } = await import('../../src/evaluators/slurm.ts');
    const evaluator = createSlurmEvaluator(slurm.executor(['true']), { ...slurm.deps, cluster: null });
    expectFailed(await evaluator.run(exampleRequest, live()), 'not-configured');
  });

  test('has a name of its own for every run, evaluation and submission', () => {
    const names = [
      exampleRequest,
      { ...exampleRequest, attempt: 3 },
      { ...exampleRequest, runId: 'run-2' },
      { ...exampleRequest, evaluationId: 'ev_b' },
    ].map(slurmJobName);
    expect(new Set(names).size).toBe(4);
    expect(slurmJobName({ ...exampleRequest, attempt: 3, submission: 2 })).toBe(slurmJobName(exampleRequest));
  });

  test('has its directory for as long as it may run, and not for ever', async () => {
    const made = async (name: string, days: number) => {
      const directory = path.join(slurm.directory, 'shared', name);
      await mkdir(directory, { recursive: true });
      const then = new Date(Date.now() - days * 86_400_000);
      await utimes(directory, then, then);
    };
    const [runs, over, foreign] = [`interlock-${'a'.repeat(32)}`, `interlock-${'b'.repeat(32)}`, 'theirs'];
    await made(runs, 23);
    await made(over, 31);
    await made(foreign, 31);
    await run(reports);
    const left = await readdir(path.join(slurm.directory, 'shared'));
    expect(left.sort()).toEqual([runs, slurmJobName(exampleRequest), foreign].sort());
  });

  test('leaves a script that holds nothing of the event', async () => {
    await run(reports);
    const script = await readFile(await slurm.jobFile('run.sh'), 'utf8');
    expect(script).not.toContain(exampleRequest.runId);
    expect(script).not.toContain(path.basename(slurm.directory));
  });
});
