/**
 * Which halt a press is a cause of. It may reach the ledger on two ways, as a command that took too long and from the
 * spool; whichever comes second reads here whether the other did, however many presses came in between.
 */
import { z } from 'zod';
import { pressKey } from '../domain/run/view.ts';
import type { Ledger } from '../ledger/ledger.ts';

const PressDoc = z.object({ haltId: z.string() });

export async function haltOfPress(
  ledger: Pick<Ledger, 'view'>,
  runId: string,
  pressId: string,
): Promise<string | null> {
  const view = await ledger.view('press', pressKey(runId, pressId));
  return view === null ? null : PressDoc.parse(view.doc).haltId;
}
