import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConfigurationFile } from '../../src/config/schema.ts';
import { addressKey, createRateLimiter, RATE_LIMITS, tooManyRequests } from '../../src/http/rate-limits.ts';

describe('budgets of requests', () => {
  it('let the heartbeats of 1,000 runs a second through, from one identity, without end', () => {
    let now = 0;
    const limiter = createRateLimiter(RATE_LIMITS, () => now);
    for (let second = 0; second < 30; second += 1) {
      for (let run = 0; run < 1_000; run += 1) expect(limiter.take('heartbeat', 'trainer')).toBeNull();
      now += 1_000;
    }
    // And those of 10,000 at once after a pause.
    now += 60_000;
    for (let run = 0; run < 10_000; run += 1) expect(limiter.take('heartbeat', 'trainer')).toBeNull();
    expect(limiter.take('heartbeat', 'trainer')).toBeGreaterThan(0);
  });

  it("are one per identity and kind: nobody uses up what is another's", () => {
    const limiter = createRateLimiter(RATE_LIMITS, () => 0);
    while (limiter.take('read', 'greedy') === null);
    expect([limiter.take('read', 'other'), limiter.take('intake', 'greedy')]).toEqual([null, null]);
  });

  it('give at most burst + rate x time, whatever the pattern, and are full again after burst / rate', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 1, max: 200 }),
        fc.array(fc.nat(200), { minLength: 1, maxLength: 300 }),
        (burst, perSecond, pauses) => {
          let now = 0;
          const limits = { ...RATE_LIMITS, read: { perSecond, burst } };
          const limiter = createRateLimiter(limits, () => now);
          let taken = 0;
          for (const pause of pauses) {
            now += pause;
            const waitMs = limiter.take('read', 'x');
            if (waitMs === null) taken += 1;
            else expect(waitMs).toBeLessThanOrEqual(1_000 / perSecond + 0.001);
          }
          expect(taken).toBeLessThanOrEqual(burst + (perSecond * now) / 1_000 + 1);
          now += (burst / perSecond) * 1_000 + 1;
          for (let i = 0; i < burst; i += 1) expect(limiter.take('read', 'x')).toBeNull();
        },
      ),
    );
  });

  it('take no more memory for a million strangers than for twenty thousand', () => {
    let now = 0;
    const limiter = createRateLimiter(RATE_LIMITS, () => now, 1_000);
    for (let i = 0; i < 5_000; i += 1) limiter.take('stranger', `10.0.${i >> 8}.${i & 255}`);
    expect(limiter.size).toBeLessThanOrEqual(1_001);
    // An identity is not refused because strangers filled the table.
    expect(limiter.take('heartbeat', 'trainer')).toBeNull();
    now += 3_600_000;
    for (let i = 0; i < 500; i += 1) limiter.take('stranger', `10.1.${i >> 8}.${i & 255}`);
    expect(limiter.size).toBeLessThanOrEqual(502);
  });

  it('say when to come back', () => {
    expect(tooManyRequests(1)).toMatchObject({ status: 429, code: 'rate-limited', retryAfterS: 1 });
    expect(tooManyRequests(2_300)).toMatchObject({ retryAfterS: 3 });
  });

  it.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8::6', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
  ])('count %s as %s', (address, key) => expect(addressKey(address)).toBe(key));

  it('stand in the configuration with the same figures', () => {
    const { limits } = ConfigurationFile.parse({ policies: { default: 'p' } });
    expect(limits).toMatchObject(RATE_LIMITS);
  });
});
