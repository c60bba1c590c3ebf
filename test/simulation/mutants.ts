/**
 * Mutations of the code that the simulation must catch, each by a checker of the invariant that it breaks: the proof
 * that the checkers bite. Applied in memory by mutant-hook.mjs. A passage that is no longer found is an error: choose
 * another one that breaks the same promise.
 */
import { readFile } from 'node:fs/promises';

export interface Mutant {
  readonly id: string;
  readonly invariant: number;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  readonly breaks: string;
}

export const MUTANTS: readonly Mutant[] = [
  {
    id: 'acknowledged-on-conflict',
    invariant: 1,
    file: 'src/service/run-service.ts',
    find: "      case 'version-conflict':\n        return 'conflict';",
    replace:
      "      case 'version-conflict':\n        return { outcome: 'recorded', state: after, policy, events: decision };",
    breaks: 'an append that lost its race is answered as if it had been recorded',
  },
  {
    id: 'acknowledged-unrecorded',
    invariant: 1,
    file: 'src/service/run-service.ts',
    find: 'const result = await ledger.append(append);',
    replace:
      "const result = await ledger.append(append).catch(() => ({ outcome: 'appended', version: 0, events: [] }));",
    breaks: 'a write that failed is answered as if it had not',
  },
  {
    id: 'stranger-reports',
    invariant: 1,
    file: 'src/domain/run/checkpoint.ts',
    find: 'if (state.sources !== null && !state.sources.includes(command.by)) {',
    replace: 'if (state.sources === undefined) {',
    breaks: 'a sender that is no source of the run moves it',
  },
  {
    id: 'ceiling-squared',
    invariant: 2,
    file: 'src/domain/run/checkpoint.ts',
    find: 'const earned = timesCompute(checkpoint.effectiveCompute, ratio, onePlus(grace));',
    replace: 'const earned = timesCompute(checkpoint.effectiveCompute, ratio, ratio, onePlus(grace));',
    breaks: 'a verdict earns two doublings',
  },
  {
    id: 'closed-before-evidence',
    invariant: 2,
    file: 'src/domain/run/assess.ts',
    find: '      late ||\n      checkpoint.evaluations.every',
    replace: '      true ||\n      checkpoint.evaluations.every',
    breaks: 'a checkpoint is cleared before its required evaluations are in',
  },
  {
    id: 'guard-without-ceiling',
    invariant: 2,
    file: 'clients/typescript/guard.ts',
    find: 'if (!atMost(toDecimal(compute), this.#held.permit.ceiling)) {',
    replace: 'if (compute === undefined) {',
    breaks: "the trainer's guard lets it train past its permit",
  },
  {
    id: 'guard-without-expiry',
    invariant: 2,
    file: 'clients/typescript/guard.ts',
    find: 'if (!(this.#remainingMs(this.#held) > 0))',
    replace: 'if (this.#held === undefined)',
    breaks: 'a permit never runs out',
  },
  {
    id: 'no-trip',
    invariant: 3,
    file: 'src/domain/run/decide.ts',
    find: '  expireAttempts,\n  orderHalts,\n',
    replace: '  expireAttempts,\n',
    breaks: 'evidence over a halting threshold orders no halt',
  },
  {
    id: 'trip-waits-for-all',
    invariant: 3,
    file: 'src/domain/run/halt.ts',
    find: 'const groups = state.checkpoints.map((checkpoint) => ({',
    replace:
      'const groups = state.checkpoints.filter((each) => assess(state, each, context.policy, context.now).complete).map((checkpoint) => ({',
    breaks: 'the first evidence waits for the other evaluations',
  },
  {
    id: 'permit-under-halt',
    invariant: 4,
    file: 'src/domain/run/permit.ts',
    find: "if (state.halt !== null) return { granted: false, reason: 'halted' };",
    replace: '',
    breaks: 'a halted run is granted a permit',
  },
  {
    id: 'permit-under-hold',
    invariant: 4,
    file: 'src/domain/run/permit.ts',
    find: "if (state.holds.length > 0) return { granted: false, reason: 'on-hold' };",
    replace: '',
    breaks: 'a held run is granted a permit',
  },
  {
    id: 'one-approval-will-do',
    invariant: 4,
    file: 'src/domain/run/governance.ts',
    find: 'return policy.governance.resume.approvals.filter((group) => !approving.has(group));',
    replace: 'return approving.size > 0 ? [] : policy.governance.resume.approvals;',
    breaks: 'one group resumes where several must agree',
  },
  {
    id: 'late-veto-ignored',
    invariant: 4,
    file: 'src/domain/run/governance.ts',
    find: "if (decision === 'veto' && proposal.status === 'executed') {",
    replace: "if (decision === 'veto' && proposal.status === undefined) {",
    breaks: 'a veto after the resume does not halt again',
  },
  {
    id: 'guard-forgets-halts',
    invariant: 4,
    file: 'clients/typescript/guard.ts',
    find: 'const [halt] = this.#memory.halts;',
    replace: 'const [halt] = this.#memory.halts.slice(this.#memory.halts.length);',
    breaks: 'the guard trains on under a halt that it received',
  },
  {
    id: 'halt-waits-for-the-sweep',
    invariant: 5,
    file: 'src/service/worker.ts',
    find: 'version, state: after, policy });\n        runNow(item);',
    replace: 'version, state: after, policy });\n        void item;',
    breaks: 'who orders a halt does not send it',
  },
  {
    id: 'never-escalates',
    invariant: 5,
    file: 'src/domain/run/decide.ts',
    find: '  takePages,\n  escalateHalt,\n];',
    replace: '  takePages,\n];',
    breaks: 'a halt that nobody confirms pages nobody again',
  },
  {
    id: 'word-is-enough',
    invariant: 5,
    file: 'src/domain/run/stop-evidence.ts',
    find: 'const isQuiet = quietAt === null || now.getTime() >= Date.parse(quietAt);',
    replace: 'const isQuiet = quietAt === null || now.getTime() >= 0;',
    breaks: "a trainer's word confirms its stop without silence after it",
  },
  {
    id: 'orchestrator-is-enough',
    invariant: 5,
    file: 'src/domain/run/stop-evidence.ts',
    find: 'const needsSilence = isContradicted || facts.doubtedAt !== null || !facts.targets.some(isObserved);',
    replace: 'const needsSilence = !facts.targets.some(isObserved);',
    breaks: "an orchestrator's word alone confirms, whatever heartbeats have shown",
  },
  {
    id: 'life-takes-nothing-back',
    invariant: 5,
    file: 'src/domain/run/confirmation.ts',
    find: 'if (word === null || isBeyondFlight(word, now)) return false;',
    replace: 'if (word === null) return false;',
    breaks: 'a heartbeat with more compute is taken for a late one, however long after the stop it comes',
  },
  {
    id: 'nothing-found-outstanding',
    invariant: 6,
    file: 'src/service/worker.ts',
    find: 'await ledger.dueStreams(now, DUE_STREAMS_MAX)',
    replace: '[]',
    breaks: 'what a wiped queue held is never offered again',
  },
  {
    id: 'second-attempts-forgotten',
    invariant: 6,
    file: 'src/domain/run/outstanding.ts',
    find: "if (state !== 'queued') return [];",
    replace: "if (state !== 'queued' || attempt > 1) return [];",
    breaks: 'a second attempt is outstanding nowhere but in the state',
  },
  {
    id: 'attempt-unfenced',
    invariant: 7,
    file: 'src/domain/run/evaluation.ts',
    find: "if (attempt.state !== 'queued' || attempt !== currentAttempt(located.evaluation)) {",
    replace: "if (attempt.state === 'reported') {",
    breaks: 'a job that is delivered twice runs twice',
  },
  {
    id: 'contradiction-accepted',
    invariant: 7,
    file: 'src/domain/run/evaluation.ts',
    find: 'if (attempt.resultDigest === command.resultDigest) return [];',
    replace: 'return [];',
    breaks: 'another result under the same attempt is acknowledged',
  },
  {
    id: 'repetition-refused',
    invariant: 7,
    file: 'src/domain/run/checkpoint.ts',
    find: 'if (prior === command.contentDigest) return [];',
    replace: '',
    breaks: 'the same checkpoint again is a conflict',
  },
  {
    id: 'missing-is-fine',
    invariant: 8,
    file: 'src/domain/run/assess.ts',
    find: "then: row.required ? hardened(policy, 'inconclusive', 'hold') : ['alert'],",
    replace: "then: ['alert'],",
    breaks: 'a required evaluation that never came holds nothing',
  },
  {
    id: 'silence-never-ends',
    invariant: 8,
    file: 'src/domain/run/decide.ts',
    find: '  expireAttempts,\n  orderHalts,\n',
    replace: '  orderHalts,\n',
    breaks: 'an evaluator that hangs is waited for without end',
  },
  {
    id: 'few-samples-will-do',
    invariant: 8,
    file: 'src/domain/native-result.ts',
    find: "if (samples.n < minSamples) reasons.push('too-few-samples');",
    replace: '',
    breaks: 'a result of five samples counts as conclusive',
  },
  {
    id: 'overrun-unseen',
    invariant: 8,
    file: 'src/domain/run/halt.ts',
    find: '    overrunFinding(state, context),\n',
    replace: '',
    breaks: 'compute above the ceiling does not halt',
  },
  {
    id: 'permit-past-deadline',
    invariant: 8,
    file: 'src/service/heartbeats.ts',
    find: 'const isPast = deadlineMs !== null && deadlineMs <= clock().getTime();',
    replace: 'const isPast = deadlineMs === undefined;',
    breaks: 'a permit is renewed past a deadline that no worker has looked at',
  },
  {
    id: 'button-only-once',
    invariant: 9,
    file: 'src/domain/run/halt.ts',
    find: '  const { by, group, reason, action, pressId } = command;\n',
    replace:
      "  const { by, group, reason, action, pressId } = command;\n  if (state.halt !== null) return reject('conflict', 'halted already');\n",
    breaks: 'the button is refused while the run is halted',
  },
  {
    id: 'jobs-run-on',
    invariant: 9,
    file: 'src/service/worker.ts',
    find: "if (event.kind === 'EvaluationsCancelled') cancelJobs(event.data);",
    replace: "if (event.kind === 'EvaluationsCancelled') void cancelJobs;",
    breaks: 'evaluation jobs run on after the button',
  },
  {
    id: 'button-waits-for-the-sweep',
    invariant: 9,
    file: 'src/service/worker.ts',
    find: "const urgent = item.kind === 'halt-step' || item.kind === 'observe';",
    replace: 'const urgent = false;',
    breaks: 'what the button ordered is not sent at once',
  },
  {
    id: 'state-beside-the-ledger',
    invariant: 10,
    file: 'src/service/run-service.ts',
    find: 'state: plainJson(after)',
    replace: "state: plainJson({ ...after, title: 'not from any event' })",
    breaks: 'the stored state holds what no event said',
  },
  {
    id: 'hold-for-another-reason',
    invariant: 10,
    file: 'src/domain/run/holds.ts',
    find: "{ kind: 'HoldPlaced', data: { holdId, key: cause.key, findings,",
    replace:
      "{ kind: 'HoldPlaced', data: { holdId, key: cause.key, findings: findings.map((each) => ({ ...each, threshold: 9 })),",
    breaks: 'a hold is recorded with figures that do not follow from the evidence',
  },
  {
    id: 'late-forecast-counts',
    invariant: 10,
    file: 'src/domain/run/forecast-state.ts',
    find: 'const late = sealed.dueBeyond.length >= checkpoints;',
    replace: 'const late = sealed.dueBeyond.length > checkpoints;',
    breaks: 'a forecast sealed after its answer was being evaluated counts in the record',
  },
  {
    id: 'forecast-scored-kindly',
    invariant: 10,
    file: 'src/domain/run/forecast-scores.ts',
    find: 'const figures = scoreLevel(tracked, level.observed);',
    replace: 'const figures = scoreLevel(tracked, level.observed - 0.2);',
    breaks: 'a forecast is held against a lower level than came',
  },
  {
    id: 'ceiling-ignores-risk',
    invariant: 2,
    file: 'src/domain/run/permit-risk.ts',
    find: 'return isAhead(state, checkpoint) ? (checkpoint.risk?.chosen.compute ?? null) : null;',
    replace: 'return earned;',
    breaks: 'a permit reaches as far as the cadence lets it, whatever it risks',
  },
  {
    id: 'risk-twice-the-limit',
    invariant: 2,
    file: 'src/domain/forecast/risk-ceiling.ts',
    find: 'return judged <= probability &&',
    replace: 'return judged <= 2 * probability &&',
    breaks: 'a permit may risk twice what the policy says',
  },
  {
    id: 'budget-not-spent',
    invariant: 10,
    file: 'src/domain/run/permit-risk.ts',
    find: 'const spends = Math.max(0, roundedShare(p - riskPaid));',
    replace: 'const spends = 0;',
    breaks: 'permits take nothing of the risk budget',
  },
  {
    id: 'due-ignores-risk',
    invariant: 8,
    file: 'src/domain/run/cadence.ts',
    find: 'if (state.risk !== undefined) return minCompute(state.risk.dueCompute, state.ceiling);',
    replace: '',
    breaks: 'after a short step the next checkpoint is due at the full ratio all the same',
  },
  {
    id: 'sibling-goes-free',
    invariant: 4,
    file: 'src/domain/run/lineage.ts',
    find: 'return cause === null || through === undefined ? null : { halt, cause, through };',
    replace: 'return null;',
    breaks: 'a halt for what weights can do does not reach the other runs that began with them',
  },
  {
    id: 'unknown-parent-passes',
    invariant: 8,
    file: 'src/domain/run/ancestry.ts',
    find: "const then = hardened(policy, 'lineage', 'hold');",
    replace: "const then = ['alert'];",
    breaks: 'a run that starts from weights which nobody knows is given a permit',
  },
];

/** Mutations whose passage is no longer there exactly once: the code has moved on, and the table must follow. */
export async function staleMutants(): Promise<string[]> {
  const stale: string[] = [];
  for (const { id, file, find } of MUTANTS) {
    const source = await readFile(new URL(`../../${file}`, import.meta.url), 'utf8');
    if (source.split(find).length !== 2) stale.push(`${id} (${file})`);
  }
  return stale;
}
