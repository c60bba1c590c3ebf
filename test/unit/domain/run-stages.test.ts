import { describe, it } from 'vitest';
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
});
