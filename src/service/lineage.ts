/**
 * Carries a halt to the runs that descend from the halted one (domain/run/lineage.ts says what that means).
 *
 * Three ways, so that none need be relied on: right after the commit of the halt, by whoever committed it; when a
 * descendant asks for a permit, which it then does not get; and by a sweep, for a process that died in between.
 * Not in the way of a halt: what fails here is logged and comes again.
 */
import { z } from 'zod';
import { explain } from '../domain/run/halt.ts';
import { inheritedHalt, parentRuns } from '../domain/run/lineage.ts';
import type { RunState } from '../domain/run/state.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { realTimers, type Timer, type Timers } from '../timers.ts';
import type { Commit, RunService } from './run-service.ts';

const SWEEP_EVERY_MS = 30_000;
const PAGE = 500;
const EdgeDoc = z.object({ parent: z.string(), child: z.string() });
const ACTOR = 'interlock';

export interface Lineage {
  /** Latches the run by the halts of its parents, if any stands. */
  latch(state: RunState): Promise<void>;
  start(): void;
  stop(): Promise<void>;
}

export interface LineageDeps {
  readonly runs: RunService;
  readonly ledger: Pick<Ledger, 'views'>;
  readonly logger: { warn(fields: object, message: string): void };
  readonly timers?: Timers;
}

export function createLineage({ runs, ledger, logger, timers = realTimers }: LineageDeps): Lineage {
  const spreading = new Set<Promise<void>>();
  let timer: Timer | null = null;
  let stopped = false;

  async function latchBy(child: RunState, parent: RunState): Promise<void> {
    const halt = inheritedHalt(child, parent);
    if (halt === null) return;
    const [cause] = halt.causes;
    await runs.execute(
      child.runId,
      {
        type: 'LatchLineage',
        ancestor: parent.runId,
        haltId: halt.haltId,
        action: halt.action,
        reason: cause === undefined ? 'halted' : explain(cause),
      },
      { actor: ACTOR, urgent: true },
    );
  }

  async function latch(state: RunState): Promise<void> {
    for (const parentId of parentRuns(state)) {
      const parent = await runs.load(parentId);
      if (parent !== null) await latchBy(state, parent.state);
    }
  }

  /** All edges below `parent`, or all there are. */
  async function* edges(parent?: string): AsyncIterable<z.infer<typeof EdgeDoc>> {
    let after: number | undefined;
    for (;;) {
      const rows = await ledger.views({
        kind: 'lineage',
        limit: PAGE,
        order: 'asc',
        ...(parent === undefined ? {} : { runId: parent }),
        ...(after === undefined ? {} : { after }),
      });
      for (const { doc } of rows) yield EdgeDoc.parse(doc);
      const last = rows.at(-1);
      if (rows.length < PAGE || last === undefined) return;
      after = last.ordinal;
    }
  }

  async function spread(parentId?: string): Promise<void> {
    for await (const { parent: named, child: childId } of edges(parentId)) {
      const parent = await runs.load(named);
      if (parent === null || parent.state.halt === null) continue;
      const child = await runs.load(childId);
      if (child !== null) await latchBy(child.state, parent.state);
    }
  }

  function inBackground(work: Promise<void>): Promise<void> {
    const done = work
      .catch((error: unknown) =>
        logger.warn({ err: error }, 'a halt did not reach all descendants yet; it comes again'),
      )
      .finally(() => spreading.delete(done));
    spreading.add(done);
    return done;
  }

  runs.onCommit(({ runId, events }: Commit) => {
    if (stopped) return;
    if (events.some(({ kind }) => kind === 'HaltOrdered')) void inBackground(spread(runId));
  });

  function again(): void {
    if (stopped) return;
    timer = timers.set(() => void inBackground(spread()).then(again), SWEEP_EVERY_MS, { unref: true });
  }

  return {
    latch,
    start() {
      // At once: this may be the start after a crash between a halt and its descendants.
      void inBackground(spread()).then(again);
    },
    async stop() {
      stopped = true;
      if (timer !== null) timers.clear(timer);
      await Promise.all([...spreading]);
    },
  };
}
