/** A quarantine on the status page: what to go back to, and how far the run's isolation is. */
import { isolationText } from '../../domain/run/isolation-text.ts';
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

const LOOKS = { done: 'ok', waits: 'quiet', open: 'warn', overdue: 'bad' } as const;

function stepState(step: QuarantineState['steps'][number], isolateAt: string): Html {
  const { standing, text } = isolationText(step);
  const when =
    standing === 'waits'
      ? ` or at ${clock(isolateAt)}`
      : step.confirmedAt === null
        ? ''
        : `, ${clock(step.confirmedAt)}`;
  return html`<span class="${LOOKS[standing]}">${text}${when}</span>`;
}

/** Null where the halt is no quarantine, or was released. */
export function quarantineStep({ action, quarantine }: Halt): string | null {
  if (action !== 'quarantine' || quarantine?.released !== undefined) return null;
  const open = (quarantine?.steps ?? []).filter(({ confirmedAt }) => confirmedAt === null);
  const wait =
    open.length === 0 ? '' : `see that it is isolated (${open.map(({ step }) => step).join(', ')}); `;
  return `${wait}nothing resumes it before its release is signed: propose that first (kind release).`;
}
