/** Where weights come from: the union of the ancestors' work, unknown parents, and whom a halt reaches. */
import { describe, expect, it } from 'vitest';
import { compareCompute, compute } from '../../../src/domain/compute.ts';
import { total, united, workAt } from '../../../src/domain/run/ancestry.ts';
import type { Ancestry, Contribution } from '../../../src/domain/run/ancestry-documents.ts';
import { origins, parentRuns, siblingHalt, sidewaysCause } from '../../../src/domain/run/lineage.ts';
import { permitTerms } from '../../../src/domain/run/permit.ts';
import type { RegisterRun } from '../../../src/domain/run/registration.ts';
import { RunLife as Life, policyOf, type RunLife, registered, registration } from './run-life.ts';
import { rows } from './table.ts';

/** `a:0-5` is five units of work of run a, `b:3-7` four of b on b's own scale, in 1e21. */
function work(text: string): Contribution[] {
  return text
    .split(' ')
    .filter((part) => part !== '')
    .map((part) => {
      const [source = '', from = '', to = ''] = part.split(/[:-]/);
      return { source, from: from === '0' ? null : compute(`${from}e21`), to: compute(`${to}e21`) };
    });
}

const DIGEST = `sha256:${'ab'.repeat(32)}`;

/** What the service finds of a parent: its work at `at` (1e21), for a run that began from nothing. */
function parentOf(runId: string, at: number, stated = `${runId}/c1`): Ancestry {
  const effectiveCompute = compute(`${at}e21`);
  return {
    known: [{ stated, runId, checkpointId: 'c1', effectiveCompute }],
    unknown: [],
    work: [{ source: `run:${runId}`, from: null, to: effectiveCompute }],
  };
}

const merged = (...all: readonly Ancestry[]): Ancestry => ({
  known: all.flatMap(({ known }) => known),
  unknown: all.flatMap(({ unknown }) => unknown),
  work: united(...all.map((each) => each.work)),
});

const child = (more: Partial<RegisterRun> = {}, policy = policyOf()): RunLife =>
  registered(policy, { parents: ['a/c1'], ancestry: parentOf('a', 5), operator: true, ...more });

const heldBy = ({ state }: RunLife): string[] => state.holds.map(({ key }) => key);

describe('the union of ancestors', () => {
  it.each(
    rows(`
      of these parents           | and these          | is in 1e21
      a:0-5                      |                    | 5
      a:0-5                      | b:0-3              | 8
      a:0-5                      | a:0-5              | 5
      a:0-5                      | a:0-8              | 8
      a:0-4 b:4-7                | a:0-4 c:4-9        | 12
      a:0-4 b:4-7                | a:0-6              | 9
      a:0-4 b:4-7 d:7-8          | a:0-4 b:4-9        | 10
      b:4-3                      |                    | none
    `).slice(1),
  )('of %s and %s is %s', (one = '', other = '', expected = '') => {
    const sum = total(united(work(one), work(other)));
    if (expected === 'none') expect(sum).toBeNull();
    else expect(sum === null ? sum : compareCompute(sum, compute(`${expected}e21`))).toBe(0);
  });

  it('does not depend on the order of parents', () => {
    const [one, other] = [work('b:4-7 a:0-4'), work('a:0-6 c:1-2')];
    expect(united(one, other)).toEqual(united(other, one));
  });

  it('of a run holds what it began with once, its own work, and not more than it took', () => {
    const life = child({ initialCompute: compute('7e21') });
    const has = (at: string | null) => total(workAt(life.state, at === null ? null : compute(at)));
    expect(has('9e21')).toBe(compute('9e21'));
    expect(has('6e21'), 'below its start').toBe(compute('7e21'));
    expect(has(null)).toBe(compute('7e21'));
    const twice = united(workAt(life.state, compute('8e21')), workAt(life.state, compute('9e21')));
    expect(total(twice)).toBe(compute('9e21'));
  });
});

describe('a run that starts from weights', () => {
  it.each(
    rows(`
      initial | parents                  | vouched | is held by
      none    | nothing                  | no      |
      1e21    | nothing                  | no      | lineage:unknown-parent
      1e21    | nothing                  | yes     |
      none    | s3://elsewhere/base      | no      | lineage:unknown-parent
      1e21    | s3://elsewhere/base      | yes     |
      5e21    | a                        | no      |
      none    | a                        | no      |
      4e21    | a                        | no      | lineage:below-ancestors
      4.96e21 | a                        | no      |
      6e21    | a                        | no      |
      5e21    | a and s3://elsewhere     | no      | lineage:unknown-parent
      5e21    | a and s3://elsewhere     | yes     |
      4e21    | a                        | yes     | lineage:below-ancestors
    `).slice(1),
  )('%s, from %s, vouched %s: %s', (initial = '', from = '', vouched = '', expected = '') => {
    const unknown = from.split(' and ').filter((name) => name.startsWith('s3:'));
    const known = from.startsWith('a') ? parentOf('a', 5) : { known: [], unknown: [], work: [] };
    const life = registered(policyOf(), {
      initialCompute: initial === 'none' ? null : compute(initial),
      parents: from === 'nothing' ? [] : from.split(' and '),
      ancestry: { ...known, unknown },
      vouched: vouched === 'yes' ? 'a published model' : undefined,
      operator: true,
    });
    expect(heldBy(life).join(' ')).toBe(expected);
    expect(life.permit.granted).toBe(expected === '');
    const told = life.events.some(
      (event) => event.kind === 'AlertRaised' && event.data.dedupKey === 'r1-vouched',
    );
    expect(told).toBe(vouched === 'yes');
  });

  it('and is registered by a caller that looked nothing up is held all the same', () => {
    expect(heldBy(registered(policyOf(), { parents: ['a'] }))).toEqual(['lineage:unknown-parent']);
  });

  it('counts from what is in its parents, and its first permit with it', () => {
    const life = child();
    expect(life.state).toMatchObject({ computeHigh: compute('5e21'), initialCompute: null });
    const far = child({ ancestry: parentOf('a', 20) });
    expect(far.permit).toMatchObject({ granted: true, ceiling: compute('2.2e22') });
  });

  it('above firstCheckpointBy by its parents is an operator to register, and so is one to vouch for', () => {
    const refused = (more: Partial<RegisterRun>) => new Life().refuses(registration(more));
    expect(refused({ parents: ['a'], ancestry: parentOf('a', 20) })).toMatchObject({
      code: 'forbidden',
      path: 'parents',
    });
    expect(refused({ initialCompute: compute(1e21), vouched: 'trust me' })).toMatchObject({
      code: 'forbidden',
      path: 'vouchedParentage',
    });
  });

  it('is folded as before where its registration is from before parents were looked up', () => {
    const life = registered(policyOf(), { initialCompute: compute('1e21'), vouched: 'x', operator: true });
    const { ancestry: _ancestry, vouched: _vouched, ...old } = life.last('RunRegistered');
    const replayed = new Life();
    replayed.takes({ kind: 'RunRegistered', data: old });
    expect(replayed.state.lineage).toBeUndefined();
    expect(replayed.tick()).toEqual([]);
    expect(replayed.permit.granted).toBe(true);
  });

  it('of unknown weights goes on after a resume that names it, and not after one that was signed before', () => {
    const life = registered(policyOf(), { initialCompute: compute('1e21') });
    life.resume();
    expect(life.permit.granted).toBe(true);
    expect(life.tick()).toEqual([]);
    const proposed = registered(policyOf(), {});
    proposed.press();
    proposed.propose();
    proposed.report('c1', '1e21', { ancestry: { known: [], unknown: ['x:y'], work: [] } });
    expect(proposed.count('ProposalVoided'), 'its terms do not name what came to light').toBe(1);
    proposed.resume();
    expect(proposed.permit.granted).toBe(true);
  });

  it('is let go on by a parent that turns out to be known, and then counts from it', () => {
    const life = registered(policyOf(), { parents: [DIGEST], initialCompute: compute('4e21') });
    expect(heldBy(life)).toEqual(['lineage:unknown-parent']);
    const found = life.does({ type: 'FindParent', stated: DIGEST, ancestry: parentOf('a', 4, DIGEST) });
    expect(found).toEqual(['ParentFound', 'HoldLifted']);
    expect(parentRuns(life.state)).toEqual(['a']);
    expect(life.does({ type: 'FindParent', stated: DIGEST, ancestry: parentOf('a', 4, DIGEST) })).toEqual([]);

    const less = registered(policyOf(), { parents: [DIGEST], initialCompute: compute('4e21') });
    less.does({ type: 'FindParent', stated: DIGEST, ancestry: parentOf('a', 9, DIGEST) });
    expect(heldBy(less)).toEqual(['lineage:below-ancestors']);
  });
});

describe('a checkpoint of a run that was made from others', () => {
  it('that states less than is in its weights holds, whatever is due, and one that states enough lifts it', () => {
    const life = child();
    expect(life.report('c1', '1e21')).toContain('HoldPlaced');
    expect(heldBy(life)).toEqual(['lineage:below-ancestors']);
    const { deadlineAt } = life.state.holds[0] ?? {};
    life.wait('1h').report('c2', '2e21');
    expect(
      life.state.holds.map((hold) => hold.deadlineAt),
      'reporting on moves no deadline',
    ).toEqual([deadlineAt]);
    expect(life.report('c3', '5.1e21')).toContain('HoldLifted');
  });

  it('that people let pass holds again only where it states less than they signed for', () => {
    const life = child();
    life.report('c1', '3e21');
    life.resume();
    expect(heldBy(life)).toEqual([]);
    life.report('c2', '3.2e21');
    expect(heldBy(life)).toEqual([]);
    life.report('c3', '1e21');
    expect(heldBy(life)).toEqual(['lineage:below-ancestors']);
  });

  it.each(
    rows(`
      at the merge it states | of its 5e21 + 1e21 own and 3e21 merged in | held
      9e21                   | all of it                                 | no
      9.5e21                 | and what it did since                     | no
      6.5e21                 | as if nothing had been merged             | yes
    `).slice(1),
  )('that merges weights in counts them on top: %s, %s', (stated = '', _what = '', held = '') => {
    const life = child();
    life.pass('c1', '6e21');
    life.report('c2', stated, { ancestry: parentOf('b', 3) });
    expect(heldBy(life)).toEqual(held === 'yes' ? ['lineage:below-ancestors'] : []);
    expect(parentRuns(life.state)).toEqual(['a', 'b']);
  });

  it('that merges what is there already adds nothing', () => {
    const life = child();
    life.report('c1', '5.5e21', { ancestry: parentOf('a', 5) });
    expect(heldBy(life)).toEqual([]);
  });

  it('that merges unknown weights holds, though an operator vouched for what it began with', () => {
    const life = child({ vouched: 'a published model' });
    life.report('c1', '5.5e21', { ancestry: { known: [], unknown: ['s3://else\nwhere'], work: [] } });
    expect(heldBy(life)).toEqual(['lineage:unknown-parent:c1']);
    expect(life.last('HoldPlaced').findings[0]?.explanation).toContain('s3://else?where');
  });

  it('is refused where it takes the parents above what the state can hold', () => {
    const many = Array.from({ length: 129 }, (_, i) => parentOf(`p${i}`, 1));
    const refused = new Life().refuses(registration({ ancestry: merged(...many), operator: true }));
    expect(refused).toMatchObject({ code: 'invalid', path: 'parents' });
  });
});

/** A run with parent `a` and what it is halted for; `then` as the policy has it. */
function halted(why: string): RunLife {
  const hardened = (kind: string, then: string) => [{ id: kind, kind, then: [then] }];
  const rules = policyOf().rules.filter(({ kind }) => kind === 'level');
  const policies: Record<string, ReturnType<typeof policyOf>> = {
    'overrun quarantined': policyOf({ rules: [...rules, ...hardened('overrun', 'quarantine')] }),
  };
  const life = child({ runId: 'sick' }, policies[why] ?? policyOf());
  if (why === 'pressed') life.press();
  if (why === 'pressed quarantine') life.press('ann', 'safety', 'quarantine');
  if (why.startsWith('overrun')) life.beat('5e22');
  if (why === 'a level' || why === 'critical') {
    life.report('c1', '6e21');
    life.result('c1/ctf', why === 'critical' ? 0.9 : 0.6);
  }
  if (why === 'not ruled out in time') {
    life.report('c1', '6e21');
    life.result('c1/ctf', { status: 'success', score: 0.45, n: 100 });
    life.result('c1/labs', 0.1);
    life.wait('20h').tick();
  }
  if (why === 'inconclusive in time') {
    life.report('c1', '6e21');
    life.wait('10h').tick();
    life.wait('20h').tick();
  }
  if (why === 'its parent') {
    life.does({ type: 'LatchLineage', ancestor: 'a', haltId: 'h', action: 'halt', reason: 'High' });
  }
  if (why === 'pressed, then a level') {
    life.report('c1', '6e21');
    life.press();
    life.result('c1/ctf', 0.6);
  }
  return life;
}

describe('a halt reaches sideways', () => {
  it.each(
    rows(`
      for                     | reaches
      a level                 | yes
      critical                | yes
      not ruled out in time   | yes
      pressed quarantine      | yes
      overrun quarantined     | yes
      pressed                 | no
      overrun                 | no
      inconclusive in time    | no
      its parent              | no
    `).slice(1),
  )('%s: %s', (why = '', reaches = '') => {
    const sick = halted(why);
    expect(sick.state.halt).not.toBeNull();
    const twin = child({ runId: 'twin' });
    expect(siblingHalt(twin.state, sick.state) !== null).toBe(reaches === 'yes');
    expect(sidewaysCause(sick.state) !== null).toBe(reaches === 'yes');
  });

  it('runs that share a parent or a name of outside weights, still train, and are not the same run', () => {
    const sick = halted('a level');
    const found = (more: Partial<RegisterRun>) => {
      const run = registered(policyOf(), { runId: 'twin', operator: true, ...more });
      return siblingHalt(run.state, sick.state);
    };
    expect(found({ parents: ['a/c9'] })).toMatchObject({ through: 'a' });
    expect(found({ parents: [DIGEST], ancestry: parentOf('a', 1, DIGEST) })).toMatchObject({ through: 'a' });
    expect(found({ parents: ['b/c1'] })).toBeNull();
    expect(found({})).toBeNull();
    expect(siblingHalt(sick.state, sick.state)).toBeNull();
    const outside = (runId: string) => child({ runId, parents: ['hf://lab/base'], ancestry: undefined });
    const one = outside('one');
    one.press('ann', 'safety', 'quarantine');
    expect(siblingHalt(outside('two').state, one.state)).toMatchObject({ through: 'hf://lab/base' });
    const done = child({ runId: 'done' });
    done.does({ type: 'FinishRun', by: 'trainer' });
    expect(siblingHalt(done.state, sick.state)).toBeNull();
  });

  it('once, with a halt of its own that says why, and goes no further from there', () => {
    const sick = halted('critical');
    const twin = child({ runId: 'twin' });
    const found = siblingHalt(twin.state, sick.state);
    if (found === null) throw new Error('not reached');
    const { halt, through } = found;
    const command = {
      type: 'LatchLineage',
      ancestor: 'sick',
      haltId: halt.haltId,
      action: halt.action,
      reason: 'Critical',
      through,
    } as const;
    expect(twin.does(command)).toEqual(['HaltOrdered', 'AlertRaised', 'QuarantineBegun', 'AlertRaised']);
    expect(twin.state.alerts[0]?.summary).toContain('began with weights of a, as did sick');
    expect(permitTerms(twin.state)).toEqual({ granted: false, reason: 'halted' });
    expect(sidewaysCause(twin.state)).toBeNull();
    expect(twin.does(command)).toEqual([]);
    twin.resume();
    expect(twin.does(command)).toEqual([]);
    expect(siblingHalt(twin.state, sick.state)).toBeNull();
  });

  it('by a cause that is added to a halt which reached nobody', () => {
    const sick = halted('pressed, then a level');
    expect(siblingHalt(child({ runId: 'twin' }).state, sick.state)).not.toBeNull();
  });

  it.each(
    rows(`
      parents                        | origins
      a a/c1                         | a
      hf://lab/base a                | a hf://lab/base
      ${DIGEST}                      | ${DIGEST}
    `).slice(1),
  )('%s come from %s', (parents = '', expected = '') => {
    const run = registered(policyOf(), { parents: parents.split(' ') });
    expect(origins(run.state)).toEqual(expected.split(' '));
  });
});

it('a policy may let unknown parents halt', () => {
  const rules = [...policyOf().rules, { id: 'roots', kind: 'lineage', then: ['halt'] }];
  const life = registered(policyOf({ rules: JSON.parse(JSON.stringify(rules)) }), {
    initialCompute: compute('1e21'),
  });
  expect(life.state.halt?.causes).toMatchObject([{ kind: 'rule', findings: [{ kind: 'lineage' }] }]);
  life.resume();
  expect(life.permit.granted).toBe(true);
});
