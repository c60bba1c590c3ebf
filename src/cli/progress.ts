/**
 * How far a long command is, on standard error: a bar drawn over itself on a terminal, a plain line now and then
 * elsewhere, and nothing at all for work that is done before anybody could wonder.
 */
export interface ProgressOptions {
  readonly total: number;
  readonly what: string;
  /** Draws over the last line of a terminal; absent where there is none. */
  readonly redraw?: ((text: string) => void) | undefined;
  readonly complain: (text: string) => void;
  readonly nowMs: () => number;
}

export interface Progress {
  done(count: number): void;
  /** Takes the bar away. */
  end(): void;
}

const BAR_CELLS = 30;
const REDRAW_MS = 100;
const PLAIN_LINE_MS = 10_000;

export function createProgress({ total, what, redraw, complain, nowMs }: ProgressOptions): Progress {
  const startedMs = nowMs();
  let saidMs = startedMs;
  let isDrawn = false;
  return {
    done: (count) => {
      const atMs = nowMs();
      if (atMs - saidMs < (redraw === undefined ? PLAIN_LINE_MS : REDRAW_MS)) return;
      saidMs = atMs;
      const share = total > 0 ? Math.min(1, count / total) : 1;
      const leftS = share > 0 ? Math.ceil(((atMs - startedMs) * (1 - share)) / share / 1000) : 0;
      const text = `${Math.floor(100 * share)}% of ${total} ${what}, ${leftS} s left`;
      if (redraw === undefined) {
        complain(text);
        return;
      }
      const cells = Math.round(share * BAR_CELLS);
      redraw(`${'█'.repeat(cells)}${'·'.repeat(BAR_CELLS - cells)} ${text}`);
      isDrawn = true;
    },
    end: () => {
      if (isDrawn) redraw?.('');
      isDrawn = false;
    },
  };
}
