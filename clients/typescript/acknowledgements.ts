/** What Interlock is told of halts, in the background: that one was received, that training has stopped. Never rejects. */
import type { InterlockClient } from './client.ts';
import { InterlockClientError } from './errors.ts';
import type { GuardEvent } from './guard-types.ts';

const settledMaxMs = 20_000;

export interface AcknowledgementsOptions {
  client: Pick<InterlockClient, 'acknowledgeHalt'>;
  emit: (event: GuardEvent) => void;
  after: (ms: number, run: () => void) => () => void;
  signal: AbortSignal;
}

export class Acknowledgements {
  readonly #options: AcknowledgementsOptions;
  readonly #open = new Set<Promise<void>>();

  constructor(options: AcknowledgementsOptions) {
    this.#options = options;
  }

  tell(haltId: string, state: 'received' | 'stopped'): void {
    const { client, emit, signal } = this.#options;
    const told = client
      .acknowledgeHalt(haltId, state, signal)
      .then(
        () => emit({ kind: 'halt-acknowledged', haltId, state }),
        (error: unknown) => {
          const code = error instanceof InterlockClientError ? error.code : 'unexpected';
          emit({ kind: 'halt-not-acknowledged', haltId, state, code });
        },
      )
      .finally(() => this.#open.delete(told));
    this.#open.add(told);
  }

  /** Once all are told or given up, or it has taken too long. */
  async settled(): Promise<void> {
    if (this.#open.size === 0) return;
    let callOff = (): void => undefined;
    const late = new Promise<void>((resolve) => {
      callOff = this.#options.after(settledMaxMs, resolve);
    });
    await Promise.race([Promise.all(this.#open), late]);
    callOff();
  }
}
