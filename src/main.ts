/**
 * The composition root: reads the configuration's result, builds everything, serves, and stops in reverse order.
 *
 * Start order: database, ledger, adapters, HTTP, then queue and reconciler, whose evaluators call back; until they
 * run, `/readyz` says no and what is acknowledged waits in the ledger. A failing stop step never skips the rest.
 */
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { type AlertChannelConfig, createAlertChannel } from './alerts/registry.ts';
import { secretsNamed, secretsOfSenders, variable } from './button/target-secrets.ts';
import type { Environment } from './config/environment.ts';
import { openIdentityBook } from './config/identity-book.ts';
import type { Configuration } from './config/load.ts';
import { oidcDisagreements } from './config/oidc.ts';
import { tokensToRenew } from './config/token-life.ts';
import { keepTokenUse } from './config/token-use.ts';
import { migrate } from './database/migrate.ts';
import { type DatabaseHandle, openDatabase } from './database/open-database.ts';
import { databaseTimeMs } from './database/server-time.ts';
import { InterlockError } from './errors.ts';
import { type Containment, detectContainment } from './evaluators/containment.ts';
import { sweepOrphans } from './evaluators/job-records.ts';
import { evaluationLimits } from './evaluators/limits.ts';
import { createEvaluators } from './evaluators/registry.ts';
import { type Authenticated, type Authenticator, createAuthenticator } from './http/authentication.ts';
import { createPeopleVerifier } from './http/oidc/people.ts';
import { Refusal } from './http/refusal.ts';
import { probeRoutes, routesOf, type Services } from './http/routes/index.ts';
import { buildServer } from './http/server.ts';
import { createSessions } from './http/sessions.ts';
import { STREAM_LIMITS } from './http/sse.ts';
import { createAnchors } from './ledger/anchors.ts';
import { createSignedHeads, type SignedHeads } from './ledger/heads.ts';
import { createInstances } from './ledger/instances.ts';
import { createLedger, type Ledger, type WritingLedger } from './ledger/ledger.ts';
import { createProgressStore } from './ledger/progress.ts';
import { createLedgerPulse } from './ledger/pulse.ts';
import { readStanding } from './ledger/standing.ts';
import { createOrchestrator } from './orchestrators/registry.ts';
import { targetSchema } from './orchestrators/targets.ts';
import { createOutbound } from './outbound/outbound.ts';
import { createWorkQueue } from './queue/create-work-queue.ts';
import { unreachableApprovals } from './service/approvers.ts';
import { createButtonParts, observeButton } from './service/button-parts.ts';
import { wasCleared } from './service/cleared-halts.ts';
import { createDatabaseClock } from './service/database-clock.ts';
import { headVerifier } from './service/head-verifier.ts';
import { createHeadSchedule } from './service/heads-schedule.ts';
import { createHeartbeats } from './service/heartbeats.ts';
import { createIntake } from './service/intake.ts';
import { createKeyRefresh } from './service/key-refresh.ts';
import { createLineage } from './service/lineage.ts';
import { liveness } from './service/liveness.ts';
import { createPolicyBook, loadPolicies } from './service/policies.ts';
import { type Check, readiness } from './service/readiness.ts';
import { createRestoreGuard } from './service/restore-guard.ts';
import { createRetiringSecrets } from './service/retiring-secrets.ts';
import { createRunService, type LoadedRun } from './service/run-service.ts';
import { createRunningEvaluations } from './service/running-evaluations.ts';
import { createSecurityLog } from './service/security.ts';
import { observeStanding } from './service/standing.ts';
import { aboutTrainer, watchStopWords } from './service/stop-words.ts';
import { observeCommits, observeParts } from './service/telemetry.ts';
import { createWorkHandlers } from './service/work.ts';
import { createWorker } from './service/worker.ts';
import { type Keyring, loadKeyring } from './signing/keyring.ts';
import { createTokenSigner } from './signing/tokens.ts';
import { createMetrics } from './telemetry/metrics.ts';
import { realTimers } from './timers.ts';
import { VERSION } from './version.ts';

export type InterlockConfiguration = Configuration<AlertChannelConfig>;

export interface StartOptions {
  /** Keeps the red button's own process running, where the roles name it. A program that embeds the service does not. */
  readonly supervisesButton?: boolean;
  readonly env: Environment;
  readonly logger: Logger;
  /** Overrides the configured port; 0 takes a free one. */
  readonly port?: number | undefined;
  readonly clock?: () => Date;
}

export interface Interlock {
  readonly url: string;
  readonly port: number;
  readonly ledger: Ledger;
  /** Looks at the identities file now, instead of within a second. */
  reloadIdentities(): Promise<void>;
  close(): Promise<void>;
}

/** Secrets of Interlock itself, which no evaluator's environment may ask for. */
const OWN_SECRETS = new Set(['DATABASE_URL', 'DATABASE_DIRECT_URL', 'REDIS_URL']);

/** The database and the ledger alone: what the command line needs to verify, export and replay. */
export interface Store {
  readonly database: DatabaseHandle;
  readonly ledger: WritingLedger;
  readonly heads: SignedHeads;
  close(): Promise<void>;
}

export async function openStore(config: InterlockConfiguration, logger: Logger): Promise<Store> {
  const database = await openDatabase({
    dataDir: config.dataDir,
    databaseUrl: config.database.url?.reveal(),
    directUrl: config.database.directUrl?.reveal(),
    logger,
    poolMax: 16,
  });
  try {
    await migrate(database.pool);
  } catch (error) {
    await database.close();
    throw error;
  }
  const ledger = createLedger({ pool: database.pool, logger });
  return {
    database,
    ledger,
    heads: createSignedHeads({ pool: database.pool }),
    close: () =>
      inOrder(logger, [
        ['ledger', () => ledger.close()],
        ['database', () => database.close()],
      ]),
  };
}

export async function startInterlock(
  config: InterlockConfiguration,
  options: StartOptions,
): Promise<Interlock> {
  const { logger } = options;
  const keyring = await loadKeyring(config.signingKey);
  const configured = await loadPolicies(config.policies.directory);
  // Said and not refused: without a start there is no red button, and a halt that nobody can end is a safe one.
  for (const sentence of unreachableApprovals(
    configured.map(({ policy }) => policy),
    config.identities,
  )) {
    logger.warn({}, `no halt could be ended: ${sentence}`);
  }
  const store = await openStore(config, logger);
  const stops: Step[] = [['store', () => store.close()]];
  try {
    return await serve(config, options, keyring, configured, store, stops);
  } catch (error) {
    await inOrder(logger, [...stops].reverse());
    throw error;
  }
}

async function serve(
  config: InterlockConfiguration,
  options: StartOptions,
  keyring: Keyring,
  configured: Awaited<ReturnType<typeof loadPolicies>>,
  { database, ledger, heads }: Store,
  stops: Step[],
): Promise<Interlock> {
  const { env, logger } = options;
  const clock = options.clock ?? (await databaseClock(database, logger, stops));
  const metrics = createMetrics();
  metrics.set('interlock_build_info', { version: VERSION }, 1);
  const instance = `${hostname()}-${process.pid}-${randomBytes(4).toString('hex')}`;
  const signer = createTokenSigner({ keyring, issuer: config.issuer });
  const keyRefresh = createKeyRefresh(keyring, logger);
  keyRefresh.start();
  stops.push(['keyring', () => keyRefresh.stop()]);
  const outbound = createOutbound({ allow: config.outbound.allow });
  stops.push(['outbound', () => outbound.close()]);

  const policies = createPolicyBook(ledger, configured);
  const progress = createProgressStore(database.pool);
  const runs = createRunService({ ledger, progress, policies, clock, logger });
  const guard = createRestoreGuard({
    ledger,
    heads,
    runs,
    anchors:
      config.ledger.anchors === null
        ? null
        : createAnchors(
            config.ledger.anchors,
            headVerifier(() => keyring.jwks()),
          ),
    clock,
    logger,
  });
  database.onDown(() => guard.doubt());
  await guard.compare();
  const running = createRunningEvaluations();
  observeCommits(runs, { logger, metrics });

  for (const { name, issuer, jwksUrl = issuer } of config.oidc) {
    const refusal = outbound.refusal(jwksUrl);
    if (refusal !== null) {
      throw new InterlockError(`oidc ${name}: its keys cannot be asked for: ${refusal} (outbound.allow)`, {
        code: 'config.invalid',
      });
    }
  }
  const security = createSecurityLog(ledger, clock, logger);
  stops.push(['security log', () => security.settled()]);
  const retiring = createRetiringSecrets({ metrics, security, logger, clock });
  const authenticator = createAuthenticator({
    people:
      config.oidc.length === 0
        ? undefined
        : createPeopleVerifier({
            providers: config.oidc,
            outbound,
            directory: join(config.dataDir, 'oidc'),
            now: clock,
            logger,
          }),
    identities: config.identities,
    now: clock,
    onFailure: (method, reason) =>
      metrics.count('interlock_authentication_failures_total', { method, reason }),
    onRetiringSecret: (identity, secret) => retiring.used(identity, secret),
  });
  const identities = openIdentityBook({
    file: config.identitiesFile,
    env,
    initial: config.identities,
    check: (changed) => oidcDisagreements(config.oidc, changed),
    apply: (changed) => authenticator.replace(changed),
    logger,
  });
  stops.push(['identities', async () => identities.close()]);
  metrics.collect('interlock_identities_stale', () => (identities.isStale() ? 1 : 0));
  for (const sentence of tokensToRenew(config.identities, clock())) logger.warn({}, sentence);
  const tokenUse = keepTokenUse(config.dataDir, () => authenticator.lastUsed());
  stops.push(['token use', () => tokenUse.close()]);

  const port = { value: options.port ?? config.server.port };
  const baseUrl = (): string =>
    config.server.publicUrl ?? `http://${hostInUrl(config.server.host)}:${port.value}`;
  const secretsOf = (by: string) => secretsOfSenders(identities.current())(by);

  const jobsDirectory = join(config.dataDir, 'jobs');
  await mkdir(jobsDirectory, { recursive: true, mode: 0o700 });
  const containment = await detectContainment({
    mode: config.evaluators.containment,
    limits: evaluationLimits(config.evaluators.limits),
  });
  // Before anything new is started: a sweep knows its own jobs by record, group and mark.
  const swept = await sweepOrphans(jobsDirectory, containment);
  const { kind, enforced, missing } = containment;
  logger.info({ containment: kind, enforced, missing }, 'evaluations are contained');
  if (swept.orphans > 0)
    logger.warn({ orphans: swept.orphans }, 'stopped evaluations left by an earlier process');

  const channels = new Map(
    config.alerts.map((channel) => [
      channel.name,
      createAlertChannel(channel, {
        outbound,
        now: clock,
        resolve: (reference) => variable(env, reference),
      }),
    ]),
  );
  const handlers = createWorkHandlers({
    runs,
    ledger,
    running,
    signer,
    instance,
    channels,
    logger,
    evaluators: createEvaluators({
      command: {
        modelRoots: config.models.roots,
        baseEnvironment: { PATH: env['PATH'], HOME: env['HOME'], LANG: env['LANG'] },
        environmentVariable: (name) => (OWN_SECRETS.has(name) ? undefined : env[name]),
        jobsDirectory,
        baseDirectory: dirname(config.file),
        containment,
      },
      http: {
        outbound,
        now: clock,
        secrets: (reference) => (reference === undefined ? [] : secretsNamed(env, reference)),
      },
    }),
    orchestratorOf: (loaded, targetId) => orchestratorOf(loaded, targetId),
    callbackUrl: (evaluationId, attempt) =>
      `${baseUrl()}/v1/evaluations/${encodeURIComponent(evaluationId)}/result?attempt=${attempt}`,
    // The page, not the API: whoever is woken has a browser and no token in it.
    statusUrl: (runId) => `${baseUrl()}/#${encodeURIComponent(runId)}`,
  });

  function orchestratorOf(
    { state }: LoadedRun,
    targetId: string,
  ): ReturnType<typeof createOrchestrator> | null {
    const target = state.targets.find((each) => each.targetId === targetId);
    const parsed = targetSchema.safeParse({ kind: target?.kind, ...target?.config });
    if (!parsed.success || !config.orchestrators[parsed.data.kind].enabled) return null;
    return createOrchestrator(parsed.data, {
      webhook: {
        outbound,
        now: clock,
        secretsFor: ({ secret }) => (secret === undefined ? secretsOf(state.by) : secretsNamed(env, secret)),
      },
    });
  }

  const queue = createWorkQueue({
    backend:
      config.redis.url === null
        ? { kind: 'postgres', url: database.directUrl }
        : { kind: 'redis', url: config.redis.url.reveal() },
    logger,
    concurrency: { evaluate: config.evaluators.concurrency, dispatch: config.evaluators.dispatches },
  });
  const worker = createWorker({
    runs,
    ledger,
    instances: createInstances(database.pool),
    instance,
    running,
    handlers,
    queue,
    isWorker: config.roles.includes('worker'),
    isScheduler: config.roles.includes('scheduler'),
    clock,
    logger,
  });
  stops.push(['worker', () => worker.stop()]);
  observeParts(metrics, { database, reconciler: worker.reconciler });
  const look = observeStanding(metrics, {
    standing: () => readStanding(database.pool),
    queueDepths: () => queue.depths(),
    queueChecks: () => queue.checks(),
    reconciler: worker.reconciler,
    isScheduler: config.roles.includes('scheduler'),
    running: () => running.list().length,
    clock,
  });

  const headSchedule = createHeadSchedule({ heads: guard.heads, signer, runs, logger });
  headSchedule.start();
  stops.push(['head schedule', () => headSchedule.stop()]);
  watchStopWords(runs, security);
  const pulse = createLedgerPulse(database.pool);
  const lineage = createLineage({ runs, ledger, logger });
  lineage.start();
  stops.push(['lineage', () => lineage.stop()]);

  const button = createButtonParts({
    config,
    env,
    logger,
    clock,
    instance,
    runs,
    ledger,
    signer,
    database,
    identities: identities.current,
    supervised: options.supervisesButton === true && config.roles.includes('button'),
  });
  await button.start();
  stops.push(['red button', () => button.stop()]);
  observeButton(metrics, button);

  const isServing = config.roles.includes('api');
  const services: Services = {
    runs,
    ledger,
    heads: guard.heads,
    guard,
    progress,
    signer,
    clock,
    metrics,
    look,
    redButton: button.redButton,
    enterPresses: button.enterPresses,
    pressesWait: () => button.pending() > 0,
    jwks: () => keyring.jwks(),
    modelRoots: config.models.roots,
    page: {
      isOpen: isLoopback(config.server.host),
      publicUrl: config.server.publicUrl,
      sessions: createSessions({
        isSecure: () => config.server.publicUrl?.startsWith('https:') ?? false,
        now: clock,
      }),
      signIn: (token) => signedIn(authenticator, token),
    },
    heartbeats: createHeartbeats({
      runs,
      progress,
      signer,
      clock,
      keySet: () => keyring.keySet(),
      ledgerAdvances: () => pulse.advances(),
      withheld: async (runId) => {
        if (button.isAwaited(runId)) return 'the red button was pressed; the ledger learns of it now';
        return guard.refusal();
      },
      latchLineage: (state) => lineage.latch(state),
      wasCleared: (runId, haltId) => wasCleared(ledger, runId, haltId),
      onUnknownHalt: (runId, haltId, by) => {
        logger.warn({ runId, haltId, by }, 'a trainer obeys a halt that the ledger does not know');
        security.report(aboutTrainer('unknown-halt', by));
      },
    }),
    intake: createIntake({
      runs,
      ledger,
      policies,
      defaultPolicy: config.policies.default,
      policyByLabel: config.policies.byLabel,
      enabledTargets: new Set(
        (['webhook', 'process'] as const).filter((kind) => config.orchestrators[kind].enabled),
      ),
      knownAlerts: new Set(channels.keys()),
      outboundRefusal: (url) => outbound.refusal(url),
      statusUrl: (runId, checkpointId) =>
        `${baseUrl()}/v1/runs/${encodeURIComponent(runId)}/scorecards/${encodeURIComponent(checkpointId)}`,
    }),
    alive: () =>
      liveness({
        writerBusyMs: () => ledger.writerBusyMs(),
        sinceSweepMs: () => worker.reconciler.sinceSweepMs(),
      }),
    ready: () =>
      readiness({
        database: async () => void (await database.pool.query('SELECT 1')),
        queue: () => queue.checks(),
        issuing: () => guard.check(),
        queueIsNeeded: !config.roles.includes('scheduler') && !config.roles.includes('api'),
        lastSweepAt: () => (config.roles.includes('scheduler') ? worker.reconciler.lastSweepAt : clock()),
        clock,
        durability: database.durability,
        standing: config.roles.includes('worker') ? [containmentCheck(containment)] : [],
        advisory: button.checks(),
      }),
  };
  const app = buildServer({
    // A process without the api role answers probes alone.
    routes: isServing ? routesOf(services) : probeRoutes(services),
    authenticator,
    isHttps: config.server.publicUrl?.startsWith('https:') ?? false,
    limits: {
      rates: config.limits,
      streams: {
        ...STREAM_LIMITS,
        perIdentityMax: config.limits.streamsPerIdentity,
        totalMax: config.limits.streamsTotal,
      },
    },
    logger,
    metrics,
    info: {
      title: 'Interlock',
      version: VERSION,
      description:
        'A watchdog for frontier AI training runs: no evidence, no permit; High or forecast Critical, halt.',
    },
    onRefusal: ({ security: matters, ...report }) => {
      if (matters) security.report(report);
    },
  });
  stops.push(['http', async () => void (await app.close())]);
  const address = await app.listen({ host: isServing ? config.server.host : '127.0.0.1', port: port.value });
  port.value = Number(new URL(address).port);
  // Last: an evaluator that is called back needs the address, and one that answers at once is heard.
  await worker.start();
  logger.info(
    { instance, grade: database.grade, durability: database.durability, port: port.value },
    'serving',
  );

  return {
    url: `http://${hostInUrl(config.server.host)}:${port.value}`,
    port: port.value,
    ledger,
    reloadIdentities: async () => void (await identities.reload()),
    close: () => inOrder(logger, [...stops].reverse()),
  };
}

/** Known and accepted at start, hence never a reason not to be ready: `evaluators.containment` is how to insist. */
function containmentCheck({ kind, enforced, missing }: Containment): Check {
  const not = missing.length === 0 ? '' : `; not held here: ${missing.join(', ')}`;
  return {
    name: 'containment',
    ok: true,
    detail: `by ${kind}; limits: ${enforced.join(', ') || 'none'}${not}`,
  };
}

type Step = readonly [name: string, stop: () => Promise<void>];

async function databaseClock({ pool }: DatabaseHandle, logger: Logger, stops: Step[]): Promise<() => Date> {
  const clock = await createDatabaseClock({ ask: () => databaseTimeMs(pool), timers: realTimers, logger });
  stops.push(['clock', async () => clock.stop()]);
  return () => clock.now();
}

/** Named steps, each on its own: one that fails is logged and the next one runs. */
async function inOrder(logger: Logger, steps: readonly Step[]): Promise<void> {
  for (const [name, stop] of steps) {
    try {
      await stop();
    } catch (error) {
      logger.warn({ err: error, step: name }, 'a stop step failed; going on with the next');
    }
  }
}

const hostInUrl = (host: string): string =>
  host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || host.startsWith('127.');

/** By a token of Interlock's or of an identity provider. */
async function signedIn(authenticator: Authenticator, token: string): Promise<Authenticated | null> {
  const auth = ['bearer'] as const;
  try {
    const presented = authenticator.present(['authorization', `Bearer ${token}`], auth);
    return presented.kind === 'person'
      ? await authenticator.person(token, auth)
      : authenticator.bearer(token, auth);
  } catch (error) {
    if (error instanceof Refusal) return null;
    throw error;
  }
}
