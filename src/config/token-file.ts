/**
 * Tokens in identities.yaml, changed by program: comments and layout of the file stay as people wrote them.
 *
 * The new text is read back strictly before it replaces the old one, and replaces it at once (written beside it,
 * fsynced, renamed, same owner and mode), so that a running service sees the old file or the new one. A file that
 * somebody else changed meanwhile is left alone. What a symbolic link names is changed, not the link.
 * Only hashes are written. Not here: making tokens (credentials.ts).
 */
import { randomBytes } from 'node:crypto';
import { chown, open, readFile, realpath, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Document, isMap, isScalar, isSeq, parseDocument, type YAMLMap, YAMLSeq } from 'yaml';
import type { z } from 'zod';
import { InterlockError } from '../errors.ts';
import { IdentitiesFile, type TokenEntry } from './identities.ts';
import { readStrictYaml } from './yaml-file.ts';

export type TokenToWrite = z.input<typeof TokenEntry>;

export async function addToken(file: string, identity: string, token: TokenToWrite): Promise<void> {
  await change(file, (document) => {
    const entry = entryOf(document, identity, file);
    const node = document.createNode(token);
    if (isMap(node)) node.flow = true;
    const tokens = entry.get('tokens');
    if (isSeq(tokens)) {
      tokens.flow = false;
      tokens.add(node);
    } else {
      const list = new YAMLSeq();
      list.add(node);
      entry.set('tokens', list);
    }
  });
}

/** By the token's id; answers how many were taken out, those of `tokenHashes` included. */
export async function removeTokens(
  file: string,
  identity: string,
  matches: (token: { id: string }) => boolean,
): Promise<number> {
  let removed = 0;
  await change(file, (document) => {
    const entry = entryOf(document, identity, file);
    const drop = (name: string, idOf: (item: unknown) => string | null): void => {
      const list = entry.get(name);
      if (!isSeq(list)) return;
      const before = list.items.length;
      list.items = list.items.filter((item) => {
        const id = idOf(item);
        return id === null || !matches({ id });
      });
      removed += before - list.items.length;
      if (list.items.length === 0 && before > 0) entry.delete(name);
    };
    drop('tokens', (item) => (isMap(item) ? text(item.get('id')) : null));
    drop('tokenHashes', (item) => {
      const hash = isScalar(item) ? text(item.value) : null;
      return hash === null ? null : idOfHash(hash);
    });
  });
  return removed;
}

export interface ListedToken {
  readonly identity: string;
  readonly id: string;
  readonly createdAt: string | null;
  readonly expiresAt: string | null;
  readonly note: string | null;
}

export async function listTokens(file: string): Promise<ListedToken[]> {
  const { identities } = read(await readFile(file, 'utf8'), file);
  return identities.flatMap(({ id: identity, tokens, tokenHashes }) => [
    ...tokens.map(({ id, createdAt, expiresAt, note = null }) => ({
      identity,
      id,
      createdAt,
      expiresAt,
      note,
    })),
    ...tokenHashes.map((hash) => ({
      identity,
      id: idOfHash(hash),
      createdAt: null,
      expiresAt: null,
      note: null,
    })),
  ]);
}

/** A token that stands as a bare hash has no id of its own. */
export const idOfHash = (hash: string): string => `tk_${hash.replace(/^sha256:/, '').slice(0, 8)}`;

const text = (value: unknown): string | null => (typeof value === 'string' ? value : null);

function entryOf(document: Document, identity: string, file: string): YAMLMap {
  const identities = document.get('identities');
  const entry = isSeq(identities)
    ? identities.items.find((item): item is YAMLMap => isMap(item) && item.get('id') === identity)
    : undefined;
  if (entry === undefined) {
    throw new InterlockError(`${file} has no identity ${identity}`, { code: 'config.no-identity' });
  }
  entry.flow = false;
  return entry;
}

function read(content: string, file: string): z.output<typeof IdentitiesFile> {
  const yaml = readStrictYaml(content);
  const parsed = yaml.ok ? IdentitiesFile.safeParse(yaml.yaml.value) : null;
  if (parsed?.success !== true) {
    throw new InterlockError(`${file} is not right as it is; \`interlock serve\` names what is wrong`, {
      code: 'config.invalid',
    });
  }
  return parsed.data;
}

async function change(stated: string, edit: (document: Document) => void): Promise<void> {
  const file = await realpath(stated);
  const before = await readFile(file, 'utf8');
  read(before, stated);
  const document = parseDocument(before, { version: '1.2', schema: 'core', merge: false });
  edit(document);
  const after = document.toString({ lineWidth: 0, flowCollectionPadding: true });
  if (after === before) return;
  read(after, stated);

  const { mode, uid, gid } = await stat(file);
  const next = join(dirname(file), `.${basename(file)}.${randomBytes(6).toString('hex')}`);
  try {
    const handle = await open(next, 'wx', mode & 0o777);
    try {
      await handle.writeFile(after);
      await handle.chmod(mode & 0o777);
      await handle.sync();
    } finally {
      await handle.close();
    }
    const made = await stat(next);
    if (made.uid !== uid || made.gid !== gid) await chown(next, uid, gid);
    if ((await readFile(file, 'utf8')) !== before) {
      throw new InterlockError(`${stated} was changed by somebody else meanwhile; nothing was written`, {
        code: 'config.changed',
      });
    }
    await rename(next, file);
  } catch (error) {
    await unlink(next).catch(() => undefined);
    throw error;
  }
}
