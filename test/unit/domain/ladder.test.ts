/** Ladders that a policy or a target states, in place of those of its kind. */
import { describe, expect, it } from 'vitest';
import { checkPolicy } from '../../../src/domain/policy/check.ts';
import {
  LADDER_STEPS,
  type Ladder,
  LadderSchema,
  ladderProblems,
  TARGET_KINDS,
} from '../../../src/domain/policy/ladder.ts';
import { defaultLadder, ladderOf } from '../../../src/orchestrators/ladders.ts';
import { targetSchema } from '../../../src/orchestrators/targets.ts';
import { BASE_POLICY } from './run-life.ts';

const SLURM = { kind: 'slurm', cluster: 'train', jobId: 7 } as const;
const due = (ladder: readonly { step: string; afterMs: number }[]) =>
  ladder.map(({ step, afterMs }) => `${step} ${afterMs}`);

describe('the ladder of a target', () => {
  it.each(TARGET_KINDS)('of kind %s has by default every step of its kind, from the gentlest on', (kind) => {
    expect(defaultLadder(kind).map(({ step }) => step)).toEqual(LADDER_STEPS[kind]);
  });

  it("is its own, else the policy's for its kind, else its kind's, and begins as late as the target asks", () => {
    const own: Ladder = [{ step: 'cancel' }];
    const ofPolicy: Ladder = [
      { step: 'signal' },
      { step: 'cancel', after: '2m' },
      { step: 'kill', after: '5m' },
    ];
    expect(due(ladderOf(SLURM))).toEqual(['signal 0', 'cancel 30000', 'kill 60000']);
    expect(due(ladderOf(SLURM, ofPolicy))).toEqual(['signal 0', 'cancel 120000', 'kill 300000']);
    expect(due(ladderOf({ ...SLURM, ladder: own }, ofPolicy))).toEqual(['cancel 0']);
    expect(due(ladderOf({ ...SLURM, after: '10s' }, ofPolicy))).toEqual([
      'signal 10000',
      'cancel 130000',
      'kill 310000',
    ]);
  });

  it('says which steps are taken, and when; how often one is tried again stays the kind’s', () => {
    const [cancel] = ladderOf({ ...SLURM, ladder: [{ step: 'cancel', after: '1m' }] });
    const usual = defaultLadder('slurm').find(({ step }) => step === 'cancel');
    expect(cancel).toEqual({ ...usual, afterMs: 60_000 });
    const [, isolate] = ladderOf({
      kind: 'command',
      command: 'lab',
      run: 'r',
      ladder: [{ step: 'stop' }, { step: 'revoke-network' }],
    });
    expect(isolate).toMatchObject({ step: 'revoke-network', afterMs: 0 });
    expect(isolate?.retryMs[0]).toBeLessThan(1_000);
  });

  it.each<[string, Ladder, [number, string, RegExp][]]>([
    ['an unknown step', [{ step: 'suspend' }], [[0, 'step', /no step of slurm; there are signal/]]],
    [
      'a step twice',
      [{ step: 'kill' }, { step: 'kill', after: '1s' }],
      [[1, 'step', /kill stands there twice/]],
    ],
    [
      'a step before the one above it',
      [
        { step: 'cancel', after: '1m' },
        { step: 'kill', after: '30s' },
      ],
      [[1, 'after', /before the step above it \(1m\)/]],
    ],
  ])('is refused with %s', (_what, ladder, expected) => {
    const problems = ladderProblems('slurm', ladder);
    expect(problems).toHaveLength(expected.length);
    for (const [i, [index, field, message]] of expected.entries()) {
      expect(problems[i]).toMatchObject({ index, field, message: expect.stringMatching(message) });
    }
  });

  it.each([[], [{ step: 'KILL' }], [{ step: 'kill', after: 'soon' }], [{ step: 'kill', after: '2h' }]])(
    '%j is none',
    (...ladder) => {
      expect(LadderSchema.safeParse(ladder).success).toBe(false);
      expect(targetSchema.safeParse({ ...SLURM, ladder }).success).toBe(false);
    },
  );
});

describe('the ladders of a policy', () => {
  const check = (ladders: object) => checkPolicy({ ...BASE_POLICY, halt: { confirmWithin: '2m', ladders } });

  it('are checked all at once, with their paths', () => {
    const found = check({
      slurm: [{ step: 'suspend' }],
      kubernetes: [{ step: 'kill', after: '10s' }, { step: 'suspend' }],
    });
    expect(found.ok).toBe(false);
    expect('problems' in found ? found.problems.map(({ path }) => path) : []).toEqual([
      'halt.ladders.kubernetes.1.after',
      'halt.ladders.slurm.0.step',
    ]);
  });

  it('that leave out the last step of their kind are warned of', () => {
    const found = check({ slurm: [{ step: 'signal' }] });
    expect(found.ok).toBe(true);
    expect(found.warnings).toContainEqual({
      path: 'halt.ladders.slurm',
      message: 'does not end in kill: a run that ignores the other steps is not stopped there',
    });
  });

  it('of a kind that there is not are refused', () => {
    expect(check({ pbs: [{ step: 'kill' }] }).ok).toBe(false);
  });
});
