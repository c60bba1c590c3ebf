/**
 * The red button as a page: red on yellow, one form, no script, usable on a phone and in a text browser.
 *
 * The credential stands in the form and nowhere else (no cookie, no session), so no other site can press for somebody.
 * Names of runs are shown only where the page is for this machine alone.
 */
import { createHash } from 'node:crypto';
import { type Html, Html as HtmlText, html } from '../http/html.ts';
import type { Refusal } from '../http/refusal.ts';
import { ageOf, type PressAnswer } from './answer.ts';
import type { Delivery } from './sender.ts';

const STYLE = `
:root { color-scheme: light; }
body { margin: 0; background: #ffd400; color: #111; font: 1.1rem/1.45 system-ui, sans-serif; }
main { max-width: 34rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; margin: .5rem 0; }
label, legend { font-weight: 600; display: block; margin-top: .9rem; }
fieldset { border: 2px solid #111; border-radius: .5rem; margin: 1rem 0 0; padding: .2rem .9rem .9rem; }
fieldset label { font-weight: 400; margin-top: .5rem; }
input[type=text], input[type=password], textarea { width: 100%; box-sizing: border-box; font: inherit; padding: .5rem;
  border: 2px solid #111; border-radius: .4rem; background: #fff; color: #111; }
button { width: 100%; margin: 1.4rem 0 .6rem; padding: 1.4rem 1rem; font: 700 1.7rem system-ui, sans-serif;
  color: #fff; background: #c40000; border: 4px solid #111; border-radius: 1rem; cursor: pointer; }
button:focus-visible, input:focus-visible, textarea:focus-visible { outline: 4px solid #0047c2; outline-offset: 2px; }
.note { font-size: .95rem; }
.bad { background: #c40000; color: #fff; padding: .7rem .9rem; border-radius: .5rem; font-weight: 600; }
.good { background: #111; color: #fff; padding: .7rem .9rem; border-radius: .5rem; font-weight: 600; }
li { margin: .3rem 0; overflow-wrap: anywhere; }
code { overflow-wrap: anywhere; }
a { color: #111; }
`;

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64');

export const PAGE_POLICY = `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'`;

function document(title: string, body: Html): string {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<style>${new HtmlText(STYLE)}</style>
</head>
<body>
<main>
${body}
</main>
</body>
</html>
`.text;
}

export interface PageFacts {
  readonly knowledgeAt: Date | null;
  readonly now: Date;
  /** Unfinished runs; their names only where they may be shown. */
  readonly count: number;
  readonly runIds: readonly string[] | null;
}

const SHOWN_MAX = 200;

export function pressPage({ knowledgeAt, now, count, runIds }: PageFacts): string {
  const runs =
    runIds === null || runIds.length === 0
      ? html``
      : html`<details><summary>Runs it would stop</summary><ul>${runIds
          .slice(0, SHOWN_MAX)
          .map((runId) => html`<li><code>${runId}</code></li>`)}</ul>${
          runIds.length > SHOWN_MAX ? html`<p>and ${runIds.length - SHOWN_MAX} more</p>` : html``
        }</details>`;
  return document(
    'Interlock: red button',
    html`<h1>Red button</h1>
<p class="good">This button is live. It knows ${count} ${count === 1 ? 'run' : 'runs'} that it would stop; ${ageOf(knowledgeAt, now)}.</p>
${runs}
<form method="post" action="/">
<label for="credential">Your token, or a printed code</label>
<input id="credential" name="credential" type="password" autocomplete="off" autocapitalize="characters" spellcheck="false" required>
<fieldset>
<legend>What to stop</legend>
<label><input type="radio" name="scope" value="all" checked> Every run</label>
<label><input type="radio" name="scope" value="run"> One run, named here:</label>
<input name="run" type="text" aria-label="The run's id" autocomplete="off" autocapitalize="none" spellcheck="false" maxlength="128">
</fieldset>
<label for="reason">Why (can wait)</label>
<input id="reason" name="reason" type="text" maxlength="2000">
<button type="submit">STOP</button>
</form>
<p class="note">One person is enough. Pressing again does no harm. What is stopped stays stopped until the governance groups have signed; this page cannot undo it.</p>`,
  );
}

interface ShownHalt {
  readonly runId: string;
  readonly haltId: string;
  readonly deliveries: readonly Delivery[];
}

export function resultPage(
  { status, body }: PressAnswer,
  halts: readonly ShownHalt[],
  facts: Pick<PageFacts, 'knowledgeAt' | 'now'>,
): string {
  const count = halts.length;
  const taken = halts.filter(({ deliveries }) => deliveries.length > 0 && deliveries.every(isTaken)).length;
  const durable =
    status === 202
      ? html`<p>It is written down as <code>${body.pressId}</code> and will stand in the ledger under your name.</p>`
      : html`<p class="bad">It could NOT be written down: the disk takes nothing. The orders are being sent now, and would be forgotten if this machine stopped. Press again, and stop the runs by other means as well.</p>`;
  return document(
    'Interlock: pressed',
    html`<h1>${count === 0 ? 'Nothing was sent' : 'STOP ordered'}</h1>
${
  count === 0
    ? html`<p class="bad">${body.failed[0]?.reason ?? 'This button knows of no run that is going on'}${body.failed.length === 0 ? html` (${ageOf(facts.knowledgeAt, facts.now)})` : html``}.</p>`
    : html`<p class="good">${count} ${count === 1 ? 'run is' : 'runs are'} being stopped. ${taken} of ${count} took the order so far; the others are tried until they do.</p>`
}
${durable}
<p class="note">Ordered is not yet stopped: watch it on the service's page, or with <code>interlock status</code>.</p>
<ul>${halts
      .slice(0, SHOWN_MAX)
      .map(
        ({ runId, deliveries }) =>
          html`<li><code>${runId}</code>: ${deliveries.length === 0 ? 'no target is known; only its permit runs out' : deliveries.map(wordsOf).join('; ')}</li>`,
      )}</ul>
<p><a href="/">Back to the button</a></p>`,
  );
}

function isTaken({ stoppedAt, steps }: Delivery): boolean {
  return stoppedAt !== null || steps.some(({ acceptedAt }) => acceptedAt !== null);
}

function wordsOf(delivery: Delivery): string {
  const { kind, stoppedAt, steps } = delivery;
  if (stoppedAt !== null) return `${kind}: stopped`;
  if (isTaken(delivery)) return `${kind}: took the order`;
  const detail = steps.find(({ attempts }) => attempts > 0)?.detail ?? null;
  return detail === null ? `${kind}: being sent` : `${kind}: not yet (${detail}), tried again`;
}

export function refusalPage(refusal: Refusal): string {
  const why =
    refusal.status === 401
      ? 'This token or code is not known here. Check it for typing errors, or take the next code from the list.'
      : (refusal.detail ?? refusal.title);
  const fields = refusal.errors.map(({ path, message }) => html`<li>${path}: ${message}</li>`);
  return document(
    'Interlock: not pressed',
    html`<h1>NOT pressed</h1>
<p class="bad">${why}</p>
<ul>${fields}</ul>
<p><a href="/">Back to the button</a></p>`,
  );
}
