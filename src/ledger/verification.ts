/** What a verifier asks for and what it says of a ledger. */
import type { TreeState } from './leaf-window.ts';

export type ProblemCode =
  | 'unreadable'
  | 'not-canonical'
  | 'unterminated'
  | 'id-mismatch'
  | 'entry-changed'
  | 'entry-removed'
  | 'entry-moved'
  | 'entry-repeated'
  | 'version-gap'
  | 'version-repeated'
  | 'time-backwards'
  | 'entries-missing'
  | 'head-unreadable'
  | 'head-signature'
  | 'head-order'
  | 'head-mismatch'
  | 'no-signed-head'
  | 'trusted-head-unreadable'
  | 'trusted-head-mismatch'
  | 'column-mismatch'
  | 'ledger-head-mismatch'
  | 'stream-head-mismatch';

export interface Problem {
  code: ProblemCode;
  /** The entry concerned, counted from 1, where there is one. */
  seq: number | null;
  /** The line of the file, counted from 1; null in a live database. */
  line: number | null;
  message: string;
}

export interface Verification {
  ok: boolean;
  events: number;
  /** What was found, whether or not anything signed says the same. */
  head: TreeState;
  headsVerified: number;
  /** Signed heads with a good signature that are too far back in a huge file to compare. */
  headsUnchecked: number;
  /** Events after the newest head that was verified. */
  unsignedEvents: number;
  /** In order of place, at most `PROBLEMS_MAX`. */
  problems: Problem[];
  problemsTotal: number;
}

/** Rejects where the signature, the type, the audience or a claim is not right. */
export type VerifyHeadJws = (jws: string) => Promise<TreeState>;

export interface VerifyOptions {
  verifyHeadJws: VerifyHeadJws;
  /** The compact JWS of an older head, kept outside: proves that this ledger is a continuation of that one. */
  trustedHead?: string;
  /** Default true: a ledger that nobody signed proves nothing. */
  requireSignedHead?: boolean;
}
