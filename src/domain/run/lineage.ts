/**
 * Lineage: whom a halt reaches beside the run that it is of.
 *
 * Down: every run that has weights of the halted one in it, whatever the halt's cause, by whatever name it gave them at
 * registration or with a checkpoint (a merge has several parents). Sideways: runs that began with weights of the same
 * parent and still train, where the cause says something of those weights and not only of one run's conduct
 * (ADR 0020). Not up: what is in doubt was made after the parent.
 * Each run that is reached gets a halt of its own, delivered to its own targets, that ends by its own governed resume:
 * waiving a risk in the weights of one run waives nothing in what was made of them. A halt latches another run once;
 * whoever resumed that one has signed for it. What is latched so latches its own descendants, and no siblings.
 *
 * Not promised: a run that names no parent and states that it starts from nothing has none. What is stated is believed.
 */
import { ancestryProblem, withFound } from './ancestry.ts';
import type { Ancestry } from './ancestry-documents.ts';
import { type Context, type Decision, iso, reject } from './context.ts';
import type { RunEventData } from './events.ts';
import type { Finding } from './finding-documents.ts';
import { haltEvents } from './halt.ts';
import type { HaltAction, HaltCause } from './halt-documents.ts';
import { isKnownInShadow } from './shadow-state.ts';
import type { Halt, RunState } from './state.ts';

const RUN_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

export interface LatchLineage {
  readonly type: 'LatchLineage';
  /** The halted run: an ancestor, or a sibling where `through` says whose weights both began with. */
  readonly ancestor: string;
  readonly haltId: string;
  readonly action: HaltAction;
  readonly reason: string;
  readonly through?: string | undefined;
}

export interface FindParent {
  readonly type: 'FindParent';
  readonly stated: string;
  readonly ancestry: Ancestry;
}

type Named = Pick<RunState, 'parents' | 'runId' | 'lineage'>;

/** The runs that a run descends from, as it says or as its weights show; never itself. */
export function parentRuns({ parents, runId, lineage }: Named): string[] {
  const named = [...parents, ...unknownNames(lineage)].map((parent) => parent.split('/', 1)[0] ?? '');
  const runs = named.filter((id) => RUN_ID.test(id));
  return [...new Set([...runs, ...(lineage?.parents ?? [])])].filter((id) => id !== runId);
}

/** Everything that siblings share one of: parent runs, and names of weights that no run here made. */
export function origins(state: Named): string[] {
  const names = [...state.parents, ...unknownNames(state.lineage)];
  const foreign = names.filter((name) => !RUN_ID.test(name.split('/', 1)[0] ?? ''));
  return [...new Set([...parentRuns(state), ...foreign])];
}

const unknownNames = (lineage: RunState['lineage']): string[] =>
  lineage?.unknown.map(({ stated }) => stated) ?? [];

/** The halt of `ancestor` that this run is still to be latched by, or null. */
export function inheritedHalt(
  state: Named & Pick<RunState, 'inherited'>,
  ancestor: Pick<RunState, 'runId' | 'halt'>,
): Halt | null {
  const { halt } = ancestor;
  if (halt === null || !parentRuns(state).includes(ancestor.runId)) return null;
  return state.inherited?.includes(halt.haltId) === true ? null : halt;
}

/** The halt of a sibling that this run is still to be latched by, and the origin that they share; or null. */
export function siblingHalt(
  state: Named & Pick<RunState, 'inherited' | 'finishedAt'>,
  sibling: Named & Pick<RunState, 'halt' | 'holds'>,
): { readonly halt: Halt; readonly cause: HaltCause; readonly through: string } | null {
  const { halt } = sibling;
  if (halt === null || sibling.runId === state.runId || state.finishedAt !== null) return null;
  if (state.inherited?.includes(halt.haltId) === true) return null;
  const cause = sidewaysCause(sibling);
  const shared = new Set(origins(sibling));
  const through = origins(state).find((origin) => shared.has(origin));
  return cause === null || through === undefined ? null : { halt, cause, through };
}

/** Evidence of what training these weights on can reach. */
const OF_CAPABILITY: ReadonlySet<Finding['kind']> = new Set([
  'level',
  'forecast',
  'estimate',
  'jump',
  'risk',
]);

/**
 * What of a halt says something of the weights that the run began with: evidence of capability, doubt about it that
 * nobody settled in time, and a quarantine, whoever ordered it. An overrun, a missing checkpoint, a second process or
 * a person's plain halt speak of one run; whoever means them all has the button for all.
 */
export function sidewaysCause({ halt, holds }: Pick<RunState, 'halt' | 'holds'>): HaltCause | null {
  const doubted = new Set(
    holds.filter(({ findings }) => findings.some(isOfCapability)).map(({ holdId }) => holdId),
  );
  const speaks = (finding: Finding): boolean =>
    isOfCapability(finding) ||
    finding.then.includes('quarantine') ||
    (finding.kind === 'hold-deadline' && doubted.has(finding.evaluation ?? ''));
  const causes = halt?.causes ?? [];
  const found = causes.find((cause) => cause.kind === 'rule' && cause.findings.some(speaks));
  if (found !== undefined) return found;
  if (halt?.action !== 'quarantine') return null;
  return causes.find(({ kind }) => kind === 'person') ?? null;
}

const isOfCapability = ({ kind }: Finding): boolean => OF_CAPABILITY.has(kind);

export function latchLineage(state: RunState, command: LatchLineage, context: Context): Decision {
  const { ancestor, haltId, action, reason, through } = command;
  if (state.inherited?.includes(haltId) === true || isKnownInShadow(state, { haltId })) return [];
  if (through !== undefined && state.finishedAt !== null) return [];
  const cause: HaltCause = {
    kind: 'lineage',
    runId: ancestor,
    haltId,
    reason,
    ...(through === undefined ? {} : { through }),
  };
  return haltEvents(state, context, cause, action);
}

export function findParent(state: RunState, command: FindParent, context: Context): Decision {
  const { stated, ancestry } = command;
  if (!unknownNames(state.lineage).includes(stated) || ancestry.known.length === 0) return [];
  const problem = ancestryProblem(state, ancestry);
  if (problem !== null) return reject('invalid', problem, 'parents');
  return [{ kind: 'ParentFound', data: { stated, ancestry, at: iso(context.now) } }];
}

const INHERITED_KEPT = 64;

/** Remembered with the halt that it became, so that the same halt does not come back after a resume. */
export function withInherited(state: RunState, cause: HaltCause): RunState {
  if (cause.kind !== 'lineage') return state;
  const known = (state.inherited ?? []).filter((id) => id !== cause.haltId);
  return { ...state, inherited: [...known, cause.haltId].slice(-INHERITED_KEPT) };
}

export const lineageEvolvers = {
  ParentFound: (state: RunState, { stated, ancestry }: RunEventData<'ParentFound'>): RunState => {
    const lineage = withFound(state, stated, ancestry);
    return lineage === undefined ? state : { ...state, lineage };
  },
};
