import { describe, expect, it } from 'vitest';
import { createDatabaseClock } from '../../../src/service/database-clock.ts';
import type { Timers } from '../../../src/timers.ts';

const NOON = Date.parse('2026-01-01T12:00:00Z');
const HOUR = 3_600_000;

/** Time that a test moves: the monotonic clock, this machine's, the database's, and how long an answer takes. */
async function clocks() {
  const at = { monotonicMs: 1_000, localMs: NOON, databaseMs: NOON, tripMs: 0, isAway: false };
  const said: object[] = [];
  let ring: (() => void) | null = null;
  const timers: Timers = {
    set(run) {
      ring = run;
      return { simulated: 1 };
    },
    clear() {
      ring = null;
    },
    monotonicMs: () => at.monotonicMs,
  };
  const pass = (ms: number) => {
    at.monotonicMs += ms;
    at.localMs += ms;
    at.databaseMs += ms;
  };
  const clock = await createDatabaseClock({
    ask: async () => {
      if (at.isAway) throw new Error('away');
      pass(at.tripMs / 2);
      const answer = at.databaseMs;
      pass(at.tripMs / 2);
      return answer;
    },
    timers,
    local: () => at.localMs,
    logger: { warn: (fields) => void said.push(fields) },
  });
  return { at, pass, clock, said, rings: () => ring !== null };
}

describe("the database's clock", () => {
  it("goes on between two looks, and does not follow this machine's clock", async () => {
    const { at, pass, clock } = await clocks();
    for (const step of [HOUR, -2 * HOUR]) {
      at.localMs += step;
      pass(1_500);
      expect(clock.now().getTime()).toBe(at.databaseMs);
    }
  });

  it('takes half of the round trip for its way back', async () => {
    const { at, clock } = await clocks();
    at.tripMs = 80;
    await clock.look();
    expect(clock.now().getTime()).toBe(at.databaseMs);
  });

  it('follows the database at the next look, but not by an answer that was long under way', async () => {
    const { at, clock } = await clocks();
    at.databaseMs += 700;
    at.tripMs = 5_000;
    await clock.look();
    expect(clock.now().getTime()).toBe(at.databaseMs - 700);
    at.tripMs = 0;
    await clock.look();
    expect(clock.now().getTime()).toBe(at.databaseMs);
  });

  it('goes on while the database is away', async () => {
    const { at, pass, clock, rings } = await clocks();
    at.isAway = true;
    await expect(clock.look()).rejects.toThrow('away');
    pass(HOUR);
    expect(clock.now().getTime()).toBe(at.databaseMs);
    expect(rings()).toBe(true);
    clock.stop();
    expect(rings()).toBe(false);
  });

  it("says once that this machine's clock is off", async () => {
    const { at, clock, said } = await clocks();
    at.localMs += HOUR;
    await clock.look();
    await clock.look();
    expect(said).toEqual([{ offMs: HOUR }]);
  });
});
