/**
 * The desk: what a press does, whoever takes it (the button's own process, the service whose database is away, a shell).
 *
 *   write it into the spool and fsync -> send the orders to every target -> kill the runs' evaluation jobs
 *
 * First written, then sent, so that no trainer holds an order that nobody can clear; but a disk that is full or does
 * not answer for WRITE_PATIENCE_MS does not hold a halt up: then it is sent, the answer says that it is not durable, and
 * writing goes on. Orders are made from the target book as it is in that moment, damaged or old as it may be.
 * After a start everything in any spool that has no mark is sent again; whatever gets its mark is let go.
 * Nothing is ever refused here for its rate: an unusual one is noticed.
 * Not here: who may press (the caller), and the ledger (service/press-drain.ts).
 */
import { createHash } from 'node:crypto';
import { explain } from '../domain/run/halt.ts';
import { idOf } from '../domain/run/ids.ts';
import { faultPoint } from '../fault-points.ts';
import type { BookEntry, BookReader, Knowledge } from './book.ts';
import type { MarkReader } from './marks.ts';
import { byTime, newPressId, type Press, type Scope, scopeKey } from './press.ts';
import type { Order, Sender } from './sender.ts';
import type { Spool, SpoolReader } from './spool.ts';

export interface PressRequest extends Pick<Press, 'action' | 'reason' | 'by' | 'group' | 'via'> {
  readonly scope: Scope;
  readonly codeId?: string | undefined;
  /** Of a press that has its name already; the same again is the same press. */
  readonly pressId?: string | undefined;
}

export interface Pressed {
  readonly press: Press;
  /** On disk. Where false the halts go out all the same, and are forgotten if this process ends now. */
  readonly durable: boolean;
  readonly orders: readonly Order[];
  /** One run was meant, and the book does not have it. */
  readonly isUnknown: boolean;
  readonly knowledgeAt: Date | null;
}

export interface DeskDeps {
  readonly book: BookReader;
  readonly spool: Spool;
  readonly spoolReader: SpoolReader;
  readonly marks: MarkReader;
  readonly sender: Sender;
  /** Ends the evaluation jobs of a run, or of all. */
  readonly killJobs: (runId: string | null) => Promise<number>;
  readonly clock: () => Date;
  readonly logger: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
}

export interface Desk {
  press(request: PressRequest): Promise<Pressed>;
  /** Sends what nobody has entered yet, lets go of what somebody has. */
  tend(options?: { foreignAfterMs?: number }): void;
  knowledge(): Knowledge;
  /** The runs that a press for all would stop. */
  reach(): BookEntry[];
  /** Presses that are in no ledger yet. */
  pending(): readonly Press[];
  readonly undurable: readonly Press[];
}

const WRITE_PATIENCE_MS = 250;
const ANSWER_PATIENCE_MS = 2_000;
/**
 * A burst is one order for this long, also where the ledger has its first press already. Shorter than people need to
 * resume in between: trainers pass over an order whose id they know as cleared, until the ledger orders it anew.
 */
const BURST_MS = 2_000;
const KILL_AGAIN_MS = [0, 500, 2_000] as const;
/** Presses per minute and identity that are worth a line. */
const UNUSUAL_PER_MINUTE = 20;
/** A press that another process wrote is that process's to send, unless it does not come to an end. */
const FOREIGN_AFTER_MS = 3_000;

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** The id of a run's halt under the orders of one burst. */
export function orderIdOf({ rootId }: Pick<Press, 'rootId'>, runId: string): string {
  return idOf('halt', sha256, runId, 'press', rootId);
}

export function createDesk(deps: DeskDeps): Desk {
  const { book, spool, spoolReader, marks, sender, clock, logger } = deps;
  const roots = new Map<string, Press>();
  /** Orders of a press that are being sent here, by its id. */
  const sending = new Map<string, readonly Order[]>();
  const own = new Map<string, Press>();
  /** Being written: not yet to be sent by anything but the press itself. */
  const taking = new Set<string>();
  const rates = new Map<string, { minute: number; count: number }>();
  let seq = 0;

  /**
   * The name that the press came with. Where a press of that name asked for something else (a code whose use was cut
   * off, typed again for another run) it is another press: taken for the same it would never enter the ledger, and its
   * orders could not be cleared.
   */
  function nameOf(request: PressRequest): string {
    const { pressId } = request;
    if (pressId === undefined) return newPressId();
    const known = own.get(pressId) ?? spoolReader.read().get(pressId);
    return known === undefined || scopeKey(known) === scopeKey(request) ? pressId : newPressId();
  }

  function rootOf(press: Press): Press {
    const key = scopeKey(press);
    const known = roots.get(key);
    const isOpen =
      known !== undefined &&
      (!marks.read().has(known.pressId) ||
        Date.parse(press.pressedAt) - Date.parse(known.pressedAt) < BURST_MS);
    if (isOpen && !wasCleared(known)) return known;
    roots.set(key, press);
    return press;
  }

  /** The book shows a newer state than the halt of this root: its ids may have been cleared. */
  function wasCleared(root: Press): boolean {
    if (!marks.read().has(root.pressId)) return false;
    return reached(root.scope).some(({ runId, halt }) => {
      const orderId = orderIdOf(root, runId);
      return halt === null || (halt.haltId !== orderId && !halt.orders.includes(orderId));
    });
  }

  function reached(scope: Scope): BookEntry[] {
    const { runs } = book.read();
    if (scope.kind === 'all')
      return [...runs.values()].filter(({ finished, halt }) => !finished || halt !== null);
    const entry = runs.get(scope.runId);
    return entry === undefined ? [] : [entry];
  }

  function ordersOf(press: Press): Order[] {
    const { action, reason, by, group } = press;
    const cause = { kind: 'person' as const, by, group, reason };
    return reached(press.scope)
      .filter(({ registeredAt }) => registeredAt <= press.pressedAt || press.scope.kind === 'run')
      .map(({ runId, epoch, halt, by: registeredBy, targets }) => ({
        runId,
        haltId: orderIdOf(press, runId),
        action,
        // What the ledger will number it, as far as is known here; a trainer obeys it whatever the number.
        epoch: halt === null ? epoch + 1 : epoch,
        reason: explain(cause),
        orderedAt: press.rootAt,
        registeredBy,
        targets,
      }));
  }

  function carryOut(press: Press): readonly Order[] {
    const orders = ordersOf(press);
    sending.set(press.pressId, orders);
    for (const order of orders) sender.send(order);
    return orders;
  }

  /** Again after a moment: what was being started at the first look is there at the second. */
  function killJobs(press: Press): void {
    for (const afterMs of KILL_AGAIN_MS) setTimeout(() => killJobsNow(press), afterMs).unref();
  }

  function killJobsNow({ scope, pressId }: Press): void {
    if (marks.read().has(pressId)) return;
    deps.killJobs(scope.kind === 'all' ? null : scope.runId).then(
      (killed) => {
        if (killed > 0) logger.info({ pressId, killed }, 'evaluation jobs ended by a press');
      },
      (error: unknown) => logger.warn({ err: error, pressId }, 'evaluation jobs could not be ended'),
    );
  }

  function notice({ by, pressedAt }: Press): void {
    const minute = Math.floor(Date.parse(pressedAt) / 60_000);
    const known = rates.get(by);
    const count = known?.minute === minute ? known.count + 1 : 1;
    rates.set(by, { minute, count });
    if (count === UNUSUAL_PER_MINUTE) {
      logger.warn({ identityId: by, perMinute: count }, 'an identity presses the red button unusually often');
    }
  }

  /** Nobody sends it any more: every press that named these orders is entered. */
  function letGo(pressId: string): void {
    const orders = sending.get(pressId) ?? [];
    sending.delete(pressId);
    own.delete(pressId);
    const still = new Set([...sending.values()].flat().map(({ runId, haltId }) => `${runId}\n${haltId}`));
    for (const { runId, haltId } of orders) {
      if (!still.has(`${runId}\n${haltId}`)) sender.release(runId, haltId);
    }
  }

  return {
    async press(request) {
      const { action, reason, by, group, via, scope, codeId } = request;
      const pressedAt = clock().toISOString();
      seq += 1;
      const pressId = nameOf(request);
      const alone: Press = {
        pressId,
        rootId: pressId,
        rootAt: pressedAt,
        scope,
        action,
        reason,
        by,
        group,
        via,
        codeId: codeId ?? null,
        pressedAt,
        seq,
      };
      const root = rootOf(alone);
      const press: Press = { ...alone, rootId: root.pressId, rootAt: root.pressedAt };
      own.set(pressId, press);
      taking.add(pressId);
      notice(press);
      const written = spool.append(press);
      const inTime = await Promise.race([written, patience(WRITE_PATIENCE_MS)]);
      faultPoint('press.written');
      const orders = carryOut(press);
      taking.delete(pressId);
      faultPoint('press.sending');
      killJobs(press);
      // The halts are on their way; what is promised is worth a longer wait.
      const durable = inTime ?? (await Promise.race([written, patience(ANSWER_PATIENCE_MS)])) ?? false;
      const fields = { pressId, identityId: by, via, runs: orders.length, durable };
      if (durable) logger.info(fields, 'the red button was pressed');
      else logger.warn(fields, 'the red button was pressed, and the press could not be written down yet');
      return {
        press,
        durable,
        orders,
        isUnknown: scope.kind === 'run' && orders.length === 0,
        knowledgeAt: book.read().asOf,
      };
    },

    tend({ foreignAfterMs = FOREIGN_AFTER_MS } = {}) {
      const entered = marks.read();
      spool.entered(entered);
      for (const pressId of [...sending.keys()]) if (entered.has(pressId)) letGo(pressId);
      for (const pressId of [...own.keys()]) if (entered.has(pressId)) own.delete(pressId);
      const beforeMs = clock().getTime() - foreignAfterMs;
      for (const press of [...spoolReader.read().values()].sort(byTime)) {
        if (entered.has(press.pressId) || sending.has(press.pressId)) continue;
        if (taking.has(press.pressId)) continue;
        if (!own.has(press.pressId) && Date.parse(press.pressedAt) > beforeMs) continue;
        if (!roots.has(scopeKey(press))) roots.set(scopeKey(press), rootIn(press));
        own.set(press.pressId, press);
        logger.warn(
          { pressId: press.pressId, identityId: press.by },
          'sending a press that nobody has entered',
        );
        carryOut(press);
        killJobs(press);
      }
    },

    knowledge: () => book.read(),
    reach: () => reached({ kind: 'all' }),
    pending() {
      const entered = marks.read();
      const all = new Map([...spoolReader.read(), ...own]);
      return [...all.values()].filter(({ pressId }) => !entered.has(pressId)).sort(byTime);
    },
    get undurable() {
      return spool.undurable;
    },
  };
}

/** The root as a press of its own, as far as a later press of its burst tells. */
function rootIn(press: Press): Press {
  return { ...press, pressId: press.rootId, pressedAt: press.rootAt };
}

function patience(ms: number): Promise<null> {
  return new Promise((resolve) => setTimeout(() => resolve(null), ms).unref());
}
