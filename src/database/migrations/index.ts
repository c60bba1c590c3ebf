/**
 * The migrations, oldest first. Forward only: a migration that has been released is never edited (its checksum is
 * stored where it ran), a mistake is mended by the next one.
 */
import { migration0001 } from './0001-ledger.ts';
import { migration0002 } from './0002-permit-holder.ts';
import { migration0003 } from './0003-worker-labels.ts';
import { migration0004 } from './0004-evaluation-progress.ts';

export interface Migration {
  /** Four digits and a name; the list is in this order. */
  readonly id: string;
  readonly sql: string;
}

export const migrations: readonly Migration[] = [migration0001, migration0002, migration0003, migration0004];
