/**
 * A late result for a checkpoint that the state no longer holds: recorded, and able to trip by itself.
 *
 * It is judged alone against the halting `level` rules of its category and stage. It can only worsen: there is
 * no scorecard left that it could improve.
 */

import type { LaunchFacts } from '../launch-facts.ts';
import { type Levels, levelsOf } from '../levels.ts';
import { type Evaluation, isControl, levelAt, type Policy } from '../policy/schema.ts';
import { type Context, type Decision, iso, reject } from './context.ts';
import { specOf } from './evaluation.ts';
import type { Finding } from './finding-documents.ts';
import { haltEvents } from './halt.ts';
import { readingOf, takeResult } from './reading.ts';
import type { StoredReading } from './reading-documents.ts';
import { confidenceZ, scoreSpecOf } from './scorecard.ts';
import type { RunState } from './state.ts';

export interface RecordArchivedResult {
  readonly type: 'RecordArchivedResult';
  readonly checkpointId: string;
  readonly evaluationId: string;
  readonly evaluation: string;
  readonly variant: string;
  readonly attempt: number;
  readonly result: unknown;
  readonly resultDigest: string;
  /** Digest of what this attempt reported before, from the views. */
  readonly priorDigest: string | null;
  readonly launch?: LaunchFacts | undefined;
  readonly by: string;
}

export const archivedResult = (fields: Omit<RecordArchivedResult, 'type'>): RecordArchivedResult => ({
  type: 'RecordArchivedResult',
  ...fields,
});

export function recordArchivedResult(
  state: RunState,
  command: RecordArchivedResult,
  context: Context,
): Decision {
  const { checkpointId, evaluationId, evaluation, variant, attempt, resultDigest, by } = command;
  if (command.priorDigest !== null) {
    if (command.priorDigest === resultDigest) return [];
    return reject('conflict', `attempt ${attempt} has already reported another result`, 'attempt');
  }
  const spec = specOf(context.policy, evaluation);
  if (spec.executor.kind === 'outside' && command.by !== spec.executor.party) {
    return reject('forbidden', `${spec.executor.party} alone reports ${spec.id}`, 'evaluationId');
  }
  const parsed = takeResult(command.result, spec, context.digest);
  if (!parsed.ok) {
    const [{ path, message }] = parsed.problems;
    return reject('invalid', message, path);
  }
  const { policy } = context;
  const { launch } = command;
  const gone = { checkpoint: null, attempt: null };
  const reading = readingOf(parsed.result, {
    ...gone,
    ...{ state, policy, spec, checkpointId, evaluationId, variant, launch },
  });
  const levels = lateLevels(context.policy, spec, reading);
  const findings = lateFindings(context.policy, spec, reading, { checkpointId, variant });
  const [first, ...rest] = findings;
  const quarantine = findings.some(({ then }) => then.includes('quarantine'));
  return [
    {
      kind: 'ArchivedResultReported',
      data: {
        checkpointId,
        evaluationId,
        evaluation,
        variant,
        attempt,
        reading,
        resultDigest,
        estimate: levels?.estimate ?? null,
        upper: levels?.upper ?? null,
        by,
        at: iso(context.now),
      },
    },
    ...(first === undefined
      ? []
      : haltEvents(
          state,
          context,
          { kind: 'rule', checkpointId, findings: [first, ...rest] },
          quarantine ? 'quarantine' : 'halt',
        )),
  ];
}

export function lateLevels(policy: Policy, spec: Evaluation, reading: StoredReading): Levels | null {
  const { score } = reading;
  if (score === null || isControl(spec)) return null;
  return levelsOf({ ...reading, score }, scoreSpecOf(spec), confidenceZ(policy, spec));
}

/** The halting level rules that one late reading trips by itself. */
export function lateFindings(
  policy: Policy,
  spec: Evaluation,
  reading: StoredReading,
  { checkpointId, variant }: { readonly checkpointId: string; readonly variant: string },
): Finding[] {
  const levels = lateLevels(policy, spec, reading);
  return policy.rules.flatMap((rule): Finding[] => {
    if (rule.kind !== 'level' || levels === null || rule.stage !== spec.stage) return [];
    const covered = rule.categories === undefined || rule.categories.includes(spec.category);
    const halts = rule.then.includes('halt') || rule.then.includes('quarantine');
    // An inconclusive score has no upper limit to judge by, only its own level.
    const observed = reading.conclusive ? levels[rule.basis] : levels.estimate;
    const threshold = levelAt(rule.atLeast);
    if (!covered || !halts || observed < threshold) return [];
    return [
      {
        rule: rule.id,
        kind: 'level',
        category: spec.category,
        stage: spec.stage,
        evaluation: spec.id,
        checkpointId,
        observed,
        threshold,
        basis: rule.basis,
        then: rule.then,
        explanation: `late result of ${spec.id} (${variant}) at ${checkpointId}: ${rule.basis} ${observed.toFixed(2)} reaches ${threshold.toFixed(2)}`,
        waived: false,
      },
    ];
  });
}
