/**
 * Experts in a simulation: they open rounds and answer at good moments and at bad ones, twice, too late, in rounds that
 * are over or of another run. Half of all seeds have them, and draw them from a stream of their own.
 */
import type { JsonObject } from '../../src/domain/canonical-json.ts';
import type {
  BeginSecondRound,
  CloseEstimateRound,
  GiveEstimate,
  OpenEstimateRound,
} from '../../src/domain/run/estimates.ts';
import type { RunState } from '../../src/domain/run/state.ts';
import { mix } from './faults.ts';
import { createRandom, type Random } from './random.ts';

/** Chosen so that no regression from before there were experts has any: each goes on telling the story that failed. */
const STREAM = 4_487;

export function expertsOf(seed: number): Random | null {
  const random = createRandom(mix(seed, STREAM));
  return random.chance(0.5) ? random : null;
}

export type ExpertCommand = OpenEstimateRound | GiveEstimate | CloseEstimateRound | BeginSecondRound;

export const EXPERTS = ['ann', 'bea', 'gil', 'hal', 'ida'];

const LIMITS = [0.05, 0.3];

/** What a policy says of experts, beside its other rules. */
export function expertPolicy(random: Random): { rules: JsonObject[]; more: JsonObject } {
  const then = [random.pick(['halt', 'hold', 'alert'])];
  const rule = { id: 'experts', kind: 'estimate', stage: 'pre-mitigation', atLeast: 'critical', then };
  const rules = random.chance(0.7) ? [{ ...rule, probability: random.pick(LIMITS) }] : [];
  const experts = random.pick(['graver', 'graver', 'pool', 'ignore']);
  const more = random.chance(0.7) ? { forecast: { experts, quorum: 1 + random.below(3) } } : {};
  return { rules, more };
}

/** One act of somebody, on the rounds that the state still holds. */
export function expertActs(random: Random, state: RunState, categories: readonly string[]): ExpertCommand {
  const questions = state.checkpoints.flatMap((each) => each.questions ?? []);
  const rounds = questions.flatMap((each) => each.rounds);
  const act = random.next();
  const by = random.pick(EXPERTS);
  if (rounds.length === 0 || act < 0.2) {
    const stage = 'pre-mitigation' as const;
    const level = random.pick(['critical', 'critical', 'high', 3.5] as const);
    return { type: 'OpenEstimateRound', category: random.pick(categories), stage, level, closesAt: null, by };
  }
  const { roundId } = random.chance(0.1) ? random.pick(rounds) : (rounds.at(-1) ?? random.pick(rounds));
  if (act < 0.82) return answerOf(random, roundId, by);
  if (act < 0.92) return { type: 'CloseEstimateRound', roundId, by };
  return { type: 'BeginSecondRound', roundId, closesAt: null, by };
}

export function answerOf(random: Random, roundId: string, by: string): GiveEstimate {
  const probability = random.chance(0.6) ? random.pick([0, 0.01, 0.04, 0.06]) : random.between(0.5, 1);
  const rationale = `because ${random.below(1_000_000)}`;
  return { type: 'GiveEstimate', roundId, by, probability, quantiles: [], rationale, salt: rationale };
}
