/** `interlock checkpoint digest`: the digest of weights, for trainers that state it and auditors that compare it. */
import { digestWeights, WeightsError } from '../evaluators/weights/digest.ts';
import { EXIT, type ExitCode } from './exit.ts';
import { json } from './output.ts';
import { createProgress, type Progress } from './progress.ts';
import type { Terminal } from './terminal.ts';

export async function checkpointDigest(
  path: string,
  options: { json?: true },
  terminal: Terminal,
): Promise<ExitCode> {
  const bar: { progress: Progress | null } = { progress: null };
  const onProgress = (done: number, total: number): void => {
    bar.progress ??= createProgress({
      total,
      what: 'bytes',
      redraw: terminal.redraw,
      complain: (text) => terminal.complain(text),
      nowMs: () => performance.now(),
    });
    bar.progress.done(done);
  };
  try {
    const { digest, files, bytes } = await digestWeights(path, { onProgress });
    terminal.print(options.json ? json({ digest, files, bytes }) : digest);
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof WeightsError)) throw error;
    terminal.complain(`no digest of ${path}: ${error.message} (${error.problem})`);
    return EXIT.negative;
  } finally {
    bar.progress?.end();
  }
}
