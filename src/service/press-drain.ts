/**
 * Enters presses from the spools into the ledger: in the order in which people pressed, attributed, each once.
 *
 * A press is entered run by run under a receipt of its own, and marked after the last commit: a crash in between
 * repeats it, and the receipts make the repetition nothing. What cannot be entered now (the ledger is away) stops the
 * pass and stays first in line; what can never be (no such run) is logged and let go.
 * A press for all reaches every run that was registered when it was made, whatever the button knew of.
 */
import { unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { orderIdOf } from '../button/desk.ts';
import type { ButtonFiles } from '../button/layout.ts';
import { compactMarks, MarkReader, writeMarks } from '../button/marks.ts';
import { byTime, type Press } from '../button/press.ts';
import { SpoolReader } from '../button/spool.ts';
import { InterlockError } from '../errors.ts';
import { faultPoint } from '../fault-points.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { sha256 } from './digest.ts';
import { haltOfPress } from './press-views.ts';
import type { RunService } from './run-service.ts';
import { SECURITY_STREAM } from './security.ts';
import { unfinishedRuns } from './unfinished-runs.ts';

export interface PressDrainDeps {
  readonly files: ButtonFiles;
  readonly runs: Pick<RunService, 'execute'>;
  readonly ledger: Pick<Ledger, 'view' | 'views' | 'load' | 'append'>;
  readonly clock: () => Date;
  readonly logger: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
    error(fields: object, message: string): void;
  };
  readonly intervalMs?: number;
}

export interface PressDrain {
  start(): void;
  /** One pass now; resolves when it is over, however it went. */
  drain(): Promise<void>;
  /** Presses that are not in the ledger yet. */
  pending(): number;
  /** A press of this process is being spooled: from here on its runs get no permit. */
  expect(press: Pick<Press, 'pressId' | 'scope'>): void;
  /** It was not spooled after all. */
  forget(pressId: string): void;
  /** Whether a press on this run is known that the ledger does not know yet. */
  isAwaited(runId: string): boolean;
  stop(): Promise<void>;
}

const INTERVAL_MS = 250;
const AWAY_INTERVAL_MS = 1_000;
const AT_ONCE = 16;
const MARKS_AT_ONCE = 64;
/** Files and marks that nobody needs any more are looked for this often. */
const TIDY_EACH = 240;
const SPOOLED_WITHIN_MS = 5_000;
/** No identity can have this name, so these receipts are nobody else's. */
const SOURCE = '~red-button';

export function createPressDrain(deps: PressDrainDeps): PressDrain {
  const { files, runs, ledger, clock, logger } = deps;
  const spool = new SpoolReader(files.spool);
  const marks = new MarkReader(files.marks);
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  let draining: Promise<void> | null = null;
  let isAway = false;
  let passes = 0;
  /** By press id: told to people as ordered, and not in the ledger. */
  const awaited = new Map<string, { readonly scope: Press['scope']; readonly sinceMs: number }>();
  const expect = ({ pressId, scope }: Pick<Press, 'pressId' | 'scope'>): void => {
    if (!awaited.has(pressId)) awaited.set(pressId, { scope, sinceMs: performance.now() });
  };

  function waiting(): Press[] {
    const entered = marks.read();
    return [...spool.read().values()].filter(({ pressId }) => !entered.has(pressId)).sort(byTime);
  }

  async function pass(): Promise<void> {
    const done: string[] = [];
    const mark = (): void => {
      if (done.length > 0) writeMarks(files.marks, done.splice(0, done.length), clock());
    };
    try {
      const presses = waiting();
      for (const press of presses) expect(press);
      const isLeft = new Set(presses.map(({ pressId }) => pressId));
      // Entered by another process of this directory. A young one may not have reached the spool yet.
      for (const [pressId, { sinceMs }] of awaited) {
        if (!isLeft.has(pressId) && performance.now() - sinceMs > SPOOLED_WITHIN_MS) awaited.delete(pressId);
      }
      for (const press of presses) {
        await enter(press);
        awaited.delete(press.pressId);
        faultPoint('press.entered');
        done.push(press.pressId);
        if (done.length >= MARKS_AT_ONCE) mark();
      }
      isAway = false;
    } catch (error) {
      const isPassing = error instanceof InterlockError && error.retryable;
      if (!isPassing)
        logger.error({ err: error }, 'a press cannot be entered into the ledger; it is tried again');
      else if (!isAway) logger.warn({ err: error }, 'presses wait for the ledger');
      isAway = true;
    } finally {
      mark();
    }
    passes += 1;
    if (!isAway && passes % TIDY_EACH === 0) tidy();
  }

  async function enter(press: Press): Promise<void> {
    const { scope } = press;
    const runIds = scope.kind === 'run' ? [scope.runId] : await unfinishedRuns(ledger, press.pressedAt);
    const next = runIds.values();
    await Promise.all(
      Array.from({ length: Math.min(AT_ONCE, runIds.length) }, async () => {
        for (const runId of next) await enterFor(runId, press);
      }),
    );
    if (press.via === 'break-glass') await tellSecurity(press);
    const { pressId, by, via, pressedAt } = press;
    logger.info(
      { pressId, identityId: by, via, pressedAt, runs: runIds.length },
      'a press entered the ledger',
    );
  }

  async function enterFor(runId: string, press: Press): Promise<void> {
    const { pressId, action, reason, group, by, via, pressedAt, rootAt } = press;
    const executed = await runs.execute(
      runId,
      async () => ({
        type: 'RecordPress',
        pressId,
        causeOf: await haltOfPress(ledger, runId, pressId),
        orderId: orderIdOf(press, runId),
        orderedAt: rootAt,
        pressedAt,
        action,
        reason,
        group,
        by,
        via,
      }),
      {
        actor: by,
        receipt: { source: SOURCE, webhookId: `${pressId}/${runId}`, bodyDigest: sha256(pressId) },
      },
    );
    if (executed.outcome === 'rejected') {
      const { code } = executed.rejection;
      logger.warn({ pressId, runId, code }, 'a press names a run that cannot be halted');
    }
  }

  /** Whoever looks for intruders should see every use of a printed code. */
  async function tellSecurity(press: Press): Promise<void> {
    const { pressId, by, codeId, pressedAt, scope } = press;
    const data = { pressId, identityId: by, codeId, pressedAt, scope, at: clock().toISOString() };
    for (let tries = 0; tries < 20; tries += 1) {
      const head = await ledger.load(SECURITY_STREAM);
      const written = await ledger.append({
        stream: SECURITY_STREAM,
        expectedVersion: head?.version ?? 0,
        events: [{ kind: 'BreakGlassUsed', data }],
        actor: by,
        snapshot: { state: null, dueAt: null },
        views: [],
        receipt: {
          source: SOURCE,
          webhookId: `${pressId}/~security`,
          bodyDigest: sha256(pressId),
          response: null,
        },
      });
      if (written.outcome !== 'version-conflict') return;
    }
    throw new InterlockError('the security stream is being written by too many at once', {
      code: 'ledger.contended',
      retryable: true,
    });
  }

  /** Spools whose presses are all in the ledger, of processes that write no more; and the marks of no press. */
  function tidy(): void {
    const entered = marks.read();
    spool.read();
    const standing: string[] = [];
    for (const { name, pressIds, isQuiet } of spool.files()) {
      const isEntered = [...pressIds].every((pressId) => entered.has(pressId));
      if (isEntered && isQuiet) unlinkSync(join(files.spool, name));
      else standing.push(...[...pressIds].filter((pressId) => entered.has(pressId)));
    }
    if (entered.size > standing.length) compactMarks(files.marks, standing, clock());
  }

  function drain(): Promise<void> {
    draining ??= pass()
      .catch((error: unknown) => logger.error({ err: error }, 'the spools could not be drained'))
      .finally(() => {
        draining = null;
      });
    return draining;
  }

  function schedule(): void {
    timer = setTimeout(
      () => void drain().finally(() => (stopped ? undefined : schedule())),
      isAway ? AWAY_INTERVAL_MS : (deps.intervalMs ?? INTERVAL_MS),
    );
    timer.unref();
  }

  return {
    start() {
      void drain();
      schedule();
    },
    drain,
    pending: () => waiting().length,
    expect,
    forget: (pressId) => void awaited.delete(pressId),
    isAwaited(runId) {
      for (const { scope } of awaited.values()) {
        if (scope.kind === 'all' || scope.runId === runId) return true;
      }
      return false;
    },
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await draining;
    },
  };
}
