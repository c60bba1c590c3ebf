/**
 * What is remembered of a checkpoint that did not change (its assessment, its forecasts) must not outlive what it was
 * worked out from: time, and the checkpoints before it. RunLife decides everything a second time with no memory.
 */
import { describe, expect, it } from 'vitest';
import { evaluation, policyOf, registered, success } from './run-life.ts';

const high = { id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] };
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
