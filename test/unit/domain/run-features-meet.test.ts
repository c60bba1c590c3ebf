/**
 * Whatever happens in whatever order to a run whose policy uses everything at once: tiers, a changed protocol, a matrix, a control,
 * closing in, replicas, budgets, outside findings, stages, breakthroughs, exchanged weights, halts and resumes.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assertNever } from '../../../src/domain/assert-never.ts';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { compute } from '../../../src/domain/compute.ts';
import type { Policy } from '../../../src/domain/policy/schema.ts';
import { isRejection } from '../../../src/domain/run/context.ts';
import { type Command, decide } from '../../../src/domain/run/decide.ts';
import { currentAttempt, isPending, specOf, statusOf } from '../../../src/domain/run/evaluation.ts';
import type { RunEvent } from '../../../src/domain/run/events.ts';
import { BASE_POLICY, checkpoint, evaluation, policyOf, RunLife, success } from './run-life.ts';

const quick = { tier: 'tripwire', executor: { kind: 'http', mode: 'callback', timeout: '10m', attempts: 2 } };
const { levels: _levels, ...bare } = evaluation('benign', 'cyber');
const REFERENCE = { evidence: 'x', approvedBy: ['leadership', 'safety'] };

const policies = [true, false].map((isStrict) =>
  policyOf({
    evaluations: [
      evaluation('ctf', 'cyber', {
        closingIn: { attempts: 3, within: '3h' },
        replicas: [{ kind: 'command', command: ['true'], timeout: '2h', attempts: 1 }],
      }),
      evaluation('ctf-v2', 'cyber', {
        succeeds: { evaluation: 'ctf', from: '1.5e22' },
        matrix: { seed: [1, 2] },
      }),
      evaluation('ctf-quick', 'cyber', { ...quick, closingIn: {} }),
      { ...bare, ...quick, benignControl: { atLeast: 0.8 } },
      evaluation('labs', 'bio', {
        budget: { attempts: 5, wallTime: '4h' },
        topUps: 2,
        replicas: [{ kind: 'outside', party: 'institute', timeout: '5h', attempts: 1 }],
      }),
      evaluation('labs-quick', 'bio', quick),
      evaluation('after', 'bio', { stage: 'post-mitigation', required: false }),
    ],
    rules: [
      ...(Array.isArray(BASE_POLICY['rules']) ? BASE_POLICY['rules'] : []),
      { id: 'leap', kind: 'jump', stage: 'pre-mitigation', above: 1, then: ['hold'] },
      {
        id: 'two',
        kind: 'compound',
        stage: 'pre-mitigation',
        of: 'evaluations',
        atLeast: 'medium',
        then: ['hold'],
      },
      { id: 'outside', kind: 'outside-finding', atLeast: 'medium', then: ['hold'] },
    ],
    halt: { confirmWithin: '2m', evaluations: isStrict ? 'stop' : 'continue' },
    ...(isStrict ? {} : { tiers: { tripwireClears: { belowLevel: 'medium', reference: REFERENCE } } }),
  }),
);

const DOES = {
  report: 3,
  ask: 1,
  tripwires: 1,
  result: 5,
  all: 4,
  late: 1,
  start: 1,
  fail: 1,
  return: 1,
  wait: 2,
  press: 1,
  resume: 1,
  scope: 1,
  retry: 1,
  weights: 1,
  finding: 1,
  stage: 1,
  breakthrough: 1,
  doubt: 1,
} as const;
type Doing = keyof typeof DOES;
const doing = fc.constantFrom(
  ...Object.entries(DOES).flatMap(([name, weight]) => Array.from({ length: weight }, () => name as Doing)),
);
const step = fc.record({
  does: doing,
  pick: fc.nat(999),
  score: fc.constantFrom(0.05, 0.1, 0.1, 0.1, 0.12, 0.19, 0.3, 0.47, 0.47, 0.55),
  n: fc.constantFrom(150, 1000, 4000),
  odd: fc.nat(9),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

const WAITS = ['1m', '10m', '1h', '3h', '7h'];

class Meeting {
  readonly run: RunLife;
  #serial = 0;
  /** What the latest command led to. */
  #latest: readonly RunEvent[] = [];

  constructor(policy: Policy) {
    this.run = new RunLife(policy, { checked: false });
    this.run.register();
    const grant = {
      party: 'institute',
      checkpoints: 'all',
      endpoint: null,
      compute: false,
      expiresAt: null,
    } as const;
    this.run.does({ type: 'GrantOutside', ...grant, by: 'operator' });
    this.run.report('c0', '1e22');
    this.all(0.1);
  }

  get evaluations() {
    return this.run.state.checkpoints.flatMap(({ evaluations }) => evaluations);
  }

  send(command: Command): void {
    const decided = this.run.command(command);
    this.#latest = isRejection(decided) ? [] : decided;
    this.#mustHold();
  }

  report(times: number, more: Parameters<typeof checkpoint>[2]): void {
    const { lastCleared } = this.run.state;
    const at = lastCleared === null ? 1e22 : Number(lastCleared.effectiveCompute) * times;
    this.#serial += 1;
    this.send(checkpoint(`c${this.#serial}`, String(at), more));
  }

  says(
    evaluationId: string,
    attempt: number,
    score: number,
    { n = 1000, odd = 9 }: Partial<Step> = {},
  ): void {
    const evaluation = this.evaluations.find((each) => each.evaluationId === evaluationId)?.evaluation;
    this.#serial += 1;
    const value = evaluation === 'benign' ? (odd < 2 ? 0.3 : 0.9) : score + (this.#serial % 7) * 1e-4;
    const result: JsonObject = odd === 0 ? { status: 'error', error: `e${this.#serial}` } : success(value, n);
    const word = { evaluationId, attempt, result, resultDigest: `r${this.#serial}` };
    this.send({ type: 'RecordResult', ...word, by: 'institute' });
  }

  /** Whatever is on its way comes, and says this. */
  all(score: number): void {
    for (let i = 0; i < 40; i += 1) {
      const next = this.evaluations.find(isPending);
      if (next === undefined) return;
      this.says(next.evaluationId, currentAttempt(next).attempt, score);
    }
  }

  do({ does, pick, score, n, odd }: Step): void {
    const { run } = this;
    const pending = this.evaluations.filter(isPending);
    const waiting = pending[pick % Math.max(1, pending.length)];
    const any = this.evaluations[pick % Math.max(1, this.evaluations.length)];
    const start = (instance = 'i') => {
      if (waiting === undefined) return null;
      const about = { evaluationId: waiting.evaluationId, attempt: currentAttempt(waiting).attempt };
      this.send({ type: 'StartEvaluation', ...about, instance });
      return about;
    };
    switch (does) {
      case 'report':
        this.report(2 + (pick % 10) / 100, {});
        break;
      case 'ask':
      case 'tripwires':
        this.report(1 + (pick % 90) / 100, { evaluate: true, tripwiresOnly: does === 'tripwires' });
        break;
      case 'result':
        if (waiting !== undefined)
          this.says(waiting.evaluationId, currentAttempt(waiting).attempt, score, { n, odd });
        break;
      case 'all':
        this.all(0.1);
        break;
      case 'late':
        if (any !== undefined) this.says(any.evaluationId, any.attempts[0]?.attempt ?? 1, score, { n, odd });
        break;
      case 'start': {
        const about = start();
        if (about !== null && odd < 3) this.send({ type: 'NoteDispatched', ...about });
        break;
      }
      case 'fail': {
        const about = start();
        const result = odd === 1 ? success(score, n) : null;
        if (about !== null)
          this.send({ type: 'FailAttempt', ...about, reason: 'exit-nonzero', detail: null, result });
        break;
      }
      case 'return': {
        const about = start();
        if (about !== null) this.send({ type: 'ReturnAttempt', ...about, instance: 'i', reason: 'shutdown' });
        break;
      }
      case 'wait':
        run.wait(WAITS[pick % WAITS.length] ?? '1m');
        this.send({ type: 'Tick' });
        break;
      case 'press': {
        const action = odd === 0 ? 'quarantine' : 'halt';
        if (odd < 3) this.send({ type: 'OrderHalt', action, reason: 'x', group: 'safety', by: 'ann' });
        break;
      }
      case 'resume':
        if (run.state.halt !== null || run.state.holds.length > 0) run.resume();
        this.#latest = [];
        this.#mustHold();
        break;
      case 'scope':
        if (run.state.halt === null || run.state.halt.action === 'quarantine') return;
        if (isRejection(run.command({ ...work(run), haltId: run.state.halt.haltId }))) return;
        run.signed();
        break;
      case 'retry':
        if (any !== undefined)
          this.send({ type: 'RetryEvaluation', evaluationId: any.evaluationId, by: 'operator' });
        break;
      case 'weights': {
        const found = run.state.checkpoints[pick % Math.max(1, run.state.checkpoints.length)];
        const digest = `sha256:${(odd === 0 ? 'b' : 'a').repeat(64)}`;
        const about = { digest, files: 1, bytes: 1, fingerprint: String(odd) };
        if (found !== undefined)
          this.send({ type: 'NoteWeights', checkpointId: found.checkpointId, ...about });
        break;
      }
      case 'finding':
        if (odd < 2) this.#finds((['low', 'medium', 'high'] as const)[pick % 3] ?? 'low');
        break;
      case 'stage': {
        const effectiveCompute = run.state.computeHigh ?? compute('1e21');
        const stage = { name: pick % 2 === 0 ? 'rl' : 'fine-tuning' };
        this.send({ type: 'NoteTrainingStage', stage, effectiveCompute, by: 'trainer' });
        break;
      }
      case 'breakthrough': {
        this.#serial += 1;
        const about = {
          breakthroughId: `b${this.#serial}`,
          reason: 'x',
          contentDigest: 'x',
          priorDigest: null,
        };
        this.send({ type: 'DeclareBreakthrough', ...about, by: 'trainer' });
        break;
      }
      case 'doubt': {
        if (any === undefined || odd > 2) return;
        const about = { evaluationId: any.evaluationId, attempt: currentAttempt(any).attempt };
        this.send({
          type: 'FailAttempt',
          ...about,
          reason: 'x',
          detail: null,
          result: success(score, n),
        });
        break;
      }
      default:
        assertNever(does);
    }
  }

  #finds(severity: 'low' | 'medium' | 'high'): void {
    this.#serial += 1;
    const signed = {
      messageId: 'm',
      timestamp: '1',
      signature: 's',
      publicKeys: [],
      bodyDigest: `b${this.#serial}`,
    };
    const about = {
      checkpointId: null,
      category: null,
      title: null,
      evidenceUri: null,
      signed,
      priorDigest: null,
    };
    const named = { party: 'institute', findingId: `f${this.#serial}`, severity };
    this.send({ type: 'SubmitOutsideFinding', ...named, ...about });
  }

  #mustHold(): void {
    const { run } = this;
    const { state } = run;
    for (const { attempts, evaluation: name } of this.evaluations) {
      const before = attempts.slice(0, -1).map(({ state: each }) => each);
      expect(before.filter(isOpen), `${name}: one attempt at a time`).toEqual([]);
    }
    const due = run.work.filter(({ notBeforeMs }) => notBeforeMs <= run.now.getTime());
    for (const { kind, ids } of due) {
      if ((kind !== 'evaluate' && kind !== 'dispatch') || ids['call'] !== undefined) continue;
      const about = { evaluationId: String(ids['evaluationId']), attempt: Number(ids['attempt']) };
      const started = decide(state, { type: 'StartEvaluation', ...about, instance: 'x' }, run.context);
      expect(isRejection(started) ? started.rejected : null, 'what is outstanding can begin').toBeNull();
    }
    if (due.some(({ kind }) => kind === 'tick')) {
      expect(decide(state, { type: 'Tick' }, run.context), 'a deadline has passed for something').not.toEqual(
        [],
      );
    }
    if (state.halt !== null || state.holds.length > 0) expect(run.permit.granted).toBe(false);
    for (const { closed, due: isDue, evaluations } of state.checkpoints) {
      if (closed?.verdict !== 'proceed' || !isDue || closed.findings.some(({ waived }) => waived)) continue;
      const required = evaluations.filter(
        ({ evaluation: name, beside }) => beside === undefined && specOf(run.policy, name).required,
      );
      expect(
        required.map(statusOf).filter((status) => status !== 'completed' && status !== 'not-needed'),
      ).toEqual([]);
    }
    const isPressed = this.#latest.some(
      ({ kind, data }) => kind === 'HaltOrdered' && 'cause' in data && data.cause.kind === 'person',
    );
    if (isPressed) expect(this.evaluations.filter(isPending), 'a press stops every job').toEqual([]);
  }
}

const isOpen = (state: string): boolean =>
  ['queued', 'running', 'awaiting-callback', 'deferred'].includes(state);
const work = (_run: RunLife) =>
  ({ type: 'ProposeScopedResume', rationale: 'to look', by: 'operator' }) as const;

describe('features that meet', () => {
  it('keep one attempt at a time, nothing outstanding that cannot begin, no deadline in the past, and no permit beside a hold', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...policies),
        fc.array(step, { minLength: 10, maxLength: 40 }),
        (policy, steps) => {
          const meeting = new Meeting(policy);
          for (const each of steps) meeting.do(each);
        },
      ),
      { numRuns: 12 },
    );
  }, 120_000);
});
