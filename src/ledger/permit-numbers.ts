/**
 * Permit numbers: the one place where a permit may come from. Under a lock on the run's head, so that no permit is
 * numbered after a halt that the head already knows, and there it is settled which process of the run it is for.
 *
 * Heartbeats that wait together are numbered in one transaction. It never waits for the head of a run while it holds
 * those of others (an append under way may want them in another order): a run whose head is just being written gets
 * a transaction of its own, which waits for it.
 */
import type { Pool, PoolClient } from 'pg';
import type { Json } from '../domain/canonical-json.ts';
import { InterlockError } from '../errors.ts';
import { parseJson } from './envelope.ts';
import type { PermitClaim, Reserved } from './progress.ts';
import { integer, type Row, text, timestamp } from './rows.ts';
import { createSharedTransactions, transaction } from './shared-transactions.ts';
import { statesOf } from './state-cache.ts';

export interface NumberRequest<T> {
  readonly runId: string;
  readonly stream: string;
  readonly mayIssue: (state: Json, related?: readonly Json[]) => T | null;
  readonly claim: PermitClaim;
  /** Streams whose states are read too, without a lock: two runs that name one another must not wait for one another. */
  readonly related: readonly string[];
}

/** Made to fit any `T`: the terms go back to whoever made them. */
type Member = NumberRequest<unknown>;
type Numbered = Reserved<unknown> | null;

export type NumberPermit = <T>(request: NumberRequest<T>) => Promise<Reserved<T> | null>;

export function createPermitNumbers(pool: Pool, timeoutMs: number): NumberPermit {
  const shared = createSharedTransactions<Member, Numbered | 'busy'>(pool, timeoutMs, (client, members) =>
    numberAll(client, members, 'FOR SHARE OF head SKIP LOCKED'),
  );

  async function numberOne(member: Member): Promise<Numbered> {
    const members = new Map([[member.runId, member]]);
    // Waits for an append that is under way: a halt committed before this line is seen.
    const answers = await transaction(pool, timeoutMs, (client) =>
      numberAll(client, members, 'FOR SHARE OF head'),
    );
    const answer = answers.get(member.runId) ?? null;
    return answer === 'busy' ? null : answer;
  }

  async function numberAll(
    client: PoolClient,
    members: ReadonlyMap<string, Member>,
    lock: string,
  ): Promise<Map<string, Numbered | 'busy'>> {
    const states = await readStates(
      client,
      [...members.values()].map(({ stream }) => stream),
      lock,
    );
    const related = [...new Set([...members.values()].flatMap((member) => member.related))];
    const others = related.length === 0 ? new Map<string, Json>() : await readStates(client, related, '');
    const answers = new Map<string, Numbered | 'busy'>();
    const granted = new Map<string, { readonly claim: PermitClaim; readonly terms: unknown }>();
    for (const [runId, { stream, mayIssue, claim, related: named }] of members) {
      const state = states.get(stream);
      if (state === undefined) {
        answers.set(runId, 'busy');
        continue;
      }
      const found = named.flatMap((each) => {
        const other = others.get(each);
        return other === undefined ? [] : [other];
      });
      const terms = mayIssue(state, found);
      if (terms === null) answers.set(runId, null);
      else granted.set(runId, { claim, terms });
    }
    if (granted.size > 0)
      for (const [runId, answer] of await take(client, granted)) answers.set(runId, answer);
    return answers;
  }

  async function readStates(
    client: PoolClient,
    streams: readonly string[],
    lock: string,
  ): Promise<Map<string, Json>> {
    const kept = new Map(streams.map((stream) => [stream, statesOf(pool).get(stream)]));
    const { rows } = await client.query<Row>(
      `SELECT head.stream, CASE WHEN last_append = asked.tag THEN NULL ELSE state END AS state
       FROM stream_head AS head JOIN unnest($1::text[], $2::text[]) AS asked (stream, tag) ON head.stream = asked.stream
       ${lock}`,
      [streams, streams.map((stream) => kept.get(stream)?.tag ?? '')],
    );
    return new Map(
      rows.map((row) => {
        const stream = text(row, 'stream');
        const known = kept.get(stream);
        return [
          stream,
          row['state'] === null && known !== undefined ? known.state : parseJson(text(row, 'state')),
        ];
      }),
    );
  }

  return async <T>(request: NumberRequest<T>): Promise<Reserved<T> | null> => {
    const made: { readonly terms: T }[] = [];
    const member: Member = {
      ...request,
      mayIssue: (state, related) => {
        const terms = request.mayIssue(state, related);
        if (terms !== null) made.push({ terms });
        return terms;
      },
    };
    const together = await shared(request.runId, member);
    const answer = together === 'busy' ? await numberOne(member) : together;
    if (answer === null || 'occupied' in answer) return answer;
    const { seq, tookOver } = answer;
    const mine = made.at(-1);
    if (mine === undefined) throw new TypeError('a number without terms');
    return tookOver === undefined ? { seq, terms: mine.terms } : { seq, terms: mine.terms, tookOver };
  };
}

/** Free for a process if nobody has it, it has it itself, it ran out, its holder is said to be gone, or they share it. */
async function take(
  client: PoolClient,
  granted: ReadonlyMap<string, { readonly claim: PermitClaim; readonly terms: unknown }>,
): Promise<Map<string, Numbered>> {
  const standing = await lockProgress(
    client,
    [...granted.keys()],
    `run_id, permit_holder, permit_until > clock_timestamp() AS live,
     floor(extract(epoch FROM permit_until) * 1000)::bigint AS until_ms`,
  );
  const answers = new Map<string, Numbered>();
  const free: { runId: string; claim: PermitClaim; terms: unknown; tookOver: string | null }[] = [];
  for (const [runId, { claim, terms }] of granted) {
    const row = expected(standing.get(runId));
    const { instance, supersedes } = claim;
    const holder = row['permit_holder'] === null ? null : text(row, 'permit_holder');
    const isOurs = holder === null || holder === instance || holder === supersedes;
    if (!isOurs && row['live'] !== false && claim.shared !== true) {
      const until = timestamp(row, 'until_ms') ?? new Date(0);
      answers.set(runId, { occupied: { holder, until } });
      continue;
    }
    const tookOver = supersedes !== null && holder === supersedes && row['live'] === true ? supersedes : null;
    free.push({ runId, claim, terms, tookOver });
  }
  if (free.length === 0) return answers;
  const { rows } = await client.query<Row>(
    `UPDATE run_progress AS p SET permit_seq = p.permit_seq + 1,
       permit_holder = coalesce(taken.instance, p.permit_holder),
       permit_until = CASE WHEN taken.instance IS NULL THEN p.permit_until
         ELSE clock_timestamp() + taken.lifetime_ms * interval '1 ms' END
     FROM unnest($1::text[], $2::text[], $3::bigint[]) AS taken (run_id, instance, lifetime_ms)
     WHERE p.run_id = taken.run_id RETURNING p.run_id, p.permit_seq`,
    [
      free.map(({ runId }) => runId),
      free.map(({ claim }) => claim.instance),
      free.map(({ claim }) => claim.lifetimeMs),
    ],
  );
  const numbers = new Map(rows.map((row) => [text(row, 'run_id'), integer(row, 'permit_seq')]));
  for (const { runId, terms, tookOver } of free) {
    const seq = numbers.get(runId);
    if (seq === undefined) throw damaged();
    answers.set(runId, tookOver === null ? { seq, terms } : { seq, terms, tookOver });
  }
  return answers;
}

/** The rows of these runs, made where there are none, locked in the order of their keys. */
export async function lockProgress(
  client: PoolClient,
  runIds: readonly string[],
  columns: string,
): Promise<Map<string, Row>> {
  const read = async (): Promise<Map<string, Row>> => {
    const { rows } = await client.query<Row>(
      `SELECT ${columns} FROM run_progress WHERE run_id = ANY($1::text[]) ORDER BY run_id FOR UPDATE`,
      [runIds],
    );
    return new Map(rows.map((row) => [text(row, 'run_id'), row]));
  };
  const found = await read();
  if (found.size === runIds.length) return found;
  await client.query(
    'INSERT INTO run_progress (run_id) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING',
    [runIds],
  );
  return read();
}

const damaged = (): InterlockError =>
  new InterlockError('a row that must be there is not', { code: 'ledger.damaged' });

function expected(row: Row | undefined): Row {
  if (row === undefined) throw damaged();
  return row;
}
