/** Quarantine and scoped work, from a run's events alone: in order, not without its own signatures, and nothing evaluated meanwhile. */
import type { RunEvent } from '../../src/domain/run/events.ts';

type Broken = (invariant: number, message: string) => never;

export class QuarantineCheckers {
  readonly #broken: Broken;
  /** Of the halt that stands: in quarantine and not released. */
  #quarantined = false;
  #isHalted = false;
  #isScoped = false;
  #steps: { step: string; late: boolean; done: boolean }[] = [];

  constructor(broken: Broken) {
    this.#broken = broken;
  }

  take(event: RunEvent): void {
    switch (event.kind) {
      case 'HaltOrdered':
        this.#isHalted = true;
        this.#isScoped = false;
        this.#quarantined = event.data.action === 'quarantine';
        this.#steps = [];
        return;
      case 'HaltCauseAdded':
        if (event.data.asks === 'quarantine') this.#quarantined = true;
        if (event.data.asks === 'quarantine' || event.data.cause.kind === 'person') this.#isScoped = false;
        return;
      case 'HaltReopened':
        if (event.data.reason !== 'ordered-again') {
          this.#steps = this.#steps.map(({ step }) => ({ step, late: false, done: false }));
        }
        return;
      case 'QuarantineBegun':
        if (!this.#quarantined) this.#broken(4, 'a quarantine began that nobody ordered');
        this.#steps = event.data.steps.map(({ step }) => ({ step, late: false, done: false }));
        return;
      case 'IsolationStepBegun': {
        const index = this.#steps.findIndex(({ step }) => step === event.data.step);
        const before = this.#steps.slice(0, index);
        if (index < 0 || before.some(({ late, done }) => !late && !done)) {
          this.#broken(5, `${event.data.step} began out of its turn`);
        }
        return;
      }
      case 'IsolationStepOverdue':
        this.#mark(event.data.step, { late: true });
        return;
      case 'IsolationStepConfirmed':
        this.#mark(event.data.step, { done: true });
        return;
      case 'QuarantineReleased':
        this.#quarantined = false;
        return;
      case 'ScopedWorkGranted':
        if (this.#quarantined) this.#broken(4, 'work was let go on in a quarantine');
        if (!this.#isHalted) this.#broken(4, 'work was let go on that nothing had stopped');
        this.#isScoped = true;
        return;
      case 'ScopedWorkEnded':
        this.#isScoped = false;
        return;
      case 'EvaluationStarted':
        if (this.#isHalted && this.#quarantined) {
          this.#broken(9, `${event.data.evaluationId} was started in a quarantine`);
        }
        return;
      case 'RunResumed':
        if (this.#quarantined) this.#broken(4, 'a quarantined run was resumed without its release');
        this.#isHalted = false;
        this.#isScoped = false;
        return;
      default:
        return;
    }
  }

  /** Evaluation and alignment work may go on. */
  get mayWork(): boolean {
    return !this.#isHalted || (this.#isScoped && !this.#quarantined);
  }

  #mark(name: string, change: { readonly late?: boolean; readonly done?: boolean }): void {
    this.#steps = this.#steps.map((each) => (each.step === name ? { ...each, ...change } : each));
  }
}
