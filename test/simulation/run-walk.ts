/**
 * One walk: every command on the real decide, evolve and outstanding, drawn by a seed, with simulated time and a
 * generated policy. Checked at each step by the outside checkers and by recheck; in the end it heals.
 */
import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { canonicalJson, type JsonObject } from '../../src/domain/canonical-json.ts';
import { type Compute, compareCompute, compute } from '../../src/domain/compute.ts';
import { checkPolicy } from '../../src/domain/policy/check.ts';
import type { Policy } from '../../src/domain/policy/schema.ts';
import type { Ancestry } from '../../src/domain/run/ancestry-documents.ts';
import { type Context, isRejection } from '../../src/domain/run/context.ts';
import { type Command, decide } from '../../src/domain/run/decide.ts';
import { parseRunEvent, type RunEvent } from '../../src/domain/run/events.ts';
import { evolve, evolveAll } from '../../src/domain/run/evolve.ts';
import type { HaltCause } from '../../src/domain/run/halt-documents.ts';
import { outstanding } from '../../src/domain/run/outstanding.ts';
import { permitTerms } from '../../src/domain/run/permit.ts';
import { isQuarantined } from '../../src/domain/run/quarantine.ts';
import { recheck } from '../../src/domain/run/recheck.ts';
import { type RunState, RunStateSchema } from '../../src/domain/run/state.ts';
import { expertActs, expertPolicy, expertsOf } from './experts.ts';
import { featureCommand, reportedBeside } from './feature-commands.ts';
import { featurePolicy, featuresOf, HOURS } from './feature-policy.ts';
import type { ReportedBeside } from './features.ts';
import {
  CRITICAL_RULE,
  forecastRule,
  GROUPS,
  governance,
  jumpRule,
  MEMBERSHIPS,
  maybe,
  OVERDUE_RULE,
  silenceRule,
} from './policy-parts.ts';
import { createRandom, type Random } from './random.ts';
import { ACCOUNTING, BASE, drawnAncestry, learnt, relativesOf } from './relatives.ts';
import { riskLimitOf, riskPolicy } from './risk-policy.ts';
import { RunCheckers } from './run-checkers.ts';
import { shadowsOf } from './shadows.ts';
import { tierPolicy } from './tier-policy.ts';

const digest = (text: string): string => createHash('sha256').update(text).digest('hex');
const asJson = (value: object): JsonObject => JSON.parse(JSON.stringify(value));

function generatedPolicy(
  random: Random,
  experts: Random | null,
  limited: Random | null,
  featured: Random | null,
  more: JsonObject,
): Policy {
  const consulted = experts === null ? { rules: [], more: {} } : expertPolicy(experts);
  const categories = ['cyber', 'bio', 'talk'].slice(0, 1 + random.below(3));
  const evaluations = categories.flatMap((category) =>
    Array.from({ length: 1 + random.below(2) }, (_, i) => ({
      id: `${category}-${i}`,
      category,
      stage: i === 1 && random.chance(0.5) ? 'post-mitigation' : 'pre-mitigation',
      required: i === 0 || random.chance(0.5),
      executor: { kind: 'http', mode: 'callback', timeout: '1h', attempts: 1 + random.below(3) },
      variants: random.pick([
        [{ id: 'default' }],
        [{ id: 'bare' }, { id: 'tools' }],
        [
          { id: 's1', pool: 'seeds' },
          { id: 's2', pool: 'seeds' },
        ],
      ]),
      score: { metric: 'accuracy', kind: 'proportion', chance: 0, best: 1, minSamples: 100 },
      levels: { medium: 0.2, high: 0.5, critical: 0.8 },
      elicitationMargin: random.pick([0, 0.2, 0.5]),
      topUps: random.below(3),
    })),
  );
  const stage = 'pre-mitigation';
  const policy = {
    policy: 'generated',
    title: 'Generated',
    cadence: {
      ratio: random.pick([2, 4]),
      grace: random.pick([0, 0.1, 0.5]),
      firstCheckpointBy: 1e22,
      maxInterval: random.pick(['2d', '30d']),
      scorecardDeadline: '10h',
      holdDeadline: '20h',
    },
    categories: categories.map((id) => ({ id, title: id })),
    evaluations,
    rules: [
      { id: 'high', kind: 'level', stage, atLeast: 'high', then: ['halt'] },
      ...maybe(random, 0.5, CRITICAL_RULE),
      ...maybe(random, 0.7, {
        id: 'upper',
        kind: 'level',
        stage,
        basis: 'upper',
        atLeast: 'high',
        then: ['hold'],
      }),
      ...maybe(random, 0.5, forecastRule(random)),
      ...maybe(random, 0.4, jumpRule(random)),
      ...maybe(random, 0.3, silenceRule(random)),
      ...maybe(random, 0.2, OVERDUE_RULE),
      ...consulted.rules,
    ],
    governance: governance(random),
    alerts: random.pick([[], ['oncall'], ['oncall', 'chat']]),
    ...consulted.more,
  };
  const { cadence } = policy;
  const risk = limited === null ? null : riskPolicy(limited, cadence, GROUPS);
  const whole = { ...policy, cadence: { ...cadence, ...risk?.cadence }, ...risk?.more, ...more };
  return featured === null ? checked(whole) : withFeatures(featured, whole, categories);
}

const DRAWS_MAX = 50;

/** What the policy check refuses is drawn again. */
function withFeatures(
  random: Random,
  plain: JsonObject & { evaluations: JsonObject[]; rules: JsonObject[]; cadence: JsonObject },
  categories: readonly string[],
): Policy {
  for (let i = 0; ; i += 1) {
    const { evaluations, rules, cadence } = featurePolicy(random, { ...plain, categories }, HOURS);
    const tiers = random.chance(0.3) ? tierPolicy(random, categories, GROUPS) : null;
    try {
      return checked({
        ...plain,
        evaluations: [...evaluations, ...(tiers?.evaluations ?? [])],
        rules: [...plain.rules, ...rules],
        cadence: { ...plain.cadence, ...cadence },
        ...tiers?.more,
      });
    } catch (error) {
      if (i === DRAWS_MAX) throw error;
    }
  }
}

function checked(policy: JsonObject): Policy {
  const check = checkPolicy(policy);
  if (!check.ok) throw new Error(JSON.stringify(check.problems));
  return check.policy;
}

const target = (targetId: string, confirmation: 'observed' | 'acknowledged') => ({
  targetId,
  kind: confirmation === 'observed' ? 'process' : 'webhook',
  config: {},
  ladder: [
    {
      step: 'first',
      afterMs: 0,
      retryMs: [500, 2000],
      resendMs: confirmation === 'observed' ? [] : [30_000],
    },
    { step: 'second', afterMs: 10_000, retryMs: [500], resendMs: [5_000] },
  ],
  confirmation,
});

const isOverdue = (cause: HaltCause): boolean =>
  cause.kind === 'rule' && cause.findings.every(({ kind }) => kind === 'overdue');

export class Walk {
  readonly random: Random;
  readonly experts: Random | null;
  readonly relatives: Random | null;
  readonly shadows: Random | null;
  readonly features: Random | null;
  readonly policy: Policy;
  readonly checkers: RunCheckers;
  readonly events: RunEvent[] = [];
  readonly log: string[] = [];
  nowMs = Date.parse('2026-11-01T00:00:00.000Z');
  state: RunState | null = null;
  progress: Context['progress'] = null;
  /** Compute where the trainer really is. */
  at = 1e21;
  #checkpoints = 0;
  #last: Command | null = null;

  constructor(seed: number) {
    this.random = createRandom(seed);
    this.experts = expertsOf(seed);
    this.relatives = relativesOf(seed);
    this.shadows = shadowsOf(seed);
    this.features = featuresOf(seed);
    const accounting = this.relatives === null ? {} : ACCOUNTING;
    this.policy = generatedPolicy(this.random, this.experts, riskLimitOf(seed), this.features, accounting);
    this.checkers = new RunCheckers(this.policy, MEMBERSHIPS);
  }

  get run(): RunState {
    if (this.state === null) throw new Error('not registered');
    return this.state;
  }

  context(): Context {
    return { now: new Date(this.nowMs), policy: this.policy, digest, progress: this.progress };
  }

  /** Decides, records and has everything checked; the number of events, or null for a refusal. */
  does(command: Command): readonly RunEvent[] | null {
    this.log.push(`${new Date(this.nowMs).toISOString()} ${JSON.stringify(command)}`);
    const decision = decide(this.state, command, this.context());
    if (isRejection(decision)) return null;
    for (const event of decision) {
      const read = parseRunEvent(event.kind, JSON.parse(canonicalJson(asJson(event.data))));
      const difference = recheck(this.state, read, this.policy, digest);
      if (difference !== null) throw new Error(`invariant 10: ${difference}`);
      this.state = evolve(this.state, read);
      this.events.push(event);
    }
    if (this.state === null) return decision;
    this.checkers.take(decision, this.nowMs);
    const ticked = decision.length > 0 || command.type === 'Tick';
    const progress = this.progress === null ? null : Number(this.progress.effectiveCompute);
    const work = outstanding(this.state, this.policy);
    this.checkers.after(permitTerms(this.state), work, this.nowMs, progress, ticked);
    if (command.type === 'Tick') this.#settled(work);
    this.#last = command;
    return decision;
  }

  /** After a tick nothing may be due at once: it would be due for ever. */
  #settled(work: readonly { kind: string; notBeforeMs: number }[]): void {
    const more = decide(this.state, { type: 'Tick' }, this.context());
    if (isRejection(more) || more.length > 0) throw new Error('a tick did not settle what it decides');
    const hot = work.find(({ kind, notBeforeMs }) => kind === 'tick' && notBeforeMs <= this.nowMs);
    const quiet = this.run.halt?.stoppedAckAt != null && this.run.halt.confirmedAt === null;
    if (hot !== undefined && !quiet) throw new Error('a tick stays due although it changes nothing');
  }

  register(): void {
    const { random } = this;
    const initial = random.pick([null, null, 1e20, 3e22]);
    if (initial !== null) this.at = initial;
    this.does({
      type: 'RegisterRun',
      runId: 'r1',
      title: null,
      policyDigest: 'p',
      initialCompute: initial === null ? null : compute(initial),
      parents: this.relatives === null ? [] : [BASE],
      vouched: this.relatives?.chance(0.5) === false ? undefined : 'published weights',
      sources: null,
      targets: random.pick([
        [target('t1', 'acknowledged')],
        [target('t2', 'observed')],
        [target('t1', 'acknowledged'), target('t2', 'observed')],
      ]),
      labels: {},
      contentDigest: 'as-sent',
      by: 'operator',
      operator: true,
      shadowUntil: this.#shadowUntil(),
    });
  }

  #shadowUntil(): string | undefined {
    const hours = this.shadows?.pick([1, 30, 200, 2_000]);
    return hours === undefined ? undefined : new Date(this.nowMs + hours * 3_600_000).toISOString();
  }

  step(): void {
    const { random, experts, relatives, shadows } = this;
    if (shadows?.chance(0.01) === true) this.does({ type: 'ArmRun', by: 'operator' });
    if (relatives?.chance(0.1) === true) this.does(learnt(relatives));
    if (experts?.chance(0.15) === true) this.consults(experts);
    if (this.features?.chance(0.2) === true) this.#happens(this.features);
    const roll = random.next();
    if (roll < 0.06) this.again();
    else if (roll < 0.2) this.waits();
    else if (roll < 0.32) this.beats();
    else if (roll < 0.42) this.reports();
    else if (roll < 0.68) this.evaluates();
    else if (roll < 0.82) this.delivers();
    else if (roll < 0.83) this.presses();
    else if (roll < 0.97) this.governs();
    else if (roll < 0.975) this.does({ type: 'FinishRun', by: 'trainer' });
    else this.does({ type: 'Tick' });
  }

  /** Invariant 7. A press is attributed each time, and a proposal of the same words replaces the one before. */
  again(): void {
    const command = this.#last;
    if (command === null || command.type === 'OrderHalt' || command.type.startsWith('Propose')) return;
    if (command.type === 'NoteProgress') return;
    // The shell reads the earlier content from the views whenever it builds the command.
    const again =
      command.type === 'ReportCheckpoint' ? { ...command, priorDigest: command.contentDigest } : command;
    const events = this.does(again);
    if (events !== null && events.length > 0) {
      throw new Error(`invariant 7: ${command.type} again led to ${events.map(({ kind }) => kind)}`);
    }
  }

  waits(): void {
    const { random } = this;
    const due = outstanding(this.run, this.policy).map(({ notBeforeMs }) => notBeforeMs);
    const next = due.length === 0 ? this.nowMs : Math.min(...due);
    const step = random.pick([0, 1000, 60_000, 3_600_000, 36_000_000, 90_000_000]);
    this.nowMs = random.chance(0.5) ? Math.max(this.nowMs, next) : this.nowMs + step;
    this.does({ type: 'Tick' });
  }

  beats(): void {
    const { random } = this;
    const permit = permitTerms(this.run);
    const room = permit.granted ? Number(permit.ceiling) : this.at;
    if (permit.granted && random.chance(0.8)) this.at += (room - this.at) * random.next();
    else if (random.chance(0.15)) this.at *= random.between(1, 1.5);
    const effectiveCompute = compute(Number(this.at.toPrecision(6)));
    const advanced = this.#advances(effectiveCompute);
    // The service sends on only what may matter: the side columns can be ahead of every event.
    if (random.chance(0.7)) this.does({ type: 'NoteProgress', effectiveCompute, advanced });
    else this.does({ type: 'Tick' });
  }

  #advances(effectiveCompute: Compute): boolean {
    const advanced =
      this.progress === null || compareCompute(effectiveCompute, this.progress.effectiveCompute) > 0;
    if (advanced) this.progress = { effectiveCompute, at: new Date(this.nowMs) };
    return advanced;
  }

  reports(): void {
    const { random } = this;
    // Who was told to stop may still report, but not at every turn.
    if (!permitTerms(this.run).granted && random.chance(0.8)) return;
    const repeat = random.chance(0.15) && this.#checkpoints > 0;
    const ordinal = repeat ? 1 + random.below(this.#checkpoints) : this.#checkpoints + 1;
    if (!repeat) this.#checkpoints += 1;
    const checkpointId = `c${ordinal}`;
    const earlier = this.events.find(
      (event) => event.kind === 'CheckpointReported' && event.data.checkpointId === checkpointId,
    );
    const prior = earlier?.kind === 'CheckpointReported' ? earlier.data : null;
    const same = prior !== null && random.chance(0.5);
    const at = Number((this.at * random.pick([1, 1, 1, 0.5, 1.05])).toPrecision(6));
    this.does({
      type: 'ReportCheckpoint',
      checkpointId,
      effectiveCompute: same ? prior.effectiveCompute : compute(at),
      step: null,
      correlationId: 'corr',
      modelUri: 's3://weights/x',
      endpoint: null,
      evaluate: random.chance(0.3),
      contentDigest: same ? prior.contentDigest : digest(`${checkpointId} ${at}`),
      priorDigest: prior?.contentDigest ?? null,
      ...this.#told(),
      by: 'trainer',
    });
  }

  #happens(random: Random): void {
    const { run: state, policy, at, nowMs } = this;
    const command = featureCommand(random, { state, policy, at, nowMs, result: this.#result(random) });
    if (command === null) return;
    if (command.type === 'NoteTrainingStage') this.#advances(command.effectiveCompute);
    this.does(command);
  }

  /** What a checkpoint may say beside its compute. */
  #told(): { efficiencyMultiplier?: number; ancestry?: Ancestry } & ReportedBeside {
    const { relatives, features, at, policy } = this;
    const beside = features === null ? {} : reportedBeside(features, { at, policy });
    if (relatives === null) return beside;
    return {
      ...beside,
      ...(relatives.chance(0.3) ? { efficiencyMultiplier: relatives.pick([1, 2, 2, 2]) } : {}),
      ...(relatives.chance(0.1) ? { ancestry: drawnAncestry(relatives) } : {}),
    };
  }

  evaluates(): void {
    const { random } = this;
    const all = this.run.checkpoints.flatMap(({ evaluations }) => evaluations);
    if (all.length === 0) return;
    const waiting = all.filter(({ attempts }) => attempts.at(-1)?.reading === null);
    const { evaluationId, attempts } = random.pick(waiting.length > 0 && random.chance(0.8) ? waiting : all);
    const attempt = random.chance(0.85) ? attempts.length : 1 + random.below(attempts.length);
    const act = random.next();
    const one = { evaluationId, attempt };
    if (act < 0.12) this.does({ type: 'StartEvaluation', ...one, instance: 'w1' });
    else if (act < 0.16) this.does({ type: 'NoteDispatched', ...one });
    else if (act < 0.2) this.does({ type: 'ReturnAttempt', ...one, instance: 'w1', reason: 'shutdown' });
    else if (act < 0.26) {
      const result = random.chance(0.3) ? { score: random.next(), n: 500, status: 'success' } : null;
      this.does({ type: 'FailAttempt', ...one, reason: 'exit-nonzero', detail: null, result });
    } else if (act < 0.3) this.does({ type: 'RetryEvaluation', evaluationId, by: 'operator' });
    else {
      const result = this.#result();
      this.does({
        type: 'RecordResult',
        ...one,
        result,
        resultDigest: digest(JSON.stringify(result)),
        by: 'evaluator',
      });
    }
  }

  #result(random = this.random): Record<string, string | number> {
    const bad = random.next();
    if (bad < 0.05) return { status: 'error' };
    if (bad < 0.08) return { status: 'success', score: 'NaN', n: 500 };
    if (bad < 0.1) return { status: 'success', score: random.next(), n: 5 };
    const score = random.chance(0.93) ? random.between(0, 0.3) : random.between(0.3, 1);
    return { status: 'success', score: Number(score.toFixed(3)), n: random.pick([100, 1000, 20_000]) };
  }

  delivers(): void {
    const { random } = this;
    const { halt, alerts } = this.run;
    const alert = alerts.at(0);
    if (alert !== undefined && random.chance(0.4)) {
      const { channel, attempts } = random.pick(alert.channels);
      this.does({
        type: 'RecordAlertDelivery',
        alertId: alert.alertId,
        channel,
        attempt: attempts + random.pick([0, 1, 1]),
        outcome: random.pick(['delivered', 'retry', 'rejected']),
        reason: 'r',
      });
    }
    if (halt === null) return;
    const { haltId, round } = halt;
    const act = random.next();
    const { targetId, steps } = random.pick(halt.targets);
    if (act < 0.5) {
      const { step, attempts } = random.pick(steps);
      const outcome = random.pick(['accepted', 'retry', 'rejected'] as const);
      const attempt = attempts + random.pick([0, 1, 1, 1]);
      this.does({ type: 'RecordHaltStep', haltId, targetId, round, step, attempt, outcome, detail: 'd' });
    } else if (act < 0.75) {
      const said = random.pick(['received', 'stopped'] as const);
      this.does({
        type: 'AcknowledgeHalt',
        orchestrator: false,
        haltId,
        state: said,
        claimedAt: null,
        by: 'trainer',
      });
    } else if (act < 0.9) {
      const seen = round - (random.chance(0.1) ? 1 : 0);
      this.does({ type: 'RecordStopObserved', haltId, targetId, round: seen, detail: 'gone' });
    }
  }

  presses(): void {
    const { random } = this;
    const action = random.pick(['halt', 'halt', 'quarantine'] as const);
    this.does({ type: 'OrderHalt', action, reason: 'doubt', group: 'board', by: 'bea' });
  }

  governs(): void {
    const { random, run } = this;
    const open = run.proposals.find(({ status }) => status === 'open');
    if (open === undefined || random.chance(0.05)) {
      this.proposes(random.pick([{}, {}, { levels: { cyber: 2 } }, { ceiling: compute(1e21) }]));
      return;
    }
    const proposal = random.chance(0.9) ? open : random.pick(run.proposals);
    const [by, groups] = random.pick([...MEMBERSHIPS]);
    const group = random.chance(0.9) && groups.length > 0 ? random.pick(groups) : 'leadership';
    this.does({
      type: 'SignOff',
      proposalId: proposal.proposalId,
      digest: random.chance(0.95) ? proposal.digest : 'other',
      decision: random.pick(['approve', 'approve', 'approve', 'approve', 'dissent', 'veto']),
      group,
      justification: 'read',
      by,
      groups,
    });
  }

  proposes(terms: { levels?: Record<string, number>; ceiling?: ReturnType<typeof compute> }): void {
    const haltId = this.run.halt?.haltId ?? null;
    const said = { haltId, rationale: 'r', by: 'operator' };
    if (isQuarantined(this.run)) this.does({ type: 'ProposeRelease', ...said });
    else this.does({ type: 'ProposeResume', ...said, terms });
  }

  consults(experts: Random): void {
    const categories = this.policy.categories.map(({ id }) => id);
    this.does(expertActs(experts, this.run, categories));
  }

  /** Everybody who must approve does: the run goes on, whatever the walk left behind. */
  heals(): void {
    this.does({ type: 'ArmRun', by: 'operator' });
    this.does({ type: 'Tick' });
    if (this.run.finishedAt !== null) return;
    this.#agrees();
    // A policy that halts what is overdue may find the run so as soon as it goes on; it is asked for once more.
    if (this.run.halt?.causes.every(isOverdue) === true) this.#agrees();
    // What was let go on spends the risk budget, and a checkpoint beyond it may then not fit: each takes its own sign-offs.
    for (const _ of this.run.checkpoints) if (this.#isHeldByBudget()) this.#agrees();
    // Far past what the waived checkpoint cleared, the next one is overdue at once: reporting it lifts that hold.
    if (this.run.holds.length > 0 && this.run.holds.every(({ key }) => key === 'overdue')) this.#reportsDue();
    const permit = permitTerms(this.run);
    if (!permit.granted) throw new Error(`liveness: still ${permit.reason} after every approval`);
  }

  #isHeldByBudget(): boolean {
    const { holds } = this.run;
    return (
      holds.length > 0 && holds.every(({ findings }) => findings.every(({ kind }) => kind === 'risk-budget'))
    );
  }

  #agrees(): void {
    // A release from quarantine lets nothing go on by itself.
    for (let i = 0; i < 2 && !permitTerms(this.run).granted; i += 1) {
      this.proposes({});
      const open = this.run.proposals.find(({ status }) => status === 'open');
      if (open === undefined) throw new Error('liveness: a stopped run for which nothing can be proposed');
      for (const group of this.policy.governance.resume.approvals) {
        const { proposalId, digest: signed } = open;
        const by =
          [...MEMBERSHIPS].find(([name, groups]) => groups.includes(group) && name !== 'cai')?.[0] ?? '';
        const sign = { type: 'SignOff' as const, proposalId, digest: signed, decision: 'approve' as const };
        this.does({ ...sign, group, justification: 'healed', by, groups: MEMBERSHIPS.get(by) ?? [] });
      }
    }
  }

  #reportsDue(): void {
    const { computeHigh, ceiling } = this.run;
    this.does({
      type: 'ReportCheckpoint',
      checkpointId: 'healed',
      effectiveCompute: this.progress?.effectiveCompute ?? computeHigh ?? ceiling,
      step: null,
      correlationId: 'corr',
      modelUri: 's3://weights/x',
      endpoint: null,
      evaluate: false,
      contentDigest: 'healed',
      priorDigest: null,
      by: 'trainer',
    });
  }

  finallyAgrees(): void {
    const same = (a: object, b: object): boolean => isDeepStrictEqual(asJson(a), asJson(b));
    if (!same(evolveAll(null, this.events), this.run)) {
      throw new Error(
        'invariant 10: the events as decided fold to another state than the events as read back',
      );
    }
    if (!same(RunStateSchema.parse(asJson(this.run)), this.run)) throw new Error('the state has no schema');
    if (JSON.stringify(this.run).length > 2_000_000) throw new Error('the state is not bounded');
  }
}

export function walk(seed: number, steps: number): Walk {
  const walked = new Walk(seed);
  try {
    walked.register();
    for (let i = 0; i < steps; i += 1) walked.step();
    walked.heals();
    walked.finallyAgrees();
  } catch (error) {
    const told = [`seed ${seed}, after ${walked.events.length} events`, walked.checkers.summary];
    const tail = [
      ...walked.log.slice(-12),
      walked.events
        .slice(-8)
        .map(({ kind }) => kind)
        .join(' '),
    ];
    throw new Error([...told, ...tail, String(error)].join('\n'), { cause: error });
  }
  return walked;
}
