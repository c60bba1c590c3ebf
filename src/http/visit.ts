/**
 * One request's time here: the place it takes as load, and its deadline.
 *
 * Bound to its response's end and to no hook of the framework: none is called for a client that hangs up before its
 * answer, and its place would never be given back. The place is kept until the response is over and nothing is done for
 * it any more, so that whoever hangs up and comes again is counted twice while both are worked on.
 */
import type { ServerResponse } from 'node:http';

export interface Visit {
  /** Around the handler. */
  begun(): void;
  ended(): void;
  /** It goes on for as long as it likes, and counts no more: a stream. */
  release(): void;
}

export interface VisitOptions {
  readonly leave: () => void;
  /** Counted from now. */
  readonly timeoutMs: number;
  /** The response is not over by then. */
  readonly onLate: () => void;
}

export function openVisit(response: ServerResponse, { leave, timeoutMs, onLate }: VisitOptions): Visit {
  let isOver = false;
  let isHandled = false;
  const deadline = setTimeout(onLate, timeoutMs).unref();
  response.once('close', () => {
    clearTimeout(deadline);
    isOver = true;
    if (!isHandled) leave();
  });
  return {
    begun() {
      isHandled = true;
    },
    ended() {
      isHandled = false;
      if (isOver) leave();
    },
    release() {
      clearTimeout(deadline);
      leave();
    },
  };
}
