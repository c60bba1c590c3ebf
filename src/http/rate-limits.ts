/**
 * How much one caller may ask for: a budget per identity and kind of request, and per address for callers that
 * nobody knows.
 *
 * Who is known is counted as that identity wherever it calls from, so that one trainer behind a proxy cannot use up
 * another's budget, and a flood of bad tokens from an address refuses nobody with a good one from the same address.
 * Never asked for what stops a run (access.ts: `never`): the red button is not refused at any rate.
 * One number per caller (the virtual schedule of GCRA), no timer: taking from a budget is a look-up and a sum. The
 * table is bounded: what is full again is forgotten, and beyond its size strangers share one budget.
 * Own code: the libraries at hand keep windows and timers per key, at a multiple of the cost per heartbeat.
 * Not here: refusing because the service as a whole has too much to do (load.ts).
 */
import type { LimitClass } from './access.ts';
import { Refusal } from './refusal.ts';

export interface RateLimit {
  readonly perSecond: number;
  /** How many at once, after a pause. */
  readonly burst: number;
}

/** `stranger`: requests without a credential that holds, per address. */
export type RateClass = LimitClass | 'stranger';
export type RateLimits = { readonly [name in RateClass]: RateLimit };

/** Far above what one honest caller needs, far below what would starve the others. */
export const RATE_LIMITS: RateLimits = {
  heartbeat: { perSecond: 2_000, burst: 10_000 },
  intake: { perSecond: 2_000, burst: 10_000 },
  read: { perSecond: 500, burst: 2_000 },
  open: { perSecond: 50, burst: 200 },
  stranger: { perSecond: 50, burst: 500 },
};

export interface RateLimiter {
  /** null: taken from the budget. Else in how many milliseconds there is something in it again. */
  take(name: RateClass, caller: string): number | null;
  readonly size: number;
}

const CALLERS_MAX = 20_000;

export function createRateLimiter(
  limits: RateLimits,
  nowMs: () => number = () => performance.now(),
  callersMax = CALLERS_MAX,
): RateLimiter {
  /** When the caller's budget is full again. */
  const fullAt = new Map<string, number>();
  let nextSweepAt = 0;

  function keyOf(name: RateClass, caller: string, now: number): string {
    const key = `${name} ${caller}`;
    if (fullAt.size < callersMax || fullAt.has(key)) return key;
    // At most once a second: a sweep of a full table costs a millisecond.
    if (now >= nextSweepAt) {
      nextSweepAt = now + 1_000;
      for (const [each, at] of fullAt) if (at <= now) fullAt.delete(each);
    }
    return fullAt.size < callersMax ? key : `${name} *`;
  }

  return {
    take(name, caller) {
      const { perSecond, burst } = limits[name];
      const now = nowMs();
      const key = keyOf(name, caller, now);
      const costMs = 1_000 / perSecond;
      const after = Math.max(fullAt.get(key) ?? now, now) + costMs;
      const overMs = after - now - burst * costMs;
      if (overMs > 1e-6) return overMs;
      fullAt.set(key, after);
      return null;
    },
    get size() {
      return fullAt.size;
    },
  };
}

/** 429: nothing was looked at; the same request may be sent again. */
export function tooManyRequests(waitMs: number): Refusal {
  const retryAfterS = Math.max(1, Math.ceil(waitMs / 1_000));
  return new Refusal({
    status: 429,
    code: 'rate-limited',
    title: 'Too many requests',
    detail: 'More than the configured rate; nothing was recorded. The red button is never refused for this.',
    retryAfterS,
  });
}

/** What counts as one stranger: an address, or the network that one subscriber of IPv6 has to choose from. */
export function addressKey(address: string): string {
  const mapped = /^::ffff:(\d{1,3}(?:\.\d{1,3}){3})$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!address.includes(':')) return address;
  const [head = '', tail] = (address.split('%', 1)[0] ?? '').split('::');
  const front = head === '' ? [] : head.split(':');
  const back = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = [...front, ...Array<string>(Math.max(0, 8 - front.length - back.length)).fill('0'), ...back];
  return `${groups.slice(0, 4).join(':')}::/64`;
}
