/**
 * The service's side of the red button, put together: the target book it keeps, the desk where it takes presses itself
 * when the ledger is away, the drain that enters what was pressed, and the supervisor of the button's own process.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Pool } from 'pg';
import { buttonFiles } from '../button/layout.ts';
import { type ButtonConfiguration, configDigest, openDesk } from '../button/process.ts';
import { runningButton } from '../button/running.ts';
import type { Environment } from '../config/environment.ts';
import type { IdentityRecord } from '../config/identities.ts';
import { InterlockError } from '../errors.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { createStreamHeads } from '../ledger/stream-heads.ts';
import type { TokenSigner } from '../signing/tokens.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { VERSION } from '../version.ts';
import { type ButtonSupervisor, createButtonSupervisor } from './button-supervisor.ts';
import { createPressDrain } from './press-drain.ts';
import type { Check } from './readiness.ts';
import { createRedButton, type RedButtonService } from './red-button.ts';
import type { RunService } from './run-service.ts';
import { createTargetBook } from './target-book.ts';
import { unfinishedRuns } from './unfinished-runs.ts';

export interface ButtonPartsOptions {
  readonly config: ButtonConfiguration;
  readonly env: Environment;
  readonly logger: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
    error(fields: object, message: string): void;
  };
  readonly clock: () => Date;
  readonly instance: string;
  readonly runs: RunService;
  readonly ledger: Ledger;
  readonly signer: TokenSigner;
  readonly database: { readonly pool: Pool; onDown(cb: () => void): unknown; onUp(cb: () => void): unknown };
  readonly identities: () => readonly IdentityRecord[];
  /** Whether a button process is to be kept running. */
  readonly supervised: boolean;
}

export interface ButtonParts {
  readonly redButton: RedButtonService;
  enterPresses(): Promise<void>;
  start(): Promise<void>;
  checks(): readonly Check[];
  pending(): number;
  /** A press on this run was told as ordered, and the ledger does not have it yet. */
  isAwaited(runId: string): boolean;
  readonly supervisor: ButtonSupervisor | null;
  stop(): Promise<void>;
}

const TEND_MS = 250;
/** The button's own process comes first; where there is none, this one sends what an earlier process left. */
const FOREIGN_AFTER_MS = 10_000;

export function createButtonParts(options: ButtonPartsOptions): ButtonParts {
  const { config, env, logger, clock, instance, runs, ledger, signer, database, identities } = options;
  const files = buttonFiles(config.dataDir);
  let isLedgerUp = true;
  database.onDown(() => {
    isLedgerUp = false;
  });
  const drain = createPressDrain({ files, runs, ledger, clock, logger });
  database.onUp(() => {
    isLedgerUp = true;
    void drain.drain();
  });
  const book = createTargetBook({
    files,
    instance,
    runs,
    heads: createStreamHeads(database.pool),
    clock,
    logger,
  });
  const parts = openDesk({ files, role: 'main', config, env, signer, identities, clock, logger });
  const { desk, sender } = parts;
  const redButton = createRedButton({
    runs,
    ledger,
    unfinishedRuns: () => unfinishedRuns(ledger),
    desk,
    sender,
    isLedgerUp: () => isLedgerUp,
    awaited: drain,
    clock,
  });
  const supervisor = options.supervised
    ? createButtonSupervisor({
        files,
        running: () => runningButton(files),
        wanted: { version: VERSION, configDigest: configDigest(config.file) },
        command: [process.execPath, programFile(), 'serve', '--roles', 'button', '--config', config.file],
        env,
        logger,
      })
    : null;
  let tending: NodeJS.Timeout | undefined;

  return {
    redButton,
    supervisor,
    enterPresses: () => drain.drain(),
    pending: () => drain.pending(),
    isAwaited: (runId) => drain.isAwaited(runId),
    checks: () => (supervisor === null ? [] : [supervisor.check()]),
    async start() {
      await book.start();
      // Before anything is served: what people pressed while nobody was here.
      await drain.drain();
      drain.start();
      tending = setInterval(() => {
        try {
          desk.tend({ foreignAfterMs: FOREIGN_AFTER_MS });
        } catch (error) {
          logger.error({ err: error }, 'the spools of the red button could not be looked through');
        }
      }, TEND_MS);
      tending.unref();
      supervisor?.start();
    },
    async stop() {
      clearInterval(tending);
      await supervisor?.stop();
      if (isLedgerUp) await drain.drain();
      await drain.stop();
      await book.stop();
      await parts.close();
    },
  };
}

export function observeButton(metrics: Metrics, { pending, supervisor }: ButtonParts): void {
  metrics.collect('interlock_spool_orders', pending);
  if (supervisor === null) return;
  metrics.collect('interlock_button_up', () => (supervisor.isUp() ? 1 : 0));
  metrics.collect('interlock_button_restarts_total', () => supervisor.restarts);
}

/** The command line, wherever this file was built to. */
function programFile(): string {
  for (let directory = dirname(fileURLToPath(import.meta.url)); ; directory = dirname(directory)) {
    const candidate = join(directory, 'bin', 'interlock.mjs');
    if (existsSync(candidate)) return candidate;
    if (dirname(directory) === directory) {
      throw new InterlockError('bin/interlock.mjs is not installed here; the red button cannot be started', {
        code: 'button.no-program',
      });
    }
  }
}
