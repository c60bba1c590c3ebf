/**
 * Looks, for as long as a halt stands, whether a target that was seen stopped runs again (domain/run/fence.ts says what follows).
 *
 * Every LOOK_EVERY_MS all of them, AT_ONCE at a time, each with a time limit; what cannot be seen is no life and no
 * stop, and is looked at again. Two services that look at the same run find the same, and the ledger takes it once.
 * Not in the way of anything: what fails here is logged and comes again.
 */
import { fencedTargets } from '../domain/run/fence.ts';
import type { Orchestrator } from '../orchestrators/orchestrator.ts';
import { realTimers, type Timer, type Timers } from '../timers.ts';
import type { LoadedRun, RunService } from './run-service.ts';

const LOOK_EVERY_MS = 15_000;
const AT_ONCE = 8;
const LOOK_MS = 10_000;
const ACTOR = 'interlock';

export interface FenceWatchDeps {
  readonly runs: Pick<RunService, 'load' | 'execute'>;
  readonly haltedRuns: () => Promise<string[]>;
  readonly orchestratorOf: (loaded: LoadedRun, targetId: string) => Pick<Orchestrator, 'observe'> | null;
  readonly logger: { warn(fields: object, message: string): void };
  readonly timers?: Timers;
  readonly lookEveryMs?: number;
}

export interface FenceWatch {
  start(): void;
  /** One look at all of them. */
  look(): Promise<void>;
  stop(): Promise<void>;
}

export function createFenceWatch(deps: FenceWatchDeps): FenceWatch {
  const { runs, haltedRuns, orchestratorOf, logger, timers = realTimers } = deps;
  const stopping = new AbortController();
  let timer: Timer | null = null;
  let looking: Promise<void> = Promise.resolve();

  async function lookAt(loaded: LoadedRun, targetId: string): Promise<void> {
    const { halt, runId } = loaded.state;
    const orchestrator = orchestratorOf(loaded, targetId);
    if (orchestrator === null || halt === null) return;
    const limit = new AbortController();
    const abort = (): void => limit.abort();
    const limitTimer = timers.set(abort, LOOK_MS);
    stopping.signal.addEventListener('abort', abort, { once: true });
    try {
      const { state, detail } = await orchestrator.observe(limit.signal);
      if (state !== 'running' || stopping.signal.aborted) return;
      const { haltId } = halt;
      await runs.execute(
        runId,
        { type: 'RecordLife', haltId, targetId, detail },
        { actor: ACTOR, urgent: true },
      );
    } finally {
      timers.clear(limitTimer);
      stopping.signal.removeEventListener('abort', abort);
    }
  }

  async function lookAtRun(runId: string): Promise<void> {
    const loaded = await runs.load(runId);
    if (loaded === null) return;
    for (const targetId of fencedTargets(loaded.state)) {
      if (stopping.signal.aborted) return;
      await lookAt(loaded, targetId).catch((error: unknown) => {
        logger.warn({ err: error, runId, targetId }, 'a halted run was not looked at; it comes again');
      });
    }
  }

  async function look(): Promise<void> {
    const waiting = await haltedRuns();
    const take = async (): Promise<void> => {
      for (let runId = waiting.shift(); runId !== undefined; runId = waiting.shift()) {
        if (stopping.signal.aborted) return;
        await lookAtRun(runId);
      }
    };
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, waiting.length) }, take));
  }

  function again(): void {
    if (stopping.signal.aborted) return;
    timer = timers.set(round, deps.lookEveryMs ?? LOOK_EVERY_MS, { unref: true });
  }

  function round(): void {
    looking = look()
      .catch((error: unknown) =>
        logger.warn({ err: error }, 'halted runs were not looked at; it comes again'),
      )
      .then(again);
  }

  return {
    look,
    start: again,
    async stop() {
      stopping.abort();
      if (timer !== null) timers.clear(timer);
      await looking;
    },
  };
}
