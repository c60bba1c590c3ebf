/** The end of a run's shadow by an operator's word: what stands against the run acts from then on. */
import { z } from 'zod';
import { type Route, route } from '../route.ts';
import { isFailed, isRefusal, loadRun, OF_RUN, RunParams, receiptOf, refusalOf } from './common.ts';
import { RunDocument, runDocument } from './documents.ts';
import type { Services } from './services.ts';

export const armingRoutes = ({ runs, progress, clock }: Services): Route[] => [
  route({
    method: 'POST',
    path: '/v1/runs/:run/arm',
    summary: "End a run's shadow: what stands against it acts at once",
    description:
      'Halts are ordered and holds placed in the same decision. A run that is armed already is left as it is. There is no way back.',
    tags: ['runs'],
    params: RunParams,
    body: z.strictObject({}),
    responses: { 200: RunDocument },
    handler: async (call) => {
      const { params, identity } = call;
      const executed = await runs.execute(
        params.run,
        { type: 'ArmRun', by: identity.id },
        { actor: identity.id, receipt: receiptOf(call), urgent: true },
      );
      if (isFailed(executed)) return refusalOf(executed, OF_RUN);
      const loaded = await loadRun(runs, params.run);
      if (isRefusal(loaded)) return loaded;
      return { status: 200, body: runDocument(loaded, await progress.read(params.run), clock()) };
    },
  }),
];
