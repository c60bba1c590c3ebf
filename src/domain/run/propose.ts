/**
 * Proposals that leave a halt in force: a release from quarantine, and leave for evaluation and alignment work.
 *
 * Each has approvals of its own in the policy (`governance.release`, `governance.scopedResume`). Signing is as for a resume.
 */
import { type Context, type Decision, isoAfter, reached, reject } from './context.ts';
import { openProposal, wrongHalt } from './governance.ts';
import { isQuarantined } from './quarantine.ts';
import type { RunState } from './state.ts';

export interface ProposeRelease {
  readonly type: 'ProposeRelease';
  readonly haltId: string | null;
  readonly rationale: string;
  readonly by: string;
}
export interface ProposeScopedResume {
  readonly type: 'ProposeScopedResume';
  readonly haltId: string | null;
  readonly expires?: string | undefined;
  readonly rationale: string;
  readonly by: string;
}

const DAY_MS = 86_400_000;
/** Work that nobody asks about for longer is not what people signed for. */
export const SCOPED_WORK_MAX_MS = 30 * DAY_MS;
const SCOPED_WORK_MS = 7 * DAY_MS;

export function proposeRelease(state: RunState, command: ProposeRelease, context: Context): Decision {
  const wrong = wrongHalt(state, command.haltId);
  if (wrong !== null) return wrong;
  if (!isQuarantined(state)) {
    return reject('conflict', `run ${state.runId} is not in quarantine; there is nothing to release`, 'kind');
  }
  return openProposal(state, { kind: 'release' }, command, context);
}

export function proposeScopedResume(
  state: RunState,
  command: ProposeScopedResume,
  context: Context,
): Decision {
  const wrong = wrongHalt(state, command.haltId);
  if (wrong !== null) return wrong;
  const { runId } = state;
  if (state.halt === null) {
    const why = `run ${runId} is not halted; a hold stops training alone, and other work needs no leave`;
    return reject('conflict', why, 'kind');
  }
  if (isQuarantined(state)) {
    const why = `run ${runId} is in quarantine: propose its release first (kind release)`;
    return reject('conflict', why, 'kind');
  }
  const stated = command.expires;
  if (stated !== undefined && Number.isNaN(Date.parse(stated))) {
    return reject('invalid', 'must be an instant with a zone, RFC 3339', 'terms.expires');
  }
  const expires = stated ?? isoAfter(context.now, SCOPED_WORK_MS);
  if (reached(context.now, expires)) return reject('invalid', 'must lie in the future', 'terms.expires');
  if (Date.parse(expires) > context.now.getTime() + SCOPED_WORK_MAX_MS) {
    return reject('invalid', 'must be within 30 days', 'terms.expires');
  }
  return openProposal(
    state,
    { kind: 'scoped-resume', terms: { scope: 'evaluation', expires } },
    { ...command, expires: stated },
    context,
  );
}
