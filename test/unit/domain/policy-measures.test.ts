/** What `policy check` warns about in what the evaluations can show, and which gaps it names. */
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../../src/domain/canonical-json.ts';
import { checkPolicy } from '../../../src/domain/policy/check.ts';
import { BASE_POLICY, evaluation } from './run-life.ts';
import { rows } from './table.ts';

const SCORE = { metric: 'accuracy', kind: 'proportion', chance: 0, best: 1, minSamples: 400 };

function said(
  changes: { score?: JsonObject; levels?: JsonObject; margin?: number },
  list: 'warnings' | 'gaps',
): string {
  const ctf = evaluation('ctf', 'cyber', {
    score: { ...SCORE, ...changes.score },
    elicitationMargin: changes.margin ?? 0,
    ...(changes.levels === undefined ? {} : { levels: changes.levels }),
  });
  const check = checkPolicy({ ...BASE_POLICY, evaluations: [ctf, evaluation('labs', 'bio')] });
  if (!check.ok) throw new Error(JSON.stringify(check.problems));
  return check[list].map(({ path, message }) => `${path} ${message}`).join('\n');
}

describe('policy check warns of', () => {
  it.each(
    rows(`
      medium | high | critical | nearer than one doubling brings
      0.2    | 0.5  | 0.8      | nothing
      0.45   | 0.5  | 0.8      | evaluations.0.levels.high lies only 5 % of the scale above medium
      0.2    | 0.5  | 0.58     | evaluations.0.levels.critical lies only 8 % of the scale above high
    `).slice(1),
  )('levels %s, %s, %s: %s', (medium = '', high = '', critical = '', expected = '') => {
    const levels = { medium: Number(medium), high: Number(high), critical: Number(critical) };
    const warned = said({ levels }, 'warnings');
    if (expected === 'nothing') expect(warned).toBe('');
    else expect(warned).toContain(expected);
  });

  it.each(
    rows(`
      reference | margin | says
      0.1       | 0      | nothing
      0.39      | 0      | nothing
      0.4       | 0      | no headroom: old (2026-01-02) comes to High (3.0) with one doubling more
      0.35      | 0.2    | no headroom: old (2026-01-02) comes to High (3.03) with one doubling more
      0.6       | 0      | no headroom: old (2026-01-02) is at High (3.33)
      0.8       | 0      | saturated: old (2026-01-02) scores 0.8, Critical (4.0)
      0.96      | 0      | saturated: old (2026-01-02) scores 0.96, 96 % of the way to the best
    `).slice(1),
  )('a reference that scores %s, with margin %s: %s', (score = '', margin = '', expected = '') => {
    const reference = { score: Number(score), model: 'old', date: '2026-01-02' };
    const warned = said({ score: { reference }, margin: Number(margin) }, 'warnings');
    if (expected === 'nothing') expect(warned).toBe('');
    else expect(warned).toContain(`evaluations.0.score.reference ${expected}`);
  });

  it.each([
    ['closingIn', { closingIn: {} }],
    ['topUps', { topUps: 2 }],
  ])('%s where no rule reads the upper level of what it samples', (asks, more) => {
    const evaluations = [evaluation('ctf', 'cyber', more), evaluation('labs', 'bio')];
    const warned = (rules: JsonObject[]) =>
      checkPolicy({ ...BASE_POLICY, evaluations, rules }).warnings.map(({ path }) => path);
    const high = { id: 'high', kind: 'level', stage: 'pre-mitigation', atLeast: 'high', then: ['halt'] };
    const upper = { ...high, id: 'upper', basis: 'upper', then: ['hold'] };
    expect(warned([high])).toContain(`evaluations.0.${asks}`);
    expect(warned([high, { ...upper, categories: ['bio'] }])).toContain(`evaluations.0.${asks}`);
    expect(warned([high, { ...upper, categories: ['cyber'] }])).not.toContain(`evaluations.0.${asks}`);
    expect(warned([high, upper])).not.toContain(`evaluations.0.${asks}`);
  });

  it('a protocol that changes: until when both are needed', () => {
    const evaluations = [
      evaluation('ctf', 'cyber'),
      evaluation('ctf-v2', 'cyber', { succeeds: { evaluation: 'ctf', from: 3e24 } }),
      evaluation('labs', 'bio'),
    ];
    const check = checkPolicy({ ...BASE_POLICY, evaluations });
    expect(check.warnings).toMatchObject([
      {
        path: 'evaluations.1.succeeds',
        message: expect.stringContaining('ctf is needed until 2 checkpoints from 3e24 FLOP on'),
      },
    ]);
  });
});

describe('policy check names as a gap', () => {
  it('a sample that cannot tell one level from the next', () => {
    expect(said({ score: { minSamples: 20 } }, 'gaps')).not.toContain('minSamples');
    expect(
      said({ score: { minSamples: 20 }, levels: { medium: 0.3, high: 0.5, critical: 0.8 } }, 'gaps'),
    ).toContain(
      'evaluations.0.score.minSamples at n = 20 two measurements tell scores apart by 0.24, and medium and high are 0.20 apart',
    );
  });

  it('a Critical that takes a perfect score', () => {
    const levels = { medium: 0.2, high: 0.5, critical: 0.995 };
    expect(said({ levels, score: { minSamples: 400 } }, 'gaps')).not.toContain('perfect');
    expect(said({ levels, score: { minSamples: 100 } }, 'gaps')).toContain('Critical takes a perfect score');
  });

  it('categories on one evaluation, and those without a benign control, in one line each', () => {
    const { levels: _levels, ...twin } = evaluation('ctf-benign', 'cyber', {
      benignControl: { atLeast: 0.8 },
    });
    const evaluations = [
      evaluation('ctf', 'cyber'),
      evaluation('range', 'cyber'),
      evaluation('labs', 'bio'),
      twin,
    ];
    const check = checkPolicy({ ...BASE_POLICY, evaluations });
    expect(check.ok ? check.gaps : []).toEqual([
      {
        path: 'categories',
        message: 'rest on a single evaluation, and what that does not see nothing sees: bio (labs)',
      },
      {
        path: 'categories',
        message:
          'have no benign control, so that a low score could come of a broken harness or an unwilling model: bio',
      },
    ]);
  });
});
