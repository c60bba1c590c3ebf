/**
 * A program of the site's own, as interlock.yaml names it: run once, told on standard input what it is to do.
 *
 * Absolute path and arguments as configured, no shell, PATH, HOME, LANG and the variables that it names, a process group of
 * its own. When it ends, by itself or by its timeout or because the caller gives up, everything it started is ended with it.
 * What it prints is counted, and read only by whoever asks for one JSON object.
 */
import type { z } from 'zod';
import { durationMs } from '../domain/duration.ts';
import { JSON_DEPTH_MAX, nestsDeeperThan } from '../domain/json-depth.ts';
import { markedJob } from './marked-job.ts';
import { type Ended, type ProgramLimits, runProgram } from './run-program.ts';

export interface SiteProgram {
  readonly timeout: string;
  /** Names of variables that are passed on. */
  readonly environment: readonly string[];
}

/** The value of a variable that interlock.yaml names (`env:NAME`). */
export type Variable = (reference: string) => string | undefined;

const LIMITS: ProgramLimits = { outputBytes: 2 ** 20, keptBytes: 16_384, killGraceMs: 500, drainMs: 200 };
const PLAIN_PATH = '/usr/local/bin:/usr/bin:/bin';

export interface SiteProgramEnded {
  ended: Ended;
  /** Variables that interlock.yaml names and nobody set. */
  unset: readonly string[];
  /** What the program was given and nobody else may read. */
  secrets: readonly string[];
}

export async function runSiteProgram(
  argv: readonly string[],
  input: object,
  { environment, timeout }: SiteProgram,
  variable: Variable,
  signal: AbortSignal,
): Promise<SiteProgramEnded> {
  const [file = '', ...args] = argv;
  const { job, env: mark } = markedJob();
  const env: Record<string, string> = { PATH: variable('env:PATH') ?? PLAIN_PATH };
  const unset: string[] = [];
  for (const name of ['HOME', 'LANG', ...environment]) {
    const value = variable(`env:${name}`);
    if (value !== undefined) env[name] = value;
    else if (environment.includes(name)) unset.push(name);
  }
  const secrets = environment.flatMap((name) => env[name] ?? []);
  const ended = await runProgram(
    { file, args, env: { ...env, ...mark }, cwd: '/', input: `${JSON.stringify(input)}\n` },
    {
      job,
      timeoutMs: durationMs(timeout),
      limits: LIMITS,
      signal,
    },
  );
  return { ended, unset, secrets };
}

/** A halt is not held up for want of a variable; whoever reads the outcome sees what was missing. */
const without = (unset: readonly string[]): string =>
  unset.length === 0 ? '' : `; run without ${unset.join(', ')}`.slice(0, 100);

const NEVER = new Map([
  [64, 'it does not know how to do this'],
  [65, 'it does not understand this message'],
]);
const WORDS = new Map([
  [69, 'what it needs is not available'],
  [75, 'not now'],
  [77, 'it has no right to'],
  [78, 'it is not configured'],
]);

export interface Taken {
  readonly kind: 'accepted' | 'retry' | 'rejected';
  readonly detail: string;
}

/** What its exit says of the call: taken, to be tried again, or never to be taken. */
export function takenOf({ ended: { ending }, unset }: SiteProgramEnded, what: string): Taken {
  const note = without(unset);
  switch (ending.how) {
    case 'exited': {
      if (ending.code === 0) return { kind: 'accepted', detail: `${what}: exit code 0${note}` };
      if (ending.code === null) {
        return { kind: 'retry', detail: `${what}: ended by ${ending.signal ?? 'a signal'}${note}` };
      }
      const never = NEVER.get(ending.code);
      const words = never ?? WORDS.get(ending.code);
      const said = words === undefined ? '' : ` (${words})`;
      return {
        kind: never === undefined ? 'retry' : 'rejected',
        detail: `${what}: exit code ${ending.code}${said}${note}`,
      };
    }
    case 'not-started':
      return { kind: 'retry', detail: `${what}: could not be started (${ending.errorCode})` };
    case 'stopped':
      return { kind: 'retry', detail: `${what}: ended by Interlock, ${ending.why}${note}` };
  }
}

/** Its own words are the operator's, but neither a page nor what it was trusted with. */
function isShowable(
  detail: string | undefined,
  { secrets }: Pick<SiteProgramEnded, 'secrets'>,
): detail is string {
  return (
    detail !== undefined &&
    /^[\x20-\x7e]{1,160}$/.test(detail) &&
    !secrets.some((secret) => secret !== '' && detail.includes(secret))
  );
}

/** What it printed, if that is one JSON text alone; else undefined. */
function printedJson({ ended: { stdout } }: SiteProgramEnded): unknown {
  if (stdout.totalBytes > LIMITS.keptBytes) return undefined;
  const output = stdout.lines();
  if (nestsDeeperThan(output, JSON_DEPTH_MAX)) return undefined;
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(output));
  } catch {
    return undefined; // not repeated: the parser's message quotes the text
  }
}

/** What a status program says: exit code 0 and one JSON object alone. Null where that is not what came; `detail` is for people. */
export function statusOf<State extends string>(
  ended: SiteProgramEnded,
  what: string,
  schema: z.ZodType<{ state: State; detail?: string | undefined }>,
  states: string,
): { readonly state: State | null; readonly detail: string } {
  const taken = takenOf(ended, what);
  if (taken.kind !== 'accepted') return { state: null, detail: taken.detail };
  const said = schema.safeParse(printedJson(ended));
  if (!said.success)
    return { state: null, detail: `${what}: said no JSON object alone with state ${states}` };
  const { state, detail } = said.data;
  return { state, detail: `${what}: ${isShowable(detail, ended) ? detail : state}` };
}
