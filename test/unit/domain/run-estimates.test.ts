/** Estimate rounds in the life of a run: who is asked what, what counts, and what it does to a verdict. */
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { compareCompute, compute } from '../../../src/domain/compute.ts';
import { poolExperts } from '../../../src/domain/forecast/experts.ts';
import type { Command } from '../../../src/domain/run/decide.ts';
import { findRound, isSettled } from '../../../src/domain/run/estimate-state.ts';
import { parseRunEvent } from '../../../src/domain/run/events.ts';
import { evolve } from '../../../src/domain/run/evolve.ts';
import { rulingOf } from '../../../src/domain/run/expert-findings.ts';
import { recheck } from '../../../src/domain/run/recheck.ts';
import type { RunState } from '../../../src/domain/run/state.ts';
import { asJson, digest, policyOf, type RunLife, registered } from './run-life.ts';
import { rows } from './table.ts';

const HALTING = { id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] };
const FORECAST = {
  id: 'soon',
  kind: 'forecast',
  stage: 'pre-mitigation',
  atLeast: 'critical',
  probability: 0.3,
  then: ['halt'],
};
const ESTIMATE = { ...FORECAST, id: 'experts', kind: 'estimate', then: ['hold'] };

/** Cleared at 1e22 on harmless scores, under these rules beside the halting one. */
function cleared(rules: JsonObject[] = [FORECAST], more: JsonObject = {}): RunLife {
  const life = registered(policyOf({ rules: [HALTING, ...rules], ...more }));
  life.pass('c1', '1e22');
  return life;
}

const second = (roundId: string): Command => ({
  type: 'BeginSecondRound',
  roundId,
  closesAt: null,
  by: 'chair',
});

/** Of the latest assessment: rule, ruling basis and consequences. */
function fired(life: RunLife): string {
  const { findings, verdict } = life.last('CheckpointAssessed');
  const told = findings.map(({ rule, basis, then }) => `${rule} by ${basis}: ${then.join('+')}`);
  return [verdict, ...told].join(', ');
}

describe('asking experts', () => {
  it('is about the ceiling that the checkpoint earns, and open for as long as a scorecard may take', () => {
    const life = cleared();
    life.ask();
    const asked = life.last('EstimateRoundOpened');
    expect(compareCompute(asked.horizonCompute, compute('2.2e22'))).toBe(0);
    expect(asked).toMatchObject({ round: 1, checkpointId: 'c1', category: 'cyber', level: 4 });
    expect(asked.closesAt).toBe('2026-11-01T10:00:00.000Z');
  });

  it('alerts them of each round once: what is asked, until when, how to answer; never what was said', () => {
    const life = cleared();
    const alerts = () => life.events.flatMap((event) => (event.kind === 'AlertRaised' ? [event.data] : []));
    const first = life.ask();
    life.does({
      type: 'OpenEstimateRound',
      ...{ category: 'cyber', stage: 'pre-mitigation', level: 'critical', closesAt: null, by: 'chair' },
    });
    expect(alerts()).toHaveLength(1);
    expect(alerts()[0]).toMatchObject({
      severity: 'info',
      channels: ['oncall'],
      summary:
        'r1: experts are asked, apart from each other: how likely is Cybersecurity pre-mitigation to reach Critical (4.0) before the next checkpoint, within 2.2x the compute of c1 (2.2e22 FLOP)? Until 2026-11-01T10:00:00.000Z',
      details: {
        roundId: first,
        closesAt: '2026-11-01T10:00:00.000Z',
        answer: expect.stringContaining(`interlock estimate give --run r1 --round ${first} --probability`),
      },
    });
    life.answers(first, { ann: 0.0173, bob: 0.4321 });
    life.does(second(first));
    life.does(second(first));
    expect(alerts()).toHaveLength(2);
    const { roundId } = life.last('EstimateRoundOpened');
    expect(alerts()[1]).toMatchObject({
      summary: expect.stringContaining('experts are asked once more'),
      details: {
        roundId,
        answer: expect.stringContaining(`--round ${roundId}`),
        read: expect.stringContaining(`--round ${first}`),
      },
    });
    expect(JSON.stringify(alerts())).not.toMatch(/0\.0173|0\.4321|says why|\bann\b|\bbob\b/);
  });

  it('alerts nobody where the policy names no channel', () => {
    const life = cleared([FORECAST], { alerts: [] });
    life.ask();
    expect(life.events.some(({ kind }) => kind === 'AlertRaised')).toBe(false);
  });

  it.each(
    rows(`
      asked                                              | refused
      {"category":"chess"}                               | invalid category
      {"stage":"post-mitigation"}                        | invalid stage
      {"level":"low"}                                    | invalid level
      {"level":1}                                        | invalid level
      {"closesAt":"2026-11-01T00:00:00.000Z"}            | invalid closesAt
      {"closesAt":"soon"}                                | invalid closesAt
      {"closesAt":"2027-01-31T00:00:00.000Z"}            | invalid closesAt
      {"level":3.5}                                      | accepted
      {"closesAt":"2026-11-02T01:00:00+01:00"}           | accepted
    `).slice(1),
  )('with %s: %s', (asked = '', expected = '') => {
    const life = cleared();
    const stage = 'pre-mitigation';
    const standard = { category: 'cyber', stage, level: 'critical', closesAt: null, by: 'chair' } as const;
    const command: Command = { type: 'OpenEstimateRound', ...standard, ...JSON.parse(asked) };
    if (expected === 'accepted') expect(life.does(command)).toEqual(['EstimateRoundOpened', 'AlertRaised']);
    else {
      const { code, path } = life.refuses(command);
      expect(`${code} ${path}`).toBe(expected);
    }
  });

  it('needs a checkpoint to look ahead from, and a run that goes on', () => {
    const life = registered();
    const stage = 'pre-mitigation';
    const asked = { category: 'cyber', stage, level: 'critical', closesAt: null, by: 'chair' } as const;
    expect(life.refuses({ type: 'OpenEstimateRound', ...asked })).toMatchObject({ code: 'conflict' });
    life.pass('c1', '1e22');
    life.does({ type: 'FinishRun', by: 'trainer' });
    expect(life.refuses({ type: 'OpenEstimateRound', ...asked })).toMatchObject({ code: 'conflict' });
  });

  it('twice is once; the same question of somebody else, or again when it is closed, is a conflict', () => {
    const life = cleared();
    const roundId = life.ask();
    const stage = 'pre-mitigation';
    const again = { category: 'cyber', stage, level: 4, closesAt: null, by: 'chair' } as const;
    expect(life.does({ type: 'OpenEstimateRound', ...again })).toEqual([]);
    expect(life.refuses({ type: 'OpenEstimateRound', ...again, by: 'other' })).toMatchObject({
      code: 'conflict',
      message: expect.stringContaining(roundId),
    });
    life.answers(roundId, { ann: 0.1 });
    life.closes(roundId);
    expect(life.refuses({ type: 'OpenEstimateRound', ...again })).toMatchObject({ code: 'conflict' });
    expect(life.ask('bio')).not.toBe(roundId);
  });

  it('anew is possible where nobody answered: opening and closing at once silences no expert', () => {
    const life = cleared();
    const first = life.ask();
    life.closes(first);
    const anew = life.ask();
    expect(anew).not.toBe(first);
    expect(life.refuses(second(first))).toMatchObject({ code: 'conflict', path: 'roundId' });
    life.answers(anew, { ann: 0.4 });
    life.closes(anew);
    expect(fired(life)).toBe('halt, soon by experts: halt');
  });
});

describe('answering', () => {
  it('counts the latest word of each expert, and keeps them all', () => {
    const life = cleared();
    const roundId = life.ask();
    life.answers(roundId, { ann: 0.5, bob: 0.02 });
    life.answers(roundId, { ann: 0.1 });
    expect(life.count('EstimateGiven')).toBe(3);
    life.closes(roundId);
    expect(life.last('EstimatesPooled').pool).toEqual(poolExperts([0.1, 0.02]));
  });

  it('the same again has no further effect, also once the round is closed', () => {
    const life = cleared();
    const roundId = life.ask();
    life.answers(roundId, { ann: 0.1 });
    const again = life.estimate(roundId, 'ann', 0.1, { salt: 'another' });
    expect(life.does(again)).toEqual([]);
    life.closes(roundId);
    expect(life.does(again)).toEqual([]);
    expect(life.refuses(life.estimate(roundId, 'ann', 0.2))).toMatchObject({
      code: 'conflict',
      path: 'roundId',
    });
  });

  it('is over at the deadline, whether or not the round is known to be closed', () => {
    const life = cleared();
    const roundId = life.ask();
    life.wait('10h');
    expect(life.refuses(life.estimate(roundId, 'ann', 0.2))).toMatchObject({ code: 'conflict' });
  });

  it('names the field that contradicts the probability, and the round that is not there', () => {
    const life = cleared();
    const quantiles = [{ p: 0.9, level: 2 }];
    expect(life.refuses(life.estimate(life.ask(), 'ann', 0.4, { quantiles }))).toMatchObject({
      code: 'invalid',
      path: 'quantiles.0.level',
    });
    expect(life.refuses(life.estimate('round_x', 'ann', 0.4))).toMatchObject({
      code: 'not-found',
      path: 'roundId',
    });
  });
});

describe('a round', () => {
  it('closes at its deadline, which is outstanding work, and is pooled', () => {
    const life = cleared();
    const roundId = life.ask();
    life.answers(roundId, { ann: 0.1, bob: 0.2 });
    const due = life.work.filter(({ kind }) => kind === 'tick').map(({ notBeforeMs }) => notBeforeMs);
    expect(due).toContain(Date.parse('2026-11-01T10:00:00.000Z'));
    expect(life.wait('9h').tick()).toEqual([]);
    expect(life.wait('1h').tick()).toEqual(['EstimateRoundClosed', 'EstimatesPooled']);
    expect(life.last('EstimateRoundClosed')).toMatchObject({ roundId, reason: 'deadline', by: null });
    expect(life.tick()).toEqual([]);
  });

  it('that nobody answered pools nothing; closing it twice is closing it once', () => {
    const life = cleared();
    const roundId = life.ask();
    expect(life.closes(roundId)).toEqual(['EstimateRoundClosed']);
    expect(life.closes(roundId)).toEqual([]);
  });

  it('is followed by a second one, which closes it; whoever does not revise stands by the first', () => {
    const life = cleared();
    const first = life.ask();
    life.answers(first, { ann: 0.1, bob: 0.2 });
    expect(life.does(second(first))).toEqual([
      'EstimateRoundClosed',
      'EstimatesPooled',
      'EstimateRoundOpened',
      'AlertRaised',
    ]);
    const { roundId, questionId } = life.last('EstimateRoundOpened');
    expect(questionId).toBe(first);
    life.answers(roundId, { bob: 0.05, eve: 0.4 });
    life.closes(roundId);
    expect(life.last('EstimatesPooled').pool).toEqual(poolExperts([0.1, 0.05, 0.4]));
  });

  it('is followed by one more and no third', () => {
    const life = cleared();
    const first = life.ask();
    life.does(second(first));
    expect(life.does(second(first))).toEqual([]);
    const { roundId } = life.last('EstimateRoundOpened');
    life.closes(roundId);
    for (const id of [first, roundId]) {
      expect(life.refuses(second(id))).toMatchObject({ code: 'conflict', path: 'roundId' });
    }
  });

  it('is settled, so that all may be shown, when nothing can be revised any more', () => {
    const life = cleared();
    const roundId = life.ask();
    const settled = (): boolean => {
      const placed = findRound(life.state, roundId);
      return placed === null || isSettled(life.state, placed);
    };
    expect(settled()).toBe(false);
    life.closes(roundId);
    expect(settled()).toBe(false);
    life.does(second(roundId));
    life.closes(life.last('EstimateRoundOpened').roundId);
    expect(settled()).toBe(true);
  });

  it('ends without a pool when the next checkpoint is assessed first, or the run ends', () => {
    for (const ends of [
      (life: RunLife) => life.pass('c2', '2e22'),
      (life: RunLife) => life.does({ type: 'FinishRun', by: 'trainer' }),
    ]) {
      const life = cleared();
      const roundId = life.ask();
      life.answers(roundId, { ann: 0.9 });
      ends(life);
      expect(life.last('EstimateRoundClosed')).toMatchObject({ roundId, reason: 'overtaken' });
      expect(life.count('EstimatesPooled')).toBe(0);
      expect(life.refuses(second(roundId))).toMatchObject({ code: 'conflict' });
    }
  });

  it('stays open while the next checkpoint is only reported, and when one behind it is assessed', () => {
    const life = cleared();
    const roundId = life.ask();
    life.report('behind', '5e21', { evaluate: true });
    for (const name of ['ctf', 'labs']) life.result(`behind/${name}`, 0.1);
    life.report('c2', '2e22');
    life.answers(roundId, { ann: 0.1 });
    expect(life.closes(roundId)).toContain('EstimatesPooled');
  });

  it('is kept with its checkpoint, however many others close meanwhile', () => {
    const life = cleared();
    const roundId = life.ask();
    for (let i = 0; i < 8; i += 1) {
      life.report(`b${i}`, 5e21 + i, { evaluate: true });
      for (const name of ['ctf', 'labs']) life.result(`b${i}/${name}`, 0.1);
    }
    life.answers(roundId, { ann: 0.1 });
    expect(life.closes(roundId)).toContain('EstimatesPooled');
  });
});

describe('a pool in the verdict', () => {
  const rule = (more: JsonObject = {}) => {
    const found = policyOf({ rules: [HALTING, { ...FORECAST, probability: 0.05, ...more }] }).rules[1];
    if (found?.kind !== 'forecast') throw new Error('no forecast rule');
    return found;
  };

  it.each(
    rows(`
      experts | quorum | model             | pool of n | rules
      graver  | 2      | 0.02 data         | 0.1 of 3  | 0.1 experts
      graver  | 2      | 0.2 data          | 0.1 of 3  | 0.2 data
      graver  | 2      | 0.2 mostly-prior  | 0.1 of 3  | 0.1 experts
      graver  | 2      | 0.2 mostly-prior  | 0.01 of 3 | 0.2 mostly-prior
      graver  | 2      | none              | 0.1 of 1  | 0.1 experts
      graver  | 2      | 0.2 data          | none      | 0.2 data
      pool    | 2      | 0.5 data          | 0.01 of 2 | 0.091325 pool
      pool    | 2      | 0.01 data         | 0.5 of 2  | 0.091325 pool
      pool    | 2      | 0.5 data          | 0.01 of 1 | 0.5 data
      pool    | 2      | 0.01 data         | 0.5 of 1  | 0.091325 pool
      pool    | 4      | 0.5 data          | 0.01 of 3 | 0.5 data
      pool    | 2      | none              | 0.01 of 3 | 0.01 experts
      pool    | 2      | none              | none      | nothing
    `).slice(1),
  )(
    '%s (quorum %s), model %s, experts %s: %s',
    (experts = '', quorum = '', model = '', pool = '', expected = '') => {
      const policy = policyOf({ forecast: { experts, quorum: Number(quorum) } });
      const [p = '', basis = ''] = model.split(' ');
      const bases = ['mostly-prior', 'mixed', 'data'] as const;
      const word = bases.find((each) => each === basis);
      const [chance = '', , n = ''] = pool.split(' ');
      const ruling = rulingOf(
        rule(),
        word === undefined ? null : { p: Number(p), basis: word },
        pool === 'none' ? null : { ...poolExperts([Number(chance)]), n: Number(n) },
        policy,
      );
      expect(ruling === null ? 'nothing' : `${ruling.p} ${ruling.basis}`).toBe(expected);
    },
  );

  it.each(
    rows(`
      forecast                  | experts say | leads to
      none                      | 0.4, 0.5    | halt, soon by experts: halt
      none                      | 0.1, 0.2    | proceed
      {"experts":"graver"}      | 0.4, 0.5    | halt, soon by experts: halt
      {"experts":"pool"}        | 0.9, 0.9    | halt, soon by pool: halt
      {"experts":"ignore"}      | 0.9, 0.9    | proceed
    `).slice(1),
  )('with forecast %s, and experts who say %s: %s', (forecast = '', said = '', expected = '') => {
    const life = cleared([FORECAST], forecast === 'none' ? {} : { forecast: JSON.parse(forecast) });
    const roundId = life.ask();
    const [ann = 0, bob = 0] = said.split(',').map(Number);
    life.answers(roundId, { ann, bob });
    life.closes(roundId);
    expect(fired(life)).toBe(expected);
    expect(life.state.halt !== null).toBe(expected.startsWith('halt'));
  });

  it('says which word ruled, and what it was weighed against', () => {
    const life = cleared();
    const roundId = life.ask();
    life.answers(roundId, { ann: 0.4, bob: 0.4 });
    life.closes(roundId);
    expect(life.last('CheckpointAssessed').findings).toMatchObject([
      {
        kind: 'forecast',
        observed: 0.4,
        threshold: 0.3,
        basis: 'experts',
        explanation: expect.stringMatching(
          /40\.0 %, the limit is 30\.0 % \(experts: experts 40\.0 % \(2\), model /,
        ),
      },
    ]);
  });

  it('trips on the experts alone while evaluations still run', () => {
    const life = registered(policyOf({ rules: [HALTING, FORECAST] }));
    life.report('c1', '1e22');
    const roundId = life.ask();
    life.answers(roundId, { ann: 0.4 });
    expect(life.closes(roundId)).toContain('HaltOrdered');
    expect(life.state.halt?.causes[0]).toMatchObject({ findings: [{ rule: 'soon', basis: 'experts' }] });
  });

  it('counts for the level, the category and the horizon it was asked for, and no other', () => {
    const further = { ...FORECAST, id: 'further', checkpoints: 2 };
    const other = { ...FORECAST, id: 'other', atLeast: 'high' };
    const elsewhere = { ...FORECAST, id: 'elsewhere', categories: ['bio'] };
    const life = cleared([further, other, elsewhere]);
    const roundId = life.ask();
    life.answers(roundId, { ann: 0.9 });
    life.closes(roundId);
    expect(life.last('CheckpointAssessed').findings.filter(({ basis }) => basis === 'experts')).toEqual([]);
  });

  it('is stale at the next checkpoint', () => {
    const life = cleared([ESTIMATE]);
    const roundId = life.ask();
    life.answers(roundId, { ann: 0.4 });
    life.closes(roundId);
    expect(fired(life)).toBe('hold, experts by experts: hold');
    life.resume();
    life.pass('c2', '2e22', 0.11);
    expect(life.last('CheckpointAssessed')).toMatchObject({ checkpointId: 'c2', findings: [] });
  });

  it('of the second round replaces that of the first: the hold lifts by evidence', () => {
    const life = cleared([ESTIMATE]);
    const first = life.ask();
    life.answers(first, { ann: 0.4, bob: 0.5 });
    expect(life.does(second(first))).toContain('HoldPlaced');
    const { roundId } = life.last('EstimateRoundOpened');
    life.answers(roundId, { ann: 0.1, bob: 0.1 });
    expect(life.closes(roundId)).toContain('HoldLifted');
  });

  it.each(
    rows(`
      limit | experts   | fires
      0.3   | 0.3       | yes
      0.3   | 0.29      | no
      0.3   | 0.3, 0.3  | yes
      0.05  | 0.06,0.06 | yes
    `).slice(1),
  )(
    'fires the estimate rule at %s with %s: %s, whatever a forecast rule makes of it',
    (limit = '', said = '', expected = '') => {
      const rules = [{ ...ESTIMATE, probability: Number(limit) }];
      const life = cleared(rules, { forecast: { experts: 'ignore' } });
      const roundId = life.ask();
      for (const [i, p] of said.split(',').map(Number).entries()) life.answers(roundId, { [`e${i}`]: p });
      life.closes(roundId);
      expect(fired(life)).toBe(expected === 'yes' ? 'hold, experts by experts: hold' : 'proceed');
    },
  );

  it('is waived up to the probability that people sign for, and trips again beyond', () => {
    const life = cleared([ESTIMATE]);
    const first = life.ask();
    life.answers(first, { ann: 0.4 });
    life.closes(first);
    expect(life.propose().terms.forecasts).toEqual({ cyber: 0.4 });
    life.resume();
    expect(life.permit.granted).toBe(true);
    life.does(second(first));
    const { roundId } = life.last('EstimateRoundOpened');
    life.answers(roundId, { ann: 0.41 });
    expect(life.closes(roundId)).toContain('HoldPlaced');
  });
});

describe('replay', () => {
  it.each(
    rows(`
      changed             | to             | says
      pool.p              | 0.2            | give another
      pool.geometricMean  | 0.2            | give another
      pool.n              | 3              | give another
      pool.exponent       | 1              | give another
      estimateIds         | ["est_x"]      | give another
      level               | 3              | give another
      roundId             | "round_x"      | no such round
      at                  | "2026-11-01T01:00:00.000Z" | agrees
    `).slice(1),
  )('of a pool whose %s was changed to %s: %s', (path = '', to = '', expected = '') => {
    const life = cleared();
    const roundId = life.ask();
    life.answers(roundId, { ann: 0.6, bob: 0.7 });
    life.closes(roundId);
    const index = life.events.findIndex(({ kind }) => kind === 'EstimatesPooled');
    const before = life.events.slice(0, index).reduce<RunState | null>(evolve, null);
    const data = asJson(life.last('EstimatesPooled'));
    const [outer = '', inner] = path.split('.');
    const at: unknown = inner === undefined ? data : data[outer];
    if (typeof at === 'object' && at !== null) Reflect.set(at, inner ?? outer, JSON.parse(to));
    const answer = recheck(before, parseRunEvent('EstimatesPooled', data), life.policy, digest);
    expect(answer ?? 'agrees').toContain(expected);
  });
});
