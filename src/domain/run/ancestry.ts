/**
 * Ancestry: which weights a run was made from, and how much compute is in them.
 *
 * Compute counts the union of the ancestors' work. A contribution is one ancestor's own work, an interval on that run's
 * scale; where two parents share an ancestor it is there once, as far as the further of the two took it. A run counts
 * from the sum, and what it states may not be below it: that is a finding that holds, and so is a parent that nobody
 * knows of a run that starts from weights. Both are lifted by a resume whose terms name them.
 *
 * Not promised: a digest is what a checkpoint reported, and nobody here reads the weights. Weights that were taken from
 * a run before others were merged into it are counted with the merge: too much, which holds.
 */
import {
  type Compute,
  compareCompute,
  flopText,
  maxCompute,
  minCompute,
  minusCompute,
  plusCompute,
  timesCompute,
} from '../compute.ts';
import type { Policy } from '../policy/schema.ts';
import type { Ancestry, Contribution } from './ancestry-documents.ts';
import { findingKey, hardened } from './assess.ts';
import { type Finding, OF_THE_RUN } from './finding-documents.ts';
import type { LineageState, RunState } from './state.ts';

export const NOTHING_KNOWN: Ancestry = { known: [], unknown: [], work: [] };

/** Distinct runs in one run's lineage, and names nobody knows: the state goes with every append. */
export const PARENTS_MAX = 128;
const CONTRIBUTIONS_MAX = 512;

/** A rounded figure is no contradiction; as far as stated forms of compute may differ. */
const ROUNDING = 0.99;

// --- work ----------------------------------------------------------------------------------------------

/** Each source once: from where its work began to the furthest of the weights that were taken. */
export function united(...lists: readonly (readonly Contribution[])[]): Contribution[] {
  const bySource = new Map<string, Contribution>();
  for (const each of lists.flat()) {
    const known = bySource.get(each.source);
    bySource.set(each.source, known === undefined ? each : wider(known, each));
  }
  return [...bySource.values()].sort((a, b) => (a.source < b.source ? -1 : 1));
}

function wider(a: Contribution, b: Contribution): Contribution {
  const from = a.from === null || b.from === null ? null : minCompute(a.from, b.from);
  return { source: a.source, from, to: maxCompute(a.to, b.to) };
}

export function total(work: readonly Contribution[]): Compute | null {
  return work.reduce<Compute | null>((sum, { from, to }) => plus(sum, lengthOf(from, to)), null);
}

const lengthOf = (from: Compute | null, to: Compute): Compute | null =>
  from === null ? to : minusCompute(to, from);

const plus = (a: Compute | null, b: Compute | null): Compute | null =>
  a === null || b === null ? (a ?? b) : plusCompute(a, b);

const greater = (a: Compute | null, b: Compute | null): Compute | null =>
  a === null || b === null ? (a ?? b) : maxCompute(a, b);

/** What is in a run's weights at `effectiveCompute`: its ancestors' work, what it began with beyond that, and its own. */
export function workAt(
  {
    runId,
    lineage,
    initialCompute,
    parents,
  }: Pick<RunState, 'runId' | 'lineage' | 'initialCompute' | 'parents'>,
  effectiveCompute: Compute | null,
): Contribution[] {
  const work = lineage?.work ?? [];
  const start = lineage?.start ?? initialCompute;
  const known = total(work);
  const outside = start === null ? null : known === null ? start : minusCompute(start, known);
  const isOwn = effectiveCompute !== null && (start === null || compareCompute(effectiveCompute, start) > 0);
  // Weights of the same name are the same ones, whoever started from them.
  const named = lineage?.unknown.map(({ stated }) => stated).sort() ?? [...parents].sort();
  const source = named.length === 0 ? `weights:at the start of ${runId}` : `weights:${named.join(' ')}`;
  return united(
    work,
    outside === null ? [] : [{ source, from: null, to: outside }],
    isOwn ? [{ source: `run:${runId}`, from: start, to: effectiveCompute }] : [],
  );
}

// --- state ---------------------------------------------------------------------------------------------

/** Of a run at registration; undefined where it starts from nothing. */
export function lineageAtStart(
  initialCompute: Compute | null,
  ancestry: Ancestry,
  vouched: string | undefined,
): LineageState | undefined {
  const { known, unknown, work } = ancestry;
  const unnamed = known.length === 0 && unknown.length === 0;
  if (initialCompute === null && unnamed) return undefined;
  const floor = total(work);
  return {
    parents: distinct(known.map(({ runId }) => runId)),
    unknown: distinct(unknown).map((stated) => ({ stated, checkpointId: null })),
    unnamed,
    ...(vouched === undefined ? {} : { vouched }),
    work: united(work),
    start: greater(initialCompute, floor),
    floor,
    stated: initialCompute === null ? null : { checkpointId: null, effectiveCompute: initialCompute },
  };
}

const NO_LINEAGE = { parents: [], unknown: [], unnamed: false, work: [], floor: null, stated: null };

/** Weights that were merged in: what they add counts on top of what the run was at, not of what it states now. */
export function withMerged(state: RunState, ancestry: Ancestry, checkpointId: string): LineageState {
  const before = state.lineage ?? { ...NO_LINEAGE, start: state.initialCompute };
  const work = united(before.work, ancestry.work);
  const [had, has] = [total(before.work), total(work)];
  const added = had === null || has === null ? has : minusCompute(has, had);
  const names = new Set(before.unknown.map(({ stated }) => stated));
  const unknown = distinct(ancestry.unknown).filter((stated) => !names.has(stated));
  return {
    ...before,
    parents: withParents(before, ancestry, state.runId),
    unknown: [...before.unknown, ...unknown.map((stated) => ({ stated, checkpointId }))],
    work,
    start: added === null ? before.start : plus(before.start, added),
    floor: added === null ? before.floor : plus(greater(before.floor, state.computeHigh), added),
  };
}

/** Weights that were there from the start: nothing is added to what it is at, only to what is known of it. */
export function withFound(state: RunState, stated: string, ancestry: Ancestry): LineageState | undefined {
  const { lineage } = state;
  if (lineage === undefined) return undefined;
  const work = united(lineage.work, ancestry.work);
  const floor = greater(lineage.floor, total(work));
  return {
    ...lineage,
    parents: withParents(lineage, ancestry, state.runId),
    unknown: lineage.unknown.filter((each) => each.stated !== stated),
    work,
    floor,
    start: greater(lineage.start, floor),
  };
}

function withParents(
  { parents }: Pick<LineageState, 'parents'>,
  { known }: Ancestry,
  self: string,
): string[] {
  return distinct([...parents, ...known.map(({ runId }) => runId)]).filter((runId) => runId !== self);
}

const distinct = (names: readonly string[]): string[] => [...new Set(names)];

/** Why this much lineage cannot be kept, or null. Only what adds to it is refused. */
export function ancestryProblem(state: RunState | null, { known, unknown, work }: Ancestry): string | null {
  const lineage = state?.lineage;
  const parents = new Set([...(lineage?.parents ?? []), ...known.map(({ runId }) => runId)]);
  const names = new Set([...(lineage?.unknown.map(({ stated }) => stated) ?? []), ...unknown]);
  if (parents.size + names.size > PARENTS_MAX) {
    return `must not take the run's parents above ${PARENTS_MAX}; name the merged weights by the run that made them`;
  }
  return united(lineage?.work ?? [], work).length > CONTRIBUTIONS_MAX
    ? `must not take the run's ancestors above ${CONTRIBUTIONS_MAX}`
    : null;
}

/** What people signed for by name holds no longer: the unknown is accepted, and what was stated is what counts. */
export function withoutSignedLineage(lineage: LineageState, waives: readonly string[]): LineageState {
  const signed = (finding: Finding): boolean => waives.includes(findingKey(finding));
  const isAccepted = (checkpointId: string | null): boolean =>
    signed(unknownParents(lineage, checkpointId, []));
  const { stated, floor } = lineage;
  const isBelow = stated !== null && floor !== null && signed(belowAncestors(stated, floor, []));
  return {
    ...lineage,
    unknown: lineage.unknown.map((each) =>
      isAccepted(each.checkpointId) ? { ...each, accepted: true } : each,
    ),
    unnamed: lineage.unnamed && !isAccepted(null),
    floor: isBelow ? minCompute(floor, stated.effectiveCompute) : floor,
  };
}

// --- findings ------------------------------------------------------------------------------------------

export function lineageFindings({ lineage }: Pick<RunState, 'lineage'>, policy: Policy): Finding[] {
  if (lineage === undefined) return [];
  const then = hardened(policy, 'lineage', 'hold');
  const { vouched, unnamed, unknown, stated, floor } = lineage;
  const isOpen = (checkpointId: string | null): boolean => checkpointId !== null || vouched === undefined;
  const where = distinctPlaces(
    unknown.filter(({ accepted }) => accepted === undefined),
    unnamed,
  ).filter(isOpen);
  return [
    ...where.map((checkpointId) => unknownParents(lineage, checkpointId, then)),
    ...(stated !== null && floor !== null && isBelowFloor(stated.effectiveCompute, floor)
      ? [belowAncestors(stated, floor, then)]
      : []),
  ];
}

function distinctPlaces(unknown: LineageState['unknown'], unnamed: boolean): (string | null)[] {
  return [...new Set([...(unnamed ? [null] : []), ...unknown.map(({ checkpointId }) => checkpointId)])];
}

const isBelowFloor = (stated: Compute, floor: Compute): boolean =>
  compareCompute(stated, timesCompute(floor, ROUNDING)) < 0;

export const UNKNOWN_PARENT = 'lineage:unknown-parent';

const BLANK = { ...OF_THE_RUN, kind: 'lineage' } as const;

function unknownParents(
  { unknown }: Pick<LineageState, 'unknown'>,
  checkpointId: string | null,
  then: Finding['then'],
): Finding {
  const names = unknown.filter((each) => each.checkpointId === checkpointId).map(({ stated }) => stated);
  const which =
    checkpointId === null ? 'the run starts from weights' : `${checkpointId} was merged from weights`;
  return {
    ...BLANK,
    rule: UNKNOWN_PARENT,
    checkpointId,
    observed: names.length,
    threshold: null,
    then,
    explanation:
      names.length === 0
        ? `${which} and names no parent`
        : `${which} that are not known here: ${printed(names)}; name a run, run/checkpoint, or the digest of weights that a checkpoint reported`,
  };
}

function belowAncestors(
  { checkpointId, effectiveCompute }: NonNullable<LineageState['stated']>,
  floor: Compute,
  then: Finding['then'],
): Finding {
  const where = checkpointId === null ? 'the registration' : checkpointId;
  return {
    ...BLANK,
    rule: 'lineage:below-ancestors',
    checkpointId,
    observed: effectiveCompute,
    threshold: floor,
    then,
    explanation: `${where} states ${flopText(effectiveCompute)}, less than the ${flopText(floor)} that are in the weights it was made from`,
  };
}

const NAMES_TOLD = 3;
const NAME_TOLD = 80;

/** Names are a sender's text: what is told of them is short and plain. */
function printed(names: readonly string[]): string {
  const told = names
    .slice(0, NAMES_TOLD)
    .map((name) => name.replaceAll(/[^\x21-\x7e]/g, '?').slice(0, NAME_TOLD));
  const more = names.length - told.length;
  return more > 0 ? `${told.join(', ')} and ${more} more` : told.join(', ');
}
