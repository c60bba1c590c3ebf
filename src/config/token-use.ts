/**
 * When each token was last shown, kept in a file of the data directory for `interlock token list`: who rotates
 * tokens must see which are still in use. By token id and to the minute; written each minute at most, and at the
 * end. A hint and nothing more: losing it loses nothing, and nothing is decided by it.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';

export const TOKEN_USE_FILE = 'token-use.json';
const WRITE_EACH_MS = 60_000;
const TOKENS_MAX = 10_000;

const TokenUse = z.record(z.string(), z.iso.datetime());

export async function readTokenUse(dataDir: string): Promise<Readonly<Record<string, string>>> {
  try {
    const parsed = TokenUse.safeParse(JSON.parse(await readFile(join(dataDir, TOKEN_USE_FILE), 'utf8')));
    return parsed.success ? parsed.data : {};
  } catch {
    return {};
  }
}

export interface TokenUseLog {
  close(): Promise<void>;
}

export function keepTokenUse(dataDir: string, lastUsed: () => ReadonlyMap<string, Date>): TokenUseLog {
  const file = join(dataDir, TOKEN_USE_FILE);
  let written = '';

  async function write(): Promise<void> {
    const used = [...lastUsed()].map(([id, at]) => [id, `${at.toISOString().slice(0, 16)}:00Z`] as const);
    if (used.length === 0) return;
    const all = { ...(await readTokenUse(dataDir)), ...Object.fromEntries(used) };
    const text = JSON.stringify(Object.fromEntries(Object.entries(all).slice(-TOKENS_MAX)));
    if (text === written) return;
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    await writeFile(`${file}.next`, text, { mode: 0o600 });
    await rename(`${file}.next`, file);
    written = text;
  }

  const timer = setInterval(() => void write().catch(() => undefined), WRITE_EACH_MS);
  timer.unref();
  return {
    async close() {
      clearInterval(timer);
      await write().catch(() => undefined);
    },
  };
}
