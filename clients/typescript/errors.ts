/** What a call to Interlock, and a training run, can end in. Messages never carry a token, a secret or a body. */
export class InterlockClientError extends Error {
  /** `http-<status>`, `unreachable`, `timed-out`, `bad-reply`, `bad-configuration`, `queue-full` or `gave-up`. */
  readonly code: string;
  /** Whether the same call may succeed later with nothing changed. */
  readonly retryable: boolean;
  readonly status: number | undefined;
  /** What the answer asked for by `Retry-After`, in seconds. */
  readonly retryAfterS: number | undefined;

  constructor(
    message: string,
    details: {
      code: string;
      retryable: boolean;
      status?: number | undefined;
      retryAfterS?: number | undefined;
      cause?: unknown;
    },
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'InterlockClientError';
    this.code = details.code;
    this.retryable = details.retryable;
    this.status = details.status;
    this.retryAfterS = details.retryAfterS;
  }
}

export function badConfiguration(message: string, cause?: unknown): InterlockClientError {
  return new InterlockClientError(message, { code: 'bad-configuration', retryable: false, cause });
}

/** A halt or a quarantine ended the training: launchers must not restart on it. The same in every client. */
export const EXIT_HALTED = 86;
/** No permit came for as long as the trainer was ready to wait (EX_TEMPFAIL): it may be started again later. */
export const EXIT_PAUSED = 75;
