/**
 * What one transaction records: pure, from the batch and what the database held under the lock.
 *
 * Appends are judged in the order they came. A conflict is the answer to that append alone; a later append to the
 * same stream sees the earlier one. A known receipt is told before a version conflict, because "you said this
 * before, and this was the answer" is what the sender of a repeated webhook needs.
 */
import type { Json, JsonObject } from '../domain/canonical-json.ts';
import type { PreparedAppend } from './append.ts';
import { eventId, isJsonObject, parseJson, sealEnvelope } from './envelope.ts';
import type { AppendResult, RecordedEvent } from './ledger.ts';
import { CompactRange } from './merkle.ts';

export interface HeadRow {
  seq: number;
  hash: string;
  recordedAtMs: number;
  frontier: readonly string[];
}

/** What was read after the head's row was locked, so that nobody else can change it before the commit. */
export interface Ground {
  head: HeadRow;
  nowMs: number;
  versions: ReadonlyMap<string, number>;
  receipts: ReadonlyMap<string, { bodyDigest: string; responseJson: string }>;
}

export interface StreamHeadRow {
  stream: string;
  version: number;
  snapshot: PreparedAppend['snapshot'];
}

export interface Plan {
  /** One answer per append of the batch, true once the transaction is committed. */
  results: AppendResult[];
  events: { event: RecordedEvent; envelope: string }[];
  streams: StreamHeadRow[];
  views: PreparedAppend['views'][number][];
  receipts: NonNullable<PreparedAppend['receipt']>[];
  head: HeadRow;
}

export const pairKey = (source: string, webhookId: string): string => JSON.stringify([source, webhookId]);

export function plan(batch: readonly PreparedAppend[], ground: Ground): Plan {
  const tree = CompactRange.fromHex(ground.head.seq, ground.head.frontier);
  // A clock that was set back must not let the ledger's time run backwards.
  const recordedAtMs = Math.max(ground.nowMs, ground.head.recordedAtMs);
  const recordedAt = new Date(recordedAtMs).toISOString();
  const receipts = new Map(ground.receipts);
  const newReceipts: Plan['receipts'] = [];
  const events: Plan['events'] = [];
  const streams = new Map<string, StreamHeadRow>();
  const views = new Map<string, Plan['views'][number]>();
  let prevHash = ground.head.hash;

  const results = batch.map((append): AppendResult => {
    const { stream, receipt } = append;
    const key = receipt === null ? null : pairKey(receipt.source, receipt.webhookId);
    const known = key === null ? undefined : receipts.get(key);
    if (known !== undefined) {
      const response: Json = parseJson(known.responseJson);
      return { outcome: 'receipt-conflict', receipt: { bodyDigest: known.bodyDigest, response } };
    }
    const earlier = streams.get(stream);
    const actualVersion = earlier?.version ?? ground.versions.get(stream) ?? 0;
    if (actualVersion !== append.expectedVersion) return { outcome: 'version-conflict', actualVersion };

    const recorded = append.events.map(({ kind, dataJson }, index): RecordedEvent => {
      const version = actualVersion + index + 1;
      const id = eventId(stream, version);
      const fields = { actor: append.actor, id, kind, prevHash, recordedAt, stream, version };
      const { text, leaf } = sealEnvelope({ ...fields, dataJson });
      const event = { seq: tree.size + 1, ...fields, data: objectOf(dataJson), hash: leaf.toString('hex') };
      tree.append(leaf);
      prevHash = event.hash;
      events.push({ event, envelope: text });
      return event;
    });
    const version = actualVersion + recorded.length;
    if (recorded.length > 0) {
      streams.set(stream, { stream, version, snapshot: append.snapshot ?? earlier?.snapshot ?? null });
    }
    for (const view of append.views) views.set(pairKey(view.kind, view.id), view);
    if (receipt !== null && key !== null) {
      receipts.set(key, receipt);
      newReceipts.push(receipt);
    }
    return { outcome: 'appended', version, events: recorded };
  });

  return {
    results,
    events,
    streams: [...streams.values()],
    views: [...views.values()],
    receipts: newReceipts,
    head: {
      seq: tree.size,
      hash: prevHash,
      recordedAtMs: events.length > 0 ? recordedAtMs : ground.head.recordedAtMs,
      frontier: tree.frontierHex(),
    },
  };
}

/** Read back from what is stored: the caller's object may change, the event may not. */
function objectOf(dataJson: string): JsonObject {
  const data = parseJson(dataJson);
  if (!isJsonObject(data)) throw new TypeError('prepared data is an object');
  return data;
}
