/** `interlock retry`: one evaluation again, alone. Earlier conclusive results go on counting: the worst stands. */
import { EXIT, type ExitCode } from './exit.ts';
import { json, printable } from './output.ts';
import { connect, path, type ServiceOptions } from './service-client.ts';
import type { Terminal } from './terminal.ts';

export async function retry(
  evaluationId: string,
  options: ServiceOptions & { json?: true },
  terminal: Terminal,
): Promise<ExitCode> {
  const client = await connect(options, terminal);
  const answer = await client.post(path('v1', 'evaluations', evaluationId, 'retry'), {});
  terminal.print(options.json ? json(answer) : `${printable(evaluationId)} runs again`);
  return EXIT.ok;
}
