/** Every run that a press for all reaches, from the rows that people read. */
import { z } from 'zod';
import type { Ledger } from '../ledger/ledger.ts';

const PAGE = 500;
const RunDoc = z.object({ status: z.string(), registeredAt: z.string() });

/** `before`: only runs that were registered by then. */
export async function unfinishedRuns(ledger: Pick<Ledger, 'views'>, before?: string): Promise<string[]> {
  const ids: string[] = [];
  for (let after: number | undefined; ; ) {
    const range = after === undefined ? {} : { after };
    const rows = await ledger.views({ kind: 'run', limit: PAGE, order: 'asc', ...range });
    for (const { runId, doc } of rows) {
      const { status, registeredAt } = RunDoc.parse(doc);
      if (status !== 'finished' && (before === undefined || registeredAt <= before)) ids.push(runId);
    }
    const last = rows.at(-1);
    if (rows.length < PAGE || last === undefined) return ids;
    after = last.ordinal;
  }
}
