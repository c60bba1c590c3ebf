/** The only way out of a halt: named groups, one digest, terms, and a veto that lasts. */
import { describe, expect, it } from 'vitest';
import { compareCompute, compute } from '../../../src/domain/compute.ts';
import { BASE_POLICY, evaluation, policyOf, type RunLife, registered, success } from './run-life.ts';
import { rows } from './table.ts';

/** Halted on level 3.2 in cyber at 1e22. */
function tripped(): RunLife {
  const life = registered();
  life.report('c1', '1e22');
  life.result('c1/ctf', success(0.56, 100_000));
  life.result('c1/labs', 0.1);
  return life;
}

describe('a proposal', () => {
  it('has its terms filled in from the evidence', () => {
    const life = tripped();
    const { terms, haltId, checkpointId, scorecardDigest } = life.propose();
    expect(terms.levels).toEqual({ cyber: expect.closeTo(3.21, 1) });
    expect(compareCompute(terms.ceiling, compute('2.2e22'))).toBe(0);
    expect(terms).toMatchObject({ scope: 'training', expires: '2027-01-30T00:00:00.000Z' });
    expect({ haltId, checkpointId }).toEqual({ haltId: life.state.halt?.haltId, checkpointId: 'c1' });
    expect(scorecardDigest).toBe(life.last('CheckpointAssessed').scorecardDigest);
  });

  it('sent twice is one proposal, and keeps the approvals it has', () => {
    const life = tripped();
    const first = life.propose();
    life.wait('1m');
    expect(life.does(life.proposal())).toEqual([]);
    expect(life.openProposal.proposalId).toBe(first.proposalId);
  });

  it('is void when a further cause is added to the halt it was made for', () => {
    const life = tripped();
    life.propose();
    expect(life.press()).toEqual(expect.arrayContaining(['HaltCauseAdded', 'ProposalVoided']));
    expect(life.state.proposals.map(({ status }) => status)).toEqual(['voided']);
  });

  it.each(
    rows(`
      terms                                     | path refused
      {"levels":{"cyber":3.1}}                  | terms.levels.cyber
      {"levels":{"cyber":1}}                    | terms.levels.cyber
      {"levels":{"chess":3}}                    | terms.levels.chess
      {"forecasts":{"chess":0.3}}               | terms.forecasts.chess
      {"ceiling":"9e21"}                        | terms.ceiling
      {"expires":"2026-10-31T00:00:00.000Z"}    | terms.expires
      {"expires":"2026-11-01T00:00:00.000Z"}    | terms.expires
      {"expires":"next year"}                   | terms.expires
      {"levels":{"cyber":3.5}}                  | accepted
      {"expires":"2026-12-01T00:00:00+01:00"}   | accepted
      {}                                        | accepted
    `).slice(1),
  )('with terms %s: %s', (terms = '', path = '') => {
    const life = tripped();
    const command = life.proposal(JSON.parse(terms));
    if (path === 'accepted') expect(life.does(command)).toEqual(['ProposalOpened']);
    else expect(life.refuses(command)).toMatchObject({ code: 'invalid', path });
  });

  it('needs something to resume, and the halt that is open', () => {
    const life = registered();
    expect(life.refuses(life.proposal())).toMatchObject({ code: 'conflict' });
    life.press();
    const first = life.state.halt?.haltId ?? '';
    expect(life.refuses(life.proposal({}, { haltId: 'halt_x' }))).toMatchObject({ code: 'not-found' });
    life.resume();
    life.press();
    expect(life.refuses(life.proposal({}, { haltId: first }))).toMatchObject({ code: 'conflict' });
  });

  it('is voided by another one', () => {
    const life = tripped();
    life.propose();
    life.sign('lea', 'leadership');
    life.propose({}, { rationale: 'better words' });
    expect(life.state.proposals.map(({ status }) => status)).toEqual(['voided', 'open']);
    expect(life.sign('sam', 'safety')).toEqual(['SignOffRecorded']);
  });

  it('is voided by another scorecard', () => {
    const life = tripped();
    life.propose();
    life.does({ type: 'RetryEvaluation', evaluationId: life.idOf('c1', 'labs'), by: 'operator' });
    expect(life.state.proposals.at(-1)?.status).toBe('voided');
    life.propose();
    expect(life.result('c1/labs', 0.15)).toContain('ProposalVoided');
    expect(life.refuses(life.signature('lea', 'leadership'))).toMatchObject({ code: 'conflict' });
  });
});

describe('a sign-off', () => {
  it.each(
    rows(`
      by  | group        | member of          | decision | digest  | refused
      lea | leadership   | leadership         | approve  | other   | conflict digest
      lea | leadership   | safety             | approve  | right   | forbidden group
      lea | owls         | owls               | approve  | right   | forbidden group
      lea | leadership   | leadership         | veto     | right   | forbidden decision
      lea | leadership   | leadership         | approve  | right   | no
      lea | leadership   | leadership,safety  | approve  | right   | no
      bea | board        | board              | veto     | right   | no
      pat | preparedness | preparedness       | dissent  | right   | no
    `).slice(1),
  )('by %s for %s (member of %s) to %s, %s digest: refused %s', (...cells) => {
    const [by = '', group = '', member = '', decision = '', which = '', refused = ''] = cells;
    const life = tripped();
    life.propose();
    const { digest } = life.openProposal;
    const command = life.signature(by, group, {
      groups: member.split(','),
      decision: decision === 'veto' || decision === 'dissent' ? decision : 'approve',
      digest: which === 'right' ? digest : 'x'.repeat(64),
    });
    if (refused === 'no') expect(life.does(command)).toContain('SignOffRecorded');
    else {
      const [code, path] = refused.split(' ');
      expect(life.refuses(command)).toMatchObject({ code, path });
    }
  });

  it('completes the set in the same append that resumes the run', () => {
    const life = tripped();
    life.propose();
    expect(life.sign('lea', 'leadership')).toEqual(['SignOffRecorded']);
    expect(life.permit.granted).toBe(false);
    const events = life.sign('sam', 'safety');
    expect(events.slice(0, 2)).toEqual(['SignOffRecorded', 'RunResumed']);
    expect(life.permit).toMatchObject({ granted: true, epoch: 2 });
    expect(life.state.clearedHalts).toHaveLength(1);
  });

  it('of one person counts for one group only', () => {
    const life = tripped();
    life.propose();
    const groups = ['leadership', 'safety'];
    life.does(life.signature('lea', 'leadership', { groups }));
    expect(life.refuses(life.signature('lea', 'safety', { groups }))).toMatchObject({ code: 'forbidden' });
    expect(life.permit.granted).toBe(false);
  });

  it('is taken back by a dissent', () => {
    const life = tripped();
    life.propose();
    life.sign('lea', 'leadership');
    life.sign('lea', 'leadership', 'dissent');
    life.sign('sam', 'safety');
    expect(life.permit.granted).toBe(false);
    expect(life.sign('lou', 'leadership')).toContain('RunResumed');
  });

  it('said again changes nothing, before and after the run was resumed', () => {
    const life = tripped();
    life.propose();
    life.sign('lea', 'leadership');
    expect(life.sign('lea', 'leadership')).toEqual([]);
    life.sign('sam', 'safety');
    expect(life.sign('sam', 'safety')).toEqual([]);
    life.sign('bea', 'board', 'veto');
    expect(life.sign('bea', 'board', 'veto')).toEqual([]);
    expect(life.count('HaltOrdered')).toBe(2);
  });

  it('that vetoes blocks, whatever else is signed', () => {
    const life = tripped();
    life.propose();
    life.sign('bea', 'board', 'veto');
    expect(life.refuses(life.signature('lea', 'leadership'))).toMatchObject({ code: 'conflict' });
    expect(life.sign('bea', 'board', 'veto')).toEqual([]);
    expect(life.permit).toEqual({ granted: false, reason: 'halted' });
  });

  it('that vetoes after the resume halts again, under a higher epoch', () => {
    const life = tripped();
    life.resume();
    expect(life.state.epoch).toBe(2);
    expect(life.sign('bea', 'board', 'veto')).toEqual(
      expect.arrayContaining(['SignOffRecorded', 'HaltOrdered']),
    );
    expect(life.state.halt).toMatchObject({ epoch: 3, causes: [{ kind: 'person', by: 'bea' }] });
  });
});

describe('a resumed run', () => {
  it('trains within the terms', () => {
    const life = tripped();
    life.resume({ levels: { cyber: 3.4 } });
    life.report('c2', '2e22');
    life.result('c2/labs', 0.1);
    life.result('c2/ctf', success(0.58, 100_000));
    const { verdict, findings } = life.last('CheckpointAssessed');
    const waived = findings.map((finding) => finding.waived);
    expect({ verdict, waived }).toEqual({ verdict: 'proceed', waived: [true, true] });
    // What a waived verdict earns ends at the terms' ceiling.
    expect(compareCompute(life.state.ceiling, compute('2.2e22'))).toBe(0);
  });

  it.each(
    rows(`
      beyond the terms by     | finding
      a higher level          | level
      more compute            | overrun
      another category        | level
      time                    | level
    `).slice(1),
  )('trips again beyond the terms by %s', (what = '', kind = '') => {
    const life = tripped();
    life.resume({ levels: { cyber: 3.4 }, expires: '2026-11-20T00:00:00.000Z' });
    if (what === 'time') {
      const expiry = Date.parse('2026-11-20T00:00:00.000Z');
      expect(life.work).toContainEqual(expect.objectContaining({ kind: 'tick', notBeforeMs: expiry }));
      life.wait('19d').tick();
    } else if (what === 'more compute') life.beat('2.21e22');
    else {
      life.report('c2', '2e22');
      if (what === 'another category') life.result('c2/labs', 0.55);
      else life.result('c2/ctf', 0.65);
    }
    expect(life.state.halt?.causes[0]).toMatchObject({ kind: 'rule', findings: [{ kind, waived: false }] });
    expect(life.state.epoch).toBe(3);
  });

  it('gets more than the terms allow once a checkpoint clears without them', () => {
    const life = tripped();
    life.resume();
    life.report('c2', '2e22');
    life.result('c2/labs', 0.1);
    life.result('c2/ctf', 0.3);
    expect(compareCompute(life.state.ceiling, compute('4.4e22'))).toBe(0);
  });

  it('trips again on evidence that came in while people signed', () => {
    const life = registered();
    life.report('c1', '1e22');
    life.result('c1/ctf', 0.55);
    life.propose();
    life.sign('lea', 'leadership');
    life.result('c1/labs', 0.75);
    // The scorecard closed: what people were asked to sign is no more.
    expect(life.state.proposals.at(-1)?.status).toBe('voided');
  });

  it('goes on from a hold by sign-off as well', () => {
    const life = registered();
    life.report('c1', '1e22');
    life.result('c1/labs', 0.1);
    life.result('c1/ctf', success(0.48, 200));
    expect(life.permit).toEqual({ granted: false, reason: 'on-hold' });
    life.resume();
    expect(life.permit).toMatchObject({ granted: true, clearedHalts: [] });
    expect(life.last('CheckpointAssessed')).toMatchObject({
      verdict: 'proceed',
      findings: [{ waived: true }],
    });
  });

  it('goes on after its overdue checkpoint was excused, without a tick that is due for ever', () => {
    const life = registered();
    life.pass('c1', '1e22');
    life.wait('90d').tick();
    life.resume();
    expect(life.permit.granted).toBe(true);
    expect(life.tick()).toEqual([]);
    expect(life.work.filter(({ kind, notBeforeMs }) => kind === 'tick' && notBeforeMs <= +life.now)).toEqual(
      [],
    );
    // The excuse ends with the terms.
    life.wait('90d');
    expect(life.tick()).toContain('HoldPlaced');
  });

  it('is not found overdue on the way, while one cleared checkpoint after another moves the due point', () => {
    const rules = Array.isArray(BASE_POLICY['rules']) ? BASE_POLICY['rules'] : [];
    const life = registered(
      policyOf({ rules: [...rules, { id: 'tardy', kind: 'overdue', then: ['halt'] }] }),
    );
    life.report('c1', '2e21');
    life.report('c2', '9e21');
    life.beat('9.5e21');
    life.press();
    expect(life.resume()).not.toContain('HaltOrdered');
    expect(life.permit.granted).toBe(true);
  });

  it('has what the red button cancelled evaluated again, and waived until then', () => {
    const life = registered();
    life.report('c1', '1e22');
    life.press();
    life.resume();
    expect(life.work.filter(({ kind }) => kind === 'dispatch')).toHaveLength(2);
    expect(life.result('c1/ctf', 0.6)).toContain('HaltOrdered');
  });
});

describe('every presence of approvals', () => {
  it('all four groups approve under a precautionary policy', () => {
    const groups = ['preparedness', 'safety', 'leadership', 'board'];
    const policy = policyOf({
      governance: { groups, resume: { approvals: groups, vetoes: groups } },
      evaluations: [evaluation('ctf', 'cyber'), evaluation('labs', 'bio')],
    });
    const life = registered(policy);
    life.press();
    life.propose();
    for (const group of groups.slice(0, 3))
      expect(life.sign(`p-${group}`, group)).toEqual(['SignOffRecorded']);
    expect(life.sign('p-board', 'board')).toContain('RunResumed');
  });
});
