/**
 * How a training run ends before its last step: `Halted` and `PauseOutlasted`.
 *
 * Uncaught, they end the process with the exit code of the contract (docs/clients.md), and without a stack: nothing went
 * wrong. A loop that catches them and asks again gets them again; it gets no step.
 */
import { EXIT_HALTED, EXIT_PAUSED } from './errors.ts';
import type { ReceivedHalt } from './guard-state.ts';

abstract class Ending extends Error {
  abstract readonly exitCode: number;

  constructor(name: string, message: string) {
    super(message);
    this.name = name;
    this.stack = `${name}: ${message}`;
    nameExitCodes();
  }
}

/** A halt is in force: training has ended. */
export class Halted extends Ending {
  readonly exitCode = EXIT_HALTED;
  readonly #halt: ReceivedHalt;

  constructor(halt: ReceivedHalt) {
    super('Halted', `${halt.action} ${halt.haltId} ended the training`);
    this.#halt = halt;
  }

  get halt(): ReceivedHalt {
    return this.#halt;
  }
}

/** No permit came for `maxPauseMs`: the process gives its machines back. */
export class PauseOutlasted extends Ending {
  readonly exitCode = EXIT_PAUSED;

  constructor(reason: string) {
    super('PauseOutlasted', `paused for too long: ${reason}`);
  }
}

let isNamed = false;

/** Node ends with 1 on whatever is uncaught, unless its last listener says otherwise. */
function nameExitCodes(): void {
  if (isNamed) return;
  isNamed = true;
  process.on('uncaughtExceptionMonitor', (error: unknown) => {
    if (!(error instanceof Ending)) return;
    process.once('exit', () => {
      process.exitCode = error.exitCode;
    });
  });
}

/** From the decision to end on, the process has so long: what hangs then (a hook, a call) has not stopped. */
export class EndingDeadline {
  readonly #ms: number;
  readonly #overran: () => void;
  #timer: NodeJS.Timeout | null = null;

  constructor(ms: number, overran: () => void) {
    this.#ms = ms;
    this.#overran = overran;
  }

  begin(): void {
    this.#timer ??= setTimeout(() => {
      this.#overran();
      process.exit(EXIT_HALTED);
    }, this.#ms);
  }

  over(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
