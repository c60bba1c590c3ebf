/** Stopping: named steps, in reverse order of starting. */
import type { Logger } from 'pino';

export type Step = readonly [name: string, stop: () => Promise<void>];

/** Named steps, each on its own: one that fails is logged and the next one runs. */
export async function inOrder(logger: Logger, steps: readonly Step[]): Promise<void> {
  for (const [name, stop] of steps) {
    try {
      await stop();
    } catch (error) {
      logger.warn({ err: error, step: name }, 'a stop step failed; going on with the next');
    }
  }
}
