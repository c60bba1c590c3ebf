/** `interlock run list`: the runs, the newest first, a page at a time. */
import { EXIT, type ExitCode } from './exit.ts';
import { json, levelPaint, printable, shortCompute, table } from './output.ts';
import { connect, read, type ServiceOptions } from './service-client.ts';
import { page, RunSummary } from './service-documents.ts';
import { headline } from './show-run.ts';
import { shadowBanner } from './show-shadow.ts';
import type { Terminal } from './terminal.ts';

export async function runList(
  options: ServiceOptions & { limit?: string; cursor?: string; json?: true },
  terminal: Terminal,
): Promise<ExitCode> {
  const client = await connect(options, terminal);
  const query = new URLSearchParams({
    limit: options.limit ?? '50',
    ...(options.cursor === undefined ? {} : { cursor: options.cursor }),
  });
  const answer = await client.get(`/v1/runs?${query}`);
  if (options.json) {
    terminal.print(json(answer));
    return EXIT.ok;
  }
  const { items, nextCursor } = read(page(RunSummary), answer);
  const { style } = terminal;
  const rows = items.map((run) => [
    printable(run.runId),
    headline(run, style),
    run.level === null
      ? '-'
      : levelPaint(
          run.level.estimate,
          null,
          style,
        )(`${run.level.estimate.toFixed(2)} ${printable(run.level.name)}`),
    shortCompute(run.effectiveCompute),
    shortCompute(run.ceiling),
    printable(run.policy.name),
    printable(run.registeredAt),
  ]);
  const columns = ['run', 'status', 'level', 'compute', 'ceiling', 'policy', 'registered'].map((title) => ({
    title,
  }));
  for (const line of shadowBanner(items, style)) terminal.print(line);
  terminal.print(rows.length === 0 ? 'no runs' : table(columns, rows, style));
  if (nextCursor !== null) terminal.print(`\nmore: --cursor ${printable(nextCursor)}`);
  return EXIT.ok;
}
