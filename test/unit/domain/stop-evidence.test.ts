/** Whether a halted run is known to have stopped: every combination of what speaks for it and what against. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { againstText, type StopFacts, weighStop } from '../../../src/domain/run/stop-evidence.ts';
import { rows } from './table.ts';

const ZERO_MS = Date.parse('2026-11-01T00:00:00.000Z');
const INTERVAL_MS = 30_000;
const at = (seconds: number): string => new Date(ZERO_MS + seconds * 1000).toISOString();
const instant = (cell: string | undefined): string | null =>
  cell === undefined || cell === '-' ? null : at(Number(cell));

/** `o10`: seen stopped by its orchestrator at 10 s; `o-`: not seen; `w`: a webhook, which cannot see. */
function targetsOf(cell: string): StopFacts['targets'] {
  return cell.split(' ').map((word, i) => ({
    targetId: `t${i + 1}`,
    confirmation: word.startsWith('o') ? ('observed' as const) : ('acknowledged' as const),
    stoppedAt: word.startsWith('o') ? instant(word.slice(1)) : null,
  }));
}

const weigh = (facts: Partial<StopFacts>, nowS: number) =>
  weighStop(
    {
      targets: [],
      receivedAt: null,
      stoppedAckAt: null,
      progressAt: null,
      heartbeatAt: null,
      doubtedAt: null,
      ...facts,
    },
    INTERVAL_MS,
    new Date(ZERO_MS + nowS * 1000),
  );

describe('a stop', () => {
  it.each(
    rows(`
      targets | trainer said stopped | last progress | doubted | now | stopped, or what is against it
      w       | -                    | -             | -       | 900 | no-word
      w       | 10                   | -             | -       | 39  | unproved
      w       | 10                   | -             | -       | 40  | stopped
      w       | 10                   | 5             | -       | 40  | stopped
      w       | 10                   | 20            | -       | 40  | compute-advanced unproved
      w       | 10                   | 20            | -       | 50  | stopped
      w       | 10                   | 12            | -       | 40  | unproved
      o-      | -                    | -             | -       | 900 | not-seen-stopped
      o-      | 10                   | -             | -       | 900 | not-seen-stopped
      o-      | 10                   | 5             | -       | 900 | not-seen-stopped
      o10     | -                    | -             | -       | 10  | stopped
      o10     | -                    | 10            | -       | 10  | stopped
      o10     | 5                    | 3             | -       | 10  | stopped
      o10     | -                    | 14            | -       | 14  | stopped
      o10     | -                    | 15            | -       | 15  | compute-advanced unproved
      o10     | 12                   | 15            | -       | 44  | compute-advanced unproved
      o10     | -                    | 15            | -       | 45  | stopped
      o10     | -                    | -             | 8       | 39  | unproved
      o10     | -                    | -             | 8       | 40  | stopped
      o10     | 12                   | 9             | 9       | 39  | unproved
      o10     | -                    | 25            | 8       | 54  | compute-advanced unproved
      o10     | -                    | 25            | 8       | 55  | stopped
      o10 o-  | 10                   | -             | -       | 900 | not-seen-stopped
      o- o-   | -                    | -             | -       | 900 | not-seen-stopped not-seen-stopped
      o10 o20 | -                    | 15            | -       | 20  | stopped
      o20 o10 | -                    | 15            | -       | 20  | stopped
      o10 o20 | -                    | 26            | -       | 26  | compute-advanced unproved
      o10 w   | -                    | -             | -       | 10  | stopped
      o- w    | 10                   | -             | -       | 900 | not-seen-stopped
      o10 w   | 12                   | 60            | -       | 60  | compute-advanced unproved
    `).slice(1),
  )('of %s, trainer %s, progress %s, doubted %s, at %s s: %s', (...cells) => {
    const [targets = '', said, progress, doubted, now = '', expected = ''] = cells;
    const weighed = weigh(
      {
        targets: targetsOf(targets),
        stoppedAckAt: instant(said),
        progressAt: instant(progress),
        doubtedAt: instant(doubted),
      },
      Number(now),
    );
    expect(weighed.isStopped).toBe(expected === 'stopped');
    expect(weighed.speaksAgainst.map(({ kind }) => kind)).toEqual(
      expected === 'stopped' ? [] : expected.split(' '),
    );
    expect(new Set(weighed.speaksAgainst.map(againstText)).size).toBe(weighed.speaksAgainst.length);
  });

  it('is told with everything that spoke for it', () => {
    const facts = { targets: targetsOf('o10'), receivedAt: at(2), stoppedAckAt: at(8) };
    expect(weigh({ ...facts, progressAt: at(1), heartbeatAt: at(7) }, 10).speaksFor).toEqual([
      { kind: 'seen-stopped', targetId: 't1', at: at(10) },
      { kind: 'trainer-received', at: at(2) },
      { kind: 'trainer-stopped', at: at(8) },
      { kind: 'heartbeats-ceased', at: at(7) },
    ]);
    // It waits at its halt and is heard all the same.
    expect(weigh({ ...facts, progressAt: at(1), heartbeatAt: at(11) }, 40).speaksFor.at(-1)).toEqual({
      kind: 'compute-frozen',
      at: at(1),
    });
    // Heartbeats that never came have not ceased.
    expect(weigh(facts, 10).speaksFor.map(({ kind }) => kind)).not.toContain('heartbeats-ceased');
  });
});

const second = fc.integer({ min: 0, max: 120 });
const perhaps = fc.option(second.map(at), { nil: null });
const anyTarget = fc.record({
  confirmation: fc.constantFrom('observed' as const, 'acknowledged' as const),
  stoppedAt: perhaps,
});
const anyFacts: fc.Arbitrary<StopFacts> = fc.record({
  targets: fc
    .array(anyTarget, { maxLength: 4 })
    .map((targets) => targets.map((target, i) => ({ ...target, targetId: `t${i + 1}` }))),
  receivedAt: perhaps,
  stoppedAckAt: perhaps,
  progressAt: perhaps,
  heartbeatAt: perhaps,
  doubtedAt: perhaps,
});

const latest = (a: string | null, b: string): string => (a !== null && a > b ? a : b);

const worse: Readonly<Record<string, (facts: StopFacts, when: string) => StopFacts>> = {
  'later progress': (facts, when) => ({ ...facts, progressAt: latest(facts.progressAt, when) }),
  'a later heartbeat': (facts, when) => ({ ...facts, heartbeatAt: latest(facts.heartbeatAt, when) }),
  'doubt of what was said': (facts, when) => ({ ...facts, doubtedAt: when }),
  'one more target that runs': (facts) => ({
    ...facts,
    targets: [...facts.targets, { targetId: 'more', confirmation: 'observed', stoppedAt: null }],
  }),
  'a stop that is withdrawn': (facts) => ({
    ...facts,
    targets: facts.targets.map((target, i) => (i === 0 ? { ...target, stoppedAt: null } : target)),
  }),
  'a word that is withdrawn': (facts) => ({ ...facts, stoppedAckAt: null }),
};

describe('evidence against a stop', () => {
  it.each(Object.keys(worse))('never confirms what was not: %s', (name) => {
    fc.assert(
      fc.property(anyFacts, second, second, (facts, when, now) => {
        const nowAt = new Date(ZERO_MS + now * 1000);
        const before = weighStop(facts, INTERVAL_MS, nowAt).isStopped;
        const after = weighStop(worse[name]?.(facts, at(when)) ?? facts, INTERVAL_MS, nowAt).isStopped;
        expect(before || !after).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  it('leaves nothing confirmed that nobody saw or said', () => {
    fc.assert(
      fc.property(anyFacts, second, (facts, now) => {
        const { isStopped } = weighStop(facts, INTERVAL_MS, new Date(ZERO_MS + now * 1000));
        const observed = facts.targets.filter(({ confirmation }) => confirmation === 'observed');
        const isSaid =
          observed.length > 0
            ? observed.every(({ stoppedAt }) => stoppedAt !== null)
            : facts.stoppedAckAt !== null;
        expect(isSaid || !isStopped).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });
});
