/** Rules of a ladder's steps: what puts the next step off, what hurries it, and that nothing puts off the hardest. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { durationMs } from '../../../src/domain/duration.ts';
import { checkPolicy } from '../../../src/domain/policy/check.ts';
import { type Ladder, LadderUntilSchema, ladderProblems } from '../../../src/domain/policy/ladder.ts';
import { RunTargetSchema } from '../../../src/domain/run/halt-documents.ts';
import { ladderOf } from '../../../src/orchestrators/ladders.ts';
import { BASE_POLICY, policyOf, type RunLife, registered } from './run-life.ts';

const SLURM = { kind: 'slurm', cluster: 'train', jobId: 7 } as const;

function onSlurm(ladder: Ladder): RunLife {
  expect(ladderProblems('slurm', ladder)).toEqual([]);
  const life = registered(policyOf(), {
    targets: [
      {
        targetId: 't1',
        kind: 'slurm',
        config: {},
        ladder: ladderOf({ ...SLURM, ladder }),
        confirmation: 'observed',
      },
    ],
  });
  life.press();
  return life;
}

/** Steps that are still to be taken for the first time, and how many seconds after the order. */
function due({ state, work }: RunLife): string[] {
  const orderedMs = Date.parse(state.halt?.orderedAt ?? '');
  return work
    .filter(({ kind, ids }) => kind === 'halt-step' && ids['attempt'] === 1)
    .map(({ ids, notBeforeMs }) => `${ids['step']} ${(notBeforeMs - orderedMs) / 1000}`);
}

const takes = (life: RunLife, step: string, outcome: 'accepted' | 'retry' = 'accepted') =>
  life.does({
    type: 'RecordHaltStep',
    haltId: life.state.halt?.haltId ?? '',
    targetId: 't1',
    round: life.state.halt?.round ?? 0,
    step,
    attempt: (life.state.halt?.targets[0]?.steps.find((each) => each.step === step)?.attempts ?? 0) + 1,
    outcome,
    detail: 'as reported',
  });

const ladderWith = (until: NonNullable<Ladder[number]['until']>): Ladder => [
  { step: 'signal', until, within: '2m' },
  { step: 'cancel', after: '30s' },
  { step: 'kill', after: '5m' },
];

describe('a step whose rule is met', () => {
  it('by an acknowledgement gives the trainer its time for a last checkpoint', () => {
    const life = onSlurm(ladderWith('acknowledged'));
    takes(life, 'signal');
    expect(due(life)).toEqual(['cancel 30', 'kill 300']);
    life.wait('10s').acknowledge('received');
    expect(due(life)).toEqual(['cancel 120', 'kill 300']);
  });

  it('by being accepted puts off the step after it', () => {
    const life = onSlurm(ladderWith('accepted'));
    takes(life, 'signal', 'retry');
    expect(due(life)).toEqual(['cancel 30', 'kill 300']);
    takes(life, 'signal');
    expect(due(life)).toEqual(['cancel 120', 'kill 300']);
  });

  it('by quiet does so until the run computes again', () => {
    const life = onSlurm([
      { step: 'signal', until: 'quiet', within: '3m' },
      { step: 'cancel', after: '1m' },
      { step: 'kill', after: '10m' },
    ]);
    life.beat('1e20');
    takes(life, 'signal');
    expect(due(life)).toEqual(['cancel 180', 'kill 600']);
    life.wait('40s');
    expect(life.beat('1.1e20')).toEqual(['ProgressNoted']);
    expect(due(life)).toEqual(['cancel 60', 'kill 600']);
  });

  it('too late puts off nothing: the next step is due already', () => {
    const life = onSlurm(ladderWith('acknowledged'));
    takes(life, 'signal');
    life.wait('31s').acknowledge('received');
    expect(due(life)).toEqual(['cancel 30', 'kill 300']);
  });

  it('by a stop that life has belied is met no more', () => {
    const life = onSlurm(ladderWith('observed'));
    life.beat('1e20');
    takes(life, 'signal');
    const { haltId = '' } = life.state.halt ?? {};
    life.does({ type: 'RecordStopObserved', haltId, targetId: 't1', round: 1, detail: 'gone' });
    expect(due(life)).toEqual([]);
    life.wait('30s').beat('1.1e20');
    takes(life, 'signal');
    life.does({ type: 'RecordStopObserved', haltId, targetId: 't1', round: 2, detail: 'gone' });
    expect(due(life)).toEqual(['cancel 60', 'kill 330']);
  });

  it('counts from when the step was really taken', () => {
    const life = onSlurm(ladderWith('accepted'));
    life.wait('20s');
    takes(life, 'signal');
    expect(due(life)).toEqual(['cancel 140', 'kill 300']);
  });
});

describe('a step whose rule is not met in time', () => {
  const impatient: Ladder = [
    { step: 'signal', until: 'acknowledged', within: '5s' },
    { step: 'cancel', after: '1m', until: 'observed', within: '20s' },
    { step: 'kill', after: '5m' },
  ];

  it('makes the next step due at once, and that the one after it', () => {
    const life = onSlurm(impatient);
    takes(life, 'signal');
    expect(due(life)).toEqual(['cancel 5', 'kill 25']);
    life.wait('5s');
    takes(life, 'cancel');
    expect(due(life)).toEqual(['kill 25']);
  });

  it('leaves it at its own time once it is met', () => {
    const life = onSlurm(impatient);
    takes(life, 'signal');
    life.wait('3s').acknowledge('received');
    expect(due(life)).toEqual(['cancel 60', 'kill 80']);
  });

  it('makes another item of the step that it moves, so that neither queue nor timer keeps it', () => {
    const life = onSlurm(impatient);
    const keyOf = (step: string) => life.work.find(({ ids }) => ids['step'] === step)?.key;
    const before = keyOf('cancel');
    life.acknowledge('received');
    expect(keyOf('cancel')).not.toBe(before);
    // As it is everywhere without a rule.
    expect(keyOf('signal')).toMatch(/\/t1\/1\/signal\/1$/);
  });
});

const until = fc.constantFrom(...LadderUntilSchema.options);
const rule = fc.option(fc.record({ until, within: fc.integer({ min: 1, max: 200 }) }), { nil: null });
const deed = fc.record({
  afterS: fc.integer({ min: 0, max: 60 }),
  what: fc.constantFrom('signal', 'cancel', 'received', 'stopped', 'progress', 'seen', 'told', 'tick'),
});

describe('no rule', () => {
  it('puts off the hardest step beyond its own time, whatever happens', () => {
    fc.assert(
      fc.property(
        fc.array(rule, { minLength: 2, maxLength: 2 }),
        fc.array(deed),
        ([first, second], deeds) => {
          const withRule = (step: string, afterS: number, stated: typeof first): Ladder[number] => ({
            step,
            after: `${Math.max(1, afterS)}s`,
            ...(stated == null ? {} : { until: stated.until, within: `${stated.within}s` }),
          });
          const ladder = [
            withRule('signal', 1, first),
            withRule('cancel', 40, second),
            withRule('kill', 300, null),
          ];
          const life = onSlurm(ladder);
          let compute = 1e20;
          for (const { afterS, what } of deeds) {
            life.wait(`${Math.max(1, afterS)}s`);
            const { halt } = life.state;
            if (halt === null || halt.confirmedAt !== null) return;
            const { haltId, round, roundAt } = halt;
            if (what === 'signal' || what === 'cancel') takes(life, what);
            else if (what === 'received' || what === 'stopped') life.acknowledge(what);
            else if (what === 'progress') {
              compute *= 1.01;
              life.beat(compute);
            } else if (what === 'seen') {
              life.does({ type: 'RecordStopObserved', haltId, targetId: 't1', round, detail: 'gone' });
            } else if (what === 'told') {
              life.does({ type: 'NoteDirective', haltId, round, by: 'trainer', instance: null });
            } else life.tick();
            const now = life.state.halt;
            if (now === null || now.confirmedAt !== null || now.round !== round) return;
            const kill = life.work.find(({ ids }) => ids['step'] === 'kill');
            expect(kill?.notBeforeMs).toBeLessThanOrEqual(Date.parse(roundAt) + 300_000);
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('a stated ladder', () => {
  it('is pinned with its rules; one from before there were any reads as it did', () => {
    const [signal] = ladderOf({ ...SLURM, ladder: ladderWith('quiet') });
    expect(signal).toMatchObject({ step: 'signal', until: 'quiet', withinMs: durationMs('2m') });
    const before = {
      targetId: 't1',
      kind: 'slurm',
      config: {},
      ladder: [{ step: 'kill', afterMs: 0, retryMs: [500], resendMs: [] }],
      confirmation: 'observed',
    };
    expect(RunTargetSchema.parse(before)).toEqual(before);
    expect(ladderOf({ ...SLURM, ladder: [{ step: 'kill' }] })[0]).not.toHaveProperty('until');
  });

  it.each<[string, Ladder, [number, string, RegExp][]]>([
    [
      'an effect without a time for it',
      [{ step: 'signal', until: 'accepted' }, { step: 'kill' }],
      [[0, 'until', /needs `within` beside it/]],
    ],
    [
      'a time without an effect',
      [{ step: 'signal', within: '5s' }, { step: 'kill' }],
      [[0, 'within', /needs `until` beside it/]],
    ],
    [
      'a rule on the last step',
      [{ step: 'kill', until: 'observed', within: '5s' }],
      [[0, 'until', /nothing comes after the last step/]],
    ],
    [
      'a rule that would outlast the hardest step',
      [
        { step: 'signal', until: 'acknowledged', within: '2m' },
        { step: 'kill', after: '1m' },
        { step: 'page', after: '5m' },
      ],
      [[0, 'within', /must end by the time of kill \(1m\), which no rule delays/]],
    ],
    [
      'nothing that stops anything',
      [{ step: 'directive' }, { step: 'page', after: '1m' }],
      [[1, 'step', /stops nothing; a ladder needs a step of slurm, such as kill/]],
    ],
  ])('is refused with %s', (_what, ladder, expected) => {
    const problems = ladderProblems('slurm', ladder);
    expect(problems).toHaveLength(expected.length);
    for (const [i, [index, field, message]] of expected.entries()) {
      expect(problems[i]).toMatchObject({ index, field, message: expect.stringMatching(message) });
    }
  });

  it('is nothing to complain of where there is none', () => {
    expect(ladderProblems('webhook', [])).toEqual([]);
  });

  it('of a webhook cannot wait for a stop to be seen', () => {
    const ladder: Ladder = [
      { step: 'webhook', until: 'observed', within: '5s' },
      { step: 'page', after: '1m' },
    ];
    expect(ladderProblems('webhook', ladder)).toEqual([
      {
        index: 0,
        field: 'until',
        message: 'a webhook cannot be observed; use accepted, acknowledged or quiet',
      },
    ]);
  });

  it('may have a directive and a page in any kind, and a rule on its hardest step with a page after it', () => {
    const ladders = {
      webhook: [{ step: 'directive' }, { step: 'webhook' }, { step: 'page', after: '1m' }],
      kubernetes: [
        { step: 'directive', until: 'accepted', within: '10s' },
        { step: 'delete', after: '10s', until: 'observed', within: '30s' },
        { step: 'page', after: '5m' },
      ],
    };
    const found = checkPolicy({ ...BASE_POLICY, halt: { confirmWithin: '2m', ladders } });
    expect('problems' in found ? found.problems : []).toEqual([]);
  });

  it('keeps the digest of a policy that says nothing of rules', () => {
    const [step] = policyOf({ halt: { confirmWithin: '2m', ladders: { slurm: [{ step: 'kill' }] } } }).halt
      .ladders?.slurm ?? [null];
    expect(step).toEqual({ step: 'kill' });
  });
});
