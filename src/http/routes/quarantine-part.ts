/** A quarantine on the status page: what to go back to, and how far the run's isolation is. */
import type { QuarantineState } from '../../domain/run/quarantine-documents.ts';
import type { Halt } from '../../domain/run/state.ts';
import { type Html, html } from '../html.ts';

export const clock = (instant: string): string => `${instant.slice(0, 19).replace('T', ' ')} UTC`;

export function quarantinePart({ revert, steps, isolateAt, released }: QuarantineState): Html {
  const back =
    revert === null
      ? html`<p class="bad">No cleared checkpoint is known to go back to.</p>`
      : html`<p>Go back to <strong>${revert.checkpointId}</strong> at most: ${revert.modelUri}, <span class="quiet">${revert.weightsDigest ?? 'no digest was reported'}</span></p>`;
  const isolation =
    steps.length === 0
      ? html`<p class="bad">The policy names nothing that isolates the run: do it by hand.</p>`
      : html`<ol>${steps.map((step) => html`<li>${step.step}: ${stepState(step, isolateAt)}</li>`)}</ol>`;
  return html`<h4>${released === undefined ? 'Isolation' : `Released from quarantine ${clock(released.at)}`}</h4>
${back}
${isolation}`;
}

function stepState(
  {
    begunAt,
    acceptedAt,
    attempts,
    overdueAt,
    confirmedAt,
    confirmedBy,
    lastDetail,
  }: QuarantineState['steps'][number],
  isolateAt: string,
): Html {
  if (confirmedAt !== null) {
    const by = confirmedBy === null || confirmedBy === 'call-out' ? '' : ` by the word of ${confirmedBy}`;
    return html`<span class="ok">done ${clock(confirmedAt)}${by}</span>`;
  }
  if (begunAt === null) {
    return html`<span class="quiet">in its turn, once the run has stopped or at ${clock(isolateAt)}</span>`;
  }
  const tried = acceptedAt === null ? `not taken in ${attempts} attempts` : 'taken, not known to be done';
  const said = lastDetail === null ? '' : ` (${lastDetail})`;
  return html`<span class="${overdueAt === null ? 'warn' : 'bad'}">${tried}${said}${overdueAt === null ? '' : '; overdue, do it by hand'}</span>`;
}

/** Null where the halt is no quarantine, or was released. */
export function quarantineStep({ action, quarantine }: Halt): string | null {
  if (action !== 'quarantine' || quarantine?.released !== undefined) return null;
  const open = (quarantine?.steps ?? []).filter(({ confirmedAt }) => confirmedAt === null);
  const wait =
    open.length === 0 ? '' : `see that it is isolated (${open.map(({ step }) => step).join(', ')}); `;
  return `${wait}nothing resumes it before its release is signed: propose that first (kind release).`;
}
