import { describe, expect, it } from 'vitest';
import { evaluation, policyOf, registered } from './run-life.ts';

describe('the state', () => {
  it('is the same folded from the events as decided and as read back from the ledger', () => {
    const life = registered(
      policyOf({
        evaluations: [
          evaluation('ctf', 'cyber'),
          evaluation('ctf-mitigated', 'cyber', { stage: 'post-mitigation', required: false }),
          evaluation('labs', 'bio'),
        ],
      }),
    );
    // RunLife compares the two at every event.
    life.pass('c1', '1e22');
    life.pass('c2', '2e22');
  });

  it('keeps its series in the order of compute, then of ids, however often a checkpoint is assessed', () => {
    const life = registered();
    for (const id of ['c1', 'c2']) life.report(id, '1e22', { evaluate: true });
    for (const name of ['ctf', 'labs']) for (const id of ['c2', 'c1']) life.result(`${id}/${name}`, 0.1);
    life.does({ type: 'RetryEvaluation', evaluationId: life.idOf('c1', 'ctf'), by: 'operator' });
    life.result('c1/ctf', 0.12);
    expect(life.state.series.map(({ points }) => points.map(({ checkpointId }) => checkpointId))).toEqual([
      ['c1', 'c2'],
      ['c1', 'c2'],
    ]);
    expect(life.state.history.map(({ checkpointId }) => checkpointId)).toEqual(['c1', 'c2']);
  });
});
