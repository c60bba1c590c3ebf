/**
 * The native result as a format of its own: what an evaluator of ours writes, or what is posted.
 *
 * The same reading that a posted result gets (domain/native-result.ts), so that nothing looks fine here and is refused there: strict
 * JSON, at most a mebibyte, no unknown keys. Of error text its length is kept.
 */
import { z } from 'zod';
import { HARNESS_STATUSES, type HarnessLog, type HarnessMetric } from '../../domain/harness-log.ts';
import { type NativeResult, NativeResultSchema, parseNativeResult } from '../../domain/native-result.ts';
import { parseResult, RESULT_LIMIT_BYTES } from '../result-text.ts';
import type { HarnessFormat, ReadLog } from './format.ts';
import { counts, draft, finish, jsonMembers, refusal } from './harness-values.ts';
import type { LogSource } from './log-source.ts';
import { outlineOf } from './outline.ts';

export const native: HarnessFormat = {
  name: 'native',
  kinds: ['native'],
  claims: ({ head }) => {
    const { root, paths, status } = outlineOf(head);
    if (root !== 'object' || !HARNESS_STATUSES.some((known) => known === status)) return false;
    return [...paths].every((path) => MEMBERS.has(path.split('.')[0] ?? ''));
  },
  kind: () => 'native',
  read,
};

const MEMBERS = new Set(Object.keys(NativeResultSchema.shape));

async function read(source: LogSource): Promise<ReadLog> {
  if (source.size > RESULT_LIMIT_BYTES)
    return refusal('log-too-large', 'is larger than the 1 MiB that a result may have');
  const found = parseResult(await source.read(0, source.size));
  if (found.kind !== 'found')
    return refusal('log-unreadable', 'is not one JSON object in UTF-8 (a bare NaN is not JSON)');
  const parsed = parseNativeResult(found.result);
  if (!parsed.ok) {
    const said = parsed.problems.map(
      ({ path, message }) => `${path === '' ? 'the result' : path} ${message}`,
    );
    return refusal('log-unreadable', said.join('; '));
  }
  return finish(draft('native', 'native', said(parsed.result, modelOf(found.result))), source);
}

function said(result: NativeResult, model: string | null): Partial<HarnessLog> {
  const n = usable(result.n);
  const named = Object.entries(result.metrics ?? {}).map(([name, metric]) =>
    reading(name, metric.value, metric.stderr),
  );
  const score = result.score === undefined ? [] : [reading('score', result.score, result.stderr)];
  return {
    status: result.status,
    harnessVersion: result.harnessVersion ?? null,
    task: result.task ?? null,
    model,
    revision: result.revision ?? null,
    modelBaseUrl: result.endpoint ?? null,
    created: result.completedAt ?? result.startedAt ?? null,
    startedAt: result.startedAt ?? null,
    completedAt: result.completedAt ?? null,
    metrics: [...score, ...named],
    epochs: usable(result.epochs),
    limits: result.limits ?? {},
    samples: counts({
      total: usable(result.samples?.total) ?? n,
      completed: usable(result.samples?.completed) ?? n,
      scored: usable(result.samples?.scored),
      errored: usable(result.samples?.errored),
      refused: usable(result.samples?.refused),
    }),
    error:
      result.errorLength === undefined ? null : `${result.errorLength} characters of error text, not shown`,
    facts: jsonMembers({
      harness: result.harness,
      weights_digest: result.weightsDigest,
      transcript_uri: result.transcriptUri,
      protocol: result.protocol,
      doubts: result.doubts,
    }),
    protocol: jsonMembers({ protocol: result.protocol }),
  };
}

type Stated = NativeResult['score'];
const usable = (stated: Stated): number | null => (typeof stated === 'number' ? stated : null);

function reading(name: string, value: Stated, stderr: Stated): HarnessMetric {
  return { scorer: null, name, value: usable(value), stderr: usable(stderr) };
}

/** A name that a person would recognise; prose is none. */
function modelOf(raw: object): string | null {
  const parsed = z.object({ model: z.string().regex(/^[\w@:/.+ -]{1,200}$/) }).safeParse(raw);
  return parsed.success ? parsed.data.model : null;
}
