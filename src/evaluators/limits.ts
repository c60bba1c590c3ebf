/**
 * What one evaluation may use, and which part of that this machine can enforce.
 *
 * Two hands: a cgroup counts the evaluation as a whole (memory, processes, processor share); `prlimit` counts each
 * process (open files, file size, CPU seconds, and memory where there is no cgroup for it). What neither can hold
 * is named in `missing`, so that it is said at start and in `/readyz` instead of being taken for granted.
 */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { durationMs } from '../domain/duration.ts';

export interface EvaluationLimits {
  /** Bytes of memory of one evaluation; null: a share of what this process may have (MEMORY_SHARE). */
  readonly memoryBytes: number | null;
  /** Processes and threads of one evaluation. */
  readonly processes: number;
  readonly openFiles: number;
  readonly fileBytes: number;
  /** Processors' worth of time; null: as many as there are. */
  readonly cpus: number | null;
  /** CPU seconds of one process; null: the executor's timeout is the only bound. */
  readonly cpuSeconds: number | null;
}

const GIB = 2 ** 30;

export const DEFAULT_LIMITS: EvaluationLimits = {
  memoryBytes: null,
  processes: 4_096,
  openFiles: 16_384,
  fileBytes: 64 * GIB,
  cpus: null,
  cpuSeconds: null,
};

/** As `evaluators.limits` of interlock.yaml states them; what is left out has its default. */
export interface StatedLimits {
  readonly memory?: number | undefined;
  readonly processes?: number | undefined;
  readonly openFiles?: number | undefined;
  readonly fileSize?: number | undefined;
  readonly cpus?: number | undefined;
  readonly cpuTime?: string | undefined;
}

export function evaluationLimits(stated: StatedLimits): EvaluationLimits {
  const { memory, processes, openFiles, fileSize, cpus, cpuTime } = stated;
  return {
    memoryBytes: memory ?? DEFAULT_LIMITS.memoryBytes,
    processes: processes ?? DEFAULT_LIMITS.processes,
    openFiles: openFiles ?? DEFAULT_LIMITS.openFiles,
    fileBytes: fileSize ?? DEFAULT_LIMITS.fileBytes,
    cpus: cpus ?? DEFAULT_LIMITS.cpus,
    cpuSeconds: cpuTime === undefined ? DEFAULT_LIMITS.cpuSeconds : Math.ceil(durationMs(cpuTime) / 1000),
  };
}

/** So that one evaluation alone cannot take the memory that the watchdog needs. */
const MEMORY_SHARE = 0.8;

export function memoryLimitBytes({ memoryBytes }: EvaluationLimits): number {
  if (memoryBytes !== null) return memoryBytes;
  // 0 or an absurd figure where nothing constrains.
  const constrained = process.constrainedMemory();
  const available = constrained > 0 ? Math.min(constrained, os.totalmem()) : os.totalmem();
  return Math.floor(available * MEMORY_SHARE);
}

const CPU_GRACE_SECONDS = 5;

/** What is left for prlimit, given what a cgroup or a user namespace holds already. */
export interface PrlimitNeeds {
  /** Per process, for want of a cgroup. */
  readonly memory: boolean;
  /** Only where the count is of this evaluation alone: inside a user namespace of its own, and not as root. */
  readonly processes: boolean;
}

export function prlimitArguments(limits: EvaluationLimits, { memory, processes }: PrlimitNeeds): string[] {
  const hard = hardLimits();
  const option = (name: string, value: number, ceiling = Number.POSITIVE_INFINITY): string => {
    const bounded = Math.min(value, ceiling);
    return `--${name}=${bounded}:${bounded}`;
  };
  return [
    '--core=0:0',
    option('nofile', limits.openFiles, hard.get('Max open files')),
    option('fsize', limits.fileBytes, hard.get('Max file size')),
    // The soft limit tells the process (SIGXCPU), the hard one a little later kills it.
    ...(limits.cpuSeconds === null
      ? []
      : [`--cpu=${limits.cpuSeconds}:${limits.cpuSeconds + CPU_GRACE_SECONDS}`]),
    // RLIMIT_DATA counts what is private and writable. Not the address space: V8, CUDA and the JVM reserve far more
    // of that than they use. Node 24 maps 512 MiB for its code writable, per thread of JavaScript: they count.
    ...(memory ? [option('data', memoryLimitBytes(limits), hard.get('Max data size'))] : []),
    ...(processes ? [option('nproc', limits.processes, hard.get('Max processes'))] : []),
  ];
}

/** No process may raise what it was given; asking for more would fail the start instead of limiting it. */
function hardLimits(): Map<string, number> {
  try {
    const lines = readFileSync('/proc/self/limits', 'utf8').split('\n').slice(1);
    return new Map(
      lines.flatMap((line) => {
        const [, name, hard] = /^(.+?)\s{2,}\S+\s+(\d+)\s/.exec(line) ?? [];
        return name === undefined || hard === undefined ? [] : [[name, Number(hard)] as const];
      }),
    );
  } catch {
    return new Map();
  }
}

export function describeBytes(bytes: number): string {
  if (bytes >= GIB) return `${Number((bytes / GIB).toFixed(1))} GiB`;
  return `${Number((bytes / 2 ** 20).toFixed(1))} MiB`;
}
