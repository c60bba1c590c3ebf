/** What the load run holds the service to: each promise with what was seen of it. */
import type { Outcome } from '../generator.ts';
import { linearFit } from '../statistics.ts';

export interface Verdict {
  readonly promise: string;
  readonly seen: string;
  /** null: too short a run to tell. */
  readonly kept: boolean | null;
}

export interface MemorySample {
  readonly minute: number;
  readonly bytes: number;
}

const MIB = 2 ** 20;
const SLOPE_MAX_MIB = 1;
const SAMPLES_MIN = 12;

/**
 * Broken only where the slope's whole confidence interval lies above the bound, kept only where it lies below: what
 * a short run cannot tell, it does not claim.
 */
export function memoryVerdict(samples: readonly MemorySample[]): Verdict {
  const promise = `memory grows by less than ${SLOPE_MAX_MIB} MiB per minute after warm-up`;
  const last = samples.at(-1);
  if (last === undefined || samples.length < SAMPLES_MIN) {
    return { promise, seen: `${samples.length} samples: too short a run`, kept: null };
  }
  const { slope, confidence } = linearFit(
    samples.map(({ minute, bytes }) => ({ x: minute, y: bytes / MIB })),
  );
  const seen = `${slope.toFixed(2)} ± ${confidence.toFixed(2)} MiB/min (95 %, ${samples.length} samples), at the end ${(last.bytes / MIB).toFixed(0)} MiB`;
  const kept = slope + confidence < SLOPE_MAX_MIB ? true : slope - confidence > SLOPE_MAX_MIB ? false : null;
  return { promise, seen, kept };
}

/** Everything was answered, and what was refused was told when to come again. */
export function kindVerdict(what: string, outcomes: readonly Outcome[]): Verdict {
  const statuses: Record<string, number> = {};
  for (const outcome of outcomes) {
    for (const [status, count] of Object.entries(outcome.statuses)) {
      statuses[status] = (statuses[status] ?? 0) + count;
    }
  }
  const sum = (name: 'faults' | 'unkind'): number => outcomes.reduce((total, each) => total + each[name], 0);
  const strange = Object.keys(statuses).filter((status) => !/^(2..|429|503)$/.test(status));
  return {
    promise: `${what}: 2xx, or 503 and 429 with Retry-After, and nothing else`,
    seen: `${Object.entries(statuses)
      .map(([status, count]) => `${status} x ${count}`)
      .join(', ')}; broken or wrong ${sum('faults')}, without Retry-After or 5xx ${sum('unkind')}`,
    kept: sum('faults') === 0 && sum('unkind') === 0 && strange.length === 0,
  };
}
