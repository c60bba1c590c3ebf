import { describe, expect, it } from 'vitest';
import { InterlockError } from '../../../src/errors.ts';
import type { WorkHandlers } from '../../../src/queue/work-queue.ts';
import { startConsuming } from '../../../src/service/queue-start.ts';
import { realTimers } from '../../../src/timers.ts';

const away = new InterlockError('the queue refuses to start: redis-reachable', {
  code: 'queue.refused',
  retryable: true,
});
const wrong = new InterlockError('the queue refuses to start: redis-eviction', { code: 'queue.refused' });
const handle = async () => {};
const handlers: WorkHandlers = {
  evaluate: handle,
  dispatch: handle,
  'halt-step': handle,
  observe: handle,
  isolate: handle,
  alert: handle,
  tick: handle,
};

/** A queue whose starts end as listed, the last one again and again. */
function start(outcomes: readonly ('never' | 'started' | InterlockError)[]) {
  const said: string[] = [];
  const stopping = new AbortController();
  let starts = 0;
  let resolve: () => void = () => {};
  const consumed = new Promise<void>((done) => {
    resolve = done;
  });
  const say = (_fields: object, message: string) => void said.push(message);
  const done = startConsuming({
    queue: {
      async start() {
        const outcome = outcomes[Math.min(starts, outcomes.length - 1)];
        starts += 1;
        if (outcome === 'never') await new Promise(() => {});
        if (outcome instanceof Error) throw outcome;
        resolve();
      },
    },
    handlers,
    logger: { debug: say, info: say, warn: say, error: say },
    timers: realTimers,
    stopping: stopping.signal,
    patienceMs: 20,
    againMs: 5,
  });
  return { done, consumed, said, stopping, starts: () => starts };
}

describe('consuming the queue', () => {
  it('begins with the service', async () => {
    const { done, starts, said } = start(['started']);
    await done;
    expect([starts(), said]).toEqual([1, []]);
  });

  it('begins later where the queue is away at start, and keeps no service waiting for it', async () => {
    const { done, consumed, said } = start([away, away, 'started']);
    await done;
    await consumed;
    expect(said[0]).toMatch(/work runs in this process/);
  });

  it('keeps no service waiting for a queue that does not answer', async () => {
    const { done, said } = start(['never']);
    await done;
    expect(said[0]).toMatch(/work runs in this process/);
  });

  it('ends the start where the queue would lose or hide work', async () => {
    await expect(start([wrong]).done).rejects.toBe(wrong);
  });

  it('goes on trying, and serving, where a queue that comes back would lose work', async () => {
    const { done, consumed, said } = start([away, wrong, 'started']);
    await done;
    await consumed;
    expect(said).toContain('the queue is refused');
  });

  it('is not tried again by a service that stops', async () => {
    const { done, stopping, starts } = start([away]);
    stopping.abort();
    await done;
    expect(starts()).toBe(1);
  });
});
