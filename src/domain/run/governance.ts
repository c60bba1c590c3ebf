/**
 * Proposals and sign-offs: the only way out of a halt, and one way out of a hold.
 *
 * One can stop, all who are named must agree to go on. A resume is a waiver with terms, not a reset; a run in quarantine
 * takes a release first, which is a proposal with signatures of its own (propose.ts).
 * Approvals bind to the proposal's digest (halt, scorecard, terms); another scorecard or another proposal
 * voids them. One person counts once, whatever groups they sit in. The approval that completes the set
 * resumes the run in the same append; a veto after that halts again.
 */
import { assertNever } from '../assert-never.ts';
import { canonicalJson } from '../canonical-json.ts';
import { type Compute, compareCompute, maxCompute, onePlus, timesCompute } from '../compute.ts';
import { durationMs } from '../duration.ts';
import { signersOf } from '../policy/schema.ts';
import { assess, findingKey, isForecast, isWaived } from './assess.ts';
import { budgetUsedUp } from './attempts.ts';
import { highestCompute } from './cadence.ts';
import { type Context, type Decision, iso, isoAfter, type Rejection, reached, reject } from './context.ts';
import { currentAttempt, requeued, specOf } from './evaluation.ts';
import type { RunEvent, RunEventData } from './events.ts';
import type { Finding } from './finding-documents.ts';
import { haltEvents, isNamed } from './halt.ts';
import { overdueFinding } from './holds.ts';
import { idOf } from './ids.ts';
import type { Proposal, Terms } from './proposal-documents.ts';
import { kept, withExecuted, withProposal } from './proposal-state.ts';
import { isQuarantined } from './quarantine.ts';
import { runFindings, withoutSigned } from './run-findings.ts';
import { scopedWorkEnded } from './scoped-work.ts';
import { shadowOf } from './shadow-state.ts';
import { type CheckpointState, CLEARED_HALTS_KEPT, type RunState } from './state.ts';
import { unscorableBecause } from './weights.ts';

export interface ProposeResume {
  readonly type: 'ProposeResume';
  readonly haltId: string | null;
  readonly terms: {
    readonly ceiling?: Compute | undefined;
    readonly levels?: Readonly<Record<string, number>> | undefined;
    readonly forecasts?: Readonly<Record<string, number>> | undefined;
    readonly expires?: string | undefined;
  };
  readonly rationale: string;
  readonly by: string;
}
export interface SignOff {
  readonly type: 'SignOff';
  readonly proposalId: string;
  readonly digest: string;
  readonly decision: 'approve' | 'veto' | 'dissent';
  readonly group: string;
  readonly justification: string;
  readonly by: string;
  /** The groups that the signed-in person belongs to. */
  readonly groups: readonly string[];
}

// --- proposing -----------------------------------------------------------------------------------------

/** The scorecard that people are asked to sign for: the newest one with a verdict, else the newest open one. */
function subject(state: RunState): CheckpointState | null {
  return state.checkpoints.findLast(({ closed }) => closed !== null) ?? state.checkpoints.at(-1) ?? null;
}

/** Everything that would trip if the run went on as it is: what the terms must cover. */
function standing(state: RunState, context: Context): Finding[] {
  const stops = ({ then }: Finding): boolean =>
    then.includes('halt') || then.includes('quarantine') || then.includes('hold');
  const overdue = overdueFinding(state, context);
  return [
    ...state.checkpoints.flatMap((each) => assess(state, each, context.policy, context.now).findings),
    ...(overdue === null ? [] : [overdue]),
    ...runFindings(state, context.policy),
  ].filter(stops);
}

function termsFrom(
  state: RunState,
  command: ProposeResume,
  findings: readonly Finding[],
  context: Context,
): Terms {
  const { grace, maxInterval } = context.policy.cadence;
  const levels: Record<string, number> = {};
  const forecasts: Record<string, number> = {};
  for (const { kind, category, observed } of findings) {
    if (category === null || typeof observed !== 'number') continue;
    if (kind === 'level') levels[category] = Math.max(levels[category] ?? 0, observed);
    if (isForecast({ kind })) forecasts[category] = Math.max(forecasts[category] ?? 0, observed);
  }
  const high = highestCompute(state, context);
  // The evidence may be on a scorecard that is still open: the furthest checkpoint counts.
  const evaluated = state.checkpoints.map(({ effectiveCompute }) => effectiveCompute);
  const [first = high, ...others] = evaluated;
  const from = first === null ? null : others.reduce(maxCompute, first);
  const next = from === null ? state.firstCeiling : earnedFrom(state, from, context);
  const room = high === null ? next : maxCompute(next, timesCompute(high, onePlus(grace)));
  return {
    ceiling: command.terms.ceiling ?? room,
    levels: { ...levels, ...command.terms.levels },
    forecasts: { ...forecasts, ...command.terms.forecasts },
    waives: findings.filter((each) => each.kind !== 'level' && !isForecast(each)).map(findingKey),
    expires: isoAfter(
      command.terms.expires ?? context.now,
      command.terms.expires === undefined ? durationMs(maxInterval) : 0,
    ),
    scope: 'training',
  };
}

/** What clearing the furthest checkpoint would earn; whoever wants more than its risk allows has to say so. */
function earnedFrom({ checkpoints }: RunState, from: Compute, { policy }: Context): Compute {
  const { ratio, grace, risk } = policy.cadence;
  if (risk === undefined) return timesCompute(from, ratio, onePlus(grace));
  const sealed = checkpoints.find(
    ({ effectiveCompute }) => compareCompute(effectiveCompute, from) === 0,
  )?.risk;
  return sealed?.chosen.compute ?? timesCompute(from, risk.minRatio);
}

/** Null where the proposal is about the halt that stands, or names none. */
export function wrongHalt({ halt, clearedHalts, runId }: RunState, haltId: string | null): Rejection | null {
  if (haltId === null || (halt !== null && isNamed(halt, haltId))) return null;
  return clearedHalts.includes(haltId)
    ? reject('conflict', `halt ${haltId} is over: the run was resumed`, 'haltId')
    : reject('not-found', `run ${runId} has no open halt ${haltId}`, 'haltId');
}

export function proposeResume(state: RunState, command: ProposeResume, context: Context): Decision {
  const wrong = wrongHalt(state, command.haltId);
  if (wrong !== null) return wrong;
  if (isQuarantined(state)) {
    const why = `run ${state.runId} is in quarantine: propose its release first (kind release), and resume it once that is signed`;
    return reject('conflict', why, 'kind');
  }
  if (shadowOf(state) !== null) {
    return reject(
      'conflict',
      `run ${state.runId} is in shadow: nothing stops it, and there is nothing to resume`,
    );
  }
  if (state.halt === null && state.holds.length === 0) {
    return reject('conflict', `run ${state.runId} is neither halted nor on hold; there is nothing to resume`);
  }
  const findings = standing(state, context);
  const { expires } = command.terms;
  if (expires !== undefined && Number.isNaN(Date.parse(expires))) {
    return reject('invalid', 'must be an instant with a zone, RFC 3339', 'terms.expires');
  }
  const terms = termsFrom(state, command, findings, context);
  const problem = termsProblem(state, terms, findings, context);
  if (problem !== null) return reject('invalid', problem.message, problem.path);
  return openProposal(state, { kind: 'resume', terms }, { ...command, expires }, context);
}

/** What a kind of proposal says beside the halt and the scorecard that all of them are bound to. */
export type Proposed =
  | Pick<Extract<Proposal, { kind: 'resume' }>, 'kind' | 'terms'>
  | Pick<Extract<Proposal, { kind: 'scoped-resume' }>, 'kind' | 'terms'>
  | Pick<Extract<Proposal, { kind: 'release' }>, 'kind'>;

interface Proposer {
  readonly rationale: string;
  readonly by: string;
  /** As it was stated. */
  readonly expires?: string | undefined;
}

export function openProposal(
  state: RunState,
  proposed: Proposed,
  { rationale, by, expires }: Proposer,
  context: Context,
): Decision {
  const { digest, now } = context;
  const checkpoint = subject(state);
  const bound = {
    haltId: state.halt?.haltId ?? null,
    holdIds: state.holds.map(({ holdId }) => holdId),
    checkpointId: checkpoint?.checkpointId ?? null,
    scorecardDigest: checkpoint?.closed?.scorecardDigest ?? null,
  };
  const known = state.proposals.some(
    (open) =>
      open.status === 'open' &&
      open.rationale === rationale &&
      open.by === by &&
      open.haltId === bound.haltId &&
      open.checkpointId === bound.checkpointId &&
      open.scorecardDigest === bound.scorecardDigest &&
      isSame(open, proposed, expires),
  );
  // Sent twice, it is one proposal: approvals already given are not thrown away by a lost answer.
  if (known) return [];
  const ordinal = state.counters.proposals + 1;
  const superseded = state.proposals.filter(({ status }) => status === 'open');
  return [
    ...superseded.map(({ proposalId }): RunEvent => voided(proposalId, 'superseded', context)),
    {
      kind: 'ProposalOpened',
      data: {
        ...proposed,
        ...bound,
        rationale,
        proposalId: idOf('prop', digest, state.runId, 'proposal', ordinal),
        digest: digest(
          canonicalJson({ runId: state.runId, ...proposed, ...bound, rationale, proposal: ordinal }),
        ),
        by,
        at: iso(now),
      },
    },
  ];
}

/** An expiry that was left out is counted from now, and so differs at every sending. */
function isSame(open: Proposed, proposed: Proposed, stated: string | undefined): boolean {
  const undated = (each: Proposed): string =>
    canonicalJson(
      each.kind === 'release' || stated !== undefined
        ? asProposed(each)
        : { ...asProposed(each), terms: { ...each.terms, expires: '' } },
    );
  return undated(open) === undated(proposed);
}

function asProposed(each: Proposed): Proposed {
  switch (each.kind) {
    case 'resume':
      return { kind: each.kind, terms: each.terms };
    case 'scoped-resume':
      return { kind: each.kind, terms: each.terms };
    case 'release':
      return { kind: each.kind };
    default:
      return assertNever(each);
  }
}

/** Terms under which the run would trip again at once are no terms. */
function termsProblem(
  state: RunState,
  terms: Terms,
  findings: readonly Finding[],
  context: Context,
): { path: string; message: string } | null {
  if (reached(context.now, terms.expires))
    return { path: 'terms.expires', message: 'must lie in the future' };
  const high = highestCompute(state, context);
  if (high !== null && compareCompute(terms.ceiling, high) < 0) {
    return { path: 'terms.ceiling', message: `must not be below the compute already reached, ${high}` };
  }
  const known = new Set(context.policy.categories.map(({ id }) => id));
  for (const [field, values] of [
    ['levels', terms.levels],
    ['forecasts', terms.forecasts],
  ] as const) {
    const stranger = Object.keys(values).find((category) => !known.has(category));
    if (stranger !== undefined) {
      return { path: `terms.${field}.${stranger}`, message: 'is not a category of the policy' };
    }
  }
  const uncovered = findings.find((finding) => !isWaived(finding, terms));
  if (uncovered !== undefined) {
    const field = isForecast(uncovered) ? 'forecasts' : 'levels';
    return {
      path: `terms.${field}.${uncovered.category ?? ''}`,
      message: `would trip again at once: ${uncovered.explanation}`,
    };
  }
  return null;
}

function voided(
  proposalId: string,
  reason: RunEventData<'ProposalVoided'>['reason'],
  context: Context,
): RunEvent {
  return { kind: 'ProposalVoided', data: { proposalId, reason, at: iso(context.now) } };
}

/** A proposal is for one halt and one scorecard; when either changes, so does what people would sign. */
export function voidProposals(state: RunState, context: Context): RunEvent[] {
  const scorecard = subject(state);
  for (const proposal of state.proposals) {
    if (proposal.status !== 'open') continue;
    if (proposal.haltId !== (state.halt?.haltId ?? null)) {
      return [voided(proposal.proposalId, 'halt-changed', context)];
    }
    if (
      proposal.checkpointId !== (scorecard?.checkpointId ?? null) ||
      proposal.scorecardDigest !== (scorecard?.closed?.scorecardDigest ?? null)
    ) {
      return [voided(proposal.proposalId, 'scorecard-changed', context)];
    }
    if (outdated(state, proposal, context) !== null) {
      return [voided(proposal.proposalId, 'terms-outdated', context)];
    }
  }
  return [];
}

/** Why a resume under these terms would trip at once as things stand now: compute or findings since it was proposed. */
function outdated(state: RunState, proposal: Proposal, context: Context): string | null {
  switch (proposal.kind) {
    case 'resume':
      return termsProblem(state, proposal.terms, standing(state, context), context)?.message ?? null;
    case 'scoped-resume':
      return reached(context.now, proposal.terms.expires) ? 'terms.expires: must lie in the future' : null;
    case 'release':
      return null;
    default:
      return assertNever(proposal);
  }
}

// --- signing -------------------------------------------------------------------------------------------

export function signOff(state: RunState, command: SignOff, context: Context): Decision {
  const proposal = state.proposals.find(({ proposalId }) => proposalId === command.proposalId);
  if (proposal === undefined) {
    return reject('not-found', `run ${state.runId} has no proposal ${command.proposalId}`, 'proposalId');
  }
  const mine = proposal.signOffs.findLast(({ by }) => by === command.by);
  const repeated = mine?.decision === command.decision && mine.group === command.group;
  // Also once the proposal is executed or vetoed: whoever lost the answer asks again and is no conflict.
  if (repeated && command.digest === proposal.digest) return [];
  const refusal = signOffRefusal(proposal, command, context);
  if (refusal !== null) return refusal;
  const { proposalId, digest, decision, group, by, justification } = command;
  const at = iso(context.now);
  const recorded: RunEvent = {
    kind: 'SignOffRecorded',
    data: { proposalId, digest, decision, group, by, justification, at },
  };
  if (decision === 'veto' && proposal.status === 'executed') {
    return [recorded, ...undone(state, proposal, command, context)];
  }
  const signed = {
    ...proposal,
    signOffs: [...proposal.signOffs, { decision, group, by, justification, at }],
  };
  if (decision !== 'approve' || approvalsNeeded(signed, context.policy).length > 0) return [recorded];
  // What people read is not what is any more: nothing resumes on it.
  const problem = outdated(state, proposal, context);
  if (problem !== null) {
    return reject('conflict', `the terms no longer hold, propose anew: ${problem}`, 'proposalId');
  }
  return [recorded, executed(state, proposal, context)];
}

/** A veto after the fact. */
function undone(
  state: RunState,
  { kind, proposalId }: Proposal,
  { by, group, justification }: SignOff,
  context: Context,
): RunEvent[] {
  // Only what this proposal granted: another may have granted it anew.
  if (kind === 'scoped-resume') {
    const isInForce = state.halt?.scoped?.proposalId === proposalId;
    return isInForce ? scopedWorkEnded(state, 'veto', context) : [];
  }
  const reason = `veto of the ${kind} ${proposalId}: ${justification}`;
  const action = kind === 'release' ? 'quarantine' : 'halt';
  return haltEvents(state, context, { kind: 'person', by, group, reason }, action);
}

function signOffRefusal(
  proposal: Proposal,
  { digest, decision, group, groups, by }: SignOff,
  { policy }: Context,
): Decision | null {
  if (digest !== proposal.digest) {
    return reject('conflict', `the proposal's digest is ${proposal.digest}; read it and sign that`, 'digest');
  }
  if (!groups.includes(group)) return reject('forbidden', `${by} is not a member of ${group}`, 'group');
  if (!policy.governance.groups.includes(group)) {
    return reject('forbidden', `${group} is no governance group of this run's policy`, 'group');
  }
  if (decision === 'veto' && !signersOf(policy, proposal.kind).vetoes.includes(group)) {
    return reject('forbidden', `${group} has no veto under this policy; record a dissent`, 'decision');
  }
  const lateVeto = decision === 'veto' && proposal.status === 'executed';
  if (proposal.status !== 'open' && !lateVeto) {
    return reject('conflict', `the proposal is ${proposal.status}; nothing can be signed`, 'proposalId');
  }
  const mine = proposal.signOffs.findLast((each) => each.by === by);
  if (mine !== undefined && mine.group !== group && decision !== 'veto') {
    return reject('forbidden', `${by} has already signed for ${mine.group}; one person counts once`, 'group');
  }
  return null;
}

/** Groups whose approval this kind of proposal still misses. A person's latest decision counts, once. */
export function approvalsNeeded(
  { kind, signOffs }: Pick<Proposal, 'kind' | 'signOffs'>,
  policy: Context['policy'],
): string[] {
  const latest = new Map(signOffs.map((each) => [each.by, each]));
  const approving = new Set(
    [...latest.values()].filter(({ decision }) => decision === 'approve').map(({ group }) => group),
  );
  return signersOf(policy, kind).approvals.filter((group) => !approving.has(group));
}

function executed(state: RunState, proposal: Proposal, context: Context): RunEvent {
  const { proposalId, haltId, holdIds } = proposal;
  const at = iso(context.now);
  switch (proposal.kind) {
    case 'resume': {
      const { terms } = proposal;
      return {
        kind: 'RunResumed',
        data: { proposalId, haltId, holdIds, terms, epoch: state.epoch + 1, at },
      };
    }
    case 'scoped-resume': {
      const { terms } = proposal;
      return { kind: 'ScopedWorkGranted', data: { haltId: haltId ?? '', proposalId, terms, at } };
    }
    case 'release':
      return { kind: 'QuarantineReleased', data: { haltId: haltId ?? '', proposalId, at } };
    default:
      return assertNever(proposal);
  }
}

/** Evaluations that were cancelled with the halt start again with the run, or with the leave to evaluate alone, within their budget. */
export function requeueCancelled(state: RunState, context: Context): RunEvent[] {
  if ((state.halt !== null && state.halt.scoped === undefined) || state.finishedAt !== null) return [];
  for (const checkpoint of state.checkpoints) {
    if (unscorableBecause(checkpoint) !== null) continue;
    const cancelled = checkpoint.evaluations.find(
      (each) =>
        currentAttempt(each).state === 'cancelled' &&
        budgetUsedUp(each, specOf(context.policy, each.evaluation)) === null,
    );
    if (cancelled === undefined) continue;
    // A further sample enlarges the first, also where it is drawn later.
    const purpose = currentAttempt(cancelled).purpose === 'top-up' ? 'top-up' : 'resume';
    return [requeued(cancelled, purpose, 'interlock', context)];
  }
  return [];
}

// --- state ---------------------------------------------------------------------------------------------

export const governanceEvolvers = {
  ProposalOpened: (state: RunState, data: RunEventData<'ProposalOpened'>): RunState => {
    const { at, ...content } = data;
    const proposal: Proposal = { ...content, openedAt: at, status: 'open', signOffs: [] };
    return {
      ...state,
      proposals: kept([...state.proposals, proposal]),
      counters: { ...state.counters, proposals: state.counters.proposals + 1 },
    };
  },
  ProposalVoided: (state: RunState, { proposalId }: RunEventData<'ProposalVoided'>): RunState =>
    withProposal(state, proposalId, (proposal) => ({ ...proposal, status: 'voided' })),
  SignOffRecorded: (state: RunState, data: RunEventData<'SignOffRecorded'>): RunState => {
    const { proposalId, decision, group, by, justification, at } = data;
    return withProposal(state, proposalId, (proposal) => ({
      ...proposal,
      status: decision === 'veto' && proposal.status === 'open' ? 'vetoed' : proposal.status,
      signOffs: [...proposal.signOffs, { decision, group, by, justification, at }],
    }));
  },
  RunResumed: (state: RunState, data: RunEventData<'RunResumed'>): RunState => {
    const { proposalId, haltId, terms, epoch } = data;
    return {
      ...withoutSigned(withExecuted(state, proposalId), terms.waives),
      epoch,
      ceiling: terms.ceiling,
      waiver: terms,
      halt: null,
      holds: [],
      clearedHalts:
        haltId === null
          ? state.clearedHalts
          : [...state.clearedHalts, haltId, ...(state.halt?.orders ?? [])].slice(-CLEARED_HALTS_KEPT),
      ...(state.duplicates === undefined ? {} : { duplicates: { refused: [], training: [] } }),
    };
  },
};
