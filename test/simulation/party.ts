/**
 * An outside party, whoever speaks in its name, and the operator who lets it in; and breakthroughs that are declared. Each call goes
 * through the network of the world, and what an instance answered is checked at that moment.
 */
import type { SignedWord } from '../../src/domain/run/outside-documents.ts';
import { breakthroughKey, submissionKey } from '../../src/domain/run/view.ts';
import { sha256 } from '../../src/service/digest.ts';
import { resultDigest } from '../../src/service/evaluation-work.ts';
import { PARTY } from './feature-policy.ts';
import { EVALUATOR, OPERATOR } from './people.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

export class Party {
  readonly #world: World;
  #messages = 0;

  constructor(world: World) {
    this.#world = world;
  }

  async grants(runId: string, random: Random): Promise<void> {
    const expires = random.chance(0.2) ? this.#world.scheduler.nowMs + random.below(120_000) : null;
    const grant = {
      type: 'GrantOutside' as const,
      party: PARTY,
      checkpoints: random.pick(['all', 'all', 'due'] as const),
      endpoint: null,
      compute: false,
      expiresAt: expires === null ? null : new Date(expires).toISOString(),
      by: OPERATOR.id,
    };
    await this.#world.request(null, (i) => i.command(runId, grant, OPERATOR.id));
  }

  #signed(words: string): SignedWord {
    this.#messages += 1;
    const signed = { timestamp: '1', signature: 'v1a,x', publicKeys: ['whpk_x'] };
    return { messageId: `party_${this.#messages}`, ...signed, bodyDigest: sha256(words) };
  }

  async submits(runId: string, evaluationId: string, attempt: number, result: unknown): Promise<void> {
    const world = this.#world;
    world.seen.said(evaluationId, attempt, result);
    const command = {
      type: 'SubmitOutsideResult' as const,
      party: PARTY,
      evaluationId,
      attempt,
      result,
      resultDigest: resultDigest(result),
      signed: this.#signed(JSON.stringify([evaluationId, attempt, result])),
    };
    await world.request(
      null,
      (i) => i.command(runId, command, PARTY),
      (given) => world.seen.result(evaluationId, attempt, result, given),
    );
  }

  /** An evaluator of the house, with a result that would suit somebody. */
  async impersonates(evaluationId: string, attempt: number): Promise<void> {
    const result = { status: 'success', score: 0.01, n: 20_000 };
    await this.#world.request(
      null,
      (i) => i.result(evaluationId, attempt, result, EVALUATOR, undefined),
      (given) => this.#world.seen.impersonated(evaluationId, given),
    );
  }

  async finds(runId: string, findingId: string, random: Random): Promise<void> {
    const world = this.#world;
    const [category = null] = world.policyOf(runId).categories.map(({ id }) => id);
    const signed = this.#signed(`${runId} ${findingId}`);
    const found = {
      type: 'SubmitOutsideFinding' as const,
      party: PARTY,
      findingId,
      checkpointId: null,
      category: random.chance(0.5) ? category : null,
      severity: random.pick(['low', 'medium', 'high', 'critical'] as const),
      title: null,
      evidenceUri: null,
      signed,
    };
    const id = submissionKey(runId, PARTY, `finding/${findingId}`);
    await world.request(
      null,
      (i) => i.said(runId, { kind: 'outside', id }, (priorDigest) => ({ ...found, priorDigest }), PARTY),
      (given) => world.seen.found(runId, findingId, given),
    );
  }

  async declares(runId: string, breakthroughId: string): Promise<void> {
    const world = this.#world;
    const declared = {
      type: 'DeclareBreakthrough' as const,
      breakthroughId,
      reason: 'a better optimiser',
      contentDigest: sha256(breakthroughId),
      by: OPERATOR.id,
    };
    const id = breakthroughKey(runId, breakthroughId);
    await world.request(
      null,
      (i) =>
        i.said(
          runId,
          { kind: 'breakthrough', id },
          (priorDigest) => ({ ...declared, priorDigest }),
          OPERATOR.id,
        ),
      (given) => world.seen.declared(runId, breakthroughId, given),
    );
  }
}
