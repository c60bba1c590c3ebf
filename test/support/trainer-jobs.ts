/** Training programs in Python under a real Interlock: started in process groups of their own, and what they say. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect } from 'vitest';
import { z } from 'zod';
import type { TestInterlock } from './interlock.ts';
import { pythonClient, pythonEnv } from './python.ts';
import { drive, type RunDriver, soon } from './run-driver.ts';

const Line = z.looseObject({
  rank: z.number().optional(),
  step: z.number().optional(),
  halted: z.string().optional(),
});
type Line = z.output<typeof Line>;

export interface Job {
  readonly run: RunDriver;
  readonly lines: readonly Line[];
  readonly said: () => string;
  readonly state: string;
  readonly ended: Promise<number | null>;
}

const children: ChildProcess[] = [];

export function killJobs(): void {
  for (const { pid, exitCode } of children.splice(0))
    if (pid !== undefined && exitCode === null) killGroup(pid);
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

/** In a group of its own, so that whatever it starts ends with the test. */
export async function startJob(
  interlock: TestInterlock,
  command: (run: string, state: string) => readonly string[],
  { before, pythonPath = [] }: { before?: Pick<Job, 'run' | 'state'>; pythonPath?: readonly string[] } = {},
): Promise<Job> {
  const run = before?.run ?? drive(interlock, { kind: 'webhook', url: 'http://127.0.0.1:9/halt' });
  const state = before?.state ?? (await mkdtemp(join(interlock.directory, 'state-')));
  if (before === undefined) {
    const registered = await run.register();
    expect(registered.status, registered.text).toBe(201);
  }
  const [program = '', ...words] = command(run.runId, state);
  const child = spawn(program, words, {
    env: {
      ...pythonEnv,
      PYTHONPATH: [pythonClient, ...pythonPath].join(':'),
      INTERLOCK_URL: interlock.url,
      INTERLOCK_TOKEN: interlock.tokens['trainer'],
      INTERLOCK_WEBHOOK_SECRET: interlock.webhookSecrets['trainer'],
      OMP_NUM_THREADS: '1',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  children.push(child);
  const lines: Line[] = [];
  const complaints: string[] = [];
  createInterface({ input: child.stdout }).on('line', (text) => {
    // A launcher puts the rank before what it passes on.
    const from = text.indexOf('{');
    if (from >= 0) lines.push(Line.parse(JSON.parse(text.slice(from))));
  });
  child.stderr.on('data', (chunk: Buffer) => complaints.push(chunk.toString('utf8')));
  const ended = once(child, 'close').then(() => child.exitCode);
  return { run, lines, state, said: () => complaints.join(''), ended };
}

export const lastStep = (job: Job, rank = 0): number =>
  Math.max(0, ...job.lines.filter((line) => line.rank === rank).map(({ step }) => step ?? 0));

export const training = (job: Job, rank = 0) =>
  soon(() => expect(lastStep(job, rank), job.said().slice(-1_500)).toBeGreaterThan(20), {
    timeout: 60_000,
    interval: 20,
  });
