/**
 * May anything of this run start? For launchers, schedulers' prolog scripts and admission hooks.
 *
 * Default-deny: 200 says yes, and nothing else does. A run that nobody registered, one that is halted, on hold or finished, one that
 * descends from a halted one, a ledger that cannot be written, no answer in time: all of them are no. A yes is of this
 * moment and starts nothing that then needs no permit.
 */
import { z } from 'zod';
import { conflict } from '../refusal.ts';
import { type Route, route } from '../route.ts';
import { ComputeOut, isRefusal, loadRun, RunParams } from './common.ts';
import type { Services } from './services.ts';

export const MayStartAnswer = z
  .object({
    runId: z.string(),
    mayStart: z.literal(true),
    epoch: z.int(),
    ceiling: ComputeOut.meta({ description: 'How far a permit would reach now, FLOP' }),
  })
  .meta({ id: 'MayStart', description: 'Nothing stands against a start of the run now' });

export function mayStartRoutes({ runs, heartbeats }: Services): Route[] {
  return [
    route({
      method: 'GET',
      path: '/v1/runs/:run/may-start',
      isFrequent: true,
      summary: 'Ask whether anything of the run may start',
      description:
        '200 is yes; every other answer, and none, is no. 409 `may-not-start` says why; 404: nobody registered it.',
      tags: ['runs'],
      params: RunParams,
      responses: { 200: MayStartAnswer },
      handler: async ({ params }) => {
        const loaded = await loadRun(runs, params.run);
        if (isRefusal(loaded)) return loaded;
        const answer = await heartbeats.mayStart(loaded);
        if (!answer.granted) return conflict('may-not-start', answer.reason);
        const { epoch, ceiling } = answer;
        return { status: 200, body: { runId: params.run, mayStart: true as const, epoch, ceiling } };
      },
    }),
  ];
}
