/** `interlock ledger rebuild-views`: makes every list that people read anew from the events; changes no fact. */
import { rebuildViews } from '../ledger/rebuild-views.ts';
import { createFolds } from '../service/folds.ts';
import { loadConfig, withStore } from './configuration.ts';
import { EXIT, type ExitCode } from './exit.ts';
import { json, plural } from './output.ts';
import type { Terminal } from './terminal.ts';

export async function ledgerRebuildViews(
  options: { config?: string; json?: true },
  terminal: Terminal,
): Promise<ExitCode> {
  const config = await loadConfig(options.config, terminal);
  const rebuilt = await withStore(config, ({ database }) => rebuildViews(database.pool, createFolds()));
  const { events, rows } = rebuilt;
  terminal.print(
    options.json ? json(rebuilt) : `rebuilt ${plural(rows, 'row')} from ${plural(events, 'event')}`,
  );
  return EXIT.ok;
}
