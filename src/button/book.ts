/**
 * The target book: where each run's halts go, as the service last knew it, readable when nothing else answers.
 *
 * Each service writes a book of its own: one checked line per change, fsynced; rewritten whole beside and renamed when
 * most of it is out of date. Readers take all books together, and per run the entry with the highest version of its
 * stream, so that it does not matter who wrote it or which book is older. A file's modification time says when its
 * service last compared it with the ledger: that is the age of what the button knows.
 * Fails toward stopping: damaged lines are passed over, and a book that vanishes is remembered as it was.
 */
import { readdirSync } from 'node:fs';
import { type FileHandle, open, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { HaltActionSchema, RunTargetSchema } from '../domain/run/halt-documents.ts';
import { FollowedFile } from './followed-file.ts';
import { syncDirectory } from './layout.ts';
import { recordLine } from './record-line.ts';

export const BookEntrySchema = z.object({
  runId: z.string(),
  /** Of the run's stream: the higher one is the newer. */
  version: z.int(),
  epoch: z.int(),
  title: z.string().nullable(),
  /** Whose secrets sign its webhooks. */
  by: z.string(),
  registeredAt: z.string(),
  finished: z.boolean(),
  halt: z
    .object({
      haltId: z.string(),
      action: HaltActionSchema,
      orderedAt: z.string(),
      /** Every id under which orders of this halt went out. */
      orders: z.array(z.string()),
    })
    .nullable(),
  targets: z.array(RunTargetSchema),
});
export type BookEntry = z.infer<typeof BookEntrySchema>;

const HeaderSchema = z.object({ book: z.literal(1), instance: z.string(), home: z.string() });
export const BOOK_SUFFIX = '.book';

// --- writing -------------------------------------------------------------------------------------------

export interface BookWriter {
  /** Resolves when the entries are on disk; rejects where they cannot be. Older versions are passed over. */
  put(entries: readonly BookEntry[]): Promise<void>;
  /** What is written was compared with the ledger just now. */
  confirm(at: Date): Promise<void>;
  readonly size: number;
  close(): Promise<void>;
}

const COMPACT_MIN_BYTES = 1024 * 1024;
const COMPACT_RATIO = 2;

export async function openBookWriter(
  path: string,
  { instance, home }: { instance: string; home: string },
): Promise<BookWriter> {
  const entries = new Map<string, { version: number; line: Buffer }>();
  const header = recordLine({ book: 1, instance, home });
  let liveBytes = 0;
  let bytes = 0;
  let handle: FileHandle = await open(path, 'w', 0o600);
  let queue: Promise<void> = Promise.resolve();
  /** Set by a write that failed: what is on disk is then unknown, and all of it is written anew. */
  let isBroken = false;

  async function write(lines: readonly Buffer[]): Promise<void> {
    const tooLarge = bytes > COMPACT_MIN_BYTES && bytes > COMPACT_RATIO * liveBytes;
    if (isBroken || tooLarge) return rewrite();
    try {
      const chunk = Buffer.concat(lines);
      await handle.appendFile(chunk);
      await handle.datasync();
      bytes += chunk.length;
    } catch (error) {
      isBroken = true;
      throw error;
    }
  }

  async function rewrite(): Promise<void> {
    const beside = `${path}.new`;
    const next = await open(beside, 'w', 0o600);
    try {
      const all = Buffer.concat([header, ...[...entries.values()].map(({ line }) => line)]);
      await next.appendFile(all);
      await next.sync();
      await rename(beside, path);
      syncDirectory(dirname(path));
      await handle.close().catch(() => undefined);
      handle = next;
      bytes = all.length;
      isBroken = false;
    } catch (error) {
      await next.close().catch(() => undefined);
      await unlink(beside).catch(() => undefined);
      isBroken = true;
      throw error;
    }
  }

  function inTurn(work: () => Promise<void>): Promise<void> {
    const done = queue.then(work);
    queue = done.catch(() => undefined);
    return done;
  }

  await inTurn(() => write([header]));
  return {
    put(changed) {
      const lines: Buffer[] = [];
      for (const entry of changed) {
        const before = entries.get(entry.runId);
        if (before !== undefined && before.version >= entry.version) continue;
        const line = recordLine(entry);
        liveBytes += line.length - (before?.line.length ?? 0);
        entries.set(entry.runId, { version: entry.version, line });
        lines.push(line);
      }
      return lines.length === 0 && !isBroken ? queue : inTurn(() => write(lines));
    },
    confirm: (at) =>
      inTurn(async () => {
        if (isBroken) await rewrite();
        await handle.utimes(at, at);
      }),
    get size() {
      return entries.size;
    },
    async close() {
      await queue;
      await handle.close();
    },
  };
}

// --- reading -------------------------------------------------------------------------------------------

export interface Knowledge {
  readonly runs: ReadonlyMap<string, BookEntry>;
  /** When the newest book was last compared with the ledger; null where there never was one. */
  readonly asOf: Date | null;
  readonly damaged: number;
}

export class BookReader {
  readonly #directory: string;
  readonly #files = new Map<string, FollowedFile>();
  readonly #runs = new Map<string, BookEntry>();
  #asOfMs: number | null = null;
  #damaged = 0;

  constructor(directory: string) {
    this.#directory = directory;
  }

  read(): Knowledge {
    for (const name of bookNames(this.#directory)) {
      let file = this.#files.get(name);
      if (file === undefined) {
        file = new FollowedFile(join(this.#directory, name));
        this.#files.set(name, file);
      }
      const followed = file.read();
      if (followed === null) continue;
      this.#asOfMs = Math.max(this.#asOfMs ?? 0, followed.modifiedAtMs);
      this.#damaged += followed.damaged;
      for (const record of followed.records) this.#take(record);
    }
    const asOf = this.#asOfMs === null ? null : new Date(this.#asOfMs);
    return { runs: this.#runs, asOf, damaged: this.#damaged };
  }

  #take(record: unknown): void {
    const entry = BookEntrySchema.safeParse(record);
    if (!entry.success) return;
    const known = this.#runs.get(entry.data.runId);
    if (known === undefined || known.version <= entry.data.version) {
      this.#runs.set(entry.data.runId, entry.data);
    }
  }
}

export function bookNames(directory: string): string[] {
  try {
    return readdirSync(directory).filter((name) => name.endsWith(BOOK_SUFFIX));
  } catch {
    return [];
  }
}

/** Whose book a file is, where it says so. */
export function bookHome(directory: string, name: string): string | null {
  const [first] = new FollowedFile(join(directory, name)).read()?.records ?? [];
  const header = HeaderSchema.safeParse(first);
  return header.success ? header.data.home : null;
}
