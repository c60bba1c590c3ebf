/**
 * Keeps the red button's target book: after each commit of this process at once, and what other processes commit
 * within FOLLOW_MS.
 *
 * Complete first (every run, page by page, beside the ordinary work), then followed by the ledger's sequence. Each look
 * that found the book up to date is confirmed on the file, which is how the button knows the age of what it knows.
 * Never in the way of anything: a book that cannot be written is logged, and written whole when it can be.
 */
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import {
  BOOK_SUFFIX,
  type BookEntry,
  type BookWriter,
  bookHome,
  bookNames,
  openBookWriter,
} from '../button/book.ts';
import type { ButtonFiles } from '../button/layout.ts';
import { makeButtonDirectories } from '../button/layout.ts';
import { type RunState, RunStateSchema } from '../domain/run/state.ts';
import type { StreamHeads } from '../ledger/stream-heads.ts';
import { describeHome, hasEnded } from './instance-home.ts';
import type { RunService } from './run-service.ts';

export interface TargetBookDeps {
  readonly files: ButtonFiles;
  readonly instance: string;
  readonly runs: Pick<RunService, 'load' | 'onCommit'>;
  readonly heads: StreamHeads;
  readonly clock: () => Date;
  readonly logger: { warn(fields: object, message: string): void };
  readonly followMs?: number;
}

export interface TargetBook {
  /** Begins to write; resolves at once, the complete book follows. */
  start(): Promise<void>;
  /** Resolves when the book held every run once. */
  readonly complete: Promise<void>;
  stop(): Promise<void>;
}

const FOLLOW_MS = 1_000;
const PAGE = 200;
const EVENTS_PER_LOOK = 2_000;
const PREFIX = 'run-';

export function createTargetBook(deps: TargetBookDeps): TargetBook {
  const { files, instance, runs, heads, clock, logger } = deps;
  let writer: BookWriter | null = null;
  /** What stands in the book, without its version: most commits change nothing in it. */
  const written = new Map<string, { version: number; text: string }>();
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  let following: Promise<void> = Promise.resolve();
  let seq: number | null = null;
  let complaint = false;
  let finish = (): void => undefined;
  const complete = new Promise<void>((resolve) => {
    finish = resolve;
  });

  async function put(state: RunState, version: number): Promise<void> {
    const { version: _version, ...content } = entryOf(state, version);
    const text = JSON.stringify(content);
    const known = written.get(state.runId);
    if (known !== undefined && (known.version >= version || known.text === text)) return;
    written.set(state.runId, { version, text });
    await writer?.put([{ version, ...content }]);
  }

  async function fill(): Promise<void> {
    const from = await heads.lastSeq();
    for (let after = ''; !stopped; ) {
      const page = await heads.page(PREFIX, after, PAGE);
      for (const { version, state } of page) await put(RunStateSchema.parse(state), version);
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE) break;
      after = last.stream;
    }
    seq = from;
  }

  async function follow(): Promise<void> {
    if (seq === null) {
      await fill();
      await writer?.confirm(clock());
      await sweepBooks();
      finish();
      return;
    }
    for (;;) {
      const changed = await heads.changedSince(PREFIX, seq, EVENTS_PER_LOOK);
      for (const stream of changed.streams) {
        const loaded = await runs.load(stream.slice(PREFIX.length));
        if (loaded !== null) await put(loaded.state, loaded.version);
      }
      const isDone = changed.seq === seq;
      seq = changed.seq;
      if (isDone || stopped) break;
    }
    await writer?.confirm(clock());
  }

  /** Books of services that have ended say nothing that this one does not, now that it is complete. */
  async function sweepBooks(): Promise<void> {
    for (const name of bookNames(files.books)) {
      const home = name === `${instance}${BOOK_SUFFIX}` ? null : bookHome(files.books, name);
      if (home !== null && hasEnded(home)) await unlink(join(files.books, name)).catch(() => undefined);
    }
  }

  function look(): void {
    following = follow()
      .then(
        () => {
          complaint = false;
        },
        (error: unknown) => {
          if (!complaint)
            logger.warn({ err: error }, 'the target book of the red button is not kept up to date now');
          complaint = true;
        },
      )
      .then(() => {
        if (stopped) return;
        timer = setTimeout(look, deps.followMs ?? FOLLOW_MS);
        timer.unref();
      });
  }

  return {
    complete,
    async start() {
      makeButtonDirectories(files);
      const path = join(files.books, `${instance}${BOOK_SUFFIX}`);
      writer = await openBookWriter(path, { instance, home: describeHome() });
      runs.onCommit(({ before, after, events }) => {
        const version = events.at(-1)?.version;
        if (version === undefined || (before !== null && saysTheSame(before, after))) return;
        put(after, version).catch(() => {
          // Said at the next look, which writes all of it.
        });
      });
      look();
    },
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await following;
      await writer?.close();
    },
  };
}

/** Of what the book says, nothing was changed: the state's parts are replaced where they change, and else the same. */
function saysTheSame(before: RunState, after: RunState): boolean {
  return (
    before.epoch === after.epoch &&
    before.finishedAt === after.finishedAt &&
    before.halt === after.halt &&
    before.targets === after.targets
  );
}

function entryOf(state: RunState, version: number): BookEntry {
  const { runId, epoch, title, by, registeredAt, finishedAt, halt, targets } = state;
  return {
    runId,
    version,
    epoch,
    title,
    by,
    registeredAt,
    finished: finishedAt !== null,
    halt:
      halt === null
        ? null
        : {
            haltId: halt.haltId,
            action: halt.action,
            orderedAt: halt.orderedAt,
            orders: [...(halt.orders ?? [])],
          },
    targets,
  };
}
