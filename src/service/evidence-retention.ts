/** Removes evidence that is older than its retention, once a day. The ledger goes on naming it by digest. */
import type { EvidenceStore } from '../evidence/evidence-store.ts';
import { realTimers, type Timers } from '../timers.ts';

const DAY_MS = 86_400_000;

export function startRetention({
  store,
  retentionMs,
  clock,
  logger,
  timers = realTimers,
}: {
  readonly store: Pick<EvidenceStore, 'expire'>;
  readonly retentionMs: number;
  readonly clock: () => Date;
  readonly logger: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
  readonly timers?: Timers;
}): { stop(): Promise<void> } {
  let under: Promise<void> = Promise.resolve();
  let isStopped = false;
  let timer = timers.set(sweep, 0, { unref: true });

  function sweep(): void {
    under = store
      .expire(new Date(clock().getTime() - retentionMs))
      .then((removed) => {
        if (removed > 0) logger.info({ removed }, 'evidence was removed at the end of its retention');
      })
      .catch((error: unknown) =>
        logger.warn({ err: error }, 'old evidence could not be removed; tried again in a day'),
      )
      .then(() => {
        if (!isStopped) timer = timers.set(sweep, DAY_MS, { unref: true });
      });
  }
  return {
    async stop() {
      isStopped = true;
      timers.clear(timer);
      await under;
    },
  };
}
