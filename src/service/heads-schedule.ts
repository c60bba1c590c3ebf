/**
 * Signed heads of the ledger: at the first commit of this process, at every halt and resume, every minute while
 * the ledger grows, and when the process stops.
 *
 * A head that is copied elsewhere is what makes truncation and forks show. Signing is never in the way of
 * anything: a failure is logged and tried at the next turn.
 */
import type { SignedHeads } from '../ledger/heads.ts';
import type { TokenSigner } from '../signing/tokens.ts';
import type { RunService } from './run-service.ts';

const INTERVAL_MS = 60_000;

export interface HeadSchedule {
  start(): void;
  stop(): Promise<void>;
  signNow(): Promise<void>;
}

export function createHeadSchedule(deps: {
  readonly heads: SignedHeads;
  readonly signer: TokenSigner;
  readonly runs: RunService;
  readonly logger: { warn(fields: object, message: string): void };
}): HeadSchedule {
  const { heads, signer, runs, logger } = deps;
  let timer: NodeJS.Timeout | undefined;
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

  return {
    signNow,
    start() {
      let isFirst = true;
      runs.onCommit(({ events }) => {
        // A young ledger can be verified at once, not only after the first minute.
        if (isFirst) void signNow();
        isFirst = false;
        if (events.some(({ kind }) => kind === 'HaltOrdered' || kind === 'RunResumed')) void signNow();
      });
      timer = setInterval(() => void signNow(), INTERVAL_MS);
      timer.unref();
    },
    async stop() {
      clearInterval(timer);
      await signNow();
    },
  };
}
