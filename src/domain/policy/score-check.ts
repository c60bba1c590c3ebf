/**
 * What of a score's members must agree with each other, for `policy check`: a choice that no result could satisfy, or that would
 * leave nothing found without an upper limit, is refused before a checkpoint waits for it.
 */
import type { Evaluation } from './schema.ts';
import type { Score } from './score-schema.ts';

interface Problem {
  readonly path: string;
  readonly message: string;
}

type Names = Pick<Score, 'metric' | 'scorer' | 'task' | 'reducer' | 'prompt'>;
const NAMES = ['metric', 'scorer', 'task', 'reducer', 'prompt'] as const;

export const namesTheSame = (a: Names, b: Names): boolean => NAMES.every((name) => a[name] === b[name]);

export function scoreProblems({ score, leads }: Evaluation, path: string): Problem[] {
  return [
    ...intervalProblems(score, path),
    ...passProblems(score, path),
    ...controlProblems(score, path),
    ...sizeProblems(score, path),
  ].concat(
    score.control !== undefined && leads !== undefined
      ? [{ path: `${path}.leads`, message: 'cannot lead a difference of two arms' }]
      : [],
  );
}

function intervalProblems({ interval, kind, control }: Score, path: string): Problem[] {
  const at = `${path}.score.interval`;
  if (kind === 'proportion' && (interval === 'normal' || interval === 'bootstrap')) {
    return [
      {
        path: at,
        message: `${interval} would leave nothing found in n samples without an upper limit; a proportion takes wilson or clopper-pearson`,
      },
    ];
  }
  if (kind === 'mean' && (interval === 'wilson' || interval === 'clopper-pearson')) {
    return [{ path: at, message: `${interval} is of proportions; a mean takes normal or bootstrap` }];
  }
  if (control !== undefined && interval === 'bootstrap') {
    return [{ path: at, message: 'bootstrap is of one mean; a difference takes normal (Welch)' }];
  }
  return [];
}

function passProblems({ pass, kind, reducer, control }: Score, path: string): Problem[] {
  if (pass === undefined) return [];
  const at = `${path}.score.pass`;
  const problems: Problem[] = [];
  if (kind !== 'proportion')
    problems.push({ path: at, message: 'counts successes: kind must be proportion' });
  if (reducer !== undefined) {
    problems.push({
      path: `${path}.score.reducer`,
      message: "must be left out with pass, which reduces the samples' scores itself",
    });
  }
  if (control !== undefined) problems.push({ path: at, message: 'cannot be combined with control' });
  return problems;
}

function controlProblems(score: Score, path: string): Problem[] {
  const { control, kind, range } = score;
  if (control === undefined) return [];
  const at = `${path}.score.control`;
  const problems: Problem[] = [];
  if (NAMES.every((name) => control[name] === undefined || control[name] === score[name])) {
    problems.push({
      path: at,
      message: 'must differ from the score in metric, scorer, task, reducer or prompt',
    });
  }
  if (kind === 'mean' && range === undefined) {
    problems.push({
      path: `${path}.score.range`,
      message: 'is required with control: [least, greatest] value of either arm of a mean',
    });
  }
  return problems;
}

function sizeProblems({ totalSamples, minSamples, control }: Score, path: string): Problem[] {
  if (totalSamples === undefined) return [];
  const at = `${path}.score.totalSamples`;
  if (control !== undefined)
    return [{ path: at, message: 'cannot be combined with control, whose arms differ in size' }];
  if (totalSamples >= minSamples) return [];
  return [{ path: at, message: `must be at least minSamples, ${minSamples}: no result could have as many` }];
}

/** So much may be lost before levels are mostly what is assumed of it. A judgement. */
const LOST_MUCH = 0.1;

export function scoreWarnings({ score }: Evaluation, path: string): Problem[] {
  const { maxErrored = 0 } = score;
  if (maxErrored <= LOST_MUCH) return [];
  return [
    {
      path: `${path}.score.maxErrored`,
      message: `lets ${(100 * maxErrored).toFixed(0)} % of the samples end without a score; each counts as a success in upper`,
    },
  ];
}
