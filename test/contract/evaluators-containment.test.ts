/**
 * What a program may not do to the machine it runs on, with every containment that this machine allows: what it
 * started is ended with it, and what it uses is bounded. All programs here are real, and hostile.
 *
 * A process is looked for by its command line, because in a PID namespace it knows itself by another number.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { type Containment, detectContainment } from '../../src/evaluators/containment.ts';
import { describeBytes } from '../../src/evaluators/limits.ts';
import {
  makeGroups,
  removeAbandoned,
  removeGroups,
  stepAside,
  usableHierarchies,
} from '../../src/subprocess/cgroups.ts';
import { type CommandFixture, commandFixture, processesOf } from './command-fixture.ts';
import { expectFailed } from './describe-evaluator.ts';

const node = process.execPath;
const linux = process.platform === 'linux';
const KINDS = ['cgroup', 'namespace', 'marks'] as const;
const SMALL = {
  memoryBytes: 96 * 2 ** 20,
  processes: 48,
  openFiles: 64,
  fileBytes: 2 ** 20,
  cpuSeconds: 1,
};

/** From 24 on Node maps 512 MiB for the code of each of its threads writable, whatever it uses: here of two. */
const CODE_BYTES = Number(process.versions.node.split('.', 1)[0]) >= 24 ? 2 * 512 * 2 ** 20 : 0;
const ROOMY = { memoryBytes: 512 * 2 ** 20 + CODE_BYTES };
const ROOM = describeBytes(ROOMY.memoryBytes);

const allowed = async (
  mode: (typeof KINDS)[number],
  limits: Partial<typeof SMALL> = {},
): Promise<Containment | null> => detectContainment({ mode, limits }).catch(() => null);

const contained = await Promise.all(
  KINDS.map(async (kind) => ({
    kind,
    containment: await allowed(kind),
    small: await allowed(kind, SMALL),
    roomy: await allowed(kind, ROOMY),
  })),
);

describe.skipIf(!linux)('containment (needs /proc)', () => {
  for (const { kind, containment, small, roomy } of contained) {
    const name = containment === null ? `${kind}: not possible on this machine` : kind;
    describe.skipIf(containment === null)(name, () => {
      let fixture: CommandFixture;
      beforeEach(async () => {
        if (containment === null) throw new Error('skipped');
        fixture = await commandFixture(Promise.resolve(containment));
      });
      afterEach(async () => {
        const left = await fixture.leftOnDisk();
        await fixture.close();
        expect(left).toEqual([]);
      });

      const sh = (script: string, options?: Parameters<CommandFixture['run']>[1]) =>
        fixture.run(['/bin/sh', '-c', script], options);

      /** A child that ignores SIGTERM and stays; `launch` says how it is started, and the script goes on with `then`. */
      const tree = async (launch: string, then: string) => {
        await fixture.program(
          'stay.sh',
          `#!/bin/sh\ntrap '' TERM HUP\necho up > "${fixture.file('up')}"\nwhile :; do sleep 1; done\n`,
        );
        const started = launch.replaceAll('STAY', fixture.file('stay.sh'));
        return `${started} &\nwhile [ ! -s "${fixture.file('up')}" ]; do sleep 0.02; done\n${then}`;
      };
      const expectGone = async () => {
        expect(existsSync(fixture.file('up'))).toBe(true);
        expect(await processesOf(fixture.file('stay.sh'))).toEqual([]);
      };
      const cancelled = async (launch: string) => {
        await rm(fixture.file('up'), { force: true });
        const cancel = new AbortController();
        const outcome = sh(await tree(launch, 'sleep 1000'), { signal: cancel.signal });
        await vi.waitUntil(() => existsSync(fixture.file('up')), { timeout: 10_000, interval: 10 });
        cancel.abort();
        expectFailed(await outcome, 'cancelled');
      };
      /** Leaves group and parent: the middle process ends at once. */
      const DOUBLE_FORK = 'setsid sh -c "STAY & exit 0"';

      test.each([
        ['a child', 'STAY'],
        ['a child in a session of its own', 'setsid STAY'],
        ['a child in a session of its own without environment', 'env -i setsid STAY'],
        ['a child whose parent is gone', DOUBLE_FORK],
      ])('%s that ignores SIGTERM is ended when it is cancelled', async (_, launch) => {
        await cancelled(launch);
        await expectGone();
      });

      test('and at the timeout', async () => {
        const outcome = await sh(await tree(DOUBLE_FORK, 'sleep 1000'), { executor: { timeout: '1500ms' } });
        expectFailed(outcome, 'timed-out');
        await expectGone();
      });

      test.each([
        ['a child that holds the pipe', 'STAY'],
        ['one that also left the group', 'setsid STAY'],
        ['one that also lost its parent', DOUBLE_FORK],
      ])('%s, when the program itself ends: the slot is free at once', async (_, launch) => {
        const startedAt = performance.now();
        const outcome = await sh(await tree(launch, 'echo "{\\"i\\":1}"'), { executor: { timeout: '1h' } });
        expect(outcome).toEqual({ kind: 'reported', result: { i: 1 } });
        expect(performance.now() - startedAt).toBeLessThan(5_000);
        await expectGone();
      });

      test('one that shed group, parent and environment does not hold the slot', async () => {
        const startedAt = performance.now();
        const launch = `env -i ${DOUBLE_FORK}`;
        const outcome = await sh(await tree(launch, 'echo "{\\"i\\":1}"'), { executor: { timeout: '1h' } });
        expect(outcome).toEqual({ kind: 'reported', result: { i: 1 } });
        await cancelled(launch);
        expect(performance.now() - startedAt).toBeLessThan(8_000);
        if (kind !== 'marks') return expectGone();
        // The known gap of marks: it is alive, and only a cgroup or a namespace would have held it.
        for (const pid of await processesOf(fixture.file('stay.sh'))) process.kill(pid, 'SIGKILL');
      });

      test('10 GB of output are killed at the cap, and the memory of Interlock stays flat', async () => {
        const beforeBytes = process.memoryUsage.rss();
        const outcome = await sh(await tree('setsid STAY', 'head -c 10000000000 /dev/zero'));
        expectFailed(outcome, 'output-too-large');
        expect(process.memoryUsage.rss() - beforeBytes).toBeLessThan(100 * 2 ** 20);
        await expectGone();
      });

      test('a program is asked to stop before it is killed, once', async () => {
        const script = `let asked = 0; process.on('SIGTERM', () => { asked += 1; setTimeout(() => {
            fs.writeFileSync(process.env.INTERLOCK_RESULT_FILE, JSON.stringify({ asked })); process.exit(0); }, 50); });
          fs.writeFileSync('${fixture.file('up')}', ''); setInterval(() => {}, 1000);`;
        const cancel = new AbortController();
        const outcome = fixture.run([node, '-e', script], {
          signal: cancel.signal,
          deps: { limits: { killGraceMs: 5_000 } },
        });
        await vi.waitUntil(() => existsSync(fixture.file('up')), { timeout: 10_000, interval: 10 });
        cancel.abort();
        expect(await outcome).toMatchObject({ kind: 'failed', reason: 'cancelled', result: { asked: 1 } });
      });

      test('a crash is not an exit code', async () => {
        expect(await sh('kill -SEGV $$')).toMatchObject({
          reason: 'exit-nonzero',
          detail: expect.stringMatching(/^ended by SIGSEGV; /),
        });
      });

      test('another program of the same name is left alone', async () => {
        const bystander = spawn(node, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
        try {
          const hangs = [node, '-e', 'setInterval(() => {}, 1000)'];
          expectFailed(await fixture.run(hangs, { executor: { timeout: '200ms' } }), 'timed-out');
          expect(bystander.exitCode ?? bystander.signalCode).toBeNull();
        } finally {
          bystander.kill('SIGKILL');
        }
      });

      test('no control group is left behind', async () => {
        const groups: string[] = [];
        const watched: Containment = {
          ...fixture.deps.containment,
          groupsOf: (marker) => {
            const named = fixture.deps.containment.groupsOf(marker);
            groups.push(...named);
            return named;
          },
        };
        const outcome = await fixture.run(['/bin/echo', '{"i":1}'], { deps: { containment: watched } });
        expect(outcome.kind).toBe('reported');
        expect(groups.length > 0).toBe(kind === 'cgroup');
        expect(groups.filter((group) => existsSync(group))).toEqual([]);
      });

      const reads = containment?.canCutNetwork === true ? 'is none' : 'cannot be cut here: nothing runs';
      test(`network: none ${reads}`, async () => {
        const outcome = await fixture.run(['/bin/cat', '/proc/self/net/dev'], {
          executor: { network: 'none' },
        });
        if (containment?.canCutNetwork !== true) return expectFailed(outcome, 'not-configured');
        const interfaces = `console.log(JSON.stringify({ up: Object.keys(require('os').networkInterfaces()) }))`;
        expect(await fixture.run([node, '-e', interfaces], { executor: { network: 'none' } })).toEqual({
          kind: 'reported',
          result: { up: [] },
        });
      });

      describe('limits', () => {
        const holds = (limit: string) => small?.enforced.some((each) => each.startsWith(limit)) === true;
        const within =
          (limits: Containment | null) =>
          (command: readonly string[], options: Parameters<CommandFixture['run']>[1] = {}) => {
            if (limits === null) throw new Error('skipped');
            return fixture.run(command, { ...options, deps: { containment: limits } });
          };
        const limited = within(small);

        test.skipIf(!holds('memory'))('a program that eats memory is ended by its limit', async () => {
          const outcome = await limited(['/bin/sh', '-c', 'tail /dev/zero || exit 9'], {
            executor: { timeout: '20s' },
          });
          expectFailed(outcome, 'exit-nonzero');
          const why = holds('memory 96 MiB per')
            ? 'said it was out of memory, its limit is 96 MiB per process'
            : 'ran into its limit of memory';
          expect(outcome).toMatchObject({ detail: expect.stringContaining(why) });
        });

        test.skipIf(!holds('memory'))(`${ROOM} let Node with its threads come up and work`, async () => {
          // V8 reserves gigabytes of addresses for its heap and its code: what it uses is counted, not that.
          const script = `const { Worker } = require('node:worker_threads');
            const held = Buffer.alloc(200 * 2 ** 20, 1);
            const squares = new Worker('require("node:worker_threads").parentPort.postMessage(7 * 7)', { eval: true });
            squares.on('message', (square) => console.log(JSON.stringify({ square, held: held.length })));`;
          const outcome = await within(roomy)([node, '-e', script]);
          expect(outcome).toEqual({ kind: 'reported', result: { square: 49, held: 200 * 2 ** 20 } });
        });

        test.skipIf(!holds('memory')).each([
          ['buffers', 'const held = []; for (;;) held.push(Buffer.alloc(16 * 2 ** 20, 1));'],
          ['objects', 'const held = []; for (;;) held.push(new Array(1e6).fill(0));'],
        ])('and no more than that: Node that fills itself with %s is stopped', async (_, script) => {
          const outcome = await within(roomy)([node, '--max-old-space-size=8000', '-e', script]);
          expectFailed(outcome, 'exit-nonzero');
          const why = holds('memory 96 MiB per')
            ? `said it was out of memory, its limit is ${ROOM} per process`
            : 'ran into its limit of memory';
          expect(outcome).toMatchObject({ detail: expect.stringContaining(why) });
        });

        test.skipIf(!holds('file size'))('one that fills the disk, by the size of a file', async () => {
          const outcome = await limited(['/bin/sh', '-c', 'exec head -c 3000000 /dev/zero > big']);
          expect(outcome).toMatchObject({ detail: expect.stringMatching(/^ended by SIGXFSZ/) });
        });

        test.skipIf(!holds('open files'))('one that opens files without end, by their number', async () => {
          // In the shell: the V8 of Node 24 does not come up in so little memory.
          const script =
            'n=9; while eval "exec $((n + 1))</dev/null"; do n=$((n + 1)); done 2>errors; echo "{\\"opened\\":$n}"';
          const outcome = await limited(['bash', '-c', script]);
          if (outcome.kind !== 'reported') throw new Error(JSON.stringify(outcome));
          const { opened } = z.object({ opened: z.int() }).parse(outcome.result);
          expect(opened).toBeGreaterThan(10);
          expect(opened).toBeLessThan(64);
        });

        test.skipIf(!holds('CPU time'))('one that only computes, by its CPU time', async () => {
          const outcome = await limited(['/bin/sh', '-c', 'while :; do :; done'], {
            executor: { timeout: '30s' },
          });
          expect(outcome).toMatchObject({
            reason: 'exit-nonzero',
            detail: expect.stringMatching(/^ended by SIG(XCPU|KILL)/),
          });
        });

        const noCount = holds('processes') ? '' : ' (not held on this machine with this account)';
        test.skipIf(!holds('processes'))(
          `a fork bomb is bounded, and ended at the timeout${noCount}`,
          async () => {
            // Only where the limit is proved to be in force: fifty more than allowed, none of which forks again.
            const many = 'i=0; while [ $i -lt 100 ]; do i=$((i + 1)); sleep 1000 & done; exit 0';
            const proof = await limited(['/bin/sh', '-c', many]);
            expectFailed(proof, 'exit-nonzero');

            const bomb = `#!/bin/sh\nbomb() { bomb | bomb & }\nbomb\nsleep 1000 # ${fixture.directory}\n`;
            const file = await fixture.program('bomb.sh', bomb);
            const outcome = await limited([file], { executor: { timeout: '1500ms' } });
            expectFailed(outcome, outcome.kind === 'failed' ? outcome.reason : 'timed-out');
            expect(['timed-out', 'exit-nonzero', 'no-result', 'output-too-large']).toContain(
              outcome.kind === 'failed' ? outcome.reason : outcome.kind,
            );
            expect(await processesOf(file)).toEqual([]);
            // The machine is as it was: a program can be started at once.
            expect(await limited(['/bin/echo', '{"i":1}'])).toEqual({ kind: 'reported', result: { i: 1 } });
          },
        );
      });
    });
  }

  test('groups that were left empty are removed, those with somebody in them are not', async () => {
    const [hierarchy] = await usableHierarchies();
    if (hierarchy === undefined) return;
    const own = path.join(hierarchy.directory, `interlock-test-${randomBytes(8).toString('hex')}`);
    await mkdir(own);
    const inner = { ...hierarchy, directory: own, controllers: [] };
    const sleeper = spawn('sleep', ['1000'], { stdio: 'ignore' });
    try {
      const none = { memory: null, pids: null, cpu: null };
      const [left = '', lived = ''] = await Promise.all(
        ['a', 'b'].map(async (c) => (await makeGroups([inner], c.repeat(32), none))[0] ?? ''),
      );
      await writeFile(path.join(lived, 'cgroup.procs'), String(sleeper.pid));
      await removeAbandoned([inner], 60_000);
      expect([existsSync(left), existsSync(lived)]).toEqual([true, true]);
      await removeAbandoned([inner], 0);
      expect([existsSync(left), existsSync(lived)]).toEqual([false, true]);
    } finally {
      const gone = once(sleeper, 'exit');
      sleeper.kill('SIGKILL');
      await gone;
      await removeGroups([own]);
    }
    expect(existsSync(own)).toBe(false);
  });

  test('what is ours steps out of its group into one below, whatever runs in others there', async () => {
    const [hierarchy] = await usableHierarchies();
    if (hierarchy === undefined) return;
    const own = path.join(hierarchy.directory, `interlock-test-${randomBytes(8).toString('hex')}`);
    const job = path.join(own, 'job');
    await mkdir(job, { recursive: true });
    const sleepers = [own, job].map((group) => ({
      group,
      child: spawn('sleep', ['1000'], { stdio: 'ignore' }),
    }));
    try {
      for (const { group, child } of sleepers) {
        await writeFile(path.join(group, 'cgroup.procs'), String(child.pid));
      }
      expect(await stepAside(own)).toBe(true);
      const procs = async (group: string) =>
        (await readFile(path.join(group, 'cgroup.procs'), 'utf8')).trim();
      expect(await procs(own)).toBe('');
      expect(await procs(path.join(own, 'interlock-supervisor'))).toBe(String(sleepers[0]?.child.pid));
      expect(await procs(job)).toBe(String(sleepers[1]?.child.pid));
    } finally {
      for (const { child } of sleepers) {
        const gone = once(child, 'exit');
        child.kill('SIGKILL');
        await gone;
      }
      await removeGroups([own]);
    }
  });

  test('a demand that this machine cannot meet is refused at start, in words', async () => {
    const refused = contained.find(({ containment }) => containment === null);
    if (refused === undefined) return;
    await expect(detectContainment({ mode: refused.kind })).rejects.toMatchObject({
      code: 'evaluators.containment-unavailable',
      message: expect.stringContaining(`evaluators.containment is ${refused.kind}`),
    });
  });

  test('where the limit per process bounds nothing it is not claimed, and not set', async () => {
    const bin = await mkdtemp(path.join(os.tmpdir(), 'interlock-tools-'));
    const real = (process.env['PATH'] ?? '').split(':').map((each) => path.join(each, 'prlimit'));
    // As a kernel before 4.7 or a sandbox does: it takes the limit and does nothing.
    const deaf = `#!/bin/sh
      for each in "$@"; do shift; case "$each" in --data=*) ;; *) set -- "$@" "$each" ;; esac; done
      exec ${real.find((each) => existsSync(each)) ?? 'prlimit'} "$@"\n`;
    await writeFile(path.join(bin, 'prlimit'), deaf, { mode: 0o755 });
    vi.stubEnv('PATH', `${bin}:${process.env['PATH']}`);
    try {
      const { enforced, missing, processMemoryBytes, launch } = await detectContainment({ mode: 'marks' });
      expect(enforced.filter((each) => each.startsWith('memory'))).toEqual([]);
      expect(missing).toContain(
        'memory of a process (needs a cgroup, or Linux 4.7 and prlimit of util-linux)',
      );
      expect(processMemoryBytes).toBeNull();
      const { args } = launch('0'.repeat(32), '/bin/true', [], { network: true });
      expect(args.filter((each) => /^--(data|as)=/.test(each))).toEqual([]);
    } finally {
      vi.unstubAllEnvs();
      await rm(bin, { recursive: true });
    }
  });

  test('what is found is the strongest that works, and what is missing has a name', async () => {
    const strongest = contained.find(({ containment }) => containment !== null);
    const auto = await detectContainment({ mode: 'auto' });
    expect(auto.kind).toBe(strongest?.kind);
    for (const { containment } of contained) {
      const said = [...(containment?.enforced ?? []), ...(containment?.missing ?? [])].join('; ');
      if (containment !== null)
        for (const what of ['memory', 'processes', 'open files']) expect(said).toContain(what);
    }
  });
});
