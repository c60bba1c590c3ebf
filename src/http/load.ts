/**
 * Load gauge: decides whether a request is let in when there is too much to do.
 *
 * Two signs: requests in flight, and how late the event loop runs. Reads are given up first, then
 * intake; halts and probes never: a halt that waits behind a busy page is the failure this service
 * exists to prevent. Refusing costs little, so that refusing is itself possible under load.
 */
import type { Priority } from './access.ts';

export interface LoadLimits {
  readsInFlightMax: number;
  intakeInFlightMax: number;
  readsLoopDelayMaxMs: number;
  intakeLoopDelayMaxMs: number;
}

export const LOAD_LIMITS: LoadLimits = {
  readsInFlightMax: 128,
  /** More would wait in line, and a halt behind them: what is let in is done within a few hundred milliseconds. */
  intakeInFlightMax: 256,
  readsLoopDelayMaxMs: 1_000,
  intakeLoopDelayMaxMs: 3_000,
};

const SAMPLE_MS = 100;

export interface LoadGauge {
  /** A function that must be called when the request is done, or null: refuse it. */
  enter(priority: Priority): (() => void) | null;
  inFlight(): number;
  loopDelayMs(): number;
  close(): void;
}

export function createLoadGauge(
  limits: LoadLimits,
  probe: { loopDelayMs(): number; close(): void } = loopDelay(),
): LoadGauge {
  let inFlight = 0;
  const isOver = (inFlightMax: number, delayMaxMs: number): boolean =>
    inFlight >= inFlightMax || probe.loopDelayMs() > delayMaxMs;
  return {
    enter(priority) {
      if (priority === 'read' && isOver(limits.readsInFlightMax, limits.readsLoopDelayMaxMs)) return null;
      if (priority === 'intake' && isOver(limits.intakeInFlightMax, limits.intakeLoopDelayMaxMs)) return null;
      inFlight += 1;
      let isInside = true;
      return () => {
        if (isInside) inFlight -= 1;
        isInside = false;
      };
    },
    inFlight: () => inFlight,
    loopDelayMs: probe.loopDelayMs,
    close: probe.close,
  };
}

/** How late a timer fires; the better of the last two samples, since one long pause is not overload. */
function loopDelay(): { loopDelayMs(): number; close(): void } {
  let samples: [number, number] = [0, 0];
  let last: number | null = null;
  const timer = setInterval(() => {
    const now = performance.now();
    // The first tick only starts the measure: loading the service is slow and says nothing about load.
    if (last !== null) samples = [samples[1], Math.max(0, now - last - SAMPLE_MS)];
    last = now;
  }, SAMPLE_MS);
  timer.unref();
  return { loopDelayMs: () => Math.min(...samples), close: () => clearInterval(timer) };
}
