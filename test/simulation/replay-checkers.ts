/**
 * Invariant 10, after the story: folding the ledger gives the stored states, every recorded judgement follows from
 * what was known, and the chain of hashes holds, by a few lines of our own.
 */
import { createHash } from 'node:crypto';
import { canonicalJson } from '../../src/domain/canonical-json.ts';
import { Folder } from '../../src/ledger/replay.ts';
import { createFolds } from '../../src/service/folds.ts';
import { CLOSE } from './arithmetic.ts';
import { Violation } from './run-checkers.ts';
import type { World } from './world.ts';

export function checkReplay(world: World): void {
  const { store, seen } = world;
  chain(store.envelopes);
  const folder = new Folder(createFolds());
  for (const event of store.events) folder.apply(event);
  const [mismatch] = folder.mismatches;
  if (mismatch !== undefined) {
    throw new Violation(10, `${mismatch.stream} at version ${mismatch.version}: ${mismatch.message}`);
  }
  for (const [stream, { fold, version, state }] of folder.streams) {
    const stored = store.streams.get(stream);
    if (stored === undefined || fold === null || state === null) continue;
    if (stored.version !== version)
      throw new Violation(10, `${stream} is stored at another version than it has events`);
    if (canonicalJson(fold.toJson(state)) !== canonicalJson(stored.state)) {
      throw new Violation(10, `${stream} is stored in another state than its events lead to`);
    }
    if (!('run' in state)) continue;
    // And what our own fold makes of the same events.
    const { run } = state;
    const own = seen.checkersOf(run.runId).standing;
    const same =
      (run.halt?.haltId ?? null) === own.halted &&
      run.holds.length === own.holds &&
      run.epoch === own.epoch &&
      (run.finishedAt !== null) === own.finished &&
      Math.abs(Number(run.ceiling) / own.ceiling - 1) < CLOSE;
    if (!same)
      throw new Violation(10, `${run.runId} stands otherwise by the checkers' fold: ${JSON.stringify(own)}`);
  }
}

function chain(envelopes: readonly string[]): void {
  let before = '0'.repeat(64);
  for (const [i, envelope] of envelopes.entries()) {
    if (!envelope.includes(`"prevHash":"${before}"`))
      throw new Violation(10, `event ${i + 1} does not follow the one before it`);
    before = createHash('sha256')
      .update(Buffer.from([0]))
      .update(envelope)
      .digest('hex');
  }
}
