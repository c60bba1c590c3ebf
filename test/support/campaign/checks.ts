/**
 * The outside checker: holds what was acknowledged and seen (journal, receiver) against what is in the ledger.
 *
 * Independent of the service's code: it reads the exported events as data and folds nothing. Every violation is a
 * sentence with the ids one needs to look it up.
 */
import { z } from 'zod';
import type { PermitClaims } from '../../../src/signing/tokens.ts';
import type { Evidence, LedgerEvent } from './evidence.ts';
import type { Journal } from './journal.ts';
import type { ReceivedHalt } from './outside.ts';

export interface Seen {
  readonly journal: Journal;
  readonly halts: readonly ReceivedHalt[];
  readonly alerts: ReadonlySet<string>;
}

interface Ordered {
  readonly runId: string;
  readonly haltId: string;
  readonly epoch: number;
  readonly recordedAt: string;
}

const CheckpointData = z.object({ checkpointId: z.string(), effectiveCompute: z.string() });
const AttemptData = z.object({ evaluationId: z.string(), attempt: z.int() });
const ReportedData = AttemptData.extend({
  reading: z.object({ score: z.number().nullable() }),
  by: z.string(),
});
const HaltData = z.object({ haltId: z.string(), epoch: z.int() });
const CauseData = z.object({
  haltId: z.string(),
  cause: z.object({ kind: z.string(), reason: z.string().optional() }),
});
const SignOffData = z.object({ proposalId: z.string(), by: z.string(), decision: z.string() });
const AckData = z.object({ haltId: z.string(), state: z.string() });
const AlertData = z.object({ alertId: z.string() });

export async function check(seen: Seen, evidence: Evidence): Promise<string[]> {
  return [...seen.journal.violations, ...checkKept(seen, evidence), ...(await checkHalts(seen, evidence))];
}

/** Nothing acknowledged is lost, changed or counted twice, and the ledger agrees with itself. */
export function checkKept(seen: Seen, evidence: Evidence): string[] {
  const { events } = evidence;
  return [
    ...evidence.objections,
    ...registrations(seen, events),
    ...checkpoints(seen, events),
    ...evaluations(seen, events),
    ...series(evidence),
    ...signOffs(seen, events),
    ...acknowledgements(seen, events),
  ];
}

/**
 * No halt is lost or undone, and no permit is issued against one. `settled`: there was time to deliver everything.
 */
export async function checkHalts(
  seen: Seen,
  evidence: Evidence,
  { settled = true }: { settled?: boolean } = {},
): Promise<string[]> {
  const { events } = evidence;
  const ordered = haltsOf(events);
  // A press that the ledger was too slow for is in a spool until it is entered: lost only if it never is.
  return [
    ...(settled ? presses(seen, events) : []),
    ...(await deliveries(seen, ordered, evidence, settled)),
    ...(settled ? alerts(seen, events) : []),
    ...(await permits(seen, ordered, evidence)),
  ];
}

const runOf = ({ stream }: LedgerEvent): string => stream.replace(/^run-/, '');

function select<T>(
  events: readonly LedgerEvent[],
  kinds: readonly string[],
  schema: z.ZodType<T>,
): { event: LedgerEvent; data: T }[] {
  return events
    .filter(({ kind }) => kinds.includes(kind))
    .map((event) => ({ event, data: schema.parse(event.data) }));
}

function tally<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}

const repeated = <T>(groups: ReadonlyMap<string, readonly T[]>, what: string): string[] =>
  [...groups].flatMap(([key, all]) =>
    all.length > 1 ? [`${what} ${key} is in the ledger ${all.length} times`] : [],
  );

export function haltsOf(events: readonly LedgerEvent[]): Ordered[] {
  return select(events, ['HaltOrdered'], HaltData).map(({ event, data }) => ({
    runId: runOf(event),
    recordedAt: event.recordedAt,
    ...data,
  }));
}

function registrations({ journal }: Seen, events: readonly LedgerEvent[]): string[] {
  const recorded = tally(select(events, ['RunRegistered'], z.unknown()), ({ event }) => runOf(event));
  const lost = [...journal.registered].filter((runId) => !recorded.has(runId));
  return [...lost.map((runId) => `the acknowledged run ${runId} is lost`), ...repeated(recorded, 'run')];
}

function checkpoints({ journal }: Seen, events: readonly LedgerEvent[]): string[] {
  const recorded = tally(
    select(events, ['CheckpointReported'], CheckpointData),
    ({ event, data }) => `${runOf(event)} ${data.checkpointId}`,
  );
  return [
    ...repeated(recorded, 'checkpoint'),
    ...journal.checkpoints.flatMap(({ runId, checkpointId, effectiveCompute }) => {
      const [found] = recorded.get(`${runId} ${checkpointId}`) ?? [];
      if (found === undefined) return [`the acknowledged checkpoint ${runId} ${checkpointId} is lost`];
      const stated = Number(found.data.effectiveCompute);
      return stated === effectiveCompute
        ? []
        : [`checkpoint ${runId} ${checkpointId} was ${effectiveCompute} and is recorded as ${stated}`];
    }),
  ];
}

function evaluations({ journal }: Seen, events: readonly LedgerEvent[]): string[] {
  const key = ({ data }: { data: z.infer<typeof AttemptData> }) => `${data.evaluationId}/${data.attempt}`;
  const results = tally(select(events, ['EvaluationReported', 'ArchivedResultReported'], ReportedData), key);
  return [
    ...repeated(results, 'the result of'),
    ...repeated(tally(select(events, ['EvaluationStarted'], AttemptData), key), 'the start of'),
    ...journal.results.flatMap(({ evaluationId, attempt, score }) => {
      const [found] = results.get(`${evaluationId}/${attempt}`) ?? [];
      if (found === undefined) return [`the acknowledged result of ${evaluationId}/${attempt} is lost`];
      return found.data.by === 'evaluator' && found.data.reading.score === score
        ? []
        : [`the result of ${evaluationId}/${attempt} is not the one that was acknowledged`];
    }),
  ];
}

function series({ states }: Evidence): string[] {
  return [...states].flatMap(([stream, state]) =>
    state.series.flatMap(({ evaluation, variant, points }) =>
      repeated(
        tally(points, ({ checkpointId }) => checkpointId),
        `in the series of ${stream} ${evaluation}/${variant} the point`,
      ),
    ),
  );
}

interface Names {
  /** Every halt that this id was told for. */
  haltsNamed(id: string): ReadonlySet<string>;
  /** Its own id, and those that were told for it and no other. */
  namesOf(haltId: string): string[];
  /** A button that knows only a copy numbers its orders by that; a trainer obeys them whatever the number. */
  hasOrders(haltId: string): boolean;
}

/**
 * Halts by every name that was told outside: a press that the ledger was too slow for went out under an id of the
 * button's own, which the ledger then knows as a name of the halt that it joined. Presses of one burst share that id,
 * and where people resumed between two of them it names the halts of both.
 */
function namesIn(events: readonly LedgerEvent[]): Names {
  const halts = new Map(haltsOf(events).map(({ haltId }) => [haltId, new Set([haltId])]));
  const orders = new Map<string, Set<string>>();
  const JoinedData = z.object({ orderId: z.string(), haltId: z.string() });
  for (const { data } of select(events, ['PressRecorded'], JoinedData)) {
    const { orderId, haltId } = data;
    halts.set(orderId, (halts.get(orderId) ?? new Set()).add(haltId));
    orders.set(haltId, (orders.get(haltId) ?? new Set()).add(orderId));
  }
  const haltsNamed = (id: string): ReadonlySet<string> => halts.get(id) ?? new Set();
  return {
    haltsNamed,
    hasOrders: (haltId) => orders.has(haltId),
    namesOf: (haltId) => {
      const others = [...(orders.get(haltId) ?? [])].filter(
        (id) => id !== haltId && haltsNamed(id).size === 1,
      );
      return [haltId, ...others];
    },
  };
}

function presses({ journal }: Seen, events: readonly LedgerEvent[]): string[] {
  const causes = select(events, ['HaltOrdered', 'HaltCauseAdded'], CauseData);
  const { haltsNamed } = namesIn(events);
  return journal.presses.flatMap(({ runId, haltId, reason }) =>
    causes.some(({ data }) => haltsNamed(haltId).has(data.haltId) && data.cause.reason === reason)
      ? []
      : [`the acknowledged red button of ${runId} (${reason}, ${haltId}) is lost`],
  );
}

function signOffs({ journal }: Seen, events: readonly LedgerEvent[]): string[] {
  const key = (data: z.infer<typeof SignOffData>) => `${data.proposalId} ${data.by} ${data.decision}`;
  const recorded = tally(select(events, ['SignOffRecorded'], SignOffData), ({ data }) => key(data));
  return [
    ...repeated(recorded, 'the sign-off'),
    ...journal.signOffs.flatMap((each) =>
      recorded.has(key(each)) ? [] : [`the accepted sign-off ${key(each)} is lost`],
    ),
  ];
}

function acknowledgements({ journal }: Seen, events: readonly LedgerEvent[]): string[] {
  const recorded = select(events, ['HaltAcknowledged'], AckData);
  const { haltsNamed } = namesIn(events);
  return journal.haltAcks.flatMap(({ haltId, state }) => {
    const halts = haltsNamed(haltId);
    // `received` after `stopped` is old news and no event.
    return recorded.some(
      ({ data }) => halts.has(data.haltId) && (data.state === state || data.state === 'stopped'),
    )
      ? []
      : [`the acknowledgement ${state} of ${haltId} is lost`];
  });
}

/** A channel is tried until the run is known to have stopped, or people let it go on; after that there is no need. */
function haltsOver(events: readonly LedgerEvent[]): ReadonlySet<string | null> {
  const ends = select(events, ['HaltConfirmed', 'RunResumed'], z.object({ haltId: z.string().nullable() }));
  return new Set(ends.map(({ data }) => data.haltId));
}

async function deliveries(
  { journal, halts }: Seen,
  ordered: readonly Ordered[],
  evidence: Evidence,
  settled: boolean,
): Promise<string[]> {
  const violations: string[] = [];
  const over = haltsOver(evidence.events);
  const { haltsNamed, namesOf, hasOrders } = namesIn(evidence.events);
  for (const { haltId, runId, epoch } of ordered) {
    const [received] = halts.filter((each) => namesOf(haltId).includes(each.haltId));
    if (received === undefined) {
      if (settled && !over.has(haltId))
        violations.push(`halt ${haltId} of ${runId} was ordered and never delivered`);
      continue;
    }
    const claims = await evidence.order(received.order);
    const isNumbered = hasOrders(haltId) || claims.epoch === epoch;
    if (!namesOf(haltId).includes(claims.haltId) || claims.sub !== runId || !isNumbered) {
      violations.push(`the order of ${haltId} says ${JSON.stringify(claims)}`);
    }
  }
  for (const haltId of journal.haltKnownAtMs.keys()) {
    if (settled && haltsNamed(haltId).size === 0)
      violations.push(`halt ${haltId} was told outside and is not in the ledger`);
  }
  return violations;
}

function alerts({ alerts: delivered }: Seen, events: readonly LedgerEvent[]): string[] {
  return select(events, ['AlertRaised'], AlertData).flatMap(({ event, data }) =>
    delivered.has(data.alertId) ? [] : [`alert ${data.alertId} of ${runOf(event)} reached nobody`],
  );
}

/**
 * A halt takes an epoch and a resume the next one: no permit carries a halt's epoch, none of a later epoch leaves
 * the halt out of what is cleared, and none of an earlier epoch was issued for a request that was sent when the halt
 * was already known outside. Numbers rise with epochs, and no number is given twice.
 */
async function permits(
  { journal }: Seen,
  ordered: readonly Ordered[],
  evidence: Evidence,
): Promise<string[]> {
  const violations: string[] = [];
  const { namesOf } = namesIn(evidence.events);
  const byRun = new Map<string, PermitClaims[]>();
  for (const { runId, token, sentAtMs } of journal.permits) {
    const claims = await evidence.permit(token);
    const { epoch, seq, clearedHalts } = claims;
    const name = `permit ${runId} #${seq} of epoch ${epoch}`;
    if (claims.sub !== runId) violations.push(`${name} is for ${claims.sub}`);
    for (const halt of ordered.filter((each) => each.runId === runId)) {
      const knownAtMs = Math.min(
        ...namesOf(halt.haltId).map((id) => journal.haltKnownAtMs.get(id) ?? Number.POSITIVE_INFINITY),
      );
      if (halt.epoch === epoch) violations.push(`${name} was issued while ${halt.haltId} stood`);
      if (halt.epoch < epoch && !clearedHalts.includes(halt.haltId)) {
        violations.push(`${name} does not say that ${halt.haltId} was cleared`);
      }
      if (halt.epoch > epoch && sentAtMs > knownAtMs) {
        violations.push(`${name} was issued after ${halt.haltId} of epoch ${halt.epoch} was known`);
      }
    }
    byRun.set(runId, [...(byRun.get(runId) ?? []), claims]);
  }
  for (const [runId, all] of byRun) {
    const sorted = all.toSorted((a, b) => a.seq - b.seq);
    for (const [i, { seq, epoch }] of sorted.entries()) {
      const before = sorted[i - 1];
      if (before === undefined) continue;
      if (before.seq === seq) violations.push(`permit number ${seq} of ${runId} was given twice`);
      if (before.epoch > epoch) violations.push(`permit ${runId} #${seq} went back to epoch ${epoch}`);
    }
  }
  return violations;
}
