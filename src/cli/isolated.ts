/** `interlock isolated`: a person's word that a call-out of a quarantine is done. */
import { EXIT, type ExitCode } from './exit.ts';
import { json, printable } from './output.ts';
import { connect, path, read, type ServiceOptions } from './service-client.ts';
import { Halt } from './service-documents.ts';
import type { Terminal } from './terminal.ts';

export interface IsolatedOptions extends ServiceOptions {
  halt: string;
  step: string;
  detail: string;
  json?: true;
}

export async function isolated(options: IsolatedOptions, terminal: Terminal): Promise<ExitCode> {
  const { halt, step, detail } = options;
  const client = await connect(options, terminal);
  const answer = await client.post(path('v1', 'halts', halt, 'isolation', step), {
    state: 'isolated',
    detail,
  });
  const { quarantine } = read(Halt, answer);
  const open = (quarantine?.steps ?? []).filter(({ confirmedAt }) => confirmedAt === null);
  const left = open.map((each) => printable(each.step)).join(', ');
  terminal.print(
    options.json
      ? json(answer)
      : `recorded: ${printable(step)} is done. ${left === '' ? 'The run is isolated.' : `Still to be done: ${left}.`}`,
  );
  return EXIT.ok;
}
