/**
 * What an attempt comes to whose result is a harness's log: the log as read, and what is known of the program beside it.
 *
 * Nothing is judged: exit code, times and what the harness was told go along, and the domain holds them against the log. Only
 * where the program plainly did not run to its end is the attempt failed, its log beside the failure. A cancelled attempt leaves none.
 * What it wrote is kept as evidence beside all this: a store that is slow or away must not hold a score that may trip.
 */
import type { LaunchFacts } from '../../domain/launch-facts.ts';
import { type ContainedRun, failureOf } from '../contained-run.ts';
import { type EvaluationRequest, type EvaluatorOutcome, type Failed, failed } from '../evaluator.ts';
import { type LogSource, openLog } from '../formats/log-source.ts';
import { filesMeant, findLog, type LogWanted, type ReadHarnessLog } from './find-log.ts';

export interface LogExpected extends LogWanted {
  /** By which the harness says that it ran to its end; [0] unless stated. */
  readonly completedExitCodes?: readonly number[] | undefined;
  readonly expects?: Pick<LaunchFacts, 'task' | 'model' | 'revision'> | undefined;
}

export interface LogDeps {
  readonly readLog: ReadHarnessLog;
  /**
   * Called with each file that could be the log, read or not: what was wrong with it is for people to see. Not waited for, and
   * the file may be gone by its name before it settles. Must not reject.
   */
  readonly keepLog?: ((source: LogSource, request: EvaluationRequest) => Promise<void>) | undefined;
}

/** How a program ended that was to leave a log, wherever it ran. */
export interface LogRun {
  /** Null: by itself, with a code that says it ran to its end. */
  readonly failure: Failed | null;
  /** Null: by a signal. Left out: it did not end by itself, or nobody knows. */
  readonly exitCode?: number | null | undefined;
  /** RFC 3339, by the clock that the files' times are of. */
  readonly startedAt?: string | undefined;
  /** Safe short text for people; never text of the program. */
  readonly sizes?: string | undefined;
}

/** More than any harness writes in one attempt. */
const KEPT_MAX = 32;

/** All are opened before anybody removes their directory, and read from then on whatever becomes of it. */
async function beginToKeep(
  wanted: LogWanted,
  request: EvaluationRequest,
  keepLog: NonNullable<LogDeps['keepLog']>,
): Promise<void> {
  for (const file of (await filesMeant(wanted)).slice(0, KEPT_MAX)) {
    const source = await openLog(file);
    if (source === null) continue;
    void keepLog(source, request)
      .finally(() => source.close())
      .catch(() => undefined);
  }
}

/** Of a program that ran here, contained. */
export function settleLog(
  run: ContainedRun,
  expected: LogExpected,
  request: EvaluationRequest,
  deps: LogDeps,
): Promise<EvaluatorOutcome> {
  const { ending } = run.ended;
  return settleLogOf(
    {
      failure: failureOf(run, expected.completedExitCodes),
      exitCode: ending.how === 'exited' ? ending.code : undefined,
      startedAt: run.startedAt,
      sizes: run.sizes,
    },
    expected,
    request,
    deps,
  );
}

export async function settleLogOf(
  { failure, exitCode, startedAt, sizes }: LogRun,
  expected: LogExpected,
  request: EvaluationRequest,
  { readLog, keepLog }: LogDeps,
): Promise<EvaluatorOutcome> {
  const { completedExitCodes = [0], expects } = expected;
  if (failure?.reason === 'cancelled') return failure;
  if (keepLog !== undefined) await beginToKeep(expected, request, keepLog);
  const { scores } = request;
  const found = await findLog(expected, readLog, scores === undefined ? {} : { scores });
  if (!found.ok) {
    const detail = sizes === undefined ? found.detail : `${found.detail}; ${sizes}`;
    return failure ?? failed(found.problem, detail);
  }
  const launch: LaunchFacts = {
    ...(exitCode === undefined ? {} : { exitCode }),
    completedExitCodes: [...completedExitCodes],
    ...(startedAt === undefined ? {} : { startedAt }),
    logModifiedAt: found.modifiedAt,
    ...expects,
  };
  const result = { harnessLog: found.log };
  return failure === null ? { kind: 'reported', result, launch } : { ...failure, result, launch };
}
