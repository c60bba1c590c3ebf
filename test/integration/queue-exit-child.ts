/** Run as its own process by queue-exit.test.ts: uses a queue, closes it, and must then end by itself. */
import { createWorkQueue, type QueueBackend } from '../../src/queue/create-work-queue.ts';
import { handlersFor, item, silentLogger, untilAborted } from '../contract/work-queue-contract.ts';

const [kind, url, start] = process.argv.slice(2);
if (url === undefined) throw new Error('usage: queue-exit-child <kind> <url> <start>');
const backend: QueueBackend = kind === 'redis' ? { kind, url } : { kind: 'postgres', url };
const queue = createWorkQueue({ backend, logger: silentLogger });

let arrived = () => {};
const running = new Promise<void>((resolve) => {
  arrived = resolve;
});
const handlers = handlersFor((work, signal) => {
  arrived();
  return untilAborted(work, signal);
});
if (start === 'start') {
  await queue.start(handlers);
  await queue.enqueue([item('evaluate'), item('tick', { notBeforeMs: Date.now() + 3_600_000 })]);
  await running;
} else {
  // The store is away: both must fail, and leave nothing behind.
  await queue.start(handlers).catch(() => {});
  await queue.enqueue([item('evaluate')]);
}
await queue.close();
process.stdout.write('closed\n');
