/**
 * The world of a story whose policy has the features of feature-policy.ts: executors that break, models that refuse or fail
 * their controls, stages and breakthroughs of training, weights that are exchanged, an outside party and somebody who speaks
 * in its name, workers with a label or none. All drawn from one stream; once healed nothing new happens.
 */
import type { JsonObject } from '../../src/domain/canonical-json.ts';
import { compute } from '../../src/domain/compute.ts';
import type { Executor } from '../../src/domain/executor.ts';
import type { Evaluation } from '../../src/domain/policy/schema.ts';
import { locate } from '../../src/domain/run/evaluation.ts';
import type { StatedStage } from '../../src/domain/run/events.ts';
import { unscorableBecause, WEIGHTS_CHANGED } from '../../src/domain/run/weights.ts';
import type { EvaluationRequest } from '../../src/evaluators/evaluator.ts';
import { sha256 } from '../../src/service/digest.ts';
import type { RunService } from '../../src/service/run-service.ts';
import type { WeightsLook } from '../../src/service/weights-guard.ts';
import { LABEL, TRAINING_STAGES } from './feature-policy.ts';
import { Party } from './party.ts';
import type { Random } from './random.ts';
import { round, type Trainer } from './trainer.ts';
import type { World } from './world.ts';

interface Stage {
  readonly name: string;
  /** What the run had trained as it began. */
  readonly before: number;
  /** The share of its own compute that is stated; 0: none is. */
  readonly states: number;
}

export interface ReportedBeside {
  readonly trainingStage?: StatedStage;
  readonly weightsDigest?: string;
  readonly tripwiresOnly?: true;
}

/** Of a control that the model passes, and of one that it does not. */
const [HEALTHY, UNWELL] = [0.9, 0.3];

export class Features {
  readonly #world: World;
  readonly #random: Random;
  readonly #party: Party;
  /** Whether anybody looks at the weights. */
  readonly #looks: boolean;
  readonly isStaffed: boolean;
  /** Which of the executors, in the policy's order, does nothing but break. */
  readonly #broken: number;
  readonly #refuses: number;
  readonly #changesStage: boolean;
  readonly #stages = new Map<string, Stage>();
  readonly #weights = new Map<string, string>();
  #said = 0;

  constructor(world: World, random: Random) {
    this.#world = world;
    this.#random = random;
    this.#party = new Party(world);
    this.#looks = random.chance(0.5);
    this.isStaffed = random.chance(0.6);
    this.#broken = random.pick([-1, 0, 0, 1]);
    this.#refuses = random.pick([0, 0.1, 0.3]);
    this.#changesStage = random.chance(0.6);
  }

  // --- evaluators ----------------------------------------------------------------------------------------

  isBroken(executor: Executor, { executor: own, replicas = [] }: Evaluation): boolean {
    if (this.#world.faults.healed || replicas.length === 0) return false;
    const at = [own, ...replicas].findIndex((each) => JSON.stringify(each) === JSON.stringify(executor));
    return at === this.#broken && this.#random.chance(0.9);
  }

  /** What is measured where it is no plain danger score. */
  measured(value: number, { benignControl, succeeds, score: { chance, best } }: Evaluation): number {
    if (benignControl !== undefined) return this.#random.chance(0.06) ? UNWELL : HEALTHY;
    if (succeeds === undefined) return value;
    // The new protocol finds more.
    const least = Math.min(chance, best);
    return Number(Math.min(1, Math.max(least, value + 0.03 * (best - chance))).toFixed(4));
  }

  counts(n: number): JsonObject {
    if (this.#refuses === 0) return {};
    const share = this.#random.chance(this.#refuses) ? this.#random.pick([0.1, 0.4, 0.4]) : 0;
    return { samples: { total: n, completed: n, scored: n, errored: 0, refused: Math.round(share * n) } };
  }

  /** The party sees for itself that it was asked, and answers in its time; somebody else may answer for it. */
  asked({ runId, evaluationId, attempt }: EvaluationRequest, said: unknown): void {
    const { faults, scheduler } = this.#world;
    const random = this.#random;
    if (random.chance(0.3)) {
      scheduler.after(random.below(20_000), () => void this.#party.impersonates(evaluationId, attempt));
    }
    if (faults.hit('evaluator-hangs', 0.08)) return;
    const late = faults.hit('evaluator-late', 0.1) ? random.below(180_000) : 0;
    scheduler.after(2_000 + random.below(20_000) + late, () => {
      void this.#party.submits(runId, evaluationId, attempt, said);
    });
  }

  // --- trainers ------------------------------------------------------------------------------------------

  /** What a heartbeat or a report says of the stage of training. */
  stated({ runId }: Trainer, at: number): StatedStage | undefined {
    const stage = this.#stages.get(runId);
    if (stage === undefined) return undefined;
    const own = stage.states * (at - stage.before);
    return own > 0 ? { name: stage.name, compute: compute(round(own)) } : { name: stage.name };
  }

  reported(trainer: Trainer, checkpointId: string, at: number): ReportedBeside {
    const random = this.#random;
    const trainingStage = this.stated(trainer, at);
    // One that is not what lies there is found out at the first look.
    const digest = random.chance(0.05) ? sha256('other') : this.#digestOf(trainer.runId, checkpointId);
    return {
      ...(trainingStage === undefined ? {} : { trainingStage }),
      ...(random.chance(0.5) ? { weightsDigest: `sha256:${digest}` } : {}),
      ...(this.#hasTripwires && random.chance(0.7) ? { tripwiresOnly: true as const } : {}),
    };
  }

  get #hasTripwires(): boolean {
    return this.#world.policy.evaluations.some(({ tier }) => tier === 'tripwire');
  }

  /** A checkpoint that nobody asked for, for its tripwires alone. */
  reportsMore(): boolean {
    return this.#hasTripwires && this.#random.chance(0.2);
  }

  #digestOf(runId: string, checkpointId: string): string {
    const name = `${runId}/${checkpointId}`;
    const known = this.#weights.get(name) ?? sha256(name);
    this.#weights.set(name, known);
    return known;
  }

  /** As src/service/weights-guard.ts looks at files; null where nobody does. */
  look(runs: RunService): ((runId: string, evaluationId: string) => Promise<WeightsLook>) | null {
    if (!this.#looks) return null;
    return async (runId, evaluationId) => {
      const loaded = await runs.load(runId);
      const checkpoint =
        loaded === null ? null : (locate(loaded.state, evaluationId, loaded.policy)?.checkpoint ?? null);
      if (checkpoint === null) return { ok: true };
      if (unscorableBecause(checkpoint) !== null) return { ok: false, reason: WEIGHTS_CHANGED };
      const { checkpointId } = checkpoint;
      if (this.#world.faults.hit('weights-swapped', 0.08)) {
        this.#world.tell(`the weights of ${checkpointId} of ${runId} are exchanged`);
        this.#weights.set(`${runId}/${checkpointId}`, sha256(`${runId} ${checkpointId} ${this.#said}`));
      }
      const digest = this.#digestOf(runId, checkpointId);
      if (checkpoint.weights?.fingerprint === digest) return { ok: true };
      const found = { digest: `sha256:${digest}`, files: 1, bytes: 1_000, fingerprint: digest };
      const executed = await runs.execute(
        runId,
        { type: 'NoteWeights', checkpointId, ...found },
        { actor: 'interlock', urgent: true },
      );
      if (!('state' in executed)) return { ok: true };
      const after = executed.state.checkpoints.find((each) => each.checkpointId === checkpointId);
      return after === undefined || unscorableBecause(after) === null
        ? { ok: true }
        : { ok: false, reason: WEIGHTS_CHANGED };
    };
  }

  // --- workers -------------------------------------------------------------------------------------------

  /** Of the first instance, where anybody has the label. */
  labelsOf(slot: number): Readonly<Record<string, number>> {
    return this.isStaffed && slot === 0 ? { [LABEL]: 2 } : {};
  }

  // --- what happens beside --------------------------------------------------------------------------------

  /** Once a run is registered, and whenever the weather changes. */
  happens(runId: string, trainer: Trainer): void {
    const random = this.#random;
    this.#said += 1;
    if (random.chance(0.25)) void this.#party.grants(runId, random);
    if (random.chance(0.08)) void this.#party.declares(runId, `b${this.#said}`);
    if (random.chance(0.12)) void this.#party.finds(runId, `f${this.#said}`, random);
    if (this.#changesStage && random.chance(0.15)) {
      const name = random.pick(TRAINING_STAGES);
      this.#world.tell(`${runId} goes over to ${name}`);
      this.#stages.set(runId, { name, before: trainer.compute, states: random.pick([0, 0.5, 1, 1]) });
    }
  }
}
