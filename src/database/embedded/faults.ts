/** What the embedded PostgreSQL says when it cannot run: one sentence, and the way out. */
import { InterlockError } from '../../errors.ts';

const wayOut =
  'to use a PostgreSQL server instead, set DATABASE_URL=postgresql://USER:PASSWORD@HOST:5432/DATABASE';

export type EmbeddedFault =
  | 'embedded-unsupported'
  | 'data-directory-unusable'
  | 'data-directory-foreign'
  | 'version-mismatch'
  | 'in-use-elsewhere'
  | 'initdb-failed'
  | 'start-failed'
  | 'start-timeout'
  | 'closed';

const retryable: readonly EmbeddedFault[] = ['in-use-elsewhere', 'start-failed', 'start-timeout'];

export function fault(code: EmbeddedFault, sentence: string, cause?: unknown): InterlockError {
  return new InterlockError(`${sentence}; ${wayOut}`, {
    code: `database.${code}`,
    retryable: retryable.includes(code),
    cause,
  });
}

/** Whether an error of the operating system has one of these codes. */
export function hasCode(error: unknown, ...codes: readonly string[]): boolean {
  return (
    error instanceof Error && 'code' in error && typeof error.code === 'string' && codes.includes(error.code)
  );
}
