/**
 * What a run spends, added up exactly: whole numbers, for a double has lost the last digits long before 1e26.
 *
 * `flopPerStep` is one optimizer step over all ranks. `efficiencyMultiplier` is algorithmic efficiency against the
 * reference that the policy means; 1 states physical FLOP. Rounded up: compute that is rounded away would be compute
 * that nobody evaluated.
 */
import { parseDecimal, wholeUp } from './decimal.ts';

export interface ComputeMeterOptions {
  flopPerStep: bigint;
  spent?: bigint;
  efficiencyMultiplier?: string;
}

/** Training FLOP of a dense model by the usual estimate: six per parameter and token, exactly. */
export function compute6nd(parameters: number | bigint, tokens: number | bigint): bigint {
  return 6n * BigInt(parameters) * BigInt(tokens);
}

export class ComputeMeter {
  readonly #flopPerStep: bigint;
  readonly #multiplier: { digits: bigint; exponent: number };
  #flop: bigint;

  constructor({ flopPerStep, spent = 0n, efficiencyMultiplier = '1' }: ComputeMeterOptions) {
    if (flopPerStep < 1n || spent < 0n) {
      throw new RangeError('flopPerStep must be at least 1 and spent at least 0');
    }
    const multiplier = parseDecimal(efficiencyMultiplier);
    if (multiplier === null || multiplier.digits === 0n) {
      throw new RangeError("efficiencyMultiplier must be a positive decimal string, such as '1.8'");
    }
    this.#flopPerStep = flopPerStep;
    this.#flop = spent;
    this.#multiplier = multiplier;
  }

  static from6nd({
    parameters,
    tokensPerStep,
    ...options
  }: Omit<ComputeMeterOptions, 'flopPerStep'> & {
    parameters: number | bigint;
    tokensPerStep: number | bigint;
  }): ComputeMeter {
    return new ComputeMeter({ flopPerStep: compute6nd(parameters, tokensPerStep), ...options });
  }

  /** One step more, or exactly this many FLOP where steps differ. */
  add(flop: bigint = this.#flopPerStep): void {
    if (flop < 0n) throw new RangeError('flop must be at least 0');
    this.#flop += flop;
  }

  get spent(): string {
    return this.#effective(this.#flop);
  }

  /** Effective compute of the run once that many more steps are done: what a guard is asked for. */
  after(steps = 1): string {
    return this.#effective(this.#flop + BigInt(steps) * this.#flopPerStep);
  }

  /** Effective compute after `step` steps in all, for loops that count steps and start from zero. */
  atStep(step: number): string {
    return this.#effective(BigInt(step) * this.#flopPerStep);
  }

  #effective(flop: bigint): string {
    const { digits, exponent } = this.#multiplier;
    return wholeUp({ digits: flop * digits, exponent }).toString();
  }
}
