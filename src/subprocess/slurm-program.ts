/** One of Slurm's programs, its whole output, and how it ended in words. */
import { markedJob } from './marked-job.ts';
import { runProgram } from './run-program.ts';

export type Ran =
  | {
      readonly kind: 'exited';
      readonly code: number | null;
      readonly stdout: string;
      readonly stderr: string;
    }
  | { readonly kind: 'failed'; readonly why: string };

export interface SlurmProgramLimits {
  readonly timeoutMs: number;
  readonly outputBytes: number;
}

const KILL_GRACE_MS = 200;
const DRAIN_MS = 200;

export async function runSlurmProgram(
  file: string,
  args: readonly string[],
  stated: Readonly<Record<string, string>>,
  { timeoutMs, outputBytes }: SlurmProgramLimits,
  signal: AbortSignal,
): Promise<Ran> {
  if (signal.aborted) return { kind: 'failed', why: 'was given up before it began' };
  const { job, env } = markedJob();
  const errors: Buffer[] = [];
  const { ending, stdout } = await runProgram(
    { file, args, env: { ...stated, ...env }, cwd: '/' },
    {
      job,
      timeoutMs,
      limits: { outputBytes, keptBytes: outputBytes, killGraceMs: KILL_GRACE_MS, drainMs: DRAIN_MS },
      signal,
      onErrorOutput: (chunk) => errors.push(chunk),
    },
  );
  switch (ending.how) {
    case 'exited':
      return {
        kind: 'exited',
        code: ending.code,
        stdout: stdout.lines().toString('latin1'),
        stderr: Buffer.concat(errors).toString('latin1'),
      };
    case 'not-started':
      return { kind: 'failed', why: 'could not be started' };
    case 'stopped':
      return { kind: 'failed', why: stoppedWords(ending.why, timeoutMs, outputBytes) };
    default:
      return ending satisfies never;
  }
}

function stoppedWords(
  why: 'timed-out' | 'cancelled' | 'output-too-large',
  timeoutMs: number,
  outputBytes: number,
): string {
  if (why === 'cancelled') return 'was given up';
  return why === 'timed-out' ? `had not ended after ${timeoutMs} ms` : `wrote more than ${outputBytes} bytes`;
}
