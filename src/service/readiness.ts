/** Is this instance fit for its duty? Each check says what was found and what to do; one bad check is not ready. */
import { z } from 'zod';

export const CheckSchema = z.object({ name: z.string(), ok: z.boolean(), detail: z.string() });
export type Check = z.infer<typeof CheckSchema>;

export interface ReadinessDeps {
  readonly database: () => Promise<void>;
  readonly queue: () => Promise<readonly Check[]>;
  readonly lastSweepAt: () => Date | null;
  readonly clock: () => Date;
  readonly durability: string;
  /** What else this process is known to do or not to do; settled at start. */
  readonly standing?: readonly Check[];
}

const SWEEP_STALE_MS = 30_000;

export async function readiness(
  deps: ReadinessDeps,
): Promise<{ ready: boolean; durability: string; checks: Check[] }> {
  const { durability } = deps;
  const database = await deps.database().then(
    (): Check => ({
      name: 'database',
      ok: true,
      detail: `answers; acknowledged work survives a ${durability}`,
    }),
    (): Check => ({ name: 'database', ok: false, detail: 'does not answer; nothing can be acknowledged' }),
  );
  const queue = await deps.queue();
  const sweptMs = deps.lastSweepAt()?.getTime() ?? 0;
  const stale = deps.clock().getTime() - sweptMs > SWEEP_STALE_MS;
  const reconciler: Check = stale
    ? { name: 'reconciler', ok: false, detail: 'has not swept for over 30 s; deadlines may pass unseen' }
    : { name: 'reconciler', ok: true, detail: 'sweeps' };
  const checks = [database, ...queue, reconciler, ...(deps.standing ?? [])];
  return { ready: checks.every(({ ok }) => ok), durability, checks };
}
