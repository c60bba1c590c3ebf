/** The red button, and what the other side says of a halt. */
import { z } from 'zod';
import type { Identity } from '../../config/identities.ts';
import { HaltActionSchema } from '../../domain/run/events.ts';
import type { Executed } from '../../service/run-service.ts';
import { invalid, notFound, type Refusal, unavailable } from '../refusal.ts';
import { type Route, route } from '../route.ts';
import { IdSchema, Instant, isFailed, OF_RUN, RunParams, receiptOf, refusalOf, text } from './common.ts';
import { HaltDocument, haltDocument } from './documents.ts';
import type { Services } from './services.ts';

const RedButton = z
  .strictObject({
    reason: text(2000).default('no reason given'),
    action: HaltActionSchema.default('halt'),
    group: IdSchema.optional().meta({ description: 'For which of your groups; default: the first' }),
  })
  .meta({ id: 'RedButton' });

const HaltsOrdered = z
  .object({
    halts: z.array(HaltDocument),
    failed: z.array(z.object({ runId: z.string(), reason: z.string() })).meta({
      description: 'Runs whose halt could not be recorded now: press again',
    }),
  })
  .meta({ id: 'HaltsOrdered' });

const HaltAck = z
  .strictObject({ state: z.enum(['received', 'stopped']), at: Instant.optional() })
  .meta({ id: 'HaltAcknowledgement' });

const AT_ONCE = 16;
const PAGE = 500;

export const haltRoutes = ({ runs, ledger }: Services): Route[] => {
  async function press(
    runId: string,
    body: z.output<typeof RedButton>,
    identity: Identity,
    receipt: ReturnType<typeof receiptOf>,
  ): Promise<Executed> {
    const group = body.group ?? identity.groups[0] ?? '';
    return runs.execute(
      runId,
      { type: 'OrderHalt', action: body.action, reason: body.reason, group, by: identity.id },
      { actor: identity.id, receipt },
    );
  }

  function groupProblem(body: z.output<typeof RedButton>, identity: Identity): Refusal | null {
    if (body.group === undefined || identity.groups.includes(body.group)) return null;
    return invalid([
      { path: 'group', message: `you are not a member; yours are ${identity.groups.join(', ')}` },
    ]);
  }

  async function unfinishedRuns(): Promise<string[]> {
    const ids: string[] = [];
    let after: number | undefined;
    for (;;) {
      const rows = await ledger.views({
        kind: 'run',
        limit: PAGE,
        order: 'asc',
        ...(after === undefined ? {} : { after }),
      });
      ids.push(
        ...rows
          .filter(({ doc }) => z.object({ status: z.string() }).parse(doc).status !== 'finished')
          .map(({ runId }) => runId),
      );
      const last = rows.at(-1);
      if (rows.length < PAGE || last === undefined) return ids;
      after = last.ordinal;
    }
  }

  return [
    route({
      method: 'POST',
      path: '/v1/runs/:run/halt',
      summary: 'The red button for one run',
      description:
        'Any governance group, at any time. Latched: it ends only by a governed resume. Evaluation jobs stop too.',
      tags: ['halts'],
      params: RunParams,
      body: RedButton,
      responses: { 202: HaltsOrdered },
      handler: async (call) => {
        const { params, body, identity } = call;
        const problem = groupProblem(body, identity);
        if (problem !== null) return problem;
        const executed = await press(params.run, body, identity, receiptOf(call));
        if (isFailed(executed)) return refusalOf(executed, OF_RUN);
        const state = 'state' in executed ? executed.state : (await runs.load(params.run))?.state;
        if (state?.halt == null) return notFound(`the halt of run ${params.run} is over`, 'path.run');
        return { status: 202, body: { halts: [haltDocument(state.halt, state)], failed: [] } };
      },
    }),
    route({
      method: 'POST',
      path: '/v1/halt',
      summary: 'The red button for all runs',
      tags: ['halts'],
      timeoutMs: 60_000,
      body: RedButton,
      responses: { 202: HaltsOrdered },
      handler: async ({ body, identity }) => {
        const problem = groupProblem(body, identity);
        if (problem !== null) return problem;
        const ids = await unfinishedRuns();
        const halts: z.input<typeof HaltDocument>[] = [];
        const failed: { runId: string; reason: string }[] = [];
        const next = ids.values();
        const workers = Array.from({ length: Math.min(AT_ONCE, ids.length) }, async () => {
          for (const runId of next) {
            // One run's trouble must not keep the button from the others.
            const executed = await press(runId, body, identity, undefined).catch(() => null);
            if (executed !== null && 'state' in executed && executed.state.halt !== null) {
              halts.push(haltDocument(executed.state.halt, executed.state));
            } else failed.push({ runId, reason: 'not recorded' });
          }
        });
        await Promise.all(workers);
        if (halts.length === 0 && failed.length > 0) {
          return unavailable('halt-not-recorded', 'No halt could be recorded now; press again.', 1);
        }
        return { status: 202, body: { halts, failed } };
      },
    }),
    route({
      method: 'POST',
      path: '/v1/halts/:halt/ack',
      summary: 'Say that a halt was received, or that the run stopped',
      description:
        "`stopped` alone proves nothing: it counts with the orchestrator's own state, or with silence after it.",
      tags: ['halts'],
      params: z.strictObject({ halt: IdSchema }),
      body: HaltAck,
      responses: { 200: HaltDocument },
      handler: async (call) => {
        const { params, body, identity } = call;
        const view = await ledger.view('halt', params.halt);
        if (view === null) return notFound(`there is no halt ${params.halt}`, 'path.halt');
        const executed = await runs.execute(
          view.runId,
          {
            type: 'AcknowledgeHalt',
            haltId: params.halt,
            state: body.state,
            claimedAt: body.at ?? null,
            by: identity.id,
            orchestrator: identity.roles.includes('orchestrator'),
          },
          { actor: identity.id, receipt: receiptOf(call) },
        );
        if (isFailed(executed)) return refusalOf(executed, { '': 'path.halt', runId: 'path.halt' });
        const row = await ledger.view('halt', params.halt);
        return { status: 200, body: HaltDocument.parse(row?.doc) };
      },
    }),
  ];
};
