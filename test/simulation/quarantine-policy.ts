/** Which stories name what isolates a run, drawn from a stream of their own. */
import type { JsonObject } from '../../src/domain/canonical-json.ts';
import { mix } from './faults.ts';
import { createRandom } from './random.ts';

const STREAM = 1_011;

export function isolationOf(seed: number): JsonObject {
  const random = createRandom(mix(seed, STREAM));
  if (random.chance(0.5)) return {};
  const isolate = ['cut-network', 'lock-weights', 'move-weights']
    .slice(0, 1 + random.below(3))
    .map((step) => ({ step, kind: 'command', command: step, within: random.pick(['10s', '1m', '5m']) }));
  return {
    quarantine: { isolate, isolateAfter: random.pick(['30s', '5m']) },
    ...(random.chance(0.5) ? { evaluations: 'stop' } : {}),
  };
}
