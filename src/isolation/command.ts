/**
 * A call-out by the site's own programs: one isolates, the other says whether it is isolated.
 *
 * The first is asked again for as long as the second does not say so; it must not mind. Fails toward "not isolated": a
 * status that is not one JSON object alone, with exit code 0, is no confirmation.
 */
import { z } from 'zod';
import type { IsolationCommand } from '../config/isolation.ts';
import { runSiteProgram, statusOf, takenOf, type Variable } from '../subprocess/site-program.ts';
import type { IsolationMessage, IsolationOutcome, Isolator } from './isolator.ts';

const StatusSchema = z.strictObject({
  state: z.enum(['isolated', 'open', 'unknown']),
  detail: z.string().max(4_096).optional(),
});

export function createCommandIsolator(name: string, command: IsolationCommand, variable: Variable): Isolator {
  async function status(message: IsolationMessage, signal: AbortSignal): Promise<IsolationOutcome> {
    const input = { ...message, ask: 'status' };
    const ended = await runSiteProgram(command.status, input, command, variable, signal);
    const said = statusOf(ended, `status of ${name}`, StatusSchema, 'isolated, open or unknown');
    return { kind: said.state === 'isolated' ? 'isolated' : 'accepted', detail: said.detail };
  }

  return {
    async isolate(message, signal) {
      if (signal.aborted) return { kind: 'retry', detail: 'given up before it was started' };
      const input = { ...message, ask: 'isolate' };
      const ended = await runSiteProgram(command.isolate, input, command, variable, signal);
      const taken = takenOf(ended, `${message.step} by ${name}`);
      if (taken.kind !== 'accepted') return taken;
      return signal.aborted ? taken : status(message, signal);
    },
  };
}
