/** Drills: would a halt of this run get through? Every step of every target rehearsed, and the answer in the ledger. */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { DrillResultSchema } from '../../domain/run/halt-documents.ts';
import { type Route, route } from '../route.ts';
import { isFailed, isRefusal, loadRun, OF_RUN, RunParams, receiptOf, refusalOf, text } from './common.ts';
import type { Services } from './services.ts';

const Drill = z
  .strictObject({
    reason: text(1_000).optional().meta({ description: 'For those who read the ledger, and for receivers' }),
  })
  .meta({ id: 'DrillRequest' });

export const DrillAnswer = z
  .object({
    runId: z.string(),
    drillId: z.string(),
    passed: z.boolean().meta({ description: 'No step failed; what cannot be rehearsed has not failed' }),
    results: z.array(DrillResultSchema),
  })
  .meta({ id: 'Drill', description: 'What a rehearsal of a halt came to; nothing was halted' });

/** Sixteen targets at once, with a few steps of ten seconds each. */
const TIMEOUT_MS = 60_000;

export const drillRoutes = ({ runs, drill }: Services): Route[] => [
  route({
    method: 'POST',
    path: '/v1/runs/:run/drill',
    summary: 'Rehearse a halt: is every target reached, let in, and known there?',
    description:
      'Every step of every target goes as far as its system lets it without being taken. Halts nothing; recorded.',
    tags: ['halts'],
    timeoutMs: TIMEOUT_MS,
    params: RunParams,
    body: Drill,
    responses: { 200: DrillAnswer },
    handler: async (call) => {
      const { params, body, identity } = call;
      const loaded = await loadRun(runs, params.run);
      if (isRefusal(loaded)) return loaded;
      const drillId = `drill_${randomBytes(12).toString('hex')}`;
      const results = await drill(loaded, drillId, body.reason ?? 'a drill; nothing is to stop');
      const executed = await runs.execute(
        params.run,
        { type: 'RecordDrill', drillId, by: identity.id, results },
        { actor: identity.id, receipt: receiptOf(call) },
      );
      if (isFailed(executed)) return refusalOf(executed, OF_RUN);
      const passed = results.every(({ outcome }) => outcome !== 'failed');
      return { status: 200, body: { runId: params.run, drillId, passed, results } };
    },
  }),
];
