/**
 * An orchestrator in memory, held to the same contract suite as the real ones: it keeps what it was given,
 * answers as it is told, and stops when told.
 */
import type {
  HaltMessage,
  Observation,
  Orchestrator,
  StepOutcome,
} from '../../src/orchestrators/orchestrator.ts';
import { unknownStep } from '../../src/orchestrators/orchestrator.ts';

export interface FakeOrchestrator extends Orchestrator {
  readonly taken: { step: string; message: HaltMessage }[];
  /** The answer to every step from now on. */
  answer(outcome: StepOutcome): void;
  /** What an observation shows from now on. */
  show(observation: Observation): void;
  /** Never answers from now on, until the caller gives up. */
  hang(): void;
}

export function createFakeOrchestrator({
  kind = 'fake',
  steps = ['ask', 'kill'],
  stopsOn = null,
}: {
  kind?: string;
  steps?: readonly string[];
  /** The step after which an observation shows that it has stopped. */
  stopsOn?: string | null;
} = {}): FakeOrchestrator {
  const taken: FakeOrchestrator['taken'] = [];
  let outcome: StepOutcome = { kind: 'accepted', detail: 'taken' };
  let observation: Observation = { state: 'running', detail: 'still there' };
  let silent = false;
  const givenUp = (signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  return {
    kind,
    steps,
    taken,
    answer(next) {
      outcome = next;
    },
    show(next) {
      observation = next;
    },
    hang() {
      silent = true;
    },
    async take(step, message, signal) {
      if (!steps.includes(step)) return unknownStep(kind, steps);
      if (signal.aborted) return { kind: 'retry', detail: 'given up before it was sent' };
      if (silent) {
        await givenUp(signal);
        return { kind: 'retry', detail: 'given up' };
      }
      taken.push({ step, message });
      if (outcome.kind === 'accepted' && step === stopsOn) observation = { state: 'stopped', detail: 'gone' };
      return outcome;
    },
    async observe(signal) {
      if (silent) {
        await givenUp(signal);
        return { state: 'unknown', detail: 'given up' };
      }
      return observation;
    },
    async rehearse(step, _message, signal) {
      if (!steps.includes(step)) return unknownStep(kind, steps);
      if (signal.aborted) return { kind: 'retry', detail: 'given up before it was sent' };
      return outcome;
    },
  };
}
