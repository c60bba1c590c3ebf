/**
 * What is told of a run in traces: which story a commit, an item of work or a halt belongs to, and the facts of a
 * commit as spans. Ids and fixed words only (telemetry/tracing.ts); nothing here decides or records anything.
 */
import type { SpanContext } from '@opentelemetry/api';
import type { Halt, RunState } from '../domain/run/state.ts';
import { checkpointStory, factSpan, freshStory, haltStory, type Story } from '../telemetry/story.ts';
import { recordFact, type SpanAttributes, tracingOn } from '../telemetry/tracing.ts';
import type { Commit } from './run-service.ts';

/** A story, and the fact in it that the work follows from. */
export interface Thread {
  readonly story: Story;
  readonly links: readonly SpanContext[];
}

const checkpointFact = (runId: string, checkpointId: string): SpanContext =>
  factSpan(checkpointStory(runId, checkpointId), 'checkpoint', checkpointId);

export function checkpointThread(runId: string, checkpointId: string): Thread {
  return { story: checkpointStory(runId, checkpointId), links: [checkpointFact(runId, checkpointId)] };
}

/** A halt by a rule belongs to the checkpoint that tripped it; a person's is a story of its own. */
export function storyOfHalt(runId: string, { haltId, causes }: Pick<Halt, 'haltId' | 'causes'>): Story {
  const [cause] = causes;
  const checkpointId = cause?.kind === 'rule' ? cause.checkpointId : null;
  return checkpointId == null ? haltStory(runId, haltId) : checkpointStory(runId, checkpointId);
}

const TOLD_ATTEMPTS_MAX = 10;

/** Tries without end would make a trace without end: the later ones are traces of their own, linked to the order. */
export function haltThread(runId: string, halt: Pick<Halt, 'haltId' | 'causes'>, attempt = 1): Thread {
  const story = storyOfHalt(runId, halt);
  const links = [factSpan(story, 'halt', halt.haltId)];
  return { story: attempt > TOLD_ATTEMPTS_MAX ? freshStory() : story, links };
}

/** A page about a halt belongs to it; any other is a trace of its own. */
export function alertThread(state: RunState | undefined, attempt: number): Thread {
  return state?.halt == null
    ? { story: freshStory(), links: [] }
    : haltThread(state.runId, state.halt, attempt);
}

export function checkpointIdOf(state: RunState, evaluationId: unknown): string | null {
  const found = state.checkpoints.find(({ evaluations }) =>
    evaluations.some((each) => each.evaluationId === evaluationId),
  );
  return found?.checkpointId ?? null;
}

/** For an item of work; null for what is no part of a story (ticks). */
export function threadOfItem(
  state: RunState,
  { kind, ids }: { kind: string; ids: Readonly<Record<string, string | number>> },
): Thread | null {
  if (!tracingOn()) return null;
  const { runId, halt } = state;
  if (kind === 'evaluate' || kind === 'dispatch') {
    const checkpointId = checkpointIdOf(state, ids['evaluationId']);
    return checkpointId === null ? null : checkpointThread(runId, checkpointId);
  }
  if (halt === null || ids['haltId'] !== halt.haltId) return null;
  return haltThread(runId, halt, Number(ids['attempt'] ?? 1));
}

type Data = Readonly<Record<string, unknown>>;
const word = (data: Data, name: string): string | undefined =>
  typeof data[name] === 'string' ? data[name] : undefined;

/** Once per fact, by the process that recorded it, with the times that the ledger has. */
export function tellCommit({ runId, after, events }: Commit): void {
  if (!tracingOn()) return;
  for (const { kind, data, recordedAt } of events) {
    const told = telling(runId, after, kind, data);
    if (told === null) continue;
    const { name, story, fact, more } = told;
    const endTime = new Date(recordedAt);
    const at = new Date(word(data, 'at') ?? recordedAt);
    recordFact(
      name,
      { 'interlock.run.id': runId, ...more },
      { fact: factSpan(story, ...fact), startTime: at <= endTime ? at : endTime, endTime },
    );
  }
}

interface Telling {
  readonly name: string;
  readonly story: Story;
  readonly fact: readonly [string, ...string[]];
  readonly more: SpanAttributes;
}

function telling(runId: string, state: RunState, kind: string, data: Data): Telling | null {
  const checkpointId = word(data, 'checkpointId') ?? checkpointIdOf(state, data['evaluationId']);
  switch (kind) {
    case 'CheckpointReported':
    case 'CheckpointAssessed': {
      if (checkpointId === null) return null;
      const isReport = kind === 'CheckpointReported';
      const verdict = word(data, 'verdict');
      return {
        name: isReport ? 'checkpoint.recorded' : 'verdict.reached',
        story: checkpointStory(runId, checkpointId),
        fact: isReport ? ['checkpoint', checkpointId] : ['verdict', checkpointId, word(data, 'at') ?? ''],
        more: {
          'interlock.checkpoint.id': checkpointId,
          ...(verdict === undefined ? {} : { 'interlock.outcome': verdict }),
        },
      };
    }
    case 'EvaluationReported':
    case 'EvaluationAttemptFailed': {
      const evaluationId = word(data, 'evaluationId');
      if (checkpointId === null || evaluationId === undefined) return null;
      const attempt = Number(data['attempt']);
      return {
        name: kind === 'EvaluationReported' ? 'evaluation.reported' : 'evaluation.failed',
        story: checkpointStory(runId, checkpointId),
        fact: ['evaluation', kind, evaluationId, String(attempt)],
        more: {
          'interlock.checkpoint.id': checkpointId,
          'interlock.evaluation.id': evaluationId,
          'interlock.attempt': attempt,
        },
      };
    }
    case 'HaltOrdered':
    case 'HaltConfirmed': {
      const { halt } = state;
      if (halt === null || halt.haltId !== data['haltId']) return null;
      const { haltId } = halt;
      return {
        name: kind === 'HaltOrdered' ? 'halt.ordered' : 'halt.stopped',
        story: storyOfHalt(runId, halt),
        fact: kind === 'HaltOrdered' ? ['halt', haltId] : ['stopped', haltId, String(halt.round)],
        more: { 'interlock.halt.id': haltId, 'interlock.outcome': halt.action },
      };
    }
    default:
      return null;
  }
}
