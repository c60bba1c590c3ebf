/**
 * `interlock halt`: the red button from a shell.
 *
 * Three ways, one after another, until one takes it: the service; the button's own process, where the service does not
 * answer within PATIENCE_MS or cannot record it; and this process itself on the service's host, when neither answers
 * (`--local` goes there at once). A printed code goes to the button, for the service knows none.
 * Ordered is not stopped; the answer says so. Where nobody answered, nobody knows whether the halt was ordered: the
 * message says to press again, which does no harm.
 */
import { z } from 'zod';
import { normaliseCode } from '../button/break-glass.ts';
import { EXIT, type ExitCode, ServiceError, UsageError } from './exit.ts';
import { json, plural, printable } from './output.ts';
import { bearerToken, buttonUrl, connect, path, read, type ServiceOptions } from './service-client.ts';
import { Halt } from './service-documents.ts';
import { haltLines } from './show-run.ts';
import type { Terminal } from './terminal.ts';

export interface HaltOptions extends ServiceOptions {
  run?: string;
  all?: true;
  reason: string;
  quarantine?: true;
  group?: string;
  button?: string;
  local?: true;
  json?: true;
}

const Ordered = z.object({
  halts: z.array(Halt),
  failed: z.array(z.object({ runId: z.string(), reason: z.string() })).default([]),
  recordedIn: z.string().default('ledger'),
});

/** Every run takes its turn in one request. */
const ALL_TIMEOUT_MS = 70_000;
/** A service that hangs is not waited for: the button is pressed beside it. */
const PATIENCE_MS = 2_000;

export async function halt(options: HaltOptions, terminal: Terminal): Promise<ExitCode> {
  const { run, all } = options;
  if ((run === undefined) === (all === undefined)) throw new UsageError('give either --run ID or --all');
  const credential = await bearerToken(options, terminal);
  const answer = await press(options, credential, terminal).catch((error: unknown) => {
    const isUnknown = error instanceof ServiceError && (error.status === null || error.status >= 500);
    if (isUnknown && !(error instanceof ServiceError && error.status === 507)) {
      terminal.complain('interlock: THE HALT MAY NOT HAVE BEEN ORDERED. Press again; twice does no harm.');
    }
    throw error;
  });
  const { halts, failed, recordedIn } = read(Ordered, answer);
  if (options.json) terminal.print(json(answer));
  else print(halts, recordedIn, terminal);
  for (const each of failed) {
    terminal.complain(
      `interlock: ${printable(each.runId)}: NOT HALTED (${printable(each.reason)}); press again`,
    );
  }
  return failed.length === 0 ? EXIT.ok : EXIT.negative;
}

async function press(options: HaltOptions, credential: string, terminal: Terminal): Promise<unknown> {
  if (options.local === true) return locally(options, credential, terminal);
  const ways = normaliseCode(credential) === null ? [service, button] : [button];
  // An address that was stated is where this halt is meant for; what a configuration here says is not.
  const isElsewhere = options.url !== undefined && options.button === undefined;
  const [first, second] = isElsewhere ? [service] : ways;
  const pressed = first?.(options, terminal) ?? Promise.reject(new UsageError('nowhere to press'));
  const outcome = await settled(pressed, second === undefined ? null : PATIENCE_MS);
  if (outcome.kind === 'answered') return outcome.answer;
  if (outcome.kind === 'failed' && !isAway(outcome.error)) throw outcome.error;
  let fault: unknown = outcome.kind === 'failed' ? outcome.error : null;
  if (second !== undefined) {
    terminal.complain('interlock: the service does not answer; pressing the red button itself');
    const beside = await settled(second(options, terminal), null);
    if (beside.kind === 'answered') return beside.answer;
    if (beside.kind === 'failed' && !isAway(beside.error)) throw beside.error;
    // Late is not never.
    if (outcome.kind === 'waiting') {
      const late = await settled(pressed, null);
      if (late.kind === 'answered') return late.answer;
      if (late.kind === 'failed') fault = late.error;
    }
  }
  if (isElsewhere || options.button !== undefined) throw fault;
  terminal.complain('interlock: nobody answers; sending the halts from here');
  return locally(options, credential, terminal).catch((error: unknown) => {
    terminal.complain('interlock: nor can they be sent from here; on the host of the service use --local');
    throw fault ?? error;
  });
}

type Outcome =
  | { readonly kind: 'answered'; readonly answer: unknown }
  | { readonly kind: 'failed'; readonly error: unknown }
  | { readonly kind: 'waiting' };

async function settled(pressed: Promise<unknown>, waitMs: number | null): Promise<Outcome> {
  const outcome = pressed.then(
    (answer): Outcome => ({ kind: 'answered', answer }),
    (error: unknown): Outcome => ({ kind: 'failed', error }),
  );
  if (waitMs === null) return outcome;
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<Outcome>((resolve) => {
    timer = setTimeout(() => resolve({ kind: 'waiting' }), waitMs);
  });
  const first = await Promise.race([outcome, limit]);
  clearTimeout(timer);
  return first;
}

/** No answer, or one that says that it could not be done now. */
function isAway(error: unknown): boolean {
  return (
    error instanceof ServiceError && (error.status === null || (error.status >= 500 && error.status !== 507))
  );
}

async function service(options: HaltOptions, terminal: Terminal): Promise<unknown> {
  const client = await connect(options, terminal);
  return client.post(pathOf(options), bodyOf(options), ALL_TIMEOUT_MS);
}

async function button(options: HaltOptions, terminal: Terminal): Promise<unknown> {
  const client = await connect({ ...options, url: await buttonUrl(options, terminal) }, terminal);
  return client.post(pathOf(options), bodyOf(options));
}

async function locally(options: HaltOptions, credential: string, terminal: Terminal): Promise<unknown> {
  const { haltLocally } = await import('./halt-local.ts');
  return haltLocally(
    { ...options, credential, action: options.quarantine ? 'quarantine' : 'halt' },
    terminal,
  );
}

const pathOf = ({ run }: HaltOptions): string =>
  run === undefined ? '/v1/halt' : path('v1', 'runs', run, 'halt');

function bodyOf({ reason, quarantine, group }: HaltOptions): object {
  return {
    reason,
    ...(quarantine ? { action: 'quarantine' } : {}),
    ...(group === undefined ? {} : { group }),
  };
}

function print(halts: readonly Halt[], recordedIn: string, terminal: Terminal): void {
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
  if (recordedIn === 'spool') terminal.print('written down; the ledger has it when the service is back');
}
