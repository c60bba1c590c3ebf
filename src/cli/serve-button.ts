/**
 * `interlock serve --roles button`: the red button's own process, as the service starts it.
 *
 * Loads neither database nor queue. A signal ends it in order: what is being sent is finished, the rest is in the
 * spool. It also ends when another process has taken its place, or its directory is gone. A log that cannot be written
 * (a full disk) is no reason to end.
 */
import { writeSync } from 'node:fs';
import { startButton } from '../button/process.ts';
import { hideEnvironment } from '../config/hidden-environment.ts';
import { InterlockError } from '../errors.ts';
import { createLogger } from '../telemetry/logger.ts';
import { loadConfig } from './configuration.ts';
import { EXIT, type ExitCode } from './exit.ts';
import type { Terminal } from './terminal.ts';

const STOP_TIMEOUT_MS = 5_000;

export async function serveButton(options: { config?: string }, terminal: Terminal): Promise<ExitCode> {
  const config = await loadConfig(options.config, terminal);
  const logger = createLogger({ level: config.logLevel, destination: { write: writeLog } });
  process.on('uncaughtException', (error) => {
    logger.fatal({ err: error }, 'an uncaught fault; the service starts the red button again');
    process.exit(EXIT.negative);
  });
  // Of the terminal or the session that started it: no reason for a red button to go.
  process.on('SIGHUP', () => undefined);
  let asked = (_signal: string): void => undefined;
  const signalled = new Promise<string>((resolve) => {
    asked = resolve;
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => asked(signal));

  const env = terminal.env === process.env ? hideEnvironment(process.env) : terminal.env;
  const button = await startButton(config, { env, logger }).catch((error: unknown) => {
    // Two that were started at once: one is enough.
    if (error instanceof InterlockError && error.code === 'button.running') return null;
    throw error;
  });
  if (button === null) return EXIT.ok;
  terminal.print(`the red button is live on ${button.url}`);
  const why = await Promise.race([signalled, button.displaced]);
  logger.info({ why }, 'the red button ends');
  setTimeout(() => process.exit(EXIT.ok), STOP_TIMEOUT_MS).unref();
  await button.close();
  return EXIT.ok;
}

function writeLog(line: string): void {
  try {
    writeSync(2, line);
  } catch {
    // Nowhere to say it.
  }
}
