/**
 * `interlock halt`: the red button from a shell.
 *
 * Ordered is not stopped; the answer says so. When the service did not answer, nobody knows whether the halt was
 * ordered: the message says to press again, which does no harm.
 */
import { z } from 'zod';
import { EXIT, type ExitCode, ServiceError, UsageError } from './exit.ts';
import { json, plural, printable } from './output.ts';
import { connect, path, read, type ServiceOptions } from './service-client.ts';
import { Halt } from './service-documents.ts';
import { haltLines } from './show-run.ts';
import type { Terminal } from './terminal.ts';

export interface HaltOptions extends ServiceOptions {
  run?: string;
  all?: true;
  reason: string;
  quarantine?: true;
  group?: string;
  json?: true;
}

const Ordered = z.object({
  halts: z.array(Halt),
  failed: z.array(z.object({ runId: z.string(), reason: z.string() })).default([]),
});

/** Every run takes its turn in one request. */
const ALL_TIMEOUT_MS = 70_000;

export async function halt(options: HaltOptions, terminal: Terminal): Promise<ExitCode> {
  const { run, all, reason, quarantine, group } = options;
  if ((run === undefined) === (all === undefined)) throw new UsageError('give either --run ID or --all');
  const client = await connect(options, terminal);
  const body = {
    reason,
    ...(quarantine ? { action: 'quarantine' } : {}),
    ...(group === undefined ? {} : { group }),
  };
  const answer = await client
    .post(run === undefined ? '/v1/halt' : path('v1', 'runs', run, 'halt'), body, ALL_TIMEOUT_MS)
    .catch((error: unknown) => {
      const isUnknown = error instanceof ServiceError && (error.status === null || error.status >= 500);
      if (isUnknown)
        terminal.complain('interlock: THE HALT MAY NOT HAVE BEEN ORDERED. Press again; twice does no harm.');
      throw error;
    });
  const { halts, failed } = read(Ordered, answer);
  if (options.json) terminal.print(json(answer));
  else print(halts, terminal);
  for (const each of failed) {
    terminal.complain(
      `interlock: ${printable(each.runId)}: NOT HALTED (${printable(each.reason)}); press again`,
    );
  }
  return failed.length === 0 ? EXIT.ok : EXIT.negative;
}

function print(halts: readonly Halt[], terminal: Terminal): void {
  const now = new Date();
  for (const ordered of halts) {
    terminal.print(terminal.style.bold(printable(ordered.runId)));
    terminal.print(haltLines(ordered, now, terminal.style).join('\n'));
  }
  const open = halts.filter(({ confirmedAt }) => confirmedAt === null);
  terminal.print(
    halts.length === 0
      ? 'there is no run to halt'
      : open.length === 0
        ? `${plural(halts.length, 'run')} halted and stopped`
        : `ordered, not yet known to have stopped; watch it: interlock status${halts.length === 1 ? ` --run ${printable(halts[0]?.runId ?? '')}` : ''}`,
  );
}
