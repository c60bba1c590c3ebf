/** `interlock estimate`: rounds in which experts are asked about a run's next checkpoint. */
import { readFile } from 'node:fs/promises';
import { EXIT, type ExitCode, UsageError } from './exit.ts';
import { json, plural, printable, relative, type Style, shortCompute, table } from './output.ts';
import { connect, path, read, type ServiceOptions } from './service-client.ts';
import { EstimateRound, EstimateRoundWithFeedback, page } from './service-documents.ts';
import type { Terminal } from './terminal.ts';
import { instantOf } from './when.ts';

interface RoundOptions extends ServiceOptions {
  run: string;
  json?: true;
}
export interface OpenOptions extends RoundOptions {
  category: string;
  stage?: string;
  level: string;
  closes?: string;
}
export interface GiveOptions extends RoundOptions {
  round: string;
  probability?: string;
  quantile?: readonly string[];
  rationale?: string;
  file?: string;
}
export interface CloseOptions extends RoundOptions {
  round: string;
  second?: true;
  closes?: string;
}
export interface ShowOptions extends RoundOptions {
  round?: string;
  cursor?: string;
}

const closesAt = (closes: string | undefined): { closesAt?: string } =>
  closes === undefined ? {} : { closesAt: instantOf('--closes', closes, new Date()) };

export async function openRound(options: OpenOptions, terminal: Terminal): Promise<ExitCode> {
  const { category, stage, level, closes } = options;
  const body = {
    category,
    ...(stage === undefined ? {} : { stage }),
    level: Number.isNaN(Number(level)) ? level : Number(level),
    ...closesAt(closes),
  };
  const client = await connect(options, terminal);
  const answer = await client.post(path('v1', 'runs', options.run, 'estimate-rounds'), body);
  return said(answer, options, terminal, (round) => roundText(round, new Date(), terminal.style));
}

export async function giveEstimate(options: GiveOptions, terminal: Terminal): Promise<ExitCode> {
  const body = { roundId: options.round, ...(await estimateBody(options)) };
  const client = await connect(options, terminal);
  const answer = await client.post(path('v1', 'runs', options.run, 'estimates'), body);
  terminal.print(
    options.json
      ? json(answer)
      : 'recorded. Nobody else sees it while the round is open; until then another replaces it.',
  );
  return EXIT.ok;
}

async function estimateBody({ probability, quantile = [], rationale, file }: GiveOptions): Promise<object> {
  if (file !== undefined) {
    if (probability !== undefined || rationale !== undefined || quantile.length > 0) {
      throw new UsageError('give either --file or --probability, --quantile and --rationale');
    }
    return estimateFile(file);
  }
  if (probability === undefined || rationale === undefined) {
    throw new UsageError('give --probability and --rationale, or --file');
  }
  return {
    probability: numberOf('--probability', probability),
    ...(quantile.length === 0 ? {} : { quantiles: quantile.map(quantileOf) }),
    rationale,
  };
}

async function estimateFile(file: string): Promise<object> {
  const text = await readFile(file, 'utf8').catch((): null => null);
  if (text === null) throw new UsageError(`${file} cannot be read`);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  } catch {
    // Said below: the parser's own message would repeat what the file holds.
  }
  throw new UsageError(`${file} does not hold a JSON object`);
}

function quantileOf(pair: string): { p: number; level: number } {
  const [p = '', level] = pair.split('=');
  if (level === undefined) throw new UsageError('--quantile must be P=LEVEL, such as 0.9=3.2');
  return { p: numberOf('--quantile', p), level: numberOf('--quantile', level) };
}

function numberOf(option: string, text: string): number {
  const value = /^(?:\d{1,20}|\d{0,20}\.\d{1,20})$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(value)) throw new UsageError(`${option} must hold a plain number such as 0.05`);
  return value;
}

export async function closeRound(options: CloseOptions, terminal: Terminal): Promise<ExitCode> {
  const { run, round, second, closes } = options;
  if (closes !== undefined && second === undefined) {
    throw new UsageError('--closes is for the second round: add --second');
  }
  const client = await connect(options, terminal);
  const at = path('v1', 'runs', run, 'estimate-rounds', round, second ? 'second' : 'close');
  const answer = await client.post(at, closesAt(closes));
  return said(answer, options, terminal, (shown) => roundText(shown, new Date(), terminal.style));
}

export async function showRounds(options: ShowOptions, terminal: Terminal): Promise<ExitCode> {
  const { run, round, cursor } = options;
  const { style } = terminal;
  const client = await connect(options, terminal);
  const rounds = path('v1', 'runs', run, 'estimate-rounds');
  const query = cursor === undefined ? '' : `?${new URLSearchParams({ cursor })}`;
  const answer = await client.get(round === undefined ? `${rounds}${query}` : `${rounds}${path(round)}`);
  if (options.json) terminal.print(json(answer));
  else if (round !== undefined) {
    terminal.print(feedbackText(read(EstimateRoundWithFeedback, answer), new Date(), style));
  } else {
    const { items, nextCursor } = read(page(EstimateRound), answer);
    terminal.print(listText(items, style));
    if (nextCursor !== null) terminal.print(`\nmore: --cursor ${printable(nextCursor)}`);
  }
  return EXIT.ok;
}

function said(
  answer: unknown,
  options: RoundOptions,
  terminal: Terminal,
  text: (round: EstimateRound) => string,
): ExitCode {
  terminal.print(options.json ? json(answer) : text(read(EstimateRound, answer)));
  return EXIT.ok;
}

const percent = (p: number): string => `${Number((100 * p).toFixed(1))} %`;

function listText(rounds: readonly EstimateRound[], style: Style): string {
  if (rounds.length === 0) return 'no estimate rounds';
  const columns = ['round', 'nr', 'state', 'checkpoint', 'category', 'stage', 'level', 'experts', 'pooled'];
  const rows = rounds.map((round) => [
    printable(round.roundId),
    String(round.round),
    printable(round.state),
    printable(round.checkpointId),
    printable(round.category),
    printable(round.stage),
    round.level.toFixed(2),
    String(round.pool?.n ?? round.given),
    round.pool === null ? '-' : percent(round.pool.p),
  ]);
  return table(
    columns.map((title) => ({ title })),
    rows,
    style,
  );
}

export function roundText(round: EstimateRound, now: Date, style: Style): string {
  const { pool, readBy, closedAt, closedBecause } = round;
  const state =
    closedAt === null
      ? `open, closes ${relative(round.closesAt, now)}`
      : `closed ${relative(closedAt, now)} (${printable(closedBecause ?? '')})`;
  const lines = [
    `${style.bold(printable(round.roundId))}  round ${round.round}, ${state}`,
    `  asked     how likely is ${printable(round.category)} ${printable(round.stage)} to reach ${round.level.toFixed(2)} by ${shortCompute(round.horizonCompute)} FLOP, before the checkpoint after ${printable(round.checkpointId)}?`,
    `  answered  ${plural(round.given, 'expert')} in this round`,
    `  read by   ${readBy.map(printable).join(', ') || 'no rule of the policy'}`,
  ];
  if (pool === null) return lines.join('\n');
  const plain = pool.p === pool.geometricMean ? '' : `, extremised from ${percent(pool.geometricMean)}`;
  return [
    ...lines,
    `  pooled    ${style.bold(percent(pool.p))} of ${plural(pool.n, 'expert')}${plain}; median ${percent(pool.median)}, middle half ${percent(pool.lowerQuartile)} to ${percent(pool.upperQuartile)}`,
  ].join('\n');
}

function feedbackText(round: EstimateRoundWithFeedback, now: Date, style: Style): string {
  const { mine, feedback } = round;
  return [
    roundText(round, now, style),
    ...(mine === null ? [] : [`  yours     ${percent(mine.probability)}: ${printable(mine.rationale)}`]),
    ...(feedback?.quantiles ?? []).map(
      ({ p, level, n }) => `  level     at most ${level.toFixed(2)} with ${percent(p)} (median of ${n})`,
    ),
    ...(feedback?.rationales ?? []).map((rationale) => `  because   ${printable(rationale)}`),
  ].join('\n');
}
