/**
 * The red button's own process: everything it needs in memory and in local files, no database and no queue.
 *
 * It outlives the service that started it. There is one per data directory: `button.json` names it, and whoever finds
 * another name there, or the directory gone, ends itself; so two that start at once become one, and a test directory
 * that is removed takes its button with it.
 * At start everything in the spools that no ledger has is sent again, then the door opens.
 */
import { createHash } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Environment } from '../config/environment.ts';
import type { IdentityRecord } from '../config/identities.ts';
import type { Configuration } from '../config/load.ts';
import { InterlockError } from '../errors.ts';
import { killRunJobs } from '../evaluators/job-records.ts';
import { openCallers } from '../http/callers.ts';
import { openOrchestrators } from '../orchestrators/registry.ts';
import { createOutbound } from '../outbound/outbound.ts';
import { type Keyring, loadKeyring } from '../signing/keyring.ts';
import { createTokenSigner, type TokenSigner } from '../signing/tokens.ts';
import { VERSION } from '../version.ts';
import { BookReader } from './book.ts';
import { openBreakGlass } from './break-glass.ts';
import { createDesk, type Desk } from './desk.ts';
import { type ButtonFiles, buttonFiles, makeButtonDirectories } from './layout.ts';
import { MarkReader } from './marks.ts';
import { thisProcess } from './process-identity.ts';
import { type ButtonProcess, lastButton, runningButton } from './running.ts';
import { createSender, type Order, type Sender } from './sender.ts';
import { BUTTON_LIMITS, createButtonServer } from './server.ts';
import { openSpool, type Spool, SpoolReader } from './spool.ts';
import { secretsNamed, secretsOfSenders, variable } from './target-secrets.ts';

export type ButtonConfiguration = Pick<
  Configuration<unknown>,
  | 'file'
  | 'button'
  | 'dataDir'
  | 'issuer'
  | 'signingKey'
  | 'identities'
  | 'identitiesFile'
  | 'outbound'
  | 'orchestrators'
  | 'oidc'
>;

interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export function configDigest(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

// --- the parts, also for whoever presses without a button process -----------------------------------------

export interface DeskParts {
  readonly desk: Desk;
  readonly sender: Sender;
  readonly spool: Spool;
  close(): Promise<void>;
}

export interface DeskSetting {
  readonly files: ButtonFiles;
  /** `button`, `main`, `cli`: who writes this spool. */
  readonly role: string;
  readonly config: Pick<ButtonConfiguration, 'outbound' | 'orchestrators'>;
  readonly env: Environment;
  readonly signer: TokenSigner;
  readonly identities: () => readonly IdentityRecord[];
  readonly clock: () => Date;
  readonly logger: Log;
}

export function openDesk(setting: DeskSetting): DeskParts {
  const { files, role, config, env, signer, identities, clock, logger } = setting;
  makeButtonDirectories(files);
  const outbound = createOutbound({ allow: config.outbound.allow });
  const orchestrators = openOrchestrators({
    config: config.orchestrators,
    outbound,
    now: clock,
    variable: (reference) => variable(env, reference),
    webhookSecrets: ({ secret }, by) =>
      secret === undefined ? secretsOfSenders(identities())(by) : secretsNamed(env, secret),
  });
  const sender = createSender({
    clock,
    logger,
    sign: (order) => signOrder(signer, order),
    orchestratorOf: (target, registeredBy) => orchestrators.of(target, registeredBy),
  });
  const { pid } = thisProcess();
  const spool = openSpool(files.spool, `${role}-${pid}-${Date.now().toString(36)}`);
  const desk = createDesk({
    book: new BookReader(files.books),
    spool,
    spoolReader: new SpoolReader(files.spool),
    marks: new MarkReader(files.marks),
    sender,
    killJobs: (runId) => killRunJobs(files.jobs, runId),
    clock,
    logger,
  });
  return {
    desk,
    sender,
    spool,
    async close() {
      await sender.close();
      await spool.close();
      await outbound.close();
    },
  };
}

function signOrder(signer: TokenSigner, { runId, haltId, action, epoch, orderedAt }: Order): Promise<string> {
  const iat = Math.floor(Date.parse(orderedAt) / 1000);
  return signer.signHaltOrder({ sub: runId, iat, haltId, action, epoch });
}

// --- the process ---------------------------------------------------------------------------------------

export interface ButtonOptions {
  readonly env: Environment;
  readonly logger: Log;
  readonly clock?: () => Date;
}

export interface Button {
  readonly url: string;
  readonly port: number;
  /** Resolves when this process is no longer the button of its directory. */
  readonly displaced: Promise<string>;
  close(): Promise<void>;
}

const TEND_MS = 250;
const LOOK_MS = 1_000;

/** Throws `button.running` where another process holds this button. */
export async function startButton(config: ButtonConfiguration, options: ButtonOptions): Promise<Button> {
  const { env, logger, clock = () => new Date() } = options;
  const files = buttonFiles(config.dataDir);
  makeButtonDirectories(files);
  const other = runningButton(files);
  if (other !== null && other.pid !== process.pid) {
    throw new InterlockError(`the red button of this directory runs already, as process ${other.pid}`, {
      code: 'button.running',
    });
  }
  const earlier = lastButton(files);
  const keyring = await loadKeyring(config.signingKey);
  const signer = createTokenSigner({ keyring, issuer: config.issuer });
  const outbound = createOutbound({ allow: config.outbound.allow });
  const { authenticator, identities } = openCallers({ config, env, outbound, clock, logger });
  const parts = openDesk({
    files,
    role: 'button',
    config,
    env,
    signer,
    identities: identities.current,
    clock,
    logger,
  });
  const { desk, sender } = parts;
  desk.tend({ foreignAfterMs: 0 });

  const startedAt = clock().toISOString();
  const server = createButtonServer({
    desk,
    sender,
    authenticator,
    breakGlass: openBreakGlass(files, clock),
    identities: identities.current,
    isOpen: isLoopback(config.button.host),
    clock,
    logger,
    health: () => healthOf(desk, sender, startedAt, clock()),
  });
  const port = await listen(server, config.button, earlier?.port ?? 0);
  const url = `http://${hostInUrl(config.button.host)}:${port}`;
  const me: ButtonProcess = {
    ...thisProcess(),
    url,
    port,
    version: VERSION,
    configDigest: configDigest(config.file),
    startedAt,
  };
  writeFileSync(`${files.process}.${process.pid}`, `${JSON.stringify(me)}\n`, { mode: 0o600 });
  renameSync(`${files.process}.${process.pid}`, files.process);

  const tending = setInterval(() => {
    try {
      desk.tend();
    } catch (error) {
      logger.error({ err: error }, 'the spools could not be looked through');
    }
  }, TEND_MS);
  const keys = setInterval(() => void refreshKeys(keyring, logger), LOOK_MS);
  let looking: NodeJS.Timeout | undefined;
  const displaced = new Promise<string>((resolve) => {
    looking = setInterval(() => {
      const named = lastButton(files);
      if (named?.pid === me.pid && named.startTime === me.startTime) return;
      resolve(named === null ? 'its directory is gone' : `process ${named.pid} has taken its place`);
    }, LOOK_MS);
  });
  logger.info(
    { port, knownRuns: desk.reach().length, pending: desk.pending().length },
    'the red button is live',
  );

  return {
    url,
    port,
    displaced,
    async close() {
      for (const timer of [tending, keys, looking]) clearInterval(timer);
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      await parts.close();
      await outbound.close();
      server.closeAllConnections();
      await closed;
      identities.close();
    },
  };
}

async function refreshKeys(keyring: Keyring, logger: Log): Promise<void> {
  // A key that was replaced or revoked: orders are signed with what the trainers believe now.
  await keyring
    .refresh()
    .catch((error: unknown) => logger.warn({ err: error }, 'the keyring could not be read again'));
}

function healthOf(desk: Desk, sender: Sender, startedAt: string, now: Date) {
  const { asOf, runs, damaged } = desk.knowledge();
  return {
    status: 'live',
    ...thisProcess(),
    version: VERSION,
    startedAt,
    knowledgeAgeMs: asOf === null ? null : Math.max(0, now.getTime() - asOf.getTime()),
    knownRuns: runs.size,
    damagedLines: damaged,
    pendingPresses: desk.pending().length,
    undurablePresses: desk.undurable.length,
    ordersBeingSent: sender.size,
  };
}

/** The port it had before, where any will do: what people have written down goes on working. */
async function listen(
  server: ReturnType<typeof createButtonServer>,
  { host, port }: ButtonConfiguration['button'],
  earlier: number,
): Promise<number> {
  const tries = port === 0 && earlier !== 0 ? [earlier, 0] : [port];
  for (const [at, wanted] of tries.entries()) {
    try {
      return await bound(server, host, wanted);
    } catch (error) {
      if (at + 1 === tries.length) throw error;
    }
  }
  throw new TypeError('no port was tried');
}

function bound(server: ReturnType<typeof createButtonServer>, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, host, backlog: BUTTON_LIMITS.backlog }, () => {
      server.off('error', reject);
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : port);
    });
  });
}

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || host.startsWith('127.');

const hostInUrl = (host: string): string =>
  host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
