/**
 * A harness's log that was posted: read by the same readers as one that was written here, and then a result like any other.
 *
 * What cannot be read is refused to its sender, by its fixed code and a safe sentence, and records nothing: the sender is there to
 * try again, while an evaluation of ours that leaves a broken log has failed. Read in memory: the body is bounded and here already.
 */
import { scoresWanted } from '../domain/harness-result.ts';
import type { Evaluation } from '../domain/policy/schema.ts';
import { readLog } from '../evaluators/formats/detect.ts';
import { READ_LIMITS } from '../evaluators/formats/format.ts';
import { inspectFormatWithin } from '../evaluators/formats/inspect.ts';
import { logOfBytes } from '../evaluators/formats/log-source.ts';
import { FORMATS } from '../evaluators/formats/registry.ts';
import { parseResult } from '../evaluators/result-text.ts';

export interface PostedLog {
  readonly bytes: Uint8Array;
  /** A reader's name; left out, the log is recognised by its content. */
  readonly format: string | undefined;
}

export type PostedResult =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly message: string };

/** Of what somebody sends: far less than of what an evaluation of ours may write over days. */
const WITHIN = inspectFormatWithin({ ...READ_LIMITS, expandedBytes: 1024 * 1024 * 1024 });
const READERS = FORMATS.map((format) => (format.name === WITHIN.name ? WITHIN : format));

/** `spec`: whose scores per sample are needed; undefined where the policy no longer has the evaluation. */
export async function readPosted(
  { bytes, format }: PostedLog,
  spec: Evaluation | undefined,
): Promise<PostedResult> {
  const scores = spec === undefined ? undefined : scoresWanted(spec);
  const reading = await readLog(logOfBytes(bytes, 'log'), { format, scores, readers: READERS });
  if (!reading.ok) return { ok: false, message: `${reading.detail} (${reading.problem})` };
  if (reading.log.status === null) {
    return { ok: false, message: `is ${reading.log.format}, which accompanies logs and is none` };
  }
  if (reading.log.harness !== 'native') return { ok: true, result: { harnessLog: reading.log } };
  const native = parseResult(bytes);
  return native.kind === 'found'
    ? { ok: true, result: native.result }
    : { ok: false, message: 'is no result' };
}
