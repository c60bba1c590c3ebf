/**
 * Where a harness writes, and what an attempt finds of those before it.
 *
 * One directory per evaluation of a checkpoint (and per round of further samples), kept until the evaluation is concluded, so that
 * what was answered need not be asked again; in it `cache/` and one fresh directory per attempt. Only the log in an attempt's own
 * directory counts as its result. It belongs to one machine: elsewhere an attempt begins from nothing, which costs time alone.
 * It may hold words of a model: mode 0700, and removed with the evaluation.
 */
import { mkdir, mkdtemp, readdir, rm, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import type { EvaluationRequest } from '../evaluator.ts';

export interface AttemptDirectories {
  readonly logDirectory: string;
  readonly cacheDirectory: string;
  /** The log directories of earlier attempts, the latest first. */
  readonly earlier: readonly string[];
}

/** Of a day that no attempt can outlast: executors end within 24 days. */
const ABANDONED_MS = 30 * 86_400_000;

export async function openAttempt(
  root: string,
  { evaluationId, topUp = 0 }: Pick<EvaluationRequest, 'evaluationId' | 'topUp'>,
): Promise<AttemptDirectories> {
  const directory = path.join(root, `${nameOf(evaluationId)}.${topUp}`);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  // Its own time says when it was last used: that of a directory changes with what is made in it, not below.
  await utimes(directory, new Date(), new Date());
  const cacheDirectory = path.join(directory, 'cache');
  await mkdir(cacheDirectory, { recursive: true, mode: 0o700 });
  const attempts = (await readdir(directory)).filter((name) => name.startsWith('attempt-'));
  const earlier = await Promise.all(
    attempts.map(async (name) => {
      const file = path.join(directory, name);
      return { file, madeAtMs: (await stat(file)).birthtimeMs };
    }),
  );
  const logDirectory = await mkdtemp(path.join(directory, 'attempt-'));
  return {
    logDirectory,
    cacheDirectory,
    earlier: earlier.sort((a, b) => b.madeAtMs - a.madeAtMs).map(({ file }) => file),
  };
}

/** The evaluation is concluded or cancelled: nothing of it is asked for again. */
export async function forgetAttempts(root: string, evaluationId: string): Promise<void> {
  const names = await readdir(root).catch((): string[] => []);
  const mine = names.filter((name) => name.startsWith(`${nameOf(evaluationId)}.`));
  await Promise.all(mine.map((name) => remove(path.join(root, name))));
}

/** Of evaluations that ended while nobody was here to see it. */
export async function removeAbandonedAttempts(root: string, nowMs: number): Promise<void> {
  const names = await readdir(root).catch((): string[] => []);
  for (const name of names) {
    const directory = path.join(root, name);
    const { mtimeMs } = await stat(directory).catch(() => ({ mtimeMs: nowMs }));
    if (nowMs - mtimeMs > ABANDONED_MS) await remove(directory);
  }
}

/** Ids are made here and look like `ev_...`; whatever does not is no name of a directory. */
function nameOf(evaluationId: string): string {
  if (!/^[A-Za-z0-9_-]{1,128}$/.test(evaluationId)) throw new TypeError('not the id of an evaluation');
  return evaluationId;
}

const remove = (directory: string): Promise<void> =>
  rm(directory, { recursive: true, force: true, maxRetries: 2 }).catch(() => undefined);
