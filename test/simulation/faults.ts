/**
 * Every fault, drawn by the seed: each kind from a stream of its own, so that leaving one kind out (to shorten the
 * story of a failure) does not change what the others draw. Each seed gives each kind a weight, often none.
 */
import { createRandom, type Random } from './random.ts';

export const FAULTS = [
  'request-dropped',
  'request-repeated',
  'request-delayed',
  'answer-lost',
  'database-outage',
  'read-fails',
  'write-fails',
  'write-fails-but-lands',
  'write-slow',
  'queue-refuses',
  'queue-drops',
  'queue-repeats',
  'queue-delays',
  'queue-wiped',
  'crash',
  'crash-at-await',
  'clock-skew',
  'clock-jump',
  'evaluator-hangs',
  'evaluator-fails',
  'evaluator-nonsense',
  'evaluator-late',
  'evaluator-repeats',
  'evaluator-contradicts',
  'order-lost',
  'order-unanswered',
  'order-rejected',
  'stop-ignored',
  'process-relaunched',
  'page-fails',
  'trainer-understates',
  'trainer-ignores-halts',
  'trainer-feigns-stop',
  'trainer-forgets',
  'trainer-crashes',
  'trainer-clock-jump',
  'old-permit-replayed',
  'old-order-replayed',
  'ill-timed-press',
  'ill-timed-veto',
  'ill-timed-sign-off',
  'intruder',
  'graceful-stop',
  'workers-away',
  'call-out-fails',
  'call-out-slow',
  'orchestrator-feigns-stop',
  'weights-swapped',
] as const;
export type Fault = (typeof FAULTS)[number];

export class Faults {
  readonly counts = new Map<Fault, number>();
  /** After healing nothing fails any more. */
  healed = false;
  readonly #streams = new Map<Fault, { random: Random; weight: number }>();
  readonly #without: ReadonlySet<Fault>;

  constructor(seed: number, without: ReadonlySet<Fault>) {
    this.#without = without;
    for (const [i, fault] of FAULTS.entries()) {
      const random = createRandom(mix(seed, i + 1));
      const weight = random.pick([0, 0, 0.3, 1, 1, 2.5]);
      this.#streams.set(fault, { random, weight });
    }
  }

  /** Does this fault strike now? `p` is its chance at weight 1. */
  hit(fault: Fault, p: number): boolean {
    const stream = this.#streams.get(fault);
    if (stream === undefined) return false;
    const struck = stream.random.chance(p * stream.weight);
    if (!struck || this.healed || this.#without.has(fault)) return false;
    this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
    return true;
  }

  of(fault: Fault): Random {
    const stream = this.#streams.get(fault);
    if (stream === undefined) throw new RangeError(`no fault ${fault}`);
    return stream.random;
  }
}

/** A seed for a stream of its own. */
export function mix(seed: number, stream: number): number {
  let h = (seed ^ Math.imul(stream, 0x9e3779b1)) >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b) >>> 0;
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35) >>> 0;
  return (h ^ (h >>> 16)) >>> 0;
}
