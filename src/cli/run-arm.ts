/** `interlock run arm`: ends a run's shadow; what stands against it acts at once. */
import { EXIT, type ExitCode } from './exit.ts';
import { json, printable } from './output.ts';
import { connect, path, read, type ServiceOptions } from './service-client.ts';
import { Run } from './service-documents.ts';
import { headline } from './show-run.ts';
import type { Terminal } from './terminal.ts';

export async function runArm(
  runId: string,
  options: ServiceOptions & { json?: true },
  terminal: Terminal,
): Promise<ExitCode> {
  const client = await connect(options, terminal);
  const answer = await client.post(path('v1', 'runs', runId, 'arm'), {});
  if (options.json) {
    terminal.print(json(answer));
    return EXIT.ok;
  }
  const run = read(Run, answer);
  terminal.print(`${printable(run.runId)} is armed: ${headline(run, terminal.style)}`);
  return EXIT.ok;
}
