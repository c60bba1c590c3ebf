/**
 * Carries orders to their targets, straight from here: the same adapters and ladders as the service, no database, no
 * queue, all targets in parallel.
 *
 * A rung is tried until the other side takes it, and again by the ladder's waits while no stop is seen, for as long as
 * the order is not taken over (`release`): then the service goes on from what it knows. Pressing again tries every rung
 * that is due at once. At most SENDING_MAX are under way at a time; first attempts go before repetitions.
 * Fails toward stopping: an adapter that breaks is a retry, and a rejection is tried again too, slowly.
 */
import { OWN_STEPS } from '../domain/policy/ladder.ts';
import type { HaltAction, LadderStep, RunTarget } from '../domain/run/halt-documents.ts';
import type { HaltMessage, Orchestrator, StepOutcome } from '../orchestrators/orchestrator.ts';

export interface Order {
  readonly runId: string;
  readonly haltId: string;
  readonly action: HaltAction;
  readonly epoch: number;
  readonly reason: string;
  /** When it was first ordered, ISO: what the ladder counts from, and what is signed. */
  readonly orderedAt: string;
  /** Who registered the run: whose secrets sign. */
  readonly registeredBy: string;
  readonly targets: readonly RunTarget[];
}

export interface SenderDeps {
  readonly sign: (order: Order) => Promise<string>;
  readonly orchestratorOf: (target: RunTarget, registeredBy: string) => Orchestrator | null;
  readonly clock: () => Date;
  readonly logger: { warn(fields: object, message: string): void };
}

/** As the API shows a delivery. */
export interface Delivery {
  readonly targetId: string;
  readonly kind: string;
  readonly stoppedAt: string | null;
  readonly stopDetail: string | null;
  readonly steps: {
    readonly step: string;
    readonly attempts: number;
    readonly acceptedAt: string | null;
    readonly nextAt: string | null;
    readonly detail: string | null;
  }[];
}

export interface Sender {
  /** Begins to send, or tries at once what is due of an order that is being sent. */
  send(order: Order): void;
  /** The service has it: nothing more is sent from here. */
  release(runId: string, haltId: string): void;
  deliveries(runId: string, haltId: string): Delivery[];
  /** Every target of these orders has answered its first step, or the time is up. */
  attempted(orders: readonly Order[], waitMs: number): Promise<void>;
  readonly size: number;
  close(): Promise<void>;
}

const SENDING_MAX = 256;
const STEP_TIMEOUT_MS = 10_000;
const OBSERVE_MS = 250;
const OBSERVE_SLOW_MS = 2_000;
const CLOSE_GRACE_MS = 3_000;
const SHOWN_FOR_MS = 30_000;

interface Rung {
  readonly step: string;
  readonly retryMs: readonly number[];
  readonly resendMs: readonly number[];
  attempts: number;
  acceptances: number;
  acceptedAt: string | null;
  nextAtMs: number | null;
  detail: string | null;
  isBusy: boolean;
}

interface Heading {
  readonly target: RunTarget;
  readonly orchestrator: Orchestrator | null;
  readonly rungs: readonly Rung[];
  stoppedAt: string | null;
  stopDetail: string | null;
  isWatched: boolean;
  timer: NodeJS.Timeout | undefined;
}

interface Sending {
  readonly order: Order;
  readonly headings: readonly Heading[];
  /** Made when first needed: signing ten thousand before the first one leaves would hold that one up. */
  signed: Promise<string> | null;
  /** The service goes on: what is under way ends by itself, nothing more is begun. */
  isReleased: boolean;
  readonly ended: AbortController;
}

export function createSender(deps: SenderDeps): Sender {
  const { clock } = deps;
  const sendings = new Map<string, Sending>();
  const urgent: (() => Promise<void>)[] = [];
  const later: (() => Promise<void>)[] = [];
  const active = new Set<Promise<void>>();
  const listeners = new Set<() => void>();
  let closed = false;

  const keyOf = (runId: string, haltId: string): string => `${runId}\n${haltId}`;

  function begin(order: Order): Sending {
    const orderedMs = Date.parse(order.orderedAt);
    return {
      order,
      signed: null,
      isReleased: false,
      ended: new AbortController(),
      headings: order.targets.map((target) => ({
        target,
        orchestrator: deps.orchestratorOf(target, order.registeredBy),
        // Those that Interlock takes by itself need the ledger; the rules of the others need what is known there.
        rungs: target.ladder.filter(isSent).map(({ step, afterMs, retryMs, resendMs }) => ({
          step,
          retryMs,
          resendMs,
          attempts: 0,
          acceptances: 0,
          acceptedAt: null,
          nextAtMs: orderedMs + afterMs,
          detail: null,
          isBusy: false,
        })),
        stoppedAt: null,
        stopDetail: null,
        isWatched: false,
        timer: undefined,
      })),
    };
  }

  function proceed(sending: Sending, heading: Heading): void {
    clearTimeout(heading.timer);
    if (closed || sending.isReleased || heading.stoppedAt !== null) return;
    const nowMs = clock().getTime();
    for (const rung of heading.rungs) {
      if (rung.isBusy || rung.nextAtMs === null || rung.nextAtMs > nowMs) continue;
      rung.isBusy = true;
      (rung.attempts === 0 ? urgent : later).push(() => attempt(sending, heading, rung));
    }
    const next = heading.rungs
      .filter(({ isBusy }) => !isBusy)
      .flatMap(({ nextAtMs }) => (nextAtMs === null ? [] : [nextAtMs]));
    if (next.length > 0) {
      heading.timer = setTimeout(() => proceed(sending, heading), Math.max(1, Math.min(...next) - nowMs));
      heading.timer.unref();
    }
    pump();
  }

  function pump(): void {
    while (active.size < SENDING_MAX) {
      const work = urgent.shift() ?? later.shift();
      if (work === undefined) return;
      const done = work().finally(() => {
        active.delete(done);
        pump();
      });
      active.add(done);
    }
  }

  async function attempt(sending: Sending, heading: Heading, rung: Rung): Promise<void> {
    const { order, isReleased } = sending;
    // First attempts go out all the same: whoever took over may need longer.
    if (closed || (isReleased && rung.attempts > 0)) return;
    const { kind, detail } = await take(sending, heading, rung);
    rung.isBusy = false;
    rung.attempts += 1;
    rung.detail = detail;
    const nowMs = clock().getTime();
    if (kind === 'accepted') {
      rung.acceptedAt ??= new Date(nowMs).toISOString();
      rung.acceptances += 1;
    } else {
      const { runId, haltId } = order;
      const { targetId } = heading.target;
      const fields = { runId, haltId, targetId, step: rung.step, attempt: rung.attempts, detail };
      deps.logger.warn(fields, 'a halt step did not take');
    }
    const waitMs = waitAfter(kind, rung);
    rung.nextAtMs = waitMs === null ? null : nowMs + waitMs;
    for (const listener of [...listeners]) listener();
    if (heading.target.confirmation === 'observed') void watch(sending, heading);
    proceed(sending, heading);
  }

  async function take(sending: Sending, heading: Heading, rung: Rung): Promise<StepOutcome> {
    const { orchestrator } = heading;
    if (orchestrator === null) {
      return { kind: 'rejected', detail: 'this kind of target is not enabled here' };
    }
    const { order, ended } = sending;
    const { runId, haltId, action, reason, epoch } = order;
    const controller = new AbortController();
    const abort = (): void => controller.abort();
    const timer = setTimeout(abort, STEP_TIMEOUT_MS);
    ended.signal.addEventListener('abort', abort, { once: true });
    try {
      sending.signed ??= deps.sign(order);
      const message: HaltMessage = {
        runId,
        haltId,
        action,
        reason,
        epoch,
        order: await sending.signed,
        attempt: rung.attempts + 1,
      };
      return await orchestrator.take(rung.step, message, controller.signal);
    } catch {
      sending.signed = null;
      return { kind: 'retry', detail: 'the step broke here' };
    } finally {
      clearTimeout(timer);
      ended.signal.removeEventListener('abort', abort);
    }
  }

  /** Only where the adapter can see the run itself; until it is gone. */
  async function watch(sending: Sending, heading: Heading): Promise<void> {
    const { signal } = sending.ended;
    if (heading.isWatched || heading.orchestrator === null) return;
    heading.isWatched = true;
    for (let looks = 0; !closed && !sending.isReleased; looks += 1) {
      const seen = await heading.orchestrator.observe(signal).catch(() => null);
      if (seen?.state === 'stopped') {
        heading.stoppedAt = clock().toISOString();
        heading.stopDetail = seen.detail;
        clearTimeout(heading.timer);
        return;
      }
      await pause(looks < 100 ? OBSERVE_MS : OBSERVE_SLOW_MS, signal);
    }
  }

  return {
    send(order) {
      const key = keyOf(order.runId, order.haltId);
      const known = sendings.get(key);
      if (known !== undefined && !known.isReleased && known.order.action === order.action) {
        const nowMs = clock().getTime();
        for (const { rungs } of known.headings) {
          // What was tried is tried again; what is to come keeps its time.
          for (const rung of rungs) {
            // A SIGTERM that was taken is not repeated: a trainer that is saving may take it for impatience.
            const isRepeatable = rung.acceptedAt === null || rung.resendMs.length > 0;
            if (rung.attempts > 0 && isRepeatable) rung.nextAtMs = nowMs;
          }
        }
        for (const heading of known.headings) proceed(known, heading);
        return;
      }
      const sending = begin(order);
      sendings.set(key, sending);
      for (const heading of sending.headings) proceed(sending, heading);
    },
    release(runId, haltId) {
      const key = keyOf(runId, haltId);
      const sending = sendings.get(key);
      if (sending === undefined || sending.isReleased) return;
      sending.isReleased = true;
      for (const { timer } of sending.headings) clearTimeout(timer);
      // Its deliveries may still be asked for by whoever pressed.
      setTimeout(() => {
        if (sendings.get(key) === sending) sendings.delete(key);
      }, SHOWN_FOR_MS).unref();
    },
    deliveries(runId, haltId) {
      return (sendings.get(keyOf(runId, haltId))?.headings ?? []).map(shown);
    },
    attempted(orders, waitMs) {
      return new Promise((resolve) => {
        const isDone = (): boolean =>
          orders.every(({ runId, haltId }) =>
            (sendings.get(keyOf(runId, haltId))?.headings ?? []).every(({ rungs }) =>
              rungs.every(({ attempts, nextAtMs }) => attempts > 0 || (nextAtMs ?? 0) > clock().getTime()),
            ),
          );
        const settle = (): void => {
          clearTimeout(timer);
          listeners.delete(look);
          resolve();
        };
        const look = (): void => {
          if (isDone()) settle();
        };
        const timer = setTimeout(settle, waitMs);
        listeners.add(look);
        look();
      });
    },
    get size() {
      return [...sendings.values()].filter(({ isReleased }) => !isReleased).length;
    },
    async close() {
      // First attempts under way are worth waiting for; the rest is in the spool.
      await Promise.race([
        Promise.allSettled([...active]),
        pause(CLOSE_GRACE_MS, new AbortController().signal),
      ]);
      closed = true;
      for (const { ended, headings } of sendings.values()) {
        ended.abort();
        for (const { timer } of headings) clearTimeout(timer);
      }
      sendings.clear();
    },
  };
}

const isSent = ({ step }: LadderStep): boolean => !OWN_STEPS.has(step);

function waitAfter(
  kind: StepOutcome['kind'],
  { retryMs, resendMs, attempts, acceptances }: Rung,
): number | null {
  if (kind === 'retry') return retryMs[Math.min(attempts, retryMs.length) - 1] ?? null;
  if (kind === 'rejected') return retryMs.at(-1) ?? null;
  return resendMs[Math.min(acceptances, resendMs.length) - 1] ?? null;
}

function shown({ target, rungs, stoppedAt, stopDetail }: Heading): Delivery {
  return {
    targetId: target.targetId,
    kind: target.kind,
    stoppedAt,
    stopDetail,
    steps: rungs.map(({ step, attempts, acceptedAt, nextAtMs, detail }) => ({
      step,
      attempts,
      acceptedAt,
      nextAt: nextAtMs === null ? null : new Date(nextAtMs).toISOString(),
      detail,
    })),
  };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    timer.unref();
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}
