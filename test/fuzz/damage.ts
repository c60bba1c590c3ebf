/**
 * How files are damaged: by bytes, and by the members of a JSON document. All of it drawn from one seeded source.
 */
import type { Random } from '../../src/domain/statistics/random.ts';

export function damageBytes(bytes: Buffer, random: Random): Buffer {
  let damaged = Buffer.from(bytes);
  for (let times = 1 + random.below(3); times > 0; times -= 1) {
    const at = random.below(damaged.length + 1);
    const length = random.chance(0.7) ? 1 + random.below(4) : random.below(2_000);
    const before = damaged.subarray(0, at);
    switch (random.below(5)) {
      case 0:
        if (at < damaged.length) damaged[at] = (damaged[at] ?? 0) ^ (1 << random.below(8));
        break;
      case 1:
        if (at < damaged.length) damaged[at] = random.below(256);
        break;
      case 2:
        damaged = Buffer.concat([before, damaged.subarray(at + length)]);
        break;
      case 3:
        damaged = Buffer.concat([before, damaged.subarray(at, at + length), damaged.subarray(at)]);
        break;
      default: {
        const noise = Buffer.from(Array.from({ length: Math.min(length, 64) }, () => random.below(256)));
        damaged = Buffer.concat([before, noise, damaged.subarray(at)]);
      }
    }
  }
  return damaged;
}

/** A document whose members can be replaced by any text, dropped, given twice. */
export type JsonNode =
  | { readonly kind: 'object'; readonly members: readonly (readonly [string, JsonNode])[] }
  | { readonly kind: 'array'; readonly items: readonly JsonNode[] }
  | { readonly kind: 'text'; readonly text: string };

/** Bare words of Python become strings first, outside of strings only. */
export function plainJson(text: string): unknown {
  return JSON.parse(
    text.replace(/"[^"\\]*(?:\\[\s\S][^"\\]*)*"|-?Infinity|NaN/g, (token) =>
      token.startsWith('"') ? token : JSON.stringify(token),
    ),
  );
}

export function nodeOf(value: unknown): JsonNode {
  if (Array.isArray(value)) return { kind: 'array', items: value.map(nodeOf) };
  if (typeof value === 'object' && value !== null)
    return {
      kind: 'object',
      members: Object.entries(value).map(([name, member]) => [name, nodeOf(member)] as const),
    };
  return { kind: 'text', text: JSON.stringify(value) };
}

type Edit = 'drop' | 'twice' | { readonly text: string };

const TEXTS = [
  ...[
    'null',
    'true',
    'false',
    '0',
    '-1',
    '1',
    '2',
    '3',
    '0.5',
    '1e999',
    '-1e999',
    '1e-400',
    '9007199254740993',
  ],
  ...[
    'NaN',
    'Infinity',
    '-Infinity',
    'nan',
    '01',
    '1.',
    '',
    '""',
    '"success"',
    '"error"',
    '"started"',
    '"NaN"',
  ],
  ...['[]', '{}', '[[]]', '[null]', '{"a":1}', '"C"', '"\\ud800"', '"\u0001"', '"\\u0000"', '"__proto__"'],
  ...['{"__proto__":{"status":"success"}}', `${'['.repeat(200)}${']'.repeat(200)}`, '['.repeat(3_000)],
];

export function damageJson(root: JsonNode, random: Random): string {
  const edits = new Map<JsonNode, Edit>();
  for (let times = 1 + random.below(3); times > 0; times -= 1) {
    const edit = random.below(10);
    edits.set(someNode(root, random), edit < 2 ? 'drop' : edit < 3 ? 'twice' : { text: random.pick(TEXTS) });
  }
  return writeJson(root, edits);
}

/** Nearer to the root more often: that is where a log says what it is. */
function someNode(root: JsonNode, random: Random): JsonNode {
  let node = root;
  for (;;) {
    const children =
      node.kind === 'object'
        ? node.members.map(([, child]) => child)
        : node.kind === 'array'
          ? node.items
          : [];
    if (children.length === 0 || (node !== root && random.chance(0.2))) return node;
    node = random.pick(children);
  }
}

function writeJson(node: JsonNode, edits: ReadonlyMap<JsonNode, Edit>): string {
  const edit = edits.get(node);
  if (typeof edit === 'object') return edit.text;
  switch (node.kind) {
    case 'text':
      return node.text;
    case 'array':
      return `[${node.items.flatMap((item) => copies(writeJson(item, edits), edits.get(item))).join(',')}]`;
    case 'object':
      return `{${node.members
        .flatMap(([name, member]) =>
          copies(`${JSON.stringify(name)}:${writeJson(member, edits)}`, edits.get(member)),
        )
        .join(',')}}`;
  }
}

function copies(text: string, edit: Edit | undefined): string[] {
  if (edit === 'drop') return [];
  return edit === 'twice' ? [text, text] : [text];
}
