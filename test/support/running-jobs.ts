/** The jobs that one process of a queue in memory is running: each until it ends or the queue closes. */
import type { HandlerRun } from '../../src/queue/run-handler.ts';
import type { WorkKind } from '../../src/queue/work-queue.ts';

export class RunningJobs {
  readonly #runs = new Map<string, { kind: WorkKind; run: HandlerRun }>();

  count(kind: WorkKind): number {
    return [...this.#runs.values()].filter((entry) => entry.kind === kind).length;
  }

  /**
   * `ended` learns whether the job goes back to its queue, as it does only where the queue closed under it. A call
   * and not the promise's value: in the simulation one more turn of the event loop is another order of events.
   */
  async follow(
    id: string,
    kind: WorkKind,
    run: HandlerRun,
    ended: (handedBack: boolean) => void,
  ): Promise<void> {
    this.#runs.set(id, { kind, run });
    let handedBack = false;
    try {
      await run.done;
    } catch {
      handedBack = run.cause() === 'queue.closing';
    }
    this.#runs.delete(id);
    ended(handedBack);
  }

  async close(): Promise<void> {
    const runs = [...this.#runs.values()].map(({ run }) => run);
    for (const run of runs) run.abort('queue.closing');
    await Promise.allSettled(runs.map((run) => run.done));
  }
}
