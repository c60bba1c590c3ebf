/** A trainer in a process of its own, by either client, and what it says (trainer.ts, trainer.py). */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { python, pythonClient } from '../support/python.ts';
import type { TrainerOptions } from './trainer.ts';

export type ClientLanguage = 'typescript' | 'python';

const root = fileURLToPath(new URL('../../', import.meta.url));
const file = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const commands: Record<ClientLanguage, readonly [string, ...string[]]> = {
  typescript: [process.execPath, '--import', 'tsx', file('trainer.ts')],
  python: [python ?? 'python3', file('trainer.py')],
};
const pythonPath = { PYTHONPATH: pythonClient, PYTHONDONTWRITEBYTECODE: '1' };

/** The system's monotonic clock, which all processes of one machine share. */
export const nowMs = (): number => Number(process.hrtime.bigint() / 1000n) / 1000;

const lineSchema = z.looseObject({
  event: z.string(),
  atMs: z.number(),
  lastStepAtMs: z.number().optional(),
  reason: z.string().optional(),
  steps: z.number().optional(),
  code: z.string().optional(),
});
type Line = z.infer<typeof lineSchema>;
const PATIENCE_MS = 60_000;

export interface Trainer {
  readonly runId: string;
  readonly lines: readonly Line[];
  /** null while it runs, or where a signal ended it. */
  exitCode(): number | null;
  /** The instant at which its process had ended. */
  readonly ended: Promise<number>;
  heard(wanted: (line: Line) => boolean): Promise<Line>;
  kill(): void;
}

export function startTrainer(client: ClientLanguage, options: TrainerOptions): Trainer {
  const [program, ...words] = commands[client];
  const child = spawn(program, words, {
    cwd: root,
    env: {
      PATH: process.env['PATH'],
      HOME: process.env['HOME'],
      ...pythonPath,
      TRAINER: JSON.stringify(options),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  endWithUs(child);
  const lines: Line[] = [];
  const listeners = new Set<() => void>();
  createInterface({ input: child.stdout }).on('line', (text) => {
    lines.push(lineSchema.parse(JSON.parse(text)));
    for (const listener of [...listeners]) listener();
  });
  const ended = once(child, 'close').then(() => nowMs());
  return {
    runId: options.runId,
    lines,
    exitCode: () => child.exitCode,
    ended: once(child, 'exit').then(async () => {
      const atMs = nowMs();
      await ended; // its last line is read
      return atMs;
    }),
    heard: (wanted) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const line = lines.find(wanted);
          if (line !== undefined) done(() => resolve(line));
        };
        const done = (settle: () => void): void => {
          clearTimeout(timer);
          listeners.delete(look);
          child.off('exit', gone);
          settle();
        };
        const gone = (): void => done(() => reject(new Error(`${options.runId} ended before it was heard`)));
        const timer = setTimeout(
          () =>
            done(() => {
              const last = JSON.stringify(lines.at(-1) ?? 'nothing at all');
              reject(new Error(`${options.runId} was not heard in time; it last said ${last}`));
            }),
          PATIENCE_MS,
        );
        listeners.add(look);
        child.once('exit', gone);
        look();
      }),
    kill: () => void child.kill('SIGKILL'),
  };
}

const children = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

export function endWithUs(child: ChildProcess): void {
  children.add(child);
  child.once('exit', () => children.delete(child));
}
