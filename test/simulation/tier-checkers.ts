/**
 * No permit without evidence, with tiers: what is not needed was cleared by tripwires, all of them conclusive and below the level by
 * arithmetic of our own, under the terms of the policy.
 */
import type { Evaluation, Policy } from '../../src/domain/policy/schema.ts';
import type { RunEventData } from '../../src/domain/run/events.ts';
import { LEVEL_CLOSE, thresholdOf, upper } from './arithmetic.ts';

type Reading = RunEventData<'EvaluationReported'>['reading'];

export class TierChecker {
  readonly #policy: Policy;
  readonly #broken: (what: string) => never;
  readonly #readings = new Map<string, { spec: Evaluation; checkpointId: string; uppers: number[] }>();
  readonly #deferred = new Set<string>();
  readonly #notNeeded = new Set<string>();
  readonly #computes = new Map<string, number>();

  constructor(policy: Policy, broken: (what: string) => never) {
    this.#policy = policy;
    this.#broken = broken;
  }

  reported({ checkpointId, effectiveCompute, evaluations }: RunEventData<'CheckpointReported'>): void {
    this.#computes.set(checkpointId, Number(effectiveCompute));
    for (const { evaluationId, evaluation, deferred } of evaluations) {
      const spec = this.#policy.evaluations.find(({ id }) => id === evaluation);
      if (spec === undefined) continue;
      this.#readings.set(evaluationId, { spec, checkpointId, uppers: [] });
      if (deferred !== true) continue;
      if (spec.tier === 'tripwire') this.#broken(`the tripwire ${evaluation} waits for tripwires`);
      this.#deferred.add(evaluationId);
    }
  }

  result(evaluationId: string, { conclusive, score, n, stderr }: Reading): void {
    const known = this.#readings.get(evaluationId);
    if (known === undefined || !conclusive || score === null) return;
    known.uppers.push(upper({ score, n, stderr }, known.spec, this.#policy));
  }

  released({ evaluationIds }: { readonly evaluationIds: readonly string[] }): void {
    for (const id of evaluationIds) {
      this.#deferred.delete(id);
      this.#notNeeded.delete(id);
    }
  }

  cleared({ checkpointId, evaluationIds }: RunEventData<'TripwireCleared'>): void {
    const clears = this.#policy.tiers?.tripwireClears;
    if (clears === undefined) {
      this.#broken(`tripwires cleared ${checkpointId} under no terms`);
      return;
    }
    const compute = this.#computes.get(checkpointId) ?? Number.POSITIVE_INFINITY;
    if (clears.belowCompute !== undefined && compute >= Number(clears.belowCompute)) {
      this.#broken(`tripwires cleared ${checkpointId} at ${compute}`);
    }
    const level = thresholdOf(clears.belowLevel ?? 'medium');
    for (const [id, { spec, checkpointId: of, uppers }] of this.#readings) {
      if (of !== checkpointId) continue;
      const isLow = uppers.length > 0 && Math.max(...uppers) < level + LEVEL_CLOSE;
      if (spec.tier === 'tripwire' && !isLow) this.#broken(`${id} did not clear ${checkpointId}: ${uppers}`);
    }
    for (const id of evaluationIds) {
      if (!this.#deferred.delete(id)) this.#broken(`${id} did not wait for tripwires`);
      this.#notNeeded.add(id);
    }
  }

  /** Whether it waits for what the tripwires come to. */
  isDeferred = (evaluationId: string): boolean => this.#deferred.has(evaluationId);

  /** Whether a verdict may do without it. */
  isNotNeeded = (evaluationId: string): boolean => this.#notNeeded.has(evaluationId);
}
