/**
 * Relatives in a simulation: two runs that begin with weights of the same name, so that a halt for what one of them can
 * do has to reach the other; and what a run says of its parents and its hours. A fifth of all seeds have them, and draw
 * them from a stream of their own.
 */
import type { JsonObject } from '../../src/domain/canonical-json.ts';
import { compute } from '../../src/domain/compute.ts';
import type { Ancestry } from '../../src/domain/run/ancestry-documents.ts';
import type { Command } from '../../src/domain/run/decide.ts';
import type { RunEvent } from '../../src/domain/run/events.ts';
import { mix } from './faults.ts';
import { createRandom, type Random } from './random.ts';

/** Chosen so that no regression from before there were relatives has any: each goes on telling the story that failed. */
const STREAM = 9_007;
const SHARE = 0.2;

export function relativesOf(seed: number): Random | null {
  const random = createRandom(mix(seed, STREAM));
  return random.chance(SHARE) ? random : null;
}

/** What both began with. No run here made it. */
export const BASE = 'hf://lab/base';

/** In a policy: what hours are held against. */
export const ACCOUNTING: JsonObject = {
  accounting: { accelerators: [{ id: 'fast', peakFlops: 1e15, perNode: 8 }], minAcceleratorHours: 1 },
};

/** Of a parent that is known, and of one that is not. */
export function drawnAncestry(random: Random): Ancestry {
  const runId = random.pick(['p1', 'p2']);
  const to = compute(random.pick([1e20, 1e21]));
  const known = { stated: `${runId}/c1`, runId, checkpointId: 'c1', effectiveCompute: to };
  if (random.chance(0.3)) return { known: [], unknown: [random.pick(['x:1', 'x:2'])], work: [] };
  return { known: [known], unknown: [], work: [{ source: `run:${runId}`, from: null, to }] };
}

/** Something that is learnt of a run's relatives or of its hours. */
export function learnt(random: Random): Command {
  const act = random.next();
  if (act < 0.3) {
    const haltId = `halt_of_${random.below(6)}`;
    const through = random.chance(0.5) ? { through: BASE } : {};
    const action = random.pick(['halt', 'halt', 'quarantine'] as const);
    return { type: 'LatchLineage', ancestor: 'p1', haltId, action, reason: 'High', ...through };
  }
  if (act < 0.6)
    return { type: 'FindParent', stated: random.pick(['x:1', BASE]), ancestry: drawnAncestry(random) };
  const seconds = random.pick([60, 3_600, 360_000]);
  const acceleratorSeconds = random.pick([16 * seconds, null]);
  const target = { targetId: 't1', nodeSeconds: 2 * seconds, acceleratorSeconds };
  return { type: 'NoteUsage', checkpointId: random.pick([null, 'c1', 'c2', 'c3']), targets: [target] };
}

const OF_CAPABILITY = ['level', 'forecast', 'estimate', 'jump', 'risk'];

/** By our own reading of the events: the halt in force, if it is for what the run's weights can do. */
export function haltForCapability(events: readonly RunEvent[]): string | null {
  let inForce: string | null = null;
  let ofWeights = false;
  for (const { kind, data } of events) {
    if (kind === 'RunResumed') {
      inForce = null;
      ofWeights = false;
    }
    if (kind !== 'HaltOrdered' && kind !== 'HaltCauseAdded') continue;
    inForce = data.haltId;
    const { cause } = data;
    if (cause.kind === 'rule' && cause.findings.some((finding) => OF_CAPABILITY.includes(finding.kind)))
      ofWeights = true;
  }
  return ofWeights ? inForce : null;
}

export function wasLatchedBy(events: readonly RunEvent[], haltId: string): boolean {
  let inShadow = false;
  for (const { kind, data } of events) {
    if (kind === 'ShadowEnded') inShadow = false;
    if (kind !== 'HaltOrdered' && kind !== 'HaltCauseAdded' && kind !== 'WouldHaveHalted') continue;
    if (data.cause.kind !== 'lineage' || data.cause.haltId !== haltId) continue;
    if (kind !== 'WouldHaveHalted') return true;
    inShadow = true;
  }
  return inShadow;
}
