/**
 * What ends the reading of a log: thrown deep inside of a reader, turned into `ok: false` at its edge, never seen beyond.
 *
 * The detail is fixed text with numbers in it. Nothing of the file enters it, for a model may have written the file.
 */
import type { LogProblem } from '../../domain/harness-log.ts';
import type { ReadLog } from './format.ts';

export class LogFault extends Error {
  readonly problem: LogProblem;
  readonly detail: string;

  constructor(problem: LogProblem, detail: string) {
    super(`${problem}: ${detail}`);
    this.name = 'LogFault';
    this.problem = problem;
    this.detail = detail;
  }
}

/** Runs a reader. Whatever it throws that is no fault of the file is a defect, and still no success. */
export async function faultsAsProblems(read: () => Promise<ReadLog>): Promise<ReadLog> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof LogFault) return { ok: false, problem: error.problem, detail: error.detail };
    return { ok: false, problem: 'log-unreadable', detail: 'the reader came to its end on this file' };
  }
}
