/** The steps that Interlock takes by itself, and the times of all steps as people read them. */
import { describe, expect, it } from 'vitest';
import type { RunTarget } from '../../../src/domain/run/halt-documents.ts';
import { haltTimeline, momentText } from '../../../src/domain/run/halt-timeline.ts';
import { haltDoc } from '../../../src/domain/run/halt-views.ts';
import { PROCESS_TARGET, policyOf, type RunLife, registered, WEBHOOK_TARGET } from './run-life.ts';

const OWN = { retryMs: [500], resendMs: [] };
const PAGING: RunTarget = {
  ...PROCESS_TARGET,
  ladder: [
    { step: 'directive', afterMs: 0, ...OWN },
    { step: 'sigterm', afterMs: 0, ...OWN },
    { step: 'sigkill', afterMs: 10_000, ...OWN, until: 'observed', withinMs: 20_000 },
    { step: 'page', afterMs: 60_000, ...OWN },
  ],
};

function halted(targets: RunTarget[] = [PAGING], policy = policyOf()): RunLife {
  const life = registered(policy, { targets });
  life.press();
  return life;
}

const told = (life: RunLife, round = life.state.halt?.round ?? 0) =>
  life.does({
    type: 'NoteDirective',
    haltId: life.state.halt?.haltId ?? '',
    round,
    by: 'trainer',
    instance: 'a',
  });

const takes = (life: RunLife, step: string, outcome: 'accepted' | 'retry' = 'accepted') =>
  life.does({
    type: 'RecordHaltStep',
    haltId: life.state.halt?.haltId ?? '',
    targetId: 't2',
    round: life.state.halt?.round ?? 0,
    step,
    attempt: (life.state.halt?.targets[0]?.steps.find((each) => each.step === step)?.attempts ?? 0) + 1,
    outcome,
    detail: 'as reported',
  });

const seenStopped = (life: RunLife) =>
  life.does({
    type: 'RecordStopObserved',
    haltId: life.state.halt?.haltId ?? '',
    targetId: 't2',
    round: life.state.halt?.round ?? 0,
    detail: 'gone',
  });

describe('the directive', () => {
  it('is in the ledger once a round, with who was told', () => {
    const life = halted([WEBHOOK_TARGET]);
    expect(told(life.wait('2s'))).toEqual(['HaltDirectiveGiven']);
    expect(told(life.wait('2s'))).toEqual([]);
    expect(life.last('HaltDirectiveGiven')).toMatchObject({ round: 1, by: 'trainer', instance: 'a' });
    life.press('bob', 'board', 'quarantine');
    expect(told(life, 1)).toEqual([]);
    expect(told(life, 2)).toEqual(['HaltDirectiveGiven']);
  });

  it('as a step is taken by the heartbeat that it was given to, and by no adapter', () => {
    const life = halted();
    const sent = () => life.work.filter(({ kind }) => kind === 'halt-step').map(({ ids }) => ids['step']);
    expect(sent()).toEqual(['sigterm', 'sigkill']);
    told(life.wait('2s'));
    expect(life.state.halt?.targets[0]?.steps[0]).toMatchObject({
      step: 'directive',
      attempts: 1,
      acceptedAt: life.now.toISOString(),
      nextAt: null,
    });
    expect(sent()).toEqual(['sigterm', 'sigkill']);
  });

  it('of a run that was resumed is not noted', () => {
    const life = halted([WEBHOOK_TARGET]);
    const { haltId = '' } = life.state.halt ?? {};
    life.resume();
    const command = { type: 'NoteDirective' as const, haltId, round: 1, by: 'trainer', instance: null };
    expect(life.does(command)).toEqual([]);
  });
});

describe('the page', () => {
  const tickAt = ({ work }: RunLife) => work.find(({ kind }) => kind === 'tick')?.notBeforeMs;

  it('is raised at its time, under a key of its own, once', () => {
    const life = halted();
    takes(life, 'sigkill');
    seenStopped(life);
    const again = halted();
    again.wait('10s');
    takes(again, 'sigkill');
    // Nobody saw it gone in the twenty seconds that the kill had for that.
    expect(tickAt(again)).toBe(+again.now + 20_000);
    expect(again.wait('19s').tick()).toEqual([]);
    expect(again.wait('1s').tick()).toEqual(['HaltStepTaken', 'AlertRaised']);
    const { haltId } = again.state.halt ?? {};
    expect(again.last('AlertRaised')).toMatchObject({
      severity: 'critical',
      dedupKey: `${haltId}-1-page-t2`,
      details: { targetId: 't2' },
    });
    expect(again.last('HaltStepTaken')).toMatchObject({ step: 'page', outcome: 'accepted', nextAt: null });
    expect(again.wait('5s').tick()).toEqual([]);
    // What was seen to stop needs no page.
    expect(life.wait('2m').tick()).toEqual([]);
  });

  it('that reaches nobody is recorded as such', () => {
    const life = halted([PAGING], policyOf({ alerts: [] }));
    expect(life.wait('60s').tick()).toEqual(['HaltStepTaken']);
    expect(life.last('HaltStepTaken')).toMatchObject({
      step: 'page',
      outcome: 'rejected',
      detail: 'the policy names no alert channel',
    });
  });

  it('of each target comes by itself', () => {
    const life = halted([PAGING, { ...PAGING, targetId: 't3' }]);
    const kinds = life.wait('60s').tick();
    expect(kinds.filter((kind) => kind === 'HaltStepTaken')).toHaveLength(2);
  });
});

describe('the timeline of a halt', () => {
  const momentsOf = (life: RunLife) =>
    (life.state.halt === null ? [] : haltTimeline(life.state.halt)).map(
      (moment) => `${moment.afterMs / 1000} ${momentText(moment)}`,
    );

  it('says what happened when since the order, and goes into the confirmation', () => {
    const life = halted();
    takes(life.wait('1s'), 'sigterm', 'retry');
    takes(life.wait('1s'), 'sigterm');
    told(life.wait('1s'));
    life.wait('1s').acknowledge('received');
    life.wait('2s').acknowledge('stopped');
    seenStopped(life.wait('1s'));
    const expected = [
      '0 ordered',
      '1 t2 sigterm tried',
      '2 t2 sigterm accepted',
      '3 told by heartbeat',
      '4 trainer: received',
      '6 trainer: stopped',
      '7 t2 seen stopped',
      '7 confirmed',
    ];
    expect(momentsOf(life)).toEqual(expected);
    const { timeline = [] } = life.last('HaltConfirmed');
    expect(timeline.map((moment) => `${moment.afterMs / 1000} ${momentText(moment)}`)).toEqual(expected);
    const { halt } = life.state;
    expect(halt === null ? null : haltDoc(halt, life.state, null)).toMatchObject({ timeline });
  });

  it('begins anew with each round, counted from the order', () => {
    const life = halted();
    takes(life.wait('1s'), 'sigterm');
    seenStopped(life);
    life.does({
      type: 'RecordLife',
      haltId: life.state.halt?.haltId ?? '',
      targetId: 't2',
      detail: 'RUNNING',
    });
    takes(life.wait('9s'), 'sigterm');
    expect(momentsOf(life)).toEqual(['0 ordered', '1 halted again', '10 t2 sigterm accepted']);
  });
});
