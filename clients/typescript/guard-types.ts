/** The words of the guard: what it decides, what it tells, and what it is made of. */
import type { HeartbeatReply, InterlockClient } from './client.ts';
import type { GuardStateFile, ReceivedHalt } from './guard-state.ts';
import type { TokenRefusal } from './tokens.ts';

export type GuardVerdict =
  | { verdict: 'go' }
  | { verdict: 'pause'; reason: string }
  | { verdict: 'stop'; reason: string; halt: ReceivedHalt };

export type GuardDirective = HeartbeatReply['directive']['action'];

export type GuardEvent =
  | { kind: 'permit'; epoch: number; seq: number; ceiling: string; remainingMs: number }
  | { kind: 'permit-refused'; reason: TokenRefusal | 'nonce' | 'older-epoch' | 'older-seq' | 'not-saved' }
  /** From here on neither the ceiling nor the end of a permit stops the run; null: from here on they do again. */
  | { kind: 'shadow'; until: string | null }
  | { kind: 'directive'; action: GuardDirective; reason: string | null }
  | { kind: 'heartbeat-failed'; code: string }
  | { kind: 'permit-dropped'; reason: 'revoked-key' }
  | { kind: 'keys-learned'; added: readonly string[]; revoked: readonly string[] }
  | { kind: 'keys-not-learned'; code: string }
  | { kind: 'halt-received'; halt: ReceivedHalt }
  | { kind: 'halt-raised'; halt: ReceivedHalt }
  | { kind: 'halt-not-saved'; haltId: string }
  | { kind: 'halt-suspect'; haltId: string }
  | { kind: 'halt-cleared'; haltId: string }
  | { kind: 'order-refused'; reason: TokenRefusal; via: ReceivedHalt['via'] }
  | { kind: 'halt-acknowledged'; haltId: string; state: 'received' | 'stopped' }
  | { kind: 'halt-not-acknowledged'; haltId: string; state: 'received' | 'stopped'; code: string }
  | { kind: 'checkpoint-delivered'; file: string; disposition: 'evaluate' | 'recorded' }
  | { kind: 'checkpoint-refused'; file: string; code: string }
  | { kind: 'checkpoint-waits'; file: string; code: string }
  | { kind: 'on-halt-failed'; error: string }
  | { kind: 'ending-overran' };

/**
 * `halted`: newly in force, and on disk. `raised`: a halt in force became a quarantine. `not-saved`: in force, but in
 * memory only. `suspect`: signed by a revoked key, obeyed until Interlock says otherwise.
 */
export type OrderOutcome = 'halted' | 'raised' | 'known' | 'cleared' | 'suspect' | 'not-saved' | 'refused';

export interface PermitGuardOptions {
  client: Pick<InterlockClient, 'heartbeat' | 'acknowledgeHalt' | 'jwks'>;
  runId: string;
  /** Where halts are remembered over a restart. */
  stateDirectory: string;
  /** Another memory than a file in that directory; it must last as long as the run. */
  stateFile?: GuardStateFile;
  /** Between heartbeats while training; never over a third of the permit's life. */
  heartbeatIntervalMs?: number;
  /** Between heartbeats while training waits, or after one that failed. */
  impatientIntervalMs?: number;
  /** The key set, where it was brought by hand; otherwise remembered, or at the first start fetched and pinned. */
  jwks?: unknown;
  /** What this process is called; drawn at random unless given. */
  instance?: string;
  /** An earlier process that is known to be gone, where its memory is not at hand to say so. */
  supersedes?: string;
  issuer?: string;
  /** How long the first key set is waited for, which only a run's first start needs. */
  patienceMs?: number;
  onEvent?: (event: GuardEvent) => void;
  /**
   * Called before each heartbeat, after the figures that it states were taken: what they need goes out first. Answers
   * how long what is left should wait, null where nothing is left. Must not reject.
   */
  deliver?: (signal: AbortSignal) => Promise<number | null>;
  monotonicMs?: () => number;
  wallClock?: () => Date;
  /** How the guard waits between heartbeats; a seam for tests. Answers what calls the wait off. */
  after?: (ms: number, run: () => void) => () => void;
  /** A fresh unguessable nonce; a seam for tests. */
  nonce?: () => string;
}
