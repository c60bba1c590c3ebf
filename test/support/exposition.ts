/** A strict reader of the Prometheus text format 0.0.4: what it does not say is an error. */
export interface ExposedSample {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
}

export interface ExposedFamily {
  readonly type: string;
  readonly help: string | null;
  readonly samples: ExposedSample[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*/;
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"/;
const NUMBER = /^(?:NaN|[+-]Inf|[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)$/;
const SUFFIXES: Readonly<Record<string, readonly string[]>> = { histogram: ['_bucket', '_sum', '_count'] };

export function parseExposition(text: string): ReadonlyMap<string, ExposedFamily> {
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const families = new Map<string, ExposedFamily>();
  const helps = new Map<string, string>();
  const seen = new Set<string>();
  let current = '';
  for (const line of text.slice(0, -1).split('\n')) {
    const help = /^# HELP (\S+) (.*)$/.exec(line);
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
    if (help !== null) {
      helps.set(help[1] ?? '', help[2] ?? '');
    } else if (type !== null) {
      current = type[1] ?? '';
      if (families.has(current)) throw new Error(`${current} is declared twice`);
      families.set(current, { type: type[2] ?? '', help: helps.get(current) ?? null, samples: [] });
    } else {
      const sample = parseSample(line);
      const family = families.get(current);
      const names = (SUFFIXES[family?.type ?? ''] ?? ['']).map((suffix) => current + suffix);
      if (family === undefined || !names.includes(sample.name)) throw new Error(`out of place: ${line}`);
      const key = JSON.stringify([sample.name, [...sample.labels].sort()]);
      if (seen.has(key)) throw new Error(`twice: ${line}`);
      seen.add(key);
      family.samples.push(sample);
    }
  }
  return families;
}

function parseSample(line: string): ExposedSample {
  const [name] = NAME.exec(line) ?? [];
  if (name === undefined) throw new Error(`no sample: ${line}`);
  let rest = line.slice(name.length);
  const labels = new Map<string, string>();
  if (rest.startsWith('{')) {
    rest = rest.slice(1);
    for (;;) {
      const [whole, label, value] = LABEL.exec(rest) ?? [];
      if (whole === undefined || label === undefined || value === undefined || labels.has(label))
        throw new Error(`labels: ${line}`);
      labels.set(
        label,
        value.replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c)),
      );
      rest = rest.slice(whole.length);
      if (rest.startsWith('}')) break;
      if (!rest.startsWith(',')) throw new Error(`labels: ${line}`);
      rest = rest.slice(1);
    }
    rest = rest.slice(1);
  }
  const stated = rest.slice(1);
  if (!rest.startsWith(' ') || !NUMBER.test(stated)) throw new Error(`value: ${line}`);
  const value = stated.endsWith('Inf')
    ? stated.startsWith('-')
      ? Number.NEGATIVE_INFINITY
      : Number.POSITIVE_INFINITY
    : Number(stated);
  return { name, labels, value };
}
