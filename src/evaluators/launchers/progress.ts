/**
 * How far a harness has come, from what it prints and what it has written so far. Figures alone are taken; a line that does not
 * look like progress is nothing, however it looks otherwise. None of this decides anything.
 */
import { open, stat } from 'node:fs/promises';
import type { EvaluationProgress } from '../evaluator.ts';

export type ProgressLine = (line: string) => EvaluationProgress | null;
export type OnProgress = ((progress: EvaluationProgress) => void) | undefined;

/** `interlock-progress: 12/50`, on standard error of any command. */
export const STATED_PROGRESS: ProgressLine = (line) => {
  const [, done, total] = /^interlock-progress:\s*(\d{1,9})\/(\d{1,9})\s*$/.exec(line) ?? [];
  return progressOf(done, total, 'samples');
};

/** tqdm: `Running generate_until requests:  12%|#2   | 6/50 [00:01<00:09,  4.9it/s]`. Other bars are of preparations. */
export const TQDM_PROGRESS: ProgressLine = (line) => {
  const [, done, total] =
    /^(?:Running \w+ requests|Requesting API):\s+\d{1,3}%\|[^|]*\|\s*(\d{1,9})\/(\d{1,9})\s/.exec(line) ?? [];
  return progressOf(done, total, 'requests');
};

/** Inspect's plain display: `Steps: 30/100 30% | Samples:   3/ 10 | ...`. */
export const INSPECT_PROGRESS: ProgressLine = (line) => {
  const [, done, total] = /(?:^|\| )Samples:\s*(\d{1,9})\/\s*(\d{1,9})(?: \||\s*$)/.exec(line) ?? [];
  return progressOf(done, total, 'samples');
};

/** promptfoo says only how many there are; how many are done stands in its JSON Lines output. */
export const PROMPTFOO_TOTAL: ProgressLine = (line) => {
  const [, total] = /^Running (\d{1,9}) test cases \(up to \d+ at a time\)/.exec(line) ?? [];
  return progressOf('0', total, 'tests');
};

function progressOf(
  done: string | undefined,
  total: string | undefined,
  unit: EvaluationProgress['unit'],
): EvaluationProgress | null {
  if (done === undefined || total === undefined) return null;
  const [doneCount, totalCount] = [Number(done), Number(total)];
  return totalCount < 1 || doneCount > totalCount ? null : { done: doneCount, total: totalCount, unit };
}

/** A bar is redrawn after a carriage return, without a line feed. */
const LINE_END = /[\r\n]/;
/** A line longer than this is no progress, and is not kept to find out. */
const LINE_CHARACTERS = 1_024;

/** For a stream of output: what its lines say, the last word of each chunk. Undefined where nobody listens. */
export function progressOfLines(
  readLine: ProgressLine,
  onProgress: OnProgress,
): ((chunk: Buffer) => void) | undefined {
  if (onProgress === undefined) return undefined;
  let carried = '';
  return (chunk) => {
    const lines = (carried + chunk.toString('latin1')).split(LINE_END);
    carried = (lines.pop() ?? '').slice(0, LINE_CHARACTERS);
    const last = lines.findLast((line) => line.length <= LINE_CHARACTERS && readLine(line) !== null);
    const progress = last === undefined ? null : readLine(last);
    if (progress !== null) onProgress(progress);
  };
}

/** What a file that is being written says of the progress; null where nothing new. */
export type ProgressLook = () => Promise<EvaluationProgress | null>;

/** Of the time, a look at a log may take one part in so many: it is read whole, while halts go out next door. */
const LOOK_SHARE = 10;

/** Asks again and again while the harness runs; a look that fails says nothing. */
export function watchProgress(
  look: ProgressLook,
  onProgress: OnProgress,
  everyMs: number,
): { stop(): Promise<void> } {
  if (onProgress === undefined) return { stop: () => Promise.resolve() };
  let looking = Promise.resolve();
  let isBusy = false;
  let notBeforeMs = 0;
  const timer = setInterval(() => {
    const beganMs = performance.now();
    // A look at a large log may take longer than the pause between two.
    if (isBusy || beganMs < notBeforeMs) return;
    isBusy = true;
    looking = look()
      .then((progress) => {
        if (progress !== null) onProgress(progress);
      })
      .catch(() => undefined)
      .finally(() => {
        isBusy = false;
        notBeforeMs = beganMs + LOOK_SHARE * (performance.now() - beganMs);
      });
  }, everyMs);
  return {
    async stop() {
      clearInterval(timer);
      await looking;
    },
  };
}

/** Whether a file has changed since it was last asked about. */
export function changes(file: () => Promise<string | null>): () => Promise<string | null> {
  let seen = '';
  return async () => {
    const found = await file();
    if (found === null) return null;
    const { size, mtimeMs } = await stat(found);
    const now = `${found} ${size} ${mtimeMs}`;
    if (now === seen) return null;
    seen = now;
    return found;
  };
}

const NEWLINE = 0x0a;
const CHUNK_BYTES = 256 * 1024;

/** Rows of a JSON Lines file that grows, each byte read once. `isErrored` is asked of every whole row. */
export function growingRows(file: string, isErrored: (row: string) => boolean) {
  let [at, rows, errored] = [0, 0, 0];
  let carried: Buffer = Buffer.alloc(0);
  return async (): Promise<{ rows: number; errored: number }> => {
    const handle = await open(file, 'r');
    try {
      for (;;) {
        const { bytesRead, buffer } = await handle.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES, at);
        if (bytesRead === 0) return { rows, errored };
        at += bytesRead;
        let rest = Buffer.concat([carried, buffer.subarray(0, bytesRead)]);
        for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE)) {
          rows += 1;
          if (isErrored(rest.subarray(0, end).toString('latin1'))) errored += 1;
          rest = rest.subarray(end + 1);
        }
        // A row beyond all bounds is still one row; its text is not needed to count it.
        carried = rest.length > 16 * CHUNK_BYTES ? Buffer.alloc(0) : rest;
      }
    } finally {
      await handle.close();
    }
  };
}
