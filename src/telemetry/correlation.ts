/**
 * One correlation id from a webhook to the halt it leads to: carried through awaits in this process,
 * put into every log line by the logger's mixin, and handed to jobs by whoever makes them.
 */
import { AsyncLocalStorage } from 'node:async_hooks';

const storage = new AsyncLocalStorage<string>();

export function withCorrelation<T>(correlationId: string, work: () => T): T {
  return storage.run(correlationId, work);
}

export function currentCorrelation(): string | undefined {
  return storage.getStore();
}
