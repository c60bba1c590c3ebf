/**
 * After everything has healed: what is due gets done within bounded virtual time, with a queue that was just wiped.
 * Recomputed from the events: who was asked for, ordered, placed, raised, and what came of it.
 */
import type { RunEvent } from '../../src/domain/run/events.ts';
import { ms } from './arithmetic.ts';
import { haltForCapability, wasLatchedBy } from './relatives.ts';
import { Violation } from './run-checkers.ts';
import type { World } from './world.ts';

const MINUTE_MS = 60_000;
/** An alert that failed is tried again after five minutes at the latest. */
const HEALING_MS = 5 * MINUTE_MS;
/** A label that no worker has for so long is said to be missing, at the next look. */
const UNSTAFFED_AFTER_MS = 135_000;

interface Attempt {
  readonly attempt: number;
  readonly dueMs: number;
  readonly evaluation: string;
  startedMs: number | null;
}

/** What the events say is still owed. */
function owed(events: readonly RunEvent[]) {
  const attempts = new Map<string, Attempt>();
  const names = new Map<string, string>();
  const closing = new Map<string, { deadlineMs: number; closed: boolean }>();
  const holds = new Map<string, number>();
  /** When the next attempt is due, by alert and channel. */
  const pages = new Map<string, number>();
  /** Checkpoints of which it was said that a label is missing: once, whatever else of them waits for it. */
  const unstaffed = new Set<string>();
  const checkpoints = new Map<string, string>();
  let halt: { haltId: string; escalateMs: number; confirmed: boolean } | null = null;
  let finished = false;
  const highest = new Map<string, number>();
  const queue = (evaluationId: string, attempt: number, at: string | null): void => {
    if (at === null) return;
    highest.set(evaluationId, attempt);
    const evaluation = names.get(evaluationId) ?? '';
    attempts.set(evaluationId, { attempt, dueMs: Date.parse(at), evaluation, startedMs: null });
  };
  /** A new attempt comes after all there are, also where an earlier one was handed back. */
  const next = (evaluationId: string): number => (highest.get(evaluationId) ?? 0) + 1;
  const settle = (evaluationId: string, attempt: number): void => {
    if (attempts.get(evaluationId)?.attempt === attempt) attempts.delete(evaluationId);
  };
  for (const { kind, data } of events) {
    switch (kind) {
      case 'CheckpointReported':
        for (const { evaluationId, evaluation, deferred } of data.evaluations) {
          names.set(evaluationId, evaluation);
          checkpoints.set(evaluationId, data.checkpointId);
          if (deferred !== true) queue(evaluationId, 1, data.at);
        }
        if (data.deadlineAt !== null) {
          closing.set(data.checkpointId, { deadlineMs: Date.parse(data.deadlineAt), closed: false });
        }
        break;
      case 'SuccessionBegun':
        for (const { evaluationId, evaluation } of data.lastCleared?.evaluations ?? []) {
          names.set(evaluationId, evaluation);
          checkpoints.set(evaluationId, data.lastCleared?.checkpointId ?? '');
          queue(evaluationId, 1, data.at);
        }
        break;
      case 'EvaluationsUnstaffed':
        unstaffed.add(data.checkpointId);
        break;
      case 'EvaluationsReleased':
      case 'CheckpointMadeDue':
        for (const evaluationId of data.evaluationIds) queue(evaluationId, 1, data.at);
        break;
      case 'CheckpointAssessed': {
        const known = closing.get(data.checkpointId);
        if (known !== undefined) known.closed = true;
        break;
      }
      case 'EvaluationStarted': {
        const known = attempts.get(data.evaluationId);
        if (known?.attempt === data.attempt) known.startedMs = Date.parse(data.at);
        break;
      }
      case 'EvaluationReturned':
        settle(data.evaluationId, data.attempt);
        if (data.exhausted === undefined) queue(data.evaluationId, next(data.evaluationId), data.at);
        break;
      case 'EvaluationReported':
      case 'EvaluationAttemptFailed':
        settle(data.evaluationId, data.attempt);
        queue(data.evaluationId, next(data.evaluationId), data.nextAttemptAt);
        break;
      case 'EvaluationRequeued':
        queue(data.evaluationId, data.attempt, data.notBefore ?? data.at);
        break;
      case 'EvaluationsCancelled':
        for (const evaluationId of data.evaluationIds) attempts.delete(evaluationId);
        break;
      case 'HoldPlaced':
        holds.set(data.holdId, Date.parse(data.deadlineAt));
        break;
      case 'HoldLifted':
        holds.delete(data.holdId);
        break;
      case 'HaltOrdered':
        halt = { haltId: data.haltId, escalateMs: Date.parse(data.escalateAt), confirmed: false };
        break;
      case 'HaltReopened':
        halt = { haltId: data.haltId, escalateMs: Date.parse(data.escalateAt), confirmed: false };
        break;
      case 'HaltEscalated':
        if (halt !== null) halt.escalateMs = Date.parse(data.nextAt);
        break;
      case 'HaltConfirmed':
        if (halt !== null) halt.confirmed = true;
        break;
      case 'RunResumed':
        halt = null;
        holds.clear();
        break;
      case 'RunFinished':
        finished = true;
        break;
      case 'AlertRaised':
        for (const channel of data.channels) pages.set(`${data.alertId} ${channel}`, Date.parse(data.at));
        break;
      case 'AlertAttempted':
        if (data.nextAt === null) pages.delete(`${data.alertId} ${data.channel}`);
        else pages.set(`${data.alertId} ${data.channel}`, Date.parse(data.nextAt));
        break;
      default:
        break;
    }
  }
  const isSaid = (evaluationId: string): boolean => unstaffed.has(checkpoints.get(evaluationId) ?? '');
  return { attempts, closing, holds, halt, pages, isSaid, finished };
}

export async function checkProgress(world: World): Promise<void> {
  const { scheduler, seen } = world;
  await scheduler.run(scheduler.nowMs + HEALING_MS + world.clockJumpMs);
  for (const { runId } of world.runs.values()) done(world, runId, seen.events.get(runId) ?? []);
  if (world.hasRelatives) latchedBesides(world);
  for (const { runId } of world.runs.values()) await goesOn(world, runId);
}

/** What one of them can do, the other may be able to do: neither trains on past the halt of the other. */
function latchedBesides({ runs, seen }: World): void {
  const all = [...runs.keys()].map((runId) => ({ runId, events: seen.events.get(runId) ?? [] }));
  for (const { runId, events } of all) {
    const haltId = haltForCapability(events);
    if (haltId === null) continue;
    const missed = all.find(
      (other) =>
        other.runId !== runId &&
        !seen.checkersOf(other.runId).standing.finished &&
        !wasLatchedBy(other.events, haltId),
    );
    if (missed !== undefined) {
      throw new Violation(4, `${missed.runId} began as ${runId} did, and ${haltId} has not reached it`);
    }
    seen.count('halts that reached a sibling');
  }
}

function done(world: World, runId: string, events: readonly RunEvent[]): void {
  if (events.length === 0)
    throw new Violation(1, `${runId} could not be registered, though everything healed`);
  const { scheduler, policy, reconcileIntervalMs, clockJumpMs } = world;
  const nowMs = scheduler.nowMs;
  const slackMs = 2 * reconcileIntervalMs + 30_000 + clockJumpMs;
  const { attempts, closing, holds, halt, pages, isSaid, finished } = owed(events);
  const { shadowUntilMs } = world.seen.checkersOf(runId).standing;
  if (shadowUntilMs !== null && nowMs > shadowUntilMs + slackMs) {
    throw new Violation(3, `${runId} is in shadow ${nowMs - shadowUntilMs} ms after its time`);
  }
  for (const [evaluationId, { attempt, dueMs, evaluation, startedMs }] of attempts) {
    const spec = policy.evaluations.find(({ id }) => id === evaluation);
    const executors = spec === undefined ? [] : [spec.executor, ...(spec.replicas ?? [])];
    const timeoutMs = Math.max(...executors.map(({ timeout }) => ms(timeout)));
    const queued = `attempt ${attempt} of ${evaluationId} (${runId})`;
    // Slots are few: what waits behind others waits for their timeouts.
    if (spec !== undefined && startedMs === null && world.isInVain(spec)) {
      if (nowMs - dueMs > UNSTAFFED_AFTER_MS + slackMs && !isSaid(evaluationId)) {
        throw new Violation(8, `${queued} waits for a label that nobody has, and nobody is told`);
      }
      continue;
    }
    if (startedMs === null && nowMs - dueMs > slackMs + MINUTE_MS + attempts.size * 25_000) {
      throw new Violation(6, `${queued} was due ${nowMs - dueMs} ms ago and has not begun`);
    }
    if (startedMs !== null && nowMs - startedMs > timeoutMs + 10_000 + slackMs) {
      throw new Violation(8, `${queued} has been silent for ${nowMs - startedMs} ms and nobody minds`);
    }
  }
  for (const [checkpointId, { deadlineMs, closed }] of closing) {
    if (!closed && nowMs > deadlineMs + slackMs) {
      throw new Violation(8, `checkpoint ${checkpointId} of ${runId} is without a verdict past its deadline`);
    }
  }
  const past = halt === null ? world.seen.checkersOf(runId).pastClosing(nowMs - slackMs) : null;
  if (past !== null) throw new Violation(8, `hold ${past} of ${runId} closes in after its time`);
  if (halt === null) {
    for (const [holdId, deadlineMs] of finished ? [] : holds) {
      if (nowMs > deadlineMs + slackMs)
        throw new Violation(8, `hold ${holdId} of ${runId} is past its deadline, and no halt`);
    }
  } else if (!halt.confirmed) {
    if (nowMs > halt.escalateMs + slackMs) {
      throw new Violation(5, `halt ${halt.haltId} of ${runId} is neither confirmed nor escalated`);
    }
    const { temper, isRunning } = world.trainerOf(runId);
    const roundMs = lastRoundMs(events);
    // Where only a webhook exists and nobody is there to answer it, escalating is all that can be done.
    const canStop = temper === 'honest' && (isRunning || hasProcess(world, runId));
    if (canStop && nowMs - roundMs > HEALING_MS - 30_000) {
      throw new Violation(5, `halt ${halt.haltId} of ${runId} reached nobody in ${nowMs - roundMs} ms`);
    }
  }
  // From when it was due, not from when it was raised: a channel that refused it seven times waits longer than we do.
  for (const [page, dueMs] of pages) {
    if (nowMs - dueMs > slackMs + MINUTE_MS)
      throw new Violation(
        5,
        `the page ${page} (${runId}) was due ${nowMs - dueMs} ms ago and reached nobody`,
      );
  }
}

function lastRoundMs(events: readonly RunEvent[]): number {
  const last = events.findLast(({ kind }) => kind === 'HaltOrdered' || kind === 'HaltReopened');
  return last === undefined ? 0 : Date.parse(last.data.at);
}

function hasProcess(world: World, runId: string): boolean {
  return world.runs.get(runId)?.targets.includes('process') === true;
}

const ROUNDS = 3;

/** When everybody who must agree does, the run goes on: an honest trainer gets a permit. */
async function goesOn(world: World, runId: string): Promise<void> {
  const { scheduler, seen, people } = world;
  const trainer = world.trainerOf(runId);
  if (trainer.temper !== 'honest') return;
  let reason = '';
  for (let i = 0; i < ROUNDS; i += 1) {
    const { halted, holds, finished } = seen.checkersOf(runId).standing;
    if (finished) return;
    if (halted !== null || holds > 0) {
      // Out of a quarantine it takes the same twice: the release, and then the resume.
      void people
        .proposes(runId)
        .then(() => people.agree(runId))
        .then(() => people.proposes(runId))
        .then(() => people.agree(runId));
    }
    const resumes = seen.counts.get('RunResumed') ?? 0;
    const before = seen.permitsReserved;
    if (!trainer.isRunning) trainer.start();
    const until = scheduler.nowMs + 3 * MINUTE_MS;
    await scheduler.run(
      until,
      () => seen.permitsReserved > before && scheduler.nowMs > until - 2 * MINUTE_MS,
    );
    if (seen.permitsReserved > before) return;
    const now = seen.checkersOf(runId).standing;
    reason = now.halted !== null ? 'halted' : now.holds > 0 ? 'on hold' : 'neither halted nor on hold';
    if ((seen.counts.get('RunResumed') ?? 0) > resumes) reason += ', resumed and stopped again';
  }
  // Resumed and rightly stopped again (a next checkpoint at High, a due one not reported) is no lack of progress.
  if (reason.endsWith('again')) return;
  throw new Violation(4, `liveness: ${runId} is ${reason} after every approval`);
}
