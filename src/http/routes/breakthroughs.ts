/** Breakthroughs: whoever knows that the run has become better than its compute says so, and the next checkpoint is due. */
import { z } from 'zod';
import { breakthroughKey } from '../../domain/run/view.ts';
import { digestOf } from '../../service/digest.ts';
import { forbidden, notFound } from '../refusal.ts';
import { type Route, route } from '../route.ts';
import {
  IdSchema,
  isFailed,
  isRefusal,
  loadRun,
  OF_RUN,
  RunParams,
  receiptOf,
  refusalOf,
  text,
} from './common.ts';
import { listOfRun } from './list-of-run.ts';
import type { Services } from './services.ts';

const DeclareBreakthrough = z
  .strictObject({
    breakthroughId: IdSchema.meta({ description: 'Chosen by you: the same again has no further effect' }),
    reason: text(1000),
    efficiencyMultiplier: z
      .number()
      .gt(0)
      .max(1e12)
      .optional()
      .meta({ description: 'By how much compute counts for more from here on, as far as it is known' }),
  })
  .meta({ id: 'BreakthroughDeclaration' });

const Breakthrough = z
  .object({
    runId: z.string(),
    breakthroughId: z.string(),
    reason: z.string(),
    efficiencyMultiplier: z.number().optional(),
    by: z.string(),
    at: z.string(),
    dueBy: z
      .string()
      .meta({ description: 'Without a due checkpoint by then the run is overdue, and on hold' }),
  })
  .meta({ id: 'Breakthrough' });

const KnownDigest = z.object({ contentDigest: z.string() });

export const breakthroughRoutes = (services: Services): Route[] => {
  const { runs, ledger } = services;
  return [
    route({
      method: 'POST',
      path: '/v1/runs/:run/breakthroughs',
      summary: 'Declare a breakthrough: the next checkpoint is due, whatever its compute',
      description:
        'By a source of the run, an operator or a governance group. The same again is answered 200; the same id with other content 409.',
      tags: ['runs'],
      params: RunParams,
      body: DeclareBreakthrough,
      responses: { 201: Breakthrough, 200: Breakthrough },
      handler: async (call) => {
        const { params, body, identity } = call;
        const loaded = await loadRun(runs, params.run);
        if (isRefusal(loaded)) return loaded;
        const { sources } = loaded.state;
        const speaksForAll = identity.roles.includes('operator') || identity.groups.length > 0;
        if (!speaksForAll && sources !== null && !sources.includes(identity.id)) {
          return forbidden(`${identity.id} is not a source of run ${params.run}`, 'path.run');
        }
        const key = breakthroughKey(params.run, body.breakthroughId);
        const { breakthroughId, reason, efficiencyMultiplier } = body;
        const executed = await runs.execute(
          params.run,
          async () => {
            const prior = KnownDigest.safeParse((await ledger.view('breakthrough', key))?.doc);
            return {
              type: 'DeclareBreakthrough',
              breakthroughId,
              reason,
              efficiencyMultiplier,
              contentDigest: digestOf(JSON.parse(JSON.stringify(body))),
              priorDigest: prior.success ? prior.data.contentDigest : null,
              by: identity.id,
            };
          },
          { actor: identity.id, receipt: receiptOf(call) },
        );
        if (isFailed(executed)) return refusalOf(executed, OF_RUN);
        const row = await ledger.view('breakthrough', key);
        if (row === null) return notFound('the breakthrough is not recorded', 'breakthroughId');
        return { status: executed.outcome === 'recorded' ? 201 : 200, body: Breakthrough.parse(row.doc) };
      },
    }),
    listOfRun(services, {
      path: '/v1/runs/:run/breakthroughs',
      summary: 'Breakthroughs declared of a run, the newest first',
      tags: ['runs'],
      kind: 'breakthrough',
      item: Breakthrough,
    }),
  ];
};
