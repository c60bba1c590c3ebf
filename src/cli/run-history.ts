/**
 * One run's events and the policy it had pinned: from the live ledger, or from an export with no database at all.
 *
 * Believes the bytes, as `replay` does; `ledger verify` is who does not. A run's events must follow one another
 * without a gap all the same: half a history would answer another question.
 */
import type { JsonObject } from '../domain/canonical-json.ts';
import type { Policy } from '../domain/policy/schema.ts';
import { parseRunEvent, type RunEvent } from '../domain/run/events.ts';
import { InterlockError } from '../errors.ts';
import { parseCanonical, readEnvelope } from '../ledger/envelope.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { PolicyStateSchema, policyStream } from '../service/policies.ts';
import { linesOf } from './replay.ts';
import type { Terminal } from './terminal.ts';

export interface RunHistory {
  readonly events: readonly RunEvent[];
  readonly pinned: Policy;
}

export interface HistoryOptions {
  readonly run: string;
  readonly file?: string;
  readonly config?: string;
}

/** Null where this ledger has no such run. */
export async function readRunHistory(
  { run, file, config }: HistoryOptions,
  terminal: Terminal,
): Promise<RunHistory | null> {
  if (file !== undefined) return historyOfFile(file, run);
  const { loadConfig, withStore } = await import('./configuration.ts');
  return withStore(await loadConfig(config, terminal), ({ ledger }) => historyOfLedger(ledger, run));
}

const PAGE = 1_000;

async function historyOfLedger(ledger: Ledger, runId: string): Promise<RunHistory | null> {
  const stream = `run-${runId}`;
  const history = new History(stream);
  for (let after = 0; ; ) {
    const page = await ledger.read({ after, stream, limit: PAGE });
    for (const event of page) history.add(event);
    after = page.at(-1)?.seq ?? after;
    if (page.length < PAGE) break;
  }
  const { pinnedDigest } = history;
  if (pinnedDigest === null) return null;
  const recorded = await ledger.load(policyStream(pinnedDigest));
  return history.with(recorded === null ? null : PolicyStateSchema.parse(recorded.state).policy);
}

async function historyOfFile(file: string, runId: string): Promise<RunHistory | null> {
  const stream = `run-${runId}`;
  const history = new History(stream);
  const policies = new Map<string, JsonObject>();
  let line = 0;
  for await (const text of linesOf(file)) {
    line += 1;
    if (text.startsWith('{"signedHead"')) continue;
    const parsed = parseCanonical(text);
    const envelope = parsed.ok ? readEnvelope(parsed.value) : parsed;
    if (!envelope.ok) throw unreadable(`${file}: line ${line} ${envelope.message}`);
    const event = envelope.envelope;
    if (event.stream === stream) history.add(event);
    else if (event.stream.startsWith('policy-')) policies.set(event.stream, event.data);
  }
  const { pinnedDigest } = history;
  if (pinnedDigest === null) return null;
  const recorded = policies.get(policyStream(pinnedDigest));
  return history.with(recorded === undefined ? null : PolicyStateSchema.parse(recorded).policy);
}

class History {
  readonly #stream: string;
  readonly #events: RunEvent[] = [];

  constructor(stream: string) {
    this.#stream = stream;
  }

  add({ version, kind, data }: { version: number; kind: string; data: JsonObject }): void {
    if (version !== this.#events.length + 1) {
      throw unreadable(`${this.#stream}: version ${version} does not follow ${this.#events.length}`);
    }
    this.#events.push(parseRunEvent(kind, data));
  }

  get pinnedDigest(): string | null {
    const [first] = this.#events;
    return first?.kind === 'RunRegistered' ? first.data.policy : null;
  }

  with(pinned: Policy | null): RunHistory {
    if (pinned === null) {
      throw unreadable(`the ledger holds no policy ${this.pinnedDigest ?? ''} for ${this.#stream}`);
    }
    return { events: this.#events, pinned };
  }
}

function unreadable(message: string): InterlockError {
  return new InterlockError(`${message}; \`interlock ledger verify\` says more`, {
    code: 'cli.unreadable-history',
  });
}
