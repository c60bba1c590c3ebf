/** What makes a checkpoint due beside the run's compute: training stages, their own compute, breakthroughs. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compute } from '../../../src/domain/compute.ts';
import { nextCheckpointAt, nextDueAt } from '../../../src/domain/run/cadence.ts';
import { BASE_POLICY, policyOf, RunLife, registered } from './run-life.ts';

const cadence = (more: object) => policyOf({ cadence: { ...Object(BASE_POLICY['cadence']), ...more } });

/** Cleared at 1e22 in pre-training: due again at 2e22, permit up to 2.2e22. */
function cleared(policy = policyOf()): RunLife {
  const life = new RunLife(policy);
  life.register();
  life.pass('c1', '1e22');
  return life;
}

const stage = (name: string, own?: string) => ({
  trainingStage: { name, ...(own === undefined ? {} : { compute: compute(own) }) },
});

const note = (life: RunLife, name: string, total: string, own?: string) =>
  life.does({
    type: 'NoteTrainingStage',
    stage: stage(name, own).trainingStage,
    effectiveCompute: compute(total),
    by: 'trainer',
  });

const declare = (breakthroughId = 'b1', contentDigest = 'd1') => ({
  type: 'DeclareBreakthrough' as const,
  breakthroughId,
  reason: 'a scaffold that doubles what it solves',
  efficiencyMultiplier: 2,
  contentDigest,
  priorDigest: null,
  by: 'trainer',
});

const reasonOf = (life: RunLife) => life.last('CheckpointReported').reason;

describe('a change of the training stage', () => {
  it('makes a checkpoint due whatever its compute', () => {
    const life = cleared();
    life.report('c2', '1.001e22', stage('rl'));
    expect(life.last('CheckpointReported')).toMatchObject({ due: true, reason: 'stage' });
  });

  it('is none where the run names its stage from the beginning on', () => {
    const life = registered();
    note(life, 'pre-training', '1e20');
    expect(life.wait('3d').tick()).not.toContain('HoldPlaced');
    life.report('c1', '1e21', stage('pre-training'));
    expect(reasonOf(life)).toBe('first');
  });

  it('that a heartbeat tells of asks for a checkpoint at once, and holds once it is late', () => {
    const life = cleared();
    expect(note(life, 'rl', '1.2e22')).toContain('TrainingStageNoted');
    expect(note(life, 'rl', '1.21e22')).toEqual([]);
    expect(Number(nextCheckpointAt(life.state, life, life.state.computeHigh))).toBe(1.2e22);
    expect(nextDueAt(life.state, life)).toBe(life.last('TrainingStageNoted').seenBy);
    expect(life.wait('23h').tick()).not.toContain('HoldPlaced');
    expect(life.wait('1h').tick()).toContain('HoldPlaced');
    life.report('c2', '1.2e22', stage('rl'));
    expect(reasonOf(life)).toBe('stage');
    expect(life.count('HoldLifted')).toBe(1);
  });

  it('fills the run with no more checkpoints than wishes may', () => {
    const life = cleared();
    for (let i = 0; i < 40; i += 1) life.command(reportOf(life, `c${i + 2}`, `s${i % 2}`));
    expect(life.state.checkpoints.length).toBeLessThanOrEqual(33);
  });
});

const reportOf = (life: RunLife, checkpointId: string, name: string) => ({
  type: 'ReportCheckpoint' as const,
  checkpointId,
  effectiveCompute: compute('1.1e22'),
  step: null,
  modelUri: 's3://w',
  endpoint: null,
  evaluate: false,
  contentDigest: checkpointId,
  priorDigest: null,
  correlationId: life.state.runId,
  by: 'trainer',
  ...stage(name),
});

describe("a stage's own compute", () => {
  /** In `rl`, cleared at its own 1e20 while the run is at 1.01e22. */
  function inRl(more: object = {}): RunLife {
    const life = cleared(cadence(more));
    life.report('r1', '1.01e22', stage('rl', '1e20'));
    life.result('r1/ctf', 0.1);
    life.result('r1/labs', 0.1);
    expect(life.state.trainingStage).toMatchObject({
      name: 'rl',
      before: compute('1e22'),
      cleared: { compute: compute('1e20') },
    });
    return life;
  }

  it.each([
    ['1.0199e22', undefined, 'not-due'],
    ['1.02e22', undefined, 'stage-ratio'],
    // Stated as less than was trained: what was trained counts.
    ['1.02e22', '1.1e20', 'stage-ratio'],
    // Stated as more: what was stated counts.
    ['1.011e22', '2e20', 'stage-ratio'],
    ['1.011e22', '1.9e20', 'not-due'],
  ])('doubled at a total of %s, stated %s, is %s', (total, own, reason) => {
    const life = inRl();
    life.report('r2', total, stage('rl', own));
    expect(reasonOf(life)).toBe(reason);
  });

  it('is counted for a checkpoint that says nothing of its stage', () => {
    const life = inRl();
    life.report('r2', '1.02e22');
    expect(reasonOf(life)).toBe('stage-ratio');
  });

  it('leaves the ceiling what the whole compute earned, and tells the trainer of the nearer due point', () => {
    const life = inRl();
    expect(life.permit).toMatchObject({ granted: true, ceiling: '2.222e22' });
    expect(Number(nextCheckpointAt(life.state, life, life.state.computeHigh))).toBe(1.02e22);
  });

  it('asks at once for the checkpoint that is due by what the trainer states of the stage', () => {
    const life = inRl();
    note(life, 'rl', '1.011e22', '2e20');
    expect(Number(nextCheckpointAt(life.state, life, compute('1.012e22')))).toBe(1.012e22);
    life.report('r2', '1.012e22', stage('rl', '2.1e20'));
    expect(Number(nextCheckpointAt(life.state, life, compute('1.013e22')))).toBe(1.02e22);
  });

  it('holds where it passes its due point without a checkpoint, far below the ceiling', () => {
    const life = inRl();
    expect(life.beat('1.0199e22')).toEqual([]);
    expect(life.beat('1.02e22')).toEqual(['ProgressNoted', 'HoldPlaced', 'AlertRaised']);
    expect(life.state.holds[0]?.findings[0]).toMatchObject({
      rule: 'overdue',
      observed: compute('2e20'),
      threshold: compute('2e20'),
    });
  });

  it('holds by what the trainer states where that is more', () => {
    const life = inRl();
    expect(note(life, 'rl', '1.011e22', '2e20')).toContain('HoldPlaced');
  });

  it('holds once the grace of the stage is trained while its checkpoint is evaluated', () => {
    const life = inRl();
    life.report('r2', '1.02e22', stage('rl'));
    expect(life.beat('1.0219e22')).toEqual([]);
    expect(life.beat('1.0221e22')).toContain('HoldPlaced');
    life.result('r2/ctf', 0.1);
    life.result('r2/labs', 0.1);
    expect(life.state.holds).toEqual([]);
  });

  it('has the ratio, the first due point and the interval that the policy gives it', () => {
    const life = inRl({ trainingStages: { rl: { ratio: 4, firstCheckpointBy: '8e20', maxInterval: '7d' } } });
    // Four times 1e20 lies before the first due point.
    life.report('r2', '1.07e22', stage('rl'));
    expect(reasonOf(life)).toBe('not-due');
    life.report('r3', '1.08e22', stage('rl'));
    expect(reasonOf(life)).toBe('stage-ratio');
    const later = inRl({ trainingStages: { rl: { maxInterval: '7d' } } });
    expect(later.wait('7d').tick()).toContain('HoldPlaced');
  });

  it('is due at 1 % of the compute before it where its first checkpoint was cleared at none', () => {
    const life = cleared();
    life.report('r1', '1e22', stage('rl'));
    life.result('r1/ctf', 0.1);
    life.result('r1/labs', 0.1);
    expect(Number(nextCheckpointAt(life.state, life, life.state.computeHigh))).toBe(1.01e22);
  });

  it('never lets a run train past its ratio and grace unheld, whatever the trainer states of the stage', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.option(fc.integer({ min: 1, max: 60 }))), {
          maxLength: 8,
        }),
        (beats) => {
          const life = new RunLife(policyOf(), { checked: false });
          life.register();
          life.pass('c1', '1e22');
          life.report('r1', '1.01e22', stage('rl', '1e20'));
          life.result('r1/ctf', 0.1);
          life.result('r1/labs', 0.1);
          for (const [step, own] of beats) {
            const total = 1.01e22 + step * 1e19;
            if (own !== null) note(life, 'rl', String(total), String(own * 1e19));
            life.beat(String(total));
            const most = Math.max(1e20 + step * 1e19, (own ?? 0) * 1e19);
            if (most >= 2.001e20) expect(life.permit.granted).toBe(false);
          }
        },
      ),
    );
  });
});

describe('a declared breakthrough', () => {
  it('makes the next checkpoint due, once', () => {
    const life = cleared();
    life.does(declare());
    life.report('c2', '1.1e22');
    expect(reasonOf(life)).toBe('breakthrough');
    life.report('c3', '1.2e22');
    expect(reasonOf(life)).toBe('not-due');
  });

  it('is not answered by weights from before those last cleared', () => {
    const life = cleared();
    life.does(declare());
    life.report('c0', '9e21');
    expect(reasonOf(life)).toBe('not-due');
    life.report('c2', '1e22');
    expect(reasonOf(life)).toBe('breakthrough');
  });

  it('asks for it where the run is now, not where it last reported one', () => {
    const life = cleared();
    life.does(declare());
    expect(Number(nextCheckpointAt(life.state, life, compute('1.3e22')))).toBe(1.3e22);
    life.report('c2', '1.3e22');
    expect(Number(nextCheckpointAt(life.state, life, compute('1.4e22')))).toBe(2e22);
  });

  it('holds where no due checkpoint comes in time, also while an earlier one is evaluated', () => {
    const life = cleared();
    life.report('c2', '2e22');
    life.does(declare());
    const { dueBy } = life.last('BreakthroughDeclared');
    expect(life.work.find(({ kind }) => kind === 'tick')).toBeDefined();
    life.wait('9h');
    life.result('c2/ctf', 0.1);
    life.result('c2/labs', 0.1);
    life.now = new Date(dueBy);
    expect(life.tick()).toContain('HoldPlaced');
    life.report('c3', '2.1e22');
    expect(reasonOf(life)).toBe('breakthrough');
    expect(life.count('HoldLifted')).toBe(1);
  });

  it('is the same when it is declared again, and refused with other content', () => {
    const life = cleared();
    life.does(declare());
    expect(life.does(declare())).toEqual([]);
    expect(life.refuses(declare('b1', 'other'))).toMatchObject({ code: 'conflict' });
  });
});
