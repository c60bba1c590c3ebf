/**
 * The work queue on BullMQ: composes a broker (PostgreSQL or Redis), a worker per kind, and their canaries.
 *
 * enqueue: each add has a deadline; after the first late one the rest of the call fails at once, because a
 * store that does not answer one add will not answer the next. start: refuses rather than run on a store
 * that would lose or hide work. close: named, bounded steps; a failing one never skips the rest.
 *
 * Fails toward "not queued" and "not started".
 */
import type { Job } from 'bullmq';
import { InterlockError } from '../errors.ts';
import { faultPoint } from '../fault-points.ts';
import type { Broker, NewJob, QueuePort } from './broker.ts';
import { CANARY_JOB_NAME, type Canary, createCanary, roundTrip } from './canary.ts';
import { checkClock, runCheck } from './checks.ts';
import { attempt, CALL_DEADLINE_MS, withDeadline } from './deadline.ts';
import { encodeJobId } from './job-id.ts';
import { type LabelCapacity, type LabelSlots, labelledQueueName, labelSets } from './labels.ts';
import { createFaultLog, type QueueLogger } from './log.ts';
import { createPostgresBroker } from './postgres-broker.ts';
import {
  abortGraceMs,
  CANARY_QUEUE_NAME,
  DELAY_MAX_MS,
  JOB_RETENTION,
  type QueueSpec,
  resolveQueues,
  toPayload,
  WORK_KINDS,
} from './queues.ts';
import { createRedisBroker } from './redis-broker.ts';
import type { HandlerRun } from './run-handler.ts';
import { createJobRunner, giveBack } from './run-job.ts';
import type { QueueCheck, QueueDepth, WorkHandlers, WorkItem, WorkKind, WorkQueue } from './work-queue.ts';
import { createWorkerSlot, type WorkerSlot } from './worker-slot.ts';

export type QueueBackend =
  /** `url` reaches PostgreSQL itself (DATABASE_DIRECT_URL), never a transaction-mode pooler. */
  { kind: 'postgres'; url: string; pool?: { max?: number } } | { kind: 'redis'; url: string };

export interface WorkQueueOptions {
  backend: QueueBackend;
  logger: QueueLogger;
  concurrency?: Partial<Record<WorkKind, number>>;
  /** Labelled work that the workers of this process take; `only`: and nothing else. */
  labels?: { readonly slots: LabelSlots; readonly capacity: LabelCapacity; readonly only: boolean };
  /** Milliseconds per kind; locks and the shutdown grace follow from it. */
  timeouts?: Partial<Record<WorkKind, number>>;
  /** Unix milliseconds. Injected for tests; the default is this host's clock. */
  clock?: { now(): number };
  canary?: { intervalMs?: number; limitMs?: number };
}

/** BullMQ's own. */
const PRIORITY_LIMIT = 2 ** 21 - 1;
const ADDS_AT_ONCE = 8;
const BATCH_MAX = 64;
const PREPARE_DEADLINE_MS = 70_000;
const CANARY_INTERVAL_MS = 10_000;
const CANARY_LIMIT_MS = 30_000;
const ROUND_TRIP_MS = 5_000;
const PROBE_EVERY_BEATS = 6;
const CHECKS_FRESH_MS = 2_000;
const STRANDED_AFTER_MS = 1_000;
const STRANDED_PER_DEADLINE = 5_000;

/** The work queue, and what it holds, for metrics: an attempt per kind, each under a deadline. */
export interface CountedWorkQueue extends WorkQueue {
  depths(): Promise<readonly QueueDepth[]>;
}

export function createWorkQueue(options: WorkQueueOptions): CountedWorkQueue {
  const { backend, logger } = options;
  const now = () => options.clock?.now() ?? Date.now();
  const specs = resolveQueues({ concurrency: options.concurrency, timeoutsMs: options.timeouts });
  const faults = createFaultLog(logger);
  const { labels } = options;
  const sets = labelSets(Object.keys(labels?.capacity ?? {}));
  const kinds = labels?.only === true ? [] : WORK_KINDS;
  /** Every queue that work of a kind was put into from here, or is taken from here. */
  const seenLabels = new Map(sets.map((set) => [labelledQueueName(specs.evaluate.name, set), set]));

  /** The row of the table, or for labelled work one of its own. */
  function specOf({ kind, labels: needed = [] }: Pick<WorkItem, 'kind' | 'labels'>): QueueSpec {
    const spec = specs[kind];
    if (needed.length === 0 || spec === undefined) return spec;
    const name = labelledQueueName(spec.name, needed);
    seenLabels.set(name, [...needed]);
    const concurrency = Math.min(...needed.map((label) => labels?.capacity[label] ?? 1));
    return { ...spec, name, concurrency };
  }
  const broker: Broker =
    backend.kind === 'postgres'
      ? createPostgresBroker({
          url: backend.url,
          workers: kinds.length + sets.length + 1,
          poolMax: backend.pool?.max,
          logger,
        })
      : createRedisBroker({ url: backend.url, logger });

  let state: 'idle' | 'starting' | 'running' | 'closed' = 'idle';
  let closing: Promise<void> | undefined;
  const ports = new Map<string, Promise<QueuePort>>();
  const slots: WorkerSlot[] = [];
  const canaries: Canary[] = [];
  let beatTimer: NodeJS.Timeout | undefined;
  let heldForClock = false;

  /** One port per queue, opened on first use; a port that did not become ready is dropped (see broker.ts). */
  function port(name: string): Promise<QueuePort> {
    const known = ports.get(name);
    if (known !== undefined) return known;
    const opening = (async () => {
      await broker.prepare();
      const opened = broker.openQueue(name);
      try {
        await opened.ready();
      } catch (error) {
        await attempt(`closing ${name}`, opened.close);
        throw error;
      }
      return opened;
    })();
    ports.set(name, opening);
    opening.catch(() => {
      if (ports.get(name) === opening) ports.delete(name);
    });
    return opening;
  }

  function jobOf(item: WorkItem): NewJob {
    const spec = specOf(item);
    const delayMs = Math.min(Math.max(Math.ceil(item.notBeforeMs - now()), 0), DELAY_MAX_MS);
    return {
      name: item.kind,
      data: spec.payload.parse(toPayload(item)),
      opts: {
        ...JOB_RETENTION,
        jobId: encodeJobId(item.kind, item.key),
        ...(delayMs > 0 ? { delay: delayMs } : {}),
        ...(item.priority === undefined ? {} : { priority: Math.min(item.priority, PRIORITY_LIMIT) }),
      },
    };
  }

  async function add(name: string, jobs: readonly NewJob[]): Promise<void> {
    await withDeadline('adding work to the queue', async () => {
      const queue = await port(name);
      faultPoint('work.offered');
      const [only] = jobs;
      // Together they cost one round trip: a wiped queue is filled again in seconds.
      if (jobs.length > 1) await queue.addAll(jobs);
      else if (only !== undefined) await queue.add(only.name, only.data, only.opts);
      faultPoint('work.queued');
    });
  }

  /**
   * What has been due for longer than a job takes to be fetched may be stranded (see broker.ts): freed here, the add
   * that follows takes. A failure costs nothing but time, for the next sweep offers the same items. Answers false where
   * the store did not answer in time.
   */
  async function freeStranded(items: readonly WorkItem[]): Promise<boolean> {
    const dueBeforeMs = now() - STRANDED_AFTER_MS;
    const waiting = items.filter(({ notBeforeMs, kind }) => notBeforeMs < dueBeforeMs && kind in specs);
    const names = new Set(waiting.map((item) => specOf(item).name));
    let inTime = true;
    await Promise.all(
      [...names].map(async (name) => {
        const ids = waiting
          .filter((item) => specOf(item).name === name)
          .map(({ kind, key }) => encodeJobId(kind, key));
        try {
          // Each is asked for by itself where all are missing, as after a wipe: many take longer, and are no sign of a
          // store that does not answer.
          const deadlineMs = CALL_DEADLINE_MS * Math.ceil(ids.length / STRANDED_PER_DEADLINE);
          const freed = await withDeadline(
            'looking for stranded jobs',
            async () => (await port(name)).freeStranded(ids),
            deadlineMs,
          );
          if (freed > 0)
            logger.warn(
              { queue: name, jobs: freed },
              'the queue had lost sight of jobs; they are queued again',
            );
        } catch (error) {
          if (isLate(error)) inTime = false;
          faults.warn(name, error, 'the queue was not searched for stranded jobs; the next sweep does');
        }
      }),
    );
    return inTime;
  }

  async function enqueue(items: readonly WorkItem[]) {
    let late = !(await freeStranded(items));
    const failed: WorkItem[] = [];
    let queued = 0;
    const refuse = (name: string, refused: readonly WorkItem[], error: unknown): void => {
      failed.push(...refused);
      if (isLate(error)) late = true;
      faults.warn(name, error, 'work was not queued; the reconciler makes good');
    };
    const next = batches(items, (item) => specOf(item)?.name ?? 'unknown').values();
    const adder = async () => {
      for (const { name, members } of next) {
        if (late || state === 'closed') {
          failed.push(...members);
          continue;
        }
        const ready: WorkItem[] = [];
        const jobs: NewJob[] = [];
        for (const item of members) {
          try {
            jobs.push(jobOf(item));
            ready.push(item);
          } catch (error) {
            refuse(name, [item], error);
          }
        }
        if (jobs.length === 0) continue;
        try {
          await add(name, jobs);
          queued += jobs.length;
        } catch (error) {
          refuse(name, ready, error);
        }
      }
    };
    await Promise.all(Array.from({ length: ADDS_AT_ONCE }, adder));
    return { queued, failed };
  }

  async function startUpRoundTrip() {
    const queue = await port(CANARY_QUEUE_NAME);
    const startedMs = performance.now();
    await roundTrip(
      queue,
      (onJob) =>
        broker.openWorker(
          CANARY_QUEUE_NAME,
          async (job) => {
            onJob(job.data);
            return undefined;
          },
          { concurrency: 1, lockDurationMs: 10_000, stalledIntervalMs: 5_000, onLockLost: () => {} },
        ),
      ROUND_TRIP_MS,
    );
    return { ok: true, detail: `a job went through in ${Math.round(performance.now() - startedMs)} ms` };
  }

  /** Cheap enough for every readiness call; the round trip only where no worker runs. */
  async function probe(): Promise<QueueCheck[]> {
    const reached = await runCheck(`${backend.kind}-reachable`, async () => {
      await broker.prepare();
      await broker.serverTimeMs();
      return { ok: true, detail: 'the store of the queue answers' };
    });
    if (!reached.ok) return [reached];
    const rest = await Promise.all([
      ...broker.probes.map(({ name, run }) => runCheck(name, run)),
      runCheck('clock', () => checkClock(broker, now)),
    ]);
    return [reached, ...rest];
  }

  let latest: { atMs: number; answer: Promise<QueueCheck[]> } | undefined;

  async function checks(): Promise<readonly QueueCheck[]> {
    if (state === 'closed') return [{ name: 'queue', ok: false, detail: 'the queue is closed' }];
    if (latest === undefined || performance.now() - latest.atMs > CHECKS_FRESH_MS) {
      latest = { atMs: performance.now(), answer: allChecks() };
    }
    return latest.answer;
  }

  async function allChecks(): Promise<QueueCheck[]> {
    const probed = await probe();
    if (canaries.length > 0) return [...probed, ...canaries.map((canary) => canary.status())];
    if (!probed.every(({ ok }) => ok)) return probed;
    return [...probed, await roundTripCheck()];
  }

  let lastRoundTrip: { atMs: number; check: QueueCheck } | undefined;

  /** Opens a worker for a moment, so a process without workers of its own does it now and then only. */
  async function roundTripCheck(): Promise<QueueCheck> {
    const known = lastRoundTrip;
    if (state === 'idle' && known?.check.ok && performance.now() - known.atMs < CANARY_LIMIT_MS) {
      return known.check;
    }
    const check = await runCheck('canary', startUpRoundTrip);
    lastRoundTrip = { atMs: performance.now(), check };
    return check;
  }

  async function start(handlers: WorkHandlers): Promise<void> {
    if (state !== 'idle') {
      throw new InterlockError(`the queue cannot start: it is ${state}`, { code: 'queue.state' });
    }
    state = 'starting';
    try {
      const prepared = await attempt('the queue schema', broker.prepare, PREPARE_DEADLINE_MS);
      const failing =
        prepared === undefined
          ? (await allChecks()).filter(({ ok }) => !ok)
          : [await runCheck(`${backend.kind}-reachable`, () => Promise.reject(prepared))];
      if (failing.length > 0) throw refusal(failing);
      await Promise.all([
        ...kinds.map((kind) => open({ kind }, handlers)),
        ...sets.map((set) => open({ kind: 'evaluate', labels: set }, handlers)),
      ]);
    } catch (error) {
      await Promise.all(slots.map((slot) => slot.close()));
      slots.length = 0;
      canaries.length = 0;
      // Closed meanwhile? Then it stays closed.
      if (state === 'starting') state = 'idle';
      throw error;
    }
    if (isClosed()) {
      await Promise.all(slots.map((slot) => slot.close()));
      throw new InterlockError('the queue was closed while it started', { code: 'queue.state' });
    }
    state = 'running';
    scheduleBeat(0);
  }

  const isClosed = () => state === 'closed';

  async function open(what: Pick<WorkItem, 'kind' | 'labels'>, handlers: WorkHandlers): Promise<void> {
    const { kind, labels: needed = [] } = what;
    const spec = specOf(what);
    const running = new Map<string, HandlerRun>();
    const runJob = createJobRunner({ kind, spec, handler: handlers[kind], logger, now, running });
    const slot = createWorkerSlot({
      broker,
      spec,
      running,
      logger,
      processor: async (job: Job, token) => {
        if (job.name !== CANARY_JOB_NAME) {
          if (needed.length === 0 || labels === undefined) return runJob(job, token);
          // Another of its queues may use up a label that this one needs too.
          const release = await labels.slots.take(needed);
          if (release === null) return giveBack(job, token);
          try {
            return await runJob(job, token);
          } finally {
            release();
          }
        }
        canary.seen(job.data);
        return undefined;
      },
    });
    const canary = createCanary({
      queueName: spec.name,
      queue: () => port(spec.name),
      limitMs: options.canary?.limitMs ?? CANARY_LIMIT_MS,
      now: () => performance.now(),
      busy: () => heldForClock || slot.busy(),
      recreate: slot.recreate,
    });
    slots.push(slot);
    canaries.push(canary);
    await slot.open();
  }

  let beats = 0;

  function scheduleBeat(inMs: number): void {
    if (state !== 'running') return;
    beatTimer = setTimeout(() => {
      beat().finally(() => scheduleBeat(options.canary?.intervalMs ?? CANARY_INTERVAL_MS));
    }, inMs);
  }

  async function beat(): Promise<void> {
    await Promise.all(canaries.map((canary) => canary.beat()));
    beats += 1;
    if (beats % PROBE_EVERY_BEATS !== 0 && !heldForClock) return;
    const probed = await probe();
    for (const { name, ok, detail } of probed) {
      if (!ok) logger.error({ check: name, detail }, 'the queue no longer meets a condition it needs');
    }
    const clockOk = probed.find(({ name }) => name === 'clock')?.ok;
    if (clockOk !== undefined) await holdForClock(!clockOk);
  }

  /** A wrong clock harms the other replicas' jobs too, so our workers rest until it is right. */
  async function holdForClock(wrong: boolean): Promise<void> {
    if (wrong === heldForClock || state !== 'running') return;
    heldForClock = wrong;
    await Promise.all(slots.map((slot) => (wrong ? slot.hold() : slot.release())));
  }

  async function shutDown(): Promise<void> {
    state = 'closed';
    clearTimeout(beatTimer);
    const graceMs = Math.max(...WORK_KINDS.map((kind) => abortGraceMs(specs[kind].timeoutMs)));
    const steps: [name: string, run: () => Promise<unknown>, timeoutMs: number][] = [
      [
        'workers',
        () => Promise.all(slots.map((slot) => slot.close())),
        graceMs + 2 * CALL_DEADLINE_MS + 3_000,
      ],
      ['producers', closePorts, CALL_DEADLINE_MS],
      ['connections', broker.close, 2 * CALL_DEADLINE_MS],
    ];
    for (const [name, run, timeoutMs] of steps) {
      const failure = await attempt(`closing the queue's ${name}`, run, timeoutMs);
      if (failure !== undefined) faults.warn('queue', failure, `closing the queue's ${name} failed`);
    }
  }

  async function closePorts(): Promise<void> {
    await Promise.allSettled([...ports.values()].map(async (opening) => (await opening).close()));
  }

  async function depths(): Promise<QueueDepth[]> {
    if (isClosed()) return [];
    const counted = await Promise.all(
      WORK_KINDS.map(async (kind) => {
        const { waiting, active, delayed } = await countsOfKind(kind);
        return [
          { kind, state: 'waiting' as const, jobs: waiting },
          { kind, state: 'active' as const, jobs: active },
          { kind, state: 'delayed' as const, jobs: delayed },
        ];
      }),
    );
    return counted.flat();
  }

  /** Of labelled work too, as far as this process has heard of its queues. */
  async function countsOfKind(kind: WorkKind): Promise<Awaited<ReturnType<QueuePort['counts']>>> {
    const names = [specs[kind].name, ...(kind === 'evaluate' ? seenLabels.keys() : [])];
    const all = await Promise.all(
      names.map((name) => withDeadline('counting the queue', async () => (await port(name)).counts())),
    );
    return all.reduce((sum, each) => ({
      waiting: sum.waiting + each.waiting,
      active: sum.active + each.active,
      delayed: sum.delayed + each.delayed,
    }));
  }

  return {
    enqueue,
    start,
    checks,
    depths,
    close() {
      closing ??= shutDown();
      return closing;
    },
  };
}

const isLate = (error: unknown) => error instanceof InterlockError && error.code === 'queue.deadline';

function refusal(failing: readonly QueueCheck[]): InterlockError {
  const what = failing.map(({ name, detail }) => `${name}: ${detail}`).join('; ');
  return new InterlockError(`the queue refuses to start: ${what}`, {
    code: 'queue.refused',
    retryable: failing.every(({ name }) => name.endsWith('-reachable') || name === 'canary'),
  });
}

/** In their order, of one queue each, and few enough for one call's deadline. */
function batches(
  items: readonly WorkItem[],
  nameOf: (item: WorkItem) => string,
): { name: string; members: WorkItem[] }[] {
  const all: { name: string; members: WorkItem[] }[] = [];
  const open = new Map<string, WorkItem[]>();
  for (const item of items) {
    const name = nameOf(item);
    const members = open.get(name);
    if (members !== undefined && members.length < BATCH_MAX) {
      members.push(item);
      continue;
    }
    const fresh = [item];
    open.set(name, fresh);
    all.push({ name, members: fresh });
  }
  return all;
}
