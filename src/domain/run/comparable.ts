/**
 * What stands beside a score for the sake of forecasts: the leading metric that the policy names, and the protocol by which
 * it was measured; and of a series the part that can be compared.
 *
 * Scores of different protocols are not one series: a new prompt or harness moves a score without any training. So a series
 * begins anew where the protocol changes, and is mostly prior again. A protocol that is not stated is one of its own.
 * A leading metric that is missing or unusable costs nothing and comforts nobody.
 */
import { log2Compute } from '../compute.ts';
import type { EvaluationHistory } from '../forecast/outlook.ts';
import type { NativeResult } from '../native-result.ts';
import type { Evaluation } from '../policy/schema.ts';
import type { Lead, StoredReading } from './reading-documents.ts';
import type { EvaluationState, Series } from './state.ts';

type Beside = Pick<StoredReading, 'lead' | 'protocol'>;

/** Of a result. */
export function besideScore({ metrics, protocol, lead }: NativeResult, { leads }: Evaluation): Beside {
  const byName =
    leads !== undefined && metrics !== undefined && Object.hasOwn(metrics, leads.metric)
      ? metrics[leads.metric]
      : undefined;
  const named = leads === undefined ? undefined : (lead ?? byName);
  const value = named?.value;
  const stderr = typeof named?.stderr === 'number' && named.stderr >= 0 ? named.stderr : null;
  return {
    ...(typeof value === 'number' ? { lead: { value, stderr } } : {}),
    ...(protocol === undefined ? {} : { protocol }),
  };
}

/** Of all conclusive attempts: the most dangerous leading value; their protocol, or all of them where they differ. */
export function besideEvidence({ attempts }: EvaluationState, { leads }: Evaluation): Beside {
  const readings = attempts.flatMap(({ reading }) => (reading?.conclusive === true ? [reading] : []));
  const sign = leads === undefined || leads.best >= leads.chance ? 1 : -1;
  const lead = readings
    .flatMap((reading) => reading.lead ?? [])
    .reduce<Lead | null>(
      (worst, each) => (worst === null || sign * each.value > sign * worst.value ? each : worst),
      null,
    );
  const protocols = [...new Set(readings.flatMap(({ protocol }) => protocol ?? []))].sort();
  return {
    ...(lead === null ? {} : { lead }),
    ...(protocols.length === 0 ? {} : { protocol: protocols.join(' and ') }),
  };
}

/** Points ascend in compute; the last names the protocol. */
export function comparableHistory(
  points: Series['points'],
  { leads }: Pick<Evaluation, 'leads'>,
): Pick<EvaluationHistory, 'points' | 'lead' | 'notes'> {
  const last = points.at(-1);
  const same = points.filter(({ protocol }) => protocol === last?.protocol);
  const others = points.length - same.length;
  const led = same.flatMap(({ effectiveCompute, lead }) =>
    lead === undefined ? [] : [{ log2Compute: log2Compute(effectiveCompute), ...lead }],
  );
  const isMissing = leads !== undefined && last !== undefined && last.lead === undefined;
  const notes = [
    ...(others > 0 ? [`measured by another protocol before: ${others} earlier points do not count`] : []),
    ...(isMissing ? [`its leading metric ${leads.metric} was not reported: no comfort from it`] : []),
  ];
  return {
    points: same.map(({ effectiveCompute, score, stderr, n }) => ({
      log2Compute: log2Compute(effectiveCompute),
      score,
      stderr,
      n,
    })),
    ...(leads === undefined ? {} : { lead: { ...leads, points: led } }),
    ...(notes.length === 0 ? {} : { notes }),
  };
}
