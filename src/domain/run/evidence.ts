/**
 * Evidence of a run: which logs are kept outside of the ledger, and how a sealed one comes to be read.
 *
 * The ledger names a log by its digest and never holds it. A sealed log is read only under a release: one person of the
 * policy's groups asks for it and says why, another one agrees, and until it ends each reading is an event. One person counts
 * once, whatever groups they sit in. An unanswered request ends as a release does; asking anew is always possible.
 * Not here: keeping, sealing and reading bytes (src/evidence, service/evidence.ts).
 */
import { durationMs } from '../duration.ts';
import { type Policy, releaseTermsOf } from '../policy/schema.ts';
import { type Context, type Decision, iso, isoAfter, reached, reject } from './context.ts';
import type { RunEventData } from './events.ts';
import type { EvidenceRelease } from './evidence-documents.ts';
import { idOf } from './ids.ts';
import type { RunState } from './state.ts';

/** Unanswered requests and releases in force; a further one has to wait for the end of another. */
const RELEASES_MAX = 16;

export interface NoteEvidence {
  readonly type: 'NoteEvidence';
  /** SHA-256 of the bytes, hexadecimal. */
  readonly digest: string;
  readonly bytes: number;
  readonly sealed: boolean;
  readonly evaluationId: string | null;
  readonly attempt: number | null;
  readonly by: string;
  /** Whether the views have it already. */
  readonly known: boolean;
}
export interface AskRelease {
  readonly type: 'AskRelease';
  readonly digest: string;
  readonly group: string;
  readonly groups: readonly string[];
  readonly justification: string;
  readonly by: string;
}
export interface ApproveRelease {
  readonly type: 'ApproveRelease';
  readonly digest: string;
  readonly group: string;
  readonly groups: readonly string[];
  readonly justification: string;
  readonly by: string;
}
export interface NoteEvidenceRead {
  readonly type: 'NoteEvidenceRead';
  readonly digest: string;
  readonly by: string;
}

export const releasesOf = ({ evidence }: Pick<RunState, 'evidence'>): readonly EvidenceRelease[] =>
  evidence?.releases ?? [];

/** The release under which a sealed log may be read now; null where there is none. */
export function releaseInForce(state: RunState, digest: string, now: Date): EvidenceRelease | null {
  return (
    releasesOf(state).find(
      (each) => each.digest === digest && each.released !== null && !reached(now, each.endsAt),
    ) ?? null
  );
}

export function noteEvidence(_state: RunState, command: NoteEvidence, context: Context): Decision {
  if (command.known) return [];
  const { digest, bytes, sealed, evaluationId, attempt, by } = command;
  const data = { digest, bytes, sealed, evaluationId, attempt, by, at: iso(context.now) };
  return [{ kind: 'EvidenceKept', data }];
}

export function askRelease(state: RunState, command: AskRelease, context: Context): Decision {
  const refused = notOfGroup(command, context.policy);
  if (refused !== null) return refused;
  const { digest, group, justification, by } = command;
  const open = standing(state, context.now);
  const same = open.find((each) => each.digest === digest);
  if (same !== undefined) {
    if (same.askedBy === by && same.released === null) return [];
    return reject(
      'conflict',
      same.released === null
        ? `${same.askedBy} has asked for it already; another person approves it`
        : `it is released until ${same.endsAt}`,
      'digest',
    );
  }
  if (open.length >= RELEASES_MAX) {
    return reject(
      'conflict',
      `${open.length} releases of run ${state.runId} are open; the first ends at ${open[0]?.endsAt}`,
    );
  }
  const releaseId = idOf('rel', context.digest, state.runId, digest, by, iso(context.now));
  const endsAt = isoAfter(context.now, durationMs(releaseTermsOf(context.policy).validFor));
  return [
    {
      kind: 'EvidenceReleaseAsked',
      data: { releaseId, digest, group, justification, by, endsAt, at: iso(context.now) },
    },
  ];
}

export function approveRelease(state: RunState, command: ApproveRelease, context: Context): Decision {
  const refused = notOfGroup(command, context.policy);
  if (refused !== null) return refused;
  const { digest, group, justification, by } = command;
  const asked = standing(state, context.now).find((each) => each.digest === digest);
  if (asked === undefined)
    return reject('conflict', 'nobody has asked for its release, or the request has ended', 'digest');
  if (asked.askedBy === by) return reject('forbidden', 'another person than the one who asked approves it');
  if (asked.released !== null)
    return asked.released.by === by
      ? []
      : reject('conflict', `it is released until ${asked.endsAt}`, 'digest');
  const endsAt = isoAfter(context.now, durationMs(releaseTermsOf(context.policy).validFor));
  const { releaseId } = asked;
  return [
    {
      kind: 'EvidenceReleased',
      data: { releaseId, digest, group, justification, by, endsAt, at: iso(context.now) },
    },
  ];
}

export function noteEvidenceRead(
  state: RunState,
  { digest, by }: NoteEvidenceRead,
  context: Context,
): Decision {
  const release = releaseInForce(state, digest, context.now);
  if (release === null)
    return reject('forbidden', 'it is sealed, and no release by two people is in force', 'digest');
  const { releaseId } = release;
  return [{ kind: 'EvidenceRead', data: { releaseId, digest, by, at: iso(context.now) } }];
}

function notOfGroup({ group, groups, by }: AskRelease | ApproveRelease, policy: Policy): Decision | null {
  const { groups: allowed } = releaseTermsOf(policy);
  if (!groups.includes(group)) return reject('forbidden', `${by} is not a member of ${group}`, 'group');
  if (allowed.includes(group)) return null;
  return reject('forbidden', `the policy lets ${allowed.join(', ')} release evidence, not ${group}`, 'group');
}

const standing = (state: RunState, now: Date): EvidenceRelease[] =>
  releasesOf(state).filter(({ endsAt }) => !reached(now, endsAt));

// --- state ---------------------------------------------------------------------------------------------

/** What has ended by the event's own time goes with it: the ledger keeps it. */
function withReleases(state: RunState, at: string, releases: readonly EvidenceRelease[]): RunState {
  const kept = releases.filter(({ endsAt }) => Date.parse(endsAt) > Date.parse(at));
  return { ...state, evidence: { releases: kept } };
}

export const evidenceEvolvers = {
  EvidenceKept: (state: RunState, _data: RunEventData<'EvidenceKept'>): RunState => state,
  EvidenceReleaseAsked: (
    state: RunState,
    { releaseId, digest, by, endsAt, at }: RunEventData<'EvidenceReleaseAsked'>,
  ): RunState =>
    withReleases(state, at, [
      ...releasesOf(state),
      { releaseId, digest, askedBy: by, askedAt: at, endsAt, released: null },
    ]),
  EvidenceReleased: (
    state: RunState,
    { releaseId, by, endsAt, at }: RunEventData<'EvidenceReleased'>,
  ): RunState =>
    withReleases(
      state,
      at,
      releasesOf(state).map((each) =>
        each.releaseId === releaseId ? { ...each, endsAt, released: { by, at } } : each,
      ),
    ),
  EvidenceRead: (state: RunState, _data: RunEventData<'EvidenceRead'>): RunState => state,
};
