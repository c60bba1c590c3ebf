/** What commits mean for logs and metrics: one line per fact that a person would want to read, no content. */
import type { RunEventKind } from '../domain/run/events.ts';
import { withCorrelation } from '../telemetry/correlation.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Commit, RunService } from './run-service.ts';

interface Sinks {
  readonly logger: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
  readonly metrics: Metrics;
}

/** Facts worth a line; the rest is in the ledger. `warn` is for what people should notice. */
const LINES: Readonly<Partial<Record<RunEventKind, { level: 'info' | 'warn'; message: string }>>> = {
  RunRegistered: { level: 'info', message: 'run registered' },
  CheckpointReported: { level: 'info', message: 'checkpoint reported' },
  EvaluationReported: { level: 'info', message: 'evaluation reported' },
  EvaluationAttemptFailed: { level: 'warn', message: 'evaluation attempt failed' },
  CheckpointAssessed: { level: 'info', message: 'verdict reached' },
  HoldPlaced: { level: 'warn', message: 'run on hold' },
  HoldLifted: { level: 'info', message: 'hold lifted' },
  HaltOrdered: { level: 'warn', message: 'halt ordered' },
  HaltEscalated: { level: 'warn', message: 'halt not confirmed in time' },
  HaltReopened: { level: 'warn', message: 'halted run shows life' },
  HaltConfirmed: { level: 'info', message: 'run has stopped' },
  RunResumed: { level: 'warn', message: 'run resumed' },
};

const FIELDS = ['checkpointId', 'evaluationId', 'attempt', 'verdict', 'haltId', 'holdId', 'action', 'reason'];

export function observeCommits(runs: RunService, sinks: Sinks): void {
  runs.onCommit((commit) => {
    for (const { kind, data } of commit.events) {
      sinks.metrics.count('interlock_ledger_events_total', { kind });
      record(kind, data, sinks.metrics);
      const line = lineOf(kind);
      if (line === undefined) continue;
      const fields = Object.fromEntries(FIELDS.flatMap((name) => (name in data ? [[name, data[name]]] : [])));
      withCorrelation(correlationOf(commit, data), () =>
        sinks.logger[line.level]({ runId: commit.runId, ...fields }, line.message),
      );
    }
  });
}

function lineOf(kind: string): { level: 'info' | 'warn'; message: string } | undefined {
  return Object.entries(LINES).find(([name]) => name === kind)?.[1];
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
    const cause = data['cause'];
    const by =
      typeof cause === 'object' && cause !== null && 'kind' in cause ? String(cause.kind) : 'unknown';
    metrics.count('interlock_halts_total', { cause: by });
  } else if (kind === 'HaltStepTaken') {
    metrics.count('interlock_halt_steps_total', { kind: word('step'), outcome: word('outcome') });
  } else if (kind === 'AlertAttempted') {
    metrics.count('interlock_alert_deliveries_total', { channel: word('channel'), outcome: word('outcome') });
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
