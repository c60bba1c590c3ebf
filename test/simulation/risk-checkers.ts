/**
 * The risk of permits recomputed from a run's events alone: that what is sealed keeps within the policy and adds up, that a
 * ceiling reaches no further, that the findings are there whenever the sealed figures call for them, and what is spent.
 */
import type { CadenceRisk, Policy } from '../../src/domain/policy/schema.ts';
import type { RunEvent, RunEventData } from '../../src/domain/run/events.ts';
import type { PermitRisk } from '../../src/domain/run/risk-documents.ts';
import { CLOSE, thresholdOf } from './arithmetic.ts';

/** Figures are sealed to six decimals. */
const SEALED_CLOSE = 1.1e-6;
/** Of the way from the greatest to the sum: docs/forecasting.md. */
const SHARE = 0.3;

interface Placed {
  readonly compute: number;
  risk: PermitRisk | null;
  paid: number;
}

export class RiskCheckers {
  readonly #policy: Policy;
  readonly #broken: (invariant: number, message: string) => never;
  readonly #checkpoints = new Map<string, Placed>();
  #cleared: { readonly id: string; readonly compute: number } | null = null;
  #spent = 0;
  #due: number | null = null;

  constructor(policy: Policy, broken: (invariant: number, message: string) => never) {
    this.#policy = policy;
    this.#broken = broken;
  }

  /** Where the next checkpoint is due; null: by the ratio. */
  get due(): number | null {
    return this.#due;
  }

  /** How far clearing it lets a run go; null: as far as the cadence does. */
  earned(checkpointId: string): number | null {
    if (this.#policy.cadence.risk === undefined) return null;
    const placed = this.#checkpoints.get(checkpointId);
    if (placed?.risk == null || !this.#isAhead(checkpointId, placed)) return 0;
    return Number(placed.risk.chosen.compute);
  }

  take(event: RunEvent): void {
    if (event.kind === 'CheckpointReported') {
      const { checkpointId, effectiveCompute } = event.data;
      this.#checkpoints.set(checkpointId, { compute: Number(effectiveCompute), risk: null, paid: 0 });
    }
    if (event.kind === 'PermitRiskSealed') this.#sealed(event.data);
  }

  #isAhead(checkpointId: string, { compute }: Placed): boolean {
    return this.#cleared === null || this.#cleared.id === checkpointId || compute > this.#cleared.compute;
  }

  #sealed({ checkpointId, risk }: RunEventData<'PermitRiskSealed'>): void {
    const { ratio, grace, risk: limit } = this.#policy.cadence;
    const placed = this.#checkpoints.get(checkpointId);
    if (limit === undefined || placed === undefined) {
      this.#broken(10, 'a risk of no permit');
      return;
    }
    const wrong = (what: string): never => this.#broken(2, `the risk at ${checkpointId}: ${what}`);
    const { least, chosen, full, categories, dueCompute } = risk;
    const isNear = (text: string, wanted: number): boolean => Math.abs(Number(text) / wanted - 1) < CLOSE;
    if (!isNear(least.compute, placed.compute * limit.minRatio))
      wrong(`the shortest step is ${least.compute}`);
    if (!isNear(full.compute, placed.compute * ratio * (1 + grace))) wrong(`the longest is ${full.compute}`);
    const [near, at, far] = [least, chosen, full].map(({ compute }) => Number(compute));
    if (!(Number(near) <= Number(at) && Number(at) <= Number(far))) wrong(`${near}, ${at}, ${far}`);
    if (!(Number(dueCompute) > placed.compute && Number(dueCompute) <= Number(at)))
      wrong(`due ${dueCompute}`);
    for (const step of ['least', 'chosen', 'full'] as const) {
      const all = categories.map((each) => each[step]);
      const greatest = Math.max(0, ...all);
      const sum = Math.min(
        1,
        all.reduce((total, p) => total + p, 0),
      );
      const wanted = greatest + SHARE * (sum - greatest);
      if (Math.abs(risk[step].p - wanted) > SEALED_CLOSE) wrong(`${step} ${risk[step].p}, not ${wanted}`);
    }
    const left = this.#left(placed);
    if (Math.abs((risk.budgetLeft ?? 1) - left) > SEALED_CLOSE) wrong(`${left} is left of the budget`);
    if (at !== near) {
      const judged = judgedAt(risk, 'chosen', limit);
      if (judged > limit.probability || chosen.p > left + SEALED_CLOSE)
        wrong(`${judged} is risked, ${left} left`);
    }
    placed.risk = risk;
  }

  #left({ paid }: Placed): number {
    const { riskBudget } = this.#policy;
    return riskBudget === undefined ? 1 : Math.max(0, riskBudget - this.#spent + paid);
  }

  /** `ceiling`: what stands now. */
  assessed(data: RunEventData<'CheckpointAssessed'>, ceiling: number): void {
    const limit = this.#policy.cadence.risk;
    const placed = this.#checkpoints.get(data.checkpointId);
    if (limit === undefined || placed === undefined) return;
    this.#found(data, placed, limit);
    if (data.verdict !== 'proceed') return;
    const { risk } = placed;
    if (risk === null || !this.#isAhead(data.checkpointId, placed)) {
      if (data.risk !== undefined) this.#broken(2, `${data.checkpointId} takes a risk for nothing`);
      return;
    }
    const { p } = ceiling <= Number(risk.chosen.compute) * (1 + CLOSE) ? risk.chosen : risk.full;
    const spends = Math.max(0, p - placed.paid);
    placed.paid += spends;
    this.#spent += spends;
    this.#due = Number(risk.dueCompute);
    this.#cleared = { id: data.checkpointId, compute: placed.compute };
    if (Math.abs((data.risk?.spent ?? 0) - this.#spent) > SEALED_CLOSE) {
      this.#broken(10, `${data.checkpointId}: spent are ${this.#spent}, recorded ${data.risk?.spent}`);
    }
  }

  #found({ checkpointId, findings }: RunEventData<'CheckpointAssessed'>, placed: Placed, limit: CadenceRisk) {
    const { risk } = placed;
    if (risk === null) return;
    const own = judgedAt(risk, 'least', limit, 'own');
    const isOver = judgedAt(risk, 'least', limit) > limit.probability;
    const isPrior = own <= limit.probability && risk.categories.some(({ basis }) => basis === 'mostly-prior');
    const then = isPrior ? limit.whenMostlyPrior : 'halt';
    const wanted = isOver && then !== 'ignore' ? [`risk ${then}`] : [];
    const left = risk.budgetLeft ?? 1;
    if (risk.least.p > left) wanted.push('risk-budget hold');
    const said = findings
      .filter(({ kind }) => kind === 'risk' || kind === 'risk-budget')
      .map((each) => `${each.rule} ${each.then}`);
    if (said.join() !== wanted.join()) {
      this.#broken(10, `${checkpointId}: found are [${said}], the sealed figures call for [${wanted}]`);
    }
    if (risk.level !== thresholdOf(limit.level)) this.#broken(10, `${checkpointId}: at level ${risk.level}`);
  }
}

/** What counts against the limit: of the run's own history alone, as far as a reference run stands in for the rest. */
function judgedAt(
  { categories, ...steps }: PermitRisk,
  step: 'least' | 'chosen',
  { reference }: CadenceRisk,
  whose: 'all' | 'own' = 'all',
): number {
  const isCovered = reference !== undefined && Number(steps[step].compute) <= Number(reference.upTo);
  const counted = categories.filter(
    ({ basis }) => basis !== 'mostly-prior' || !(isCovered || whose === 'own'),
  );
  const all = counted.map((each) => each[step]);
  const greatest = Math.max(0, ...all);
  const sum = Math.min(
    1,
    all.reduce((total, p) => total + p, 0),
  );
  return Math.round(1e6 * (greatest + SHARE * (sum - greatest))) / 1e6;
}
