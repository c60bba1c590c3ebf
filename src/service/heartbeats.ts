/**
 * Heartbeats: the trainer says where it is and hears whether it may go on.
 *
 * Issuing a permit needs everything (a fresh read of the latch on the primary, in the transaction that takes
 * its number); saying halt needs nothing but the order. A heartbeat is not an event: only what it crosses is.
 */
import { type Compute, compareCompute } from '../domain/compute.ts';
import { durationMs } from '../domain/duration.ts';
import { nextCheckpointAt, nextDueCompute } from '../domain/run/cadence.ts';
import { explain } from '../domain/run/halt.ts';
import { permitTerms } from '../domain/run/permit.ts';
import { type RunState, RunStateSchema } from '../domain/run/state.ts';
import { faultPoint } from '../fault-points.ts';
import type { ProgressStore } from '../ledger/progress.ts';
import type { TokenSigner } from '../signing/tokens.ts';
import { signOrder } from './orders.ts';
import { type LoadedRun, type RunService, runStream } from './run-service.ts';

export interface Heartbeat {
  readonly runId: string;
  readonly effectiveCompute: Compute;
  readonly step: number | null;
  readonly nonce: string | null;
  /** The same signed message again: it is answered, and moves nothing. */
  readonly repeated: boolean;
  readonly by: string;
}

export interface Directive {
  readonly action: 'continue' | 'pause' | 'halt' | 'quarantine';
  readonly haltId?: string;
  readonly reason?: string;
  readonly resumeFrom?: string;
  readonly order?: string;
}

export interface HeartbeatAnswer {
  readonly directive: Directive;
  readonly permit: string | null;
  readonly nextCheckpointAt: Compute;
  readonly retain: string[];
}

export type HeartbeatOutcome =
  | { readonly ok: true; readonly answer: HeartbeatAnswer }
  | { readonly ok: false; readonly code: 'not-found' | 'forbidden'; readonly message: string };

export interface HeartbeatDeps {
  readonly runs: RunService;
  readonly progress: ProgressStore;
  readonly signer: TokenSigner;
  readonly clock: () => Date;
}

export interface Heartbeats {
  beat(heartbeat: Heartbeat): Promise<HeartbeatOutcome>;
  /** A permit of the run as it stands, or null. */
  issuePermit(loaded: LoadedRun, nonce: string | null): Promise<string | null>;
}

export function createHeartbeats({ runs, progress, signer, clock }: HeartbeatDeps): Heartbeats {
  async function record(found: LoadedRun, beat: Heartbeat): Promise<LoadedRun> {
    const { advanced } = await progress.beat(beat.runId, beat.effectiveCompute, beat.step);
    return note(found, beat, advanced);
  }

  async function note(loaded: LoadedRun, beat: Heartbeat, advanced: boolean): Promise<LoadedRun> {
    const { effectiveCompute, runId, by } = beat;
    if (!mayMatter(loaded, effectiveCompute, advanced)) return loaded;
    const command = { type: 'NoteProgress' as const, effectiveCompute, advanced };
    await runs.execute(runId, command, { actor: by });
    return (await runs.load(runId)) ?? loaded;
  }

  return { issuePermit, beat: take };

  async function take(beat: Heartbeat): Promise<HeartbeatOutcome> {
    const { runId, by } = beat;
    const found = await runs.load(runId);
    if (found === null) return { ok: false, code: 'not-found', message: `there is no run ${runId}` };
    if (found.state.sources !== null && !found.state.sources.includes(by)) {
      return { ok: false, code: 'forbidden', message: `${by} is not a source of run ${runId}` };
    }
    const loaded = beat.repeated ? found : await record(found, beat);
    const permit = await issuePermit(loaded, beat.nonce);
    if (permit !== null) faultPoint('permit.signed');
    // The latch may have closed between the two reads: what is said must fit what was (not) issued.
    const current = permit === null ? ((await runs.load(runId)) ?? loaded) : loaded;
    const { state } = current;
    return {
      ok: true,
      answer: {
        directive: permit === null ? await directive(state, signer) : { action: 'continue' },
        permit,
        nextCheckpointAt: nextCheckpointAt(state, current),
        retain: state.checkpoints
          .filter(({ closed }) => closed?.verdict !== 'proceed')
          .map(({ checkpointId }) => checkpointId),
      },
    };
  }

  async function issuePermit(
    { policy, state: { runId } }: LoadedRun,
    nonce: string | null,
  ): Promise<string | null> {
    const reserved = await progress.reserveSequence(runId, runStream(runId), (state) => {
      const terms = permitTerms(RunStateSchema.parse(state));
      return terms.granted ? terms : null;
    });
    if (reserved === null) return null;
    faultPoint('permit.numbered');
    const { seq, terms } = reserved;
    const iat = Math.floor(clock().getTime() / 1000);
    return signer.signPermit({
      sub: runId,
      iat,
      exp: iat + Math.max(1, Math.floor(durationMs(policy.permit.ttl) / 1000)),
      epoch: terms.epoch,
      seq,
      ceiling: terms.ceiling,
      nonce,
      clearedHalts: [...terms.clearedHalts],
    });
  }
}

/** Cheap look before a command: most heartbeats cross nothing. */
function mayMatter({ state, policy }: LoadedRun, effectiveCompute: Compute, advanced: boolean): boolean {
  if (state.halt !== null) return advanced;
  return (
    compareCompute(effectiveCompute, state.ceiling) > 0 ||
    compareCompute(effectiveCompute, nextDueCompute(state, { policy })) >= 0
  );
}

export async function directive(state: RunState, signer: TokenSigner): Promise<Directive> {
  const { halt, holds, runId } = state;
  if (halt !== null) {
    const [cause] = halt.causes;
    return {
      action: halt.action,
      haltId: halt.haltId,
      ...(cause === undefined ? {} : { reason: explain(cause) }),
      ...(halt.action === 'quarantine' && state.lastCleared !== null
        ? { resumeFrom: state.lastCleared.checkpointId }
        : {}),
      order: await signOrder(signer, runId, halt),
    };
  }
  const [hold] = holds;
  if (hold !== undefined) return { action: 'pause', reason: hold.findings[0]?.explanation ?? hold.key };
  if (state.finishedAt !== null) return { action: 'pause', reason: 'the run was declared finished' };
  // No permit and nothing against one: the number could not be taken this time. Ask again.
  return { action: 'pause', reason: 'no permit could be issued; ask again' };
}
