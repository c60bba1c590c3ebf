/** The risk of permits in the life of a run: how far one reaches, when the next checkpoint is due, and what is spent. */
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { compareCompute, compute, flopText } from '../../../src/domain/compute.ts';
import type { Policy } from '../../../src/domain/policy/schema.ts';
import type { RunEvent } from '../../../src/domain/run/events.ts';
import { recheck } from '../../../src/domain/run/recheck.ts';
import type { PermitRisk } from '../../../src/domain/run/risk-documents.ts';
import { asJson, digest, evaluation, policyOf, RunLife, registered, success } from './run-life.ts';
import { rows } from './table.ts';

/** One category, unless said otherwise; nothing but the level rule beside the risk. */
function limited(risk: JsonObject | null, more: JsonObject = {}): Policy {
  const cadence = { ...asJson(policyOf().cadence), ...(risk === null ? {} : { risk }) };
  return policyOf({
    categories: [{ id: 'cyber', title: 'Cybersecurity' }],
    evaluations: [evaluation('ctf', 'cyber')],
    rules: [{ id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] }],
    ...more,
    cadence,
  });
}

const tight = (more: JsonObject = {}): JsonObject => ({ probability: 0.005, ...more });

/** Clears so many checkpoints, each where the next one is due, with flat scores. */
function lived(policy: Policy, count: number, score = 0.05): RunLife {
  const life = registered(policy);
  let at = '1e22';
  for (let i = 1; i <= count; i += 1) {
    life.pass(`c${i}`, at, score);
    at = life.state.risk?.dueCompute ?? at;
  }
  return life;
}

/** Rises so fast that Critical is likely soon; measured well. */
function rising(policy: Policy, scores: readonly number[]): RunLife {
  const life = registered(policy);
  for (const [i, score] of scores.entries()) {
    life.report(`c${i + 1}`, `${(1.15 ** i).toFixed(4)}e22`, { evaluate: true });
    life.result(`c${i + 1}/ctf`, success(score, 5000));
  }
  return life;
}

const sealedAt = ({ events }: RunLife, checkpointId: string): PermitRisk => {
  const found = events.flatMap((event) =>
    event.kind === 'PermitRiskSealed' && event.data.checkpointId === checkpointId ? [event.data.risk] : [],
  );
  const risk = found.at(-1);
  if (risk === undefined) throw new Error(`nothing sealed at ${checkpointId}`);
  return risk;
};

const verdictAt = (life: RunLife): string => life.last('CheckpointAssessed').verdict;
const findingsAt = (life: RunLife) => life.last('CheckpointAssessed').findings;

describe('a permit under a limit of risk', () => {
  it('reaches as far as the limit allows, by the sealed figures, and the next checkpoint is due before', () => {
    const life = lived(limited(tight()), 1);
    const { chosen, least, full, dueCompute } = sealedAt(life, 'c1');
    expect(compareCompute(least.compute, chosen.compute)).toBe(-1);
    expect(compareCompute(chosen.compute, full.compute)).toBe(-1);
    expect(chosen.p).toBeLessThanOrEqual(0.005);
    expect(full.p).toBeGreaterThan(0.005);
    expect(life.permit).toMatchObject({ granted: true, ceiling: chosen.compute });
    expect(life.last('CheckpointAssessed')).toMatchObject({ ceiling: chosen.compute, risk: { dueCompute } });
  });

  it('reaches further as the run shows that nothing moves, up to the full step', () => {
    const life = lived(limited(tight()), 4);
    const steps = ['c1', 'c2', 'c3', 'c4'].map((id) => {
      const { chosen, least } = sealedAt(life, id);
      return Number(chosen.compute) / Number(least.compute);
    });
    expect(steps).toEqual([...steps].sort((a, b) => a - b));
    expect(sealedAt(life, 'c4').chosen).toEqual(sealedAt(life, 'c4').full);
  });

  it('is as without one where the limit is not reached', () => {
    const life = lived(limited({ probability: 0.05 }), 1);
    expect(life.permit).toMatchObject({ ceiling: '2.2e22' });
    expect(life.last('CheckpointAssessed').risk?.dueCompute).toBe('2e22');
    expect(findingsAt(life)).toEqual([]);
  });

  it('is what forecasts are about', () => {
    const life = lived(limited(tight()), 1);
    const { chosen } = sealedAt(life, 'c1');
    expect(life.last('ForecastSealed').forecast.horizonCompute).toBe(chosen.compute);
    const kinds = life.events.map(({ kind }) => kind);
    expect(kinds.indexOf('PermitRiskSealed')).toBeLessThan(kinds.indexOf('ForecastSealed'));
    life.ask();
    expect(life.last('EstimateRoundOpened').horizonCompute).toBe(chosen.compute);
  });

  it('waits for every category, and is of all of them together', () => {
    const life = registered(
      limited(tight(), {
        categories: [
          { id: 'cyber', title: 'Cybersecurity' },
          { id: 'bio', title: 'Biology' },
        ],
        evaluations: [evaluation('ctf', 'cyber'), evaluation('labs', 'bio')],
      }),
    );
    life.report('c1', '1e22');
    expect(life.result('c1/ctf', 0.05)).not.toContain('PermitRiskSealed');
    expect(life.result('c1/labs', 0.1)).toContain('PermitRiskSealed');
    const { chosen, categories } = sealedAt(life, 'c1');
    expect(categories.map(({ category }) => category)).toEqual(['cyber', 'bio']);
    expect(chosen.greatest).toBeLessThan(chosen.p);
    expect(chosen.p).toBeLessThan(chosen.sum);
  });

  it('is chosen anew on other evidence until it is issued, and not after that', () => {
    const life = registered(limited(tight(), { evaluations: [evaluation('ctf', 'cyber', { topUps: 1 })] }));
    life.report('c1', '1e22');
    life.result('c1/ctf', { status: 'error', error: 'no' });
    life.wait('1h').tick();
    const evaluationId = life.idOf('c1', 'ctf');
    while (life.attempts('c1', 'ctf').at(-1)?.state === 'queued') {
      life.result('c1/ctf', { status: 'error', error: 'no' });
    }
    expect(sealedAt(life, 'c1').categories).toMatchObject([{ basis: 'mostly-prior', points: 0 }]);
    expect(verdictAt(life)).toBe('hold');
    life.does({ type: 'RetryEvaluation', evaluationId, by: 'operator' });
    life.result('c1/ctf', 0.05);
    expect(sealedAt(life, 'c1').categories).toMatchObject([{ points: 1 }]);
    expect(verdictAt(life)).toBe('proceed');
    const count = life.count('PermitRiskSealed');
    life.wait('1h').tick();
    expect(life.count('PermitRiskSealed')).toBe(count);
  });

  it('is not lengthened by a checkpoint behind the one last cleared', () => {
    const life = registered(limited(tight()));
    life.report('c1', '1e22');
    life.report('c2', '1.05e22', { evaluate: true });
    life.result('c2/ctf', 0.3);
    const { ceiling, risk } = life.state;
    life.result('c1/ctf', 0.01);
    expect(verdictAt(life)).toBe('proceed');
    expect(life.state).toMatchObject({ ceiling, risk: risk ?? {} });
    expect(life.last('CheckpointAssessed').risk).toBeUndefined();
  });

  it('is not taken back by later evidence, which makes the next checkpoint due sooner', () => {
    const life = lived(limited({ probability: 0.02 }), 3);
    const { ceiling, risk } = life.state;
    life.report('wish', timesText(life, 1.05), { evaluate: true });
    life.result('wish/ctf', success(0.35, 5000));
    expect(verdictAt(life)).toBe('proceed');
    expect(life.state.ceiling).toBe(ceiling);
    const due = life.state.risk?.dueCompute;
    expect(Number(due)).toBeLessThan(Number(risk?.dueCompute));
    expect(life.beat(due ?? '')).toContain('HoldPlaced');
  });
});

const timesText = ({ state }: RunLife, factor: number): string =>
  (Number(state.lastCleared?.effectiveCompute) * factor).toPrecision(6);

describe('a checkpoint under a limit of risk', () => {
  it('is due at the shorter step, and overdue past it; past the ceiling the run is halted', () => {
    const due = (): { life: RunLife; at: string; ceiling: string } => {
      const life = lived(limited(tight()), 1);
      return { life, at: life.state.risk?.dueCompute ?? '', ceiling: life.state.ceiling };
    };
    const { life, at, ceiling } = due();
    expect(Number(at)).toBeLessThan(2e22);
    life.report('c2', at);
    expect(life.last('CheckpointReported')).toMatchObject({ due: true, reason: 'ratio' });
    expect(due().life.beat(at)).toContain('HoldPlaced');
    expect(due().life.beat((0.999 * Number(at)).toPrecision(6))).toEqual([]);
    const over = due().life;
    over.report('c2', at);
    expect(over.beat(ceiling)).toEqual([]);
    expect(over.beat((1.001 * Number(ceiling)).toPrecision(6))).toContain('HaltOrdered');
  });
});

describe('where even the shortest step is over the limit', () => {
  it.each(
    rows(`
      whenMostlyPrior | verdict | findings
      ignore          | proceed | none
      alert           | proceed | risk
      hold            | hold    | risk
      halt            | halt    | risk
    `).slice(1),
  )('and that is mostly prior, %s gives %s (%s)', (whenMostlyPrior = '', verdict = '', findings = '') => {
    const life = lived(limited({ probability: 0.0001, whenMostlyPrior }), 1);
    expect(verdictAt(life)).toBe(verdict);
    expect(findingsAt(life).map(({ rule }) => rule)).toEqual(findings === 'none' ? [] : [findings]);
    const { chosen, least } = sealedAt(life, 'c1');
    expect(chosen).toEqual(least);
    if (verdict === 'proceed') expect(life.permit).toMatchObject({ granted: true, ceiling: '1.19e22' });
  });

  it('and the history of the run says so, it is halted, and the finding says why', () => {
    const life = rising(limited({ probability: 0.02, whenMostlyPrior: 'ignore' }), [0.05, 0.15, 0.25, 0.35]);
    expect(life.last('HaltOrdered').cause).toMatchObject({
      kind: 'rule',
      checkpointId: 'c4',
      findings: [{ rule: 'risk', kind: 'risk', basis: 'mixed', threshold: 0.02, then: ['halt'] }],
    });
    const { least } = sealedAt(life, 'c4');
    const [finding] = findingsAt(life);
    expect(finding?.observed).toBe(least.p);
    expect(finding?.explanation).toContain(flopText(least.compute));
    expect(finding?.explanation).toContain('a permit may risk 2.00 %');
    expect(finding?.explanation).toContain('Cybersecurity');
    expect(finding?.explanation).toContain('it would not fire');
  });

  it('one category that is mostly prior does not excuse another that is not', () => {
    const evaluations = [evaluation('ctf', 'cyber'), evaluation('labs', 'bio')];
    const categories = [
      { id: 'cyber', title: 'Cybersecurity' },
      { id: 'bio', title: 'Biology' },
    ];
    const life = registered(limited({ probability: 0.02 }, { categories, evaluations }));
    for (const [i, score] of [0.05, 0.15, 0.25, 0.35, 0.49].entries()) {
      life.report(`c${i + 1}`, `${(1.15 ** i).toFixed(4)}e22`, { evaluate: true });
      // Biology gives no score but at the last: one point.
      if (i < 4) {
        for (let attempt = 0; attempt < 2; attempt += 1) {
          life.wait('1h');
          life.result(`c${i + 1}/labs`, { status: 'error', error: 'no' });
        }
      } else life.result(`c${i + 1}/labs`, 0.01);
      life.result(`c${i + 1}/ctf`, success(score, 5000));
      if (life.state.holds.length > 0) life.resume();
    }
    expect(life.last('HaltOrdered').cause).toMatchObject({ findings: [{ rule: 'risk', basis: 'mixed' }] });
  });

  it('a governed resume goes on, by default as far as the shortest step', () => {
    const life = lived(limited({ probability: 0.0001, whenMostlyPrior: 'halt' }), 1);
    expect(life.permit).toEqual({ granted: false, reason: 'halted' });
    life.acknowledge('stopped');
    expect(life.resume()).toContain('CheckpointAssessed');
    expect(verdictAt(life)).toBe('proceed');
    expect(life.permit).toMatchObject({ granted: true, ceiling: '1.19e22' });
    const { p, spent } = life.state.risk ?? {};
    expect([p, spent]).toEqual([sealedAt(life, 'c1').least.p, sealedAt(life, 'c1').least.p]);
  });
});

describe('a reference run', () => {
  const reference = { evidence: 'run gpt-small-3', approvedBy: ['leadership', 'safety'], upTo: '1e24' };

  it('lets the first steps be long, and excuses nothing that the run itself shows', () => {
    const risk = { probability: 0.0001, whenMostlyPrior: 'halt', reference };
    expect(lived(limited(risk), 3).permit).toMatchObject({ granted: true, ceiling: '8.8e22' });
    expect(lived(limited(risk), 4).permit).toEqual({ granted: false, reason: 'halted' });
  });
});

describe('a risk budget', () => {
  const budget = (riskBudget: number, more: JsonObject = {}): Policy =>
    limited({ probability: Math.min(0.05, riskBudget), ...more }, { riskBudget });

  it('is spent by what is sealed for the ceiling of each permit, once for each checkpoint', () => {
    const life = lived(budget(0.1), 3);
    const p = ['c1', 'c2', 'c3'].map((id) => sealedAt(life, id).chosen.p);
    expect(life.state.risk?.spent).toBeCloseTo(
      p.reduce((a, b) => a + b, 0),
      9,
    );
    expect(sealedAt(life, 'c3').budgetLeft).toBeCloseTo(0.1 - (p[0] ?? 0) - (p[1] ?? 0), 9);
  });

  it('makes ceilings nearer as it runs out, and holds when even the shortest step does not fit', () => {
    const life = registered(budget(0.012));
    let at = '1e22';
    for (let i = 1; i < 40 && life.state.holds.length === 0; i += 1) {
      life.pass(`c${i}`, at, 0.05 + 0.04 * i);
      at = life.state.risk?.dueCompute ?? at;
    }
    const [hold] = life.state.holds;
    expect(hold?.findings).toMatchObject([{ rule: 'risk-budget', kind: 'risk-budget', then: ['hold'] }]);
    expect(hold?.findings[0]?.explanation).toContain("the run's risk budget is spent");
    expect(life.state.risk?.spent).toBeLessThanOrEqual(0.012);
  });

  it('once spent, is overdrawn only by sign-off, and holds again at the next checkpoint', () => {
    const life = lived(budget(0.0015), 1);
    expect(verdictAt(life)).toBe('hold');
    life.resume();
    expect(life.permit).toMatchObject({ granted: true, ceiling: '1.19e22' });
    expect(life.state.risk?.spent).toBeGreaterThan(0.0015);
    life.pass('c2', life.state.risk?.dueCompute ?? '', 0.05);
    expect(life.last('HoldPlaced').findings).toMatchObject([{ rule: 'risk-budget', threshold: 0 }]);
  });

  it('pays nothing twice for a checkpoint whose verdict is revised, and gives nothing back', () => {
    const life = lived(
      limited(
        { probability: 0.05 },
        {
          riskBudget: 0.1,
          rules: [
            { id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] },
            { id: 'medium', kind: 'level', stage: 'pre-mitigation', atLeast: 'medium', then: ['hold'] },
          ],
        },
      ),
      1,
    );
    const spent = life.state.risk?.spent ?? 0;
    const evaluationId = life.idOf('c1', 'ctf');
    life.does({ type: 'RetryEvaluation', evaluationId, by: 'operator' });
    life.result('c1/ctf', 0.3);
    expect(verdictAt(life)).toBe('hold');
    expect(life.state.risk?.spent).toBe(spent);
    life.resume();
    expect(verdictAt(life)).toBe('proceed');
    // On the graver evidence it takes more: the difference is paid.
    const { chosen } = sealedAt(life, 'c1');
    expect(life.state.risk).toMatchObject({ p: chosen.p, spent: Math.max(spent, chosen.p) });
  });

  it('pays the greatest figure that is sealed where people let the run go beyond the chosen ceiling', () => {
    const life = lived(limited({ probability: 0.0001, whenMostlyPrior: 'hold' }), 1);
    life.propose({ ceiling: compute('3e22') });
    life.sign('lea', 'leadership');
    life.sign('sam', 'safety');
    expect(life.permit).toMatchObject({ granted: true, ceiling: '3e22' });
    expect(life.state.risk?.p).toBe(sealedAt(life, 'c1').full.p);
  });
});

describe('replay', () => {
  /** What recheck says of the first event of the kind, changed. */
  function rechecked(life: RunLife, change: (event: RunEvent) => RunEvent | null): string | null {
    const fresh = new RunLife(life.policy, { checked: false });
    for (const event of life.events) {
      const changed = change(event);
      if (changed !== null)
        return recheck(fresh.events.length === 0 ? null : fresh.state, changed, life.policy, digest);
      fresh.takes(event);
    }
    throw new Error('no such event');
  }
  const seal = (life: RunLife, change: (risk: PermitRisk) => PermitRisk): string | null =>
    rechecked(life, (event) =>
      event.kind === 'PermitRiskSealed'
        ? { kind: event.kind, data: { ...event.data, risk: change(event.data.risk) } }
        : null,
    );
  const twice = (): RunLife => lived(limited(tight(), { riskBudget: 0.05 }), 2);

  it('finds what was sealed to follow, and each figure that does not', () => {
    const life = twice();
    expect(seal(life, (risk) => risk)).toBeNull();
    expect(seal(life, (risk) => ({ ...risk, chosen: risk.full }))).toContain('another risk');
    expect(seal(life, (risk) => ({ ...risk, budgetLeft: 0.1 }))).toContain('budget');
    expect(seal(life, (risk) => ({ ...risk, probability: 0.5 }))).toContain('another limit');
    expect(seal(life, (risk) => ({ ...risk, basis: 'data' }))).toContain('basis');
    expect(seal(life, (risk) => ({ ...risk, dueCompute: risk.full.compute }))).toContain('due beyond');
    expect(
      seal(life, (risk) => ({
        ...risk,
        chosen: risk.full,
        categories: risk.categories.map((each) => ({ ...each, chosen: each.full })),
      })),
    ).toContain('risks more than the policy');
  });

  it('finds a permit that reaches further than was sealed, and one that spends less', () => {
    const life = twice();
    const assessed = (change: JsonObject): string | null =>
      rechecked(life, (event) =>
        event.kind === 'CheckpointAssessed' ? { kind: event.kind, data: { ...event.data, ...change } } : null,
      );
    expect(assessed({})).toBeNull();
    expect(assessed({ ceiling: '2.2e22' })).toContain('ceiling');
    expect(
      assessed({ risk: { ...asJson(life.last('CheckpointAssessed').risk ?? {}), spends: 0 } }),
    ).toContain('recorded otherwise');
  });
});

describe('a policy that limits no risk', () => {
  it('seals none and spends none', () => {
    const life = registered(limited(null));
    life.pass('c1', '1e22');
    expect(life.count('PermitRiskSealed')).toBe(0);
    expect(life.state.risk).toBeUndefined();
    expect(life.last('CheckpointAssessed')).not.toHaveProperty('risk');
  });
});
