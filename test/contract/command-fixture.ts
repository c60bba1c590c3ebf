/** Real programs in a temporary directory, and a command evaluator set up to run them. */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { type CommandExecutor, CommandExecutorSchema } from '../../src/domain/executor.ts';
import { type CommandDeps, createCommandEvaluator } from '../../src/evaluators/command.ts';
import {
  type Containment,
  type ContainmentOptions,
  detectContainment,
} from '../../src/evaluators/containment.ts';
import type { EvaluationRequest, EvaluatorOutcome } from '../../src/evaluators/evaluator.ts';
import { readLog } from '../../src/evaluators/formats/detect.ts';
import type { HarnessDeps } from '../../src/evaluators/launchers/harness.ts';
import { exampleRequest } from './describe-evaluator.ts';

export interface CommandFixture {
  directory: string;
  modelRoot: string;
  deps: HarnessDeps;
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

export async function commandFixture(
  containment: Promise<Containment> = containmentHere('auto'),
): Promise<CommandFixture> {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'interlock-command-'));
  const modelRoot = path.join(directory, 'models');
  await mkdir(modelRoot);
  const deps: HarnessDeps = {
    modelRoots: [modelRoot],
    baseEnvironment: { PATH: process.env['PATH'], HOME: '/home/of-interlock', LANG: 'C.UTF-8' },
    environmentVariable: (name) => ({ EVAL_KEY: 'key-of-the-evaluator' })[name],
    jobsDirectory: path.join(directory, 'jobs'),
    attemptsDirectory: path.join(directory, 'attempts'),
    readLog,
    baseDirectory: directory,
    containment: await containment,
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

const detected = new Map<string, Promise<Containment>>();

/** Detected once per kind and test file: it starts a handful of programs. */
export function containmentHere(mode: ContainmentOptions['mode']): Promise<Containment> {
  const known = detected.get(mode) ?? detectContainment({ mode });
  detected.set(mode, known);
  return known;
}

/**
 * Live processes whose command line names the path, as seen from here: also those in a PID namespace,
 * which know themselves by another number.
 */
export async function processesOf(mention: string): Promise<number[]> {
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 1 && pid !== process.pid);
  const found = await Promise.all(
    pids.map(async (pid) => {
      const read = (name: string) => readFile(`/proc/${pid}/${name}`, 'latin1').catch(() => '');
      return (await read('cmdline')).includes(mention) && (await isAlive(pid)) ? [pid] : [];
    }),
  );
  return found.flat();
}

/** A zombie counts as dead: nobody may reap it in a container without an init. */
export async function isAlive(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => null);
  return stat !== null && !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
}
