/**
 * Heartbeats: the trainer says where it is and hears whether it may go on.
 *
 * Issuing a permit needs everything (a fresh read of the latch on the primary and of those of the runs it descends
 * from, in the transaction that takes its number; a ledger that can advance; no other process that holds the run's
 * permit); saying halt needs nothing but the order. A heartbeat is not an event: only what it crosses is.
 * A run in shadow is told to continue whatever stands in the way of a permit, but for what people pressed.
 */
import { type Compute, compareCompute, maxCompute } from '../domain/compute.ts';
import { durationMs } from '../domain/duration.ts';
import { nextCheckpointAt, nextDueCompute } from '../domain/run/cadence.ts';
import type { StatedStage } from '../domain/run/events.ts';
import { explain } from '../domain/run/halt.ts';
import { parentRuns } from '../domain/run/lineage.ts';
import { nextDeadlineMs } from '../domain/run/outstanding.ts';
import { permitTerms } from '../domain/run/permit.ts';
import { retained } from '../domain/run/retention.ts';
import { workTerms } from '../domain/run/scoped-work.ts';
import { shadowOf } from '../domain/run/shadow-state.ts';
import type { RunState } from '../domain/run/state.ts';
import { mattersStage } from '../domain/run/training-stage.ts';
import { faultPoint } from '../fault-points.ts';
import type { PermitClaim, ProgressStore } from '../ledger/progress.ts';
import type { TokenSigner, WorkPermitClaims } from '../signing/tokens.ts';
import { signOrder } from './orders.ts';
import { type LoadedRun, type RunService, readRunState, runStream } from './run-service.ts';

export interface Heartbeat {
  readonly runId: string;
  readonly effectiveCompute: Compute;
  readonly step: number | null;
  readonly nonce: string | null;
  /** The same signed message again. Where the first took effect, it is answered and moves nothing. */
  readonly repeated: boolean;
  readonly by: string;
  /** Which process of the run speaks; null where the client names none. */
  readonly instance?: string | null;
  readonly supersedes?: string | null;
  /** Halts that are in force at the trainer. */
  readonly halts?: readonly string[];
  readonly trainingStage?: StatedStage | undefined;
  /** The process trains no more: it asks for no permit and keeps none. */
  readonly leaving?: boolean;
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
  /** Of each of them, an instant: at least until then. */
  readonly retainUntil: Record<string, string>;
  /** Names the key set: another name, another set to be fetched. */
  readonly keySet?: string;
}

export type HeartbeatOutcome =
  | {
      readonly ok: true;
      readonly answer: HeartbeatAnswer;
      /** Where no permit is to be had before, and nobody need be asked: when asking again is of use. */
      readonly retryAfterS?: number;
    }
  | { readonly ok: false; readonly code: 'not-found' | 'forbidden'; readonly message: string };

export interface HeartbeatDeps {
  readonly runs: RunService;
  readonly progress: ProgressStore;
  readonly signer: TokenSigner;
  readonly clock: () => Date;
  readonly keySet?: () => string;
  /** Whether a halt could be recorded now. */
  readonly ledgerAdvances?: () => Promise<boolean>;
  /** Why the run gets no permit now, whatever its state says; null where nothing is in the way. */
  readonly withheld?: (runId: string) => Promise<string | null>;
  /** Latches a run by the halts of its parents. */
  readonly latchLineage?: (state: RunState) => Promise<void>;
  /** What was cleared too long ago for the run's state to name it. */
  readonly wasCleared?: (runId: string, haltId: string) => Promise<boolean>;
  readonly onDirectiveUnrecorded?: (runId: string, error: unknown) => void;
  /** A trainer obeys an order that the ledger knows nothing of. */
  readonly onUnknownHalt?: (runId: string, haltId: string, by: string) => void;
}

/** Why there is no permit, where the run's state alone does not say. */
type Refused =
  | { readonly refused: 'terms' }
  | { readonly refused: 'ledger'; readonly retryAfterS: number }
  | { readonly refused: 'occupied' | 'withheld'; readonly reason: string; readonly retryAfterS: number };

/** As the ledger comes back, a holder leaves or people accept a ledger: soon enough, and no crowd. */
const LEDGER_RETRY_S = 1;
const REFUSED_RETRY_MAX_S = 5;

export interface Heartbeats {
  beat(heartbeat: Heartbeat): Promise<HeartbeatOutcome>;
  /** A permit of the run as it stands, or null. */
  issuePermit(loaded: LoadedRun, nonce: string | null): Promise<string | null>;
  /** What a launcher is told before anything of the run starts: as a permit would be, without taking one. */
  mayStart(loaded: LoadedRun): Promise<MayStart>;
  /** Leave to evaluate or align, by what stands in the ledger now. */
  workPermit(runId: string, purpose: WorkPurpose, nonce: string | null): Promise<WorkPermit>;
}

export type WorkPurpose = WorkPermitClaims['purpose'];
export type WorkPermit =
  | { readonly granted: true; readonly permit: string; readonly expiresAt: Date }
  | { readonly granted: false; readonly reason: string };

export type MayStart =
  | { readonly granted: true; readonly epoch: number; readonly ceiling: Compute }
  | { readonly granted: false; readonly reason: string };

/** Beside the newest that a permit names anyway. */
const ASKED_HALTS_MAX = 32;

export function createHeartbeats(deps: HeartbeatDeps): Heartbeats {
  const { runs, progress, signer, clock } = deps;

  async function record(
    found: LoadedRun,
    beat: Heartbeat,
  ): Promise<{ loaded: LoadedRun; advanced: boolean }> {
    const { runId, effectiveCompute, instance = null, by } = beat;
    const { advanced, appeared, after } = await progress.beat(runId, effectiveCompute, beat.step, instance);
    // Life after the halt: a process that nobody has heard of before.
    if (appeared === true && instance !== null && found.state.halt !== null) {
      const seen = { kind: 'appeared' as const, effectiveCompute };
      await runs.execute(runId, { type: 'NoteInstance', instance, by, seen }, { actor: by });
    }
    // Also what an earlier heartbeat stated whose answer, and whose effect, was lost on the way.
    const high = after.computeHigh ?? effectiveCompute;
    const staged = await noteStage(found, beat);
    return { loaded: await note(staged, beat, high, advanced), advanced };
  }

  async function noteStage(
    loaded: LoadedRun,
    { trainingStage: stage, effectiveCompute, runId, by }: Heartbeat,
  ): Promise<LoadedRun> {
    if (stage === undefined || !mattersStage(loaded.state, stage, loaded)) return loaded;
    await runs.execute(runId, { type: 'NoteTrainingStage', stage, effectiveCompute, by }, { actor: by });
    return (await runs.load(runId)) ?? loaded;
  }

  async function note(
    loaded: LoadedRun,
    beat: Heartbeat,
    high: Compute,
    advanced: boolean,
  ): Promise<LoadedRun> {
    const { effectiveCompute, runId, by } = beat;
    if (!mayMatter(loaded, high, advanced)) return loaded;
    const command = { type: 'NoteProgress' as const, effectiveCompute, advanced };
    await runs.execute(runId, command, { actor: by });
    return (await runs.load(runId)) ?? loaded;
  }

  /**
   * A deadline that has passed and compute that was stated count, whether or not anybody has come round to say so:
   * no permit outlives them.
   */
  async function upToDate(loaded: LoadedRun, high: Compute | null): Promise<LoadedRun> {
    const { runId } = loaded.state;
    const deadlineMs = nextDeadlineMs(loaded.state, loaded.policy);
    const isPast = deadlineMs !== null && deadlineMs <= clock().getTime();
    const isCrossed = high !== null && mayMatter(loaded, high, false);
    if (!isPast && !isCrossed) return loaded;
    await runs.execute(runId, { type: 'Tick' }, { actor: 'interlock' });
    return (await runs.load(runId)) ?? loaded;
  }

  /**
   * The receipt of a signed message says that it came, not what came of it: the first may still be under way, or its
   * instance died. Compute above all that is known shows that it took no effect, so this one is taken in its place.
   * Not seen so: a lost sign of life below that mark. The next heartbeat gives it again.
   */
  async function heardBefore(beat: Heartbeat): Promise<{ repeated: boolean; high: Compute | null }> {
    if (!beat.repeated) return { repeated: false, high: null };
    const { computeHigh: high } = await progress.read(beat.runId);
    return { repeated: high !== null && compareCompute(beat.effectiveCompute, high) <= 0, high };
  }

  async function take(said: Heartbeat): Promise<HeartbeatOutcome> {
    const { runId, by } = said;
    const known = await runs.load(runId);
    if (known === null) return { ok: false, code: 'not-found', message: `there is no run ${runId}` };
    if (known.state.sources !== null && !known.state.sources.includes(by)) {
      return { ok: false, code: 'forbidden', message: `${by} is not a source of run ${runId}` };
    }
    const { repeated, high } = await heardBefore(said);
    const beat = { ...said, repeated };
    const found = await upToDate(known, high);
    const { loaded, advanced } = repeated ? { loaded: found, advanced: false } : await record(found, beat);
    const issued = await answerTo(beat, loaded, advanced);
    const permit = typeof issued === 'string' ? issued : null;
    if (permit !== null) faultPoint('permit.signed');
    // What is said must fit what was (not) issued, which was decided by a later look than `loaded`: the latch may have
    // closed since, or a checkpoint been cleared, and a permit beyond it leads past the next one that is due.
    const current = (await runs.load(runId)) ?? loaded;
    const { state } = current;
    if (permit === null) await noteDirective(state, beat);
    const kept = retained(state, current.policy, clock());
    const retryAfterS = typeof issued === 'string' ? null : retryAfter(state, issued);
    return {
      ok: true,
      ...(retryAfterS === null ? {} : { retryAfterS }),
      answer: {
        directive:
          typeof issued === 'string'
            ? { action: 'continue' }
            : (closingInDirective(current, said.effectiveCompute, clock()) ??
              (await directive(state, signer, issued))),
        permit,
        nextCheckpointAt: nextCheckpointAt(
          state,
          { policy: current.policy, now: clock() },
          maxCompute(state.computeHigh ?? said.effectiveCompute, said.effectiveCompute),
        ),
        retain: [...kept.keys()],
        retainUntil: Object.fromEntries(kept),
        ...(deps.keySet === undefined ? {} : { keySet: deps.keySet() }),
      },
    };
  }

  /** That the run was told, once a round. Not in the way of telling it: the next heartbeat is noted as well. */
  async function noteDirective({ halt, runId }: RunState, beat: Heartbeat): Promise<void> {
    if (halt === null || halt.directive !== undefined) return;
    const { by, instance = null } = beat;
    const { haltId, round } = halt;
    await runs
      .execute(runId, { type: 'NoteDirective', haltId, round, by, instance }, { actor: by })
      .catch((error: unknown) => deps.onDirectiveUnrecorded?.(runId, error));
  }

  /** A permit, or why there is none; and what follows from who asked. */
  async function answerTo(
    beat: Heartbeat,
    loaded: LoadedRun,
    advanced: boolean,
  ): Promise<string | Refused | null> {
    const { runId, instance = null, supersedes = null, by } = beat;
    if (beat.leaving === true) {
      if (instance !== null) await progress.release?.(runId, instance);
      return null;
    }
    const cleared = await clearedOf(loaded.state, beat);
    const issued = await issue(loaded, beat.nonce, { instance, supersedes }, cleared);
    if (!('occupied' in issued)) {
      if ('tookOver' in issued && instance !== null && issued.tookOver !== undefined) {
        const seen = { kind: 'took-over' as const, supersedes: issued.tookOver };
        await runs.execute(runId, { type: 'NoteInstance', instance, by, seen }, { actor: by });
      }
      return 'permit' in issued ? issued.permit : issued;
    }
    const { holder, until } = issued.occupied;
    const heldUntil = until.toISOString();
    // A client that names no instance cannot be told from the next one: it is refused, and nothing is noted.
    if (instance !== null && !beat.repeated) {
      const refused = { kind: 'refused' as const, holder, heldUntil };
      await runs.execute(runId, { type: 'NoteInstance', instance, by, seen: refused }, { actor: by });
      if (advanced) {
        const { effectiveCompute } = beat;
        const trained = { kind: 'trained' as const, effectiveCompute };
        await runs.execute(runId, { type: 'NoteInstance', instance, by, seen: trained }, { actor: by });
      }
    }
    const reason = `process ${holder} of this run has its permit until ${heldUntil} or until it leaves; one trains at a time`;
    const leftS = Math.ceil((until.getTime() - clock().getTime()) / 1000);
    return { refused: 'occupied', reason, retryAfterS: Math.min(Math.max(leftS, 1), REFUSED_RETRY_MAX_S) };
  }

  /** Of the halts in force at the trainer, those that a resume has ended and its state no longer names. */
  async function clearedOf(state: RunState, { runId, halts = [], by }: Heartbeat): Promise<string[]> {
    const named = new Set([...state.clearedHalts, state.halt?.haltId, ...(state.halt?.orders ?? [])]);
    const asked = halts.filter((haltId) => !named.has(haltId)).slice(0, ASKED_HALTS_MAX);
    const cleared: string[] = [];
    for (const haltId of asked) {
      if ((await deps.wasCleared?.(runId, haltId)) === true) cleared.push(haltId);
      else deps.onUnknownHalt?.(runId, haltId, by);
    }
    return cleared;
  }

  async function issuePermit(loaded: LoadedRun, nonce: string | null): Promise<string | null> {
    const { computeHigh } = await progress.read(loaded.state.runId);
    const current = await upToDate(loaded, computeHigh);
    const issued = await issue(current, nonce, { instance: null, supersedes: null }, []);
    return 'permit' in issued ? issued.permit : null;
  }

  async function issue(
    { policy, state: found }: LoadedRun,
    nonce: string | null,
    claim: Omit<PermitClaim, 'lifetimeMs'>,
    alsoCleared: readonly string[],
  ): Promise<
    | { readonly permit: string; readonly tookOver?: string }
    | { readonly occupied: { readonly holder: string; readonly until: Date } }
    | Refused
  > {
    const { runId } = found;
    if (deps.ledgerAdvances !== undefined && !(await deps.ledgerAdvances()))
      return { refused: 'ledger', retryAfterS: LEDGER_RETRY_S };
    const reason = (await deps.withheld?.(runId)) ?? null;
    if (reason !== null) return { refused: 'withheld', reason, retryAfterS: REFUSED_RETRY_MAX_S };
    const lifetimeS = Math.max(1, Math.floor(durationMs(policy.permit.ttl) / 1000));
    let latched: RunState | null = null;
    // In shadow no process is refused, so none of them holds it alone.
    const shared = shadowOf(found) !== null;
    const reserved = await progress.reserveSequence(
      runId,
      runStream(runId),
      (head, related = []) => {
        const state = readRunState(head);
        const terms = permitTerms(
          state,
          related.map((other) => readRunState(other)),
        );
        latched = !terms.granted && terms.reason === 'lineage' ? state : null;
        if (!terms.granted || (shared && terms.shadowUntil === undefined)) return null;
        return terms;
      },
      { ...claim, lifetimeMs: lifetimeS * 1000, ...(shared ? { shared } : {}) },
      parentRuns(found).map(runStream),
    );
    if (reserved === null) {
      if (latched !== null) await deps.latchLineage?.(latched);
      return { refused: 'terms' };
    }
    if ('occupied' in reserved) return reserved;
    faultPoint('permit.numbered');
    const { seq, terms, tookOver } = reserved;
    const iat = Math.floor(clock().getTime() / 1000);
    const permit = await signer.signPermit({
      sub: runId,
      iat,
      exp: iat + lifetimeS,
      epoch: terms.epoch,
      seq,
      ceiling: terms.ceiling,
      nonce,
      clearedHalts: [...terms.clearedHalts, ...alsoCleared],
      ...(terms.shadowUntil === undefined
        ? {}
        : { shadowUntil: Math.floor(Date.parse(terms.shadowUntil) / 1000) }),
    });
    return tookOver === undefined ? { permit } : { permit, tookOver };
  }

  async function mayStart(loaded: LoadedRun): Promise<MayStart> {
    const { runId } = loaded.state;
    const isHeldToLedger = shadowOf(loaded.state) === null && deps.ledgerAdvances !== undefined;
    if (isHeldToLedger && !(await deps.ledgerAdvances())) {
      return { granted: false, reason: 'the ledger cannot be written now' };
    }
    const withheld = (await deps.withheld?.(runId)) ?? null;
    if (withheld !== null) return { granted: false, reason: withheld };
    const { computeHigh } = await progress.read(runId);
    const { state } = await upToDate(loaded, computeHigh);
    const parents = await Promise.all(parentRuns(state).map((parent) => runs.load(parent)));
    const terms = permitTerms(
      state,
      parents.flatMap((parent) => (parent === null ? [] : [parent.state])),
    );
    return terms.granted
      ? { granted: true, epoch: terms.epoch, ceiling: terms.ceiling }
      : { granted: false, reason: againstStart(state, terms.reason) };
  }

  async function workPermit(runId: string, purpose: WorkPurpose, nonce: string | null): Promise<WorkPermit> {
    if (deps.ledgerAdvances !== undefined && !(await deps.ledgerAdvances())) {
      return { granted: false, reason: 'the ledger cannot be written now' };
    }
    const withheld = (await deps.withheld?.(runId)) ?? null;
    if (withheld !== null) return { granted: false, reason: withheld };
    const loaded = await runs.load(runId);
    if (loaded === null) return { granted: false, reason: `no such run ${runId}` };
    const now = clock();
    const terms = workTerms(loaded.state, now);
    if (!terms.granted) return { granted: false, reason: againstWork(loaded.state, terms.reason) };
    const iat = Math.floor(now.getTime() / 1000);
    const lastS =
      terms.expires === null ? Number.POSITIVE_INFINITY : Math.floor(Date.parse(terms.expires) / 1000);
    const exp = Math.min(iat + Math.max(1, Math.floor(durationMs(loaded.policy.permit.ttl) / 1000)), lastS);
    // In its last second nothing is left to sign.
    if (exp <= iat) return { granted: false, reason: againstWork(loaded.state, 'halted') };
    const { haltId } = terms;
    const claims = { sub: runId, iat, exp, scope: 'evaluation' as const, purpose, haltId, nonce };
    return { granted: true, permit: await signer.signWorkPermit(claims), expiresAt: new Date(exp * 1000) };
  }

  return { issuePermit, mayStart, workPermit, beat: take };
}

function againstWork({ runId, halt }: RunState, reason: 'halted' | 'quarantined'): string {
  return reason === 'quarantined'
    ? `run ${runId} is quarantined (${halt?.haltId ?? ''}): nothing runs its weights until it is released`
    : `run ${runId} is halted (${halt?.haltId ?? ''}), and no scoped resume is in force`;
}

type Against = Extract<ReturnType<typeof permitTerms>, { granted: false }>['reason'];

function againstStart({ runId, halt, holds, finishedAt }: RunState, reason: Against): string {
  switch (reason) {
    case 'halted':
      return `run ${runId} is ${halt?.action === 'quarantine' ? 'quarantined' : 'halted'} (${halt?.haltId ?? ''})`;
    case 'on-hold':
      return `run ${runId} is on hold: ${holds[0]?.findings[0]?.explanation ?? holds[0]?.key ?? ''}`;
    case 'finished':
      return `run ${runId} was declared finished at ${finishedAt ?? ''}`;
    case 'lineage':
      return `a run that ${runId} descends from is halted`;
    default:
      return reason satisfies never;
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

/** A hold and a halt say nothing of when they end; what stands in the way beside them does. */
function retryAfter({ halt, holds, finishedAt }: RunState, refused: Refused | null): number | null {
  if (halt !== null || holds.length > 0 || finishedAt !== null) return null;
  return refused !== null && 'retryAfterS' in refused ? refused.retryAfterS : null;
}

/**
 * While further samples may decide what holds the run, only the next permit is held: the one in force runs out by itself,
 * by time or at its ceiling, and until then nothing of the run is stopped.
 */
export function closingInDirective(
  { state, policy }: Pick<LoadedRun, 'state' | 'policy'>,
  effectiveCompute: Compute,
  now: Date,
): Directive | null {
  const { holds, halt, finishedAt, ceiling } = state;
  const [first, ...rest] = holds;
  if (first === undefined || halt !== null || finishedAt !== null) return null;
  if (holds.some(({ closingIn }) => closingIn === undefined)) return null;
  // Whatever permit was issued last was issued before the first of them.
  const placedMs = Math.min(...[first, ...rest].map(({ placedAt }) => Date.parse(placedAt)));
  const hasRunOut = now.getTime() >= placedMs + durationMs(policy.permit.ttl);
  if (hasRunOut || compareCompute(effectiveCompute, ceiling) >= 0) return null;
  const what = first.findings[0]?.explanation ?? first.key;
  return {
    action: 'continue',
    reason: `no new permit while further samples are drawn, until ${first.closingIn?.until}: ${what}`,
  };
}

export async function directive(
  state: RunState,
  signer: TokenSigner,
  refused: Refused | null = null,
): Promise<Directive> {
  const { halt, holds, runId } = state;
  if (halt !== null) {
    const [cause] = halt.causes;
    return {
      action: halt.action,
      haltId: halt.haltId,
      ...(cause === undefined ? {} : { reason: explain(cause) }),
      ...(halt.quarantine !== undefined && halt.quarantine.revert !== null
        ? { resumeFrom: halt.quarantine.revert.checkpointId }
        : {}),
      order: await signOrder(signer, runId, halt),
    };
  }
  const [hold] = holds;
  if (hold !== undefined) return { action: 'pause', reason: hold.findings[0]?.explanation ?? hold.key };
  if (state.finishedAt !== null) return { action: 'pause', reason: 'the run was declared finished' };
  if (refused !== null && 'reason' in refused) return { action: 'pause', reason: refused.reason };
  if (shadowOf(state) !== null) {
    return { action: 'continue', reason: `in shadow until ${shadowOf(state)?.until}: nothing is stopped` };
  }
  if (refused?.refused === 'ledger') {
    return { action: 'pause', reason: 'the ledger cannot be written now, so no permit is issued' };
  }
  // No permit and nothing against one: the number could not be taken this time. Ask again.
  return { action: 'pause', reason: 'no permit could be issued; ask again' };
}
