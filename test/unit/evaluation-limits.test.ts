import os from 'node:os';
import { describe, expect, it } from 'vitest';
import { ConfigurationFile } from '../../src/config/schema.ts';
import {
  DEFAULT_LIMITS,
  evaluationLimits,
  memoryLimitBytes,
  prlimitArguments,
} from '../../src/evaluators/limits.ts';

const stated = (limits: unknown) =>
  ConfigurationFile.shape.evaluators.safeParse({ limits }).data?.limits ?? null;

describe('limits of evaluations', () => {
  it.each([
    ['1048576', 2 ** 20],
    ['512MiB', 512 * 2 ** 20],
    ['1.5GiB', 1.5 * 2 ** 30],
    ['2TiB', 2 * 2 ** 40],
    ['1023KiB', null],
    ['8GB', null],
    ['8 GiB', null],
    ['-1GiB', null],
    ['GiB', null],
  ])('memory %s is %s', (text, bytes) => {
    const value = /^\d+$/.test(text) ? Number(text) : text;
    expect(stated({ memory: value })?.memory ?? null).toBe(bytes);
  });

  it('stated in part, have their defaults for the rest; what is unknown is refused', () => {
    expect(evaluationLimits(stated({ processes: 10, cpuTime: '90m' }) ?? {})).toEqual({
      ...DEFAULT_LIMITS,
      processes: 10,
      cpuSeconds: 5_400,
    });
    expect(stated({ procs: 10 })).toBeNull();
    expect(stated({ cpus: 0 })).toBeNull();
  });

  it('leave the watchdog its memory unless more is stated', () => {
    const bytes = memoryLimitBytes(DEFAULT_LIMITS);
    expect(bytes).toBeLessThanOrEqual(os.totalmem() * 0.8);
    expect(memoryLimitBytes({ ...DEFAULT_LIMITS, memoryBytes: 5 })).toBe(5);
  });

  it.skipIf(process.platform !== 'linux')('ask prlimit for no more than may be had (needs /proc)', () => {
    const limits = { ...DEFAULT_LIMITS, openFiles: 2 ** 31, cpuSeconds: 60 };
    const all = prlimitArguments(limits, { memory: true, processes: true });
    const [, files] = /--nofile=(\d+):\1/.exec(all.join(' ')) ?? [];
    expect(Number(files)).toBeLessThanOrEqual(2 ** 31);
    expect(all).toContain('--core=0:0');
    expect(all).toContain('--cpu=60:65');
    expect(all.filter((each) => /^--(data|nproc)=/.test(each))).toHaveLength(2);
    const few = prlimitArguments(DEFAULT_LIMITS, { memory: false, processes: false });
    expect(few.filter((each) => /^--(data|nproc|cpu)=/.test(each))).toEqual([]);
  });
});
