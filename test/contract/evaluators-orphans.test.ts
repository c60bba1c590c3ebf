/**
 * A killed -9 Interlock leaves its jobs running; the next one ends them, and nothing else.
 *
 * The Interlock here is a real process of its own that runs one command evaluator.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { sweepOrphans } from '../../src/evaluators/job-records.ts';
import { watchOrphans } from '../../src/evaluators/orphan-watch.ts';
import {
  type CommandFixture,
  commandFixture,
  containmentHere,
  isAlive,
  processesOf,
} from './command-fixture.ts';
import { exampleRequest } from './describe-evaluator.ts';

const commandModule = fileURLToPath(new URL('../../src/evaluators/command.ts', import.meta.url));
const containmentModule = fileURLToPath(new URL('../../src/evaluators/containment.ts', import.meta.url));

const KINDS = ['cgroup', 'namespace', 'marks'] as const;
const allowed = await Promise.all(
  KINDS.map((kind) =>
    containmentHere(kind).then(
      () => [kind, null] as const,
      () => [kind, ': not possible on this machine'] as const,
    ),
  ),
);

const linux = process.platform === 'linux';
for (const [kind, reason] of allowed) {
  describe.skipIf(!linux || reason !== null)(
    `orphans of a killed Interlock, ${kind}${reason ?? ''} (needs /proc)`,
    () => {
      let fixture: CommandFixture;
      let interlock: ChildProcess | null = null;
      beforeEach(async () => {
        fixture = await commandFixture(containmentHere(kind));
      });
      afterEach(async () => {
        if (interlock !== null && interlock.exitCode === null && interlock.signalCode === null)
          await killed(interlock);
        interlock = null;
        await sweepOrphans(fixture.deps.jobsDirectory, fixture.deps.containment);
        await fixture.close();
      });

      const jobs = () => fixture.deps.jobsDirectory;

      /** With a program and a child of it in a session of its own, which both name `escaped.sh`. */
      async function interlockRunning(): Promise<void> {
        const write = (name: string) => `echo up > "${fixture.file(name)}"`;
        await fixture.program(
          'escaped.sh',
          `#!/bin/sh\ntrap '' TERM HUP\n${write('escaped')}\nwhile :; do sleep 1; done\n`,
        );
        const script = `setsid "${fixture.file('escaped.sh')}" &\n${write('program')}\nwhile :; do sleep 1; done`;
        const executor = fixture.executor(['/bin/sh', '-c', script], { timeout: '1h' });
        const runner = await fixture.program(
          'runner.mts',
          `import { createCommandEvaluator } from ${JSON.stringify(commandModule)};
       import { detectContainment } from ${JSON.stringify(containmentModule)};
       const containment = await detectContainment({ mode: ${JSON.stringify(fixture.deps.containment.kind)} });
       const deps = { ...${JSON.stringify(fixture.deps)}, containment, environmentVariable: () => undefined };
       await createCommandEvaluator(${JSON.stringify(executor)}, deps).run(${JSON.stringify(exampleRequest)}, new AbortController().signal);`,
        );
        interlock = spawn(process.execPath, ['--import', 'tsx', runner], {
          stdio: 'ignore',
          cwd: path.dirname(path.dirname(path.dirname(commandModule))),
        });
        const isUp = () => existsSync(fixture.file('program')) && existsSync(fixture.file('escaped'));
        await vi.waitUntil(isUp, { timeout: 20_000, interval: 20 });
      }

      const alive = () => processesOf(fixture.file('escaped.sh'));

      async function killed(child: ChildProcess | null): Promise<void> {
        if (child === null) throw new Error('not running');
        const exit = once(child, 'exit');
        child.kill('SIGKILL');
        await exit;
      }

      test('are ended, with everything they started, and their directories removed', async () => {
        await interlockRunning();
        await killed(interlock);
        expect((await alive()).length).toBeGreaterThanOrEqual(2);

        expect(await sweepOrphans(jobs(), fixture.deps.containment)).toEqual({ orphans: 1, survived: 0 });
        expect(await alive()).toEqual([]);
        expect(await readdir(jobs())).toEqual([]);
        expect(await sweepOrphans(jobs(), fixture.deps.containment)).toEqual({ orphans: 0, survived: 0 });
      });

      test('are ended by an Interlock that lives on beside it', async () => {
        await interlockRunning();
        const swept: unknown[] = [];
        const { containment } = fixture.deps;
        const stop = watchOrphans({
          jobsDirectory: jobs(),
          containment,
          onSwept: (sweep) => swept.push(sweep),
          onFailure: (error) => swept.push(error),
          everyMs: 20,
        });
        try {
          await killed(interlock);
          await vi.waitFor(() => expect(swept).toEqual([{ orphans: 1, survived: 0 }]), { timeout: 10_000 });
          expect(await alive()).toEqual([]);
        } finally {
          await stop();
        }
      });

      test('are not those of an Interlock that is alive', async () => {
        await interlockRunning();
        expect(await sweepOrphans(jobs(), fixture.deps.containment)).toEqual({ orphans: 0, survived: 0 });
        expect((await alive()).length).toBeGreaterThanOrEqual(2);
        expect((await readdir(jobs())).length).toBe(2);
      });

      test('a pid that now belongs to another process is left alone', async () => {
        const stranger = spawn('sleep', ['1000'], { stdio: 'ignore', detached: true });
        try {
          const marker = '0123456789abcdef0123456789abcdef';
          await mkdir(path.join(jobs(), marker), { recursive: true });
          const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
          const gone = { pid: stranger.pid, startTime: '1' };
          await writeFile(
            path.join(jobs(), `${marker}.json`),
            JSON.stringify({ marker, bootId, owner: gone, leader: gone }),
          );
          expect(await sweepOrphans(jobs(), fixture.deps.containment)).toEqual({ orphans: 1, survived: 0 });
          expect(await isAlive(stranger.pid ?? 0)).toBe(true);
          expect(await readdir(jobs())).toEqual([]);
        } finally {
          stranger.kill('SIGKILL');
        }
      });

      test('are found by the marker alone where the record was damaged', async () => {
        await interlockRunning();
        await killed(interlock);
        const [record = ''] = (await readdir(jobs())).filter((name) => name.endsWith('.json'));
        await writeFile(path.join(jobs(), record), '{');
        expect(await sweepOrphans(jobs(), fixture.deps.containment)).toEqual({ orphans: 1, survived: 0 });
        expect(await alive()).toEqual([]);
      });

      test('leave nothing behind where the kill came in the middle of writing a record', async () => {
        await mkdir(jobs(), { recursive: true });
        const gone = { pid: 2 ** 30, startTime: '1' };
        for (const [marker, names] of [
          ['a'.repeat(32), ['.json', '.json.new']],
          ['b'.repeat(32), ['.json.new']],
        ] as const) {
          const record = JSON.stringify({ marker, bootId: null, owner: gone, leader: null });
          for (const name of names) await writeFile(path.join(jobs(), marker + name), record);
        }
        expect(await sweepOrphans(jobs(), fixture.deps.containment)).toEqual({ orphans: 2, survived: 0 });
        expect(await readdir(jobs())).toEqual([]);
      });

      test('other files in the directory are not touched, and no directory is no work', async () => {
        expect(await sweepOrphans(path.join(jobs(), 'none'), fixture.deps.containment)).toEqual({
          orphans: 0,
          survived: 0,
        });
        await mkdir(jobs(), { recursive: true });
        await writeFile(path.join(jobs(), 'notes.json'), '{}');
        expect(await sweepOrphans(jobs(), fixture.deps.containment)).toEqual({ orphans: 0, survived: 0 });
        expect(await readdir(jobs())).toEqual(['notes.json']);
      });
    },
  );
}
