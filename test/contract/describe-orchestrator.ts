/**
 * What every orchestrator promises, whatever it talks to; run by each adapter and by the in-memory fake.
 *
 * A fixture is an orchestrator and a small other side. Its knobs (`side`) say what the other side does next; a kind
 * that cannot be brought into a case says why (`cannot`), and the report then shows that case as skipped, with the
 * reason.
 */
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { HaltMessage, Orchestrator, StepOutcome } from '../../src/orchestrators/orchestrator.ts';

export const CASES = [
  'stop',
  'already stopped',
  'unknown',
  'refuses',
  'times out',
  'lies',
  'comes back',
  'partial',
  'expired',
  'hostile',
  'rehearsal',
] as const;
export type Case = (typeof CASES)[number];

/** What a knob does; where it needs another orchestrator than the fixture's, that one. */
type Turn = () => undefined | Orchestrator | Promise<undefined | Orchestrator>;

export const does =
  (act: () => unknown): Turn =>
  async () => {
    await act();
    return undefined;
  };

/** As made, the run is there and runs, and the steps of the orchestrator, taken one after the other, stop it. */
export interface OtherSide {
  /** The run ends by itself. */
  end?: Turn;
  /** The run is not known there (any more), or cannot be seen. */
  forget?: Turn;
  /** Let in, but without the right to stop. */
  refuse?: Turn;
  /** Takes everything and answers nothing. */
  hang?: Turn;
  /** Takes the first step and does nothing. */
  lie?: Turn;
  /** After it has stopped: the run is there again, requeued, resumed or made anew. */
  comeBack?: Turn;
  /** The run has several parts, of which one does not heed the first step. */
  keepOne?: Turn;
  /** Of `keepOne`: resolves when the other parts are gone. */
  othersGone?(): Promise<unknown>;
  /** The credentials do not count any more, and then they (or new ones in their place) do again. */
  expire?: Turn;
  renew?: Turn;
  /** What a broken, foreign or malicious other side answers, by name. */
  answers?: Readonly<Record<string, Turn>>;
  /** A 2xx is all that can be asked of it: what the body says is not read. */
  takesAnyBody?: boolean;
  /** What an observation says of a running run, where that is not `running`. */
  sees?: 'unknown';
}

export interface OrchestratorFixture {
  orchestrator: Orchestrator;
  /** The same kind of orchestrator whose other side will not have it. */
  refused: Orchestrator;
  /** Texts that no outcome may carry. */
  secrets: readonly string[];
  /** How many messages or signals have reached the other side. */
  reached(n: number): Promise<void>;
  count(): number;
  close(): Promise<void>;
  side?: OtherSide;
}

export const haltMessage = (more: Partial<HaltMessage> = {}): HaltMessage => ({
  runId: 'run-1',
  haltId: 'halt_abcdefghijklmnopqrstuvwxyz',
  action: 'halt',
  reason: 'cyber pre-mitigation: estimate 3.2 >= 3.0',
  epoch: 4,
  order: 'eyJhbGciOiJFZERTQSJ9.eyJvcmRlciI6dHJ1ZX0.T1JERVJTSUdOQVRVUkU',
  attempt: 1,
  ...more,
});

export const live = (): AbortSignal => new AbortController().signal;

export function describeOrchestrator(
  name: string,
  make: () => Promise<OrchestratorFixture>,
  cannot: Partial<Record<Case, string>> = {},
): void {
  describe(`${name} keeps the contract of an orchestrator`, () => {
    let fixture: OrchestratorFixture | undefined;
    const open = async (): Promise<OrchestratorFixture> => {
      fixture = await make();
      return fixture;
    };
    afterEach(async () => {
      await fixture?.close();
      fixture = undefined;
    });

    const first = ({ steps }: Orchestrator): string => steps[0] ?? '';

    test('names its steps, and takes the first', async () => {
      const { orchestrator, reached } = await open();
      expect(new Set(orchestrator.steps).size).toBe(orchestrator.steps.length);
      expect(orchestrator.kind).toMatch(/^[a-z]+$/);
      expect(await orchestrator.take(first(orchestrator), haltMessage(), live())).toMatchObject({
        kind: 'accepted',
      });
      await reached(1);
    });

    test('takes the same message again without complaint', async () => {
      const { orchestrator, reached } = await open();
      for (const attempt of [1, 2]) {
        const outcome = await orchestrator.take(first(orchestrator), haltMessage({ attempt }), live());
        expect(outcome).toMatchObject({ kind: 'accepted' });
        await reached(attempt);
      }
    });

    test('rejects a step that it does not have, and sends nothing', async () => {
      const { orchestrator, count } = await open();
      for (const step of ['', 'SIGKILL ', '__proto__', 'constructor', 'x'.repeat(10_000)]) {
        expect(await orchestrator.take(step, haltMessage(), live())).toMatchObject({ kind: 'rejected' });
      }
      expect(count()).toBe(0);
    });

    test('sends nothing once the caller has given up, and says retry', async () => {
      const { orchestrator, reached, count } = await open();
      const late = await orchestrator.take(first(orchestrator), haltMessage(), AbortSignal.abort());
      expect(late.kind).toBe('retry');
      await orchestrator.take(first(orchestrator), haltMessage(), live());
      await reached(1);
      expect(count()).toBe(1);
    });

    test('does not call a refusal an acceptance', async () => {
      const { refused } = await open();
      const outcome = await refused.take(first(refused), haltMessage(), live());
      expect(['retry', 'rejected']).toContain(outcome.kind);
    });

    test('an acceptance is not a stop', async () => {
      const { refused } = await open();
      await refused.take(first(refused), haltMessage(), live());
      const { state, detail } = await refused.observe(live());
      expect(['running', 'stopped', 'unknown']).toContain(state);
      expect(detail.length).toBeGreaterThan(0);
    });

    test('says short safe things, whatever the message holds', async () => {
      const { orchestrator, refused, secrets } = await open();
      const hostile = haltMessage({ reason: `\u0000\ud800\r\n<script>${'x'.repeat(20_000)}` });
      for (const one of [orchestrator, refused]) {
        const outcome = await one.take(first(one), hostile, live());
        const { detail } = await one.observe(live());
        for (const text of [outcome.detail, detail]) {
          expect(text.length).toBeLessThan(300);
          expect(text).toMatch(/^[\x20-\x7e]+$/);
          for (const secret of [...secrets, hostile.order, 'script']) expect(text).not.toContain(secret);
        }
      }
    });

    const side = async (knob: keyof OtherSide, skip: (why: string) => void): Promise<OtherSide> => {
      const made = await open();
      if (made.side?.[knob] === undefined) skip(`this fixture has no knob ${knob}`);
      return made.side ?? {};
    };
    /** Turns a knob; the orchestrator to go on with. */
    const turn = async (knob: Turn | undefined): Promise<Orchestrator> => {
      const other = await knob?.();
      const orchestrator = other ?? fixture?.orchestrator;
      if (orchestrator === undefined) throw new Error('no fixture is open');
      return orchestrator;
    };
    const safe = <T extends { detail: string }>(said: T): T => {
      expect(said.detail).toMatch(/^[\x20-\x7e]{1,299}$/);
      for (const secret of [...(fixture?.secrets ?? []), haltMessage().order])
        expect(said.detail).not.toContain(secret);
      return said;
    };
    const take = async (one: Orchestrator, step = first(one), signal = live()): Promise<StepOutcome> =>
      safe(await one.take(step, haltMessage(), signal));
    const observe = async (one: Orchestrator, signal = live()): Promise<string> =>
      safe(await one.observe(signal)).state;
    const seen = (one: Orchestrator, state: string, withinMs = 40_000) =>
      vi.waitFor(async () => expect(await observe(one)).toBe(state), { timeout: withinMs, interval: 20 });
    /** Every step in turn, as its ladder has it; later ones only where it is not seen to stop. */
    const stop = async (one: Orchestrator): Promise<void> => {
      for (const step of one.steps) {
        expect(await take(one, step)).toMatchObject({ kind: 'accepted' });
        const stopped = await seen(one, 'stopped', 1_000).then(
          () => true,
          () => false,
        );
        if (stopped) return;
      }
      await seen(one, 'stopped');
    };
    /** By itself it would wait for longer; a caller gives up, and is let go. */
    const givenUp = async <T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> => {
      const controller = new AbortController();
      const timer = setTimeout(() => controller.abort(), 250);
      const begunMs = performance.now();
      try {
        return await work(controller.signal);
      } finally {
        clearTimeout(timer);
        expect(performance.now() - begunMs).toBeLessThan(8_000);
      }
    };

    function held(which: Case, promise: string, run: (skip: (why: string) => never) => Promise<void>): void {
      const why = cannot[which];
      const title = `${which}: ${promise}`;
      if (why === undefined) test(title, ({ skip }) => run(skip));
      else test(`${title} (not held to it: ${why})`, ({ skip }) => skip(why));
    }

    held(
      'stop',
      'what runs is seen to run, is stopped by its steps, and is then seen as stopped',
      async () => {
        const { orchestrator } = await open();
        await seen(orchestrator, 'running');
        await stop(orchestrator);
      },
    );

    held(
      'already stopped',
      'it is seen as stopped, and a step neither fails nor brings it back',
      async (skip) => {
        const ended = await turn((await side('end', skip)).end);
        await seen(ended, 'stopped');
        for (const step of ended.steps) expect((await take(ended, step)).kind).not.toBe('rejected');
        await seen(ended, 'stopped');
      },
    );

    held('unknown', 'a run that is not known is not a stopped one, and no step is taken', async (skip) => {
      const forgotten = await turn((await side('forget', skip)).forget);
      expect(await observe(forgotten)).toBe('unknown');
      for (const step of forgotten.steps) expect((await take(forgotten, step)).kind).not.toBe('accepted');
      expect(await observe(forgotten)).toBe('unknown');
    });

    held(
      'refuses',
      'without the right to stop nothing is accepted, and nothing looks stopped',
      async (skip) => {
        const refused = await turn((await side('refuse', skip)).refuse);
        for (const step of refused.steps) expect((await take(refused, step)).kind).not.toBe('accepted');
        expect(await observe(refused)).not.toBe('stopped');
      },
    );

    held('times out', 'who gives up on it is let go, with a retry and with nothing known', async (skip) => {
      const silent = await turn((await side('hang', skip)).hang);
      const outcome = await givenUp((signal) => take(silent, first(silent), signal));
      expect(outcome.kind).toBe('retry');
      expect(await givenUp((signal) => observe(silent, signal))).toBe('unknown');
    });

    held('lies', 'what takes a step and does nothing is not seen as stopped', async (skip) => {
      const { lie, sees = 'running' } = await side('lie', skip);
      const liar = await turn(lie);
      expect(await take(liar)).toMatchObject({ kind: 'accepted' });
      expect(await observe(liar)).toBe(sees);
      // Nor the second time.
      await take(liar);
      expect(await observe(liar)).toBe(sees);
    });

    held('comes back', 'a run that is there again is seen to run, and can be stopped again', async (skip) => {
      const { comeBack } = await side('comeBack', skip);
      await stop(await turn(undefined));
      const again = await turn(comeBack);
      await seen(again, 'running');
      await stop(again);
    });

    held('partial', 'while one of its parts runs, the run runs', async (skip) => {
      const { keepOne, othersGone } = await side('keepOne', skip);
      const parted = await turn(keepOne);
      await take(parted);
      await othersGone?.();
      await seen(parted, 'running');
    });

    held('expired', 'credentials that end in the middle of a halt make it blind, not done', async (skip) => {
      const { expire, renew, sees = 'running' } = await side('expire', skip);
      const before = await turn(undefined);
      expect(await observe(before)).toBe(sees);
      const expired = await turn(expire);
      expect(await observe(expired)).toBe('unknown');
      expect(await take(expired)).toMatchObject({ kind: 'retry' });
      const renewed = await turn(renew);
      expect(await take(renewed)).toMatchObject({ kind: 'accepted' });
      expect(await observe(renewed)).not.toBe(sees === 'unknown' ? 'stopped' : 'unknown');
    });

    held('hostile', 'nothing that it may answer is taken for a stop, or repeated', async (skip) => {
      const { answers = {}, takesAnyBody = false } = await side('answers', skip);
      expect(Object.keys(answers).length).toBeGreaterThan(0);
      for (const [name, answer] of Object.entries(answers)) {
        const hostile = await turn(answer);
        expect(await observe(hostile), name).toBe('unknown');
        const outcome = await take(hostile);
        if (!takesAnyBody) expect(outcome.kind, name).not.toBe('accepted');
      }
    });

    held(
      'rehearsal',
      'goes as far as a step can, changes nothing, and is refused where a step is',
      async (skip) => {
        const { orchestrator, side: knobs = {} } = await open();
        if (orchestrator.rehearse === undefined) skip('this kind rehearses nothing');
        const rehearse = async (one: Orchestrator, step: string, signal = live()) => {
          const outcome = await one.rehearse?.(step, haltMessage(), signal);
          if (outcome === undefined) throw new Error('it has no rehearsal');
          return safe(outcome);
        };
        const sees = knobs.sees ?? 'running';
        await seen(orchestrator, sees);
        for (const step of orchestrator.steps)
          expect(await rehearse(orchestrator, step)).toMatchObject({ kind: 'accepted' });
        for (const step of ['', '__proto__', 'constructor'])
          expect(await rehearse(orchestrator, step)).toMatchObject({ kind: 'rejected' });
        expect((await rehearse(orchestrator, first(orchestrator), AbortSignal.abort())).kind).toBe('retry');
        await seen(orchestrator, sees);
        if (knobs.refuse === undefined) return;
        const refused = await turn(knobs.refuse);
        expect((await rehearse(refused, first(refused))).kind).not.toBe('accepted');
      },
    );
  });
}
