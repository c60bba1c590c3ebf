import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { attempt, withDeadline } from '../../src/queue/deadline.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('withDeadline', () => {
  it('gives the answer that came in time and leaves no timer', async () => {
    await expect(withDeadline('a call', async () => 7)).resolves.toBe(7);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('passes a failure on and leaves no timer', async () => {
    await expect(withDeadline('a call', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(vi.getTimerCount()).toBe(0);
  });

  it('gives up on a call that never settles', async () => {
    const answer = withDeadline('a call', () => new Promise(() => {}), 2_000);
    const caught = expect(answer).rejects.toMatchObject({ code: 'queue.deadline', retryable: true });
    await vi.advanceTimersByTimeAsync(2_000);
    await caught;
  });

  it('swallows the late failure of a call it gave up on', async () => {
    let fail: (error: Error) => void = () => {};
    const unhandled = vi.fn();
    process.on('unhandledRejection', unhandled);
    const answer = attempt('a call', () => new Promise((_resolve, reject) => (fail = reject)), 10);
    await vi.advanceTimersByTimeAsync(10);
    expect(await answer).toMatchObject({ code: 'queue.deadline' });
    fail(new Error('late'));
    await vi.advanceTimersByTimeAsync(0);
    process.off('unhandledRejection', unhandled);
    expect(unhandled).not.toHaveBeenCalled();
  });

  it('turns a throw before the first await into a failure', async () => {
    const failure = await attempt('a call', () => {
      throw new Error('at once');
    });
    expect(failure).toMatchObject({ message: 'at once' });
  });
});
