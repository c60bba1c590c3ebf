/**
 * What the queue may say in a log: codes, names and places, never the text of a foreign error.
 *
 * A store that is down fails thousands of calls a second; each distinct failure is logged at once and then
 * at most every ten seconds, with the number left out.
 */
import { InterlockError } from '../errors.ts';

/** The part of the logger used here; a pino logger fits. */
export interface QueueLogger {
  debug(facts: object, message: string): void;
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

const REPEAT_MS = 10_000;
const DISTINCT_MAX = 1_000;

export interface ErrorFacts {
  error: string;
  code?: string;
  message?: string;
}

export function errorFacts(error: unknown): ErrorFacts {
  if (error instanceof InterlockError) return { error: error.name, code: error.code, message: error.message };
  if (!(error instanceof Error)) return { error: typeof error };
  return 'code' in error && typeof error.code === 'string'
    ? { error: error.name, code: error.code }
    : { error: error.name };
}

export interface FaultLog {
  warn(source: string, error: unknown, message: string): void;
}

export function createFaultLog(logger: QueueLogger, now: () => number = Date.now): FaultLog {
  const seen = new Map<string, { loggedAtMs: number; leftOut: number }>();
  return {
    warn(source, error, message) {
      const facts = errorFacts(error);
      const key = `${source} ${facts.error} ${facts.code ?? ''} ${message}`;
      const last = seen.get(key);
      const atMs = now();
      if (last !== undefined && atMs - last.loggedAtMs < REPEAT_MS && atMs >= last.loggedAtMs) {
        last.leftOut += 1;
        return;
      }
      if (seen.size >= DISTINCT_MAX) seen.clear();
      seen.set(key, { loggedAtMs: atMs, leftOut: 0 });
      logger.warn({ source, ...facts, ...(last ? { leftOut: last.leftOut } : {}) }, message);
    },
  };
}
