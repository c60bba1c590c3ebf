/**
 * Everybody who calls Interlock's API in a simulation: trainers, evaluators, the operator, the governance groups, and
 * an intruder. Each call goes through the network of the world; what an instance answered is checked at that moment,
 * whether or not the answer arrives.
 */
import type { HeartbeatReply as ClientReply } from '../../clients/typescript/client.ts';
import type { Identity } from '../../src/config/identities.ts';
import { compute } from '../../src/domain/compute.ts';
import type { Command } from '../../src/domain/run/decide.ts';
import type { RunEvent } from '../../src/domain/run/events.ts';
import { isQuarantined } from '../../src/domain/run/quarantine.ts';
import { type RunState, RunStateSchema } from '../../src/domain/run/state.ts';
import { sha256 } from '../../src/service/digest.ts';
import type { Receipt } from '../../src/service/run-service.ts';
import { HeartbeatReply } from '../support/heartbeat-reply.ts';
import { answerOf, EXPERTS, type ExpertCommand, expertActs } from './experts.ts';
import { mix } from './faults.ts';
import type { ReportedBeside } from './features.ts';
import type { Answer, Interlock } from './instance.ts';
import { MEMBERSHIPS } from './policy-parts.ts';
import { createRandom, type Random } from './random.ts';
import type { Trainer } from './trainer.ts';
import { round } from './trainer.ts';
import type { SimulatedProcess } from './virtual-time.ts';
import type { World } from './world.ts';

export const INTRUDER = 'mallory';

function identity(id: string, roles: Identity['roles'], groups: readonly string[] = []): Identity {
  return { id, name: id, groups, roles, evaluations: null, via: 'bearer' };
}

export const OPERATOR = identity('operator', ['operator']);
export const EVALUATOR = identity('evaluator', ['evaluator']);

export class People {
  readonly #world: World;
  readonly #random: Random;
  /** What else than going on is proposed: drawn apart. */
  readonly #works: Random;
  #messages = 0;
  /** Proposals that somebody executed, for vetoes long after. */
  readonly #executed: { runId: string; proposalId: string; digest: string }[] = [];

  /** Of experts, in stories that have them. */
  readonly #experts: Random | null;

  constructor(world: World, seed: number, experts: Random | null) {
    this.#world = world;
    this.#random = createRandom(seed);
    this.#works = createRandom(mix(seed, 1));
    this.#experts = experts;
  }

  #receipt(source: string, body: string): Receipt {
    this.#messages += 1;
    return { source, webhookId: `msg_${this.#messages}`, bodyDigest: sha256(body) };
  }

  // --- trainers ------------------------------------------------------------------------------------------

  async register(
    runId: string,
    targets: readonly ('webhook' | 'process')[],
    initial: number | null,
    policy: string,
    { parents = [], isVouched = true }: { parents?: readonly string[]; isVouched?: boolean } = {},
  ) {
    const world = this.#world;
    const registration = {
      runId,
      title: null,
      policy,
      initialCompute: initial === null ? null : compute(round(initial)),
      parents,
      sources: ['trainer', 'careless'],
      targets: targets.map(() => ({ kind: 'webhook' as const, url: `http://trainer/${runId}` })),
      labels: {},
      ...((initial === null && parents.length === 0) || !isVouched
        ? {}
        : { vouchedParentage: 'published weights' }),
    };
    const observed = targets.includes('process');
    const answer = await world.request(null, (i) =>
      observed
        ? i.registerObserved(registration, world.runTargets(targets), OPERATOR)
        : i.register(registration, OPERATOR),
    );
    return answer !== null && answer.status < 300;
  }

  async beats(
    trainer: Trainer,
    process: SimulatedProcess,
    { effectiveCompute, nonce }: { effectiveCompute: string; nonce: string },
  ): Promise<ClientReply | null> {
    const { runId, identity: by } = trainer;
    const world = this.#world;
    const stated = compute(effectiveCompute);
    const trainingStage = world.features?.stated(trainer, Number(effectiveCompute));
    const receipt = this.#random.chance(0.3) ? this.#receipt(by, `${effectiveCompute} ${nonce}`) : null;
    const handle = async (i: Interlock): Promise<Answer> => {
      const received = receipt === null ? 'new' : await i.runs.receive(runId, receipt);
      if (received === 'no-run') return { status: 404, body: null };
      if (received === 'reused-id') return { status: 409, body: null };
      const repeated = received === 'replayed';
      const beat = { runId, effectiveCompute: stated, step: null, nonce, repeated, by };
      return i.heartbeat(trainingStage === undefined ? beat : { ...beat, trainingStage });
    };
    const answer = await world.request(
      process,
      (i) => i.answer(() => handle(i)),
      (given, delivery) => world.seen.heartbeat(runId, stated, given, delivery),
    );
    if (answer === null || answer.status !== 200) return null;
    const { directive, ...rest } = HeartbeatReply.parse(answer.body);
    const { action, haltId = null, reason = null, resumeFrom = null, order = null } = directive;
    return { ...rest, directive: { action, haltId, reason, resumeFrom, order } };
  }

  async acknowledges(
    { runId, identity: by }: Trainer,
    process: SimulatedProcess,
    haltId: string,
    state: 'received' | 'stopped',
  ): Promise<boolean> {
    const trainer = identity(by, ['trainer']);
    const answer = await this.#world.request(
      process,
      (i) => i.acknowledge(haltId, state, trainer),
      (given) => this.#world.seen.acknowledged(runId, haltId, state, by, given),
    );
    return answer !== null && answer.status < 500;
  }

  async reports(
    { runId, identity: by }: Trainer,
    process: SimulatedProcess,
    {
      checkpointId,
      compute: at,
      evaluate,
      beside,
    }: { checkpointId: string; compute: number; evaluate: boolean; beside: ReportedBeside },
    attempt: number,
  ): Promise<boolean> {
    const world = this.#world;
    const effectiveCompute = compute(round(at));
    const report = {
      runId,
      checkpointId,
      effectiveCompute,
      step: null,
      modelUri: 's3://weights/x',
      endpoint: null,
      metadata: null,
      evaluate,
      ...beside,
    };
    const trainer = identity(by, ['trainer']);
    // The client signs each report under an id derived from its body: every attempt is the same message.
    const body = JSON.stringify(report);
    const receipt = { source: by, webhookId: `cp_${sha256(body).slice(0, 40)}`, bodyDigest: sha256(body) };
    const signed = attempt > 1 || this.#random.chance(0.7) ? receipt : undefined;
    const answer = await world.request(
      process,
      (i) => i.checkpoint(report, trainer, signed),
      (given) => world.seen.checkpoint(runId, checkpointId, effectiveCompute, given),
    );
    if (answer !== null && answer.status < 300 && world.faults.hit('evaluator-contradicts', 0.1)) {
      const other = { ...report, effectiveCompute: compute(round(at * 1.5)), modelUri: 's3://weights/y' };
      void world.request(
        process,
        (i) => i.checkpoint(other, trainer, undefined),
        (given) => world.seen.contradicted(`checkpoint ${runId} ${checkpointId}`, given),
      );
    }
    return answer !== null && answer.status !== 503;
  }

  async finishes({ runId, identity: by }: Trainer, process: SimulatedProcess): Promise<boolean> {
    const answer = await this.#world.request(
      process,
      (i) => i.command(runId, { type: 'FinishRun', by }, by),
      (given) => this.#world.seen.finished(runId, given),
    );
    return answer !== null && answer.status < 300;
  }

  // --- evaluators ----------------------------------------------------------------------------------------

  /** `sort` 99: another content under the same attempt. */
  posts(evaluationId: string, attempt: number, said: unknown, sort: number): void {
    const world = this.#world;
    const receipt = this.#random.chance(0.5)
      ? this.#receipt('evaluator', JSON.stringify([said, sort]))
      : undefined;
    const tries = async (n: number): Promise<void> => {
      const answer = await world.request(
        null,
        (i) => i.result(evaluationId, attempt, said, EVALUATOR, receipt),
        (given) => world.seen.result(evaluationId, attempt, said, given),
      );
      const again = answer === null || answer.status === 503;
      if (again && n < 30) world.scheduler.after(4_000, () => void tries(n + 1));
    };
    world.seen.said(evaluationId, attempt, said);
    void tries(1);
  }

  // --- people --------------------------------------------------------------------------------------------

  async #state(runId: string): Promise<RunState | null> {
    const answer = await this.#world.request(null, (i) => i.read(runId));
    return answer?.status === 200 ? RunStateSchema.parse(answer.body) : null;
  }

  async presses(runId: string, who: string): Promise<void> {
    const world = this.#world;
    const group = MEMBERSHIPS.get(who)?.[0];
    if (group === undefined) return;
    this.#messages += 1;
    const reason = `doubt ${this.#messages}`;
    world.tell(`${who} presses the button on ${runId}`);
    const action = this.#random.pick(['halt', 'halt', 'quarantine'] as const);
    await world.request(
      null,
      (i) => i.command(runId, { type: 'OrderHalt', action, reason, group, by: who }, who),
      (given, delivery) => world.seen.pressed(runId, who, reason, given, delivery),
    );
  }

  async proposes(runId: string): Promise<void> {
    const state = await this.#state(runId);
    if (state === null || (state.halt === null && state.holds.length === 0)) return;
    this.#messages += 1;
    const rationale = `because ${this.#messages}`;
    const command = this.#proposal(state, rationale);
    await this.#world.request(
      null,
      (i) => i.command(runId, command, 'operator'),
      (given) => this.#world.seen.proposed(runId, rationale, given),
    );
  }

  /** Out of quarantine first; now and then only to look on. Once all is healed, to go on. */
  #proposal(state: RunState, rationale: string): Command {
    const { faults } = this.#world;
    const haltId = state.halt?.haltId ?? null;
    const said = { haltId, rationale, by: 'operator' };
    // Some try without: refused.
    const tries = !faults.healed && this.#works.chance(0.15);
    if (isQuarantined(state) && !tries) return { type: 'ProposeRelease', ...said };
    if (haltId !== null && !faults.healed && this.#works.chance(0.2)) {
      const expires = new Date(
        this.#world.scheduler.nowMs + this.#works.pick([60_000, 3_600_000]),
      ).toISOString();
      return { type: 'ProposeScopedResume', ...said, expires };
    }
    return { type: 'ProposeResume', ...said, terms: {} };
  }

  async signs(
    runId: string,
    proposal: { proposalId: string; digest: string },
    who: string,
    group: string,
    decision: 'approve' | 'veto' | 'dissent',
  ): Promise<void> {
    const world = this.#world;
    const { proposalId, digest } = proposal;
    const groups = MEMBERSHIPS.get(who) ?? [];
    this.#messages += 1;
    const justification = `read ${this.#messages}`;
    world.seen.signing(proposalId, who, decision);
    await world.request(
      null,
      (i) =>
        i.command(
          runId,
          { type: 'SignOff', proposalId, digest, decision, group, justification, by: who, groups },
          who,
        ),
      (given) => world.seen.signed({ runId, proposalId, who, decision, group }, given),
    );
  }

  async agree(runId: string): Promise<void> {
    const state = await this.#state(runId);
    const open = state?.proposals.find(({ status }) => status === 'open');
    if (open === undefined) return;
    for (const group of this.#world.policyOf(runId).governance.resume.approvals) {
      const who = [...MEMBERSHIPS].find(([name, groups]) => groups.includes(group) && name !== 'cai')?.[0];
      if (who !== undefined) await this.signs(runId, open, who, group, 'approve');
    }
  }

  // --- experts -------------------------------------------------------------------------------------------

  async #acts(runId: string, command: ExpertCommand): Promise<void> {
    await this.#world.request(
      null,
      (i) => i.command(runId, command, command.by),
      (given) => this.#world.seen.consulted(command, given),
    );
  }

  /** A checkpoint's verdict makes people wonder, and a question is answered by several, some of them too late. */
  #consult(random: Random, runId: string, event: RunEvent): void {
    const later = (meanMs: number, act: () => Promise<void>): void => {
      this.#world.scheduler.after(random.between(0.05, 2) * meanMs, () => void act());
    };
    if (event.kind === 'CheckpointAssessed' && random.chance(0.5)) {
      later(60_000, () => this.#wonders(random, runId));
    }
    if (event.kind !== 'EstimateRoundOpened') return;
    const { roundId } = event.data;
    for (const by of EXPERTS) {
      if (random.chance(0.7)) later(100_000, () => this.#acts(runId, answerOf(random, roundId, by)));
    }
    if (random.chance(0.6)) later(150_000, () => this.#wonders(random, runId));
  }

  async #wonders(random: Random, runId: string): Promise<void> {
    const state = await this.#state(runId);
    if (state === null) return;
    const categories = this.#world.policyOf(runId).categories.map(({ id }) => id);
    await this.#acts(runId, expertActs(random, state, categories));
  }

  /** What the ledger shows reaches people, and they act, at good moments and at bad ones. */
  hears(runId: string, event: RunEvent): void {
    const { faults, scheduler } = this.#world;
    const random = this.#random;
    if (this.#experts !== null) this.#consult(this.#experts, runId, event);
    const later = (meanMs: number, act: () => Promise<void>): void => {
      scheduler.after(random.between(0.1, 2) * meanMs, () => void act());
    };
    switch (event.kind) {
      case 'HaltOrdered':
        if (random.chance(0.85)) later(150_000, () => this.proposes(runId));
        break;
      case 'HoldPlaced':
        if (random.chance(0.4)) later(120_000, () => this.proposes(runId));
        break;
      case 'QuarantineReleased':
      case 'ScopedWorkEnded':
        if (this.#works.chance(0.8)) later(60_000, () => this.proposes(runId));
        break;
      case 'ProposalVoided':
        if (random.chance(0.7)) later(60_000, () => this.proposes(runId));
        break;
      case 'ProposalOpened': {
        const { proposalId, digest } = event.data;
        const needed = this.#world.policyOf(runId).governance.resume.approvals;
        for (const group of needed) {
          const members = [...MEMBERSHIPS]
            .filter(([, groups]) => groups.includes(group))
            .map(([name]) => name);
          if (random.chance(0.93)) {
            const who = random.pick(members);
            later(40_000, () => this.signs(runId, { proposalId, digest }, who, group, 'approve'));
          }
        }
        if (faults.hit('ill-timed-sign-off', 0.5)) {
          const wrong = faults.of('ill-timed-sign-off');
          const who = wrong.pick([...MEMBERSHIPS.keys()]);
          const group = wrong.pick(['leadership', 'safety', 'board']);
          const other = wrong.chance(0.3) ? 'f'.repeat(64) : digest;
          const decision = wrong.pick(['approve', 'approve', 'dissent'] as const);
          later(60_000, () => this.signs(runId, { proposalId, digest: other }, who, group, decision));
        }
        if (faults.hit('ill-timed-press', 0.15)) later(60_000, () => this.presses(runId, 'bea'));
        if (faults.hit('ill-timed-veto', 0.1)) {
          later(60_000, () => this.#vetoes(runId, { proposalId, digest }));
        }
        break;
      }
      case 'RunResumed': {
        const { proposalId } = event.data;
        const digest = this.#world.seen.digestOf(proposalId);
        this.#executed.push({ runId, proposalId, digest });
        if (faults.hit('ill-timed-veto', 0.4)) {
          later(60_000, () => this.#vetoes(runId, { proposalId, digest }));
        }
        if (faults.hit('ill-timed-press', 0.1)) later(5_000, () => this.presses(runId, 'ann'));
        break;
      }
      case 'EvaluationStarted':
        if (faults.hit('ill-timed-press', 0.03)) later(2_000, () => this.presses(runId, 'eve'));
        break;
      case 'CheckpointReported':
        if (faults.hit('ill-timed-press', 0.05)) later(20_000, () => this.presses(runId, 'eve'));
        break;
      default:
        break;
    }
  }

  async #vetoes(runId: string, proposal: { proposalId: string; digest: string }): Promise<void> {
    const { vetoes } = this.#world.policyOf(runId).governance.resume;
    const [group] = vetoes;
    const who = [...MEMBERSHIPS].find(([, groups]) => group !== undefined && groups.includes(group))?.[0];
    if (group === undefined || who === undefined) return;
    this.#world.tell(`${who} vetoes ${proposal.proposalId}`);
    await this.signs(runId, proposal, who, group, 'veto');
  }

  /** Now and then somebody does something that nothing called for. */
  async wanders(runId: string): Promise<void> {
    const world = this.#world;
    const { faults } = world;
    const random = this.#random;
    if (random.chance(0.06)) await this.presses(runId, random.pick(['ann', 'bea', 'dov']));
    if (random.chance(0.25)) await this.proposes(runId);
    if (faults.hit('ill-timed-veto', 0.08) && this.#executed.length > 0) {
      const old = faults.of('ill-timed-veto').pick(this.#executed);
      await this.#vetoes(old.runId, old);
    }
    if (random.chance(0.15)) await this.#retries(runId);
    if (faults.hit('intruder', 0.5)) await this.#intrudes(runId);
  }

  /** An operator who has seen enough. */
  async arms(runId: string): Promise<void> {
    const by = OPERATOR.id;
    await this.#world.request(null, (i) => i.command(runId, { type: 'ArmRun', by }, by));
  }

  async #retries(runId: string): Promise<void> {
    const state = await this.#state(runId);
    const all = (state?.checkpoints ?? []).flatMap(({ evaluations }) => evaluations);
    if (all.length === 0) return;
    const { evaluationId } = this.#random.pick(all);
    await this.#world.request(null, (i) => i.retry(evaluationId, OPERATOR));
  }

  /** Nothing of this may leave a trace in a run: no event names the intruder. */
  async #intrudes(runId: string): Promise<void> {
    const world = this.#world;
    const random = world.faults.of('intruder');
    const state = await this.#state(runId);
    if (state === null) return;
    const mallory = identity(INTRUDER, ['trainer', 'evaluator']);
    const refused = (given: Answer): void => world.seen.intruded(given);
    const report = {
      runId,
      checkpointId: `m${random.below(1000)}`,
      effectiveCompute: compute('1e23'),
      step: null,
      modelUri: 's3://weights/m',
      endpoint: null,
      metadata: null,
      evaluate: false,
    };
    const act = random.below(4);
    if (act === 0) await world.request(null, (i) => i.checkpoint(report, mallory, undefined), refused);
    else if (act === 1) {
      const beat = {
        runId,
        effectiveCompute: compute('1'),
        step: null,
        nonce: 'm',
        repeated: false,
        by: INTRUDER,
      };
      await world.request(null, (i) => i.heartbeat(beat), refused);
    } else if (act === 2 && state.halt !== null) {
      const { haltId } = state.halt;
      await world.request(null, (i) => i.acknowledge(haltId, 'stopped', mallory), refused);
    } else {
      const open = state.proposals.at(-1);
      if (open === undefined) return;
      const { proposalId, digest } = open;
      const sign = { type: 'SignOff' as const, proposalId, digest, decision: 'approve' as const };
      const command = { ...sign, group: 'leadership', justification: 'x', by: INTRUDER, groups: [] };
      await world.request(null, (i) => i.command(runId, command, INTRUDER), refused);
    }
  }
}
