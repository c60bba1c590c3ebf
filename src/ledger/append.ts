/**
 * An append made ready: checked, and written as text, before it may wait with others.
 *
 * One append that the database cannot store would fail the transaction of everybody who travels with it, so
 * whatever can be refused is refused here: NUL (PostgreSQL cannot hold it in text), lone surrogates (UTF-8 cannot),
 * depth, size, numbers that are none.
 */
import { canonicalJson, type Json, type JsonObject } from '../domain/canonical-json.ts';
import { InterlockError } from '../errors.ts';
import type { Append } from './ledger.ts';
import { stateText } from './state-text.ts';

/** What travels to the writer: nothing in it can change under it. */
export interface PreparedAppend {
  stream: string;
  expectedVersion: number;
  actor: string;
  events: readonly { kind: string; dataJson: string }[];
  /** `state` is what `stateJson` says: it is not written, only given back to whoever loads the stream next. */
  snapshot: { state: Json; stateJson: string; dueAt: string | null } | null;
  views: readonly { kind: string; id: string; runId: string; ordinal: number; docJson: string }[];
  receipt: { source: string; webhookId: string; bodyDigest: string; responseJson: string } | null;
  bytes: number;
}

const DEPTH_MAX = 64;
const VERSION_MAX = 2 ** 31 - 1;

const invalid = (message: string): InterlockError =>
  new InterlockError(message, { code: 'ledger.invalid-append' });

export function prepare(append: Append, bytesMax: number): PreparedAppend {
  const { expectedVersion, snapshot, receipt } = append;
  if (!Number.isInteger(expectedVersion) || expectedVersion < 0 || expectedVersion > VERSION_MAX) {
    throw invalid('the expected version is not a whole number from 0');
  }
  if (append.events.length === 0 && (receipt === undefined || snapshot !== null || append.views.length > 0)) {
    // A state or a view that no event led to could never be replayed.
    throw invalid('an append without events may record a receipt and nothing else');
  }
  const prepared = {
    stream: name(append.stream, 'stream'),
    expectedVersion,
    actor: name(append.actor, 'actor'),
    events: append.events.map(({ kind, data }) => ({
      kind: name(kind, 'kind'),
      dataJson: objectJson(data, `the data of ${kind}`),
    })),
    snapshot:
      snapshot === null
        ? null
        : {
            state: snapshot.state,
            stateJson: json(snapshot.state, 'the state', stateText),
            dueAt: instant(snapshot.dueAt),
          },
    views: append.views.map(({ kind, id, runId, ordinal, doc }) => {
      if (!Number.isSafeInteger(ordinal)) throw invalid('the ordinal of a view is not a whole number');
      return {
        kind: name(kind, 'kind of a view'),
        id: name(id, 'id of a view'),
        runId: name(runId, 'run id of a view', 0),
        ordinal,
        docJson: json(doc, `the view ${kind}`),
      };
    }),
    receipt:
      receipt === undefined
        ? null
        : {
            source: name(receipt.source, 'source of a receipt'),
            webhookId: name(receipt.webhookId, 'webhook id'),
            bodyDigest: name(receipt.bodyDigest, 'body digest'),
            responseJson: json(receipt.response, 'the response of a receipt'),
          },
  };
  const bytes = [
    ...prepared.events.map(({ dataJson }) => dataJson),
    prepared.snapshot?.stateJson ?? '',
    ...prepared.views.map(({ docJson }) => docJson),
    prepared.receipt?.responseJson ?? '',
  ].reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  if (bytes > bytesMax) {
    throw new InterlockError(`an append may hold ${bytesMax} bytes`, { code: 'ledger.too-large' });
  }
  return { ...prepared, bytes };
}

const NAME_CHARACTERS_MAX = 512;

function name(value: string, what: string, charactersMin = 1): string {
  if (value.length < charactersMin || value.length > NAME_CHARACTERS_MAX) {
    throw invalid(`the ${what} has not ${charactersMin} to ${NAME_CHARACTERS_MAX} characters`);
  }
  assertText(value, `the ${what}`);
  return value;
}

function instant(time: Date | null): string | null {
  if (time === null) return null;
  const year = time.getUTCFullYear();
  // Also false for an invalid date, whose year is NaN.
  if (!(year >= 1 && year <= 9999)) throw invalid('the due time is not a time PostgreSQL can index');
  return time.toISOString();
}

function objectJson(value: JsonObject, what: string): string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(`${what} is not an object`);
  }
  return json(value, what);
}

function json(
  value: Json,
  what: string,
  textOf: (value: Json, depthMax: number) => string = canonicalJson,
): string {
  try {
    const text = textOf(value, DEPTH_MAX);
    // How NUL is written; also how a backslash before `u0000` is, which is text like any other.
    if (text.includes('\\u0000')) assertStorable(value, what, 0);
    return text;
  } catch (error) {
    // Most of what can be wrong has better words.
    assertStorable(value, what, 0);
    throw new InterlockError(`${what} is not canonical JSON`, {
      code: 'ledger.invalid-append',
      cause: error,
    });
  }
}

function assertStorable(value: Json | undefined, what: string, depth: number): void {
  // Also what stops a cycle.
  if (depth > DEPTH_MAX) throw invalid(`${what} is nested more than ${DEPTH_MAX} deep`);
  if (typeof value === 'string') {
    assertText(value, what);
  } else if (Array.isArray(value)) {
    for (const item of value) assertStorable(item, what, depth + 1);
  } else if (typeof value === 'object' && value !== null) {
    // A Date or a Map has no members of its own: it would be recorded as {}.
    if (Object.prototype.toString.call(value) !== '[object Object]')
      throw invalid(`${what} is not plain JSON`);
    for (const key of Object.keys(value)) {
      assertText(key, what);
      assertStorable(value[key], what, depth + 1);
    }
  }
}

function assertText(value: string, what: string): void {
  if (value.includes('\u0000')) throw invalid(`${what} holds a NUL character, which cannot be stored`);
  if (!value.isWellFormed()) throw invalid(`${what} holds half of a surrogate pair, which is not text`);
}
