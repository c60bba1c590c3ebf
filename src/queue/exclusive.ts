/**
 * Never the same work twice at a time in this process.
 *
 * The reconciler may run an item directly while the queue delivers the same one. Wrapping the handlers
 * once, and giving the wrapped ones to both, makes the second a no-op: the first is doing the work, and if
 * it fails the item is still outstanding and comes again.
 *
 * Across processes this says nothing; the handlers' own fencing does.
 */
import { realTimers, type Timer, type Timers } from '../timers.ts';
import type { WorkHandler, WorkHandlers, WorkItem } from './work-queue.ts';

/** A handler that ignores its aborted signal this long no longer keeps its key: work must not stop for it. */
const DEAF_HANDLER_MS = 30_000;

export const workKey = (item: Pick<WorkItem, 'kind' | 'key'>): string => `${item.kind}/${item.key}`;

export function exclusive(handlers: WorkHandlers, timers: Timers = realTimers): WorkHandlers {
  const held = new Map<string, symbol>();

  const guard =
    (handler: WorkHandler): WorkHandler =>
    async (item, signal) => {
      const key = workKey(item);
      if (held.has(key)) return;
      const holder = Symbol(key);
      held.set(key, holder);
      const letGo = () => {
        if (held.get(key) === holder) held.delete(key);
      };
      let timer: Timer | undefined;
      const onAbort = () => {
        timer = timers.set(letGo, DEAF_HANDLER_MS, { unref: true });
      };
      signal.addEventListener('abort', onAbort, { once: true });
      try {
        await handler(item, signal);
      } finally {
        timers.clear(timer);
        signal.removeEventListener('abort', onAbort);
        letGo();
      }
    };

  return {
    evaluate: guard(handlers.evaluate),
    dispatch: guard(handlers.dispatch),
    'halt-step': guard(handlers['halt-step']),
    observe: guard(handlers.observe),
    isolate: guard(handlers.isolate),
    alert: guard(handlers.alert),
    tick: guard(handlers.tick),
  };
}
