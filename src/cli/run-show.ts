/** `interlock run show`: one run in full; `--json` gives the service's own document. */
import { EXIT, type ExitCode } from './exit.ts';
import { json, printable } from './output.ts';
import { connect, path, type ServiceOptions } from './service-client.ts';
import { showRun } from './show-run.ts';
import { fetchRun } from './status.ts';
import type { Terminal } from './terminal.ts';

export async function runShow(
  runId: string,
  options: ServiceOptions & { json?: true },
  terminal: Terminal,
): Promise<ExitCode> {
  const client = await connect(options, terminal);
  if (options.json) {
    terminal.print(json(await client.get(path('v1', 'runs', runId))));
    return EXIT.ok;
  }
  const shown = await fetchRun(client, runId);
  terminal.print(showRun(shown, new Date(), terminal.style));
  const { labels, policy, registeredAt } = shown.run;
  const pairs = Object.entries(labels).map(([name, value]) => printable(`${name}=${value}`));
  if (pairs.length > 0) terminal.print(`  labels    ${pairs.join(', ')}`);
  terminal.print(`  pinned    policy digest ${printable(policy.digest)}`);
  terminal.print(`  since     ${printable(registeredAt)}`);
  return EXIT.ok;
}
