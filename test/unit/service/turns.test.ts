import { expect, test } from 'vitest';
import { createTurns } from '../../../src/service/turns.ts';
import type { Timers } from '../../../src/timers.ts';

/** Work that ends when the test says so, and a list of what has begun. */
function bench() {
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const patience: (() => void)[] = [];
  const timers: Timers = {
    set: (run) => ({ simulated: patience.push(run) - 1 }),
    clear: () => undefined,
    monotonicMs: () => 0,
  };
  const inTurn = createTurns(1_000, timers);
  const ask = (name: string, urgent = false, key = 'run') =>
    inTurn(
      key,
      () => {
        begun.push(name);
        return new Promise<void>((resolve) => ends.set(name, resolve));
      },
      { urgent },
    );
  return {
    begun,
    ask,
    end: (name: string) => ends.get(name)?.(),
    losePatience: (i: number) => patience[i]?.(),
  };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test('one at a time, in the order they came; another run does not wait', async () => {
  const { begun, ask, end } = bench();
  const first = ask('first');
  void ask('second');
  void ask('elsewhere', false, 'other-run');
  await settled();
  expect(begun).toEqual(['first', 'elsewhere']);
  end('first');
  await first;
  await settled();
  expect(begun).toEqual(['first', 'elsewhere', 'second']);
});

test('what is urgent goes before what waits, in its own order, and does not interrupt', async () => {
  const { begun, ask, end } = bench();
  for (const name of ['running', 'note 1', 'note 2']) void ask(name);
  void ask('evidence 1', true);
  void ask('evidence 2', true);
  for (const name of ['running', 'evidence 1', 'evidence 2', 'note 1']) {
    await settled();
    expect(begun.at(-1)).toBe(name);
    end(name);
  }
  await settled();
  expect(begun).toEqual(['running', 'evidence 1', 'evidence 2', 'note 1', 'note 2']);
});

test('whoever has waited long enough goes anyway, and the one it overtook lets nobody go', async () => {
  const { begun, ask, end, losePatience } = bench();
  const hangs = ask('hangs');
  const impatient = ask('impatient');
  void ask('patient');
  losePatience(0);
  await settled();
  expect(begun).toEqual(['hangs', 'impatient']);
  end('hangs');
  await hangs;
  await settled();
  expect(begun).toEqual(['hangs', 'impatient']);
  end('impatient');
  await impatient;
  await settled();
  expect(begun).toEqual(['hangs', 'impatient', 'patient']);
});

test('a failure reaches the one who failed, and the next one goes', async () => {
  const inTurn = createTurns();
  const failed = inTurn('run', () => Promise.reject(new Error('broken')));
  const next = inTurn('run', async () => 'done');
  await expect(failed).rejects.toThrow('broken');
  await expect(next).resolves.toBe('done');
});
