/** The status page's part on what lies ahead: forecasts, what experts say beside them, and how far to believe either. */
import { flopText, timesText } from '../../domain/compute.ts';
import { LEVEL_STARTS, levelText } from '../../domain/levels.ts';
import type { Category } from '../../domain/policy/schema.ts';
import { percent } from '../../domain/run/expert-findings.ts';
import type { SealedForecast } from '../../domain/run/forecast-documents.ts';
import { type Html, html } from '../html.ts';
import type { LatestForecasts } from './latest-forecasts.ts';

type Experts = LatestForecasts['experts'][number];

/** What weighs most while nothing is decided: before mitigations, to the next checkpoint. The API has the rest. */
const STAGE = 'pre-mitigation';
const LEVELS = [LEVEL_STARTS.high, LEVEL_STARTS.critical];

export function forecastPart(
  { forecasts, experts, record, checkpointId, effectiveCompute }: LatestForecasts,
  categories: readonly Pick<Category, 'id' | 'title'>[],
): Html[] {
  const titleOf = (category: string): string =>
    categories.find(({ id }) => id === category)?.title ?? category;
  // In the policy's order: which one was sealed first is chance.
  const shown = categories.flatMap(({ id }) =>
    forecasts.filter(
      ({ category, stage, checkpoints }) => category === id && stage === STAGE && checkpoints === 1,
    ),
  );
  const [first] = shown;
  if (first === undefined) return [];
  const within = `${timesText(first.horizonCompute, effectiveCompute)} the compute of ${checkpointId} (${flopText(first.horizonCompute)})`;
  const rows = shown.map((forecast) => {
    const said = experts.filter(({ category, stage }) => category === forecast.category && stage === STAGE);
    return html`<tr><th scope="row">${titleOf(forecast.category)}<span class="quiet note">${BASIS_TEXT[forecast.basis]}</span></th><td>${middle(forecast)}</td>${LEVELS.map((level) => chanceCell(forecast, level, said))}</tr>`;
  });
  const elsewhere = experts.filter(({ stage, level }) => stage !== STAGE || !LEVELS.includes(level));
  return [
    html`<h3>Before the next checkpoint, within ${within}</h3>
<table><thead><tr><th scope="col">Category</th><th scope="col">Level ahead</th>${LEVELS.map((level) => html`<th scope="col">Reaches ${levelText(level)}</th>`)}</tr></thead><tbody>${rows}</tbody></table>
${elsewhere.length === 0 ? [] : [html`<ul>${elsewhere.map((each) => html`<li>${titleOf(each.category)}, ${each.stage}, ${levelText(each.level)}: ${expertsText(each)}</li>`)}</ul>`]}
<p class="quiet">${recordText(record)}</p>`,
  ];
}

const BASIS_TEXT: Readonly<Record<SealedForecast['basis'], string>> = {
  'mostly-prior': 'mostly prior: too few points',
  mixed: 'few points',
  data: 'from its data',
};

function middle({ quantiles }: SealedForecast): Html {
  const at = (p: number): string => quantiles.find((each) => each.p === p)?.level.toFixed(2) ?? 'not stated';
  return html`${at(0.5)}<span class="quiet note">95 %: up to ${at(0.95)}</span>`;
}

function chanceCell({ exceedance }: SealedForecast, level: number, said: readonly Experts[]): Html {
  const p = exceedance.find((each) => each.level === level)?.p;
  const experts = said.filter((each) => each.level === level);
  return html`<td><span class="figure">${p === undefined ? 'not stated' : percent(p)}</span>${experts.map((each) => html`<span class="quiet note">${expertsText(each)}</span>`)}</td>`;
}

function expertsText({ state, given, pool }: Experts): string {
  const open = state === 'open' ? `a round is open, ${given} answered` : '';
  if (pool !== null) {
    const said = `${pool.n === 1 ? '1 expert' : `${pool.n} experts`}: ${percent(pool.p)}`;
    return open === '' ? said : `${said}; ${open}`;
  }
  return open === '' ? 'experts were asked, nobody answered' : open;
}

function recordText({
  forecasts,
  isTooFew,
  coverage95,
  misses,
  excluded,
}: LatestForecasts['record']): string {
  const left = excluded.sealedLate + excluded.beyondHorizon + excluded.partial;
  const not = left === 0 ? '' : ` ${left} more ${left === 1 ? 'does' : 'do'} not count.`;
  if (forecasts === 0) return `No forecast of this run has been scored yet.${not}`;
  const covered = `${coverage95.covered} of ${forecasts} scored ${forecasts === 1 ? 'forecast' : 'forecasts'} of this run came at or below the 95 % bound`;
  const missed = `${misses} above the 99 % bound`;
  return `${covered}, ${missed}${isTooFew ? ': too few to say' : ''}.${not}`;
}
