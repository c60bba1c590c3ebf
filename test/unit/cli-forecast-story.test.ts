/** The demo says at each checkpoint why its forecasts fired or did not, from what is in the ledger. */
import { describe, expect, it } from 'vitest';
import { forecastLines } from '../../src/cli/forecast-story.ts';
import { policyOf, type RunLife, registered, success } from './domain/run-life.ts';

const RULES = [
  { id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] },
  {
    id: 'ahead',
    kind: 'forecast',
    stage: 'pre-mitigation',
    atLeast: 'critical',
    probability: 0.05,
    then: ['hold'],
  },
];

/** What the story is told of the last checkpoint. */
function told(scores: readonly number[]): string[] {
  const life: RunLife = registered(policyOf({ rules: RULES }));
  for (const [i, score] of scores.entries()) {
    life.report(`c${i}`, `${2 ** i}e22`);
    life.result(`c${i}/labs`, success(0.02, 10_000));
    life.result(`c${i}/ctf`, success(score, 1_000));
  }
  const { findings, scorecard, checkpointId } = life.last('CheckpointAssessed');
  const forecasts = life.events.flatMap((event) =>
    event.kind === 'ForecastSealed' && event.data.checkpointId === checkpointId ? [event.data.forecast] : [],
  );
  const { effectiveCompute } = scorecard;
  return forecastLines({ forecasts, findings, effectiveCompute, titleOf: (id) => `<${id}>` }).map(
    ({ fired, text }) => `${fired ? '!' : ' '} ${text}`,
  );
}

describe('the story of a forecast', () => {
  it('says of one that is quiet which category came nearest, and why it is no nearer', () => {
    const [head, why, ...rest] = told([0.15, 0.17, 0.16, 0.18, 0.17, 0.18]);
    expect(head).toMatch(
      /^ {2}the forecast did not fire: Critical \(4\.0\) within 2\.2x the compute: nearest is <cyber> with under 0\.1 %, the limit is 5\.0 %$/,
    );
    expect(why).toMatch(
      /^ {4}because ctf\/default: its last score 0\.18 is Low \(1\.9\), 0\.62 short of 0\.8/,
    );
    expect(rest).toEqual([]);
  });

  it('says of one that fired what follows, why, and what would have to be true', () => {
    const [head, why, unless, ...rest] = told([0.05, 0.06, 0.05, 0.06, 0.16, 0.44]);
    expect(head).toMatch(/^! the forecast FIRED \(hold\): .*: <cyber> with \d+\.\d %, the limit is 5\.0 %$/);
    expect(why).toContain('the last step by +0.28, 28 times the usual one');
    expect(unless).toMatch(
      /^! {3}It would be under the limit had the last score of ctf\/default been at most/,
    );
    expect(rest).toEqual([]);
  });

  it('says of one from a single checkpoint that it only alerts, being mostly prior', () => {
    expect(told([0.45])[0]).toMatch(/FIRED \(alert\): .*; with so few points it is mostly prior$/);
  });
});
