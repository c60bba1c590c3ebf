/**
 * Strict YAML: the files people edit, read as YAML 1.2 and nothing more.
 *
 * Refused because two readers would understand them differently, or because they can be made to
 * explode: duplicate keys, merge keys, custom tags, other YAML versions, several documents, numbers
 * with a leading zero (octal to some), more than a few aliases. Problems carry a line, never the text
 * of the line: it may hold a secret.
 */
import { isScalar, Lexer, LineCounter, Parser, parseDocument, visit } from 'yaml';
import type { FieldProblem, PathPart } from '../domain/field-errors.ts';

export interface StrictYaml {
  value: unknown;
  /** 1-based line of the value at a path, or of what is nearest around it. */
  lineOf(parts: readonly PathPart[]): number | null;
}

export interface YamlProblem extends FieldProblem {
  line: number | null;
}

export type StrictYamlResult = { ok: true; yaml: StrictYaml } | { ok: false; problems: YamlProblem[] };

export const YAML_BYTES_MAX = 1024 * 1024;
const ALIASES_MAX = 20;
const OPEN_MAX = 100;

export function readStrictYaml(text: string): StrictYamlResult {
  if (Buffer.byteLength(text) > YAML_BYTES_MAX) return refused('the file is larger than 1 MiB', null);
  if (isTooDeep(text)) return refused('nested too deeply', null);
  const lines = new LineCounter();
  const lineAt = (offset: number | undefined): number | null =>
    offset === undefined ? null : lines.linePos(offset).line;
  try {
    const document = parseDocument(text, {
      version: '1.2',
      schema: 'core',
      merge: false,
      strict: true,
      // Looked for below: the parser compares each key with each before it, and a file of 20,000 took it 4 s.
      uniqueKeys: false,
      stringKeys: true,
      prettyErrors: false,
      lineCounter: lines,
    });
    const problems: YamlProblem[] = [...document.errors, ...document.warnings].map((error) => ({
      parts: [],
      line: lineAt(error.pos[0]),
      message: WORDS[error.code] ?? 'is not valid YAML',
    }));
    if (document.directives?.yaml.explicit === true && document.directives.yaml.version !== '1.2') {
      problems.push({ parts: [], line: 1, message: 'only YAML 1.2 is read here' });
    }
    visit(document, {
      Map(_key, node) {
        const keys = new Set<unknown>();
        for (const { key } of node.items) {
          if (!isScalar(key)) continue;
          if (keys.has(key.value)) {
            problems.push({ parts: [], line: lineAt(key.range?.[0]), message: WORDS['DUPLICATE_KEY'] ?? '' });
          }
          keys.add(key.value);
        }
      },
      Scalar(key, node) {
        const line = lineAt(node.range?.[0]);
        if (key === 'key' && (node.value === '<<' || node.value === '__proto__')) {
          problems.push({ parts: [], line, message: `the key ${node.value} is not allowed` });
        }
        if (typeof node.value === 'number' && /^[-+]?0[0-9]/.test(node.source ?? '')) {
          problems.push({
            parts: [],
            line,
            message: 'a number must not begin with 0; quote it if it is text',
          });
        }
      },
    });
    if (problems.length > 0) return { ok: false, problems };
    const value: unknown = document.toJS({ maxAliasCount: ALIASES_MAX });
    const lineOf = (parts: readonly PathPart[]): number | null => {
      for (let length = parts.length; length >= 0; length -= 1) {
        const node: unknown = length === 0 ? document.contents : document.getIn(parts.slice(0, length), true);
        if (isRanged(node)) return lineAt(node.range[0]);
      }
      return null;
    };
    return { ok: true, yaml: { value, lineOf } };
  } catch (error) {
    if (error instanceof ReferenceError) return refused('too many aliases', null);
    if (error instanceof RangeError) return refused('nested too deeply', null);
    throw error;
  }
}

/**
 * By the parser that keeps a stack of its own, before the one that recurses: at the end of the machine's stack V8 ends
 * the process where a pattern happens to be compiled there, and no `catch` hears of it.
 */
function isTooDeep(text: string): boolean {
  const parser = new Parser();
  for (const lexeme of new Lexer().lex(text)) {
    for (const _ended of parser.next(lexeme));
    if (parser.stack.length > OPEN_MAX) return true;
  }
  return false;
}

const WORDS: Readonly<Record<string, string>> = {
  DUPLICATE_KEY: 'a key is stated twice',
  MULTIPLE_DOCS: 'only one document is read here',
  TAG_RESOLVE_FAILED: 'tags are not allowed',
  TAB_AS_INDENT: 'indent with spaces, not tabs',
  BAD_INDENT: 'the indentation does not fit',
  NON_STRING_KEY: 'a key must be text',
  BAD_ALIAS: 'an alias names nothing',
};

function refused(message: string, line: number | null): StrictYamlResult {
  return { ok: false, problems: [{ parts: [], line, message }] };
}

function isRanged(node: unknown): node is { range: [number, number, number] } {
  return isScalar(node)
    ? Array.isArray(node.range)
    : typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range);
}
