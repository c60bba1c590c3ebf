/**
 * The composition root: reads the configuration's result, builds everything, serves, and stops in reverse order.
 *
 * Start order: database, ledger, adapters, HTTP, then queue and reconciler, whose evaluators call back; until they
 * run, `/readyz` says no and what is acknowledged waits in the ledger. A failing stop step never skips the rest.
 */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { Logger } from 'pino';
import { createActing } from './composition/acting.ts';
import { createCallers, signedIn } from './composition/callers.ts';
import type { InterlockConfiguration } from './composition/configuration.ts';
import { openEvidence } from './composition/evidence.ts';
import { inOrder, type Step } from './composition/steps.ts';
import { databaseClock, openStore, type Store } from './composition/store.ts';
import type { Environment } from './config/environment.ts';
import { shadowUntil } from './config/mode.ts';
import { HTTP_LIMITS } from './http/limits.ts';
import { probeRoutes, routesOf, type Services } from './http/routes/index.ts';
import { buildServer } from './http/server.ts';
import { createSessions } from './http/sessions.ts';
import { STREAM_LIMITS } from './http/sse.ts';
import { createAnchors } from './ledger/anchors.ts';
import { createEvaluationProgress } from './ledger/evaluation-progress.ts';
import { haltedRuns } from './ledger/halted-runs.ts';
import type { Ledger } from './ledger/ledger.ts';
import { createProgressStore } from './ledger/progress.ts';
import { createLedgerPulse } from './ledger/pulse.ts';
import { createOutbound } from './outbound/outbound.ts';
import { createAccountingWatch } from './service/accounting.ts';
import { unreachableApprovals } from './service/approvers.ts';
import { createButtonParts, observeButton } from './service/button-parts.ts';
import { wasCleared } from './service/cleared-halts.ts';
import { holdDrill } from './service/drill.ts';
import { createFenceWatch } from './service/fence-watch.ts';
import { headVerifier } from './service/head-verifier.ts';
import { createHeadSchedule } from './service/heads-schedule.ts';
import { createHeartbeats } from './service/heartbeats.ts';
import { createIntake } from './service/intake.ts';
import { createKeyRefresh } from './service/key-refresh.ts';
import { createLineage } from './service/lineage.ts';
import { liveness } from './service/liveness.ts';
import { announceMode, modeCheck, observeMode } from './service/mode.ts';
import { createParentage } from './service/parentage.ts';
import { createPolicyBook, loadPolicies } from './service/policies.ts';
import { readiness } from './service/readiness.ts';
import { createRestoreGuard } from './service/restore-guard.ts';
import { createRunService } from './service/run-service.ts';
import { createSecurityLog } from './service/security.ts';
import { aboutTrainer, watchStopWords } from './service/stop-words.ts';
import { observeCommits } from './service/telemetry.ts';
import { watchWeights } from './service/weights-guard.ts';
import { type Keyring, loadKeyring } from './signing/keyring.ts';
import { createTokenSigner } from './signing/tokens.ts';
import { createMetrics } from './telemetry/metrics.ts';
import { VERSION } from './version.ts';

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
  const evaluationProgress = createEvaluationProgress(database.pool);
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
  observeCommits(runs, { logger, metrics });

  const security = createSecurityLog(ledger, clock, logger);
  stops.push(['security log', () => security.settled()]);
  const { authenticator, identities } = createCallers({
    config,
    env,
    outbound,
    security,
    metrics,
    clock,
    logger,
    stops,
  });

  const port = { value: options.port ?? config.server.port };
  const baseUrl = (): string =>
    config.server.publicUrl ?? `http://${hostInUrl(config.server.host)}:${port.value}`;

  const evidence = openEvidence({ config, env, outbound, runs, ledger, clock, logger, stops });
  const acting = await createActing({
    evidence,
    config,
    env,
    database,
    ledger,
    runs,
    signer,
    outbound,
    identities: identities.current,
    instance,
    evaluationProgress,
    baseUrl,
    metrics,
    clock,
    logger,
    stops,
  });
  const { queue, worker } = acting;

  const headSchedule = createHeadSchedule({ heads: guard.heads, signer, runs, logger });
  headSchedule.start();
  stops.push(['head schedule', () => headSchedule.stop()]);
  watchStopWords(runs, security);
  watchWeights(runs, security);
  const pulse = createLedgerPulse(database.pool);
  if (config.roles.includes('scheduler')) {
    const fences = createFenceWatch({
      runs,
      haltedRuns: () => haltedRuns(database.pool),
      orchestratorOf: acting.orchestratorOf,
      logger,
    });
    fences.start();
    stops.push(['fence watch', () => fences.stop()]);
  }
  const resolveParents = createParentage({ runs, ledger, progress });
  const lineage = createLineage({ runs, ledger, resolveParents, logger });
  lineage.start();
  stops.push(['lineage', () => lineage.stop()]);
  const accounting = createAccountingWatch({ runs, ledger, orchestratorOf: acting.orchestratorOf, logger });
  accounting.start({ sweeps: config.roles.includes('scheduler') });
  stops.push(['accounting', () => accounting.stop()]);

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

  const inShadowUntil = (): string | null => shadowUntil(config.mode, clock());
  observeMode(metrics, inShadowUntil);
  const isServing = config.roles.includes('api');
  const services: Services = {
    runs,
    ledger,
    heads: guard.heads,
    guard,
    progress,
    evaluationProgress,
    signer,
    clock,
    metrics,
    look: acting.look,
    redButton: button.redButton,
    enterPresses: button.enterPresses,
    pressesWait: () => button.pending() > 0,
    jwks: () => keyring.jwks(),
    shadowUntil: inShadowUntil,
    modelRoots: config.models.roots,
    evidence,
    weights: acting.weights,
    partyKeys: (id) => {
      const party = identities.current().find((each) => each.id === id);
      return party?.roles.includes('outside-evaluator') === true ? party.publicKeys : null;
    },
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
      onDirectiveUnrecorded: (runId, error) =>
        logger.warn({ err: error, runId }, 'that the trainer was told of its halt could not be recorded'),
      onUnknownHalt: (runId, haltId, by) => {
        logger.warn({ runId, haltId, by }, 'a trainer obeys a halt that the ledger does not know');
        security.report(aboutTrainer('unknown-halt', by));
      },
    }),
    drill: (loaded, drillId, reason) => holdDrill(loaded, drillId, reason, acting),
    intake: createIntake({
      runs,
      ledger,
      policies,
      defaultPolicy: config.policies.default,
      policyByLabel: config.policies.byLabel,
      admitTarget: acting.orchestrators.admit,
      knownAlerts: acting.channels,
      shadowUntil: inShadowUntil,
      resolveParents,
      latchLineage: (state) => lineage.latch(state),
      ...(acting.weights === null ? {} : { weights: acting.weights }),
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
        standing: config.roles.includes('worker') ? [acting.containment] : [],
        advisory: [modeCheck(inShadowUntil()), ...button.checks()],
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
  const host = isServing ? config.server.host : '127.0.0.1';
  const address = await app.listen({ host, port: port.value, backlog: HTTP_LIMITS.backlog });
  port.value = Number(new URL(address).port);
  // Last: an evaluator that is called back needs the address, and one that answers at once is heard.
  await worker.start();
  announceMode(logger, config.mode, inShadowUntil());
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

const hostInUrl = (host: string): string =>
  host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;

const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || host.startsWith('127.');
