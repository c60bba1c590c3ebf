/**
 * Canaries: secrets and hazardous words that are planted to be looked for wherever the service lets anything out,
 * in every form that they may have there.
 */
import { randomBytes } from 'node:crypto';

export interface Canary {
  readonly name: string;
  /** As planted. */
  readonly text: string;
  /** Found where the text may be: case is kept, encodings are undone by looking for each of them. */
  readonly forms: readonly string[];
}

/** Plain in JSON, URLs and HTML alike, so that only encodings change it. */
export const word = (name: string): string => `cnry${name}${randomBytes(9).toString('hex')}`;

export function canary(name: string, text: string): Canary {
  return {
    name,
    text,
    forms: [...new Set([text, ...jsonForms(text), ...base64Forms(text), ...hexForms(text)])],
  };
}

function jsonForms(text: string): string[] {
  const once = JSON.stringify(text).slice(1, -1);
  return [once, JSON.stringify(once).slice(1, -1), encodeURIComponent(text)];
}

/** Wherever the text begins within what is encoded: three alignments, without what its neighbours change. */
function base64Forms(text: string): string[] {
  return [0, 1, 2].flatMap((shift) => {
    const encoded = Buffer.concat([Buffer.alloc(shift), Buffer.from(text)])
      .toString('base64')
      .replace(/=+$/, '');
    const inner = encoded.slice(
      shift === 0 ? 0 : shift + 1,
      encoded.length - 1 - (text.length % 3 === 0 ? 0 : 1),
    );
    return [inner, inner.replaceAll('+', '-').replaceAll('/', '_')];
  });
}

function hexForms(text: string): string[] {
  const hex = Buffer.from(text).toString('hex');
  return [hex, hex.toUpperCase()];
}

export interface Leak {
  readonly canary: string;
  readonly sink: string;
  /** What stood before it, for whoever has to find the place. */
  readonly before: string;
}

/** Every canary in every sink, but for those that belong there. */
export function leaks(
  canaries: readonly Canary[],
  sinks: Readonly<Record<string, string>>,
  belongs: (canary: string, sink: string) => boolean = () => false,
): Leak[] {
  return Object.entries(sinks).flatMap(([sink, content]) =>
    canaries.flatMap(({ name, forms }) => {
      const at = forms.map((form) => content.indexOf(form)).find((index) => index >= 0);
      if (at === undefined || belongs(name, sink)) return [];
      return [{ canary: name, sink, before: content.slice(Math.max(0, at - 200), at) }];
    }),
  );
}
