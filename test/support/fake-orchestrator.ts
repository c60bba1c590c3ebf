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
}

export function createFakeOrchestrator({
  kind = 'fake',
  steps = ['ask', 'kill'],
}: {
  kind?: string;
  steps?: readonly string[];
} = {}): FakeOrchestrator {
  const taken: FakeOrchestrator['taken'] = [];
  let outcome: StepOutcome = { kind: 'accepted', detail: 'taken' };
  let observation: Observation = { state: 'running', detail: 'still there' };
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
    async take(step, message, signal) {
      if (!steps.includes(step)) return unknownStep(kind, steps);
      if (signal.aborted) return { kind: 'retry', detail: 'given up before it was sent' };
      taken.push({ step, message });
      return outcome;
    },
    async observe() {
      return observation;
    },
  };
}
