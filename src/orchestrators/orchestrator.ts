/**
 * What every orchestrator adapter looks like: it takes one step of a halt's ladder, and it says whether the
 * run still runs. `accepted` means that the other side took the message or the signal, never that the run
 * stopped: only an observation, or the trainer's own word with no progress after it, says that.
 *
 * Adapters translate. They do not decide, schedule or retry, and they do not throw for what the other side does.
 */
export interface HaltMessage {
  runId: string;
  haltId: string;
  action: 'halt' | 'quarantine';
  reason: string;
  epoch: number;
  /** The signed halt order (compact JWS). */
  order: string;
  attempt: number;
}

export type StepOutcome =
  | { kind: 'accepted'; detail: string }
  | { kind: 'retry'; detail: string }
  /** Only where the identical attempt can never help. */
  | { kind: 'rejected'; detail: string };

export type Observation = { state: 'running' | 'stopped' | 'unknown'; detail: string };

/** What the system itself says that the run has had of it, so that stated compute can be held against it. */
export interface Usage {
  /** Wall-clock seconds for which nodes were allocated, summed over them. */
  nodeSeconds: number;
  /** The same of accelerators, each part for its own time; null where the system does not say. */
  acceleratorSeconds: number | null;
}

export interface Orchestrator {
  kind: string;
  steps: readonly string[];
  take(step: string, message: HaltMessage, signal: AbortSignal): Promise<StepOutcome>;
  observe(signal: AbortSignal): Promise<Observation>;
  /** The least pause between two looks during a halt, where looking costs more than a request. */
  readonly pollMs?: number;
  /** As far as `take` can go without doing it: reached, let in, allowed to, and the run is known there. Changes nothing. */
  rehearse?(step: string, message: HaltMessage, signal: AbortSignal): Promise<StepOutcome>;
  /** Null where it cannot be known now. */
  usage?(signal: AbortSignal): Promise<Usage | null>;
}

export function unknownStep(kind: string, steps: readonly string[]): StepOutcome {
  return { kind: 'rejected', detail: `the ${kind} orchestrator has only the steps ${steps.join(', ')}` };
}
