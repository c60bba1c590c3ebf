/**
 * Signed heads of the ledger: at the first commit of this process, soon after every halt and resume, every minute while
 * the ledger grows, and when the process stops.
 *
 * A head that is copied elsewhere is what makes truncation and forks show. Signing is never in the way of
 * anything: a failure is logged and tried at the next turn.
 */
import type { SignedHeads } from '../ledger/heads.ts';
import type { TokenSigner } from '../signing/tokens.ts';
import { realTimers, type Timer, type Timers } from '../timers.ts';
import type { Commit } from './run-service.ts';

const INTERVAL_MS = 60_000;
/** A halt is dialled first, and one head speaks for all that were ordered in the meantime. */
const SOON_MS = 25;

export interface HeadSchedule {
  start(): void;
  stop(): Promise<void>;
  signNow(): Promise<void>;
}

export function createHeadSchedule(deps: {
  readonly heads: Pick<SignedHeads, 'recordHead'>;
  readonly signer: Pick<TokenSigner, 'signHead'>;
  readonly runs: { onCommit(listener: (commit: Pick<Commit, 'events'>) => void): void };
  readonly timers?: Timers;
  readonly logger: { warn(fields: object, message: string): void };
}): HeadSchedule {
  const { heads, signer, runs, logger, timers = realTimers } = deps;
  let timer: NodeJS.Timeout | undefined;
  let soon: Timer | undefined;
  let signing: Promise<void> = Promise.resolve();

  async function sign(): Promise<void> {
    await heads.recordHead(({ size, root, hash, at }) =>
      signer.signHead({ iat: Math.floor(Date.parse(at) / 1000), size, root, hash }),
    );
  }
  const signNow = (): Promise<void> => {
    signing = signing.then(sign).catch((error: unknown) => {
      logger.warn({ err: error }, 'the ledger head could not be signed now');
    });
    return signing;
  };

  function signSoon(): void {
    soon ??= timers.set(() => {
      soon = undefined;
      void signNow();
    }, SOON_MS);
  }

  return {
    signNow,
    start() {
      let isFirst = true;
      runs.onCommit(({ events }) => {
        // A young ledger can be verified at once, not only after the first minute.
        if (isFirst) void signNow();
        isFirst = false;
        if (events.some(({ kind }) => kind === 'HaltOrdered' || kind === 'RunResumed')) signSoon();
      });
      timer = setInterval(() => void signNow(), INTERVAL_MS);
      timer.unref();
    },
    async stop() {
      clearInterval(timer);
      timers.clear(soon);
      await signNow();
    },
  };
}
