/**
 * Faults: the few things that go wrong in the shell and must be told apart by a machine.
 *
 * Expected outcomes (a refused command, a failed delivery) are values, not errors. `message` is safe
 * to show to anyone who may see the code; the `cause` is for the log only.
 */
export interface InterlockErrorOptions {
  /** Stable, dotted, e.g. `ledger.unavailable`. */
  code: string;
  /** Whether the same call may succeed later with nothing changed. */
  retryable?: boolean;
  cause?: unknown;
}

export class InterlockError extends Error {
  readonly code: string;
  readonly retryable: boolean;

  constructor(message: string, { code, retryable = false, cause }: InterlockErrorOptions) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'InterlockError';
    this.code = code;
    this.retryable = retryable;
  }
}
