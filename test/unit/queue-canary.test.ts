import { describe, expect, it } from 'vitest';
import type { QueuePort } from '../../src/queue/broker.ts';
import { createCanary } from '../../src/queue/canary.ts';

/** A queue by hand: what is in it, and whether it answers. */
function bench(options: { busy?: () => boolean } = {}) {
  const jobs = new Map<string, object>();
  let nowMs = 0;
  let reachable = true;
  let recreated = 0;
  const answer = async <T>(value: () => T): Promise<T> => {
    if (!reachable) throw new Error('away');
    return value();
  };
  const port: QueuePort = {
    ready: () => answer(() => undefined),
    add: (_name, data, { jobId }) => answer(() => void jobs.set(jobId, data)),
    addAll: (added) =>
      answer(() => {
        for (const { data, opts } of added) jobs.set(opts.jobId, data);
      }),
    has: (jobId) => answer(() => jobs.has(jobId)),
    freeStranded: () => answer(() => 0),
    counts: () => answer(() => ({ waiting: jobs.size, active: 0, delayed: 0 })),
    close: async () => {},
  };
  const canary = createCanary({
    queueName: 'q',
    queue: async () => port,
    limitMs: 30_000,
    now: () => nowMs,
    busy: options.busy ?? (() => false),
    recreate: async () => {
      recreated += 1;
    },
  });
  return {
    canary,
    jobs,
    recreated: () => recreated,
    ok: () => canary.status().ok,
    setReachable: (value: boolean) => {
      reachable = value;
    },
    /** The worker takes everything. */
    consume() {
      for (const [id, data] of jobs) {
        jobs.delete(id);
        canary.seen(data);
      }
    },
    /** Somebody else's worker takes everything. */
    consumeElsewhere: () => jobs.clear(),
    async beatAfter(ms: number) {
      nowMs += ms;
      await canary.beat();
    },
  };
}

describe('the canary', () => {
  it('stays well while its jobs are consumed, one at a time', async () => {
    const b = bench();
    for (let beat = 0; beat < 20; beat += 1) {
      await b.beatAfter(10_000);
      expect(b.jobs.size).toBe(1);
      b.consume();
    }
    expect(b.ok()).toBe(true);
    expect(b.recreated()).toBe(0);
  });

  it('replaces a worker that leaves its job lying for the limit, and says so', async () => {
    const b = bench();
    await b.beatAfter(0);
    await b.beatAfter(29_999);
    expect(b.recreated()).toBe(0);
    await b.beatAfter(1);
    expect(b.recreated()).toBe(1);
    expect(b.canary.status()).toEqual({
      name: 'canary q',
      ok: false,
      detail: 'no job was consumed for 30 s',
    });
  });

  it('gives the new worker as long as the old one had, and is well again once it consumes', async () => {
    const b = bench();
    await b.beatAfter(0);
    await b.beatAfter(30_000);
    await b.beatAfter(29_999);
    expect(b.recreated()).toBe(1);
    expect(b.ok()).toBe(false);
    b.consume();
    expect(b.ok()).toBe(true);
    await b.beatAfter(1);
    expect(b.recreated()).toBe(1);
  });

  it('does not blame a worker whose slots are all taken', async () => {
    const b = bench({ busy: () => true });
    await b.beatAfter(0);
    for (let beat = 0; beat < 10; beat += 1) await b.beatAfter(30_000);
    expect(b.recreated()).toBe(0);
    expect(b.ok()).toBe(true);
  });

  it('accepts that another process took its job', async () => {
    const b = bench();
    for (let beat = 0; beat < 10; beat += 1) {
      await b.beatAfter(30_000);
      b.consumeElsewhere();
    }
    expect(b.recreated()).toBe(0);
    await b.beatAfter(1);
    expect(b.ok()).toBe(true);
  });

  it('is unwell when the queue does not answer, without blaming the worker', async () => {
    const b = bench();
    b.setReachable(false);
    await b.beatAfter(0);
    await b.beatAfter(30_000);
    expect(b.canary.status()).toEqual({
      name: 'canary q',
      ok: false,
      detail: 'the queue has not answered for 30 s',
    });
    expect(b.recreated()).toBe(0);
    b.setReachable(true);
    await b.beatAfter(1);
    b.consume();
    await b.beatAfter(1);
    expect(b.ok()).toBe(true);
  });

  it('ignores canaries of others and data that is no canary', async () => {
    const b = bench();
    await b.beatAfter(0);
    b.canary.seen({ canary: 'canary/other' });
    b.canary.seen(null);
    await b.beatAfter(30_000);
    expect(b.ok()).toBe(false);
  });
});
