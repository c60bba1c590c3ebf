/**
 * Which targets of a run stop it against its trainer's will: those that are reached with credentials that the trainer does
 * not hold. Of what is not plainly one nobody knows, and it does not count.
 *
 * Known gaps: a trainer's account may have rights of its own on the same system (on Slurm the owner of a job can submit it
 * again); that an operator says rightly which receivers are no trainer's is believed.
 */
import {
  INDEPENDENT_KINDS,
  INDEPENDENT_KINDS_TEXT,
  requiresIndependentTarget,
} from '../policy/independence.ts';
import type { Policy } from '../policy/schema.ts';
import type { RunTarget } from './halt-documents.ts';
import type { RunState } from './state.ts';

export interface RunWarning {
  readonly path: string;
  readonly message: string;
}

/** What a halt through this target hangs on the trainer for; null where it does not. */
export function dependenceOf({ kind, config, receiver }: Omit<RunTarget, 'targetId'>): string | null {
  if (INDEPENDENT_KINDS.some((each) => each === kind)) return null;
  switch (kind) {
    case 'webhook':
      if (config['secret'] === undefined) return 'is signed with the secret of whoever registered the run';
      return receiver === 'operator' ? null : 'may be received by the trainer, for all that is known here';
    case 'process':
      return "is a process on Interlock's own machine, which its account can start anew unseen";
    default:
      return 'is of a kind that is not known here';
  }
}

/** Null where there is one that is independent. */
function allDependent(targets: readonly RunTarget[]): string | null {
  const each = targets.map((target) => ({ target, why: dependenceOf(target) }));
  if (each.some(({ why }) => why === null)) return null;
  const reasons = each.map(({ target: { targetId, kind }, why }) => `${targetId} (${kind}) ${why}`);
  return `no target is independent of the trainer: ${reasons.join('; ')}`;
}

const ADD = `add one of kind ${INDEPENDENT_KINDS_TEXT}`;

export function independenceRefusal(targets: readonly RunTarget[], policy: Policy): string | null {
  const why = requiresIndependentTarget(policy) ? allDependent(targets) : null;
  return why === null ? null : `${why}; policy ${policy.policy} requires one: ${ADD}`;
}

export function runWarnings({ targets, finishedAt }: Pick<RunState, 'targets' | 'finishedAt'>): RunWarning[] {
  const why = finishedAt === null ? allDependent(targets) : null;
  if (why === null) return [];
  const message = `${why}; a trainer that does not heed goes on at least until its permit ends: ${ADD}`;
  return [{ path: 'targets', message }];
}
