/**
 * Carries a halt to the runs that it reaches beside its own (domain/run/lineage.ts says which), and tells a run of a
 * parent that nobody knew when it was named.
 *
 * Three ways, so that none need be relied on: right after the commit of the halt, by whoever committed it; when a run
 * registers or a descendant asks for a permit, which it then does not get; and by a sweep, for a process that died in
 * between. Not in the way of a halt: what fails here is logged and comes again.
 */
import { z } from 'zod';
import { explain } from '../domain/run/halt.ts';
import { inheritedHalt, origins, parentRuns, siblingHalt, sidewaysCause } from '../domain/run/lineage.ts';
import type { RunState } from '../domain/run/state.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { realTimers, type Timer, type Timers } from '../timers.ts';
import type { ResolveParents } from './parentage.ts';
import type { Commit, RunService } from './run-service.ts';

const SWEEP_EVERY_MS = 30_000;
const PAGE = 500;
const EdgeDoc = z.object({ parent: z.string(), child: z.string() });
const ACTOR = 'interlock';

export interface Lineage {
  /** Latches the run by the halts of its parents and siblings, if any stands. */
  latch(state: RunState): Promise<void>;
  start(): void;
  stop(): Promise<void>;
}

export interface LineageDeps {
  readonly runs: RunService;
  readonly ledger: Pick<Ledger, 'views'>;
  readonly resolveParents: ResolveParents;
  readonly logger: { warn(fields: object, message: string): void };
  readonly timers?: Timers;
}

export function createLineage(deps: LineageDeps): Lineage {
  const { runs, ledger, resolveParents, logger, timers = realTimers } = deps;
  const spreading = new Set<Promise<void>>();
  let timer: Timer | null = null;
  let stopped = false;

  async function stateOf(runId: string): Promise<RunState | null> {
    return (await runs.load(runId))?.state ?? null;
  }

  async function latchBy(child: RunState, parent: RunState): Promise<void> {
    const halt = inheritedHalt(child, parent);
    if (halt === null) return;
    const [cause] = halt.causes;
    const reason = cause === undefined ? 'halted' : explain(cause);
    const { haltId, action } = halt;
    await runs.execute(
      child.runId,
      { type: 'LatchLineage', ancestor: parent.runId, haltId, action, reason },
      { actor: ACTOR, urgent: true },
    );
  }

  async function latchBeside(run: RunState, sibling: RunState): Promise<void> {
    const found = siblingHalt(run, sibling);
    if (found === null) return;
    const { halt, cause, through } = found;
    const { haltId, action } = halt;
    await runs.execute(
      run.runId,
      { type: 'LatchLineage', ancestor: sibling.runId, haltId, action, reason: explain(cause), through },
      { actor: ACTOR, urgent: true },
    );
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

  async function latch(state: RunState): Promise<void> {
    for (const parentId of parentRuns(state)) {
      const parent = await stateOf(parentId);
      if (parent !== null) await latchBy(state, parent);
    }
    for (const origin of origins(state)) {
      for await (const { child } of edges(origin)) {
        const sibling = child === state.runId ? null : await stateOf(child);
        if (sibling !== null) await latchBeside(state, sibling);
      }
    }
  }

  /** From one halted run to those that descend from it, and to its siblings where its halt speaks of them. */
  async function spread(runId: string): Promise<void> {
    const halted = await stateOf(runId);
    if (halted === null || halted.halt === null) return;
    for await (const { child } of edges(runId)) {
      const state = await stateOf(child);
      if (state !== null) await latchBy(state, halted);
    }
    if (sidewaysCause(halted) === null) return;
    for (const origin of origins(halted)) {
      for await (const { child } of edges(origin)) {
        const state = child === runId ? null : await stateOf(child);
        if (state !== null) await latchBeside(state, halted);
      }
    }
  }

  /** Runs that named `name` when nobody knew it: what it turns out to be. */
  async function tell(name: string): Promise<void> {
    for await (const { child } of edges(name)) await findParents(child, (stated) => isOf(stated, name));
  }

  async function findParents(runId: string, isWanted: (stated: string) => boolean): Promise<void> {
    const state = await stateOf(runId);
    for (const { stated } of state?.lineage?.unknown ?? []) {
      if (!isWanted(stated)) continue;
      const ancestry = await resolveParents([stated], runId);
      if (ancestry.known.length === 0) continue;
      const found = await runs.execute(runId, { type: 'FindParent', stated, ancestry }, { actor: ACTOR });
      if (found.outcome === 'recorded') await latch(found.state);
    }
  }

  async function sweep(): Promise<void> {
    const children = new Set<string>();
    for await (const { child } of edges()) children.add(child);
    for (const child of children) {
      await findParents(child, () => true);
      const state = await stateOf(child);
      if (state === null) continue;
      for (const parentId of parentRuns(state)) {
        const parent = await stateOf(parentId);
        if (parent !== null) await latchBy(state, parent);
      }
      if (sidewaysCause(state) !== null) await spread(child);
    }
  }

  function inBackground(work: Promise<void>): Promise<void> {
    const done = work
      .catch((error: unknown) =>
        logger.warn({ err: error }, 'a halt did not reach all relatives yet; it comes again'),
      )
      .finally(() => spreading.delete(done));
    spreading.add(done);
    return done;
  }

  runs.onCommit(({ runId, events }: Commit) => {
    if (stopped) return;
    if (events.some(({ kind }) => HALTING.has(kind))) void inBackground(spread(runId));
    for (const name of namesIn(runId, events)) void inBackground(tell(name));
  });

  function again(): void {
    if (stopped) return;
    timer = timers.set(() => void inBackground(sweep()).then(again), SWEEP_EVERY_MS, { unref: true });
  }

  return {
    latch,
    start() {
      // At once: this may be the start after a crash between a halt and those that it reaches.
      void inBackground(sweep()).then(again);
    },
    async stop() {
      stopped = true;
      if (timer !== null) timers.clear(timer);
      await Promise.all([...spreading]);
    },
  };
}

/** A cause that is added to a halt may be the first that speaks of the weights. */
const HALTING: ReadonlySet<string> = new Set(['HaltOrdered', 'HaltCauseAdded']);

const isOf = (stated: string, name: string): boolean => stated === name || stated.startsWith(`${name}/`);

const ReportedWeights = z.object({ weightsDigest: z.string() });

/** Names under which the run's weights have become known with these events. */
function namesIn(runId: string, events: Commit['events']): string[] {
  return events.flatMap(({ kind, data }) => {
    if (kind === 'RunRegistered') return [runId];
    const reported = kind === 'CheckpointReported' ? ReportedWeights.safeParse(data) : null;
    return reported?.success === true ? [reported.data.weightsDigest] : [];
  });
}
