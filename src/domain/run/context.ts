/** What a decision needs beside the state and the command: time, the pinned policy, a digest, side columns. */
import type { Compute } from '../compute.ts';
import type { Policy } from '../policy/schema.ts';
import type { RunEvent } from './events.ts';
import type { Digest } from './ids.ts';

export interface Context {
  readonly now: Date;
  readonly policy: Policy;
  readonly digest: Digest;
  /** The heartbeat side columns, read with the state; null where there was no heartbeat yet. */
  readonly progress: {
    readonly effectiveCompute: Compute;
    readonly at: Date;
    /** Of the last one, whether or not it stated more. */
    readonly heartbeatAt?: Date;
  } | null;
}

/** A command that is refused: nothing is recorded. `code` maps to a problem document. */
export interface Rejection {
  readonly rejected: {
    readonly code: 'conflict' | 'forbidden' | 'invalid' | 'not-found' | 'stale';
    readonly message: string;
    readonly path?: string;
  };
}

/** Events to append (none: the command is a repetition and changes nothing), or a refusal. */
export type Decision = readonly RunEvent[] | Rejection;

export function reject(code: Rejection['rejected']['code'], message: string, path?: string): Rejection {
  return { rejected: path === undefined ? { code, message } : { code, message, path } };
}

export function isRejection(decision: Decision): decision is Rejection {
  return 'rejected' in decision;
}

export const iso = (date: Date): string => date.toISOString();
export const isoAfter = (from: Date | string, ms: number): string =>
  new Date((typeof from === 'string' ? Date.parse(from) : from.getTime()) + ms).toISOString();
export const reached = (now: Date, instant: string): boolean => now.getTime() >= Date.parse(instant);
