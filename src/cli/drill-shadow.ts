/**
 * `interlock drill --target`: a halt, for real, of a target that nothing depends on, and how long each step of it took.
 *
 * The run it is registered as never trains: it is halted by the append that registers it, and ends by itself.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { EXIT, type ExitCode } from './exit.ts';
import { json, printable } from './output.ts';
import { statedTarget } from './run-register.ts';
import { connect, path, read, type ServiceOptions } from './service-client.ts';
import { Run } from './service-documents.ts';
import { haltLines } from './show-run.ts';
import type { Terminal } from './terminal.ts';

export interface DrillShadowOptions extends ServiceOptions {
  target: readonly string[];
  policy?: string;
  reason?: string;
  json?: true;
}

const Registered = z.object({ run: Run });
const LOOK_AGAIN_MS = 500;
/** Longer than any policy's pages that a drill waits for; the drill itself goes on. */
const FOLLOW_MS = 30 * 60_000;

export async function drillShadow(options: DrillShadowOptions, terminal: Terminal): Promise<ExitCode> {
  const { target, policy, reason } = options;
  const startedAt = new Date();
  const runId = `drill-${startedAt.toISOString().replace(/[-:.]/g, '')}`;
  const body = {
    runId,
    drill: true,
    targets: target.map(statedTarget),
    ...(policy === undefined ? {} : { policy }),
    ...(reason === undefined ? {} : { title: reason }),
  };
  const client = await connect(options, terminal);
  read(Registered, await client.post('/v1/runs', body));
  if (!options.json) terminal.print(`${printable(runId)} is halted; waiting until its targets have stopped`);
  let run = read(Run, await client.get(path('v1', 'runs', runId)));
  while (run.finishedAt === null && Date.now() - startedAt.getTime() < FOLLOW_MS) {
    await sleep(LOOK_AGAIN_MS);
    run = read(Run, await client.get(path('v1', 'runs', runId)));
  }
  const halt = run.openHalt;
  const passed = halt?.confirmedAt != null;
  if (options.json) {
    terminal.print(json({ runId, passed, halt }));
    return passed ? EXIT.ok : EXIT.negative;
  }
  if (halt !== null) terminal.print(haltLines(halt, new Date(), terminal.style).join('\n'));
  terminal.print(
    passed
      ? '\nthe halt got through: every target was seen to stop'
      : '\nTHE HALT DID NOT GET THROUGH: its stop was not confirmed',
  );
  return passed ? EXIT.ok : EXIT.negative;
}
