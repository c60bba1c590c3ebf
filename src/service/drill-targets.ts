/**
 * A drill never touches a real run: whether what it names as its shadow is a target of a run that is none.
 *
 * Looks at every run that is not finished. Fails toward refusing: a run whose targets cannot be read is one too many.
 */
import { z } from 'zod';
import type { RunTarget } from '../domain/run/halt-documents.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { targetIdentity, widerBy } from '../orchestrators/target-identity.ts';
import { targetSchema } from '../orchestrators/targets.ts';
import type { RunService } from './run-service.ts';

const Listed = z.object({
  runId: z.string(),
  finishedAt: z.string().nullable(),
  drill: z.boolean().default(false),
});
const PAGE = 200;

export interface ShadowProblem {
  /** Of the target in the list, and its field. */
  readonly path: string;
  readonly message: string;
}

export async function shadowProblem(
  shadows: readonly Pick<RunTarget, 'kind' | 'config'>[],
  { runs, ledger }: { readonly runs: Pick<RunService, 'load'>; readonly ledger: Pick<Ledger, 'views'> },
): Promise<ShadowProblem | null> {
  const stated = shadows.map(({ kind, config }) => targetSchema.parse({ kind, ...config }));
  for (const [i, target] of stated.entries()) {
    const field = widerBy(target);
    if (field !== null) {
      const message = 'must be left out of a drill: it stands for other jobs too, which may be real';
      return { path: `targets.${i}.${field}`, message };
    }
  }
  const named = stated.map(targetIdentity);
  let after: { after?: number } = {};
  for (;;) {
    const rows = await ledger.views({ kind: 'run', limit: PAGE, order: 'desc', ...after });
    for (const { doc } of rows) {
      const { runId, finishedAt, drill } = Listed.parse(doc);
      if (drill || finishedAt !== null) continue;
      const taken = await shared(runId, named, runs);
      if (taken !== null) {
        const message = `is a target of run ${runId}, which is no drill: name a job that nothing depends on`;
        return { path: `targets.${taken}`, message };
      }
    }
    const last = rows.at(-1);
    if (rows.length < PAGE || last === undefined) return null;
    after = { after: last.ordinal };
  }
}

async function shared(
  runId: string,
  named: readonly string[],
  runs: Pick<RunService, 'load'>,
): Promise<number | null> {
  const loaded = await runs.load(runId);
  const theirs = new Set(
    (loaded?.state.targets ?? []).map(({ kind, config }) =>
      targetIdentity(targetSchema.parse({ kind, ...config })),
    ),
  );
  const index = named.findIndex((each) => theirs.has(each));
  return index < 0 ? null : index;
}
