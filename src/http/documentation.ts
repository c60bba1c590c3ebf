/**
 * `/openapi.json` and `/docs`: the contract, generated from the routes, for machines and for people.
 *
 * The page is plain HTML from the same document: no script, nothing fetched, so it works offline and
 * under the strictest policy.
 */

import type { AccessTable } from './access.ts';
import { type Html, html, page } from './html.ts';
import { type OpenApiDocument, type OpenApiInfo, openApiDocument } from './openapi.ts';
import { type Route, rawResponse, route } from './route.ts';

/** Both routes; the document describes `routes` and these two. */
export function documentationRoutes(
  routes: readonly Route[],
  info: OpenApiInfo,
  table: AccessTable,
): Route[] {
  const documentation: Route[] = [];
  let made: { json: string; page: ReturnType<typeof page> } | null = null;
  // Made when first asked for: a start that nobody reads documentation of need not pay for it.
  const make = () => {
    if (made !== null) return made;
    const document = openApiDocument([...routes, ...documentation], info, table);
    made = { json: JSON.stringify(document, null, 2), page: docsPage(document) };
    return made;
  };
  documentation.push(
    route({
      method: 'GET',
      path: '/openapi.json',
      summary: 'This contract as OpenAPI 3.1',
      tags: ['documentation'],
      open: true,
      responses: { 200: rawResponse('application/json; charset=utf-8', 'The OpenAPI document') },
      handler: async () => ({ status: 200, body: make().json }),
    }),
    route({
      method: 'GET',
      path: '/docs',
      summary: 'This contract as a page',
      tags: ['documentation'],
      open: true,
      responses: { 200: rawResponse('text/html; charset=utf-8', 'The page') },
      handler: async () => ({ status: 200, body: make().page.text, headers: make().page.headers }),
    }),
  );
  return documentation;
}

const STYLE = `
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
h2{margin-top:2.5rem;border-bottom:1px solid #ccc;text-transform:capitalize}
details{margin:.4rem 0;padding:.3rem .6rem;border:1px solid #ddd;border-radius:4px}
summary{cursor:pointer}
code,pre{font:14px/1.4 ui-monospace,monospace}
pre{overflow:auto;background:#f6f6f6;padding:.6rem}
.method{display:inline-block;min-width:4.5em;font-weight:bold}
@media (prefers-color-scheme:dark){body{color:#e6e6e6;background:#161616}pre{background:#222}details{border-color:#444}}
`;

interface Operation {
  summary?: string;
  description?: string;
  tags?: readonly string[];
  [key: string]: unknown;
}

function docsPage(document: OpenApiDocument): ReturnType<typeof page> {
  const byTag = new Map<string, Html[]>();
  for (const [path, operations] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const {
        summary = '',
        description = '',
        tags = ['other'],
        ...rest
      }: Operation = { ...asObject(operation) };
      const { operationId: _, security: __, ...shown } = rest;
      const entry = html`<details><summary><code><span class="method">${method.toUpperCase()}</span> ${path}</code> ${summary}</summary>
<p>${description}</p>
<pre>${JSON.stringify(shown, null, 2)}</pre></details>
`;
      for (const tag of tags) byTag.set(tag, [...(byTag.get(tag) ?? []), entry]);
    }
  }
  const sections = [...byTag].map(([tag, entries]) => html`<h2>${tag}</h2>\n${entries}`);
  const schemas = Object.entries(document.components.schemas).map(
    ([id, schema]) =>
      html`<details id="${id}"><summary><code>${id}</code></summary><pre>${JSON.stringify(schema, null, 2)}</pre></details>\n`,
  );
  return page({
    title: `${document.info.title} ${document.info.version}`,
    style: STYLE,
    body: html`<h1>${document.info.title} ${document.info.version}</h1>
<p>${document.info.description}</p>
<p>For machines: <a href="/openapi.json">/openapi.json</a>.</p>
${sections}
<h2>schemas</h2>
${schemas}`,
  });
}

function asObject(value: unknown): object {
  return typeof value === 'object' && value !== null ? value : {};
}
