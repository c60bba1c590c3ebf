/**
 * Is this instance fit for its duty? Each check says what was found and what to do.
 *
 * The duty is to acknowledge, to answer heartbeats and to halt. It needs the database and the sweeps; it does not need
 * the queue, whose work the reconciler does meanwhile. So with the queue away it is still ready, and `cannot`
 * and the checks say what is amiss: taking it out of service would stop what works. Where nothing but the queue
 * brings this instance work (a worker that does not sweep), the queue is needed.
 */
import { z } from 'zod';

export const CheckSchema = z.object({ name: z.string(), ok: z.boolean(), detail: z.string() });
export type Check = z.infer<typeof CheckSchema>;

/** What an instance is for, in the words of `/readyz`. */
export const DUTIES = ['acknowledge', 'issue-permits', 'evaluate', 'meet-deadlines'] as const;
export type Duty = (typeof DUTIES)[number];

export interface Readiness {
  readonly ready: boolean;
  readonly durability: string;
  readonly cannot: Duty[];
  readonly checks: Check[];
}

export interface ReadinessDeps {
  readonly database: () => Promise<void>;
  readonly queue: () => Promise<readonly Check[]>;
  /** False where the reconciler does what the queue does not. */
  readonly queueIsNeeded?: boolean;
  readonly lastSweepAt: () => Date | null;
  readonly clock: () => Date;
  readonly durability: string;
  /** Whether permits may be issued; null where there is nothing to compare with. */
  readonly issuing?: () => Check | null;
  /** What else this process is known to do or not to do; settled at start. */
  readonly standing?: readonly Check[];
  /** Said, and no reason to take this instance out of service: it does that duty itself meanwhile. */
  readonly advisory?: readonly Check[];
}

const SWEEP_STALE_MS = 30_000;

export async function readiness(deps: ReadinessDeps): Promise<Readiness> {
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
  const issuing = deps.issuing?.() ?? null;
  const own = [database, ...queue, reconciler, ...(issuing === null ? [] : [issuing])];
  const checks = [...own, ...(deps.standing ?? []), ...(deps.advisory ?? [])];
  const cannot = new Set<Duty>();
  // Halts are sent all the same: they need no queue, and what was ordered is known here.
  if (!database.ok) for (const duty of ['acknowledge', 'issue-permits'] as const) cannot.add(duty);
  // Without its queue a scheduler still evaluates, one at a time; that is not the duty done.
  if (!database.ok || queue.some(({ ok }) => !ok)) cannot.add('evaluate');
  if (!reconciler.ok) cannot.add('meet-deadlines');
  if (issuing?.ok === false) cannot.add('issue-permits');
  const needed = [database, reconciler, ...(deps.standing ?? []), ...(deps.queueIsNeeded ? queue : [])];
  return { ready: needed.every(({ ok }) => ok), durability, cannot: [...cannot], checks };
}
