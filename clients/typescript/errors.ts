/** What a call to Interlock can end in, when it does not end well. Messages never carry a token, a secret or a body. */
export class InterlockClientError extends Error {
  /** `http-<status>`, `unreachable`, `timed-out`, `bad-reply`, `bad-configuration` or `gave-up`. */
  readonly code: string;
  /** Whether the same call may succeed later with nothing changed. */
  readonly retryable: boolean;
  readonly status: number | undefined;

  constructor(
    message: string,
    details: { code: string; retryable: boolean; status?: number | undefined; cause?: unknown },
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'InterlockClientError';
    this.code = details.code;
    this.retryable = details.retryable;
    this.status = details.status;
  }
}

/** A halt or a quarantine ended the training: launchers must not restart on it. The same in every client. */
export const EXIT_HALTED = 86;
/** No permit came for as long as the trainer was ready to wait (EX_TEMPFAIL): it may be started again later. */
export const EXIT_PAUSED = 75;
