/**
 * `/`: one screen for whoever is woken at night. What tripped, by how much, has it stopped, what to do next.
 *
 * Plain HTML, no script, reloads itself. Open where the service listens on loopback only; elsewhere
 * people sign in (sign-in.ts).
 */
import type { z } from 'zod';
import { type BudgetBest, budgetText } from '../../domain/run/budgets.ts';
import { type EvidenceShown, evidenceTexts } from '../../domain/run/evidence-text.ts';
import type { Finding } from '../../domain/run/finding-documents.ts';
import { explain } from '../../domain/run/halt.ts';
import { haltTimeline, momentText } from '../../domain/run/halt-timeline.ts';
import { runWarnings } from '../../domain/run/independence.ts';
import { runRisk } from '../../domain/run/permit-risk.ts';
import { toldOfShadow } from '../../domain/run/shadow.ts';
import type { Halt, RunState } from '../../domain/run/state.ts';
import { statusOfRun } from '../../domain/run/views.ts';
import type { LoadedRun } from '../../service/run-service.ts';
import { type Html, html, page } from '../html.ts';
import { type RawCall, type Route, rawResponse, route } from '../route.ts';
import { RunSummary, ScorecardDocument } from './documents.ts';
import { forecastPart } from './forecast-part.ts';
import { latestForecasts } from './latest-forecasts.ts';
import { scorecardNow } from './open-scorecard.ts';
import { clock, quarantinePart, quarantineStep } from './quarantine-part.ts';
import type { Services } from './services.ts';
import { cookiesOf } from './sign-in.ts';

type ScorecardBody = z.output<typeof ScorecardDocument>;

const RUNS_SHOWN = 50;
const PAGE = 500;

export const statusPageRoutes = (services: Services): Route[] => [
  route({
    method: 'GET',
    path: '/',
    summary: 'Status page for people',
    tags: ['probes'],
    open: true,
    responses: {
      200: rawResponse('text/html; charset=utf-8', 'The page'),
      303: rawResponse('text/plain', 'To the form, where nobody is signed in'),
    },
    handler: async ({ headers }) => {
      const reader = await readerOf(headers, services);
      if (reader === null) return { status: 303, body: '', headers: { location: '/sign-in' } };
      const runs = await allRuns(services.ledger);
      const loaded = await Promise.all(
        runs.slice(0, RUNS_SHOWN).map(({ runId }) => services.runs.load(runId)),
      );
      const cards = await Promise.all(
        loaded.filter((each) => each !== null).map((each) => runCard(each, services)),
      );
      const shown = page({
        title: 'Interlock',
        style: STYLE,
        hasForms: true,
        body: body(runs, cards, services.clock(), reader.name, services.shadowUntil()),
      });
      return { status: 200, body: shown.text, headers: { ...shown.headers, refresh: '5' } };
    },
  }),
];

/** Open to a browser that asked for this machine by a name of its own: a name from outside may be rebound DNS. */
const LOCAL_HOST = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i;

/** Who reads: by the cookie of sign-in, by a token as the API takes it, or anybody on this machine. */
async function readerOf(
  headers: RawCall['headers'],
  { page: access }: Services,
): Promise<{ name: string | null } | null> {
  const { authorization, host } = headers;
  const signedIn = access.sessions.find(cookiesOf(headers));
  if (signedIn !== null) return { name: signedIn.name };
  if (access.isOpen && typeof host === 'string' && LOCAL_HOST.test(host)) return { name: null };
  const token = typeof authorization === 'string' ? /^bearer +(\S+)$/i.exec(authorization)?.[1] : undefined;
  const shown = token === undefined ? null : await access.signIn(token);
  return shown === null ? null : { name: shown.identity.name };
}

type Summary = z.output<typeof RunSummary>;

/** Every run, the most urgent first and then the newest: what is not shown must be the least of it. */
async function allRuns(ledger: Services['ledger']): Promise<Summary[]> {
  const runs: Summary[] = [];
  let after: { after?: number } = {};
  for (;;) {
    const rows = await ledger.views({ kind: 'run', limit: PAGE, order: 'desc', ...after });
    const read = rows.map(({ doc }) => RunSummary.parse(doc));
    // A drill that is over stands in the ledger; whoever looks at the page looks at what trains.
    runs.push(...read.filter(({ drill, finishedAt }) => !drill || finishedAt === null));
    const last = rows.at(-1);
    if (rows.length < PAGE || last === undefined) return runs.sort((a, b) => urgency(b) - urgency(a));
    after = { after: last.ordinal };
  }
}

const isClosingIn = ({ holds }: Pick<Summary, 'holds'>): boolean =>
  holds.length > 0 && holds.every(({ closingIn = null }) => closingIn !== null);

function urgency({ halt, holds }: Summary): number {
  if (halt !== null) return halt.stopped ? 1 : 3;
  return holds.length > 0 ? 2 : 0;
}

function body(
  runs: readonly Summary[],
  cards: readonly Html[],
  now: Date,
  reader: string | null,
  shadowUntil: string | null,
): Html {
  const count = (level: number): number => runs.filter((run) => urgency(run) === level).length;
  const [open, held, stopped] = [count(3), count(2), count(1)];
  const closing = runs.filter((run) => urgency(run) === 2 && isClosingIn(run)).length;
  const rest = runs.length - cards.length;
  const shadow = shadowBanner(runs, shadowUntil);
  const headline =
    open > 0
      ? html`<p class="banner bad">${open} ${plural(open, 'run has', 'runs have')} been ordered to halt and ${plural(open, 'is', 'are')} not known to have stopped.</p>`
      : held > 0
        ? html`<p class="banner warn">${held} ${plural(held, 'run is', 'runs are')} on hold${closing === held ? ' while further samples are drawn' : ` and ${held - closing} ${plural(held - closing, 'waits', 'wait')} for people`}.</p>`
        : stopped > 0
          ? html`<p class="banner warn">${stopped} ${plural(stopped, 'run is', 'runs are')} halted and known to have stopped. Nothing else is open.</p>`
          : html`<p class="banner ok">No run is halted or on hold.</p>`;
  const empty = html`<p>No run is registered yet. <a href="/docs">The API</a> says how.</p>`;
  return html`<header><h1>Interlock</h1><p class="quiet">as of ${clock(now.toISOString())} · reloads every 5 s · <a href="/docs">API</a></p>${reader === null ? [] : [html`<form method="post" action="/sign-out" class="quiet">${reader} <button>Sign out</button></form>`]}</header>
${shadow === null ? [] : [shadow]}
${headline}
<main>${cards.length === 0 ? empty : cards}</main>
${rest > 0 ? [html`<p class="quiet">${rest} more ${plural(rest, 'run', 'runs')}, none more urgent than these: GET /v1/runs lists all.</p>`] : []}`;
}

/** Over everything else: whoever reads "may train" must know that nothing would stop it. */
function shadowBanner(runs: readonly Summary[], deployedUntil: string | null): Html | null {
  const shadows = runs.flatMap(({ shadow, finishedAt }) =>
    shadow === null || shadow.endedAt !== null || finishedAt !== null ? [] : [shadow],
  );
  if (shadows.length === 0) {
    return deployedUntil === null
      ? null
      : html`<p class="banner shadow">SHADOW MODE until ${clock(deployedUntil)}: nothing will stop the runs that are registered now.</p>`;
  }
  const sum = (count: (shadow: (typeof shadows)[number]) => number): number =>
    shadows.reduce((total, shadow) => total + count(shadow), 0);
  const until = shadows
    .map((shadow) => shadow.until)
    .reduce((a, b) => (Date.parse(a) > Date.parse(b) ? a : b));
  return html`<p class="banner shadow">SHADOW MODE until ${clock(until)}: nothing is stopped in ${shadows.length} ${plural(shadows.length, 'run', 'runs')}. Would have halted ${sum((each) => each.wouldHaveHalted)}, would have held ${sum((each) => each.wouldHaveHeld)}.</p>`;
}

/** `2026-11-23 12:52:48 UTC`; the exact instant is in the API. */

/** Three digits for people: `4.06e10`. */
const short = (compute: string): string =>
  Number(compute)
    .toExponential(2)
    .replace(/\.?0*e\+?/, 'e');

const plural = (n: number, one: string, many: string): string => (n === 1 ? one : many);

async function runCard(loaded: LoadedRun, services: Services): Promise<Html> {
  const { state } = loaded;
  const [progress, scorecard, ahead] = await Promise.all([
    services.progress.read(state.runId),
    newestScorecard(loaded, services),
    latestForecasts(state, services.ledger),
  ]);
  const status = statusOfRun(state);
  const compute = progress.computeHigh ?? state.computeHigh;
  return html`<article id="${state.runId}" class="${status}">
<h2>${state.title ?? state.runId} <span class="badge ${status}">${STATUS_TEXT[status]}</span></h2>
<p class="quiet">${state.title === null ? '' : html`${state.runId} · `}policy ${state.policyName} · compute ${compute === null ? 'not stated yet' : short(compute)} of ${short(state.ceiling)} FLOP allowed${
    progress.heartbeatAt === null ? '' : ` · heartbeat ${clock(progress.heartbeatAt.toISOString())}`
  }</p>
${riskPart(loaded)}
${shadowPart(state)}
${runWarnings(state).map(({ message }) => html`<p class="warn">${message}.</p>`)}
${state.halt === null ? [] : [haltPart(state.halt, state)]}
${state.halt === null && state.holds.length > 0 ? [holdPart(state)] : []}
${state.halt === null && state.waiver !== null ? [waiverPart(state.waiver)] : []}
${scorecard === null ? html`<p>No checkpoint has been evaluated yet.</p>` : levelsPart(scorecard)}
${ahead === null ? [] : forecastPart(ahead, loaded.policy.categories)}
<p class="next"><strong>Next:</strong> ${nextStep(state)}</p>
</article>`;
}

function riskPart({ state, policy }: LoadedRun): Html[] {
  const risk = runRisk(state, policy);
  if (risk === null) return [];
  const percent = (p: number): string => `${(100 * p).toFixed(2)} %`;
  const { permit, budget } = risk;
  const taken =
    permit === null
      ? 'no permit earned yet'
      : `${percent(permit.p)} that a category reaches ${risk.level.toFixed(2)} by ${short(permit.compute)} FLOP`;
  return [
    html`<p class="quiet">risk ${taken}, a permit may take ${percent(risk.probability)} · spent ${percent(risk.spent)}${
      budget === null ? '' : ` of ${percent(budget)}`
    }</p>`,
  ];
}

function shadowPart(state: RunState): Html[] {
  const shadow = toldOfShadow(state);
  if (shadow === null) return [];
  const { until, endedAt, wouldHaveHalted, wouldHaveHeld, first } = shadow;
  const counts = html`Would have halted ${wouldHaveHalted}, would have held ${wouldHaveHeld}.`;
  if (endedAt !== null) return [html`<p class="quiet">Was in shadow until ${clock(endedAt)}. ${counts}</p>`];
  const what =
    first === null ? '' : html`<br>First ${clock(first.at)}, ${first.action}: ${first.explanation}`;
  return [
    html`<p class="banner shadow">SHADOW MODE until ${clock(until)}: nothing stops this run but a press of the red button. ${counts}${what}</p>`,
  ];
}

const STATUS_TEXT = {
  training: 'may train',
  'on-hold': 'on hold',
  halted: 'halted',
  finished: 'finished',
} as const;

async function newestScorecard(loaded: LoadedRun, services: Services): Promise<ScorecardBody | null> {
  const newest = loaded.state.checkpoints.at(-1);
  const open = newest === undefined ? null : await scorecardNow(loaded, newest.checkpointId, services);
  if (open !== null) return ScorecardDocument.parse(open);
  const [row] = await services.ledger.views({
    kind: 'scorecard',
    runId: loaded.state.runId,
    limit: 1,
    order: 'desc',
  });
  return row === undefined ? null : ScorecardDocument.parse(row.doc);
}

function haltPart(halt: Halt, { targets }: RunState): Html {
  const stopped =
    halt.confirmedAt !== null
      ? html`<strong class="ok">It has stopped</strong> (confirmed ${clock(halt.confirmedAt)}).`
      : html`<strong class="bad">It is NOT known to have stopped.</strong> ${
          halt.stoppedAckAt !== null ? 'The trainer says it stopped; waiting for proof.' : ''
        }`;
  const life =
    halt.life === undefined
      ? ''
      : html`<p class="bad">It showed life at ${clock(halt.life.at)} and was halted again: ${halt.life.shown}.</p>`;
  const deliveries = halt.targets.flatMap((target) => {
    const kind = targets.find(({ targetId }) => targetId === target.targetId)?.kind ?? '';
    return target.steps
      .filter(({ attempts }) => attempts > 0)
      .map(
        ({ step, attempts, acceptedAt, lastDetail }) =>
          html`<li>${kind === step ? step : `${kind} ${step}`}: ${acceptedAt === null ? `not accepted after ${attempts} ${plural(attempts, 'try', 'tries')}` : `accepted ${clock(acceptedAt)}`}${lastDetail === null ? '' : ` (${lastDetail})`}</li>`,
      );
  });
  return html`<section class="halt">
<h3>${halt.action === 'quarantine' ? 'Quarantine' : 'Halt'} ordered ${clock(halt.orderedAt)}</h3>
<ul>${halt.causes.slice(0, 5).map((cause) => html`<li>${explain(cause)}</li>`)}</ul>
${life}
<p>${stopped}</p>
<ul class="quiet">${deliveries}</ul>
${halt.quarantine === undefined ? [] : [quarantinePart(halt.quarantine)]}
${halt.scoped === undefined ? [] : [html`<p class="warn">Evaluation and alignment work may go on until ${clock(halt.scoped.expires)}; training may not.</p>`]}
<p class="quiet">Since the order: ${haltTimeline(halt)
    .slice(1)
    .map((moment) => `${(moment.afterMs / 1000).toFixed(1)} s ${momentText(moment)}`)
    .join(' · ')}</p>
</section>`;
}

function holdPart({ holds }: RunState): Html {
  return html`<section class="hold"><h3>On hold: no new permit</h3>
<ul>${holds.map(({ findings, deadlineAt, closingIn }) => html`<li>${findings[0]?.explanation ?? ''}. ${closingIn === undefined ? '' : `Closing in: further samples are drawn, people are woken at ${clock(closingIn.until)} at the latest. `}Becomes a halt at ${clock(deadlineAt)}.</li>`)}</ul></section>`;
}

function waiverPart({ ceiling, levels, expires }: NonNullable<RunState['waiver']>): Html {
  const waived = Object.entries(levels).map(([category, level]) => `${category} up to ${level.toFixed(2)}`);
  return html`<p class="warn">Resumed by sign-offs, under a waiver until ${clock(expires)} and ${short(ceiling)} FLOP${
    waived.length === 0 ? '' : ` (${waived.join(', ')})`
  }. Anything beyond it trips again.</p>`;
}

function levelsPart(scorecard: ScorecardBody): Html {
  const rows = scorecard.categories.map(({ title, stages }) => {
    const before = stages['pre-mitigation'];
    const after = stages['post-mitigation'];
    return html`<tr><th scope="row">${title}</th><td>${levelCell(before)}</td><td>${levelCell(after)}</td></tr>`;
  });
  const verdict = scorecard.verdict ?? 'evaluating';
  return html`<h3>Checkpoint ${scorecard.checkpointId} at ${short(scorecard.effectiveCompute)} FLOP: <span class="${verdict}">${verdict}</span></h3>
<table><thead><tr><th scope="col">Category</th><th scope="col">Before mitigations</th><th scope="col">After</th></tr></thead><tbody>${rows}</tbody></table>
${budgetsPart(scorecard.budgets ?? [])}
${runningPart(scorecard.running ?? [])}
${evidencePart(scorecard.categories.flatMap(({ stages }) => Object.values(stages).flatMap(({ evidence }) => evidence)))}
${findingsPart(scorecard.findings)}`;
}

/** What the scores were made of, for whoever doubts one; folded, because at night the levels come first. */
function evidencePart(evidence: readonly EvidenceShown[]): Html[] {
  const texts = evidenceTexts(evidence);
  if (texts.length === 0) return [];
  const items = texts.map(
    ({ name, counts, source }) =>
      html`<li>${name}: ${counts}${source === null ? '' : html`<span class="quiet note">${source}</span>`}</li>`,
  );
  return [
    html`<details><summary>Evidence of ${texts.length} ${plural(texts.length, 'evaluation', 'evaluations')}</summary><ul>${items}</ul></details>`,
  ];
}

/** What is still to report; one that says nothing of its progress is not at zero. */
function runningPart(running: NonNullable<ScorecardBody['running']>): Html[] {
  if (running.length === 0) return [];
  const items = running.map(({ name, attempt, status, progress }) => {
    const again = attempt > 1 ? `, attempt ${attempt}` : '';
    return html`<li>${name}: ${status}${again}${progress === null ? '' : progressPart(progress)}</li>`;
  });
  return [html`<ul>${items}</ul>`];
}

function progressPart({ done, total, unit, errored }: ShownProgress): Html {
  const errors =
    errored === null || errored === 0 ? '' : html`, <span class="warn">${errored} in error</span>`;
  const bar = total === null ? '' : html` <progress max="${total}" value="${done}"></progress>`;
  return html`${bar} ${done}${total === null ? '' : ` of ${total}`} ${unit}${errors}`;
}

type ShownProgress = NonNullable<NonNullable<ScorecardBody['running']>[number]['progress']>;

/** Scores at the same budget, for a rise that more tokens bought is none of the model. */
function budgetsPart(budgets: readonly BudgetBest[]): Html[] {
  if (budgets.length === 0) return [];
  return [html`<ul class="quiet">${budgets.map((best) => html`<li>${budgetText(best)}</li>`)}</ul>`];
}

interface StageLevels {
  readonly estimate: number | null;
  readonly upper: number | null;
  readonly name: string;
  readonly worst?: { readonly evaluation: string; readonly variant: string } | undefined;
}

/** A bar from 1 to 5; what is not known is said, not drawn as low. */
function levelCell(levels: StageLevels | undefined): Html {
  if (levels === undefined) return html`<span class="quiet">not evaluated</span>`;
  if (levels.estimate === null) return html`<span class="warn">not enough information</span>`;
  const { worst } = levels;
  const of = worst === undefined ? '' : ` · ${worst.evaluation}/${worst.variant}`;
  const upper = `${levels.upper === null ? '' : `, at most ${levels.upper.toFixed(2)}`}${of}`;
  return html`<meter min="1" max="5" low="2" high="3" optimum="1" value="${levels.estimate}"></meter> ${levels.estimate.toFixed(2)} ${levels.name}<span class="quiet">${upper}</span>`;
}

function findingsPart(findings: readonly Finding[]): Html {
  if (findings.length === 0) return html`<p class="quiet">No rule fired.</p>`;
  return html`<ul>${findings.map(
    ({ explanation, then, waived, rule }) =>
      html`<li>${explanation} <span class="quiet">(${rule}: ${then.join(', ')}${waived ? '; waived' : ''})</span></li>`,
  )}</ul>`;
}

function nextStep({ halt, holds, finishedAt, proposals, runId, checkpoints, shadow }: RunState): string {
  if (halt !== null && halt.confirmedAt === null) {
    const isolation = quarantineStep(halt);
    return `make sure the run stops: look at its scheduler, stop it by hand if it still computes. Interlock goes on trying.${isolation === null ? '' : ` Then ${isolation}`}`;
  }
  if (halt !== null) {
    const open = proposals.find(({ status }) => status === 'open');
    const release = quarantineStep(halt);
    if (open === undefined && release !== null) return release;
    return open === undefined
      ? `read the findings; to go on, propose a resume with terms (POST /v1/runs/${runId}/proposals) and collect the sign-offs.`
      : `a ${open.kind} is proposed (${open.proposalId}); the groups it needs must sign or veto.`;
  }
  if (holds.length > 0 && holds.every(({ closingIn }) => closingIn !== undefined))
    return 'wait: further samples are drawn, and people are woken if they do not decide it.';
  if (holds.length > 0)
    return 'supply the missing evidence (retry the evaluation, report the checkpoint) or sign the hold off.';
  if (finishedAt !== null) return 'nothing; the run is finished.';
  if (shadow !== undefined && shadow.ended === null) {
    return `read what would have stopped it before its shadow ends at ${clock(shadow.until)}: what stands then acts. POST /v1/runs/${runId}/arm ends it now.`;
  }
  const open = checkpoints.find(({ closed }) => closed === null);
  if (open !== undefined) {
    return `wait for the evaluations of ${open.checkpointId}; a required one that is not in by ${clock(open.deadlineAt)} holds the run.`;
  }
  return 'report the next checkpoint when it is due; there is nothing to decide now.';
}

const STYLE = `
:root { color-scheme: light dark; --bad: #c62828; --warn: #b26a00; --ok: #2e7d32; --line: #8884; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --warn: #ffcc80; --ok: #a5d6a7; } }
* { box-sizing: border-box; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.5rem; } h2 { margin: 0 0 .25rem; font-size: 1.2rem; } h3, h4 { font-size: 1rem; margin: .75rem 0 .25rem; }
p, ul, ol { margin: .25rem 0; } ul { padding-left: 1.2rem; } ol { padding-left: 1.5rem; }
.quiet { opacity: .7; font-size: .875rem; } .note { display: block; font-weight: 400; } .figure { white-space: nowrap; }
.shadow { background: repeating-linear-gradient(-45deg, #b26a0022 0 .6rem, #0000 .6rem 1.2rem); color: var(--warn); }
.banner { padding: .6rem .8rem; border: 2px solid; border-radius: .4rem; font-weight: 600; }
.bad, .halt h3, span.halt { color: var(--bad); } .warn, .hold h3, span.hold { color: var(--warn); } .ok, span.proceed { color: var(--ok); }
article { border: 1px solid var(--line); border-left: .4rem solid var(--ok); border-radius: .4rem; padding: .8rem; margin: 1rem 0; }
article.halted { border-left-color: var(--bad); } article.on-hold { border-left-color: var(--warn); } article.finished { border-left-color: var(--line); }
.badge { font-size: .8rem; padding: .1rem .5rem; border: 1px solid; border-radius: 1rem; vertical-align: middle; white-space: nowrap; }
.badge.halted { color: var(--bad); } .badge.on-hold { color: var(--warn); } .badge.training { color: var(--ok); }
table { border-collapse: collapse; width: 100%; overflow-wrap: normal; } th, td { text-align: left; padding: .25rem .5rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
meter { width: 6rem; vertical-align: middle; }
.next { margin-top: .75rem; }
@media (max-width: 34rem) { meter { display: block; width: 100%; } th, td { font-size: .85rem; hyphens: auto; } .quiet { font-size: .8rem; } }
`;
