/** Jobs that run here: what ends them, and that nothing of them is kept once they have ended. */
import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { createRunningEvaluations } from '../../src/service/running-evaluations.ts';

describe('evaluations that run here', () => {
  it('end with the signal that they run under, for its reason', () => {
    const outer = new AbortController();
    const job = createRunningEvaluations().begin('r', 'ev', 1, outer.signal);
    expect(job.signal.aborted).toBe(false);
    outer.abort('closing');
    expect(job.signal.aborted).toBe(true);
    expect(job.signal.reason).toBe('closing');
  });

  it('do not begin under a signal that has ended', () => {
    expect(createRunningEvaluations().begin('r', 'ev', 1, AbortSignal.abort('over')).signal.reason).toBe(
      'over',
    );
  });

  it('end alone where they are cancelled', () => {
    const outer = new AbortController();
    const running = createRunningEvaluations();
    const cancelled = running.begin('r', 'ev-1', 1, outer.signal);
    const other = running.begin('r', 'ev-2', 1, outer.signal);
    running.cancel(['ev-1']);
    expect([cancelled, other].map(({ signal }) => signal.aborted)).toEqual([true, false]);
    expect(outer.signal.aborted).toBe(false);
  });

  it('end attempt by attempt: one that was given up elsewhere takes no other with it', () => {
    const outer = new AbortController();
    const running = createRunningEvaluations();
    const lost = running.begin('r', 'ev', 1, outer.signal);
    const again = running.begin('r', 'ev', 2, outer.signal);
    running.cancelAttempt('ev', 1);
    expect([lost, again].map(({ signal }) => signal.aborted)).toEqual([true, false]);
  });

  it('leave nothing on the signal once they have ended', () => {
    const outer = new AbortController();
    const running = createRunningEvaluations();
    running.begin('r', 'ev', 1, outer.signal).end();
    expect(running.list()).toEqual([]);
    expect(getEventListeners(outer.signal, 'abort')).toEqual([]);
  });
});
