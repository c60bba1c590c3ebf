/**
 * The `security` stream: refusals that matter (a bad signature, another source's run, a reused id), for people
 * who look for intruders. Never part of a run's stream, and capped per code, so that a flood of refusals cannot
 * flood the ledger, nor one of bad tokens hide a reused id. Losing one is not a loss of state: a failure to write
 * is logged.
 */
import type { Ledger } from '../ledger/ledger.ts';

export interface SecurityReport {
  readonly code: string;
  readonly status: number;
  readonly method: string;
  readonly route: string;
  readonly correlationId: string;
  readonly identityId: string | null;
}

export const SECURITY_STREAM = 'security';
const PER_MINUTE_MAX = 30;
const ATTEMPTS_MAX = 5;

export interface SecurityLog {
  /** Never throws, never waits. */
  report(report: SecurityReport): void;
  /** Resolves when what was reported so far is written or given up. */
  settled(): Promise<void>;
}

export function createSecurityLog(
  ledger: Ledger,
  clock: () => Date,
  logger: { warn(fields: object, message: string): void },
): SecurityLog {
  let windowStart = 0;
  /** By code, of which there are a few and all ours. */
  const counts = new Map<string, number>();
  const suppressed = new Map<string, number>();
  let writing: Promise<void> = Promise.resolve();

  async function write(report: SecurityReport, left: number): Promise<void> {
    for (let i = 0; i < ATTEMPTS_MAX; i += 1) {
      const head = await ledger.load(SECURITY_STREAM);
      const written = await ledger.append({
        stream: SECURITY_STREAM,
        expectedVersion: head?.version ?? 0,
        events: [
          { kind: 'RequestRefused', data: { ...report, suppressedBefore: left, at: clock().toISOString() } },
        ],
        actor: report.identityId ?? 'anonymous',
        snapshot: { state: null, dueAt: null },
        views: [],
      });
      if (written.outcome === 'appended') return;
    }
  }

  return {
    report(report) {
      const nowMs = clock().getTime();
      if (nowMs - windowStart > 60_000) {
        windowStart = nowMs;
        counts.clear();
      }
      const { code } = report;
      const count = (counts.get(code) ?? 0) + 1;
      counts.set(code, count);
      const left = suppressed.get(code) ?? 0;
      if (count > PER_MINUTE_MAX) {
        suppressed.set(code, left + 1);
        return;
      }
      suppressed.delete(code);
      writing = writing
        .then(() => write(report, left))
        .catch((error: unknown) => logger.warn({ err: error }, 'a security event could not be recorded'));
    },
    settled: () => writing,
  };
}
