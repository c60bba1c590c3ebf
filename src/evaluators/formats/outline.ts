/**
 * The outline of a JSON text whose beginning alone is at hand: which members it has, three levels down. Of JSON lines, of the first.
 *
 * What detection looks at. Where the text is broken the outline ends, and the reader that claims the file finds out why.
 */
import { ANY, type JsonKind, type JsonPath, JsonScanner, type Selection } from './json-select.ts';
import { LogFault } from './log-fault.ts';

export interface Outline {
  /** Null: neither object nor list. */
  readonly root: 'object' | 'array' | null;
  /** Members as far as the beginning shows them, by path: `results.wmdp.acc`, with `*` for items of a list. */
  readonly paths: ReadonlySet<string>;
  /** Of the first level, where it is a text. */
  readonly status: string | null;
}

/** Every format asks for the same one in turn. */
const known = new WeakMap<Uint8Array, Outline>();

export function outlineOf(head: Uint8Array): Outline {
  const outline = known.get(head) ?? trace(head);
  known.set(head, outline);
  return outline;
}

/** An object with all of some members and, where others are named, any of those, as far as the beginning shows. */
export function isObjectWith(
  head: Uint8Array,
  { all, any }: { readonly all: readonly string[]; readonly any?: readonly string[] },
): boolean {
  const { root, paths } = outlineOf(head);
  const has = (member: string): boolean => paths.has(member);
  return root === 'object' && all.every(has) && (any === undefined || any.some(has));
}

function trace(head: Uint8Array): Outline {
  let root: Outline['root'] = null;
  let status: string | null = null;
  const paths = new Set<string>();
  const onStart = (kind: JsonKind, path: JsonPath): void => {
    const name = path.map((step) => (typeof step === 'number' ? '*' : step)).join('.');
    paths.add(name);
    if (kind === 'array') paths.add(`${name}.*`);
  };
  const selections: Selection[] = [
    {
      path: [],
      onStart: (kind) => {
        root = kind === 'object' || kind === 'array' ? kind : null;
      },
    },
    { path: [ANY], onStart },
    { path: [ANY, ANY], onStart },
    { path: [ANY, ANY, ANY], onStart },
    {
      path: ['status'],
      onValue: (value) => {
        status = typeof value === 'string' ? value : null;
      },
    },
  ];
  try {
    new JsonScanner(selections, { valueBytes: head.byteLength }).write(head);
  } catch (error) {
    if (!(error instanceof LogFault)) throw error;
  }
  return { root, paths, status };
}
