/** A quarantine as the terminal shows it: what to go back to, what isolates the run, and what is still to be done by people. */
import { isolationText } from '../domain/run/isolation-text.ts';
import { printable, relative, type Style, span } from './output.ts';
import type { Halt } from './service-documents.ts';

type Quarantine = NonNullable<Halt['quarantine']>;

export function quarantineLines({ quarantine, scoped }: Halt, now: Date, style: Style): string[] {
  return [
    ...(quarantine === null ? [] : isolationLines(quarantine, now, style)),
    ...(scoped === null
      ? []
      : [
          `    ~ evaluation and alignment work may go on, ends ${relative(scoped.expires, now)} (${printable(scoped.proposalId)})`,
        ]),
  ];
}

function isolationLines(
  { revert, steps, isolateAt, released }: Quarantine,
  now: Date,
  style: Style,
): string[] {
  const back =
    revert === null
      ? 'no cleared checkpoint is known to go back to'
      : `go back to ${printable(revert.checkpointId)} at most: ${printable(revert.modelUri)}, ${revert.weightsDigest === null ? 'no digest was reported' : printable(revert.weightsDigest)}`;
  return [
    `    < ${back}`,
    ...(steps.length === 0 && released === undefined
      ? [style.red('    # the policy names nothing that isolates the run: do it by hand')]
      : []),
    ...steps.map(
      (step) =>
        `    # ${printable(step.step)} (${printable(step.kind)}): ${stepState(step, isolateAt, now, style)}`,
    ),
    ...(released === undefined
      ? []
      : [`    # released ${relative(released.at, now)} (${printable(released.proposalId)})`]),
  ];
}

function stepState(step: Quarantine['steps'][number], isolateAt: string, now: Date, style: Style): string {
  const { standing, text } = isolationText(step);
  const words = printable(text);
  const { begunAt, confirmedAt } = step;
  if (standing === 'overdue') return style.red(words);
  if (standing === 'waits') return `${words} or ${relative(isolateAt, now)}`;
  if (confirmedAt === null || begunAt === null) return words;
  return `${words}, ${span(Date.parse(confirmedAt) - Date.parse(begunAt))} after it began`;
}

/** What people have to do about it; none where it waits for nobody. */
export function quarantineSteps({ haltId, runId, action, quarantine }: Halt): string[] {
  if (action !== 'quarantine' || quarantine?.released !== undefined) return [];
  const late = (quarantine?.steps ?? []).filter(
    ({ overdueAt, confirmedAt }) => overdueAt !== null && confirmedAt === null,
  );
  return [
    ...late.map(
      ({ step }) =>
        `do ${printable(step)} by hand, then say so: interlock isolated --halt ${printable(haltId)} --step ${printable(step)} --detail "..."`,
    ),
    `it cannot be resumed before its release is signed: interlock propose --kind release --run ${printable(runId)} --rationale "..."`,
  ];
}
