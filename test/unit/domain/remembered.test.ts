/**
 * What is remembered of a checkpoint that did not change (its assessment, its forecasts) must not outlive what it was
 * worked out from: time, and the checkpoints before it. RunLife decides everything a second time with no memory.
 */
import { describe, expect, it } from 'vitest';
import { evaluation, policyOf, type RunLife, registered, success } from './run-life.ts';

const high = { id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] };
const medium = { id: 'medium', kind: 'level', stage: 'pre-mitigation', atLeast: 'medium', then: ['hold'] };
const leap = { id: 'leap', kind: 'jump', stage: 'pre-mitigation', above: 0.6, then: ['hold'] };

describe('a checkpoint that did not change is judged again', () => {
  it('when its deadline has passed', () => {
    const life = registered(
      policyOf({
        evaluations: [
          evaluation('ctf', 'cyber'),
          evaluation('labs', 'bio'),
          evaluation('more', 'bio', { required: false }),
        ],
      }),
    );
    life.report('c1', '1e22');
    life.result('c1/ctf', 0.1);
    life.result('c1/labs', 0.1);
    expect(life.last('CheckpointAssessed').verdict).toBe('proceed');
    expect(life.wait('1h').tick()).toEqual([]);
    expect(life.wait('9h').tick()).toContain('CheckpointAssessed');
    expect(life.last('CheckpointAssessed').findings).toMatchObject([{ kind: 'inconclusive' }]);
  });

  it('when the one before it gets other levels', () => {
    const life = registered(policyOf({ rules: [high, leap] }));
    life.pass('c1', '1e22', 0.1);
    life.pass('c2', '2e22', 0.45);
    expect(life.last('CheckpointAssessed')).toMatchObject({ checkpointId: 'c2', verdict: 'hold' });
    expect(life.tick()).toEqual([]);
    for (const name of ['ctf', 'labs']) {
      life.does({ type: 'RetryEvaluation', evaluationId: life.idOf('c1', name), by: 'operator' });
      life.result(`c1/${name}`, success(0.44, 500));
    }
    expect(life.last('CheckpointAssessed')).toMatchObject({ checkpointId: 'c2', verdict: 'proceed' });
  });
});

describe('a checkpoint that did not change is forecast again', () => {
  /** What was sealed for the checkpoint, in the order in which it was. */
  const sealed = ({ events }: RunLife, checkpointId: string, category: string) =>
    events.flatMap((event) =>
      event.kind === 'ForecastSealed' &&
      event.data.checkpointId === checkpointId &&
      event.data.forecast.category === category
        ? [event.data.forecast]
        : [],
    );

  /**
   * c4 is held for its own level: its forecasts go on being asked for in every decision, while nothing that is found
   * before it changes a finding of its own, which would make another checkpoint of it and hide what is remembered.
   */
  function heldAtTheFourth(): RunLife {
    const life = registered(policyOf({ rules: [high, medium] }));
    // Under four points at different compute only the last one counts, and nothing before it would show.
    life.pass('c1', '1e22', 0.1);
    life.pass('c2', '2e22', 0.12);
    life.pass('c3', '4e22', 0.14);
    life.pass('c4', '8e22', 0.45);
    expect(life.last('CheckpointAssessed')).toMatchObject({ checkpointId: 'c4', verdict: 'hold' });
    return life;
  }

  it('when its series changes below it, and not when only time passes', () => {
    const life = heldAtTheFourth();
    const before = sealed(life, 'c4', 'cyber');
    expect(before).toHaveLength(1);
    expect(life.wait('1h').tick()).not.toContain('ForecastSealed');

    const held = life.state.checkpoints.find(({ checkpointId }) => checkpointId === 'c4');
    life.does({ type: 'RetryEvaluation', evaluationId: life.idOf('c3', 'ctf'), by: 'operator' });
    expect(life.result('c3/ctf', success(0.18, 500))).toContain('ForecastSealed');
    const [first, second, ...more] = sealed(life, 'c4', 'cyber');
    expect(more).toEqual([]);
    expect(second).toMatchObject({ basis: first?.basis, horizonCompute: first?.horizonCompute });
    expect(second?.quantiles).not.toEqual(first?.quantiles);
    // The other category's series is as it was, and so is what was sealed of it.
    expect(sealed(life, 'c4', 'bio')).toHaveLength(1);
    // c4 itself is what it was, but for the forecast: only the memory of it could have gone wrong.
    const now = life.state.checkpoints.find(({ checkpointId }) => checkpointId === 'c4');
    expect({ ...now, forecasts: [] }).toEqual({ ...held, forecasts: [] });
  });
});
