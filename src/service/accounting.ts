/**
 * Asks the orchestrators what they account to a run, so that the domain can hold stated compute against it.
 *
 * At each checkpoint that is reported, and by a sweep: a run that understates its compute has no checkpoint due. Only
 * where the policy says what an accelerator does, and only of targets that account for themselves. Nothing waits for
 * it; what cannot be asked now is asked again by the next sweep.
 */
import type { TargetUsage } from '../domain/run/ancestry-documents.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Orchestrator } from '../orchestrators/orchestrator.ts';
import { realTimers, type Timer, type Timers } from '../timers.ts';
import type { Commit, LoadedRun, RunService } from './run-service.ts';
import { unfinishedRuns } from './unfinished-runs.ts';

const SWEEP_EVERY_MS = 600_000;
const ASK_TIMEOUT_MS = 15_000;
const ACTOR = 'interlock';

export interface AccountingWatchDeps {
  readonly runs: RunService;
  readonly ledger: Pick<Ledger, 'views'>;
  readonly orchestratorOf: (loaded: LoadedRun, targetId: string) => Orchestrator | null;
  readonly logger: { warn(fields: object, message: string): void };
  readonly timers?: Timers;
}

export interface AccountingWatch {
  /** `sweeps`: on one process of several is enough; what is noted twice changes nothing. */
  start(options: { readonly sweeps: boolean }): void;
  stop(): Promise<void>;
}

export function createAccountingWatch(deps: AccountingWatchDeps): AccountingWatch {
  const { runs, ledger, orchestratorOf, logger, timers = realTimers } = deps;
  const asking = new Set<Promise<void>>();
  const stopping = new AbortController();
  let timer: Timer | null = null;

  async function usageOf(loaded: LoadedRun, targetId: string): Promise<TargetUsage | null> {
    const orchestrator = orchestratorOf(loaded, targetId);
    // A signal that is aborted already tells nobody once more.
    if (orchestrator?.usage === undefined || stopping.signal.aborted) return null;
    const limit = new AbortController();
    const abort = (): void => limit.abort();
    const expiry = timers.set(abort, ASK_TIMEOUT_MS, { unref: true });
    stopping.signal.addEventListener('abort', abort, { once: true });
    try {
      const usage = await orchestrator.usage(limit.signal);
      return usage !== null && isPlausible(usage) ? { targetId, ...figures(usage) } : null;
    } catch (error) {
      logger.warn(
        { err: error, runId: loaded.state.runId, targetId },
        'what a target accounts could not be asked',
      );
      return null;
    } finally {
      timers.clear(expiry);
      stopping.signal.removeEventListener('abort', abort);
    }
  }

  async function note(runId: string, checkpointId: string | null): Promise<void> {
    const loaded = await runs.load(runId);
    if (loaded === null || loaded.policy.accounting === undefined || loaded.state.finishedAt !== null) return;
    const all = await Promise.all(loaded.state.targets.map(({ targetId }) => usageOf(loaded, targetId)));
    const targets = all.filter((each) => each !== null);
    if (targets.length === 0 || stopping.signal.aborted) return;
    await runs.execute(runId, { type: 'NoteUsage', checkpointId, targets }, { actor: ACTOR });
  }

  async function sweep(): Promise<void> {
    for (const runId of await unfinishedRuns(ledger)) {
      if (stopping.signal.aborted) return;
      await note(runId, null);
    }
  }

  function inBackground(work: Promise<void>): Promise<void> {
    const done = work
      .catch((error: unknown) =>
        logger.warn({ err: error }, 'accounts were not noted; they are asked for again'),
      )
      .finally(() => asking.delete(done));
    asking.add(done);
    return done;
  }

  runs.onCommit(({ runId, policy, events }: Commit) => {
    if (stopping.signal.aborted || policy.accounting === undefined) return;
    for (const { kind, data } of events) {
      const { checkpointId } = data;
      if (kind !== 'CheckpointReported' || typeof checkpointId !== 'string') continue;
      void inBackground(note(runId, checkpointId));
    }
  });

  function again(): void {
    if (stopping.signal.aborted) return;
    timer = timers.set(() => void inBackground(sweep()).then(again), SWEEP_EVERY_MS, { unref: true });
  }

  return {
    start({ sweeps }) {
      if (sweeps) again();
    },
    async stop() {
      stopping.abort();
      if (timer !== null) timers.clear(timer);
      await Promise.all([...asking]);
    },
  };
}

type Figures = Omit<TargetUsage, 'targetId'>;

/** An adapter reads what others write: what is no quantity is nothing that can be counted with. */
function isPlausible({ nodeSeconds, acceleratorSeconds }: Figures): boolean {
  return [nodeSeconds, acceleratorSeconds ?? 0].every((value) => Number.isFinite(value) && value >= 0);
}

const figures = ({ nodeSeconds, acceleratorSeconds }: Figures): Figures => ({
  nodeSeconds,
  acceleratorSeconds,
});
