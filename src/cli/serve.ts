/**
 * `interlock serve`: the service in the foreground, until a signal.
 *
 * Standard output has one line, `listening on URL`, once requests are answered; logs are JSON on standard error.
 * The first SIGTERM or SIGINT stops in order and within STOP_TIMEOUT_MS; unfinished work is handed back and the
 * ledger has everything anyway, so a second signal exits at once and loses nothing that was acknowledged.
 * What is wrong with configuration, key or policies is told all at once, before anything is opened.
 */
import { setFlagsFromString } from 'node:v8';
import { pino } from 'pino';
import type { InterlockConfiguration } from '../composition/configuration.ts';
import type { Environment } from '../config/environment.ts';
import { hideEnvironment } from '../config/hidden-environment.ts';
import type { ServiceRole } from '../config/schema.ts';
import { InterlockError } from '../errors.ts';
import { startInterlock } from '../main.ts';
import { loadPolicies } from '../service/policies.ts';
import { loadKeyring } from '../signing/keyring.ts';
import { createLogger } from '../telemetry/logger.ts';
import { startTracing } from '../telemetry/start-tracing.ts';
import { loadConfig } from './configuration.ts';
import { EXIT, type ExitCode, explainError } from './exit.ts';
import type { Terminal } from './terminal.ts';

const STOP_TIMEOUT_MS = 30_000;
/**
 * How much garbage may pile up before all of it is collected, in percent of what lives. Left to itself V8 lets the heap
 * of a busy process grow to four times that, and keeps what one hour of overload took.
 */
const GARBAGE_PERCENT_MAX = 25;
const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

export async function serve(
  options: { config?: string; port?: number; roles?: readonly ServiceRole[]; labels?: readonly string[] },
  terminal: Terminal,
): Promise<ExitCode> {
  const stated = await loadConfig(options.config, terminal);
  const config = withOptions(stated, options);
  if (config.roles.every((role) => role === 'button')) {
    return (await import('./serve-button.ts')).serveButton({ config: config.file }, terminal);
  }
  await assertUsable(config);
  setFlagsFromString(`--heap-growing-percent=${GARBAGE_PERCENT_MAX}`);
  const logger = createLogger({
    level: config.logLevel,
    destination: pino.destination({ dest: 2, sync: true }),
  });
  // A fault that nobody caught leaves the process in a state that nobody knows: the supervisor starts a new one.
  process.on('uncaughtException', (error) => {
    logger.fatal({ err: error }, 'an uncaught fault; exiting');
    process.exit(EXIT.negative);
  });

  const stop = stopSignal((signal) => logger.info({ signal }, 'stopping'), terminal.env);
  // The usual way to say "read it again"; without a listener it would end the process.
  let reload = async (): Promise<void> => undefined;
  const onHangup = (): void => void reload();
  process.on('SIGHUP', onHangup);
  const tracing = await startTracing(terminal.env, logger);
  // From here on the secrets of the environment are in this copy alone; a report of the process has none of them.
  const env = terminal.env === process.env ? hideEnvironment(process.env) : terminal.env;
  const interlock = await startInterlock(config, {
    env,
    logger,
    port: options.port,
    supervisesButton: true,
  });
  reload = () => interlock.reloadIdentities();
  terminal.print(`listening on ${interlock.url}`);
  await stop.requested;
  await interlock.close();
  await tracing?.stop();
  process.off('SIGHUP', onHangup);
  stop.done();
  logger.info('stopped');
  return EXIT.ok;
}

function withOptions(
  stated: InterlockConfiguration,
  { roles = stated.roles, labels }: { roles?: readonly ServiceRole[]; labels?: readonly string[] },
): InterlockConfiguration {
  if (labels === undefined) return { ...stated, roles };
  if (!roles.includes('worker')) {
    throw new InterlockError('--labels is for a process with the role worker', { code: 'cli.usage' });
  }
  const capacity = stated.workers.labels;
  const own = Object.fromEntries(labels.map((label) => [label, capacity[label] ?? 1]));
  return { ...stated, roles, workers: { labels: own, only: true } };
}

const PARENT_POLL_MS = 500;

/**
 * Heard from the beginning, so that a start that hangs can be ended too. npx does not pass a signal on but ends,
 * and leaves what it started: there, losing the parent is the signal.
 */
function stopSignal(
  onFirst: (signal: string) => void,
  env: Environment,
): { requested: Promise<void>; done(): void } {
  let resolve = (): void => undefined;
  const requested = new Promise<void>((fulfil) => {
    resolve = fulfil;
  });
  let deadline: NodeJS.Timeout | undefined;
  const listeners = Object.entries(SIGNALS).map(([signal, code]) => {
    const listener = (): void => {
      if (deadline !== undefined) process.exit(code);
      deadline = setTimeout(() => process.exit(code), STOP_TIMEOUT_MS);
      clearInterval(watch);
      onFirst(signal);
      resolve();
    };
    process.on(signal, listener);
    return () => process.off(signal, listener);
  });
  const parent = process.ppid;
  const watch =
    env['npm_command'] === 'exec'
      ? setInterval(() => {
          if (process.ppid !== parent) process.emit('SIGTERM', 'SIGTERM');
        }, PARENT_POLL_MS)
      : undefined;
  watch?.unref();
  return {
    requested,
    done() {
      clearInterval(watch);
      clearTimeout(deadline);
      for (const remove of listeners) remove();
    },
  };
}

async function assertUsable(config: InterlockConfiguration): Promise<void> {
  const { directory, default: first, byLabel } = config.policies;
  const isDebugging = false;
  const problems: string[] = [];
  await loadKeyring(config.signingKey).catch((error) => problems.push(explainError(error, isDebugging)));
  try {
    const names = new Set((await loadPolicies(directory)).map(({ policy }) => policy.policy));
    for (const [path, name] of [['policies.default', first], ...Object.entries(byLabel)]) {
      if (name !== undefined && !names.has(name)) {
        problems.push(`${config.file}: ${path} names the policy ${name}, which is not in ${directory}`);
      }
    }
  } catch (error) {
    problems.push(explainError(error, isDebugging));
  }
  if (problems.length > 0) throw new InterlockError(problems.join('\n'), { code: 'cli.not-servable' });
}
