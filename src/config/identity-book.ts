/**
 * The identities in force: read again when their file changes, all of it or nothing.
 *
 * The file is looked at every half second (a watch by the kernel would miss a file that is swapped through a
 * symbolic link, as orchestrators do) and whenever somebody asks (`reload`, on SIGHUP). A new content that is whole
 * and right is given to `apply` and then in force. Whatever is wrong with it (unreadable, half written, a duplicate
 * credential, readable by others with a secret in it) leaves the old identities in force and is logged once, with
 * file, line and path and never a value. So a removal takes effect within a second, and a mistake locks nobody out.
 * A change is never missed: as long as the file is younger than the resolution of its clock it is read again.
 */
import { stat } from 'node:fs/promises';
import type { Environment } from './environment.ts';
import type { IdentityRecord } from './identities.ts';
import { type ConfigProblem, readIdentities } from './load.ts';

export interface IdentityBook {
  current(): readonly IdentityRecord[];
  /** Looks now; resolves when the outcome is in force. */
  reload(): Promise<'unchanged' | 'replaced' | 'refused'>;
  /** Whether the file as it stands was refused, so that the identities in force are older than it. */
  isStale(): boolean;
  close(): void;
}

export interface IdentityBookOptions {
  readonly file: string;
  readonly env: Environment;
  readonly initial: readonly IdentityRecord[];
  /** What is right in itself and wrong beside the rest of the configuration. */
  readonly check?: (identities: readonly IdentityRecord[]) => readonly string[];
  /** Takes the new identities over; may throw, and then must have changed nothing. */
  readonly apply: (identities: readonly IdentityRecord[]) => void;
  readonly logger: {
    info(fields: object, message: string): void;
    error(fields: object, message: string): void;
  };
  readonly pollMs?: number;
}

const POLL_MS = 500;
/** Times of files may be this coarse: until then "same time" does not mean "same content". */
const SETTLED_AFTER_MS = 2_000;

export function openIdentityBook(options: IdentityBookOptions): IdentityBook {
  const { file, env, check = () => [], apply, logger } = options;
  let current = options.initial;
  let seen = '';
  let isSettled = false;
  /** Digest of the content that is in force, or that was refused last. */
  let judged = '';
  let complaint = '';
  let looking: Promise<'unchanged' | 'replaced' | 'refused'> | null = null;
  let isClosed = false;

  function refuse(problems: readonly string[]): 'refused' {
    const text = problems.join('\n');
    if (text !== complaint) {
      logger.error(
        { file, problems: [...problems] },
        'the identities file was refused; the identities before it stay in force',
      );
    }
    complaint = text;
    return 'refused';
  }

  async function look(): Promise<'unchanged' | 'replaced' | 'refused'> {
    const mark = await markOf(file);
    if (mark !== null && mark.text === seen && isSettled) return complaint === '' ? 'unchanged' : 'refused';
    const read = await readIdentities(file, env);
    seen = mark?.text ?? '';
    isSettled = mark !== null && Date.now() - mark.changedAtMs > SETTLED_AFTER_MS;
    if (!read.ok) {
      judged = '';
      return refuse(read.problems.map(describe));
    }
    if (read.digest === judged) return complaint === '' ? 'unchanged' : 'refused';
    judged = read.digest;
    const disagreements = check(read.identities);
    if (disagreements.length > 0) return refuse(disagreements);
    if (isClosed) return 'unchanged';
    try {
      apply(read.identities);
    } catch {
      // Its message may quote a key; the schema has let it through, so this is all that can be said.
      return refuse(['a secret or public key cannot be used']);
    }
    complaint = '';
    const change = changeOf(current, read.identities);
    current = read.identities;
    if (change === null) return 'unchanged';
    logger.info({ file, ...change }, 'identities taken over');
    return 'replaced';
  }

  function reload(): ReturnType<typeof look> {
    looking ??= look().finally(() => {
      looking = null;
    });
    return looking;
  }

  const timer = setInterval(() => void reload().catch(() => undefined), options.pollMs ?? POLL_MS);
  timer.unref();

  return {
    current: () => current,
    // What is under way may have read before the caller's change.
    reload: async () => {
      if (looking !== null) await looking.catch(() => undefined);
      isSettled = false;
      return reload();
    },
    isStale: () => complaint !== '',
    close() {
      isClosed = true;
      clearInterval(timer);
    },
  };
}

async function markOf(file: string): Promise<{ text: string; changedAtMs: number } | null> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true });
    return { text: [dev, ino, size, mtimeNs, ctimeNs].join(), changedAtMs: Number(ctimeNs / 1_000_000n) };
  } catch {
    return null;
  }
}

function describe({ line, path, message }: ConfigProblem): string {
  return `${line === null ? '' : `line ${line}: `}${path === '' ? '' : `${path} `}${message}`;
}

/** By id only: what a person did is in the file's own history. */
function changeOf(
  before: readonly IdentityRecord[],
  after: readonly IdentityRecord[],
): { added: string[]; removed: string[]; changed: string[] } | null {
  const key = (record: IdentityRecord): string =>
    JSON.stringify({ ...record, webhookSecrets: record.webhookSecrets.map((secret) => secret.reveal()) });
  const old = new Map(before.map((record) => [record.id, key(record)]));
  const added = after.filter(({ id }) => !old.has(id)).map(({ id }) => id);
  const removed = before.filter(({ id }) => !after.some((each) => each.id === id)).map(({ id }) => id);
  const changed = after
    .filter((record) => old.has(record.id) && old.get(record.id) !== key(record))
    .map(({ id }) => id);
  return added.length + removed.length + changed.length === 0 ? null : { added, removed, changed };
}
