import { installSignatures } from './signatures.ts';
import { World } from './world.ts';

process.on('unhandledRejection', (e) => {
  console.log('UNHANDLED', e);
});
const signatures = await installSignatures();
const from = Number(process.argv[2] ?? 1);
const count = Number(process.argv[3] ?? 1);
const counts = new Map<string, number>();
const t0 = performance.now();
let failed = 0;
for (let seed = from; seed < from + count; seed += 1) {
  const world = new World(seed, { signatures });
  try {
    await world.simulate();
  } catch (error) {
    failed += 1;
    if (failed < 12)
      console.log(
        `seed ${seed}: ${error instanceof Error ? (count === 1 ? error.stack : error.message) : String(error)}`,
      );
  }
  if (count === 1) {
    console.log(world.story.join('\n'));
    console.log(
      'events',
      world.scheduler.events,
      'ledger',
      world.store.events.length,
      world.policy.rules.map((r) => r.id),
    );
  }
  for (const [k, n] of world.seen.counts) counts.set(k, (counts.get(k) ?? 0) + n);
  for (const [k, n] of world.faults.counts) counts.set(`~${k}`, (counts.get(`~${k}`) ?? 0) + n);
  counts.set('conflicts', (counts.get('conflicts') ?? 0) + world.store.conflicts);
  counts.set('scheduler events', (counts.get('scheduler events') ?? 0) + world.scheduler.events);
}
const ms = performance.now() - t0;
console.log(Object.fromEntries([...counts].sort()));
console.log(
  `${failed} failed of ${count}; ${(ms / count).toFixed(1)} ms each; cpu ${process.cpuUsage().user / 1000 / count}`,
);
