/**
 * Text for other people's systems: well-formed, without control or direction-changing characters, and cut
 * by whole characters. Run ids and summaries are ours, but they may quote what a trainer sent.
 */

// Controls, line separators, and the marks that can make text read backwards.
const UNSAFE = /[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

export function plainText(text: string, lengthMax: number): string {
  const clean = text.toWellFormed().replace(UNSAFE, ' ');
  return clean.length <= lengthMax ? clean : `${cut(clean, lengthMax - 1)}…`;
}

/** Slack's three special characters, within a limit that counts the escaped text and splits no entity. */
export function slackText(text: string, lengthMax: number): string {
  const clean = plainText(text, Number.MAX_SAFE_INTEGER);
  let escaped = '';
  for (const character of clean) {
    const next = SLACK_ENTITIES[character] ?? character;
    if (escaped.length + next.length > lengthMax - 1) return `${escaped}…`;
    escaped += next;
  }
  return escaped;
}

const SLACK_ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' };

/** Never between the halves of a surrogate pair. */
function cut(text: string, length: number): string {
  const last = text.charCodeAt(length - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? length - 1 : length);
}

export function isWebUrl(text: string | undefined): text is string {
  if (text === undefined || !URL.canParse(text)) return false;
  const { protocol } = new URL(text);
  return protocol === 'https:' || protocol === 'http:';
}
