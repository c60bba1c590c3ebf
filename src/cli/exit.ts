/**
 * Exit codes, the same for every command, and the sentence for whatever went wrong.
 *
 * 0: done, or the answer is yes. 1: the answer is no (a check failed, the service refused what was asked).
 * 2: the question could not be put (usage, configuration, database or service out of reach).
 * An error that nobody expected is shown by its kind and message only; its stack needs INTERLOCK_DEBUG=1.
 */
import { InterlockError } from '../errors.ts';

export const EXIT = { ok: 0, negative: 1, failed: 2 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The caller asked for something that cannot be asked. */
export class UsageError extends InterlockError {
  constructor(message: string) {
    super(message, { code: 'cli.usage' });
    this.name = 'UsageError';
  }
}

/** The service's answer was no, or was none. */
export class ServiceError extends InterlockError {
  readonly exit: ExitCode;
  /** HTTP status; null where there was no answer. */
  readonly status: number | null;

  constructor(
    message: string,
    { exit, status, code }: { exit: ExitCode; status: number | null; code: string },
  ) {
    super(message, { code });
    this.name = 'ServiceError';
    this.exit = exit;
    this.status = status;
  }
}

export function exitCodeOf(error: unknown): ExitCode {
  return error instanceof ServiceError ? error.exit : EXIT.failed;
}

const SYSTEM_WORDS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the address is in use by another process; choose another with --port',
  EADDRNOTAVAIL: 'the address in server.host does not belong to this machine',
  EACCES: 'permission denied',
  ENOENT: 'no such file or directory',
  EISDIR: 'it is a directory',
  ENOTDIR: 'a part of the path is not a directory',
  EEXIST: 'the file exists',
  ENOSPC: 'the disk is full',
};

export function explainError(error: unknown, isDebugging: boolean): string {
  if (!(error instanceof Error)) return 'an unknown fault';
  if (isDebugging) return error.stack ?? error.message;
  if (error instanceof InterlockError) return error.message;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  const words = SYSTEM_WORDS[code];
  if (words === undefined) return `${error.name}: ${error.message}`;
  const path = 'path' in error && typeof error.path === 'string' ? `${error.path}: ` : '';
  return `${path}${words} (${code})`;
}
