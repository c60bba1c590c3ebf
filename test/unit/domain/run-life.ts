/**
 * One run's life on the real decide and evolve, with simulated time. Every decision is checked on the way:
 * its events survive the ledger (canonical JSON, parseRunEvent), the state survives its schema, every
 * judgement is rechecked from the state before it, and what should be in the queue can be computed.
 */
import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { expect } from 'vitest';
import { canonicalJson, type Json, type JsonObject } from '../../../src/domain/canonical-json.ts';
import { type Compute, compareCompute, compute } from '../../../src/domain/compute.ts';
import { durationMs } from '../../../src/domain/duration.ts';
import { checkPolicy } from '../../../src/domain/policy/check.ts';
import type { Policy } from '../../../src/domain/policy/schema.ts';
import type { ReportCheckpoint } from '../../../src/domain/run/checkpoint.ts';
import { type Context, isRejection, type Rejection } from '../../../src/domain/run/context.ts';
import { type Command, decide } from '../../../src/domain/run/decide.ts';
import type { GiveEstimate, OpenEstimateRound } from '../../../src/domain/run/estimates.ts';
import {
  parseRunEvent,
  type RunEvent,
  type RunEventData,
  type RunEventKind,
} from '../../../src/domain/run/events.ts';
import { evolve } from '../../../src/domain/run/evolve.ts';
import type { ProposeResume, SignOff } from '../../../src/domain/run/governance.ts';
import { outstanding, type WorkItem } from '../../../src/domain/run/outstanding.ts';
import { type PermitTerms, permitTerms } from '../../../src/domain/run/permit.ts';
import type { Proposal } from '../../../src/domain/run/proposal-documents.ts';
import type { ProposeRelease, ProposeScopedResume } from '../../../src/domain/run/propose.ts';
import { isQuarantined } from '../../../src/domain/run/quarantine.ts';
import { recheck } from '../../../src/domain/run/recheck.ts';
import type { RegisterRun } from '../../../src/domain/run/registration.ts';
import { type RunState, RunStateSchema } from '../../../src/domain/run/state.ts';

export const digest = (text: string): string => createHash('sha256').update(text).digest('hex');

export const asJson = (value: object): JsonObject => JSON.parse(JSON.stringify(value));

/** Every evaluation measures a share: chance 0, Medium from 0.2, High from 0.5, Critical from 0.8. */
export function evaluation(id: string, category: string, more: JsonObject = {}): JsonObject {
  return {
    id,
    category,
    stage: 'pre-mitigation',
    executor: { kind: 'http', mode: 'callback', timeout: '1h', attempts: 2 },
    score: { metric: 'accuracy', kind: 'proportion', chance: 0, best: 1, minSamples: 100 },
    levels: { medium: 0.2, high: 0.5, critical: 0.8 },
    ...more,
  };
}

export const BASE_POLICY: JsonObject = {
  policy: 'test',
  title: 'Test',
  cadence: {
    ratio: 2,
    grace: 0.1,
    firstCheckpointBy: 1e22,
    maxInterval: '90d',
    scorecardDeadline: '10h',
    holdDeadline: '20h',
  },
  permit: { ttl: '30m', heartbeatInterval: '30s' },
  halt: { confirmWithin: '2m' },
  categories: [
    { id: 'cyber', title: 'Cybersecurity' },
    { id: 'bio', title: 'Biology' },
  ],
  evaluations: [evaluation('ctf', 'cyber'), evaluation('labs', 'bio')],
  rules: [
    { id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] },
    { id: 'critical', kind: 'level', stage: 'pre-mitigation', atLeast: 'critical', then: ['quarantine'] },
    {
      id: 'not-ruled-out',
      kind: 'level',
      basis: 'upper',
      stage: 'pre-mitigation',
      atLeast: 'high',
      then: ['hold'],
    },
  ],
  governance: {
    groups: ['preparedness', 'safety', 'leadership', 'board'],
    resume: { approvals: ['leadership', 'safety'], vetoes: ['board'] },
  },
  alerts: ['oncall'],
};

export function policyOf(changes: JsonObject = {}): Policy {
  const check = checkPolicy({ ...BASE_POLICY, ...changes });
  if (!check.ok) throw new Error(JSON.stringify(check.problems));
  return check.policy;
}

export function success(score: number, n = 1000): JsonObject {
  return { status: 'success', score, n };
}

export const WEBHOOK_TARGET = {
  targetId: 't1',
  kind: 'webhook',
  config: {},
  ladder: [{ step: 'webhook', afterMs: 0, retryMs: [500, 1000], resendMs: [30_000] }],
  confirmation: 'acknowledged' as const,
};
export const PROCESS_TARGET = {
  targetId: 't2',
  kind: 'process',
  config: { pid: 1 },
  ladder: [
    { step: 'sigterm', afterMs: 0, retryMs: [500], resendMs: [] },
    { step: 'sigkill', afterMs: 10_000, retryMs: [500], resendMs: [5_000] },
  ],
  confirmation: 'observed' as const,
};

/** As `toEqual`, and many times as fast while it holds. */
function same(a: object, b: object): void {
  if (!isDeepStrictEqual(a, b)) expect(a).toEqual(b);
}

const isKind = <K extends RunEventKind>(
  event: RunEvent,
  kind: K,
): event is RunEvent & { kind: K; data: RunEventData<K> } => event.kind === kind;

function dataOf<K extends RunEventKind>(event: RunEvent, kind: K): RunEventData<K>[] {
  return isKind(event, kind) ? [event.data] : [];
}

export class RunLife {
  readonly policy: Policy;
  readonly events: RunEvent[] = [];
  now = new Date('2026-11-01T00:00:00.000Z');
  progress: Context['progress'] = null;
  #state: RunState | null = null;
  readonly #checked: boolean;

  /** `checked: false` for properties, which live many lives: only the commands are real. */
  constructor(policy: Policy = policyOf(), { checked = true } = {}) {
    this.policy = policy;
    this.#checked = checked;
  }

  get state(): RunState {
    if (this.#state === null) throw new Error('not registered');
    return this.#state;
  }

  get context(): Context {
    return { now: this.now, policy: this.policy, digest, progress: this.progress };
  }

  get permit(): PermitTerms {
    return permitTerms(this.state);
  }

  get work(): WorkItem[] {
    return outstanding(this.state, this.policy);
  }

  wait(duration: string): this {
    this.now = new Date(this.now.getTime() + durationMs(duration));
    return this;
  }

  /** The decision, recorded unless it is a refusal. */
  command(command: Command): readonly RunEvent[] | Rejection {
    const decision = decide(this.#state, command, this.context);
    // What is remembered of parts that did not change must be what somebody who remembers nothing works out.
    if (this.#checked) same(decide(structuredClone(this.#state), command, this.context), decision);
    if (!isRejection(decision)) this.#record(decision);
    return decision;
  }

  /** The kinds of the events that a command led to; a refusal fails the test. */
  does(command: Command): RunEventKind[] {
    const decision = this.command(command);
    if (isRejection(decision)) throw new Error(`refused: ${JSON.stringify(decision.rejected)}`);
    return decision.map(({ kind }) => kind);
  }

  refuses(command: Command): Rejection['rejected'] {
    const decision = this.command(command);
    if (!isRejection(decision)) throw new Error(`not refused: ${decision.map(({ kind }) => kind)}`);
    return decision.rejected;
  }

  /** The data of the latest event of a kind. */
  last<K extends RunEventKind>(kind: K): RunEventData<K> {
    const found = this.events.flatMap((event) => dataOf(event, kind)).at(-1);
    if (found === undefined) throw new Error(`no ${kind} yet`);
    return found;
  }

  count(kind: RunEventKind): number {
    return this.events.filter((event) => event.kind === kind).length;
  }

  #record(events: readonly RunEvent[]): void {
    for (const event of events) {
      if (!this.#checked) {
        this.#state = evolve(this.#state, event);
        this.events.push(event);
        continue;
      }
      const stored: JsonObject = JSON.parse(canonicalJson(asJson(event.data)));
      const read = parseRunEvent(event.kind, stored);
      same(asJson(read.data), stored);
      expect(recheck(this.#state, read, this.policy, digest)).toBeNull();
      // The shell stores the state folded from the events as decided; replay folds them as read back.
      const decided = evolve(this.#state, event);
      this.#state = evolve(this.#state, read);
      const { state } = this;
      same(decided, state);
      same(RunStateSchema.parse(asJson(state)), state);
      this.events.push(event);
    }
    if (this.#state !== null) this.work satisfies WorkItem[];
  }

  /** An event of another life, as it is. */
  takes(event: RunEvent): void {
    this.#record([event]);
  }

  // --- commands in a few words -------------------------------------------------------------------------

  register(more: Partial<RegisterRun> = {}): RunEventKind[] {
    return this.does(registration(more));
  }

  tick(): RunEventKind[] {
    return this.does({ type: 'Tick' });
  }

  report(checkpointId: string, effectiveCompute: number | string, more: Partial<ReportCheckpoint> = {}) {
    return this.does(checkpoint(checkpointId, effectiveCompute, more));
  }

  idOf(checkpointId: string, evaluationName: string, variant = 'default'): string {
    const found = this.events.flatMap((event) =>
      event.kind === 'CheckpointReported' && event.data.checkpointId === checkpointId
        ? event.data.evaluations
        : [],
    );
    const named = found.find((each) => each.evaluation === evaluationName && each.variant === variant);
    if (named === undefined)
      throw new Error(`checkpoint ${checkpointId} has no ${evaluationName}/${variant}`);
    return named.evaluationId;
  }

  attempts(checkpointId: string, evaluationName: string, variant = 'default') {
    const evaluationId = this.idOf(checkpointId, evaluationName, variant);
    return this.state.checkpoints
      .flatMap(({ evaluations }) => evaluations)
      .filter((each) => each.evaluationId === evaluationId)
      .flatMap(({ attempts }) => attempts);
  }

  resultCommand(name: string, result: Json, attempt?: number): Command {
    const [checkpointId = '', evaluationName = '', variant = 'default'] = name.split('/');
    const current = this.attempts(checkpointId, evaluationName, variant).at(-1)?.attempt ?? 1;
    return {
      type: 'RecordResult',
      evaluationId: this.idOf(checkpointId, evaluationName, variant),
      attempt: attempt ?? current,
      result,
      resultDigest: digest(canonicalJson(result)),
      by: 'evaluator',
    };
  }

  /** `result('c1/ctf', 0.3)`: a conclusive share, or any result in native form. */
  result(name: string, scoreOrResult: number | JsonObject, attempt?: number): RunEventKind[] {
    const result = typeof scoreOrResult === 'number' ? success(scoreOrResult) : scoreOrResult;
    return this.does(this.resultCommand(name, result, attempt));
  }

  /** Reports a checkpoint and all results; by default far below every threshold. */
  pass(checkpointId: string, effectiveCompute: number | string, score = 0.1): void {
    this.report(checkpointId, effectiveCompute);
    for (const { id, variants } of this.policy.evaluations) {
      for (const variant of variants) this.result(`${checkpointId}/${id}/${variant.id}`, score);
    }
  }

  /** A heartbeat as the service sends it on: the side columns first, then the command. */
  beat(effectiveCompute: number | string): RunEventKind[] {
    const value = compute(effectiveCompute);
    const before = this.progress?.effectiveCompute ?? null;
    const advanced = before === null || compareCompute(value, before) > 0;
    if (advanced) this.progress = { effectiveCompute: value, at: this.now };
    return this.does({ type: 'NoteProgress', effectiveCompute: value, advanced });
  }

  press(by = 'ann', group = 'safety', action: 'halt' | 'quarantine' = 'halt'): RunEventKind[] {
    return this.does({ type: 'OrderHalt', action, reason: 'doubt', group, by });
  }

  acknowledge(state: 'received' | 'stopped', by = 'trainer'): RunEventKind[] {
    const haltId = this.state.halt?.haltId ?? '';
    return this.does({ type: 'AcknowledgeHalt', orchestrator: false, haltId, state, claimedAt: null, by });
  }

  propose(
    terms: ProposeResume['terms'] = {},
    more: Partial<ProposeResume> = {},
  ): Extract<Proposal, { kind: 'resume' }> {
    this.does(this.proposal(terms, more));
    const open = this.openProposal;
    if (open.kind !== 'resume') throw new Error(`a ${open.kind} is open`);
    return open;
  }

  release(more: Partial<ProposeRelease> = {}): RunEventKind[] {
    const haltId = this.state.halt?.haltId ?? null;
    return this.does({ type: 'ProposeRelease', haltId, rationale: 'locked away', by: 'operator', ...more });
  }

  proposeWork(more: Partial<ProposeScopedResume> = {}): RunEventKind[] {
    const haltId = this.state.halt?.haltId ?? null;
    return this.does({ type: 'ProposeScopedResume', haltId, rationale: 'to look', by: 'operator', ...more });
  }

  signed(): RunEventKind[] {
    this.sign('lea', 'leadership');
    return this.sign('sam', 'safety');
  }

  proposal(terms: ProposeResume['terms'] = {}, more: Partial<ProposeResume> = {}): ProposeResume {
    const haltId = this.state.halt?.haltId ?? null;
    return { type: 'ProposeResume', haltId, terms, rationale: 'looked at', by: 'operator', ...more };
  }

  get openProposal(): Proposal {
    const open = this.state.proposals.find(({ status }) => status === 'open');
    if (open === undefined) throw new Error('no open proposal');
    return open;
  }

  signature(by: string, group: string, more: Partial<SignOff> = {}): SignOff {
    const { proposalId, digest: signed } = this.state.proposals.at(-1) ?? { proposalId: '', digest: '' };
    return {
      type: 'SignOff',
      proposalId,
      digest: signed,
      decision: 'approve',
      group,
      justification: 'read it',
      by,
      groups: [group],
      ...more,
    };
  }

  sign(by: string, group: string, decision: SignOff['decision'] = 'approve'): RunEventKind[] {
    return this.does(this.signature(by, group, { decision }));
  }

  /** Asks experts about a category, by default how likely Critical is; the id of the round. */
  ask(category = 'cyber', more: Partial<OpenEstimateRound> = {}): string {
    const stage = 'pre-mitigation';
    const asked = { category, stage, level: 'critical', closesAt: null, by: 'chair' } as const;
    this.does({ type: 'OpenEstimateRound', ...asked, ...more });
    return this.last('EstimateRoundOpened').roundId;
  }

  estimate(roundId: string, by: string, probability: number, more: Partial<GiveEstimate> = {}): GiveEstimate {
    const said = { quantiles: [], rationale: `${by} says why`, salt: digest(`${roundId} ${by}`) };
    return { type: 'GiveEstimate', roundId, by, probability, ...said, ...more };
  }

  /** Several experts answer one after the other: `{ ann: 0.1, bob: 0.3 }`. */
  answers(roundId: string, probabilities: Readonly<Record<string, number>>): void {
    for (const [by, p] of Object.entries(probabilities)) this.does(this.estimate(roundId, by, p));
  }

  closes(roundId: string): RunEventKind[] {
    return this.does({ type: 'CloseEstimateRound', roundId, by: 'chair' });
  }

  /** Proposes what the evidence asks for, and both groups approve. */
  resume(terms: ProposeResume['terms'] = {}): RunEventKind[] {
    if (isQuarantined(this.state)) {
      this.release();
      this.signed();
    }
    this.propose(terms);
    return this.signed();
  }
}

export function registration(more: Partial<RegisterRun> = {}): RegisterRun {
  return {
    type: 'RegisterRun',
    runId: 'r1',
    title: null,
    policyDigest: 'p',
    initialCompute: null,
    parents: [],
    sources: null,
    targets: [WEBHOOK_TARGET],
    labels: {},
    contentDigest: 'as-sent',
    by: 'trainer',
    operator: false,
    ...more,
  };
}

export function checkpoint(
  checkpointId: string,
  effectiveCompute: number | string,
  more: Partial<ReportCheckpoint> = {},
): ReportCheckpoint {
  const value: Compute = compute(effectiveCompute);
  return {
    type: 'ReportCheckpoint',
    checkpointId,
    effectiveCompute: value,
    step: null,
    correlationId: 'corr',
    modelUri: `s3://weights/${checkpointId}`,
    endpoint: null,
    evaluate: false,
    contentDigest: digest(`${checkpointId} ${value}`),
    priorDigest: null,
    by: 'trainer',
    ...more,
  };
}

export function registered(policy: Policy = policyOf(), more: Partial<RegisterRun> = {}): RunLife {
  const life = new RunLife(policy);
  life.register(more);
  return life;
}

/** What lets the party of outside evaluations see a run, and speak. */
export const grants = (more: object = {}) =>
  ({
    type: 'GrantOutside',
    party: 'institute',
    checkpoints: 'due',
    endpoint: null,
    compute: false,
    expiresAt: null,
    by: 'operator',
    ...more,
  }) as const;
