/**
 * The spool: every accepted press, on disk before it is answered, until the ledger has it.
 *
 * One file per process that takes presses, so that no two write to one. Its space is set aside and fsynced when it is
 * opened: a disk that fills up later does not take the red button with it. Presses that come together share an fsync.
 * `append` says whether a press is durable. What could not be written is kept and tried again each second; the caller
 * sends the halt in any case, and says what is not promised.
 * After an fsync that failed nothing in that file is believed any more: a new one is begun with all that is not yet
 * marked as entered.
 * Not here: what a press does (desk.ts), entering it into the ledger (service/press-drain.ts).
 */
import {
  closeSync,
  fdatasync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readdirSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { FollowedFile } from './followed-file.ts';
import { syncDirectory } from './layout.ts';
import { type Press, PressSchema } from './press.ts';
import { recordLine } from './record-line.ts';

const sync = promisify(fdatasync);

/** Room for some hundred presses with long reasons. */
const RESERVED_BYTES = 512 * 1024;
const ROTATE_BYTES = 384 * 1024;
const RETRY_MS = 1_000;
const SUFFIX = '.spool';

export interface Spool {
  /** Resolves with true when the press is on disk, with false where it cannot be now. Never rejects. */
  append(press: Press): Promise<boolean>;
  /** Presses that the ledger has: their space may be used again. */
  entered(pressIds: ReadonlySet<string>): void;
  /** Presses that are not on disk yet. */
  readonly undurable: readonly Press[];
  close(): Promise<void>;
}

interface Waiting {
  readonly press: Press;
  readonly line: Buffer;
  settle: ((durable: boolean) => void) | null;
}

interface OpenFile {
  readonly path: string;
  readonly handle: number;
  offset: number;
}

export function openSpool(
  directory: string,
  writer: string,
  { reservedBytes = RESERVED_BYTES }: { reservedBytes?: number } = {},
): Spool {
  let ordinal = 0;
  let file: OpenFile | null = null;
  /** On disk and not yet in the ledger. */
  const open = new Map<string, Buffer>();
  const waiting: Waiting[] = [];
  let flushing: Promise<void> | null = null;
  let retry: NodeJS.Timeout | undefined;
  let closed = false;

  function create(): OpenFile {
    ordinal += 1;
    const path = join(directory, `${writer}-${ordinal}${SUFFIX}`);
    const handle = openSync(path, 'wx', 0o600);
    try {
      reserve(handle, reservedBytes);
      fsyncSync(handle);
      syncDirectory(directory);
      return { path, handle, offset: 0 };
    } catch (error) {
      abandon({ path, handle, offset: 0 });
      throw error;
    }
  }

  /** A file to write to, with everything in it that must not be lost with the one before. */
  function current(): OpenFile {
    if (file !== null && !(file.offset > ROTATE_BYTES && open.size === 0)) return file;
    const before = file;
    const next = create();
    for (const line of open.values()) next.offset += writeWhole(next.handle, line, next.offset);
    file = next;
    if (before !== null) abandon(before);
    return next;
  }

  async function flush(): Promise<void> {
    while (waiting.length > 0) {
      const batch = [...waiting];
      // Once more in a file of its own, which has space set aside, before anybody is told that it cannot be kept.
      if (!(await written(batch)) && !(await written(batch))) {
        for (const each of batch) settle(each, false);
        if (!closed) retry ??= later();
        return;
      }
      for (const each of batch) {
        open.set(each.press.pressId, each.line);
        settle(each, true);
      }
      waiting.splice(0, batch.length);
    }
  }

  async function written(batch: readonly Waiting[]): Promise<boolean> {
    try {
      const to = current();
      let { offset } = to;
      for (const { line } of batch) offset += writeWhole(to.handle, line, offset);
      await sync(to.handle);
      to.offset = offset;
      return true;
    } catch {
      // Also after a failed fsync, which says nothing about what came before: the next one begins a file anew.
      forsake();
      return false;
    }
  }

  /** The old file stays for its readers: what is in it may well be whole. */
  function forsake(): void {
    const before = file;
    file = null;
    try {
      if (before !== null) closeSync(before.handle);
    } catch {
      // Broken in whatever way: nothing is written to it any more.
    }
  }

  function later(): NodeJS.Timeout {
    const timer = setTimeout(() => {
      retry = undefined;
      start();
    }, RETRY_MS);
    timer.unref();
    return timer;
  }

  function start(): void {
    flushing ??= flush().finally(() => {
      flushing = null;
      if (waiting.length > 0 && retry === undefined && !closed) start();
    });
  }

  try {
    file = create();
  } catch {
    // No room even now: tried again at every press.
  }

  return {
    append(press) {
      return new Promise((resolve) => {
        waiting.push({ press, line: recordLine(press), settle: resolve });
        start();
      });
    },
    entered(pressIds) {
      for (const pressId of pressIds) open.delete(pressId);
    },
    get undurable() {
      return waiting.map(({ press }) => press);
    },
    async close() {
      closed = true;
      clearTimeout(retry);
      await flushing;
      if (file === null) return;
      if (open.size === 0) abandon(file);
      else closeSync(file.handle);
      file = null;
    },
  };

  function settle(each: Waiting, durable: boolean): void {
    each.settle?.(durable);
    each.settle = null;
  }
}

/** Zeros, not a hole: blocks that are there cannot be refused later. Without room for them a press may still fit. */
function reserve(handle: number, bytes: number): void {
  try {
    writeWhole(handle, Buffer.alloc(bytes), 0);
  } catch {
    ftruncateSync(handle, 0);
  }
}

function abandon({ path, handle }: OpenFile): void {
  closeSync(handle);
  try {
    unlinkSync(path);
  } catch {
    // Swept by somebody else.
  }
}

function writeWhole(handle: number, bytes: Buffer, position: number): number {
  let done = 0;
  while (done < bytes.length) done += writeSync(handle, bytes, done, bytes.length - done, position + done);
  return done;
}

// --- reading -------------------------------------------------------------------------------------------

/** All presses of all files, read as they come. */
export class SpoolReader {
  readonly #directory: string;
  readonly #files = new Map<string, { followed: FollowedFile; pressIds: Set<string> }>();
  readonly #presses = new Map<string, Press>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Every press that stands in a file now. One whose file is gone is gone too: it was entered. */
  read(): ReadonlyMap<string, Press> {
    const names = spoolFiles(this.#directory);
    for (const name of [...this.#files.keys()]) if (!names.includes(name)) this.#forget(name);
    for (const name of names) {
      let known = this.#files.get(name);
      if (known === undefined) {
        known = { followed: new FollowedFile(join(this.#directory, name)), pressIds: new Set() };
        this.#files.set(name, known);
      }
      for (const record of known.followed.read()?.records ?? []) {
        const press = PressSchema.safeParse(record);
        if (!press.success) continue;
        known.pressIds.add(press.data.pressId);
        this.#presses.set(press.data.pressId, press.data);
      }
    }
    return this.#presses;
  }

  /** Each file, and whether nobody will write to it any more. */
  files(): { name: string; pressIds: ReadonlySet<string>; isQuiet: boolean }[] {
    return [...this.#files].map(([name, { pressIds }]) => ({ name, pressIds, isQuiet: !hasWriter(name) }));
  }

  #forget(name: string): void {
    const gone = this.#files.get(name)?.pressIds ?? new Set();
    this.#files.delete(name);
    const held = new Set([...this.#files.values()].flatMap(({ pressIds }) => [...pressIds]));
    for (const pressId of gone) if (!held.has(pressId)) this.#presses.delete(pressId);
  }
}

/** A pid that changed hands keeps a file longer than needed, which costs nothing. */
function hasWriter(name: string): boolean {
  const pid = Number(/^[a-z]+-(\d+)-/.exec(name)?.[1]);
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function spoolFiles(directory: string): string[] {
  try {
    return readdirSync(directory)
      .filter((name) => name.endsWith(SUFFIX))
      .sort();
  } catch {
    return [];
  }
}
