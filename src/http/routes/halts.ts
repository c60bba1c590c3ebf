/** The red button, and what the other side says of a halt. */
import { z } from 'zod';
import type { PressAnswer } from '../../button/answer.ts';
import { RedButton } from '../../button/request.ts';
import type { Identity } from '../../config/identities.ts';
import { invalid, notFound, Refusal, unavailable } from '../refusal.ts';
import { type Route, route } from '../route.ts';
import { IdSchema, Instant, isFailed, OF_RUN, RunParams, receiptOf, refusalOf } from './common.ts';
import { HaltDocument, haltDocument } from './documents.ts';
import type { Services } from './services.ts';

const HaltsOrdered = z
  .object({
    halts: z.array(HaltDocument),
    failed: z.array(z.object({ runId: z.string(), reason: z.string() })).meta({
      description: 'Runs whose halt could not be recorded now: press again',
    }),
    recordedIn: z.enum(['ledger', 'spool']).meta({
      description: 'spool: the ledger is away; the halts are sent, and it learns of them when it is back',
    }),
    pressId: z.string().optional().meta({ description: 'The press in the spool, and later in the ledger' }),
    knowledgeAt: z.string().nullable().optional().meta({
      description: 'How old the list of runs and targets is that the halts were sent by',
    }),
  })
  .meta({ id: 'HaltsOrdered' });

const HaltOrder = z.object({ haltId: z.string() });

const HaltAck = z
  .strictObject({ state: z.enum(['received', 'stopped']), at: Instant.optional() })
  .meta({ id: 'HaltAcknowledgement' });

export const haltRoutes = ({ runs, ledger, redButton, enterPresses, pressesWait }: Services): Route[] => {
  function groupProblem(body: RedButton, identity: Identity): Refusal | null {
    if (body.group === undefined || identity.groups.includes(body.group)) return null;
    return invalid([
      { path: 'group', message: `you are not a member; yours are ${identity.groups.join(', ')}` },
    ]);
  }

  const forGroup = (body: RedButton, { groups }: Identity) => ({
    ...body,
    group: body.group ?? groups[0] ?? '',
  });

  /** Trainers name a halt by the order that reached them, which may be the button's own. */
  async function haltNamed(id: string): Promise<{ runId: string; haltId: string } | null> {
    const view = await ledger.view('halt', id);
    if (view !== null) return { runId: view.runId, haltId: id };
    const order = await ledger.view('halt-order', id);
    return order === null ? null : { runId: order.runId, haltId: HaltOrder.parse(order.doc).haltId };
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
        const pressed = await redButton.pressRun(
          params.run,
          forGroup(body, identity),
          identity,
          receiptOf(call),
        );
        if (pressed.way === 'spool') return spooled(pressed.answer);
        const { executed } = pressed;
        if (isFailed(executed)) return refusalOf(executed, OF_RUN);
        const state = 'state' in executed ? executed.state : (await runs.load(params.run))?.state;
        if (state?.halt == null) return notFound(`the halt of run ${params.run} is over`, 'path.run');
        return {
          status: 202,
          body: { halts: [haltDocument(state.halt, state)], failed: [], recordedIn: 'ledger' as const },
        };
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
        const pressed = await redButton.pressAll(forGroup(body, identity), identity);
        if (pressed.way === 'spool') return spooled(pressed.answer);
        const { failed } = pressed;
        const halts = pressed.halted.flatMap((state) =>
          state.halt === null ? [] : [haltDocument(state.halt, state)],
        );
        if (halts.length === 0 && failed.length > 0) {
          return unavailable('halt-not-recorded', 'No halt could be recorded now; press again.', 1);
        }
        return { status: 202, body: { halts, failed: [...failed], recordedIn: 'ledger' as const } };
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
        let named = await haltNamed(params.halt);
        if (named === null) {
          // A trainer may be quicker than the way from the spool into the ledger.
          await enterPresses();
          named = await haltNamed(params.halt);
        }
        if (named === null && pressesWait()) {
          return unavailable(
            'press-not-entered',
            'A press of the red button is still being recorded; send the same request again.',
            1,
          );
        }
        if (named === null) return notFound(`there is no halt ${params.halt}`, 'path.halt');
        const executed = await runs.execute(
          named.runId,
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
        const row = await ledger.view('halt', named.haltId);
        return { status: 200, body: HaltDocument.parse(row?.doc) };
      },
    }),
  ];
};

/** Sent, and written down or not: what is not durable is no 2xx. */
function spooled({ status, body }: PressAnswer) {
  if (status === 202) return { status, body: { ...body, recordedIn: 'spool' as const } };
  return new Refusal({
    status,
    code: 'halt-sent-not-durable',
    title: 'Halts are being sent, and the press could not be written down',
    detail: `${body.halts.length} orders are on their way. Neither database nor disk takes the press; if this machine stops now it is forgotten: press again.`,
  });
}
