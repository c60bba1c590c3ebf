/**
 * Looks at the weights of a checkpoint where they lie in a local path: before an attempt of an evaluation begins, and
 * again once it has ended, so that a score is one of the bytes that the ledger names.
 *
 * The first look reads everything (evaluators/weights); a later one compares sizes, times and inodes, and reads only
 * where these differ. What is found goes to the ledger, and the domain says what follows (domain/run/weights.ts).
 * Fails closed: weights that cannot be looked at are not evaluated. Weights elsewhere (s3://, hf://) are not looked at:
 * there the digest that the sender states is compared with the one that the result states.
 */
import { locate } from '../domain/run/evaluation.ts';
import type { CheckpointState } from '../domain/run/state.ts';
import { unscorableBecause, WEIGHTS_CHANGED } from '../domain/run/weights.ts';
import { resolveModelUri } from '../evaluators/model-uri.ts';
import { inventory, WeightsError, type WeightsProblem } from '../evaluators/weights/digest.ts';
import type { Digester, DigestListener } from '../evaluators/weights/digester.ts';
import type { LoadedRun, RunService } from './run-service.ts';
import type { SecurityLog } from './security.ts';

export type WeightsLook =
  | { readonly ok: true }
  | { readonly ok: false; readonly reason: WeightsProblem | typeof WEIGHTS_CHANGED };

export interface WeightsGuard {
  /** Of the checkpoint that an evaluation is of; `ok` where nothing speaks against scoring it. Says how far it has read. */
  look(runId: string, evaluationId: string, onProgress?: DigestListener): Promise<WeightsLook>;
}

export interface WeightsGuardDeps {
  readonly runs: Pick<RunService, 'load' | 'execute'>;
  readonly digester: Digester;
  readonly modelRoots: readonly string[];
  readonly logger: { warn(fields: object, message: string): void };
}

export function createWeightsGuard({ runs, digester, modelRoots, logger }: WeightsGuardDeps): WeightsGuard {
  async function look(
    runId: string,
    evaluationId: string,
    onProgress?: DigestListener,
  ): Promise<WeightsLook> {
    const loaded = await runs.load(runId);
    const checkpoint = loaded === null ? null : checkpointOf(loaded, evaluationId);
    if (checkpoint === null) return { ok: true };
    if (unscorableBecause(checkpoint) !== null) return { ok: false, reason: WEIGHTS_CHANGED };
    const path = await localPath(checkpoint.modelUri);
    // Never read where they lie: another reader would have said so by now.
    if (path === null) return gone(checkpoint);
    if (await isUntouched(path, checkpoint)) return { ok: true };
    return read(runId, checkpoint, path, onProgress);
  }

  async function read(
    runId: string,
    { checkpointId }: CheckpointState,
    path: string,
    onProgress?: DigestListener,
  ): Promise<WeightsLook> {
    const digested = await digester.digest(path, onProgress);
    if (!digested.ok) {
      const { problem, detail } = digested;
      logger.warn({ runId, checkpointId, problem, detail }, 'weights could not be read');
      return { ok: false, reason: problem };
    }
    const { found } = digested;
    const executed = await runs.execute(
      runId,
      { type: 'NoteWeights', checkpointId, ...found },
      { actor: 'interlock', urgent: true },
    );
    // Not recorded, so that nobody can compare it later: nothing speaks for these weights.
    if (!('state' in executed)) return { ok: false, reason: 'weights-unreadable' };
    const after = executed.state.checkpoints.find((each) => each.checkpointId === checkpointId);
    return after === undefined || unscorableBecause(after) === null
      ? { ok: true }
      : { ok: false, reason: WEIGHTS_CHANGED };
  }

  async function isUntouched(path: string, { weights }: CheckpointState): Promise<boolean> {
    const known = weights?.fingerprint ?? null;
    if (known === null) return false;
    try {
      return (await inventory(path, { roots: modelRoots })).fingerprint === known;
    } catch (error) {
      if (error instanceof WeightsError) return false;
      throw error;
    }
  }

  /** The path that a local URI resolves to; null for one that is elsewhere, or that nobody may read. */
  async function localPath(modelUri: string): Promise<string | null> {
    if (/^[a-z][a-z0-9+.-]*:\/\//i.test(modelUri) && !/^file:/i.test(modelUri)) return null;
    const resolved = await resolveModelUri(modelUri, modelRoots);
    if (!resolved.ok) return null;
    return /^file:/i.test(resolved.uri) ? decodeURIComponent(new URL(resolved.uri).pathname) : resolved.uri;
  }

  return { look };
}

/** Somebody put other weights in the place of reported ones: what an intruder, or a trainer that hides something, would do. */
export function watchWeights(runs: Pick<RunService, 'onCommit'>, security: SecurityLog): void {
  runs.onCommit(({ after, events }) => {
    const isChanged = events.some(({ kind }) => kind === 'WeightsChanged');
    if (!isChanged) return;
    const about = { code: 'weights-changed', method: 'POST', route: '/v1/checkpoints' };
    security.report({ ...about, status: 200, correlationId: '', identityId: after.by });
  });
}

/** What lay in a local path once, and does so no more, cannot be shown to be what was evaluated. */
const gone = ({ weights }: CheckpointState): WeightsLook =>
  weights === undefined ? { ok: true } : { ok: false, reason: 'weights-gone' };

function checkpointOf({ state, policy }: LoadedRun, evaluationId: string): CheckpointState | null {
  return locate(state, evaluationId, policy)?.checkpoint ?? null;
}
