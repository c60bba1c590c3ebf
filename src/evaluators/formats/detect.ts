/**
 * One log, read: by the format that a policy or a person names, or by the one that claims it.
 *
 * Fails toward no reading: a file that nobody claims, that two claim, or that is of another format than the named one is refused
 * with a fixed code. Companions of logs (status null) are read like logs, and say so.
 */
import { GLIMPSE_BYTES, type Glimpse, type HarnessFormat, type ReadLog, type ReadOptions } from './format.ts';
import { refusal } from './harness-values.ts';
import { faultsAsProblems } from './log-fault.ts';
import type { LogSource } from './log-source.ts';
import { FORMATS } from './registry.ts';

/** `kind`: the file's own, of a file that could not be read; null where nobody claims it. */
export type Reading =
  | Extract<ReadLog, { ok: true }>
  | (Extract<ReadLog, { ok: false }> & { readonly kind: string | null });

export interface ReadRequest extends ReadOptions {
  /** A reader's name, as policies give it. Left out, the file is recognised by its content. */
  readonly format?: string | undefined;
  /** Instead of all of them, such as readers with other bounds. */
  readonly readers?: readonly HarnessFormat[] | undefined;
}

export async function readLog(
  source: LogSource,
  { format, readers = FORMATS, ...options }: ReadRequest = {},
): Promise<Reading> {
  const glimpse = await glimpseOf(source);
  if (isBlank(glimpse)) return { ...refusal('log-empty', 'is empty'), kind: null };
  const claimants = claimantsOf(glimpse, readers);
  const named = format === undefined ? undefined : readers.find(({ name }) => name === format);
  if (format !== undefined && named === undefined) {
    return { ...refusal('format-unknown', 'is to be read by a format that there is none of'), kind: null };
  }
  if (named !== undefined && !claimants.includes(named))
    return disagreement(source, glimpse, named, claimants, options);
  const [only, other] = named === undefined ? claimants : [named];
  if (only === undefined) return { ...refusal('format-unknown', 'is of no format that is read'), kind: null };
  if (other !== undefined) {
    const names = claimants.map(({ name }) => name).join(' and ');
    return { ...refusal('log-ambiguous', `could be of ${names}`), kind: null };
  }
  return read(only, source, glimpse, options);
}

export async function glimpseOf(source: LogSource): Promise<Glimpse> {
  const head = await source.read(0, GLIMPSE_BYTES);
  return { fileName: source.fileName, size: source.size, head };
}

export const claimantsOf = (glimpse: Glimpse, readers = FORMATS): HarnessFormat[] =>
  readers.filter((format) => format.claims(glimpse));

async function read(
  format: HarnessFormat,
  source: LogSource,
  glimpse: Glimpse,
  options: ReadOptions,
): Promise<Reading> {
  const result = await faultsAsProblems(() => format.read(source, options));
  return result.ok ? result : { ...result, kind: format.kind(glimpse) };
}

/** Where nobody else claims it either, the named reader says best what is wrong with it. */
async function disagreement(
  source: LogSource,
  glimpse: Glimpse,
  named: HarnessFormat,
  claimants: readonly HarnessFormat[],
  options: ReadOptions,
): Promise<Reading> {
  const [other] = claimants;
  if (other !== undefined) {
    const detail = `is of the format ${other.name}, not ${named.name}`;
    return { ...refusal('format-disagrees', detail), kind: other.kind(glimpse) };
  }
  const result = await read(named, source, glimpse, options);
  return result.ok
    ? { ...refusal('format-disagrees', `does not begin like one of ${named.name}`), kind: null }
    : result;
}

function isBlank({ size, head }: Glimpse): boolean {
  return (
    size === 0 ||
    (size <= head.byteLength && head.every((byte) => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d)))
  );
}
