/**
 * A credential as interlock.yaml names it: `env:NAME`, or a file. Read at each use and never kept, so that a token that
 * was rotated counts from the next call on. What is wrong with it is told by its name, never by its content.
 */
import { readFile, stat } from 'node:fs/promises';

export type Credential =
  | { readonly ok: true; readonly value: string }
  | { readonly ok: false; readonly reason: string };

const BYTES_MAX = 16_384;

export async function readCredential(
  reference: string,
  variable: (reference: string) => string | undefined,
): Promise<Credential> {
  const text = reference.startsWith('env:') ? variable(reference) : await readSmallFile(reference);
  const name = reference.startsWith('env:') ? reference : `the credential file ${printable(reference)}`;
  if (text === undefined) return { ok: false, reason: `${name} is not set` };
  if (text === null) return { ok: false, reason: `${name} cannot be read` };
  const value = text.trim();
  if (value === '') return { ok: false, reason: `${name} is empty` };
  // It becomes a header.
  if (!/^[\x20-\x7e]+$/.test(value))
    return { ok: false, reason: `${name} holds more than one printable line` };
  return { ok: true, value };
}

async function readSmallFile(file: string): Promise<string | null> {
  try {
    // Asked before it is opened: opening a named pipe waits for whoever writes to it.
    const found = await stat(file);
    return found.isFile() && found.size <= BYTES_MAX ? await readFile(file, 'utf8') : null;
  } catch {
    return null;
  }
}

const printable = (path: string): string => path.replaceAll(/[^\x20-\x7e]/g, '?').slice(-120);
