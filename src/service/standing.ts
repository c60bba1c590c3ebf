/**
 * The gauges that need a look outside: at the database and at the queue, taken when somebody scrapes.
 *
 * A look is shared by all who ask at once and kept for a moment; it has a deadline. What could not be seen has no
 * sample afterwards: an old figure would say that all is well. Nothing here is in the way of anything else.
 */
import type { Standing } from '../ledger/standing.ts';
import type { Reconciler } from '../queue/reconciler.ts';
import type { QueueDepth } from '../queue/work-queue.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Check } from './readiness.ts';

export interface StandingSources {
  readonly standing: () => Promise<Standing>;
  readonly queueDepths: () => Promise<readonly QueueDepth[]>;
  readonly queueChecks: () => Promise<readonly Check[]>;
  readonly reconciler: Pick<Reconciler, 'lastSweepAt' | 'lastSweep'>;
  /** False where another process sweeps: then there is nothing to say of it here. */
  readonly isScheduler: boolean;
  readonly running: () => number;
  readonly clock: () => Date;
}

const FRESH_MS = 3_000;
const DEADLINE_MS = 3_000;
const STATUSES = ['training', 'on-hold', 'halted', 'finished'] as const;

interface Look {
  readonly standing: Standing | null;
  readonly depths: readonly QueueDepth[];
  readonly queueUp: boolean;
  readonly clockOffsetSeconds: number | null;
}

const UNSEEN: Look = { standing: null, depths: [], queueUp: false, clockOffsetSeconds: null };

/** Gives what is to be awaited before metrics are rendered; it never throws. */
export function observeStanding(metrics: Metrics, sources: StandingSources): () => Promise<void> {
  const { clock, reconciler, isScheduler } = sources;
  let look = UNSEEN;
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  let looking: Promise<void> | undefined;

  async function takeLook(): Promise<void> {
    const beforeMs = clock().getTime();
    const startedMs = performance.now();
    const known = sources.standing().then(
      (standing) => {
        const uncertaintyMs = (performance.now() - startedMs) / 2;
        return { standing, offset: (beforeMs + uncertaintyMs - standing.databaseTimeMs) / 1000 };
      },
      () => null,
    );
    const [seen, depths, checks] = await Promise.all([
      orElse(known, null),
      orElse(sources.queueDepths(), []),
      orElse(sources.queueChecks(), null),
    ]);
    look = {
      standing: seen?.standing ?? null,
      depths,
      queueUp: checks?.every(({ ok }) => ok) ?? false,
      clockOffsetSeconds: seen?.offset ?? null,
    };
    lookedAtMs = performance.now();
  }

  metrics.collectAll('interlock_runs', () => {
    const { standing } = look;
    if (standing === null) return [];
    return STATUSES.map((status) => ({
      labels: { status },
      value: standing.runs.find((each) => each.status === status)?.count ?? 0,
    }));
  });
  metrics.collectAll('interlock_halts_open', () => {
    const halts = look.standing?.halts;
    if (halts === undefined) return [];
    return [
      { labels: { stopped: 'no' }, value: halts.notStopped },
      { labels: { stopped: 'yes' }, value: halts.stopped },
    ];
  });
  metrics.collect('interlock_holds_open', () => look.standing?.holds ?? null);
  metrics.collect('interlock_runs_in_shadow', () => look.standing?.inShadow ?? null);
  metrics.collect('interlock_permits_lapsed', () => look.standing?.lapsed ?? null);
  metrics.collect('interlock_ledger_size', () => look.standing?.ledgerSize ?? null);
  metrics.collect('interlock_signed_head_age_seconds', () => look.standing?.signedHead?.ageSeconds ?? null);
  metrics.collect('interlock_signed_head_lag_events', () => {
    const { standing } = look;
    return standing === null ? null : standing.ledgerSize - (standing.signedHead?.size ?? 0);
  });
  metrics.collect('interlock_due_lag_seconds', () => look.standing?.dueLagSeconds ?? null);
  metrics.collect('interlock_clock_offset_seconds', () => look.clockOffsetSeconds);
  metrics.collect('interlock_queue_up', () => (look.queueUp ? 1 : 0));
  metrics.collectAll('interlock_queue_jobs', () =>
    look.depths.map(({ kind, state, jobs }) => ({ labels: { kind, state }, value: jobs })),
  );
  metrics.collectAll('interlock_outstanding_due', () =>
    Object.entries(reconciler.lastSweep?.due ?? {}).map(([kind, value]) => ({ labels: { kind }, value })),
  );
  metrics.collect('interlock_outstanding_not_queued', () => reconciler.lastSweep?.notQueued ?? null);
  metrics.collect('interlock_reconcile_lag_seconds', () => {
    const { lastSweepAt } = reconciler;
    if (!isScheduler || lastSweepAt === null) return null;
    return Math.max(0, clock().getTime() - lastSweepAt.getTime()) / 1000;
  });
  metrics.collect('interlock_evaluations_running', sources.running);

  return () => {
    if (performance.now() - lookedAtMs < FRESH_MS) return Promise.resolve();
    looking ??= takeLook().finally(() => {
      looking = undefined;
    });
    return looking;
  };
}

/** The fallback where it fails or takes too long. */
async function orElse<T, U>(work: Promise<T>, fallback: U): Promise<T | U> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<U>((resolve) => {
    timer = setTimeout(() => resolve(fallback), DEADLINE_MS);
  });
  try {
    return await Promise.race([work.catch(() => fallback), limit]);
  } finally {
    clearTimeout(timer);
  }
}
