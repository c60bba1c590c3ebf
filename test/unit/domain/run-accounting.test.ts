/** What a run states of its compute, against what its orchestrators account to it and what it stated before. */
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { compute } from '../../../src/domain/compute.ts';
import { checkPolicy } from '../../../src/domain/policy/check.ts';
import type { TargetUsage } from '../../../src/domain/run/ancestry-documents.ts';
import { BASE_POLICY, policyOf, RunLife, registered, registration } from './run-life.ts';
import { rows } from './table.ts';

/** At full utilisation an hour of `fast` is 3.6e18. */
const ACCOUNTING: JsonObject = {
  accelerators: [
    { id: 'slow', peakFlops: 1e14, perNode: 4 },
    { id: 'fast', peakFlops: 1e15, perNode: 8 },
  ],
  utilisation: 0.4,
  atLeast: 0.5,
  minAcceleratorHours: 10,
};
const policy = policyOf({ accounting: ACCOUNTING });

/** `8 for 100h`, `2 nodes for 1h`, several joined by `and`. */
function usage(text: string): TargetUsage[] {
  return text.split(' and ').map((part, i) => {
    const [count = '', ...rest] = part.split(' ');
    const hours = Number.parseFloat(rest.at(-1) ?? '');
    const nodes = rest[0] === 'nodes';
    const seconds = hours * 3600;
    return {
      targetId: `t${i + 1}`,
      nodeSeconds: (nodes ? Number(count) : 1) * seconds,
      acceleratorSeconds: nodes ? null : Number(count) * seconds,
    };
  });
}

const heldBy = ({ state }: RunLife): string[] => state.holds.map(({ key }) => key);
const note = (life: RunLife, text: string, checkpointId: string | null = 'c1') =>
  life.does({ type: 'NoteUsage', checkpointId, targets: usage(text) });

describe('stated compute beside accounted hours', () => {
  // 1000 hours of `fast` at 40 % are 1.44e21, half of which has to be stated.
  it.each(
    rows(`
      accelerator | states  | had                            | is held
      fast        | 1.5e21  | 10 for 100h                    | no
      fast        | 7.3e20  | 10 for 100h                    | no
      fast        | 7.1e20  | 10 for 100h                    | yes
      none        | 7.1e20  | 10 for 100h                    | yes
      slow        | 7.1e20  | 10 for 100h                    | no
      slow        | 7.1e19  | 10 for 100h                    | yes
      fast        | 1e10    | 10 for 0.9h                    | no
      fast        | 1e10    | 10 for 1h                      | yes
      fast        | 7.1e20  | 125 nodes for 1h               | yes
      slow        | 7.1e20  | 125 nodes for 1h               | no
      fast        | 7.1e20  | 5 for 100h                     | no
      fast        | 7.1e20  | 5 for 100h and 5 for 100h      | yes
      fast        | 7.1e20  | 0 for 100h                     | no
    `).slice(1),
  )('%s, %s for %s: %s', (accelerator = '', states = '', had = '', held = '') => {
    const life = registered(policy, accelerator === 'none' ? {} : { accelerator });
    life.report('c1', states);
    note(life, had);
    expect(heldBy(life)).toEqual(held === 'yes' ? ['compute:below-usage'] : []);
    if (held === 'yes') expect(life.last('HoldPlaced').findings[0]?.explanation).toMatch(/accelerator-hours/);
  });

  it('counts work of the run itself, not what was in the weights that it began with', () => {
    const from = { initialCompute: compute('5e21'), vouched: 'published', operator: true };
    const life = registered(policy, from);
    life.report('c1', '5.5e21');
    note(life, '10 for 100h');
    expect(heldBy(life)).toEqual(['compute:below-usage']);
  });

  it('expects more where the run states that its compute counts for more', () => {
    const life = registered(policy);
    life.report('c1', '1e21', { efficiencyMultiplier: 2 });
    note(life, '10 for 100h');
    expect(heldBy(life)).toEqual(['compute:below-usage']);
  });

  it('is noted once for a checkpoint, in between only where it changes what is found, and lifts with evidence', () => {
    const life = registered(policy);
    life.report('c1', '1e21');
    expect(note(life, '10 for 100h')).toEqual(['UsageNoted']);
    expect(note(life, '10 for 110h')).toEqual([]);
    expect(note(life, '10 for 110h', null)).toEqual([]);
    expect(note(life, '10 for 300h', null)).toEqual(['UsageNoted', 'HoldPlaced', 'AlertRaised']);
    expect(note(life, '10 for 301h', null)).toEqual([]);
    life.report('c2', '5e21');
    expect(note(life, '10 for 301h', 'c2')).toEqual(['UsageNoted', 'HoldLifted']);
  });

  it('reads what heartbeats state, and records it with the hours', () => {
    const life = registered(policy);
    life.beat('1e20');
    expect(note(life, '10 for 100h', null)).toContain('HoldPlaced');
    expect(life.last('UsageNoted').effectiveCompute).toBe(compute('1e20'));
  });

  it('counts anew from what people signed for', () => {
    const life = registered(policy);
    life.report('c1', '1e20');
    note(life, '10 for 100h');
    life.resume({ ceiling: compute('1e22') });
    expect(life.permit.granted).toBe(true);
    life.report('c2', '9e20');
    note(life, '10 for 200h', 'c2');
    expect(heldBy(life), '8e20 for another 1000 hours').toEqual([]);
    life.report('c3', '1e21');
    note(life, '10 for 300h', 'c3');
    expect(heldBy(life), '9e20 for 2000 hours').toEqual(['compute:below-usage']);
  });

  it('is not signed away by a resume that was proposed before it was known', () => {
    const life = registered(policy);
    life.report('c1', '1e20');
    life.press();
    life.propose();
    expect(note(life, '10 for 100h')).toContain('ProposalVoided');
  });

  it('says nothing where the policy does not say what an accelerator does', () => {
    const life = registered();
    life.report('c1', '1');
    note(life, '1000 for 1000h');
    expect(heldBy(life)).toEqual([]);
  });

  it.each([
    [policy, 'turbo', 'there are slow, fast'],
    [policyOf(), 'fast', 'the policy names none'],
  ])('refuses an accelerator that the policy does not know', (pinned, accelerator, said) => {
    const refused = new RunLife(pinned).refuses(registration({ accelerator }));
    expect(refused).toMatchObject({ code: 'invalid', path: 'accelerator' });
    expect(refused.message).toContain(said);
  });
});

describe('an efficiency multiplier', () => {
  it.each(
    rows(`
      stated one after the other | is held
      1 2 4                      | no
      4 4                        | no
      4 3.999                    | no
      4 3.9                      | yes
      4 2 4                      | no
      4 2 3                      | yes
      4 none 2                   | yes
    `).slice(1),
  )('%s: %s', (stated = '', held = '') => {
    const life = registered();
    stated.split(' ').forEach((multiplier, i) => {
      const said = multiplier === 'none' ? {} : { efficiencyMultiplier: Number(multiplier) };
      life.report(`c${i + 1}`, `${1 + i}e21`, said);
    });
    expect(heldBy(life)).toEqual(held === 'yes' ? ['compute:efficiency-fell'] : []);
  });

  it('that people signed for may stay as low, and not fall further', () => {
    const life = registered();
    life.report('c1', '1e21', { efficiencyMultiplier: 4 });
    life.report('c2', '1.1e21', { efficiencyMultiplier: 2 });
    life.resume();
    life.report('c3', '1.2e21', { efficiencyMultiplier: 2 });
    expect(heldBy(life)).toEqual([]);
    life.report('c4', '1.3e21', { efficiencyMultiplier: 1 });
    expect(heldBy(life)).toEqual(['compute:efficiency-fell']);
  });
});

describe('policy check of accounting', () => {
  it.each(
    rows(`
      changes                                                    | says
      {"utilisation": 0.05, "atLeast": 0.2}                      | warning: only work below 1.0 % of the peak
      {"accelerators": [{"id": "h", "peakFlops": 1e15}]}         | warning: without perNode
      {"accelerators": []}                                       | problem: accounting.accelerators
      {"accelerators": [{"id": "h", "peakFlops": 989}]}          | problem: accounting.accelerators.0.peakFlops
      {"utilisation": 1.2}                                       | problem: accounting.utilisation
      {"accelerators": [{"id": "h", "peakFlops": 1e15, "perNode": 8}, {"id": "h", "peakFlops": 1e14, "perNode": 8}]} | problem: h is listed twice
    `).slice(1),
  )('%s: %s', (changes = '', says = '') => {
    const check = checkPolicy({ ...BASE_POLICY, accounting: { ...ACCOUNTING, ...JSON.parse(changes) } });
    const [kind = '', text = ''] = says.split(': ');
    const lines = (kind === 'warning' || check.ok ? check.warnings : check.problems).map(
      ({ path, message }) => `${path} ${message}`,
    );
    expect(check.ok).toBe(kind === 'warning');
    expect(lines.join('\n')).toContain(text);
  });
});
