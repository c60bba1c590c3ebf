/**
 * Is the result of what was asked: this task, this model, these weights, this attempt? And could it have come about when it says?
 *
 * Expectations come from the policy, from whoever launched the harness, and from the checkpoint. What the policy itself expects
 * and the result does not state is not shown. What only the launcher or the checkpoint know is compared where the result states it.
 */
import type { LaunchFacts } from './launch-facts.ts';
import type { NativeResult } from './native-result.ts';
import type { ReasonCode } from './reasons.ts';

/** By the policy, placeholders replaced. */
export interface Expected {
  readonly task?: string | undefined;
  readonly model?: string | undefined;
  readonly revision?: string | undefined;
  readonly harness?: string | undefined;
  readonly harnessVersion?: string | undefined;
  /** Must be stated. */
  readonly weightsDigest?: true | undefined;
}

export interface ProvenanceContext {
  readonly expected?: Expected | undefined;
  readonly checkpoint?:
    | { readonly weightsDigest?: string | undefined; readonly endpoint: string | null }
    | undefined;
  /** When Interlock recorded the checkpoint, RFC 3339. */
  readonly checkpointReportedAt?: string | undefined;
  readonly launch?: LaunchFacts | undefined;
  /** Another checkpoint, variant or attempt was judged by the very same file. */
  readonly replayed?: boolean | undefined;
}

/** Clocks of evaluator and Interlock may differ by as much as a signed webhook's may. */
const CLOCK_TOLERANCE_MS = 300_000;
/** A file's time and a clock of the same machine: file systems that keep whole seconds, or two. */
const FILE_TOLERANCE_MS = 2_000;
/** Timestamps of one second's grain are common, so only a run that no clock can explain is refused. */
const INSTANT_SAMPLES = 1_000;

export function provenanceProblems(
  result: NativeResult,
  { expected = {}, checkpoint, launch }: ProvenanceContext,
): ReasonCode[] {
  const { task, model, revision, harness, harnessVersion, weightsDigest, endpoint } = result;
  const wanted: [string | undefined, string | undefined, Same, ReasonCode][] = [
    [task, expected.task, sameTask, 'task-mismatch'],
    [model, expected.model, sameModel, 'model-mismatch'],
    [revision, expected.revision, sameRevision, 'revision-mismatch'],
    [harness, expected.harness, isEqual, 'harness-mismatch'],
    [harnessVersion, expected.harnessVersion, isEqual, 'harness-mismatch'],
  ];
  const beside: typeof wanted = [
    [task, launch?.task, sameTask, 'task-mismatch'],
    [model, launch?.model, sameModel, 'model-mismatch'],
    [revision, launch?.revision, sameRevision, 'revision-mismatch'],
    [weightsDigest, checkpoint?.weightsDigest, sameDigest, 'weights-mismatch'],
    [endpoint, checkpoint?.endpoint ?? undefined, sameEndpoint, 'checkpoint-mismatch'],
  ];
  const differing = [...wanted, ...beside].flatMap(([stated, asked, isSame, reason]) =>
    stated !== undefined && asked !== undefined && !isSame(stated, asked) ? [reason] : [],
  );
  const isUnstated =
    wanted.some(([stated, asked]) => asked !== undefined && stated === undefined) ||
    (expected.weightsDigest === true &&
      (weightsDigest === undefined || checkpoint?.weightsDigest === undefined));
  return [...new Set(differing), ...(isUnstated ? (['provenance-missing'] as const) : [])];
}

export function exitProblems({ status }: NativeResult, launch: LaunchFacts | undefined): ReasonCode[] {
  const { exitCode, completedExitCodes = [0] } = launch ?? {};
  if (exitCode === undefined) return [];
  const ended = exitCode !== null && completedExitCodes.includes(exitCode);
  return ended === (status === 'success') ? [] : ['exit-disagrees'];
}

export function timeProblems(
  result: NativeResult,
  n: number | null,
  { checkpointReportedAt, launch, replayed }: ProvenanceContext,
): ReasonCode[] {
  const reasons: ReasonCode[] = [];
  const startedMs = instantMs(result.startedAt);
  const completedMs = instantMs(result.completedAt);
  const reportedMs = instantMs(checkpointReportedAt);
  if (startedMs !== null && completedMs !== null) {
    if (completedMs < startedMs) reasons.push('completed-before-started');
    if (completedMs === startedMs && n !== null && n >= INSTANT_SAMPLES) reasons.push('took-no-time');
  }
  const earliestMs = startedMs ?? completedMs ?? instantMs(result.createdAt);
  if (reportedMs !== null && earliestMs !== null && earliestMs < reportedMs - CLOCK_TOLERANCE_MS) {
    reasons.push('started-before-checkpoint');
  }
  if (isStale(earliestMs, launch)) reasons.push('stale-log');
  if (replayed === true) reasons.push('replayed-log');
  return reasons;
}

function isStale(earliestMs: number | null, launch: LaunchFacts | undefined): boolean {
  const launchedMs = instantMs(launch?.startedAt);
  if (launchedMs === null) return false;
  const writtenMs = instantMs(launch?.logModifiedAt);
  return (
    (earliestMs !== null && earliestMs < launchedMs - CLOCK_TOLERANCE_MS) ||
    (writtenMs !== null && writtenMs < launchedMs - FILE_TOLERANCE_MS)
  );
}

function instantMs(text: string | undefined): number | null {
  if (text === undefined) return null;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? null : ms;
}

// --- sameness ------------------------------------------------------------------------------------------

type Same = (stated: string, asked: string) => boolean;

const isEqual: Same = (stated, asked) => stated === asked;

/** `gpqa_diamond` and `inspect_evals/gpqa_diamond`: one of them may leave out where the task comes from. */
const sameTask: Same = (stated, asked) => isTail(stated, asked) || isTail(asked, stated);

/** `openai/local-1` and `local-1`: one of them may leave out the provider. */
const sameModel: Same = (stated, asked) => isTail(stated, asked) || isTail(asked, stated);

const isTail = (whole: string, tail: string): boolean =>
  whole === tail || whole.endsWith(`/${tail}`) || whole.endsWith(`@${tail}`);

/** Of a commit its first characters may stand for it. */
const sameRevision: Same = (stated, asked) =>
  stated === asked ||
  ([stated, asked].every((each) => /^[0-9a-f]{7,64}$/.test(each)) &&
    (stated.startsWith(asked) || asked.startsWith(stated)));

const sameDigest: Same = (stated, asked) => bare(stated) === bare(asked);
const bare = (digest: string): string => digest.replace(/^sha256:/, '').toLowerCase();

/** The address of an OpenAI-compatible server, with or without what clients append to it. */
const sameEndpoint: Same = (stated, asked) => address(stated) === address(asked);

/** Not by a pattern, which takes the square of their number to see that they end in something else. */
function withoutSlashes(text: string): string {
  let end = text.length;
  while (text[end - 1] === '/') end -= 1;
  return text.slice(0, end);
}

function address(url: string): string {
  const [place = ''] = url.split(/[?#]/);
  const path = withoutSlashes(place).replace(/\/(chat\/completions|completions|responses|messages)$/, '');
  const [, scheme = '', host = '', rest = ''] = /^([A-Za-z]+:\/\/)([^/]*)(.*)$/.exec(path) ?? [
    '',
    '',
    '',
    path,
  ];
  return `${scheme.toLowerCase()}${host.toLowerCase()}${rest.replace(/\/v1$/, '')}`;
}
