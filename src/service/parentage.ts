/**
 * Parentage: whose weights those are that a run names as its parents.
 *
 * A parent is a run, `run/checkpoint`, or the digest of weights that a checkpoint of some run reported; whoever reported
 * it. What is none of these is unknown, and the domain says what follows. Weights of a run that name no checkpoint, or
 * one that was never reported, count as the furthest that the run has been: missing is not zero.
 */
import { z } from 'zod';
import { type Compute, ComputeSchema, maxCompute } from '../domain/compute.ts';
import { united, workAt } from '../domain/run/ancestry.ts';
import type { Ancestry, Contribution, KnownParent } from '../domain/run/ancestry-documents.ts';
import { checkpointKey } from '../domain/run/view.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { ProgressStore } from '../ledger/progress.ts';
import type { RunService } from './run-service.ts';

export interface ParentageDeps {
  readonly runs: Pick<RunService, 'load'>;
  readonly ledger: Pick<Ledger, 'view' | 'views'>;
  readonly progress: Pick<ProgressStore, 'read'>;
}

/** `self`: a run may name its own earlier weights, which add nothing to it. */
export type ResolveParents = (names: readonly string[], self: string) => Promise<Ancestry>;

const RUN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const CheckpointDoc = z.object({ effectiveCompute: ComputeSchema });
const WeightsDoc = z.object({
  runId: z.string(),
  checkpointId: z.string(),
  effectiveCompute: ComputeSchema,
});
/** Reports of equal weights that are looked at: the others are copies of them too. */
const COPIES_MAX = 64;

interface Found {
  readonly parent: KnownParent;
  readonly work: readonly Contribution[];
}

export function createParentage({ runs, ledger, progress }: ParentageDeps): ResolveParents {
  async function furthest(runId: string, fromEvents: Compute | null): Promise<Compute | null> {
    const { computeHigh } = await progress.read(runId);
    if (computeHigh === null || fromEvents === null) return computeHigh ?? fromEvents;
    return maxCompute(computeHigh, fromEvents);
  }

  async function byDigest(stated: string): Promise<Omit<KnownParent, 'stated'>[]> {
    const rows = await ledger.views({ kind: 'weights', runId: stated, limit: COPIES_MAX, order: 'asc' });
    return rows.map(({ doc }) => WeightsDoc.parse(doc));
  }

  async function byName(stated: string): Promise<Omit<KnownParent, 'stated'>[]> {
    const [runId = '', ...rest] = stated.split('/');
    if (!RUN.test(runId)) return [];
    const loaded = await runs.load(runId);
    if (loaded === null) return [];
    const checkpointId = rest.length === 0 ? null : rest.join('/');
    const row =
      checkpointId === null ? null : await ledger.view('checkpoint', checkpointKey(runId, checkpointId));
    const reported = CheckpointDoc.safeParse(row?.doc);
    const effectiveCompute = reported.success
      ? reported.data.effectiveCompute
      : await furthest(runId, loaded.state.computeHigh);
    return [{ runId, checkpointId, effectiveCompute }];
  }

  async function withWork(parent: KnownParent, self: string): Promise<Found | null> {
    if (parent.runId === self) return { parent, work: [] };
    const loaded = await runs.load(parent.runId);
    return loaded === null ? null : { parent, work: workAt(loaded.state, parent.effectiveCompute) };
  }

  return async (names, self) => {
    const known: KnownParent[] = [];
    const unknown: string[] = [];
    const work: (readonly Contribution[])[] = [];
    for (const stated of new Set(names)) {
      const places = await (DIGEST.test(stated) ? byDigest(stated) : byName(stated));
      const found: Found[] = [];
      for (const place of places) {
        const one = await withWork({ stated, ...place }, self);
        if (one !== null) found.push(one);
      }
      if (found.length === 0) unknown.push(stated);
      known.push(...found.map(({ parent }) => parent));
      // Copies of the same weights are one contribution: where their reports differ, the most that any states.
      work.push(...found.map((each) => each.work));
    }
    return { known, unknown, work: united(...work) };
  };
}
