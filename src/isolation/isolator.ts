/**
 * What every isolation adapter looks like: it asks a system of the site to take a quarantined run's weights out of reach,
 * and says whether that is done. `isolated` is the other side's own word for the state that it sees, never that it took
 * the call.
 *
 * Adapters translate. They do not decide, schedule or retry, and they do not throw for what the other side does.
 */
import type { Revert } from '../domain/run/quarantine-documents.ts';

export interface IsolationMessage {
  readonly runId: string;
  readonly haltId: string;
  readonly step: string;
  readonly reason: string;
  /** The signed halt order (compact JWS), so that whoever is called can check who asks. */
  readonly order: string;
  /** The weights that people are told to go back to: not the ones to destroy. */
  readonly revert: Revert | null;
}

export interface IsolationOutcome {
  readonly kind: 'isolated' | 'accepted' | 'retry' | 'rejected';
  readonly detail: string;
}

export interface Isolator {
  isolate(message: IsolationMessage, signal: AbortSignal): Promise<IsolationOutcome>;
}
