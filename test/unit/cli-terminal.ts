/** A terminal that keeps what a command says. */
import { PLAIN } from '../../src/cli/output.ts';
import { run } from '../../src/cli/program.ts';
import type { Terminal } from '../../src/cli/terminal.ts';

export interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export async function say(argv: readonly string[], env: Record<string, string> = {}): Promise<Said> {
  const out: string[] = [];
  const err: string[] = [];
  const terminal: Terminal = {
    env,
    style: PLAIN,
    width: 100,
    print: (text) => void out.push(text),
    complain: (text) => void err.push(text),
    write: async (chunk) => void out.push(Buffer.from(chunk).toString('utf8')),
  };
  const code = await run(argv, terminal);
  return { code, out: out.join('\n'), err: err.join('\n') };
}
