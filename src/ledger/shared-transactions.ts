/**
 * Short transactions that wait together are made one: a commit waits for the disk, and a thousand heartbeats per
 * second cannot wait for two thousand commits.
 *
 * One at a time per process and kind; whoever comes meanwhile travels in the next one, at most one of each key in
 * it. The work is told all its members at once and answers each. A transaction that fails fails for all: nobody is
 * answered before the commit.
 */
import type { Pool, PoolClient } from 'pg';
import { databaseFault, withClient } from './connection.ts';

export type SharedTransactions<Member, Answer> = (key: string, member: Member) => Promise<Answer>;

interface Waiting<Member, Answer> {
  readonly key: string;
  readonly member: Member;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

const MEMBERS_MAX = 256;

export function createSharedTransactions<Member, Answer>(
  pool: Pool,
  timeoutMs: number,
  /** By key, in the order of the keys, so that two processes lock rows in the same order. */
  work: (client: PoolClient, members: ReadonlyMap<string, Member>) => Promise<ReadonlyMap<string, Answer>>,
): SharedTransactions<Member, Answer> {
  let queue: Waiting<Member, Answer>[] = [];
  let isRunning = false;

  function take(): Map<string, Waiting<Member, Answer>> {
    const taken = new Map<string, Waiting<Member, Answer>>();
    const left: Waiting<Member, Answer>[] = [];
    for (const waiting of queue) {
      if (taken.size < MEMBERS_MAX && !taken.has(waiting.key)) taken.set(waiting.key, waiting);
      else left.push(waiting);
    }
    queue = left;
    return new Map([...taken].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  async function run(): Promise<void> {
    // Whoever comes in the same turn of the event loop travels along.
    await Promise.resolve();
    while (queue.length > 0) {
      const batch = take();
      try {
        const members = new Map([...batch].map(([key, { member }]) => [key, member]));
        const answers = await transaction(pool, timeoutMs, (client) => work(client, members));
        for (const [key, { resolve, reject }] of batch) {
          const answer = answers.get(key);
          if (answer === undefined) reject(new Error('a member of a transaction was not answered'));
          else resolve(answer);
        }
      } catch (error) {
        for (const { reject } of batch.values()) reject(error);
      }
    }
    isRunning = false;
  }

  return (key, member) =>
    new Promise((resolve, reject) => {
      queue.push({ key, member, resolve, reject });
      if (isRunning) return;
      isRunning = true;
      void run();
    });
}

/** One short transaction; a connection whose fate is unclear is thrown away with whatever was open on it. */
export async function transaction<T>(
  pool: Pool,
  timeoutMs: number,
  talk: (client: PoolClient) => Promise<T>,
): Promise<T> {
  try {
    return await withClient(pool, timeoutMs, async (client) => {
      await client.query('BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE');
      const answer = await talk(client);
      const { command } = await client.query('COMMIT');
      // A transaction that failed earlier answers COMMIT with ROLLBACK, and no error.
      if (command !== 'COMMIT') throw new Error('the commit became a rollback');
      return answer;
    });
  } catch (error) {
    throw databaseFault(error);
  }
}
