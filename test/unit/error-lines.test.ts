/**
 * "Log `error` means someone should get up": so every such line stands in docs/operations.md with what to do. Here
 * the sources are searched for them and compared with the page, both ways.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** The text of each call's arguments, from its opening parenthesis to the one that closes it. */
function callsIn(source: string): string[] {
  const calls: string[] = [];
  for (const match of source.matchAll(/\b(?:#?logger|log)\.(?:error|fatal)\(/g)) {
    const start = match.index + match[0].length;
    let depth = 1;
    let quote = '';
    let end = start;
    for (; end < source.length && depth > 0; end += 1) {
      const c = source[end] ?? '';
      if (quote !== '') {
        if (c === '\\') end += 1;
        else if (c === quote) quote = '';
      } else if (c === "'" || c === '`' || c === '"') quote = c;
      else if (c === '(' || c === '{' || c === '[') depth += 1;
      else if (c === ')' || c === '}' || c === ']') depth -= 1;
    }
    calls.push(
      source
        .slice(start, end - 1)
        .trim()
        .replace(/,$/, ''),
    );
  }
  return calls;
}

/** The message is the last argument: a literal, or a name that is given one in the same file. */
function messageOf(call: string, source: string): string {
  const literal = /(?:^|,\s*)'((?:[^'\\]|\\.)*)'$/.exec(call)?.[1];
  if (literal !== undefined) return literal;
  const name = /(?:^|,\s*)([A-Za-z_]\w*)$/.exec(call)?.[1];
  const given =
    name === undefined ? null : new RegExp(`\\b${name} =\\s*'((?:[^'\\\\]|\\\\.)*)'`).exec(source);
  if (given?.[1] === undefined) throw new Error(`no plain message in: ${call}`);
  return given[1];
}

function linesInSources(): string[] {
  const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  );
  const found = files.flatMap((file) => {
    const source = readFileSync(join(root, 'src', file), 'utf8');
    const byTable = [...source.matchAll(/level: 'error', message: '([^']*)'/g)].map(
      ([, message = '']) => message,
    );
    return [...callsIn(source).map((call) => messageOf(call, source)), ...byTable];
  });
  return [...new Set(found)].sort();
}

function linesOnThePage(): string[] {
  const page = readFileSync(join(root, 'docs/operations.md'), 'utf8');
  const table = page.slice(page.indexOf('### Every line at `error`'));
  const rows = [...table.matchAll(/^\| `([^`]+)`\s*\|([^|]*)\|([^|]*)\|$/gm)];
  for (const [, , meaning = '', action = ''] of rows) {
    expect(meaning.trim()).not.toBe('');
    expect(action.trim()).not.toBe('');
  }
  return rows.map(([, line = '']) => line).sort();
}

describe('lines at error and fatal', () => {
  it('are found wherever they stand', () => {
    const source = [
      "logger.error({ a: f(1) }, 'plain');",
      "this.#logger.fatal(\n  { err: error },\n  'over (several) lines',\n);",
      "const TEXT = 'by name';\nrequest.log.error({ x: '}' }, TEXT);",
    ].join('\n');
    expect(callsIn(source).map((call) => messageOf(call, source))).toEqual([
      'plain',
      'over (several) lines',
      'by name',
    ]);
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    expect(() => messageOf('{ a }, `built ${b}`', '')).toThrow('no plain message');
  });

  it('stand in docs/operations.md, each with what it means and what to do, and no others', () => {
    const lines = linesInSources();
    expect(lines.length).toBeGreaterThan(10);
    expect(linesOnThePage()).toEqual(lines);
  });
});
