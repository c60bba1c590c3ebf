/**
 * The database of a simulation: the ledger's contract (src/ledger/ledger.ts) in memory, shared by every instance.
 *
 * For a share of the seeds an append is prepared and planned by the real code (src/ledger/append.ts, plan.ts: hash
 * chain, canonical text), for the others by a cheap one of the same contract. Each call of an instance travels there and back: it may be lost on the way, or done and its answer lost, or the instance may
 * crash in between. `Journal` is what an outsider sees: every commit, in order, with the true time.
 */
import type { Json } from '../../src/domain/canonical-json.ts';
import { type Compute, compareCompute, maxCompute } from '../../src/domain/compute.ts';
import { InterlockError } from '../../src/errors.ts';
import { prepare } from '../../src/ledger/append.ts';
import type { Instances } from '../../src/ledger/instances.ts';
import type { Append, AppendResult, Ledger, RecordedEvent, ViewRow } from '../../src/ledger/ledger.ts';
import { type HeadRow, pairKey, plan } from '../../src/ledger/plan.ts';
import type { Progress, ProgressStore } from '../../src/ledger/progress.ts';
import type { Faults } from './faults.ts';
import type { Random } from './random.ts';
import type { Scheduler, SimulatedProcess } from './virtual-time.ts';

export interface Committed {
  readonly atMs: number;
  readonly instance: string;
  readonly stream: string;
  readonly actor: string;
  readonly events: readonly RecordedEvent[];
}

/** A number taken for a permit: from here on it may be signed. */
export interface Reserved {
  readonly atMs: number;
  readonly clockMs: number;
  readonly instance: string;
  readonly runId: string;
  readonly seq: number;
  readonly terms: unknown;
}

export interface Witness {
  committed(commit: Committed): void;
  reserved(reservation: Reserved): void;
  beaten(runId: string, effectiveCompute: Compute, advanced: boolean): void;
}

interface StreamRow {
  version: number;
  state: Json;
  dueMs: number | null;
}

interface ProgressRow {
  high: Compute | null;
  last: Compute | null;
  heartbeatMs: number | null;
  progressMs: number | null;
  seq: number;
}

const NO_HEAD: HeadRow = { seq: 0, hash: '0'.repeat(64), recordedAtMs: 0, frontier: [] };
/** A request that came in so long ago has ended. */
const REQUEST_MS = 30_000;
const APPEND_BYTES_MAX = 4 * 1024 * 1024;

export class Store {
  readonly events: RecordedEvent[] = [];
  readonly envelopes: string[] = [];
  readonly streams = new Map<string, StreamRow>();
  readonly views = new Map<string, ViewRow>();
  readonly progress = new Map<string, ProgressRow>();
  readonly instances = new Map<string, { seenMs: number; detail: string; labels: readonly string[] }>();
  readonly #receipts = new Map<string, { bodyDigest: string; responseJson: string }>();
  readonly #scheduler: Scheduler;
  readonly #witness: Witness;
  /** Records as the real ledger does, with canonical text, hash chain and Merkle tree. */
  readonly #exact: boolean;
  #head: HeadRow = NO_HEAD;
  conflicts = 0;
  receiptHits = 0;
  /** Calls that were refused, for whatever reason. */
  refusals = 0;
  /** While true nothing answers. */
  away = false;

  constructor(scheduler: Scheduler, witness: Witness, exact: boolean) {
    this.#scheduler = scheduler;
    this.#witness = witness;
    this.#exact = exact;
  }

  append(append: Append, instance: string): AppendResult {
    const result = this.#exact ? this.#appendExactly(append) : this.#appendCheaply(append);
    if (result.outcome === 'version-conflict') this.conflicts += 1;
    if (result.outcome === 'receipt-conflict') this.receiptHits += 1;
    if (result.outcome === 'appended' && result.events.length > 0) {
      const { actor, stream } = append;
      const { events } = result;
      this.#witness.committed({ atMs: this.#scheduler.nowMs, instance, stream, actor, events });
    }
    return result;
  }

  /** The same contract without canonical text and hashes, which cost more than all the rest. */
  #appendCheaply(append: Append): AppendResult {
    const { stream, expectedVersion, events, actor, snapshot, views, receipt } = append;
    const known = receipt === undefined ? null : this.receipt(receipt.source, receipt.webhookId);
    if (known !== null) return { outcome: 'receipt-conflict', receipt: known };
    const earlier = this.streams.get(stream);
    const actualVersion = earlier?.version ?? 0;
    if (actualVersion !== expectedVersion) return { outcome: 'version-conflict', actualVersion };
    const recordedAt = new Date(this.#scheduler.nowMs).toISOString();
    const recorded = events.map(({ kind, data }, i): RecordedEvent => {
      const version = actualVersion + i + 1;
      const seq = this.events.length + i + 1;
      const id = `${stream}/${version}`;
      return { seq, stream, version, id, kind, data, actor, recordedAt, prevHash: '', hash: '' };
    });
    this.events.push(...recorded);
    const version = actualVersion + recorded.length;
    if (recorded.length > 0) {
      const dueMs = snapshot === null ? (earlier?.dueMs ?? null) : (snapshot.dueAt?.getTime() ?? null);
      const state = snapshot === null ? (earlier?.state ?? null) : snapshot.state;
      this.streams.set(stream, { version, state, dueMs });
    }
    for (const view of views) this.views.set(pairKey(view.kind, view.id), view);
    if (receipt !== undefined) {
      const { response, ...rest } = receipt;
      this.#receipts.set(pairKey(receipt.source, receipt.webhookId), {
        ...rest,
        responseJson: JSON.stringify(response),
      });
    }
    return { outcome: 'appended', version, events: recorded };
  }

  #appendExactly(append: Append): AppendResult {
    for (const { data } of append.events) freeze(data);
    for (const { doc } of append.views) freeze(doc);
    freeze(append.snapshot?.state);
    const prepared = prepare(append, APPEND_BYTES_MAX);
    const { stream, snapshot } = prepared;
    const known = this.streams.get(stream);
    const planned = plan([prepared], {
      head: this.#head,
      nowMs: this.#scheduler.nowMs,
      versions: new Map(known === undefined ? [] : [[stream, known.version]]),
      receipts: this.#receipts,
    });
    const [result] = planned.results;
    if (result === undefined) throw new Error('an append without an answer');
    if (result.outcome !== 'appended') return result;
    this.#head = planned.head;
    for (const { event, envelope } of planned.events) {
      this.events.push(event);
      this.envelopes.push(envelope);
    }
    for (const row of planned.streams) {
      const earlier = this.streams.get(row.stream);
      this.streams.set(row.stream, {
        version: row.version,
        state: snapshot === null ? (earlier?.state ?? null) : JSON.parse(snapshot.stateJson),
        dueMs:
          snapshot === null
            ? (earlier?.dueMs ?? null)
            : snapshot.dueAt === null
              ? null
              : Date.parse(snapshot.dueAt),
      });
    }
    for (const { docJson, ...view } of planned.views) {
      this.views.set(pairKey(view.kind, view.id), { ...view, doc: JSON.parse(docJson) });
    }
    for (const receipt of planned.receipts) {
      this.#receipts.set(pairKey(receipt.source, receipt.webhookId), receipt);
    }
    return result;
  }

  receipt(source: string, webhookId: string): { bodyDigest: string; response: Json } | null {
    const known = this.#receipts.get(pairKey(source, webhookId));
    return known === undefined
      ? null
      : { bodyDigest: known.bodyDigest, response: JSON.parse(known.responseJson) };
  }

  dueStreams(beforeMs: number, limit: number): string[] {
    return [...this.streams]
      .filter(([, { dueMs }]) => dueMs !== null && dueMs <= beforeMs)
      .sort(([, a], [, b]) => (a.dueMs ?? 0) - (b.dueMs ?? 0))
      .slice(0, limit)
      .map(([stream]) => stream);
  }

  beat(runId: string, effectiveCompute: Compute): Awaited<ReturnType<ProgressStore['beat']>> {
    const row = this.#progressRow(runId);
    const before = progressOf(row);
    const advanced = row.last === null || compareCompute(effectiveCompute, row.last) > 0;
    const counted = advanced && row.last !== null;
    row.high = row.high === null ? effectiveCompute : maxCompute(effectiveCompute, row.high);
    row.last = effectiveCompute;
    row.heartbeatMs = this.#scheduler.nowMs;
    if (advanced) row.progressMs = this.#scheduler.nowMs;
    this.#witness.beaten(runId, effectiveCompute, counted);
    return { before, after: progressOf(row), advanced: counted };
  }

  reserve<T>(
    by: { readonly instance: string; readonly clockMs: number },
    runId: string,
    stream: string,
    mayIssue: (state: Json) => T | null,
  ): { seq: number; terms: T } | null {
    const head = this.streams.get(stream);
    const terms = head === undefined ? null : mayIssue(head.state);
    if (terms === null) return null;
    const row = this.#progressRow(runId);
    row.seq += 1;
    this.#witness.reserved({ ...by, atMs: this.#scheduler.nowMs, runId, seq: row.seq, terms });
    return { seq: row.seq, terms };
  }

  readProgress(runId: string): Progress {
    return progressOf(this.#progressRow(runId));
  }

  #progressRow(runId: string): ProgressRow {
    const known = this.progress.get(runId);
    if (known !== undefined) return known;
    const row: ProgressRow = { high: null, last: null, heartbeatMs: null, progressMs: null, seq: 0 };
    this.progress.set(runId, row);
    return row;
  }
}

/** What is handed over to be recorded is also what the service goes on with: nobody may change it from then on. */
function freeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return;
  Object.freeze(value);
  for (const member of Object.values(value)) freeze(member);
}

function progressOf({ high, last, heartbeatMs, progressMs }: ProgressRow): Progress {
  const date = (ms: number | null): Date | null => (ms === null ? null : new Date(ms));
  return {
    computeHigh: high,
    computeLast: last,
    heartbeatAt: date(heartbeatMs),
    progressAt: date(progressMs),
  };
}

export interface Connection {
  readonly ledger: Ledger;
  readonly progress: ProgressStore;
  readonly instances: Instances;
  /** The instance crashes at its n-th call from now, before or after the store has done it. */
  crashAt(calls: number, done: boolean): void;
}

/** What one instance has of the store. */
export function connect(deps: {
  readonly store: Store;
  readonly scheduler: Scheduler;
  readonly process: SimulatedProcess;
  readonly instance: string;
  readonly faults: Faults;
  readonly random: Random;
  readonly onCrash: () => void;
}): Connection {
  const { store, scheduler, process, instance, faults, random, onCrash } = deps;
  let crash: { calls: number; done: boolean } | null = null;

  const unavailable = (): InterlockError =>
    new InterlockError('the ledger cannot be reached', { code: 'ledger.unavailable', retryable: true });

  function due(done: boolean): boolean {
    if (crash === null || crash.done !== done || crash.calls > 0) return false;
    crash = null;
    onCrash();
    return true;
  }

  function call<T>(apply: () => T, writes: boolean): Promise<T> {
    return new Promise((resolve, reject) => {
      if (!process.alive) return;
      if (crash !== null) crash.calls -= 1;
      const there =
        1 + random.below(15) + (writes && faults.hit('write-slow', 0.02) ? random.below(8_000) : 0);
      const refuse = (ms: number): void => {
        store.refusals += 1;
        process.after(ms, () => reject(unavailable()));
      };
      scheduler.after(there, () => {
        if (due(false)) return;
        if (store.away) return refuse(100 + random.below(2_000));
        if (faults.hit(writes ? 'write-fails' : 'read-fails', 0.015)) return refuse(random.below(2_000));
        let answer: T;
        try {
          answer = apply();
        } catch (error) {
          process.after(1, () => reject(error));
          return;
        }
        if (due(true)) return;
        if (writes && faults.hit('write-fails-but-lands', 0.01)) return refuse(random.below(10_000));
        process.after(1 + random.below(10), () => resolve(answer));
      });
    });
  }

  const read = <T>(apply: () => T): Promise<T> => call(apply, false);
  const write = <T>(apply: () => T): Promise<T> => call(apply, true);

  const ledger: Ledger = {
    append: (append: Append) => write(() => store.append(append, instance)),
    load: (stream) =>
      read(() => {
        const row = store.streams.get(stream);
        if (row === undefined) return null;
        return {
          version: row.version,
          state: row.state,
          dueAt: row.dueMs === null ? null : new Date(row.dueMs),
        };
      }),
    read: ({ after, stream, limit }) =>
      read(() =>
        store.events
          .filter((event) => event.seq > after && (stream === undefined || event.stream === stream))
          .slice(0, limit),
      ),
    dueStreams: (before, limit) => read(() => store.dueStreams(before.getTime(), limit)),
    receipt: (source, webhookId) => read(() => store.receipt(source, webhookId)),
    view: (kind, id) => read(() => store.views.get(pairKey(kind, id)) ?? null),
    views: ({ kind, runId, limit }) =>
      read(() =>
        [...store.views.values()]
          .filter((view) => view.kind === kind && (runId === undefined || view.runId === runId))
          .slice(0, limit),
      ),
    head: () => read(() => ({ size: store.events.length, hash: store.events.at(-1)?.hash ?? '', root: '' })),
    onAppended: () => () => undefined,
    close: async () => undefined,
  };

  return {
    ledger,
    progress: {
      read: (runId) => read(() => store.readProgress(runId)),
      beat: (runId, effectiveCompute) => write(() => store.beat(runId, effectiveCompute)),
      reserveSequence: (runId, stream, mayIssue) =>
        write(() =>
          store.reserve({ instance, clockMs: process.leastClockMs(REQUEST_MS) }, runId, stream, mayIssue),
        ),
    },
    instances: {
      beat: (id, detail, labels = []) =>
        write(() => {
          store.instances.set(id, { seenMs: scheduler.nowMs, detail, labels });
        }),
      known: (lostAfterMs) =>
        read(() =>
          [...store.instances].map(([id, { seenMs, detail, labels }]) => ({
            id,
            detail,
            silent: seenMs < scheduler.nowMs - lostAfterMs,
            labels: [...labels],
          })),
        ),
      streamsNaming: (id) =>
        read(() =>
          [...store.streams]
            .filter(([, { state }]) => JSON.stringify(state).includes(id))
            .map(([stream]) => stream),
        ),
      forget: (id) => write(() => void store.instances.delete(id)),
    },
    crashAt(calls, done) {
      crash = { calls, done };
    },
  };
}
