/** Whether a halt that a trainer still holds was ended by a resume, however long ago: the views of halts know. */
import { z } from 'zod';
import type { Ledger } from '../ledger/ledger.ts';

const HaltDoc = z.object({ runId: z.string(), state: z.string() });
const OrderDoc = z.object({ haltId: z.string() });

export async function wasCleared(
  ledger: Pick<Ledger, 'view'>,
  runId: string,
  haltId: string,
): Promise<boolean> {
  // A press that was carried out before it was recorded may have an id of its own.
  const order = OrderDoc.safeParse((await ledger.view('halt-order', haltId))?.doc);
  const row = await ledger.view('halt', order.success ? order.data.haltId : haltId);
  const halt = HaltDoc.safeParse(row?.doc);
  return halt.success && halt.data.runId === runId && halt.data.state === 'cleared';
}
