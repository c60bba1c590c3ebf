/** What commits mean for logs and metrics: one line per fact that a person would want to read, no content. */
import type { DatabaseHandle } from '../database/open-database.ts';
import type { RunEventKind } from '../domain/run/events.ts';
import type { Reconciler } from '../queue/reconciler.ts';
import { withCorrelation } from '../telemetry/correlation.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Commit, RunService } from './run-service.ts';
import { tellCommit } from './stories.ts';

interface Sinks {
  readonly logger: {
    error(fields: object, message: string): void;
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
  readonly metrics: Metrics;
}

/** Facts worth a line; the rest is in the ledger. `warn` is for what people should notice, `error` for getting up. */
const LINES: Readonly<Partial<Record<RunEventKind, { level: 'info' | 'warn' | 'error'; message: string }>>> =
  {
    RunRegistered: { level: 'info', message: 'run registered' },
    CheckpointReported: { level: 'info', message: 'checkpoint reported' },
    EvaluationReported: { level: 'info', message: 'evaluation reported' },
    EvaluationAttemptFailed: { level: 'warn', message: 'evaluation attempt failed' },
    SuccessionBegun: { level: 'info', message: 'evaluation runs beside the one it succeeds' },
    SuccessionEnded: { level: 'info', message: 'evaluation has ended: it was succeeded' },
    CheckpointAssessed: { level: 'info', message: 'verdict reached' },
    HoldPlaced: { level: 'warn', message: 'run on hold' },
    HoldLifted: { level: 'info', message: 'hold lifted' },
    HaltOrdered: { level: 'warn', message: 'halt ordered' },
    WouldHaveHalted: { level: 'warn', message: 'SHADOW: run would have been halted' },
    WouldHaveHeld: { level: 'warn', message: 'SHADOW: run would have been held' },
    ShadowEnded: { level: 'warn', message: 'shadow ended: the run is armed' },
    HaltEscalated: { level: 'error', message: 'halt not confirmed in time' },
    HaltReopened: { level: 'error', message: 'halted run shows life' },
    StopWithdrawn: { level: 'error', message: 'halted run is said to have stopped and shows life' },
    HaltConfirmed: { level: 'info', message: 'run has stopped' },
    RunResumed: { level: 'warn', message: 'run resumed' },
  };

const FIELDS = ['checkpointId', 'evaluationId', 'attempt', 'verdict', 'haltId', 'holdId', 'action', 'reason'];

export function observeCommits(runs: RunService, sinks: Sinks): void {
  runs.onCommit((commit) => {
    tellCommit(commit);
    for (const { kind, data, recordedAt } of commit.events) {
      sinks.metrics.count('interlock_ledger_events_total', { kind });
      record(kind, data, sinks.metrics);
      time(commit, kind, data, recordedAt, sinks.metrics);
      const line = lineOf(kind);
      if (line === undefined) continue;
      const fields = Object.fromEntries(FIELDS.flatMap((name) => (name in data ? [[name, data[name]]] : [])));
      withCorrelation(correlationOf(commit, data), () =>
        sinks.logger[line.level]({ runId: commit.runId, ...fields }, line.message),
      );
    }
  });
}

/** What the parts know of themselves, read when somebody asks. */
export function observeParts(
  metrics: Metrics,
  {
    database,
    reconciler,
  }: {
    readonly database: Pick<DatabaseHandle, 'onDown' | 'onUp'>;
    readonly reconciler: Pick<Reconciler, 'counters'>;
  },
): void {
  let isUp = true;
  database.onDown(() => {
    isUp = false;
  });
  database.onUp(() => {
    isUp = true;
  });
  metrics.collect('interlock_database_up', () => (isUp ? 1 : 0));
  metrics.collect('interlock_queue_refusals_total', () => reconciler.counters.refused);
  metrics.collect('interlock_reconciler_sweeps_total', () => reconciler.counters.sweeps);
  metrics.collect('interlock_reconciler_sweep_failures_total', () => reconciler.counters.sweepFailures);
  metrics.collect('interlock_reconciler_direct_runs_total', () => reconciler.counters.directRuns);
  metrics.collect('interlock_process_resident_memory_bytes', () => process.memoryUsage.rss());
  metrics.set('interlock_process_start_time_seconds', {}, Math.round(performance.timeOrigin) / 1000);
}

const LINE_OF = new Map<string, (typeof LINES)[RunEventKind]>(Object.entries(LINES));

function lineOf(kind: string): { level: 'info' | 'warn' | 'error'; message: string } | undefined {
  return LINE_OF.get(kind);
}

function record(kind: string, data: Readonly<Record<string, unknown>>, metrics: Metrics): void {
  const word = (name: string): string => (typeof data[name] === 'string' ? String(data[name]) : 'unknown');
  if (kind === 'CheckpointReported') {
    metrics.count('interlock_checkpoints_total', {
      disposition: data['deadlineAt'] === null ? 'recorded' : 'evaluate',
    });
  } else if (kind === 'CheckpointAssessed') {
    metrics.count('interlock_verdicts_total', { verdict: word('verdict') });
  } else if (kind === 'EvaluationReported') {
    metrics.count('interlock_evaluations_total', { outcome: 'reported' });
  } else if (kind === 'EvaluationAttemptFailed') {
    metrics.count('interlock_evaluations_total', { outcome: word('reason') });
  } else if (kind === 'HaltOrdered') {
    metrics.count('interlock_halts_total', { cause: kindOf(data['cause']) });
  } else if (kind === 'WouldHaveHalted') {
    metrics.count('interlock_would_have_halted_total', { cause: kindOf(data['cause']) });
  } else if (kind === 'WouldHaveHeld') {
    metrics.count('interlock_would_have_held_total', {});
  } else if (kind === 'HaltStepTaken') {
    metrics.count('interlock_halt_steps_total', { kind: word('step'), outcome: word('outcome') });
  } else if (kind === 'AlertAttempted') {
    metrics.count('interlock_alert_deliveries_total', { channel: word('channel'), outcome: word('outcome') });
  }
}

function kindOf(cause: unknown): string {
  return typeof cause === 'object' && cause !== null && 'kind' in cause ? String(cause.kind) : 'unknown';
}

/** The times people ask for after a halt, each from recorded instants. */
function time(
  { before, after, events }: Commit,
  kind: string,
  data: Readonly<Record<string, unknown>>,
  recordedAt: string,
  metrics: Metrics,
): void {
  const instant = typeof data['at'] === 'string' ? Date.parse(data['at']) : Date.parse(recordedAt);
  const seconds = (from: string, toMs: number): number => Math.max(0, toMs - Date.parse(from)) / 1000;
  if (kind === 'HaltOrdered') {
    // The order stands in the append of its evidence; a person's, a deadline's or a heartbeat's has no result in it.
    const evidence = events.find((event) => event.kind === 'EvaluationReported')?.data['at'];
    if (typeof evidence === 'string') {
      const spent = seconds(evidence, Date.parse(recordedAt));
      metrics.observe('interlock_halt_evidence_to_order_seconds', {}, spent);
    }
  } else if (kind === 'HaltStepTaken' && data['outcome'] === 'accepted' && after.halt !== null) {
    const { targetId } = data;
    const taken = before?.halt?.targets.find((each) => each.targetId === targetId)?.steps ?? [];
    if (taken.some(({ acceptances }) => acceptances > 0)) return;
    const target = after.targets.find((each) => each.targetId === targetId);
    const spent = seconds(after.halt.roundAt, instant);
    metrics.observe('interlock_halt_order_to_delivery_seconds', { kind: target?.kind ?? 'unknown' }, spent);
  } else if (kind === 'HaltConfirmed' && after.halt !== null) {
    metrics.observe('interlock_halt_order_to_stop_seconds', {}, seconds(after.halt.roundAt, instant));
  } else if (kind === 'EvaluationReported' || kind === 'EvaluationAttemptFailed') {
    const started = (before?.checkpoints ?? [])
      .flatMap(({ evaluations }) => evaluations)
      .find(({ evaluationId }) => evaluationId === data['evaluationId'])
      ?.attempts.find(({ attempt }) => attempt === data['attempt'])?.startedAt;
    const outcome = kind === 'EvaluationReported' ? 'reported' : 'failed';
    if (started != null) {
      metrics.observe('interlock_evaluation_duration_seconds', { outcome }, seconds(started, instant));
    }
  }
}

/** The id of the webhook that brought the checkpoint, through evaluation and verdict to the halt. */
export function correlationOf(
  { after }: Pick<Commit, 'after'>,
  data: Readonly<Record<string, unknown>>,
): string {
  const byCheckpoint = after.checkpoints.find(
    ({ checkpointId, evaluations }) =>
      checkpointId === data['checkpointId'] ||
      evaluations.some(({ evaluationId }) => evaluationId === data['evaluationId']),
  );
  if (byCheckpoint !== undefined) return byCheckpoint.correlationId;
  const [cause] = after.halt?.causes ?? [];
  const halting = cause?.kind === 'rule' ? cause.checkpointId : null;
  return after.checkpoints.find(({ checkpointId }) => checkpointId === halting)?.correlationId ?? after.runId;
}
