/**
 * The outline of a JSON text whose beginning alone is at hand: which members it has, three levels down.
 *
 * What detection looks at. It follows brackets and strings and is not a parser: text that is no JSON has some outline too, and
 * the reader that claims it finds out.
 */
export interface Outline {
  /** Null: neither object nor list. */
  readonly root: 'object' | 'list' | null;
  /** Members as far as the beginning shows them, by path: `results.wmdp.acc`, with `*` for items of a list. */
  readonly paths: ReadonlySet<string>;
  /** Texts at the first level, at most 64 characters of each. */
  readonly texts: ReadonlyMap<string, string>;
  /** Whether the outline is of the whole text. */
  readonly isWhole: boolean;
}

const DEPTH = 3;

interface Container {
  isList: boolean;
  path: string;
  key: string | null;
}

/** Every format asks for the same one in turn. */
const known = new WeakMap<Uint8Array, Outline>();

export function outlineOf(head: Uint8Array): Outline {
  const outline = known.get(head) ?? trace(head);
  known.set(head, outline);
  return outline;
}

function trace(head: Uint8Array): Outline {
  const text = new TextDecoder().decode(head).replace(/^\uFEFF/, '');
  const paths = new Set<string>();
  const texts = new Map<string, string>();
  const open: Container[] = [];
  let root: Outline['root'] = null;
  const token = /"((?:[^"\\]|\\.)*)"\s*(:?)|[[\]{}]/gsy;
  let isWhole = false;
  for (let at = skip(text, 0); at < text.length && !isWhole; at = skip(text, token.lastIndex)) {
    token.lastIndex = at;
    const match = token.exec(text);
    if (match === null) break;
    const [sign, content, colon] = match;
    const inner = open.at(-1);
    if (content !== undefined && colon === ':' && inner !== undefined && !inner.isList) {
      inner.key = content;
      if (open.length <= DEPTH) paths.add(pathOf(inner));
    } else if (content !== undefined) {
      if (open.length === 1 && inner?.key != null) texts.set(inner.key, content.slice(0, 64));
    } else if (sign === '{' || sign === '[') {
      root ??= sign === '{' ? 'object' : 'list';
      open.push({ isList: sign === '[', path: inner === undefined ? '' : pathOf(inner), key: null });
      if (sign === '[' && open.length <= DEPTH && inner !== undefined) paths.add(`${pathOf(inner)}.*`);
    } else {
      open.pop();
      isWhole = open.length === 0;
    }
  }
  return { root, paths, texts, isWhole: isWhole && skip(text, token.lastIndex) >= text.length };
}

/** To the next string or bracket: numbers, commas and words in between say nothing here. */
function skip(text: string, from: number): number {
  const next = /["[\]{}]/g;
  next.lastIndex = from;
  return next.exec(text)?.index ?? text.length;
}

const pathOf = ({ isList, path, key }: Container): string => {
  const member = isList ? '*' : (key ?? '');
  return path === '' ? member : `${path}.${member}`;
};

/** Of the first line of a JSON-lines file; of one that is longer than the beginning, as far as it is there. */
const knownLines = new WeakMap<Uint8Array, Outline>();

export function firstLineOutline(head: Uint8Array): Outline {
  const outline = knownLines.get(head) ?? trace(firstLine(head));
  knownLines.set(head, outline);
  return outline;
}

function firstLine(head: Uint8Array): Uint8Array {
  let from = 0;
  while (from < head.length && /\s/.test(String.fromCharCode(head[from] ?? 0))) from += 1;
  const end = head.indexOf(0x0a, from);
  return head.subarray(from, end === -1 ? head.length : end);
}
