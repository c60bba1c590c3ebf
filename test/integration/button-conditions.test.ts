/** The red button with one thing after another taken away, and all of them: each press reaches its target, and stands in the ledger in order. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ButtonScene, type LedgerEvent, openButtonScene } from '../support/button-scene.ts';
import { conditionsOf, type Row, runTrials, type Trial } from '../support/button-trials.ts';

const PRESSES = 10;

describe('the red button', () => {
  let scene: ButtonScene;
  let rows: Row[];
  let trials: Trial[];
  let events: LedgerEvent[];

  beforeAll(async () => {
    scene = await openButtonScene({ redis: true });
    await scene.start();
    ({ rows, trials } = await runTrials(scene, { presses: PRESSES }));
    events = await scene.ledger();
  }, 240_000);
  afterAll(() => scene?.close(), 60_000);

  it('reaches the target at every press, whatever is down', () => {
    expect(rows.map(({ condition, failed }) => ({ condition, failed }))).toEqual(
      conditionsOf(scene).map(({ name }) => ({ condition: name, failed: 0 })),
    );
  });

  it('orders one halt per run, under the id that its target received', () => {
    const ordered = events.filter(({ kind }) => kind === 'HaltOrdered');
    expect(ordered.map(({ stream }) => stream).sort()).toEqual(
      trials.map(({ runId }) => `run-${runId}`).sort(),
    );
    for (const { runId } of trials) {
      const halt = ordered.find(({ stream }) => stream === `run-${runId}`);
      const ids = new Set(scene.received.filter((each) => each.runId === runId).map(({ haltId }) => haltId));
      expect([...ids], runId).toEqual([halt?.data['haltId']]);
    }
  });

  it('enters every press in the order in which it was made, under the name of who made it', () => {
    const entered = events.filter(({ kind }) => kind === 'PressRecorded');
    expect(entered.map(({ stream }) => stream)).toEqual(trials.map(({ runId }) => `run-${runId}`));
    for (const { actor, data } of entered) {
      expect([actor, data['by'], data['group'], data['via']]).toEqual(['board', 'board', 'board', 'bearer']);
    }
    const times = entered.map(({ data }) => String(data['pressedAt']));
    expect(times).toEqual([...times].sort());
  });

  it('sends the same bytes as the service does after it, so that a receiver sees one message', () => {
    for (const { runId } of trials) {
      const orders = new Set(scene.received.filter((each) => each.runId === runId).map(({ order }) => order));
      expect(orders.size, runId).toBe(1);
    }
  });
});
