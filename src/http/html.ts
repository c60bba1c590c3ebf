/**
 * HTML without script: a template that escapes what it is given, and a page with its policy.
 *
 * The page's Content-Security-Policy allows one thing, its own style, by hash: a string that slips
 * through escaping still cannot run or fetch anything. Characters that nobody sees but that turn the text around
 * them (direction marks, controls, line separators) are shown as U+FFFD: a reason must read as what it says.
 */
import { createHash } from 'node:crypto';

export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Part = Html | string | number | null | readonly Html[];

/** Every value is escaped unless it is Html already. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  let text = strings[0] ?? '';
  for (const [index, part] of parts.entries()) text += render(part) + (strings[index + 1] ?? '');
  return new Html(text);
}

function render(part: Part): string {
  if (part === null) return '';
  if (part instanceof Html) return part.text;
  if (typeof part === 'string' || typeof part === 'number') return escapeHtml(String(part));
  return part.map((inner) => inner.text).join('');
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

const UNSEEN = /(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

export function escapeHtml(text: string): string {
  return text.replace(UNSEEN, '\ufffd').replace(/[&<>"']/g, (c) => ENTITIES[c] ?? c);
}

export interface Page {
  text: string;
  headers: { 'content-security-policy': string };
}

export function page({
  title,
  style,
  body,
  hasForms = false,
}: {
  title: string;
  style: string;
  body: Html;
  /** Whether it may send forms, to this service alone. */
  hasForms?: boolean;
}): Page {
  const hash = createHash('sha256').update(style).digest('base64');
  const document = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>${new Html(style)}</style>
</head>
<body>
${body}
</body>
</html>
`;
  return {
    text: document.text,
    headers: {
      'content-security-policy': `default-src 'none'; style-src 'sha256-${hash}'; base-uri 'none'; form-action ${hasForms ? "'self'" : "'none'"}; frame-ancestors 'none'`,
    },
  };
}
