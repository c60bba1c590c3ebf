/**
 * Shadow in a simulation: runs about which everything is decided and nothing is done, until their time, an operator or a
 * press arms them. A share of all seeds has them, and draws them from a stream of its own. Checked by our own reading of
 * the events: nothing acts in shadow but a press, and once it is over what stands has acted in the same decision.
 */
import type { RunEvent } from '../../src/domain/run/events.ts';
import type { HaltCause } from '../../src/domain/run/halt-documents.ts';
import { mix } from './faults.ts';
import { createRandom, type Random } from './random.ts';

/** Chosen so that no regression from before there were shadows has any: each goes on telling the story that failed. */
const STREAM = 9_101;
const SHARE = 0.15;

export function shadowsOf(seed: number): Random | null {
  const random = createRandom(mix(seed, STREAM));
  return random.chance(SHARE) ? random : null;
}

type Broken = (invariant: number, message: string) => never;

/** Beside those of DESIGN.md: nothing is done in shadow. */
export const NOTHING_IS_DONE = 12;
const TRIP = 3;

export class ShadowCheckers {
  readonly #broken: Broken;
  #untilMs: number | null = null;
  #hasEnded = false;
  /** Checkpoints with evidence over a halting threshold, and those of them that it was recorded for. */
  readonly #tripped = new Set<string>();
  readonly #recorded = new Set<string>();

  constructor(broken: Broken) {
    this.#broken = broken;
  }

  /** Until when; null of a run that is armed. */
  get untilMs(): number | null {
    return this.#untilMs;
  }

  /** `isSure`: no later result can take it back. */
  trips(checkpointId: string, isSure: boolean): void {
    if (this.#untilMs !== null && isSure) this.#tripped.add(checkpointId);
  }

  take(event: RunEvent): void {
    switch (event.kind) {
      case 'RunRegistered':
        this.#untilMs = event.data.shadow === undefined ? null : Date.parse(event.data.shadow.until);
        return;
      case 'HaltOrdered':
      case 'HaltCauseAdded':
        this.#acts(event.data.cause, event.data.at);
        return;
      case 'HoldPlaced':
        this.#acts(null, event.data.at);
        return;
      case 'WouldHaveHalted':
        this.#excuses(event.data.at);
        if (event.data.cause.kind === 'person') this.#broken(NOTHING_IS_DONE, 'a press was not real');
        if (event.data.cause.kind === 'rule') this.#recorded.add(event.data.cause.checkpointId ?? '');
        return;
      case 'WouldHaveHeld':
        this.#excuses(event.data.at);
        return;
      case 'ShadowEnded': {
        const { reason, at } = event.data;
        if (this.#untilMs === null) this.#broken(TRIP, 'a shadow ended that the run was not in');
        if (reason === 'time' && Date.parse(at) < (this.#untilMs ?? 0)) {
          this.#broken(NOTHING_IS_DONE, 'a shadow ended by itself before its time');
        }
        this.#untilMs = null;
        this.#hasEnded = true;
        return;
      }
      default:
        return;
    }
  }

  /** After one decision's events. */
  decided(halted: boolean): void {
    if (this.#untilMs !== null) {
      const missed = [...this.#tripped].find((id) => !this.#recorded.has(id));
      if (missed !== undefined) {
        this.#broken(TRIP, `${missed} is over a halting threshold, and that is not recorded in shadow`);
      }
    } else if (this.#hasEnded) {
      this.#hasEnded = false;
      const [standing] = this.#tripped;
      if (standing !== undefined && !halted) {
        this.#broken(TRIP, `armed with ${standing} over a halting threshold, and no halt`);
      }
    }
  }

  /** Once time had its say. */
  after(nowMs: number, granted: boolean, ticked: boolean): void {
    if (this.#untilMs === null) return;
    if (!granted) this.#broken(NOTHING_IS_DONE, 'a permit is refused in shadow');
    if (ticked && nowMs >= this.#untilMs) this.#broken(TRIP, 'a shadow outlives its time');
  }

  #acts(cause: HaltCause | null, at: string): void {
    if (this.#untilMs === null || Date.parse(at) >= this.#untilMs || cause?.kind === 'person') return;
    this.#broken(
      NOTHING_IS_DONE,
      `${cause === null ? 'a hold was placed' : 'a rule halted the run'} in shadow`,
    );
  }

  #excuses(at: string): void {
    if (this.#untilMs !== null && Date.parse(at) < this.#untilMs) return;
    this.#broken(TRIP, 'what stands against an armed run was recorded only');
  }
}
