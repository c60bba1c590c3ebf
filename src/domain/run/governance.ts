/**
 * Proposals and sign-offs: the only way out of a halt, and one way out of a hold.
 *
 * One can stop, all who are named must agree to go on. A resume is a waiver with terms, not a reset.
 * Approvals bind to the proposal's digest (halt, scorecard, terms); another scorecard or another proposal
 * voids them. One person counts once, whatever groups they sit in. The approval that completes the set
 * resumes the run in the same append; a veto after that halts again.
 */
import { canonicalJson } from '../canonical-json.ts';
import { type Compute, compareCompute, maxCompute, onePlus, timesCompute } from '../compute.ts';
import { durationMs } from '../duration.ts';
import { assess, findingKey, isForecast, isWaived } from './assess.ts';
import { highestCompute } from './cadence.ts';
import { type Context, type Decision, iso, isoAfter, reached, reject } from './context.ts';
import { currentAttempt, requeued } from './evaluation.ts';
import type { RunEvent, RunEventData, Terms } from './events.ts';
import type { Finding } from './finding-documents.ts';
import { haltEvents, isNamed } from './halt.ts';
import { overdueFinding } from './holds.ts';
import { idOf } from './ids.ts';
import { runFindings, withoutSigned } from './run-findings.ts';
import { shadowOf } from './shadow-state.ts';
import {
  type CheckpointState,
  CLEARED_HALTS_KEPT,
  PROPOSALS_KEPT,
  type Proposal,
  type RunState,
} from './state.ts';

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

export function proposeResume(state: RunState, command: ProposeResume, context: Context): Decision {
  const { digest, now } = context;
  if (command.haltId !== null && (state.halt === null || !isNamed(state.halt, command.haltId))) {
    return state.clearedHalts.includes(command.haltId)
      ? reject('conflict', `halt ${command.haltId} is over: the run was resumed`, 'haltId')
      : reject('not-found', `run ${state.runId} has no open halt ${command.haltId}`, 'haltId');
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
  const checkpoint = subject(state);
  if (state.proposals.some((open) => isSameProposal(open, command, terms, checkpoint, state))) return [];
  const body = {
    runId: state.runId,
    kind: 'resume' as const,
    haltId: state.halt?.haltId ?? null,
    holdIds: state.holds.map(({ holdId }) => holdId),
    checkpointId: checkpoint?.checkpointId ?? null,
    scorecardDigest: checkpoint?.closed?.scorecardDigest ?? null,
    terms,
    rationale: command.rationale,
    proposal: state.counters.proposals + 1,
  };
  const { runId: _runId, proposal: _ordinal, ...content } = body;
  const superseded = state.proposals.filter(({ status }) => status === 'open');
  return [
    ...superseded.map(({ proposalId }): RunEvent => voided(proposalId, 'superseded', context)),
    {
      kind: 'ProposalOpened',
      data: {
        ...content,
        proposalId: idOf('prop', digest, state.runId, 'proposal', state.counters.proposals + 1),
        digest: digest(canonicalJson(body)),
        by: command.by,
        at: iso(now),
      },
    },
  ];
}

/** Sent twice, it is one proposal: approvals already given are not thrown away by a lost answer. */
function isSameProposal(
  open: Proposal,
  { rationale, by, terms: stated }: ProposeResume,
  terms: Terms,
  checkpoint: CheckpointState | null,
  { halt }: RunState,
): boolean {
  // An expiry that was left out is counted from now, and so differs at every sending.
  const expires = stated.expires === undefined ? open.terms.expires : terms.expires;
  const same = canonicalJson({ ...open.terms }) === canonicalJson({ ...terms, expires });
  return (
    open.status === 'open' &&
    same &&
    open.rationale === rationale &&
    open.by === by &&
    open.haltId === (halt?.haltId ?? null) &&
    open.checkpointId === (checkpoint?.checkpointId ?? null) &&
    open.scorecardDigest === (checkpoint?.closed?.scorecardDigest ?? null)
  );
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
function outdated(state: RunState, { terms }: Proposal, context: Context): string | null {
  return termsProblem(state, terms, standing(state, context), context)?.message ?? null;
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
    const reason = `veto of the resume ${proposalId}: ${justification}`;
    return [recorded, ...haltEvents(state, context, { kind: 'person', by, group, reason }, 'halt')];
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
  return [recorded, resumed(state, proposal, context)];
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
  if (decision === 'veto' && !policy.governance.resume.vetoes.includes(group)) {
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

/** Groups of `governance.resume` whose approval is still missing. A person's latest decision counts, once. */
export function approvalsNeeded(
  { signOffs }: Pick<Proposal, 'signOffs'>,
  policy: Context['policy'],
): string[] {
  const latest = new Map(signOffs.map((each) => [each.by, each]));
  const approving = new Set(
    [...latest.values()].filter(({ decision }) => decision === 'approve').map(({ group }) => group),
  );
  return policy.governance.resume.approvals.filter((group) => !approving.has(group));
}

function resumed(state: RunState, proposal: Proposal, context: Context): RunEvent {
  const { proposalId, haltId, holdIds, terms } = proposal;
  return {
    kind: 'RunResumed',
    data: { proposalId, haltId, holdIds, terms, epoch: state.epoch + 1, at: iso(context.now) },
  };
}

/** Evaluations that the red button cancelled start again with the run. */
export function requeueCancelled(state: RunState, context: Context): RunEvent[] {
  if (state.halt !== null || state.finishedAt !== null) return [];
  for (const { evaluations } of state.checkpoints) {
    const cancelled = evaluations.find((each) => currentAttempt(each).state === 'cancelled');
    if (cancelled !== undefined) return [requeued(cancelled, 'resume', 'interlock', context)];
  }
  return [];
}

// --- state ---------------------------------------------------------------------------------------------

/** The resume that the run trains under stays within reach of a late veto, however many proposals come after it. */
function kept(proposals: readonly Proposal[]): Proposal[] {
  const inForce = proposals.findLast(({ status }) => status === 'executed');
  const others = proposals.filter((each) => each !== inForce);
  const from = Math.max(0, others.length - (PROPOSALS_KEPT - (inForce === undefined ? 0 : 1)));
  const evicted = new Set(others.slice(0, from));
  return proposals.filter((each) => !evicted.has(each));
}

function withProposal(
  state: RunState,
  proposalId: string,
  change: (proposal: Proposal) => Proposal,
): RunState {
  const proposals = state.proposals.map((each) => (each.proposalId === proposalId ? change(each) : each));
  return { ...state, proposals };
}

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
      ...withoutSigned(
        withProposal(state, proposalId, (proposal) => ({ ...proposal, status: 'executed' })),
        terms.waives,
      ),
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
