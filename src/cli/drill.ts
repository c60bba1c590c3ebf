/** `interlock drill`: would a halt of this run get through? Nothing is halted by it. */
import { z } from 'zod';
import { DrillResultSchema } from '../domain/run/halt-documents.ts';
import { EXIT, type ExitCode, UsageError } from './exit.ts';
import { json, printable, table } from './output.ts';
import { connect, path, read, type ServiceOptions } from './service-client.ts';
import type { Terminal } from './terminal.ts';

export interface DrillOptions extends ServiceOptions {
  run?: string;
  target?: readonly string[];
  reason?: string;
  json?: true;
}

const Drill = z.object({ drillId: z.string(), passed: z.boolean(), results: z.array(DrillResultSchema) });

/** Sixteen targets at once, each with steps of up to ten seconds. */
const TIMEOUT_MS = 70_000;

export async function drill(options: DrillOptions, terminal: Terminal): Promise<ExitCode> {
  const { run, reason, target = [] } = options;
  if (run === undefined || target.length > 0) {
    throw new UsageError('give --run to rehearse a run, or --target for a shadow that is halted');
  }
  const client = await connect(options, terminal);
  const answer = await client.post(
    path('v1', 'runs', run, 'drill'),
    reason === undefined ? {} : { reason },
    TIMEOUT_MS,
  );
  const { passed, results } = read(Drill, answer);
  if (options.json) {
    terminal.print(json(answer));
    return passed ? EXIT.ok : EXIT.negative;
  }
  const { style } = terminal;
  const words = {
    passed: style.green('passed'),
    failed: style.red('FAILED'),
    'not-rehearsed': 'not rehearsed',
  } as const;
  const columns = ['target', 'kind', 'step', 'outcome', 'took', 'detail'].map((title) => ({ title }));
  const rows = results.map(({ targetId, kind, step, outcome, tookMs, detail }) => [
    printable(targetId),
    printable(kind),
    printable(step),
    words[outcome],
    `${tookMs} ms`,
    printable(detail),
  ]);
  terminal.print(table(columns, rows, style));
  terminal.print(
    passed
      ? '\nno step failed; nothing was halted'
      : '\nA HALT WOULD NOT GET THROUGH EVERYWHERE; nothing was halted',
  );
  return passed ? EXIT.ok : EXIT.negative;
}
