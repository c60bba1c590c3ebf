/** Real programs in a temporary directory, and a command evaluator set up to run them. */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { vi } from 'vitest';
import { type CommandExecutor, CommandExecutorSchema } from '../../src/domain/executor.ts';
import { type CommandDeps, createCommandEvaluator } from '../../src/evaluators/command.ts';
import type { EvaluationRequest, EvaluatorOutcome } from '../../src/evaluators/evaluator.ts';
import { exampleRequest } from './describe-evaluator.ts';

export interface CommandFixture {
  directory: string;
  modelRoot: string;
  deps: CommandDeps;
  file(name: string): string;
  /** A script that can be executed; returns its path. */
  program(name: string, text: string): Promise<string>;
  executor(command: readonly string[], more?: object): CommandExecutor;
  run(
    command: readonly string[],
    options?: {
      executor?: object;
      request?: Partial<EvaluationRequest>;
      deps?: Partial<CommandDeps>;
      signal?: AbortSignal;
    },
  ): Promise<EvaluatorOutcome>;
  /** What is left of jobs on disk. */
  leftOnDisk(): Promise<string[]>;
  close(): Promise<void>;
}

export async function commandFixture(): Promise<CommandFixture> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'interlock-command-'));
  const modelRoot = path.join(directory, 'models');
  await mkdir(modelRoot);
  const deps: CommandDeps = {
    modelRoots: [modelRoot],
    baseEnvironment: { PATH: process.env['PATH'], HOME: '/home/of-interlock', LANG: 'C.UTF-8' },
    environmentVariable: (name) => ({ EVAL_KEY: 'key-of-the-evaluator' })[name],
    jobsDirectory: path.join(directory, 'jobs'),
    baseDirectory: directory,
    limits: { killGraceMs: 300 },
  };
  const executor = (command: readonly string[], more: object = {}) =>
    CommandExecutorSchema.parse({ kind: 'command', command, timeout: '30s', ...more });
  return {
    directory,
    modelRoot,
    deps,
    file: (name) => path.join(directory, name),
    async program(name, text) {
      const file = path.join(directory, name);
      await writeFile(file, text);
      await chmod(file, 0o755);
      return file;
    },
    executor,
    run: (command, { executor: more, request, deps: otherDeps, signal } = {}) =>
      createCommandEvaluator(executor(command, more), { ...deps, ...otherDeps }).run(
        { ...exampleRequest, ...request },
        signal ?? new AbortController().signal,
      ),
    leftOnDisk: () => readdir(deps.jobsDirectory).catch(() => []),
    close: () => rm(directory, { recursive: true, force: true }),
  };
}

/** A pid that a program wrote into a file, once it is there. */
export async function pidIn(file: string): Promise<number> {
  return vi.waitFor(
    async () => {
      const pid = Number((await readFile(file, 'utf8')).trim());
      if (!(pid > 1)) throw new Error('no pid yet');
      return pid;
    },
    { timeout: 10_000, interval: 10 },
  );
}

/** A zombie counts as dead: nobody may reap it in a container without an init. */
export async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => null);
  return stat !== null && !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
}
