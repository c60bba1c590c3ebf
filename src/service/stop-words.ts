/**
 * A trainer that said "stopped" and moves all the same: the halt reopens and pages by itself (domain/run/halt.ts); here
 * it becomes a security event too, because a false word is what an intruder at the trainer would say.
 */
import type { RunService } from './run-service.ts';
import type { SecurityLog, SecurityReport } from './security.ts';

/** What a trainer's heartbeats showed, told in the form of the security stream. */
export function aboutTrainer(code: string, by: string): SecurityReport {
  const route = '/v1/runs/:run/heartbeat';
  return { code, status: 200, method: 'POST', route, correlationId: '', identityId: by };
}

export function watchStopWords(runs: Pick<RunService, 'onCommit'>, security: SecurityLog): void {
  runs.onCommit(({ before, events }) => {
    const said = before?.halt ?? null;
    if (said === null || (said.stoppedAckAt === null && said.confirmedAt === null)) return;
    const belied = events.find(({ kind }) => kind === 'HaltReopened' || kind === 'StopWithdrawn');
    if (belied === undefined || belied.data['reason'] === 'ordered-again') return;
    // An orchestrator shows it, and whoever started it again is not known.
    if (belied.data['targetId'] !== undefined) return;
    // Only an orchestrator had said it.
    if (belied.data['acknowledged'] === false) return;
    security.report(aboutTrainer('false-stop', belied.actor));
  });
}
