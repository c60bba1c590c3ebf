/** The promises table: RELIABILITY's A1 to A5 with what was tried, what broke and the figures, in Markdown and JSON. */
import type { Grade } from '../support/campaign/stores.ts';
import { type GradeReport, isBroken, quantile, type Round } from './torture.ts';

export interface Promised {
  readonly id: string;
  readonly promise: string;
  readonly grade: Grade;
  readonly trials: number;
  readonly broken: number;
  readonly figure: string;
}

export interface TortureReport {
  readonly seed: number;
  readonly date: string;
  readonly node: string;
  readonly machine: string;
  readonly promises: readonly Promised[];
  readonly faults: readonly {
    grade: Grade;
    fault: string;
    rounds: number;
    healMedianMs: number;
    healMaxMs: number;
  }[];
  readonly points: readonly {
    grade: Grade;
    reached: number;
    of: number;
    notReached: readonly string[];
    names: readonly string[];
  }[];
  readonly missing: readonly string[];
  readonly figures: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

const RECONCILE_INTERVAL_MS = 2_000;
const WORK_WITHIN_MS = 2_000;

/** One reconcile interval, and two seconds; on a machine that needs longer to start a service, as long as that. */
export function forgottenWithinMs({ figures }: Pick<GradeReport, 'figures'>): number {
  return RECONCILE_INTERVAL_MS + Math.max(WORK_WITHIN_MS, figures['startMedianMs'] ?? 0);
}

const heal = (rounds: readonly Round[]): string => {
  const times = rounds.flatMap(({ healMs }) => (healMs === null ? [] : [healMs]));
  return `back to work after ${quantile(times, 0.5)} ms (median), ${quantile(times, 1)} ms (longest)`;
};

export function promisesOf(report: GradeReport): Promised[] {
  const { grade, rounds, figures } = report;
  const allowedMs = forgottenWithinMs(report);
  const of = (...classes: Round['of'][]) => rounds.filter((round) => classes.includes(round.of));
  const kills = rounds.reduce((sum, round) => sum + round.kills, 0);
  const figure = (name: string) => figures[name] ?? 0;
  const lost = rounds.reduce((sum, { found }) => sum + found.kept.length, 0);
  const halts = rounds.reduce((sum, { found }) => sum + found.halts.length, 0);
  const extra = of('queue').flatMap(({ extraDelayMs }) => (extraDelayMs === null ? [] : [extraDelayMs]));
  const late = extra.filter((ms) => ms > allowedMs).length;
  const brokenIn = (some: readonly Round[]) => some.filter(({ found }) => isBroken(found)).length;
  const table: Promised[] = [
    {
      id: 'A1',
      promise: 'No acknowledged checkpoint, result or sign-off is lost or counted twice',
      grade,
      trials: kills,
      broken: lost,
      figure: `${figure('checkpointsAcknowledged')} checkpoints, ${figure('resultsAcknowledged')} results, ${figure('signOffsAcknowledged')} sign-offs over ${kills} kills; ${heal(of('kill'))}`,
    },
    {
      id: 'A2',
      promise: 'No ordered halt is lost or undone; no permit against one',
      grade,
      trials: kills,
      broken: halts,
      figure: `${figure('haltsOrdered')} halts, ${figure('permits')} permits examined; order to delivery ${figure('orderToDeliveredMedianMs')} ms (median), ${figure('orderToDeliveredMaxMs')} ms (longest)`,
    },
    {
      id: 'A3',
      promise: 'The queue is disposable',
      grade,
      trials: of('queue').length,
      broken: brokenIn(of('queue')) + late,
      figure: `forgotten work begun ${quantile(extra, 0.5)} ms (median), ${quantile(extra, 1)} ms (longest) after it was due, in ${extra.length} wipes; allowed ${allowedMs} ms`,
    },
    {
      id: 'A4',
      promise:
        'Database crash, cut, full or read-only: nothing acknowledged is lost, 503 with Retry-After meanwhile',
      grade,
      trials: of('database').length,
      broken: brokenIn(of('database')),
      figure: `${figure('answered503')} answers 503; ${heal(of('database'))}`,
    },
  ];
  const power = of('power');
  if (power.length > 0) {
    table.push({
      id: 'A5',
      promise: 'Power cut (what was not fsynced is gone): nothing acknowledged is lost',
      grade,
      trials: power.length,
      broken: brokenIn(power),
      figure: heal(power),
    });
  }
  return table;
}

export function faultsOf({ grade, rounds }: GradeReport): TortureReport['faults'] {
  const names = [...new Set(rounds.map(({ name, of }) => (of === 'kill' ? shortened(name) : name)))];
  return names.map((fault) => {
    const mine = rounds.filter(({ name, of }) => (of === 'kill' ? shortened(name) : name) === fault);
    const times = mine.flatMap(({ healMs }) => (healMs === null ? [] : [healMs]));
    return {
      grade,
      fault,
      rounds: mine.length,
      healMedianMs: quantile(times, 0.5),
      healMaxMs: quantile(times, 1),
    };
  });
}

const shortened = (name: string): string =>
  name.includes(', then at ') ? 'kill -9 at random moments and at named points' : name;

export function markdown(report: TortureReport): string {
  const row = (...cells: (string | number)[]) => `| ${cells.join(' | ')} |`;
  return [
    `Seed ${report.seed}, ${report.date}, Node ${report.node}, ${report.machine}.`,
    '',
    row('promise', 'grade', 'trials', 'broken', 'figure'),
    row('---', '---', '---:', '---:', '---'),
    ...report.promises.map(({ id, promise, grade, trials, broken, figure }) =>
      row(`${id} ${promise}`, grade, trials, broken, figure),
    ),
    '',
    row('fault', 'grade', 'rounds', 'back to work: median', 'longest'),
    row('---', '---', '---:', '---:', '---:'),
    ...report.faults.map(({ fault, grade, rounds, healMedianMs, healMaxMs }) =>
      row(fault, grade, rounds, `${healMedianMs} ms`, `${healMaxMs} ms`),
    ),
    '',
    ...report.points.map(
      ({ grade, reached, of, notReached }) =>
        `- ${grade}: killed at ${reached} of ${of} fault points${notReached.length === 0 ? '' : `; armed and not passed: ${notReached.join(', ')}`}`,
    ),
    `- together: ${new Set(report.points.flatMap(({ names }) => names)).size} of ${report.points[0]?.of ?? 0}`,
    ...(report.missing.length === 0 ? [] : ['', 'Not tried:', ...report.missing.map((what) => `- ${what}`)]),
    '',
  ].join('\n');
}
