/** Sealed evidence is read under a release by two different people, for a while, and each reading is recorded. */
import { describe, expect, it } from 'vitest';
import { isHazardous } from '../../../src/domain/policy/schema.ts';
import { releaseInForce } from '../../../src/domain/run/evidence.ts';
import { BASE_POLICY, evaluation, policyOf, type RunLife, registered } from './run-life.ts';

const digest = 'd'.repeat(64);
const said = (by: string, group: string, groups = [group]) => ({
  digest,
  group,
  groups,
  justification: 'to look',
  by,
});
const asks = (by: string, group = 'safety', groups?: string[]) =>
  ({ type: 'AskRelease', ...said(by, group, groups) }) as const;
const approves = (by: string, group = 'board', groups?: string[]) =>
  ({ type: 'ApproveRelease', ...said(by, group, groups) }) as const;
const reads = (by: string) => ({ type: 'NoteEvidenceRead', digest, by }) as const;
const inForce = (life: RunLife) => releaseInForce(life.state, digest, life.now) !== null;

function asked(policy = policyOf()): RunLife {
  const life = registered(policy);
  expect(life.does(asks('ann'))).toEqual(['EvidenceReleaseAsked']);
  return life;
}
const withTerms = (evidence: { groups?: string[]; validFor?: string }) =>
  policyOf({ governance: { ...Object(BASE_POLICY['governance']), evidence } });

describe('a release of sealed evidence', () => {
  it('takes two people', () => {
    const life = asked();
    expect(inForce(life)).toBe(false);
    expect(life.refuses(reads('ann')).code).toBe('forbidden');
    expect(life.does(approves('bob'))).toEqual(['EvidenceReleased']);
    expect(life.does(reads('ann'))).toEqual(['EvidenceRead']);
    expect(life.does(reads('ann'))).toEqual(['EvidenceRead']);
  });

  it('is not given by the same person twice, in whatever group', () => {
    const life = asked();
    expect(life.refuses(approves('ann', 'board', ['safety', 'board'])).code).toBe('forbidden');
    expect(inForce(life)).toBe(false);
  });

  it('is not given by somebody who was not asked first', () => {
    const life = registered();
    expect(life.refuses(approves('bob')).code).toBe('conflict');
  });

  it('ends, and so does a request that nobody answers', () => {
    const life = asked();
    life.wait('25h');
    expect(life.refuses(approves('bob')).code).toBe('conflict');
    life.does(asks('ann'));
    life.does(approves('bob'));
    life.wait('23h');
    expect(life.does(reads('eve'))).toEqual(['EvidenceRead']);
    life.wait('1h');
    expect(life.refuses(reads('eve')).code).toBe('forbidden');
  });

  it('is of one digest', () => {
    const life = asked();
    life.does(approves('bob'));
    expect(life.refuses({ ...reads('ann'), digest: 'e'.repeat(64) }).code).toBe('forbidden');
  });

  it('is repeated without effect, and not asked for twice', () => {
    const life = asked();
    expect(life.does(asks('ann'))).toEqual([]);
    expect(life.refuses(asks('bob', 'board')).message).toContain('ann');
    life.does(approves('bob'));
    expect(life.does(approves('bob'))).toEqual([]);
  });

  it('is of the groups that the policy names, for as long as it says', () => {
    const life = registered(withTerms({ groups: ['safety', 'board'], validFor: '1h' }));
    expect(life.refuses(asks('lea', 'leadership')).path).toBe('group');
    expect(life.refuses(asks('mallory', 'safety', ['leadership'])).path).toBe('group');
    life.does(asks('ann'));
    life.does(approves('bob'));
    life.wait('1h');
    expect(inForce(life)).toBe(false);
  });

  it('of groups that the policy does not have is a problem of the policy', () => {
    expect(() => withTerms({ groups: ['nobody'] })).toThrow('governance.evidence.groups');
  });
});

describe('what is kept', () => {
  it('is named once', () => {
    const life = registered();
    const kept = {
      type: 'NoteEvidence',
      digest,
      bytes: 3,
      sealed: false,
      evaluationId: null,
      attempt: null,
      by: 'i',
    } as const;
    expect(life.does({ ...kept, known: false })).toEqual(['EvidenceKept']);
    expect(life.does({ ...kept, known: true })).toEqual([]);
  });

  it('is hazardous where the evaluation says so, or else its category', () => {
    const policy = policyOf({
      categories: [
        { id: 'cyber', title: 'Cyber' },
        { id: 'bio', title: 'Bio', hazardous: true },
      ],
      evaluations: [
        evaluation('ctf', 'cyber', { hazardous: true }),
        evaluation('plain', 'cyber'),
        evaluation('labs', 'bio'),
        evaluation('quiz', 'bio', { hazardous: false }),
      ],
    });
    const hazards = policy.evaluations.filter((each) => isHazardous(policy, each)).map(({ id }) => id);
    expect(hazards).toEqual(['ctf', 'labs']);
  });
});
