/** Quarantine and scoped resume: a person's word that a call-out is done, and leave for work that is no training. */
import { z } from 'zod';
import { conflict, notFound } from '../refusal.ts';
import { type Route, route } from '../route.ts';
import { IdSchema, isFailed, isRefusal, loadRun, RunParams, receiptOf, refusalOf, text } from './common.ts';
import { HaltDocument } from './documents.ts';
import type { Services } from './services.ts';

const IsolationBody = z
  .strictObject({ state: z.literal('isolated'), detail: text(500).meta({ description: 'What was done' }) })
  .meta({ id: 'IsolationConfirmation' });

const WorkPermitBody = z
  .strictObject({
    purpose: z.enum(['evaluation', 'alignment']),
    nonce: text(256).optional(),
  })
  .meta({ id: 'WorkPermitRequest' });

const WorkPermitAnswer = z
  .object({
    permit: z.string().meta({
      description:
        'Compact JWS (EdDSA), `typ` work-permit+jwt, `aud` interlock/work-permit. No permit to train',
    }),
    expiresAt: z.string(),
  })
  .meta({ id: 'WorkPermit' });

export const quarantineRoutes = ({ runs, ledger, heartbeats }: Services): Route[] => [
  route({
    method: 'POST',
    path: '/v1/halts/:halt/isolation/:step',
    summary: 'Say that a call-out of a quarantine is done',
    description: 'For what was done by hand, or by a system that cannot answer. Recorded as your word.',
    tags: ['halts'],
    params: z.strictObject({ halt: IdSchema, step: IdSchema }),
    body: IsolationBody,
    responses: { 200: HaltDocument },
    handler: async (call) => {
      const { params, body, identity } = call;
      const { halt: haltId, step } = params;
      const view = await ledger.view('halt', haltId);
      if (view === null) return notFound(`there is no halt ${haltId}`, 'path.halt');
      const executed = await runs.execute(
        view.runId,
        { type: 'ConfirmIsolation', haltId, step, detail: body.detail, by: identity.id },
        { actor: identity.id, receipt: receiptOf(call) },
      );
      if (isFailed(executed)) return refusalOf(executed, { '': 'path.halt', step: 'path.step' });
      const row = await ledger.view('halt', haltId);
      return { status: 200, body: HaltDocument.parse(row?.doc) };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/runs/:run/work-permit',
    isFrequent: true,
    summary: "Ask for leave to evaluate or align the run's weights",
    description:
      'Granted while nothing halts the run, or while a scoped resume is in force. 409 `no-work-permit` says why not. Every trainer refuses it as a permit to train.',
    tags: ['runs'],
    params: RunParams,
    body: WorkPermitBody,
    responses: { 200: WorkPermitAnswer },
    handler: async ({ params, body }) => {
      const loaded = await loadRun(runs, params.run);
      if (isRefusal(loaded)) return loaded;
      const answer = await heartbeats.workPermit(params.run, body.purpose, body.nonce ?? null);
      if (!answer.granted) return conflict('no-work-permit', answer.reason);
      const { permit, expiresAt } = answer;
      return { status: 200, body: { permit, expiresAt: expiresAt.toISOString() } };
    },
  }),
];
