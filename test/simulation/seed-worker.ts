/** A process of `npm run simulate`: runs the seeds it is sent, one after the other, and says what came of each. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { z } from 'zod';
import { endOnUnhandled, runSeed, shortestStory } from './run-seed.ts';
import { installSignatures } from './signatures.ts';

const MessageSchema = z.union([z.object({ seeds: z.array(z.number()) }), z.object({ story: z.number() })]);

// The correlation id of log lines, which nobody reads here: carrying it makes every promise of a process cost more.
Object.assign(AsyncLocalStorage.prototype, { run: (_id: unknown, work: () => unknown) => work() });
const signatures = await installSignatures();
endOnUnhandled();
process.on('message', (received) => {
  const message = MessageSchema.parse(received);
  void ('seeds' in message ? runs(message.seeds) : tells(message.story));
});
// Whoever sent us here has gone, or has heard enough.
process.on('disconnect', () => process.exit());
process.on('error', () => process.exit());
process.send?.({ ready: true });

async function runs(seeds: readonly number[]): Promise<void> {
  for (const seed of seeds) {
    process.send?.({ result: await runSeed(seed, { signatures }) });
    // Let what was sent go out: a seed leaves no room between its events.
    await new Promise((resolve) => setImmediate(resolve));
  }
  process.send?.({ ready: true });
}

async function tells(seed: number): Promise<void> {
  process.send?.({ told: await shortestStory(seed, { signatures }) });
}
