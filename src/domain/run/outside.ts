/**
 * Outside evaluators: named parties who test a checkpoint with means of their own, and whose word counts as the policy says.
 *
 * Operators or governance grant a party a view of one run; without a grant in force it sees nothing and is not heard. It reports
 * results of those evaluations alone that the policy gives it (executor `outside`), and findings that no evaluation asked for, both
 * under its own signature. A finding is about a checkpoint that is in the state, and never goes away by itself: people waive it
 * with a resume. Urgent ones page, whatever the policy makes of them.
 * Not here: checking signatures (http), keeping the words (service/evidence.ts), who sees what over HTTP.
 */
import type { OutsideFindingRule, Policy } from '../policy/schema.ts';
import { raiseAlert } from './alerts.ts';
import { type Context, type Decision, iso, isRejection, type Rejection, reached, reject } from './context.ts';
import { locate, type RecordResult, recordResult } from './evaluation.ts';
import type { RunEventData } from './events.ts';
import type { Finding } from './finding-documents.ts';
import { idOf } from './ids.ts';
import {
  type OutsideFinding,
  type OutsideGrant,
  SEVERITIES,
  type Severity,
  type SignedWord,
} from './outside-documents.ts';
import type { CheckpointState, RunState } from './state.ts';

const PARTIES_MAX = 32;
/** Of one checkpoint, by all parties: the state goes with every append. */
const FINDINGS_MAX = 64;

export interface GrantOutside {
  readonly type: 'GrantOutside';
  readonly party: string;
  readonly checkpoints: 'all' | 'due';
  readonly endpoint: string | null;
  readonly compute: boolean;
  readonly expiresAt: string | null;
  readonly by: string;
}
export interface SubmitOutsideResult extends Omit<RecordResult, 'type' | 'by'> {
  readonly type: 'SubmitOutsideResult';
  readonly party: string;
  readonly signed: SignedWord;
}
export interface SubmitOutsideFinding {
  readonly type: 'SubmitOutsideFinding';
  readonly party: string;
  readonly findingId: string;
  /** Null: the newest. */
  readonly checkpointId: string | null;
  readonly category: string | null;
  readonly severity: Severity;
  readonly title: string | null;
  readonly evidenceUri: string | null;
  readonly signed: SignedWord;
  /** Digest of the body that this finding was reported with before, from the views. */
  readonly priorDigest: string | null;
}

/** The party's grant, where it is in force. */
export function grantOf(state: RunState, party: string, now: Date): OutsideGrant | null {
  const grant = state.outside?.grants.find((each) => each.party === party);
  if (grant === undefined || (grant.expiresAt !== null && reached(now, grant.expiresAt))) return null;
  return grant;
}

export const isVisible = (
  { due }: Pick<CheckpointState, 'due'>,
  grant: Pick<OutsideGrant, 'checkpoints'>,
): boolean => due || grant.checkpoints === 'all';

export function grantOutside(state: RunState, command: GrantOutside, context: Context): Decision {
  const { type: _, ...grant } = command;
  const known = state.outside?.grants.find(({ party }) => party === command.party);
  if (known === undefined && (state.outside?.grants.length ?? 0) >= PARTIES_MAX) {
    return reject(
      'conflict',
      `${PARTIES_MAX} outside evaluators have had a grant; no more can be named`,
      'identity',
    );
  }
  if (known !== undefined) {
    const { grantedAt: _at, by: _by, ...standing } = known;
    const { by: _asker, ...asked } = grant;
    const isSame = (Object.keys(asked) as (keyof typeof asked)[]).every(
      (key) => asked[key] === standing[key],
    );
    if (isSame) return [];
  }
  return [{ kind: 'OutsideEvaluatorGranted', data: { ...grant, at: iso(context.now) } }];
}

/** Null: it is theirs. */
function refusalOfResult(
  state: RunState,
  { party, evaluationId }: Pick<SubmitOutsideResult, 'party' | 'evaluationId'>,
  { policy, now }: Pick<Context, 'policy' | 'now'>,
): Rejection | null {
  const grant = grantOf(state, party, now);
  if (grant === null) return reject('forbidden', `${party} has no grant in force for run ${state.runId}`);
  const located = locate(state, evaluationId, policy);
  const isTheirs =
    located?.spec.executor.kind === 'outside' &&
    located.spec.executor.party === party &&
    isVisible(located.checkpoint, grant);
  if (isTheirs) return null;
  return reject('forbidden', `${party} has no evaluation ${evaluationId} to report`, 'evaluationId');
}

export function submitOutsideResult(
  state: RunState,
  command: SubmitOutsideResult,
  context: Context,
): Decision {
  const { type: _, party, signed, ...result } = command;
  const refused = refusalOfResult(state, command, context);
  if (refused !== null) return refused;
  const recorded = recordResult(state, { ...result, type: 'RecordResult', by: party }, context);
  if (isRejection(recorded) || recorded.length === 0) return recorded;
  const { evaluationId, attempt } = command;
  const at = iso(context.now);
  return [{ kind: 'OutsideResultSigned', data: { party, evaluationId, attempt, signed, at } }, ...recorded];
}

/** The checkpoint that a finding is about; null where it was reported already. */
function admitFinding(
  state: RunState,
  command: SubmitOutsideFinding,
  { policy, now }: Pick<Context, 'policy' | 'now'>,
): CheckpointState | Rejection | null {
  const { party, category } = command;
  const grant = grantOf(state, party, now);
  if (grant === null) return reject('forbidden', `${party} has no grant in force for run ${state.runId}`);
  const visible = state.checkpoints.filter((each) => isVisible(each, grant));
  const checkpoint =
    command.checkpointId === null
      ? visible.at(-1)
      : visible.find(({ checkpointId }) => checkpointId === command.checkpointId);
  const all = state.checkpoints.flatMap(({ outside = [] }) => outside);
  const known = all.find((each) => each.party === party && each.findingId === command.findingId);
  const prior = command.priorDigest ?? known?.bodyDigest ?? null;
  if (prior !== null) {
    if (prior === command.signed.bodyDigest) return null;
    return reject('conflict', `finding ${command.findingId} was reported with other content`, 'findingId');
  }
  if (checkpoint === undefined) {
    return reject(
      'conflict',
      'there is no such checkpoint that a finding could be about now',
      'checkpointId',
    );
  }
  if (category !== null && !policy.categories.some(({ id }) => id === category)) {
    return reject('invalid', `the policy has no category ${category}`, 'category');
  }
  if ((checkpoint.outside ?? []).length >= FINDINGS_MAX) {
    return reject(
      'conflict',
      `${FINDINGS_MAX} findings are open about ${checkpoint.checkpointId}`,
      'checkpointId',
    );
  }
  return checkpoint;
}

export function submitOutsideFinding(
  state: RunState,
  command: SubmitOutsideFinding,
  context: Context,
): Decision {
  const admitted = admitFinding(state, command, context);
  if (admitted === null) return [];
  if ('rejected' in admitted) return admitted;
  const { checkpointId } = admitted;
  const { party, category, severity, findingId, title, evidenceUri, signed } = command;
  const { bodyDigest } = signed;
  const found = {
    findingId,
    party,
    category,
    severity,
    bodyDigest,
    checkpointId,
    title,
    evidenceUri,
    signed,
  };
  return [
    { kind: 'OutsideFindingReported', data: { ...found, at: iso(context.now) } },
    ...(isUrgent(severity) ? pageOf(state, context, { ...found, checkpointId }) : []),
  ];
}

const isUrgent = (severity: Severity): boolean => severity === 'high' || severity === 'critical';

function pageOf(
  state: RunState,
  context: Context,
  { party, findingId, severity, checkpointId, bodyDigest }: OutsideFinding & { checkpointId: string },
) {
  return raiseAlert(state, context, {
    kind: 'notice',
    severity: 'critical',
    dedupKey: idOf('alert', context.digest, state.runId, 'outside', party, findingId),
    summary: `${state.runId} at ${checkpointId}: outside evaluator ${party} reports a finding of severity ${severity}`,
    details: { checkpointId, party, findingId, evidence: bodyDigest },
  });
}

/** One finding of the rule for each that is as severe as it asks: each is waived by itself. */
export function outsideFindings(
  rule: OutsideFindingRule,
  { checkpointId, outside = [] }: CheckpointState,
): Finding[] {
  const rank = (severity: Severity): number => SEVERITIES.indexOf(severity);
  return outside
    .filter(({ severity, category }) => {
      // One of no category is about all of them.
      const applies =
        rule.categories === undefined || category === null || rule.categories.includes(category);
      return applies && rank(severity) >= rank(rule.atLeast);
    })
    .map(({ findingId, party, category, severity }) => ({
      rule: rule.id,
      kind: 'outside-finding' as const,
      category,
      stage: null,
      // Names it for a waiver.
      evaluation: `${party}/${findingId}`,
      checkpointId,
      observed: severity,
      threshold: rule.atLeast,
      basis: null,
      then: rule.then,
      explanation: `outside evaluator ${party} reports ${findingId}, severity ${severity} (rule: ${rule.atLeast} or worse)`,
      waived: false,
    }));
}

/** Evaluations of the policy that a party carries out. */
export const evaluationsOf = ({ evaluations }: Policy, party: string): readonly string[] =>
  evaluations
    .filter(({ executor }) => executor.kind === 'outside' && executor.party === party)
    .map(({ id }) => id);

// --- state ---------------------------------------------------------------------------------------------

export const outsideEvolvers = {
  OutsideEvaluatorGranted: (
    state: RunState,
    { at, ...grant }: RunEventData<'OutsideEvaluatorGranted'>,
  ): RunState => ({
    ...state,
    outside: {
      grants: [
        ...(state.outside?.grants ?? []).filter(({ party }) => party !== grant.party),
        { ...grant, grantedAt: at },
      ],
    },
  }),
  OutsideResultSigned: (state: RunState, _data: RunEventData<'OutsideResultSigned'>): RunState => state,
  OutsideFindingReported: (
    state: RunState,
    {
      checkpointId,
      findingId,
      party,
      category,
      severity,
      bodyDigest,
    }: RunEventData<'OutsideFindingReported'>,
  ): RunState => ({
    ...state,
    checkpoints: state.checkpoints.map((each) =>
      each.checkpointId === checkpointId
        ? {
            ...each,
            outside: [...(each.outside ?? []), { findingId, party, category, severity, bodyDigest }],
          }
        : each,
    ),
  }),
};
