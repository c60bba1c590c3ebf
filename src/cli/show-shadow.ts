/** A run in shadow, said before anything else of it: whoever reads "training" must know that nothing would stop it. */
import { plural, printable, relative, type Style } from './output.ts';
import type { Run, RunSummary } from './service-documents.ts';

export function isInShadow({ shadow, status }: Pick<Run, 'shadow' | 'status'>): boolean {
  return shadow != null && shadow.endedAt === null && status !== 'finished';
}

/** One line over all runs; none where none is in shadow. */
export function shadowBanner(runs: readonly RunSummary[], style: Style): string[] {
  const shadows = runs.filter(isInShadow).flatMap(({ shadow }) => (shadow == null ? [] : [shadow]));
  const [first, ...rest] = shadows.map(({ until }) => until);
  if (first === undefined) return [];
  const until = rest.reduce((a, b) => (Date.parse(b) > Date.parse(a) ? b : a), first);
  const sum = (count: (shadow: (typeof shadows)[number]) => number): number =>
    shadows.reduce((total, shadow) => total + count(shadow), 0);
  const halted = sum(({ wouldHaveHalted }) => wouldHaveHalted);
  const held = sum(({ wouldHaveHeld }) => wouldHaveHeld);
  return [
    style.yellow(
      `SHADOW MODE until ${printable(until)}: nothing is stopped in ${plural(shadows.length, 'run')}. Would have halted ${halted}, would have held ${held}.`,
    ),
  ];
}

export function shadowLines(run: Pick<Run, 'shadow' | 'status'>, now: Date, style: Style): string[] {
  const { shadow } = run;
  if (shadow == null) return [];
  const { until, endedAt, wouldHaveHalted, wouldHaveHeld, first } = shadow;
  const counts = `would have halted ${wouldHaveHalted}, would have held ${wouldHaveHeld}`;
  if (!isInShadow(run)) {
    return [`  shadow    ended ${endedAt === null ? 'with the run' : relative(endedAt, now)}: ${counts}`];
  }
  const told = `SHADOW MODE until ${printable(until)} (${relative(until, now)}): nothing stops this run but the red button; ${counts}`;
  const where = first?.checkpointId == null ? '' : ` at ${printable(first.checkpointId)}`;
  return [
    `  ${style.yellow(told)}`,
    ...(first === null
      ? []
      : [`    first, ${printable(first.action)}${where}: ${printable(first.explanation)}`]),
  ];
}
