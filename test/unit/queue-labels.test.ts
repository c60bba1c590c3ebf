/** Labelled work: which queues a worker consumes, and how many of a label run at once. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createLabelSlots, hasLabels, labelledQueueName, labelSets } from '../../src/queue/labels.ts';
import { WORK_KINDS } from '../../src/queue/queues.ts';
import { directly } from '../../src/service/worker.ts';

const label = fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,5}$/);

describe('queues of labels', () => {
  it('are one per set, whatever the order', () => {
    expect(labelledQueueName('q', ['sandbox', 'gpu'])).toBe('q.gpu.sandbox');
    expect(labelledQueueName('q', [])).toBe('q');
    fc.assert(
      fc.property(
        fc.uniqueArray(label, { maxLength: 3 }),
        fc.uniqueArray(label, { maxLength: 3 }),
        (a, b) => {
          const same = [...a].sort().join() === [...b].sort().join();
          expect(labelledQueueName('q', a) === labelledQueueName('q', b)).toBe(same);
        },
      ),
    );
  });

  it('are consumed by whoever has all of their labels', () => {
    expect(labelSets(['gpu', 'sandbox'])).toEqual([['gpu'], ['sandbox'], ['gpu', 'sandbox']]);
    expect(labelSets([])).toEqual([]);
    fc.assert(
      fc.property(fc.uniqueArray(label, { maxLength: 4 }), (own) => {
        const capacity = Object.fromEntries(own.map((each) => [each, 1]));
        for (const set of labelSets(own)) expect(hasLabels(capacity, set)).toBe(true);
        expect(new Set(labelSets(own).map((set) => set.join('.'))).size).toBe(labelSets(own).length);
      }),
    );
  });
});

describe('slots of labels', () => {
  it('are never more than there are, however they are taken and given back', () => {
    const needs = fc.subarray(['gpu', 'sandbox'], { minLength: 1 });
    fc.assert(
      fc.property(fc.array(fc.tuple(needs, fc.boolean()), { maxLength: 30 }), (steps) => {
        const capacity = { gpu: 2, sandbox: 3 };
        const slots = createLabelSlots(capacity);
        const held: { needed: string[]; release: () => void }[] = [];
        for (const [needed, gives] of steps) {
          const last = gives ? held.shift() : undefined;
          last?.release();
          last?.release();
          const release = slots.tryTake(needed);
          if (release !== null) held.push({ needed, release });
          const gpus = held.filter((each) => each.needed.includes('gpu')).length;
          const sandboxes = held.filter((each) => each.needed.includes('sandbox')).length;
          expect(gpus).toBeLessThanOrEqual(2);
          expect(sandboxes).toBeLessThanOrEqual(3);
          // Refused only where one of them is used up.
          if (release === null) expect(gpus === 2 || sandboxes === 3).toBe(true);
        }
      }),
    );
  });

  it('that are all taken are refused after a moment', async () => {
    const slots = createLabelSlots({ gpu: 1 }, 0);
    expect(await slots.take(['gpu'])).not.toBeNull();
    expect(await slots.take(['gpu'])).toBeNull();
    expect(await slots.take(['sandbox'])).toBeNull();
  });
});

describe('what the queue does not take', () => {
  const worker = (only: boolean) => ({ slots: createLabelSlots({ gpu: 1 }, 0), capacity: { gpu: 1 }, only });
  const taken = (only: boolean) => WORK_KINDS.filter((kind) => directly({ kind }, worker(only)) !== null);

  it('a remote worker does only where it names its labels: no alerts, no ticks, no steps of a halt', () => {
    expect(taken(true)).toEqual([]);
    const own = worker(true);
    expect(directly({ kind: 'evaluate', labels: ['gpu'] }, own)).not.toBeNull();
    expect(directly({ kind: 'evaluate', labels: ['gpu'] }, own)).toBeNull();
    expect(taken(false)).toEqual([...WORK_KINDS]);
  });
});
