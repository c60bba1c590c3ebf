/**
 * What an attempt comes to whose result is a harness's log: the log as read, and what is known of the program beside it.
 *
 * Nothing is judged: exit code, times and what the harness was told go along, and the domain holds them against the log. Only
 * where the program plainly did not run to its end is the attempt failed, its log beside the failure. A cancelled attempt leaves none.
 */
import type { LaunchFacts } from '../../domain/launch-facts.ts';
import { type ContainedRun, failureOf } from '../contained-run.ts';
import { type EvaluationRequest, type EvaluatorOutcome, failed } from '../evaluator.ts';
import { type LogSource, openLog } from '../formats/log-source.ts';
import { filesMeant, findLog, type LogWanted, type ReadHarnessLog } from './find-log.ts';

export interface LogExpected extends LogWanted {
  /** By which the harness says that it ran to its end; [0] unless stated. */
  readonly completedExitCodes?: readonly number[] | undefined;
  readonly expects?: Pick<LaunchFacts, 'task' | 'model' | 'revision'> | undefined;
}

export interface LogDeps {
  readonly readLog: ReadHarnessLog;
  /** Called with each file that could be the log, read or not: what was wrong with it is for people to see. Must not reject. */
  readonly keepLog?: ((source: LogSource, request: EvaluationRequest) => Promise<void>) | undefined;
}

/** More than any harness writes in one attempt. */
const KEPT_MAX = 32;

async function keepAll(
  wanted: LogWanted,
  request: EvaluationRequest,
  keepLog: NonNullable<LogDeps['keepLog']>,
): Promise<void> {
  for (const file of (await filesMeant(wanted)).slice(0, KEPT_MAX)) {
    const source = await openLog(file);
    if (source === null) continue;
    await keepLog(source, request).finally(() => source.close());
  }
}

export async function settleLog(
  run: ContainedRun,
  expected: LogExpected,
  request: EvaluationRequest,
  { readLog, keepLog }: LogDeps,
): Promise<EvaluatorOutcome> {
  const { completedExitCodes = [0], expects } = expected;
  const failure = failureOf(run, completedExitCodes);
  if (failure?.reason === 'cancelled') return failure;
  if (keepLog !== undefined) await keepAll(expected, request, keepLog);
  const { scores } = request;
  const found = await findLog(expected, readLog, scores === undefined ? {} : { scores });
  if (!found.ok) return failure ?? failed(found.problem, `${found.detail}; ${run.sizes}`);
  const { ending } = run.ended;
  const launch: LaunchFacts = {
    ...(ending.how === 'exited' ? { exitCode: ending.code } : {}),
    completedExitCodes: [...completedExitCodes],
    startedAt: run.startedAt,
    logModifiedAt: found.modifiedAt,
    ...expects,
  };
  const result = { harnessLog: found.log };
  return failure === null ? { kind: 'reported', result, launch } : { ...failure, result, launch };
}
