/** Sealed forecasts in the life of a run: what is scored by which checkpoint, when, and what does not count. */
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { scoreLevel } from '../../../src/domain/forecast/record.ts';
import { parseRunEvent, type RunEventData } from '../../../src/domain/run/events.ts';
import { evolve } from '../../../src/domain/run/evolve.ts';
import { recheck } from '../../../src/domain/run/recheck.ts';
import {
  CLOSED_CHECKPOINTS_KEPT,
  type RunState,
  TRACKED_CHECKPOINTS_MAX,
} from '../../../src/domain/run/state.ts';
import { asJson, digest, evaluation, policyOf, type RunLife, registered } from './run-life.ts';

type Score = RunEventData<'ForecastScored'>;

const scores = ({ events }: RunLife): Score[] =>
  events.flatMap(({ kind, data }) => (kind === 'ForecastScored' ? [data] : []));
const scoresOf = (life: RunLife, checkpointId: string): Score[] =>
  scores(life).filter((each) => each.checkpointId === checkpointId);
const told = ({ checkpointId, scoredBy, category, excluded }: Score): string =>
  `${checkpointId} by ${scoredBy} ${category}${excluded === null ? '' : ` (${excluded})`}`;

/** One category, so that there is one forecast a checkpoint. */
const one = (more: JsonObject = {}): RunLife =>
  registered(
    policyOf({
      categories: [{ id: 'cyber', title: 'Cybersecurity' }],
      evaluations: [evaluation('ctf', 'cyber')],
      ...more,
    }),
  );
const HALTING = { id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] };
const HOLDING = { id: 'hold', kind: 'level', stage: 'pre-mitigation', atLeast: 2, then: ['hold'] };
const AHEAD = (checkpoints: number): JsonObject => ({
  id: `ahead-${checkpoints}`,
  kind: 'forecast',
  stage: 'pre-mitigation',
  atLeast: 'critical',
  probability: 0.999,
  checkpoints,
  then: ['alert'],
});

describe('a forecast', () => {
  it('is scored by the next due checkpoint, with the sealed figures, each category as soon as it is in', () => {
    const life = registered();
    life.pass('c1', '1e22');
    expect(scores(life)).toEqual([]);
    life.report('c2', '2e22');
    expect(life.result('c2/ctf', 0.15)).toContain('ForecastScored');
    expect(scores(life).map(told)).toEqual(['c1 by c2 cyber']);
    life.result('c2/labs', 0.1);
    expect(scores(life).map(told)).toEqual(['c1 by c2 cyber', 'c1 by c2 bio']);
    const sealed = life.state.checkpoints[0]?.forecasts.find(({ category }) => category === 'cyber');
    const { observed, ...score } = scoresOf(life, 'c1')[0] ?? life.last('ForecastScored');
    expect(observed).toBe(1.75);
    expect(score).toMatchObject(scoreLevel(sealed ?? { quantiles: [], exceedance: [] }, 1.75));
    expect(score).toMatchObject({
      revision: 1,
      stage: 'pre-mitigation',
      method: sealed?.method,
      basis: sealed?.basis,
      fromCompute: '1e22',
      horizonCompute: '2.2e22',
      actualCompute: '2e22',
      complete: true,
      excluded: null,
    });
  });

  it('of several checkpoints ahead is about so many due ones, and scored by the last of them', () => {
    const life = one({ rules: [HALTING, AHEAD(2), AHEAD(3)] });
    for (const [id, at] of [
      ['c1', '1e22'],
      ['c2', '2e22'],
      ['c3', '4e22'],
      ['c4', '8e22'],
    ] as const)
      life.pass(id, at);
    expect(scoresOf(life, 'c1').map(({ checkpoints, scoredBy }) => `${checkpoints} by ${scoredBy}`)).toEqual([
      '1 by c2',
      '2 by c3',
      '3 by c4',
    ]);
    expect(scores(life).every(({ excluded }) => excluded === null)).toBe(true);
  });

  it('is not scored by a checkpoint that somebody wished to have evaluated before it was due', () => {
    const life = one();
    life.pass('c1', '1e22');
    life.report('wish', '1.1e22', { evaluate: true });
    life.result('wish/ctf', 0.1);
    expect(scores(life)).toEqual([]);
    life.pass('c2', '2.2e22');
    expect(scores(life).map(told)).toEqual(['c1 by c2 cyber', 'wish by c2 cyber']);
  });

  it('whose checkpoint came beyond its horizon does not count', () => {
    const life = one();
    life.pass('c1', '1e22');
    life.report('wish', '1.5e22', { evaluate: true });
    life.result('wish/ctf', 0.1);
    life.pass('c2', '3e22');
    expect(scores(life).map(told)).toEqual(['c1 by c2 cyber (beyond-horizon)', 'wish by c2 cyber']);
  });

  it('comes after the halts of the same decision', () => {
    const life = one();
    life.pass('c1', '1e22');
    life.report('c2', '2e22');
    const kinds = life.result('c2/ctf', 0.6);
    expect(kinds).toContain('HaltOrdered');
    expect(kinds.indexOf('ForecastScored')).toBeGreaterThan(kinds.lastIndexOf('HaltOrdered'));
  });
});

describe('a forecast in time', () => {
  it('is sealed before the evaluations of the checkpoint that it is about are queued', () => {
    const life = one({ rules: [HALTING, AHEAD(2)] });
    for (const [id, at] of [
      ['c1', '1e22'],
      ['c2', '2e22'],
      ['c3', '4e22'],
    ] as const)
      life.pass(id, at);
    const at = (is: (event: RunLife['events'][number]) => boolean): number => life.events.findIndex(is);
    for (const { checkpointId, checkpoints, scoredBy } of scores(life)) {
      const sealedAt = at(
        ({ kind, data }) =>
          kind === 'ForecastSealed' &&
          data.checkpointId === checkpointId &&
          data.forecast.checkpoints === checkpoints,
      );
      const queuedAt = at(
        ({ kind, data }) => kind === 'CheckpointReported' && data.checkpointId === scoredBy,
      );
      expect(sealedAt).toBeGreaterThanOrEqual(0);
      expect(sealedAt).toBeLessThan(queuedAt);
    }
    expect(scores(life)).toHaveLength(3);
  });

  it('or else says that it is late, names what had been reported, and does not count', () => {
    const life = one();
    life.report('c1', '1e22');
    life.report('c2', '2e22');
    life.result('c2/ctf', 0.1);
    life.result('c1/ctf', 0.1);
    expect(life.last('ForecastSealed')).toMatchObject({ checkpointId: 'c1', dueBeyond: ['c2'] });
    expect(scores(life).map(told)).toEqual(['c1 by c2 cyber (sealed-late)']);
  });

  it('of two ahead is in time with one of them reported', () => {
    const life = one({ rules: [HALTING, AHEAD(2)] });
    life.report('c1', '1e22');
    life.report('c2', '2e22');
    life.result('c1/ctf', 0.1);
    life.result('c2/ctf', 0.1);
    life.pass('c3', '4e22');
    expect(scoresOf(life, 'c1').map((each) => `${each.checkpoints} ${told(each)}`)).toEqual([
      '1 c1 by c2 cyber (sealed-late)',
      '2 c1 by c3 cyber',
    ]);
  });

  it('is the last one that was sealed in time: anew on other evidence counts, and later ones do not', () => {
    const life = one({ rules: [HALTING, HOLDING] });
    life.pass('c1', '1e22', 0.3);
    life.does({ type: 'RetryEvaluation', evaluationId: life.idOf('c1', 'ctf'), by: 'operator' });
    life.result('c1/ctf', 0.4);
    expect(life.count('ForecastSealed')).toBe(2);
    const { forecast } = life.last('ForecastSealed');
    life.report('c2', '2e22');
    const [tracked] = life.state.tracked ?? [];
    expect(tracked).toMatchObject({ quantiles: forecast.quantiles, dueBeyond: ['c2'], late: false });
    const knowing = { ...forecast, quantiles: [{ p: 0.99, level: 1.75 }] };
    const data = { checkpointId: 'c1', forecast: knowing, dueBeyond: ['c2'], at: life.now.toISOString() };
    expect(evolve(life.state, { kind: 'ForecastSealed', data }).tracked).toEqual([tracked]);
    life.result('c2/ctf', 0.15);
    expect(life.last('ForecastScored')).toMatchObject(scoreLevel(forecast, 1.75));
  });
});

describe('what came', () => {
  it('scores again when its evidence is revised, and the latest revision stands in the state', () => {
    const life = one();
    life.pass('c1', '1e22');
    life.pass('c2', '2e22', 0.1);
    life.does({ type: 'RetryEvaluation', evaluationId: life.idOf('c2', 'ctf'), by: 'operator' });
    expect(life.result('c2/ctf', 0.3)).toContain('ForecastScored');
    expect(scoresOf(life, 'c1').map(({ revision, observed }) => [revision, observed.toFixed(3)])).toEqual([
      [1, '1.500'],
      [2, '2.333'],
    ]);
  });

  it('is not scored twice for the same evidence', () => {
    const life = one();
    life.pass('c1', '1e22');
    life.pass('c2', '2e22', 0.1);
    life.does({ type: 'RetryEvaluation', evaluationId: life.idOf('c2', 'ctf'), by: 'operator' });
    life.result('c2/ctf', 0.05);
    life.tick();
    life.tick();
    expect(scores(life)).toHaveLength(1);
  });

  const two = { evaluations: [evaluation('ctf', 'cyber'), evaluation('exploits', 'cyber')] };

  it('waits for every required evaluation of its category', () => {
    const life = one(two);
    life.pass('c1', '1e22');
    life.report('c2', '2e22');
    expect(life.result('c2/ctf', 0.1)).not.toContain('ForecastScored');
    expect(life.result('c2/exploits', 0.1)).toContain('ForecastScored');
  });

  it('from part of the evidence is a lower bound and does not count', () => {
    const life = one(two);
    life.pass('c1', '1e22');
    life.report('c2', '2e22');
    life.result('c2/ctf', 0.1);
    for (const attempt of [1, 2]) life.result('c2/exploits', { status: 'error', error: 'lost' }, attempt);
    expect(life.last('ForecastScored')).toMatchObject({ complete: false, excluded: 'partial' });
    life.does({ type: 'RetryEvaluation', evaluationId: life.idOf('c2', 'exploits'), by: 'operator' });
    life.result('c2/exploits', 0.1);
    expect(life.last('ForecastScored')).toMatchObject({ revision: 2, complete: true, excluded: null });
  });

  it('from part of the evidence counts where it is above the 95 % bound already: a halt hides no miss', () => {
    const life = one(two);
    for (const [id, at] of [
      ['c1', '1e22'],
      ['c2', '2e22'],
      ['c3', '4e22'],
      ['c4', '8e22'],
      ['c5', '1.6e23'],
    ] as const) {
      life.pass(id, at, 0.02);
    }
    life.report('c6', '3.2e23');
    // At High: a quarantine would call the other evaluations off by itself.
    expect(life.result('c6/ctf', 0.7)).toContain('HaltOrdered');
    expect(scoresOf(life, 'c5')).toEqual([]);
    expect(life.press()).toContain('EvaluationsCancelled');
    expect(life.last('ForecastScored')).toMatchObject({
      scoredBy: 'c6',
      complete: false,
      excluded: null,
      covered95: false,
    });
  });

  it('with no level at all is no score', () => {
    const life = one();
    life.pass('c1', '1e22');
    life.report('c2', '2e22');
    for (const attempt of [1, 2]) life.result('c2/ctf', { status: 'error', error: 'lost' }, attempt);
    expect(scores(life)).toEqual([]);
  });
});

describe('the state', () => {
  const doubling = (n: number): string => String(10n ** 22n * 2n ** BigInt(n));

  it('forgets a forecast with the checkpoint that scored it', () => {
    const life = one();
    for (let n = 0; n < TRACKED_CHECKPOINTS_MAX + 4; n += 1) life.pass(`c${n}`, doubling(n), 0.05);
    expect(scores(life)).toHaveLength(TRACKED_CHECKPOINTS_MAX + 3);
    expect(life.state.tracked?.length).toBeLessThanOrEqual(CLOSED_CHECKPOINTS_KEPT + 1);
  });

  it('is not swollen by wishes, and these push out nothing that is due', () => {
    const life = one();
    life.pass('c1', '1e22');
    for (let n = 1; n <= TRACKED_CHECKPOINTS_MAX + 4; n += 1) {
      life.report(`wish${n}`, String(10n ** 22n + BigInt(n) * 10n ** 20n), { evaluate: true });
      life.result(`wish${n}/ctf`, 0.1);
    }
    const tracked = new Set(life.state.tracked?.map(({ checkpointId }) => checkpointId));
    expect(tracked.size).toBe(TRACKED_CHECKPOINTS_MAX);
    for (const kept of ['c1', 'wish1']) expect(tracked).toContain(kept);
  });

  it('keeps the checkpoint that came until it has scored, however many others must stay', () => {
    const life = one({ rules: [HALTING, HOLDING] });
    for (let n = 0; n < CLOSED_CHECKPOINTS_KEPT + 3; n += 1) life.pass(`held${n}`, doubling(n), 0.3);
    const at = CLOSED_CHECKPOINTS_KEPT + 3;
    life.pass('c', doubling(at), 0.1);
    expect(scoresOf(life, `held${at - 1}`).map(told)).toEqual([`held${at - 1} by c cyber`]);
  });

  it('of a ledger from before there was a record is folded as it was', () => {
    const life = one();
    life.pass('c1', '1e22');
    life.pass('c2', '2e22');
    const old = life.events.flatMap((event) => {
      if (event.kind === 'ForecastScored') return [];
      if (event.kind !== 'ForecastSealed') return [event];
      const { dueBeyond: _none, ...data } = event.data;
      return [parseRunEvent('ForecastSealed', asJson(data))];
    });
    const state = old.reduce<RunState | null>(evolve, null);
    expect(state?.tracked).toBeUndefined();
  });
});

describe('replay', () => {
  const life = one();
  life.pass('c1', '1e22');
  life.pass('c2', '2e22');
  const stateBefore = (kind: 'ForecastScored' | 'ForecastSealed'): RunState | null =>
    life.events
      .slice(
        0,
        life.events.findIndex((event) => event.kind === kind),
      )
      .reduce<RunState | null>(evolve, null);
  const first = <K extends 'ForecastScored' | 'ForecastSealed'>(kind: K): JsonObject =>
    asJson(life.events.find((event) => event.kind === kind)?.data ?? {});

  it.each([
    ['another level', { observed: 1.2 }],
    ['a kinder loss', { pinball95: 0 }],
    ['a coverage that was not', { covered95: false }],
    ['a PIT that was not', { pit: 0.5000001 }],
    ['a reason that is none', { excluded: 'sealed-late' }],
    ['a forecast that nobody sealed', { checkpointId: 'c0' }],
  ])('finds a score with %s', (_what, change) => {
    const event = parseRunEvent('ForecastScored', { ...first('ForecastScored'), ...change });
    expect(recheck(stateBefore('ForecastScored'), event, life.policy, digest)).toContain(
      'the score of the forecast',
    );
  });

  it('finds a seal that hides what had been reported before it', () => {
    const late = one();
    late.report('c1', '1e22');
    late.report('c2', '2e22');
    late.result('c1/ctf', 0.1);
    const i = late.events.findIndex(({ kind }) => kind === 'ForecastSealed');
    const state = late.events.slice(0, i).reduce<RunState | null>(evolve, null);
    const event = parseRunEvent('ForecastSealed', { ...asJson(late.events[i]?.data ?? {}), dueBeyond: [] });
    expect(recheck(state, event, late.policy, digest)).toContain('reported before it was sealed');
  });

  it('agrees with what was recorded', () => {
    const event = parseRunEvent('ForecastScored', first('ForecastScored'));
    expect(recheck(stateBefore('ForecastScored'), event, life.policy, digest)).toBeNull();
  });
});
