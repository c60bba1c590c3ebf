/**
 * `interlock status`: everything that an engineer woken at 3 a.m. needs, on one screen, the gravest first.
 */
import { EXIT, type ExitCode, ServiceError } from './exit.ts';
import { json, plural } from './output.ts';
import { connect, path, read, type ServiceClient, type ServiceOptions } from './service-client.ts';
import { page, Run, RunSummary, Scorecard } from './service-documents.ts';
import { type Shown, showRun } from './show-run.ts';
import { shadowBanner } from './show-shadow.ts';
import type { Terminal } from './terminal.ts';

const RUNS_MAX = 50;
const AT_ONCE = 8;
const GRAVITY = ['halted', 'on-hold', 'training', 'finished'];

export async function status(
  options: ServiceOptions & { run?: string; all?: true; json?: true },
  terminal: Terminal,
): Promise<ExitCode> {
  const client = await connect(options, terminal);
  if (options.run !== undefined) {
    const one = await fetchRun(client, options.run);
    terminal.print(options.json ? json(one.raw) : showRun(one, new Date(), terminal.style));
    return EXIT.ok;
  }
  const { items, nextCursor } = read(page(RunSummary), await client.get(`/v1/runs?limit=${RUNS_MAX}`));
  const listed = items.filter((run) => options.all === true || run.status !== 'finished');
  const runs = await fetchRuns(
    client,
    listed.map(({ runId }) => runId),
  );
  runs.sort((a, b) => gravity(a) - gravity(b));
  if (options.json) {
    terminal.print(json({ runs: runs.map(({ raw }) => raw), isComplete: nextCursor === null }));
    return EXIT.ok;
  }
  const now = new Date();
  for (const line of shadowBanner(items, terminal.style)) terminal.print(line);
  terminal.print(terminal.style.bold(summary(items, client.url)));
  for (const run of runs) terminal.print(`\n${showRun(run, now, terminal.style)}`);
  if (nextCursor !== null)
    terminal.print(`\nonly the newest ${RUNS_MAX} runs; older ones: interlock run list`);
  return EXIT.ok;
}

function gravity({ run }: Shown): number {
  if (run.halt !== null && !run.halt.stopped) return -1;
  const place = GRAVITY.indexOf(run.status);
  return place === -1 ? 0 : place;
}

export function summary(runs: readonly RunSummary[], url: string): string {
  if (runs.length === 0) return `${url}: no runs; the first: interlock run register --help`;
  const count = (wanted: (run: RunSummary) => boolean): number => runs.filter(wanted).length;
  const loose = count(({ halt }) => halt !== null && !halt.stopped);
  const parts = [
    [loose, 'halted and NOT KNOWN TO HAVE STOPPED'],
    [count(({ status: state, halt }) => state === 'halted' && halt?.stopped === true), 'halted and stopped'],
    [count(({ status: state }) => state === 'on-hold'), 'on hold'],
    [count(({ status: state }) => state === 'training'), 'training'],
    [count(({ status: state }) => state === 'finished'), 'finished'],
  ] as const;
  const told = parts.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`);
  return `${url}: ${plural(runs.length, 'run')}: ${told.join(', ')}`;
}

type Fetched = Shown & { readonly raw: object };

export async function fetchRun(client: ServiceClient, runId: string): Promise<Fetched> {
  const [run, scorecard] = await Promise.all([
    client.get(path('v1', 'runs', runId)),
    latestScorecard(client, runId),
  ]);
  return {
    run: read(Run, run),
    scorecard: scorecard === null ? null : read(Scorecard, scorecard),
    raw: { run, scorecard },
  };
}

/** A run without an evaluated checkpoint has none; any other trouble is told. */
async function latestScorecard(client: ServiceClient, runId: string): Promise<unknown> {
  try {
    return await client.get(path('v1', 'runs', runId, 'scorecards', 'latest'));
  } catch (error) {
    if (error instanceof ServiceError && error.status === 404) return null;
    throw error;
  }
}

async function fetchRuns(client: ServiceClient, runIds: readonly string[]): Promise<Fetched[]> {
  const found: Fetched[] = [];
  const next = runIds.values();
  const workers = Array.from({ length: Math.min(AT_ONCE, runIds.length) }, async () => {
    for (const runId of next) found.push(await fetchRun(client, runId));
  });
  await Promise.all(workers);
  return found;
}
