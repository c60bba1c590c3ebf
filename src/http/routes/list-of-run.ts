/** A route that lists what the views keep of a run under one kind, the newest first. */
import type { z } from 'zod';
import type { ViewRow } from '../../ledger/ledger.ts';
import type { LoadedRun } from '../../service/run-service.ts';
import { type Route, route } from '../route.ts';
import { isRefusal, listOf, loadRun, newestOf, PageQuery, RunParams } from './common.ts';
import type { Services } from './services.ts';

export function listOfRun<I, O extends I>(
  { runs, ledger }: Services,
  {
    kind,
    item,
    show = (doc) => item.parse(doc),
    complete = (items) => Promise.resolve(items),
    ...described
  }: {
    path: string;
    summary: string;
    description?: string;
    tags: readonly string[];
    kind: string;
    item: z.ZodType<O, I>;
    /** What is shown of a row where that is not the row as it is kept. */
    show?: (doc: ViewRow['doc'], loaded: LoadedRun) => O;
    /** Adds what no view keeps. */
    complete?: (items: O[], runId: string) => Promise<O[]>;
  },
): Route {
  return route({
    method: 'GET',
    ...described,
    params: RunParams,
    query: PageQuery,
    responses: { 200: listOf(item) },
    handler: async ({ params, query }) => {
      const loaded = await loadRun(runs, params.run);
      if (isRefusal(loaded)) return loaded;
      const page = await newestOf(ledger, { kind, runId: params.run }, query, (doc) => show(doc, loaded));
      return { status: 200 as const, body: { ...page, items: await complete(page.items, params.run) } };
    },
  });
}
